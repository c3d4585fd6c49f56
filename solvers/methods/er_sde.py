r"""ER-SDE-Solvers: the extended reverse-time SDE with any amount of noise (Cui et al., arXiv:2309.06169).

With y = x/alpha and rho = sigma/alpha (the paper's lambda) a noise-scale function phi(rho), phi/rho not falling, names one SDE with the
marginals of the process,

    dy = (phi'/phi) (y - D) drho + noise,      y_t = (phi_t/phi_s) y + phi_t ∫ (phi'/phi²) D drho + sqrt(rho_t² - rho_s² phi_t²/phi_s²) xi.

ER-SDE-Solver-k puts the polynomial through the last k evaluations in the place of D; the paper expands in rho, DPM-Solver++ in lam.

    phi      ode    sde     sde_1                sde_2     sde_3     sde_5
             rho    rho²    rho (e^{-1/rho} + 10)  rho^{3/2}  rho^{5/2}  rho (e^{rho^0.3} + 10)

phi = rho^{1 + eta} is k-diffusion's eta. The paper recommends sde_5, which is close to the ODE: with a third-order drift its error changes
sign near 64 steps, and the default sde_2 shows its order sooner. The paper's sde_4 is not here: its phi/rho falls for rho > 1022, where the
variance is negative.
The integrals are Gauss-Legendre sums over lam in the place of the paper's Riemann sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.multistep import mix, shares

Phi = Literal["ode", "sde", "sde_1", "sde_2", "sde_3", "sde_5"]
Variable = Literal["rho", "lam"]

_POINTS, _WEIGHTS = (a.tolist() for a in np.polynomial.legendre.leggauss(32))


def _power(eta: float) -> tuple[Callable[[float], float], Callable[[float], float]]:
    return lambda lam: -eta * lam, lambda lam: 1.0 + eta


def _sde_1(lam: float) -> float:
    return math.log(math.exp(-math.exp(min(lam, 700.0))) + 10.0)


def _sde_1_slope(lam: float) -> float:
    inverse = math.exp(min(lam, 700.0))  # 1/rho
    return 1.0 + inverse * math.exp(-inverse) / (math.exp(-inverse) + 10.0)


def _sde_5(lam: float) -> float:
    u = math.exp(-0.3 * lam)  # rho^0.3
    return u + math.log1p(10.0 * math.exp(-u))


def _sde_5_slope(lam: float) -> float:
    u = math.exp(-0.3 * lam)
    return 1.0 + 0.3 * u / (1.0 + 10.0 * math.exp(-u))


_PHI = {
    "ode": _power(0.0),
    "sde": _power(1.0),
    "sde_1": (_sde_1, _sde_1_slope),
    "sde_2": _power(0.5),
    "sde_3": _power(1.5),
    "sde_5": (_sde_5, _sde_5_slope),
}
"""log(φ/ρ) and d log φ/d log ρ as functions of λ = −log ρ."""


def phi_weights(nodes: Sequence[Node], s: Node, t: Node, phi: Phi, variable: Variable) -> list[float]:
    """w_j = ∫ ℓ_j (φ'/φ²) dρ / ∫ (φ'/φ²) dρ over the step, ℓ_j the Lagrange polynomials in the variable."""
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0] + [0.0] * (len(nodes) - 1)
    log_scale, slope = _PHI[phi]

    def place(lam: float) -> float:
        return math.expm1(s.lam - lam) / math.expm1(-h) if variable == "rho" else (lam - s.lam) / h

    lams = [s.lam + 0.5 * (1.0 + p) * h for p in _POINTS]
    kernel = [w * slope(lam) * math.exp(log_scale(t.lam) - log_scale(lam) + lam - t.lam) for lam, w in zip(lams, _WEIGHTS, strict=True)]
    total = math.fsum(kernel)
    moments = [math.fsum(w * place(lam) ** k for lam, w in zip(lams, kernel, strict=True)) / total for k in range(len(nodes))]
    return shares([place(node.lam) for node in nodes], moments)


def _step(
    k: int, denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, phi: Phi, variable: Variable
) -> tuple[Array, Carry]:
    past = ((s, denoise(x, s)), *(carry or ()))
    h, grown = t.lam - s.lam, _PHI[phi][0](t.lam) - _PHI[phi][0](s.lam)
    denoised = mix(phi_weights([node for node, _ in past], s, t, phi, variable), past)
    drift = (t.sigma / s.sigma) * math.exp(grown) * x - t.alpha * math.expm1(grown - h) * denoised
    return drift + t.sigma * math.sqrt(-math.expm1(2.0 * grown)) * noise(s, t), past[: k - 1]


@solver(order=1, weak=1, strong=1, reference="arXiv:2309.06169, ER-SDE-Solver-1")
def er_sde_1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, phi: Phi = "sde_2") -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s)(φ_t/φ_s) x + α_t (1 − φ_t/φ_s) D + α_t sqrt(ρ_t² − ρ_s² φ_t²/φ_s²) ξ.  DDIM and DDPM for ode and sde."""
    return _step(1, denoise, x, s, t, None, noise, phi, "rho")[0], None


@solver(order=2, weak=2, strong=1, reference="arXiv:2309.06169, ER-SDE-Solver-2, with the exact integral")
def er_sde_2(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, phi: Phi = "sde_2", variable: Variable = "rho"
) -> tuple[Array, Carry]:
    r"""x_t = (α_t/α_s)(φ_t/φ_s) x + α_t (1 − φ_t/φ_s) D_s + α_t (ρ_t − ρ_s + φ_t ∫_{ρ_t}^{ρ_s} dρ/φ) D' + noise as above,

    D' = (D_s − D_r)/(ρ_s − ρ_r); the first step is ER-SDE-Solver-1.

    Returns:
        (x_t, the last evaluation for the next step).
    """
    return _step(2, denoise, x, s, t, carry, noise, phi, variable)


@solver(order=2, weak=2, strong=1, reference="arXiv:2309.06169, ER-SDE-Solver-3, with the exact integrals and slope")
def er_sde_3(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, phi: Phi = "sde_2", variable: Variable = "rho"
) -> tuple[Array, Carry]:
    r"""x_t = … + α_t ((ρ_t − ρ_s)²/2 + φ_t ∫_{ρ_t}^{ρ_s} (ρ − ρ_s)/φ dρ) D'',  D' and D'' those of the parabola through D_s, D_r, D_q.

    The paper takes the backward difference for D', which is half a step off, so that D'' does no good. With the ode phi and variable = lam
    equal to DPM-Solver++(3M) once the memory is full, with the sde phi to its SDE.

    Returns:
        (x_t, the last two evaluations for the next step).
    """
    return _step(3, denoise, x, s, t, carry, noise, phi, variable)
