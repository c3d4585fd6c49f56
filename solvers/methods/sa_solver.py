r"""SA-Solver: stochastic exponential Adams predictor-corrector of the denoised form (Xue et al., arXiv:2309.05019).

The reverse SDE with tau² of its noise, d(x/alpha) = (1 + tau²) eps d(rho) + tau dW(rho²), is solved over a step, for constant tau, by

    x_t = (sigma_t/sigma_s) e^{-tau² h} x + sigma_t ∫ (1 + tau²) e^{-tau² (lam_t - lam)} e^lam D dlam + sigma_t sqrt(1 - e^{-2 tau² h}) xi,

and D gives way to the polynomial in lam through evaluations: the last p for the predictor, the last c and a new one at the predicted state
for the corrector. Both take the same xi, and the corrector's evaluation serves the next step, so that c costs nothing.

tau² is the eta of k-diffusion (``sde_dpm``). Without a corrector the method is DDPM or DDIM for p = 1, and DPM-Solver++(3M) SDE for p = 3.
Polynomials of higher degree improve the mean; the law keeps weak order 2, for the increment does not tell when in the step noise came.
"""

from __future__ import annotations

from scorebed.solvers.base import Carry, solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import diffuse_by_denoised
from scorebed.solvers.weights.multistep import Past, lam_weights, mix


def _adams(x: Array, xi: Array, past: Past, s: Node, t: Node, tau: float) -> Array:
    """Eqs. 14 and 17: the step for the mean of the evaluations with the weights of eqs. 15 and 18."""
    denoised = mix(lam_weights([node for node, _ in past], s, t, tau * tau), past)
    return diffuse_by_denoised(x, denoised, xi, s, t, tau * tau)


@solver(order=2, weak=2, strong=1, reference="arXiv:2309.05019, SA-Predictor and SA-Corrector (eqs. 15 and 18), constant tau")
@within(p="integer [1, inf)", c="integer [0, inf)", tau="[0, inf)")
def sa_solver(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, p: int = 3, c: int = 3, tau: float = 1.0
) -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) e^{−τ²h} x + α_t (1 − e^{−(1 + τ²)h}) Σ_j w_j D_j + σ_t sqrt(1 − e^{−2τ²h}) ξ, twice with one ξ:

    u    with the weights of the last p evaluations            (p-step SA-Predictor)
    x_t  with those of D(u, t) and the last c evaluations      (c-step SA-Corrector; c = 0: x_t = u)

    The first steps use the evaluations that there are.

    Returns:
        (x_t, the last max(p, c) evaluations, newest first; p − 1 with c = 0).
    """
    past: Past = carry or ()
    if not (past and past[0][0] == s):
        past = ((s, denoise(x, s)), *past)
    xi = noise(s, t)
    u = _adams(x, xi, past[:p], s, t, tau)
    if c == 0:
        return u, past[: p - 1]
    new = (t, denoise(u, t))
    return _adams(x, xi, (past[0], new, *past[1:c]), s, t, tau), (new, *past)[: max(p, c)]
