"""One body for NumPy arrays and torch tensors: the namespace of an array, and the few functions that the two spell differently.

NumPy 2 and torch share most names and torch takes ``axis`` and ``keepdims``, so a body written as ``xp = namespace(x)`` runs on both, in
the dtype of the state and on its device, as long as constants are Python floats. Torch is looked up, never imported.

Gradients in torch are finite wherever the function has one, also where |v| and v/|v| have a kink or a jump: |0| has the gradient 0 here,
and what is smooth in v (sin|v|/|v|, cos|v|) has its own. Branches that ``where`` does not take are evaluated at harmless points.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from scorebed.solvers.model import Array


def namespace(*arrays: Array) -> Any:
    """``torch`` if one of the arrays is a tensor or stands for one, else ``numpy``."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and any(hasattr(x, "__torch_function__") for x in arrays) else np


def constant(values: Any, like: Array) -> Array:
    """``values`` as an array of the library, dtype and device of ``like``."""
    xp = namespace(like)
    return np.asarray(values, dtype=like.dtype) if xp is np else like.new_tensor(np.asarray(values, dtype=np.float64))


def host(x: Array) -> np.ndarray:
    """``x`` as a float64 NumPy array."""
    return np.asarray(x, dtype=np.float64) if namespace(x) is np else x.detach().cpu().double().numpy()


def is_floating(x: Array) -> bool:
    """Whether ``x`` is an array or tensor of a floating type."""
    if isinstance(x, (np.ndarray, np.generic)):
        return bool(np.issubdtype(x.dtype, np.floating))
    return namespace(x) is not np and x.is_floating_point()


def eps(x: Array) -> float:
    """The unit round-off 2u of the dtype of ``x``."""
    xp = namespace(x)
    return float(xp.finfo(x.dtype).eps)


def dot(u: Array, v: Array) -> Array:
    """Σ u_i v_i over the last axis, which is kept with length 1."""
    # NumPy sums short axes slowly, except in vecdot
    return np.vecdot(u, v)[..., None] if namespace(u, v) is np else (u * v).sum(axis=-1, keepdims=True)


_SMALL = 1e-4
"""Below it two terms of the series of sin(t)/t are exact to 1e-18, and the quotient would lose digits of the derivative."""


def norm(v: Array) -> Array:
    """|v| over the last axis, kept with length 1; scaled, so that 1e-200 and 1e200 neither underflow nor overflow."""
    return unit(v)[1]


def unit(v: Array) -> tuple[Array, Array]:
    """(v / |v|, |v|) over the last axis; the direction of 0 is 0."""
    xp = namespace(v)
    if xp is np:  # where no square can have left the range of the dtype, without scaling
        limits = np.finfo(v.dtype)
        with np.errstate(over="ignore"):
            square = dot(v, v)
        if square.size and square.min() > limits.tiny / limits.eps**2 and square.max() < limits.max:
            length = np.sqrt(square)
            return v / length, length
    top = held(xp.amax(xp.abs(v), axis=-1, keepdims=True))  # v/|v| and |v| do not depend on the scale
    safe = xp.where(top > 0.0, top, 1.0)
    scaled = v / safe
    square = dot(scaled, scaled)
    zero = square == 0.0
    length = xp.sqrt(xp.where(zero, 1.0, square))
    return scaled / length, safe * xp.where(zero, 0.0, length)


def held(x: Array) -> Array:
    """x as a constant, through which no gradient goes."""
    return x if namespace(x) is np else x.detach()


def sinc(t: Array) -> Array:
    """sin(t) / t, 1 at 0."""
    xp = namespace(t)
    small = xp.abs(t) < _SMALL
    safe = xp.where(small, 1.0, t)
    return xp.where(small, 1.0 - t * t / 6.0, xp.sin(safe) / safe)


def sinhc(t: Array) -> Array:
    """sinh(t) / t, 1 at 0."""
    xp = namespace(t)
    small = xp.abs(t) < _SMALL
    safe = xp.where(small, 1.0, t)
    return xp.where(small, 1.0 + t * t / 6.0, xp.sinh(safe) / safe)


def asinhc(t: Array) -> Array:
    """arsinh(t) / t, 1 at 0."""
    xp = namespace(t)
    small = xp.abs(t) < _SMALL
    safe = xp.where(small, 1.0, t)
    return xp.where(small, 1.0 - t * t / 6.0, xp.asinh(safe) / safe)


def angle_over_sine(sine: Array, cosine: Array) -> Array:
    """θ / sin θ for the angle θ in [0, π) of (cosine, sine), sine ≥ 0; 1 / cosine at 0, and 1 / cosine too at π, where it has no value."""
    xp = namespace(sine, cosine)
    zero = sine == 0.0
    safe = xp.where(zero, 1.0, sine)
    return xp.where(zero, 1.0 / xp.where(zero, cosine, 1.0), xp.atan2(safe, cosine) / safe)


def sort(x: Array) -> Array:
    """Ascending along the last axis."""
    xp = namespace(x)
    return xp.sort(x, axis=-1) if xp is np else xp.sort(x, dim=-1).values


def swap(a: Array) -> Array:
    """The transpose of the last two axes."""
    return namespace(a).swapaxes(a, -1, -2)
