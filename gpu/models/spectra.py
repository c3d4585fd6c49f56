r"""The network of ``21cmpsdenoiser``: cylindrical 21-cm power spectra without sample variance, by a conditional U-Net.

Given one noisy spectrum Δ²(k_perp, k_par) of a small box of the early universe, a draw is a spectrum averaged over many boxes
(Breitman et al. 2025). Network time is 999 t in VP with beta from 0.1 to 20, the prediction is eps; the condition is a second channel. Both
are 32 × 16 images of log10(Δ²/mK²), mapped to [−1, 1] by (d − bias)/scale · 2 − 1 with the biases and scales of the package, which are not
the same for the condition and the draw.

``example`` makes conditions where no simulation is at hand: a smooth spectrum, times a gamma variate of mean 1 and variance 1/N in each
bin of N modes, which is the sample variance of a power spectrum; the N are the package's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from scorebed.gpu.models.pretrained import Pretrained
from scorebed.gpu.models.weights import installed, licence, npz, tensors
from scorebed.gpu.network.wrap import wrap
from scorebed.solvers import VP, Node

NAME, WHAT, PACKAGE = "21cm", "21-cm power spectra without sample variance, given a noisy one", "21cmpsdenoiser"
SHAPE = (1, 32, 16)
TIME = 999.0


def _standardised(weight: Tensor) -> Tensor:
    """(w − mean) · sqrt(var + 1e-5), once for all calls: the package multiplies where arXiv:1903.10520 divides, and was trained so."""
    var, mean = torch.var_mean(weight, dim=(1, 2, 3), correction=0, keepdim=True)
    return (weight - mean) * (var + 1e-5).sqrt()


class _Block(nn.Module):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(inside, outside, 3, padding=1), nn.GroupNorm(4, outside)

    def forward(self, x: Tensor, modulation: Tensor | None = None) -> Tensor:
        x = self.norm(self.proj(x))
        if modulation is not None:
            scale, shift = modulation[:, :, None, None].chunk(2, dim=1)
            x = x * (scale + 1.0) + shift
        return functional.silu(x)


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, clock: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(clock, 2 * outside))
        self.block1, self.block2 = _Block(inside, outside), _Block(outside, outside)
        self.res_conv = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.block2(self.block1(x, self.mlp(t))) + self.res_conv(x)


class _Heads(nn.Module):
    """Four heads of 32 over the pixels: softmax attention, or (``linear``) the form that is linear in their number (arXiv:1812.01243)."""

    def __init__(self, channels: int, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.to_qkv = nn.Conv2d(channels, 384, 1, bias=False)
        out = nn.Conv2d(128, channels, 1)
        self.to_out = nn.Sequential(out, nn.GroupNorm(1, channels)) if linear else out

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.flatten(2).unflatten(1, (4, 32)) for part in self.to_qkv(x).chunk(3, dim=1))  # (B, head, 32, pixels)
        if self.linear:
            context = k.softmax(dim=3) @ v.transpose(2, 3)
            seen = context.transpose(2, 3) @ (q.softmax(dim=2) * 32**-0.5)
        else:
            seen = functional.scaled_dot_product_attention(*(a.transpose(2, 3) for a in (q, k, v))).transpose(2, 3)
        return self.to_out(seen.flatten(1, 2).unflatten(2, x.shape[2:]))


class _Inner(nn.Module):
    def __init__(self, channels: int, linear: bool) -> None:
        super().__init__()
        self.norm, self.fn = nn.GroupNorm(1, channels), _Heads(channels, linear)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class _Attend(nn.Module):
    """x + attention(norm(x)); the nesting is that of the names in the file."""

    def __init__(self, channels: int, linear: bool = True) -> None:
        super().__init__()
        self.fn = _Inner(channels, linear)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(x)


class _Clock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.pairs = width // 2

    def forward(self, t: Tensor) -> Tensor:
        rates = torch.exp(torch.arange(self.pairs, device=t.device, dtype=t.dtype) * (-math.log(10000.0) / (self.pairs - 1)))
        angles = t.reshape(-1, 1) * rates
        return torch.cat((angles.sin(), angles.cos()), dim=1)


class SpectrumNet(nn.Module):
    """eps (B, 1, 32, 16) of a state and the condition, at network time 999 t."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128, 256), clock: int = 128) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.init_conv = nn.Conv2d(2, widths[0], 1)
        self.time_mlp = nn.Sequential(_Clock(32), nn.Linear(32, clock), nn.GELU(), nn.Linear(clock, clock))
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for i, (a, b) in enumerate(pairs):
            last = i == len(pairs) - 1
            shrink = nn.Conv2d(a, b, 3, padding=1) if last else nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * a, b, 1))
            self.downs.append(nn.ModuleList((_Residual(a, a, clock), _Residual(a, a, clock), _Attend(a), shrink)))
        self.mid_block1, self.mid_attn = _Residual(widths[-1], widths[-1], clock), _Attend(widths[-1], linear=False)
        self.mid_block2 = _Residual(widths[-1], widths[-1], clock)
        for i, (a, b) in enumerate(reversed(pairs)):
            conv = nn.Conv2d(b, a, 3, padding=1)
            grow = conv if i == len(pairs) - 1 else nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), conv)
            self.ups.append(nn.ModuleList((_Residual(a + b, b, clock), _Residual(a + b, b, clock), _Attend(b), grow)))
        self.final_res_block = _Residual(2 * widths[0], 32, clock)
        self.final_conv = nn.ConvTranspose2d(32, 1, 1)

    def forward(self, x: Tensor, time: Tensor, noisy: Tensor) -> Tensor:
        x = self.init_conv(torch.cat((x, noisy.to(x.dtype)), dim=1))
        kept, begun, t = [], x, self.time_mlp(time.to(x.dtype))
        one: Any
        two: Any
        attend: Any
        resize: Any
        for one, two, attend, resize in self.downs:  # type: ignore[misc]
            x = one(x, t)
            kept.append(x)
            x = attend(two(x, t))
            kept.append(x)
            x = resize(x)
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, t)), t)
        for one, two, attend, resize in self.ups:  # type: ignore[misc]
            x = one(torch.cat((x, kept.pop()), dim=1), t)
            x = resize(attend(two(torch.cat((x, kept.pop()), dim=1), t)))
        return self.final_conv(self.final_res_block(torch.cat((x, begun), dim=1), t))


