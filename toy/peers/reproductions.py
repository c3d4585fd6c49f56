"""Programs of a few lines that show a defect with the peer, NumPy and torch alone.

The target is N(0, 1/4), whose flow is x ∝ sqrt(alpha²/4 + sigma²).
"""

from __future__ import annotations

MULTISTEP = """
import numpy as np, torch
from diffusers import {name} as S

def error(n):  # n - 1 equal steps of log sigma, 8 -> 0.1; E[x0|x] = (alpha/4) x / (alpha²/4 + sigma²)
    s = S({options}, use_karras_sigmas=True)
    s._convert_to_karras = lambda in_sigmas, num_inference_steps: np.geomspace(8, 0.1, n)
    s.set_timesteps(n); s.set_begin_index(0)
    x = torch.ones(1, 1, 1, 1)
    for rho, t in zip(s.sigmas[: n - 1], s.timesteps):
        a = (1 + rho**2) ** -0.5; q = rho * a
        x = s.step((x - a * (a / 4) * x / (a * a / 4 + q * q)) / q, t, x, return_dict=False)[0]
    size = lambda r: ((0.25 + r * r) / (1 + r * r)) ** 0.5
    return abs(float(x) - size(0.1) / size(8))

print("slope", np.log2(error(33) / error(65)), "claimed {claimed}")
"""

LAST_STEP = """
import torch
from diffusers import {name} as S

s = S({options})
s.set_timesteps({steps})
x = torch.ones(1, 1, 1, 1)
for t in s.timesteps:
    x = s.step(x, t, x, return_dict=False)[0]
print(float(x))  # nan
"""

K_3M = """
import torch
from {sampling} import sample_dpmpp_3m_sde as sample

def error(n):  # N(0, 1/4) with alpha = 1: the flow is x ∝ sqrt(1/4 + sigma²)
    sigmas = torch.logspace(0.9, -1, n + 1, dtype=torch.float64)
    x = sample(lambda x, s: x / 4 / (0.25 + s[0] ** 2), torch.ones(1, 1, dtype=torch.float64), sigmas, eta=0.0, disable=True)
    return abs(float(x) - float(((0.25 + sigmas[-1] ** 2) / (0.25 + sigmas[0] ** 2)) ** 0.5))

print("slope", torch.tensor(error(64) / error(128)).log2().item(), "claimed 3")
"""

REAB = """
import torch
from azula.noise import VPSchedule
from azula.sample import REABSampler

class Gauss:  # N(0, 1/4)
    schedule = VPSchedule()
    def __call__(self, x, t):
        a, s = self.schedule(t)
        return type("q", (), {"mean": a / 4 * x / (a * a / 4 + s * s)})

def error(n):
    x = REABSampler(Gauss(), order=2, start=0.8, stop=0.2, steps=n, silent=True, dtype=torch.float64)(torch.ones(1, dtype=torch.float64))
    (a, s), (b, q) = (Gauss.schedule(torch.tensor(t, dtype=torch.float64)) for t in (0.8, 0.2))
    return abs(float(x) - float(((b * b / 4 + q * q) / (a * a / 4 + s * s)) ** 0.5))

print("slope", torch.tensor(error(64) / error(128)).log2().item(), "claimed 2")
"""

SDE = """
import torch
from diffusers import {name} as S

torch.manual_seed(0)
for n in ({first}, {second}):  # N(0, 1/4): the variance must tend to 0.25
    s = S({options}); s.set_timesteps(n)
    x = torch.randn(100000, 1, 1, 1)
    for t, rho in zip(s.timesteps, s.sigmas):
        a = (1 + rho**2) ** -0.5; q = rho * a
        x = s.step((x - a * (a / 4) * x / (a * a / 4 + q * q)) / q, t, x, return_dict=False)[0]
    print(n, "variance", float(x.var()))
"""

TIMESTEPS = """
import numpy as np
from diffusers import {name} as S

s = S({options}); s.set_timesteps({steps})
table = np.log(np.array(((1 - s.alphas_cumprod) / s.alphas_cumprod) ** 0.5))
real = [float(s._sigma_to_t(np.array(float(v)), table)) for v in s.sigmas[: len(s.timesteps)]]
print("timesteps handed to the network minus those of its own sigmas:", np.round(np.array(s.timesteps) - real, 2)[:8])
"""

FLOAT32 = """
import numpy as np, torch
from diffusers import {name} as S

for n in (100, 400, 900):  # N(0, 1/4), from the schedule's first node to its last
    s = S({options}); s.set_timesteps(n)
    x = torch.ones(1, 1, 1, 1)
    for t, rho in zip(s.timesteps, s.sigmas):
        a = (1 + rho**2) ** -0.5; q = rho * a
        x = s.step((x - a * (a / 4) * x / (a * a / 4 + q * q)) / q, t, x, return_dict=False)[0]
    size = lambda r: ((0.25 + r * r) / (1 + r * r)) ** 0.5
    print(n, "error", abs(float(x) - float(size(s.sigmas[-1]) / size(s.sigmas[0]))))
"""

