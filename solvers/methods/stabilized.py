r"""Stabilised Runge-Kutta methods: many stages spent on a long real stability interval instead of on order.

On dy/drho = f(y, rho) = eps, y = x/alpha, s stages of a three-term recurrence make the stability polynomial a_s + b_s P_s(w_0 + w_1 z),
with P the Chebyshev (RKC) or Gegenbauer (RKG) polynomials, bounded by one on an interval that grows as s²:

    Y_1 = Y_0 + mu~_1 h f_0,
    Y_j = (1 - mu_j - nu_j) Y_0 + mu_j Y_{j-1} + nu_j Y_{j-2} + mu~_j h f_{j-1} + gamma~_j h f_0,      j = 2 … s.

Chebyshev: Sommeijer, Shampine & Verwer, J. Comput. Appl. Math. 88 (1998), interval about 0.65 s².  Gegenbauer: Skaras, Saxton, Meyer &
Aslam, J. Comput. Phys. 425 (2021), interval (s + 4)(s - 1)/3, a little more for odd s.

STORK (Tan et al., arXiv:2505.24210) takes the RKG recurrence with f at the stages from its Taylor polynomial in time, so that a step costs
one evaluation. What it adds to the state is then h Σ_j b_j f(c_j) of a parabola f: a linear multistep method, stable on the interval
2/(3 + 2q), q = Σ_j b_j c_j² -> 1/4, whatever the number of stages; q = 1/3 would be Adams-Bashforth of order three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.methods.edm import at_rho, heun
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of
from scorebed.solvers.weights.multistep import divided_differences

_DAMPING = 2.0 / 13.0
"""epsilon of RKC: |R| stays about 1 - epsilon/3 inside the interval."""


@dataclass(frozen=True)
class Recurrence:
    """The coefficients of stage j = 1 … s at index j - 1, and the abscissae c_1 … c_s they imply."""

    mu: list[float]
    nu: list[float]
    mu_tilde: list[float]
    gamma_tilde: list[float]
    c: list[float]


def _recurrence(mu: list[float], nu: list[float], mu_tilde: list[float], gamma_tilde: list[float]) -> Recurrence:
    c = [0.0, mu_tilde[0]]
    for j in range(1, len(mu)):
        c.append(mu[j] * c[j] + nu[j] * c[j - 1] + mu_tilde[j] + gamma_tilde[j])
    return Recurrence(mu, nu, mu_tilde, gamma_tilde, c[1:])


def _several(stages: int) -> int:
    if isinstance(stages, bool) or not isinstance(stages, int) or stages < 2:
        raise ValueError(f"stages = {stages!r}: give an integer of at least 2")
    return stages


@cache
def chebyshev(stages: int) -> Recurrence:
    """w_0 = 1 + ε/s², w_1 = T_s'/T_s'', b_j = T_j''/T_j'², a_j = 1 − b_j T_j at w_0, b_0 = b_1 = b_2."""
    s = _several(stages)
    w0 = 1.0 + _DAMPING / s**2
    t, d, dd = [1.0, w0], [0.0, 1.0], [0.0, 0.0]  # T_j, T_j', T_j'' at w_0
    for j in range(2, s + 1):
        t.append(2.0 * w0 * t[j - 1] - t[j - 2])
        d.append(2.0 * w0 * d[j - 1] - d[j - 2] + 2.0 * t[j - 1])
        dd.append(2.0 * w0 * dd[j - 1] - dd[j - 2] + 4.0 * d[j - 1])
    w1 = d[s] / dd[s]
    b = [dd[max(j, 2)] / d[max(j, 2)] ** 2 for j in range(s + 1)]
    mu = [0.0, *(2.0 * w0 * b[j] / b[j - 1] for j in range(2, s + 1))]
    nu = [0.0, *(-b[j] / b[j - 2] for j in range(2, s + 1))]
    mu_tilde = [b[1] * w1, *(2.0 * w1 * b[j] / b[j - 1] for j in range(2, s + 1))]
    gamma_tilde = [0.0, *(-(1.0 - b[j - 1] * t[j - 1]) * mu_tilde[j - 1] for j in range(2, s + 1))]
    return _recurrence(mu, nu, mu_tilde, gamma_tilde)


@cache
def gegenbauer(stages: int) -> Recurrence:
    """w_0 = 1, w_1 = 6/((s + 4)(s − 1)), b_j = 4 (j − 1)(j + 4)/(3 j (j + 1)(j + 2)(j + 3)), b_0 = 1, b_1 = 1/3, with C_j^{(3/2)}."""
    s = _several(stages)
    w1 = 6.0 / ((s + 4) * (s - 1))
    b = [1.0, 1.0 / 3.0, *(4.0 * (j - 1) * (j + 4) / (3.0 * j * (j + 1) * (j + 2) * (j + 3)) for j in range(2, s + 1))]
    mu = [0.0, *((2 * j + 1) * b[j] / (j * b[j - 1]) for j in range(2, s + 1))]
    nu = [0.0, *(-(j + 1) * b[j] / (j * b[j - 2]) for j in range(2, s + 1))]
    mu_tilde = [w1, *(m * w1 for m in mu[1:])]
    gamma_tilde = [0.0, *(-(1.0 - 0.5 * j * (j + 1) * b[j - 1]) * mu_tilde[j - 1] for j in range(2, s + 1))]
    return _recurrence(mu, nu, mu_tilde, gamma_tilde)


def _run(r: Recurrence, y: Any, h: float, first: Any, slope: Callable[[Any, int], Any]) -> Any:
    """Y_s, with ``first`` the slope at Y_0 = ``y`` and ``slope(Y_j, j)`` that at c_j; for arrays and for numbers."""
    before, now = y, y + (h * r.mu_tilde[0]) * first
    for j in range(1, len(r.mu)):
        move = (h * r.mu_tilde[j]) * slope(now, j) + (h * r.gamma_tilde[j]) * first
        before, now = now, (1.0 - r.mu[j] - r.nu[j]) * y + r.mu[j] * now + r.nu[j] * before + move
    return now


def _in_rho(r: Recurrence, denoise: Denoiser, x: Array, s: Node, t: Node) -> Array:
    def slope(y: Array, j: int) -> Array:
        node = at_rho(s, t, r.c[j - 1])
        here = node.alpha * y
        return eps_of(here, denoise(here, node), node)

    return t.alpha * _run(r, (1.0 / s.alpha) * x, t.rho - s.rho, eps_of(x, denoise(x, s), s), slope)


@solver(order=2, reference="Sommeijer, Shampine & Verwer, J. Comput. Appl. Math. 88 (1998), RKC of order 2")
@within(stages="integer [2, inf)")
def rkc2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, stages: int = 3) -> tuple[Array, None]:
    r"""Y_j = (1 − μ_j − ν_j) y + μ_j Y_{j−1} + ν_j Y_{j−2} + h (μ̃_j ε_{j−1} + γ̃_j ε_s),  y_t = Y_s, with T_j.  Interval about 0.65 s²."""
    return _in_rho(chebyshev(stages), denoise, x, s, t), None


@solver(order=2, reference="Skaras, Saxton, Meyer & Aslam, J. Comput. Phys. 425 (2021), RKG2")
@within(stages="integer [2, inf)")
def rkg2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, stages: int = 3) -> tuple[Array, None]:
    r"""The same recurrence with C_j^{(3/2)}.  Interval (s + 4)(s − 1)/3 or a little more; no damping is needed."""
    return _in_rho(gegenbauer(stages), denoise, x, s, t), None


@cache
def stork_moment(stages: int) -> float:
    """q = Σ_j b_j c_j² of the RKG quadrature: what the recurrence makes of f = ρ². Σ b_j = 1 and Σ b_j c_j = 1/2."""
    r = gegenbauer(stages)
    return float(_run(r, 0.0, 1.0, 0.0, lambda _, j: r.c[j - 1] ** 2))


@solver(order=2, reference="arXiv:2505.24210, STORK-2, with divided differences and the abscissae of RKG2", start=heun, starts=2)
@within(stages="integer [2, inf)")
def stork_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, stages: int = 50) -> tuple[Array, Carry]:
    r"""y_t = y + h (ε + (h/2) ε' + (q h²/2) ε''),  q = Σ b_j c_j²: ε', ε'' from the parabola through the last three ε at their ρ."""
    past = ((s, eps_of(x, denoise(x, s), s)), *(carry or ()))
    rhos, h = [node.rho for node, _ in past], t.rho - s.rho
    y = (1.0 / s.alpha) * x + h * past[0][1]
    if len(past) == 3:
        _, slope, curve = divided_differences(rhos, [value for _, value in past])
        # P(ρ) = ε + slope (ρ − ρ_0) + curve (ρ − ρ_0)(ρ − ρ_1): P' = slope + curve (ρ_0 − ρ_1) and P''/2 = curve
        y = y + 0.5 * h**2 * slope + h**2 * (0.5 * (rhos[0] - rhos[1]) + stork_moment(stages) * h) * curve
    return t.alpha * y, past[:2]
