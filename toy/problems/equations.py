r"""Stochastic differential equations dX = b(X, t) dt + s(X, t) dW (Itô) whose answers are known, for solvers of other libraries.

    ou           dX = −a(t)(X − m) dt + s(t) dW          additive, coefficients that depend on time: Gaussian, by quadrature in time
    gbm          dX = mu X dt + s X dW                    multiplicative: X_T = x exp((mu − s²/2) T + s W_T)
    sinh         dX = ½ s² X dt + s sqrt(1 + X²) dW       multiplicative, nonlinear: X_T = sinh(asinh x + s W_T)
    double well  dX = (X − X³) dt + s dW                  additive, nonlinear: the semigroup of the generator, by collocation
    langevin     dX = ½ s² (log p)'(X) dt + s dW          additive, p a mixture of two Gaussians: likewise

An answer is u(x) = E[f(X_T) | X_0 = x] for a few bounded f. The generator L u = b u' + ½ s² u'' is discretised at Chebyshev points of an
interval that paths do not leave, u' = 0 at its ends, and u_T = e^{TL} f.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import expm

from scorebed.analytic import GaussianMixture

Floats = NDArray[np.float64]
Coefficient = Callable[[Floats, float], Floats]
SPAN = 1.0
"""T, where every equation ends."""
STARTS = np.array([-0.9, 0.2, 0.7])
"""Where the answers are compared."""


def observables(x: Floats) -> Floats:
    """tanh x, 1/(1 + x²) and cos 2x/(1 + x²/9), bounded and smooth; shape (..., 3)."""
    return np.stack([np.tanh(x), 1.0 / (1.0 + x**2), np.cos(2.0 * x) / (1.0 + x**2 / 9.0)], axis=-1)


@dataclass(frozen=True)
class Equation:
    """An equation with its answers.

    Attributes:
        name: what the report calls it.
        drift, diffusion: b(x, t) and s(x, t) of Itô's equation, elementwise.
        additive: whether s does not depend on x.
        mean: E[f(X_T) | X_0 = x] at ``STARTS`` for ``observables``; shape (3, 3).
        slope: ∂s/∂x, for the other calculus.
        strong: X_T of (x, W_T), where it is a function of these; None otherwise.
        reach: |x| that paths do not leave.
    """

    name: str
    drift: Coefficient
    diffusion: Coefficient
    additive: bool
    mean: Callable[[], Floats]
    slope: Coefficient
    strong: Callable[[Floats, Floats], Floats] | None = None
    reach: float = 8.0


def _normals(points: int = 80) -> tuple[Floats, Floats]:
    z, w = np.polynomial.hermite_e.hermegauss(points)
    return z, w / w.sum()


def _expected(values: Callable[[Floats, Floats], Floats]) -> Floats:
    """E f(X_T) for X_T a function of (x, a unit normal)."""
    z, w = _normals()
    return np.einsum("z,xzf->xf", w, observables(values(STARTS[:, None], z[None])))


def _zero(x: Floats, t: float) -> Floats:
    return 0.0 * x


_CENTRE = 0.3


def _rate(t: float) -> float:
    return 1.0 + 0.5 * float(np.cos(3.0 * t))


def _level(t: float) -> float:
    return 0.8 + 0.3 * float(np.sin(2.0 * t))


@cache
def _ou() -> Floats:
    """Mean m + e^{−A(0,T)}(x − m), variance ∫ e^{−2A(t,T)} s(t)² dt, A(t, T) = T − t + (sin 3T − sin 3t)/6."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    t, w = 0.5 * SPAN * (nodes + 1.0), 0.5 * SPAN * weights

    def left(t: Floats | float) -> Floats:
        return np.asarray(SPAN - t + (np.sin(3.0 * SPAN) - np.sin(3.0 * np.asarray(t))) / 6.0)

    variance = float(w @ (np.exp(-2.0 * left(t)) * (0.8 + 0.3 * np.sin(2.0 * t)) ** 2))
    kept = float(np.exp(-left(0.0)))
    return _expected(lambda x, z: _CENTRE + kept * (x - _CENTRE) + np.sqrt(variance) * z)


_GROWTH, _SPREAD = 0.4, 0.5


def _gbm(x: Floats, w: Floats) -> Floats:
    return x * np.exp((_GROWTH - 0.5 * _SPREAD**2) * SPAN + _SPREAD * w)