RAISES = """
import torch
from diffusers import {name} as S

s = S({options}); s.set_timesteps({steps})
x = torch.ones(1, 1, 1, 1)
for t in s.timesteps:
    s.scale_model_input(x, t)
    x = s.step(x, t, x, return_dict=False)[0]
"""

K_ONE = """
import torch
from {sampling} import sample_dpmpp_2m_sde as sample

sample(lambda x, s: 0 * x, torch.ones(1, 1), torch.tensor([80.0, 0.0]), eta=0.0, disable=True)
"""

K_NAN = """
import torch
from {sampling} import sample_dpm_adaptive as sample

sample(lambda x, s: x * float("nan"), torch.ones(1, 1), 0.01, 80.0, disable=True)  # never returns
"""

K_FAST = """
import torch
from {sampling} import sample_dpm_fast as sample

def error(n):  # N(0, 1/4) with alpha = 1
    x = sample(lambda x, s: x / 4 / (0.25 + s[0] ** 2), torch.ones(1, 1, dtype=torch.float64), 0.1, 8.0, n, disable=True)
    return abs(float(x) - ((0.25 + 0.01) / (0.25 + 64.0)) ** 0.5)

print("slope", torch.tensor(error(48) / error(96)).log2().item(), "of a solver of order 3")
"""

PNDM = """
import numpy as np, torch
from diffusers import PNDMScheduler as S

def error(n, T=2**14):  # N(0, 1/4) on a fine table, to t = T/8
    s = S(num_train_timesteps=T, trained_betas=np.linspace(1e-4, 0.02, T) * 1000 / T, skip_prk_steps=True)
    s.alphas_cumprod = torch.cumprod(1 - torch.linspace(1e-4, 0.02, T, dtype=torch.float64) * 1000 / T, 0); s.set_timesteps(n)
    times = [int(t) for t in s.timesteps if t >= T // 8]
    size = lambda t: float((0.25 * s.alphas_cumprod[t] + 1 - s.alphas_cumprod[t]) ** 0.5)
    x = torch.ones(1, dtype=torch.float64)
    for t in times[:-1]:
        a, q = s.alphas_cumprod[t] ** 0.5, (1 - s.alphas_cumprod[t]) ** 0.5
        x = s.step((x - a * (a / 4) * x / (a * a / 4 + q * q)) / q, t, x, return_dict=False)[0]
    return abs(float(x) - size(times[-1]) / size(times[0]))

print("slope", np.log2(error(256) / error(512)), "claimed 4")
"""

IPNDM = """
import numpy as np, torch
from diffusers import IPNDMScheduler as S

def error(n):  # N(1, 1/4): the network predicts v = alpha eps - sigma x0
    s = S(); s.set_timesteps(n)
    x = torch.ones(1)
    for t, a, q in zip(s.timesteps, s.alphas, s.betas):
        x0 = 1 + (a / 4) / (a * a / 4 + q * q) * (x - a)
        eps = (x - a * x0) / q
        x = s.step(a * eps - q * x0, t, x, return_dict=False)[0]
    return abs(float(x) - 1.5)  # one standard deviation stays one standard deviation

print("slope", np.log2(error(128) / error(256)), "claimed 4")
"""

CHURN = """
import torch
from diffusers import FlowMatchHeunDiscreteScheduler as S

torch.manual_seed(0)
for n in (32, 128):  # N(0, 1/4): the variance must tend to 0.25
    s = S(); s.set_timesteps(n)
    x = torch.randn(100000, 1)
    for t, q in zip(s.timesteps, [s.sigmas[0], *s.sigmas[1:]]):
        a = 1 - q
        x0 = (a / 4) * x / (a * a / 4 + q * q)
        x = s.step((x - x0) / q, t, x, s_churn=4.0, return_dict=False)[0]
    print(n, "variance", float(x.var()))
"""

EDM = """
import numpy as np, torch
from diffusers import {name} as S

def error(n):  # n - 1 equal steps of log sigma, 8 -> 0.1, on N(0, 1/4) with alpha = 1
    s = S(solver_order=3, sigma_data=0.5)
    s._compute_karras_sigmas = lambda ramp: torch.tensor(np.geomspace(8, 0.1, n))
    s.set_timesteps(n); s.set_begin_index(0)
    x = torch.ones(1, 1, 1, 1)
    for sigma, t in zip(s.sigmas[: n - 1], s.timesteps):  # with sigma_data = 0.5 the network of N(0, 1/4) is zero
        x = s.step(0 * x, t, x, return_dict=False)[0]
    return abs(float(x) - ((0.25 + 0.01) / (0.25 + 64.0)) ** 0.5)

print("slope", np.log2(error(33) / error(65)), "claimed 3")
"""
