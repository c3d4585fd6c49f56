r"""Momentum: heavy ball, Nesterov and the generalised heavy ball (Wizadwongsa et al., arXiv:2307.11118).

With y = x/alpha and rho = sigma/alpha as the time, dy/drho = f = eps. Heavy ball averages the increments g of a method exponentially,

    v_{n+1} = (1 - beta) v_n + beta g_n,   y_{n+1} = y_n + delta v_{n+1}                                     (eq. 14),

which widens the real stability interval of Adams-Bashforth by (2 - beta)/beta and leaves order one. The generalised heavy ball averages f
itself and takes the Adams-Bashforth series of the average, with c_0 = 1, c_j = gamma_j + (1 - beta)/beta gamma_{j-1} (eqs. 15-16),

    v_{n+1} = (1 - beta) v_n + beta f_n,   y_{n+1} = y_n + delta Σ_{j<r} c_j ∇^j v_{n+1},

of order r. As f = v + (1 - beta)/beta ∇v, this is Adams-Bashforth of which only the last difference is averaged,

    y_{n+1} = y_n + delta (Σ_{j<r-1} gamma_j ∇^j f_n + gamma_{r-1} ∇^{r-1} v_{n+1}),

and so it is written here, with divided differences: this form keeps its order on steps of any length, which the other does not. beta = 1 is
Adams-Bashforth of order r; as beta -> 0 the stability interval becomes that of order r - 1:

    ghvb_1: 2 (2 - beta)/beta,   ghvb_2: 2 - beta,   ghvb_3: 6 (2 - beta)/(12 - beta),   ghvb_4: 3 (2 - beta)/(11 - beta).

What this means under guidance: on data far narrower than the noise, guided with scale w, D = (1 - w) y about the mean and lambda = w/rho,
so that on steps of constant ratio q = rho'/rho all that counts is w (1 - q). The most that decays, as measured in the tests, is

    q      AB-1   ghvb_1(0.8)   AB-2   ghvb_2(0.8, 0.2)   AB-3   ghvb_3(0.8, 0.2)   AB-4   ghvb_4(0.8, 0.5, 0.2)
    0.99   2.00   2.99          1.01   1.21  1.80         0.56   0.65  0.93         0.31   0.36  0.44  0.51
    0.9    2.00   2.95          1.08   1.26  1.81         0.66   0.75  1.00         0.43   0.48  0.55  0.62
    0.63   2.00   2.82          1.32   1.45  1.86         1.05   1.10  1.27         0.91   0.94  0.98  1.02

With w = 7.5 and ten steps w (1 - q) is 1.3 to 4.6: there Adams-Bashforth of order 4 grows, ghvb_1 and ghvb_2 do not at any of these beta,
and ghvb_4 grows as well, the less the smaller beta. Its use is the narrow band between two columns: the order matters more than beta.

The second-order Nesterov method of eq. 54 is ghvb_2 again, for every choice of its free weight.
"""

from __future__ import annotations

from scorebed.solvers.base import Carry, Solver, advance, remade, solver
from scorebed.solvers.methods.adams import lms_2, lms_3, lms_4
from scorebed.solvers.methods.dpmpp import dpmpp_2m
from scorebed.solvers.methods.edm import heun, kutta3
from scorebed.solvers.methods.reversible import is_reversible
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import demand, within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of
from scorebed.solvers.weights.multistep import divided_differences, newton_integrals


def averaged(beta: float, old: Array | None, new: Array) -> Array:
    """(1 − β) old + β new; ``new`` where there is no old yet. β in (0, 1] damps; from 2 on the average itself grows; 1 is no momentum."""
    return new if old is None else (1.0 - beta) * old + beta * new


def _generalised(r: int, denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, beta: float) -> tuple[Array, Carry]:
    """The step of order r. The carry holds (node, slope, averaged difference), the newest first; None where the average has not begun."""
    y, f = (1.0 / s.alpha) * x, eps_of(x, denoise(x, s), s)
    past = (carry or ())[: r - 1]
    rhos = [s.rho, *(node.rho for node, *_ in past)]
    differences = divided_differences(rhos, [f, *(value for _, value, _ in past)])
    average = carry[0][2] if carry else None
    if len(rhos) == r:
        average = differences[-1] = averaged(beta, average, differences[-1])
    for g, difference in zip(newton_integrals(rhos, t.rho - s.rho), differences, strict=True):
        y = y + g * difference
    return t.alpha * y, ((s, f, average), *((node, value, None) for node, value, _ in past))[: max(r - 1, 1)]


@solver(order=1, reference="arXiv:2307.11118, eq. 13")
@within(beta="(0, 2)")
def ghvb_1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, beta: float = 0.8) -> tuple[Array, Carry]:
    r"""y_t = y + (ρ_t − ρ_s) v,  v = (1 − β) v₋ + β ε_s.  Euler's method with a heavy ball."""
    return _generalised(1, denoise, x, s, t, carry, beta)