def _sinh(x: Floats, w: Floats) -> Floats:
    return np.sinh(np.arcsinh(x) + _SPREAD * w)


def _semigroup(drift: Coefficient, diffusion: Coefficient, reach: float, points: int = 160) -> Floats:
    """e^{TL} f at ``STARTS`` by Chebyshev collocation."""
    k = np.arange(points + 1)
    x = np.cos(np.pi * k / points)
    c = np.where((k == 0) | (k == points), 2.0, 1.0) * (-1.0) ** k
    gaps = x[:, None] - x[None] + np.eye(points + 1)
    d = np.outer(c, 1.0 / c) / gaps
    d -= np.diag(d.sum(axis=1))
    d /= reach
    x = reach * x
    generator = drift(x, 0.0)[:, None] * d + 0.5 * (diffusion(x, 0.0) ** 2)[:, None] * (d @ d)
    ends, inner = [0, points], slice(1, points)
    # u' = 0 at both ends gives the values there from the inner ones
    closed = -np.linalg.solve(d[np.ix_(ends, ends)], d[ends][:, inner])
    u = expm(SPAN * (generator[inner, inner] + generator[inner][:, ends] @ closed)) @ observables(x[inner])
    full = np.concatenate([(closed @ u)[:1], u, (closed @ u)[1:]])
    weights = c / np.where((k == 0) | (k == points), 2.0, 1.0) * np.where((k == 0) | (k == points), 0.5, 1.0)
    share = weights / (STARTS[:, None] - x[None])
    return np.asarray(share @ full / share.sum(axis=1, keepdims=True))


_NOISE, _VARIANCES = 0.9, (0.5, 0.4)


def _well(x: Floats, t: float) -> Floats:
    return x - x**3


@cache
def _target() -> GaussianMixture:
    return GaussianMixture([0.45, 0.55], [[-1.1], [1.0]], list(_VARIANCES))


def _force(x: Floats, t: float) -> Floats:
    """½ s² (log p)'."""
    law = _target()
    w, m, v = (np.asarray(a, dtype=float).ravel() for a in (law.weights, law.means, _VARIANCES))
    flat = np.asarray(x, dtype=float)[..., None]
    log = np.log(w) - 0.5 * np.log(v) - 0.5 * (flat - m) ** 2 / v
    gamma = np.exp(log - log.max(axis=-1, keepdims=True))
    return np.asarray(0.5 * _NOISE**2 * np.sum(gamma * (m - flat) / v, axis=-1) / gamma.sum(axis=-1))


def _constant(x: Floats, t: float) -> Floats:
    return _NOISE + 0.0 * x


EQUATIONS: dict[str, Equation] = {
    e.name: e
    for e in (
        Equation(
            name="ou",
            drift=lambda x, t: -_rate(t) * (x - _CENTRE),
            diffusion=lambda x, t: _level(t) + 0.0 * x,
            additive=True,
            mean=_ou,
            slope=_zero,
        ),
        Equation(
            name="double well",
            drift=_well,
            diffusion=_constant,
            additive=True,
            mean=cache(lambda: _semigroup(_well, _constant, 4.5)),
            slope=_zero,
            reach=4.5,
        ),
        Equation(
            name="langevin",
            drift=_force,
            diffusion=_constant,
            additive=True,
            mean=cache(lambda: _semigroup(_force, _constant, 7.0)),
            slope=_zero,
            reach=7.0,
        ),
        Equation(
            name="gbm",
            drift=lambda x, t: _GROWTH * x,
            diffusion=lambda x, t: _SPREAD * x,
            additive=False,
            mean=cache(lambda: _expected(_gbm)),
            slope=lambda x, t: _SPREAD + 0.0 * x,
            strong=_gbm,
            reach=60.0,
        ),
        Equation(
            name="sinh",
            drift=lambda x, t: 0.5 * _SPREAD**2 * x,
            diffusion=lambda x, t: _SPREAD * np.sqrt(1.0 + x**2),
            additive=False,
            mean=cache(lambda: _expected(_sinh)),
            slope=lambda x, t: _SPREAD * x / np.sqrt(1.0 + x**2),
            strong=_sinh,
            reach=60.0,
        ),
    )
}
"""The equations by name."""
