r"""DPM-Solver-v3: multistep exponential integrators in a parameterisation fitted to the model (Zheng et al., arXiv:2310.13268).

With coefficients l, s and b of lam, and f = (sigma eps - l x)/alpha = (1 - l) x/alpha - D, the probability-flow ODE is (eqs. 4-9)

    x_t/alpha_t = e^{-L_t} (x/alpha_s - ∫ e^{L+S} (g + B) dlam),      g = e^{-S} f - B,
    L = ∫ l,   S = ∫ s,   B = ∫ e^{-S} b,      all from lam_s, over [lam_s, lam_t],

and g is replaced by a polynomial through the last evaluations. l = 1, s = b = 0 approximate D; l = 0, s = -1, b = 0 approximate eps. The
model statistics are those l, s and b that make g as nearly constant along the flow as such numbers can (eqs. 5 and 11);
``analytic.gaussian.statistics`` computes them for mixtures.

For N(m, v I) they are l = sigma²/(alpha² v + sigma²), s = dlog(l)/dlam, b = 0, the same for every m. Then g = -l_s m is constant, and one
step of any length is exact. -f/l = (x + (alpha² v + sigma²) score)/alpha is the mean that data of variance v would have, given this
score.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from scorebed.solvers.base import Carry, Solver, remade, solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import alike
from scorebed.solvers.weights.exponential import flow_by_denoised
from scorebed.solvers.weights.lagrange import lagrange

_PANEL = 2.0
"""Length in lam of a panel of quadrature: e^lam and 1/(1 + e^{2 lam}), singular at ±i pi/2, are integrated to round-off by 16 points."""
_POINTS, _WEIGHTS = (a.astype(float) for a in np.polynomial.legendre.leggauss(16))


class Statistics(Protocol):
    """l, s and b as functions of lam of shape (n,): arrays of shape (n,), or (n, d) where each coordinate has its own.

    ``linear`` says that l and s are of shape (n,) and b is zero: then the solver is linear in its arrays and unrolls to a Plan.
    """

    @property
    def linear(self) -> bool: ...
    def l(self, lam: np.ndarray) -> np.ndarray: ...  # noqa: E743
    def s(self, lam: np.ndarray) -> np.ndarray: ...
    def b(self, lam: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Isotropic:
    """The statistics of N(m, variance I) for every m; variance 0 is data prediction, l = 1 and s = 0.

    Raises:
        ValueError: a variance that is negative or not finite.
    """

    variance: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.variance) and self.variance >= 0.0):
            raise ValueError(f"Isotropic: variance = {self.variance!r} must be finite and not negative")

    @property
    def linear(self) -> bool:
        return True

    def l(self, lam: np.ndarray) -> np.ndarray:  # noqa: E743
        """σ²/(α² v + σ²) = 1/(1 + v e^{2λ})."""
        return 1.0 / (1.0 + self.variance * np.exp(2.0 * lam))

    def s(self, lam: np.ndarray) -> np.ndarray:
        """d log l/dλ = −2 (1 − l)."""
        return -2.0 * self.variance * np.exp(2.0 * lam) * self.l(lam)

    def b(self, lam: np.ndarray) -> np.ndarray:
        return 0.0 * lam


class Integrals(NamedTuple):
    """Points ``lam`` (n,) of an interval, ``weights`` (n, 1), e^{L+S} and B at the points (n, c), and L, S, B at the end (c,)."""

    lam: np.ndarray
    weights: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    end: tuple[np.ndarray, np.ndarray, np.ndarray]


def _running() -> np.ndarray:
    """The matrix from values at the points of [-1, 1] to the integrals from -1 to each point: ∫ P_k = (P_{k+1} − P_{k−1})/(2k + 1)."""
    n = len(_POINTS)
    p = np.polynomial.legendre.legvander(_POINTS, n)
    integral = np.column_stack([p[:, 1] + p[:, 0], p[:, 2:] - p[:, :-2]])
    return 0.5 * integral @ (p[:, :n] * _WEIGHTS[:, None]).T


_RUNNING = _running()


def integrals(statistics: Statistics, start: float, end: float) -> Integrals:
    """L, S and B from ``start`` on, along the panels of [start, end], in either direction."""
    panels = max(1, math.ceil(abs(end - start) / _PANEL))
    half = 0.5 * (end - start) / panels
    L = S = B = np.zeros(1)
    parts = []
    for i in range(panels):
        lam = start + half * (2 * i + 1 + _POINTS)
        l, s, b = (np.reshape(value(lam), (len(lam), -1)) for value in (statistics.l, statistics.s, statistics.b))
        at_s = S + half * (_RUNNING @ s)
        scaled = np.exp(-at_s) * b
        kernel = np.exp(L + half * (_RUNNING @ l) + at_s)
        parts.append((lam, half * _WEIGHTS[:, None], kernel, B + half * (_RUNNING @ scaled)))
        L, S, B = (total + half * (_WEIGHTS @ value) for total, value in ((L, l), (S, s), (B, scaled)))
    lam, weights, kernel, bias = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Integrals(lam, weights, kernel, bias, (L, S, B))


def _as_coefficient(value: np.ndarray, x: Array) -> Any:
    """A float, or where each coordinate has its own an array of the kind and dtype of ``x``."""
    if value.size == 1:
        return float(value[0])
    return alike(value, x)


def residual(statistics: Statistics, x: Array, denoised: Array, node: Node) -> Array:
    """f = (1 − l) x/α − D."""
    l = np.reshape(statistics.l(np.array([node.lam])), -1)
    return _as_coefficient((1.0 - l) / node.alpha, x) * x - denoised


Variable = Literal["lam", "exp_lam"]
Past = Sequence[tuple[Node, Array]]


def update(statistics: Statistics, variable: Variable, past: Past, x: Array, s: Node, t: Node) -> Array:
    """x_t = α_t e^{−L} (x/α_s − ∫ e^{L+S} (P + B) dλ),  P through g_j = e^{−S_j} f_j − B_j of the evaluations (node, f) in ``past``."""
    if t.lam == s.lam:
        return x

    def place(lam: Any) -> Any:
        return lam - s.lam if variable == "lam" else np.exp(lam - s.lam)

    q = integrals(statistics, s.lam, t.lam)
    back = t.alpha * np.exp(-q.end[0])
    places = [float(place(node.lam)) for node, _ in past]
    constant = (q.weights * q.kernel * q.bias).sum(0)
    total = _as_coefficient(back / s.alpha, x) * x
    for j, (node, f) in enumerate(past):
        ell = np.array([lagrange(places, j, float(u)) for u in place(q.lam)])[:, None]
        weight = (q.weights * q.kernel * ell).sum(0)
        _, at_s, at_b = integrals(statistics, s.lam, node.lam).end
        constant = constant - weight * at_b
        total = total - _as_coefficient(back * weight * np.exp(-at_s), x) * f
    return total if statistics.linear else total - _as_coefficient(back * constant, x)


def dpm_solver_v3(statistics: Statistics, order: int, *, variable: Variable = "lam", register: bool = False) -> Solver:
    r"""The multistep predictor of order 1, 2 or 3 for these statistics (arXiv:2310.13268, eqs. 13-14; first order is n = 0).

    ``variable``: P is a polynomial in λ, as in the paper, or in e^λ. With ``Isotropic`` statistics −g/l_s = c − v e^λ eps for constant D
    = c, so that a line in e^λ is exact for constant D too, a line in λ is not. While the memory grows, steps are singlestep, with a
    second evaluation at the middle of the DDIM step; they are exact where the others are. Statistics that are not ``linear`` make the
    solver ``nonlinear``.

    Returns:
        the Solver of this order for these statistics.

    Raises:
        ValueError: another order.
    """
    if order not in (1, 2, 3):
        raise ValueError(f"dpm_solver_v3: order = {order!r} is not known: give 1, 2 or 3")
    why = None if statistics.linear else "its statistics have a bias, or differ from coordinate to coordinate"
    reference = "arXiv:2310.13268, eqs. 13-14"

    def single(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise) -> tuple[Array, Any]:
        i, denoised = s.toward(t, 0.5), denoise(x, s)
        u = flow_by_denoised(x, denoised, s, i)
        past = ((s, residual(statistics, x, denoised, s)), (i, residual(statistics, u, denoise(u, i), i)))
        return update(statistics, variable, past, x, s, t), None

    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        past = ((s, residual(statistics, x, denoise(x, s), s)), *(carry or ()))
        return update(statistics, variable, past, x, s, t), past[: order - 1]

    single.__name__, step.__name__ = "dpm_solver_v3_single", f"dpm_solver_v3_{order}"
    step.__doc__ = f"x_t = α_t e^{{−L}} (x/α_s − ∫ e^{{L+S}} (P + B) dλ), P through the last {order} g = e^{{−S}} f − B; {statistics}."
    remade(single, _single, statistics, variable)
    remade(step, dpm_solver_v3, statistics, order, variable=variable)
    start = solver(order=2, reference=reference, nonlinear=why, register=False)(single) if order > 1 else None
    return solver(order=order, reference=reference, start=start, starts=order - 1, nonlinear=why, register=register)(step)


def _single(statistics: Statistics, variable: Variable) -> Solver:
    """The singlestep method that starts the others."""
    start = dpm_solver_v3(statistics, 2, variable=variable).start
    assert start is not None
    return start


dpm_solver_v3_2 = dpm_solver_v3(Isotropic(1.0), 2, variable="exp_lam", register=True)
dpm_solver_v3_3 = dpm_solver_v3(Isotropic(1.0), 3, variable="exp_lam", register=True)