@dataclass(frozen=True)
class Scales:
    """The package's constants: how spectra in mK² become images, and the modes and wavenumbers of the bins."""

    noisy: tuple[float, float]
    mean: tuple[float, float]
    modes: NDArray[np.float64]
    k_perp: NDArray[np.float64]
    k_par: NDArray[np.float64]

    def condition(self, power: NDArray[np.float64]) -> Tensor:
        """Noisy spectra (B, 32, 16) in mK² as conditions (B, 1, 32, 16)."""
        return _image(power, *self.noisy)

    def image(self, power: NDArray[np.float64]) -> Tensor:
        """Spectra in mK² as the network's x0."""
        return _image(power, *self.mean)

    def power(self, x: Tensor) -> NDArray[np.float64]:
        """The network's x0 (B, 1, 32, 16) in mK²."""
        bias, scale = self.mean
        return np.asarray(10.0 ** (0.5 * (x[:, 0].double().cpu().numpy() + 1.0) * scale + bias))


def _image(power: NDArray[np.float64], bias: float, scale: float) -> Tensor:
    return torch.from_numpy(((np.log10(power) - bias) / scale * 2.0 - 1.0).astype(np.float32))[:, None]


@lru_cache(maxsize=1)
def scales() -> Scales:
    """The constants, read from the installed package."""
    held = npz(installed(PACKAGE, "psdenoiser/constants.npz"))
    noisy, mean = ((float(held[f"{k}_mean"][0]), float(held[f"{k}_std"][0])) for k in ("noisy", "mean"))
    return Scales(noisy, mean, held["Nmodes"], held["kperp"], held["kpar"])


def example(n: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``n`` smooth spectra and one noisy realisation of each, (n, 32, 16) in mK² (see the module's text).

    Δ² = A (k/0.2)^p (1 + mu²)^q at k² = k_perp² + k_par², mu = k_par/k, with log-uniform A from 3 to 100 mK², p in [0.6, 1.4], q in [0, 1].

    Returns:
        (smooth spectra, noisy realisation), both (n, 32, 16) in mK².
    """
    rng, held = np.random.default_rng(seed), scales()
    k2 = held.k_perp[:, None] ** 2 + held.k_par[None, :] ** 2
    height, slope, squash = (rng.uniform(a, b, (n, 1, 1)) for a, b in ((math.log(3.0), math.log(100.0)), (0.6, 1.4), (0.0, 1.0)))
    truth = np.exp(height) * (np.sqrt(k2) / 0.2) ** slope * (1.0 + held.k_par[None, :] ** 2 / k2) ** squash
    return truth, noisy_realisation(truth, rng)


def noisy_realisation(power: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """One box's estimate of each spectrum: gamma variates of shape N and mean the spectrum, N the modes of the bin."""
    modes = np.maximum(scales().modes, 1.0)
    return np.asarray(power * rng.gamma(np.broadcast_to(modes, power.shape)) / modes)


def load(condition: Tensor | None = None) -> Pretrained:
    """The 21-cm network, given noisy spectra.

    Args:
        condition: images (1, 1, 32, 16), or one row per sample (``Scales.condition`` makes them); by default that of ``example(1)``.

    Returns:
        the Pretrained 21-cm network, which predicts eps.

    Raises:
        ValueError: another shape.
    """
    noisy = scales().condition(example(1)[1]) if condition is None else condition
    if noisy.ndim != 4 or tuple(noisy.shape[1:]) != SHAPE:
        raise ValueError(f"condition has shape {tuple(noisy.shape)}: give (1, 1, 32, 16), or one row of (1, 32, 16) per sample")
    net = SpectrumNet()
    held = tensors(installed(PACKAGE, "psdenoiser/denoiser_model.pt"))
    net.load_state_dict({k: _standardised(w) if k.endswith(".proj.weight") else w for k, w in held.items()}, strict=True)
    net.eval().requires_grad_(False)
    schedule = VP(0.1, 20.0, t_min=1e-3)

    def time(node: Node) -> float:
        return TIME * node.t

    return Pretrained(
        name=NAME,
        what=WHAT,
        package=PACKAGE,
        licence=licence(PACKAGE),
        network=net,
        schedule=schedule,
        prediction="eps",
        shape=SHAPE,
        spacing="uniform_lam",
        denoise=wrap(net, schedule, "eps", time=time, per_sample={"noisy": noisy}),
        condition={"noisy": noisy},
    )
