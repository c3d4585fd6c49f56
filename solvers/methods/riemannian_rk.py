r"""Runge-Kutta-Munthe-Kaas and commutator-free methods on the probability-flow ODE in homogeneous spaces.

With the flow as dx/dσ = ξ(x, σ)·x (``riemannian_lie.py``), x = exp(u)·x_s turns it into an equation in the Lie algebra, a vector space,

    du/dσ = dexpinv_u(ξ),     u(σ_s) = 0,

to which any Runge-Kutta method applies (Munthe-Kaas, Appl. Numer. Math. 29 (1999); Iserles et al., Acta Numerica 9 (2000), section 4.1). A
commutator-free method moves by products of exponentials of combinations of its slopes instead (Celledoni, Marthinsen & Owren, Future Gener.
Comput. Syst. 19 (2003)). In a commutative group, on R^d, the torus and the box, both are the ordinary method in sigma.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scorebed.solvers.base import Space, solver
from scorebed.solvers.methods.riemannian import MOVES, SMOOTH, moving, slope
from scorebed.solvers.methods.riemannian_lie import Commutative, group_of
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.tableau import Tableau

Path = Sequence[Sequence[float]]
"""Rows of weights: exp(Σ_j w_nj k_j)···exp(Σ_j w_1j k_j), the first row acting first."""


def combine(weights: Sequence[float], slopes: Sequence[Array]) -> Array | None:
    """Σ_j w_j k_j, None where every weight is 0."""
    terms = [w * k for w, k in zip(weights, slopes, strict=False) if w]
    total = terms[0] if terms else None
    for term in terms[1:]:
        total = total + term
    return total


def munthe_kaas(
    coefficients: Tableau, order: int, denoise: Denoiser, x: Array, s: Node, t: Node, space: Space, exact: bool = False
) -> Array:
    """x_t = exp(Σ b_i k_i)·x,  k_i = dexpinv(u_i, h ξ at exp(u_i)·x),  u_i = Σ_j a_ij k_j.

    ``exact``: dexpinv in closed form, on SO(3); it moves from the right, hence the minus.

    Returns:
        x_t on the space, of the shape of x.
    """
    group, field = group_of(space), slope(space, denoise, s, t)
    slopes: list[Array] = []
    for c, row in zip(coefficients.c, coefficients.a, strict=True):
        u = combine(row, slopes)
        y, lift = group.go(x, [] if u is None else [u])
        k = lift(field(y, c))
        if u is not None:
            k = space.dexpinv(-u, k) if exact else group.dexpinv(u, k, order - 2)
        slopes.append(k)
    return group.go(x, [combine(coefficients.b, slopes)])[0]


def commutator_free(
    nodes: Sequence[float], stages: Sequence[Path], last: Path, denoise: Denoiser, x: Array, s: Node, t: Node, space: Space
) -> Array:
    """Stages and result by products of exponentials: ``stages[i]`` and ``last`` are their rows of weights, ``nodes`` the c_i."""
    group, field = group_of(space), slope(space, denoise, s, t)
    slopes: list[Array] = []
    for c, path in zip(nodes, stages, strict=True):
        y, lift = _along(group, x, path, slopes)
        slopes.append(lift(field(y, c)))
    return _along(group, x, last, slopes)[0]


def _along(group: Commutative, x: Array, path: Path, slopes: Sequence[Array]) -> Any:
    return group.go(x, [u for row in path if (u := combine(row, slopes)) is not None])


@solver(order=2, reference="Munthe-Kaas, Appl. Numer. Math. 29 (1999), Alg. 1, on Heun's method", nonlinear=MOVES, spaces=SMOOTH)
@moving
def rkmk_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp((k₁ + k₂)/2)·x,  k₁ at x, k₂ at exp(k₁)·x and t.  On R^d ``heun``."""
    return munthe_kaas(tableau.HEUN, 2, denoise, x, s, t, space), None


