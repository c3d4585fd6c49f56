r"""Reflected diffusions: Euler-Maruyama in a box or a polytope, by reflection, by projection and with a penalty.

Noise in a convex body K is Brownian motion reflected at the walls, and its time reversal is reflected too (Lou & Ermon, arXiv:2304.04740,
theorem 3.2; Fishman et al., arXiv:2304.05364),

    dx = score dtau' + dB + dL,    L acting at the walls only, along the inner normal; there the normal part of the score is 0.

A step proposes y = x + h score + sqrt(h) z, h = tau_s - tau_t, and then

    reflects the path from x to y at the walls      weak order 1 (Bossy, Gobet & Talay, J. Appl. Probab. 41 (2004))
    takes the nearest point of K                    weak order 1/2 (Costantini, Pacchiarotti & Sartoretto, SIAM J. Appl. Math. 58 (1998))
    lets y stay outside and pulls it back           weak order 1/2 (Liu, SIAM J. Control Optim. 31 (1993); Pettersson, SPA 59 (1995))

``toy/measure/reflected_law.py`` measures these orders without Monte Carlo. On R^d, without a space, all are Euler-Maruyama in the clock.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import Space, solver
from scorebed.solvers.methods.riemannian import MOVES, go, moving, pull
from scorebed.solvers.methods.riemannian_sde import clock
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node

WALLED = ("Box", "HalfSpace", "Polytope", "Simplex", "Euclidean")
"""Convex bodies in flat space, and all of it."""


def proposal(space: Space, denoise: Denoiser, x: Array, s: Node, t: Node, noise: Noise) -> Array:
    """h score + sqrt(h) z at a point x of the space."""
    gone, root = clock(s, t)
    return gone * pull(space, denoise, x, s) + root * space.noise(x, noise(s, t))


@solver(
    order=1,
    weak=1,
    reference="Bossy, Gobet & Talay, J. Appl. Probab. 41 (2004), symmetrised Euler; arXiv:2304.04740, Alg. 1",
    nonlinear=MOVES,
    spaces=WALLED,
)
@moving
def reflected_euler(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = the end of the path x → x + h score + √h z, reflected at the walls."""
    return go(space, x, proposal(space, denoise, x, s, t, noise)), None


@solver(
    order=1,
    weak=0.5,
    reference="Costantini, Pacchiarotti & Sartoretto, SIAM J. Appl. Math. 58 (1998), projected Euler",
    nonlinear=MOVES,
    spaces=WALLED,
)
@moving
def projected_euler(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = Π(x + h score + √h z),  Π the nearest point of the space."""
    return space.project(x + proposal(space, denoise, x, s, t, noise)), None


@solver(
    order=1,
    weak=0.5,
    reference="Pettersson, Stoch. Process. Appl. 59 (1995), penalised Euler",
    nonlinear=MOVES,
    spaces=WALLED,
)
@moving
@within(strength="(0, 2)")
def penalised_euler(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None, strength: float = 1.0
) -> tuple[Array, Any]:
    r"""x_t = x − strength (x − Πx) + h score(Πx) + √h z:  a penalty −(x − Πx)/ε with ε = h/strength.

    The state may lie outside, by about sqrt(h); it is looked at through Πx. strength = 1 moves from Πx: the projected scheme before its
    last projection. Stable for 0 < strength < 2. The last state may be outside too: ``space.project`` it.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    inside = space.project(x)
    return x - strength * (x - inside) + proposal(space, denoise, inside, s, t, noise), None


@solver(
    order=1,
    weak=0.5,
    reference="arXiv:2304.04740, section 5 (thresholding as projection), with D clipped as in arXiv:2205.11487, section 2.3",
    nonlinear=MOVES,
    spaces=WALLED,
)
@moving
def thresholded_euler(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None
) -> tuple[Array, Any]:
    r"""x_t = Π(x + (h/σ_s²)(Π(D) − x) + √h z):  the denoised and the state are both clipped.

    In a box the exact D of a reflected law never leaves it: ∂D_i/∂x_i is a variance over σ², so D_i grows with x_i, and D_i = x_i at the
    walls, where the score is 0. So thresholding is the projected scheme, an approximation of the reflected SDE of weak order 1/2; what it
    clips is the network's error, and |Π(D + e) − D| ≤ |e|. Of a law that the walls do not reflect, D is inside as well, but the process
    that is approximated is another.

    Returns:
        (x_t inside the space, of the shape of x, None).
    """
    gone, root = clock(s, t)
    clipped = space.project(denoise(x, s))
    return space.project(x + gone * (clipped - x) + root * space.noise(x, noise(s, t))), None
