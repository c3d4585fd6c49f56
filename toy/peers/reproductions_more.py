"""Programs of a few lines that show a defect of torchdiffeq or skrample with the library alone."""

from __future__ import annotations

ADAMS = """
import torch
from torchdiffeq import odeint

def error(n):  # dy/dt = -y on the times t = u²
    times = torch.linspace(0.1, 1.0, n + 1, dtype=torch.float64) ** 2
    y = odeint(lambda t, y: -y, torch.ones(1, dtype=torch.float64), times, method="explicit_adams", options={"max_order": 5})[-1]
    return abs(float(y) - float(torch.exp(times[0] - times[-1])))

print("slope", torch.tensor(error(64) / error(128)).log2().item(), "claimed 4")
"""

SKRAMPLE = """
import numpy as np
from skrample import scheduling
from skrample.sampling import functional as F, interface, models, structured as S

def error(n):  # N(0, 1/4) on n equal steps of log sigma/alpha, 8 -> 0.1
    rho = np.geomspace(8, 0.1, n + 1)

    class Walk(scheduling.Scaled):
        def _points(self, t):
            r = np.exp(np.interp((1 - t) * n, np.arange(n + 1), np.log(rho)))
            return np.stack([r, r / np.hypot(1, r), 1 / np.hypot(1, r)], -1)

    sampler = {made}
    sampler = sampler if isinstance(sampler, F.FunctionalSampler) else interface.StructuredFunctionalAdapter(sampler)
    x = sampler.sample_model(1.0, lambda x, t, s, a: a / 4 * x / (a * a / 4 + s * s), models.DataModel(), Walk(), n)
    size = lambda r: ((0.25 + r * r) / (1 + r * r)) ** 0.5
    return abs(x - size(0.1) / size(8))

print("slope", np.log2(error(200) / error(400)), "claimed {claimed}")
"""