@solver(order=2, reference="arXiv:2307.11118, eq. 19 with the sign of eq. 17", start=heun, starts=1)
@within(beta="(0, 2)")
def ghvb_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, beta: float = 0.8) -> tuple[Array, Carry]:
    r"""y_t = y + h ε_s + (h²/2) w,  w = (1 − β) w₋ + β ε[ρ_s, ρ_r];  h ((2 + β) v_{n+1} − (2 − β) v_n)/2β on equal steps."""
    return _generalised(2, denoise, x, s, t, carry, beta)


@solver(order=3, reference="arXiv:2307.11118, Alg. 2 with v_{n−1} in the last term of r = 3", start=heun, starts=2)
@within(beta="(0, 2)")
def ghvb_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, beta: float = 0.8) -> tuple[Array, Carry]:
    r"""y_t = y + g₀ ε_s + g₁ ε[ρ_s, ρ₁] + g₂ w,  w = (1 − β) w₋ + β ε[ρ_s, ρ₁, ρ₂],  g_k = ∫ Π_{i<k} (ρ − ρ_i) dρ.
    h ((18 + 5β) v_{n+1} − (24 − 8β) v_n + (6 − β) v_{n−1})/12β on equal steps.

    Returns:
        (x_t, up to two (node, slope, average), newest first).
    """
    return _generalised(3, denoise, x, s, t, carry, beta)


@solver(order=4, reference="arXiv:2307.11118, Alg. 2", start=kutta3, starts=3)
@within(beta="(0, 2)")
def ghvb_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, beta: float = 0.8) -> tuple[Array, Carry]:
    r"""y_t = y + Σ_{k<3} g_k ε[ρ_s … ρ_k] + g₃ w,  w = (1 − β) w₋ + β ε[ρ_s, ρ₁, ρ₂, ρ₃],  g_k = ∫ Π_{i<k} (ρ − ρ_i) dρ.
    h ((46 + 9β) v_{n+1} − (78 − 19β) v_n + (42 − 5β) v_{n−1} − (10 − β) v_{n−2})/24β on equal steps.

    Returns:
        (x_t, up to three (node, slope, average), newest first).
    """
    return _generalised(4, denoise, x, s, t, carry, beta)


def heavy_ball(base: Solver, beta: float = 0.5, *, nesterov: bool = False, register: bool = False) -> Solver:
    r"""``base`` with momentum, of order one for beta < 1 and equal to ``base`` for beta = 1; it has the option ``beta``.

    y_t = y + h v,  v = (1 − β) v₋ + β g,  with h g = y_t − y the move of ``base`` in y = x/α and h = ρ_t − ρ_s (eq. 14);
    with ``nesterov``  y_t = y + h ((1 − β) v + β g)  (eq. 50).

    ``base`` starts itself, by its own ``start``; its memory travels in this one's carry.

    Returns:
        the Solver of order 1 that runs ``base`` with momentum.

    Raises:
        TypeError: ``base`` is not a solver.
        ValueError: ``beta`` out of its range; ``base`` is stochastic: an average of its noise has the wrong variance; or ``base`` is
            reversible: its memory are states, which momentum would leave behind.
    """
    if not isinstance(base, Solver):
        raise TypeError(f"base = {base!r} is not a Solver")
    if base.weak is not None:
        raise ValueError(f"base = {base.name} draws noise; momentum would average it: give a deterministic method")
    if is_reversible(base):
        raise ValueError(f"base = {base.name} is reversible and remembers states, from which momentum would move away: give another method")
    demand(beta, "beta", "(0, 2)")
    initial = beta

    @within(beta="(0, 2)")
    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, beta: float = initial) -> tuple[Array, Carry]:
        memory, old, h_old = carry or (None, None, 1.0)
        h, y = t.rho - s.rho, (1.0 / s.alpha) * x
        x_t, memory = advance(base, denoise, x, s, t, memory, noise)
        move = (1.0 / t.alpha) * x_t - y
        held = averaged(beta, None if old is None else (h / h_old) * old, move)
        y = y + (averaged(beta, held, move) if nesterov else held)
        return t.alpha * y, (memory, held, h)

    what, where = ("Nesterov momentum", "eq. 50") if nesterov else ("A heavy ball", "eq. 14")
    step.__name__ = f"{'nesterov' if nesterov else 'hb'}_{base.name}"
    step.__doc__ = f"{what} on ``{base.name}``: see ``heavy_ball``."
    reference = f"arXiv:2307.11118, {where}, on {base.name}"
    again = remade(step, heavy_ball, base, beta, nesterov=nesterov)
    return solver(order=1, reference=reference, nonlinear=base.nonlinear, register=register)(again)


hb_lms_2 = heavy_ball(lms_2, register=True)
hb_lms_3 = heavy_ball(lms_3, register=True)
hb_lms_4 = heavy_ball(lms_4, register=True)
hb_dpmpp_2m = heavy_ball(dpmpp_2m, register=True)
nesterov_lms_2 = heavy_ball(lms_2, nesterov=True, register=True)
nesterov_lms_4 = heavy_ball(lms_4, nesterov=True, register=True)