@solver(
    order=3, reference="Munthe-Kaas, Appl. Numer. Math. 29 (1999), Alg. 1, on Kutta's third-order method", nonlinear=MOVES, spaces=SMOOTH
)
@moving
def rkmk_3(
    denoise: Denoiser,
    x: Array,
    s: Node,
    t: Node,
    carry: None,
    noise: Noise,
    *,
    space: Space = None,
) -> tuple[Array, Any]:
    r"""x_t = exp((k₁ + 4 k₂ + k₃)/6)·x,  k_i = v_i − ½ [u_i, v_i],  u₂ = k₁/2, u₃ = 2 k₂ − k₁.  On R^d ``kutta3``."""
    return munthe_kaas(tableau.KUTTA3, 3, denoise, x, s, t, space), None


@solver(
    order=4, reference="Munthe-Kaas, Appl. Numer. Math. 29 (1999), Alg. 1, on the method of Kutta (1901)", nonlinear=MOVES, spaces=SMOOTH
)
@moving
def rkmk_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp((k₁ + 2 k₂ + 2 k₃ + k₄)/6)·x,  k_i = v_i − ½ [u_i, v_i] + [u_i, [u_i, v_i]]/12,  u₂ = k₁/2, u₃ = k₂/2, u₄ = k₃."""
    return munthe_kaas(tableau.RK4, 4, denoise, x, s, t, space), None


@solver(
    order=4,
    reference="Iserles et al., Acta Numerica 9 (2000), eq. B.11, for dexpinv on SO(3) in Alg. 1 of Munthe-Kaas",
    nonlinear=MOVES,
    spaces=("SO3",),
)
@moving
def rkmk_4_exact(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""``rkmk_4`` with dexpinv in closed form on SO(3):  k = v − ½ [u, v] + (1 − (θ/2) cot(θ/2))/θ² [u, [u, v]],  θ = |u|."""
    return munthe_kaas(tableau.RK4, 4, denoise, x, s, t, space, exact=True), None


@solver(order=2, reference="Iserles et al., Acta Numerica 9 (2000), section 4.1, the Lie midpoint rule", nonlinear=MOVES, spaces=SMOOTH)
@moving
def cf_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp(k₂)·x,  k₂ at exp(k₁/2)·x and the middle.  On R^d ``midpoint``."""
    return commutator_free((0.0, 0.5), ((), ((0.5,),)), ((0.0, 1.0),), denoise, x, s, t, space), None


@solver(
    order=3,
    reference="Celledoni, Marthinsen & Owren, Future Gener. Comput. Syst. 19 (2003), section 3, order 3",
    nonlinear=MOVES,
    spaces=SMOOTH,
)
@moving
def cf_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp(−k₁/12 + 3 k₃/4) exp(k₁/3)·x,  k₂ at exp(k₁/3)·x and 1/3, k₃ at exp(2 k₂/3)·x and 2/3."""
    stages = ((), ((1 / 3,),), ((0.0, 2 / 3),))
    return commutator_free((0.0, 1 / 3, 2 / 3), stages, ((1 / 3,), (-1 / 12, 0.0, 3 / 4)), denoise, x, s, t, space), None


@solver(
    order=4,
    reference="Celledoni, Marthinsen & Owren, Future Gener. Comput. Syst. 19 (2003), section 3, order 4",
    nonlinear=MOVES,
    spaces=SMOOTH,
)
@moving
def cf_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp((−k₁ + 2 k₂ + 2 k₃ + 3 k₄)/12) exp((3 k₁ + 2 k₂ + 2 k₃ − k₄)/12)·x,  the stages at

    exp(k₁/2)·x,  exp(k₂/2)·x,  exp(k₃ − k₁/2) exp(k₁/2)·x.  On R^d ``rk4``.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    stages = ((), ((0.5,),), ((0.0, 0.5),), ((0.5,), (-0.5, 0.0, 1.0)))
    last = ((1 / 4, 1 / 6, 1 / 6, -1 / 12), (-1 / 12, 1 / 6, 1 / 6, 1 / 4))
    return commutator_free((0.0, 0.5, 0.5, 1.0), stages, last, denoise, x, s, t, space), None
