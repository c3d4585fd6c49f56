r"""Tables of a radial heat kernel on a device: L = log K, R = −dL/dc and S = −dR/dc as functions of c = cos r.

The exact radial kernel of ``analytic.heat`` at Chebyshev points of panels of equal width in r, once for each time, interpolated on every
panel by a polynomial. All three are smooth in c at both ends, where r is not.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scorebed.analytic.heat.radial import radial_of
from scorebed.solvers.space import SO3, SU2, Sphere

_DEGREE = 11
_FINEST = 8192
"""Panels of a table at most; a panel is at most t/2 wide, the scale on which a kernel turns at the cut locus."""


class Tabulated(torch.autograd.Function):
    """``apply(c, r, table, which)``: L (0) or R (1) at c = cos r, whose derivative in c is −R or −S, the next table."""

    @staticmethod
    def forward(ctx: Any, c: Tensor, r: Tensor, table: Tensor, which: int) -> Tensor:
        ctx.save_for_backward(r, table)
        ctx.which = which
        return look_up(table[which], r)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, v: Tensor) -> tuple[Tensor, None, None, None]:
        r, table = ctx.saved_tensors
        return -v * look_up(table[ctx.which + 1], r), None, None, None


def look_up(table: Tensor, r: Tensor) -> Tensor:
    """The polynomials (panels, degree + 1), highest power first, at r in [0, π]."""
    panels = len(table)
    place = (r * (panels / math.pi)).clamp(0.0, panels * (1.0 - 1e-7))
    which = place.floor()
    u = 2.0 * (place - which) - 1.0
    rows = table[which.long()]
    value = rows[..., 0]
    for i in range(1, rows.shape[-1]):
        value = value * u + rows[..., i]
    return value


def radial_table(space: Any, t: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The tables of L, R, S, (3, panels, degree + 1); the latest are kept.

    Returns:
        (3, panels, degree + 1) tables of L, R and S on the device.

    Raises:
        ValueError: a time so short that the table would have more than 8192 panels.
    """
    return _device_table(type(space).__name__, space.dim, float(t), device, dtype)


@lru_cache(maxsize=512)
def _device_table(kind: str, dim: int, t: float, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.as_tensor(_table(kind, dim, t), device=device).to(dtype)


@lru_cache(maxsize=512)
def _table(kind: str, dim: int, t: float) -> np.ndarray:
    space: Any = Sphere(dim) if kind == "Sphere" else {"SU2": SU2, "SO3": SO3}[kind]()
    panels = max(24, math.ceil(2.0 * math.pi / t))
    if panels > _FINEST:
        raise ValueError(f"time = {t:g} on {space.name} needs a table of {panels} panels: give a longer one, {2 * math.pi / _FINEST:.1e}")
    radial = radial_of(space)
    assert radial is not None
    nodes = np.cos((np.arange(_DEGREE + 1) + 0.5) * math.pi / (_DEGREE + 1))
    half = 0.5 * math.pi / panels
    r = (2.0 * np.arange(panels)[:, None] + 1.0 + nodes) * half
    log, slope = (a.reshape(r.shape) for a in radial.kernel(r.reshape(-1), t))
    to_powers = np.linalg.inv(np.vander(nodes))
    rate = slope / np.sin(r)
    first, second = log @ to_powers.T, rate @ to_powers.T
    steep = (second[:, :-1] * np.arange(_DEGREE, 0, -1)) @ np.vander(nodes, _DEGREE).T / half / np.sin(r)
    return np.stack([first, second, steep @ to_powers.T])
