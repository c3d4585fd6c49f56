r"""Retractions in place of the exponential, and what they cost.

A retraction R_x(v) starts like the geodesic, R_x(v) = exp_x(v) + O(|v|²); it is of second order if the difference is O(|v|³), that is if
the path R_x(r v) leaves without an acceleration in the space (Absil & Malick, SIAM J. Optim. 22 (2012)). With the first-order retractions
of the spaces (a product of rotations in coordinate planes instead of one rotation),

    Heun's method falls from order 2 to 1: the local error is O(h²);
    the random walk does not converge to the SDE: E R_x(sqrt(h) z) is off by h/2 times the trace of the acceleration, weak order 0 (on SO(3)
    the trace is 0, for the coordinate axes of its retraction are geodesics);

and with the second-order ones, which cost less than the exponential, neither loses anything (the walk: Schwarz, Herrmann, Sturm &
Wardetzky, arXiv:2202.00959). Euler's method keeps order 1 with both.
"""

from __future__ import annotations

from typing import Any, Literal

from scorebed.solvers.base import Space, solver
from scorebed.solvers.methods.riemannian import HOMOGENEOUS, MOVES, Flat, moving, pull, slope
from scorebed.solvers.methods.riemannian_sde import clock
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node

Retraction = Literal["second", "first"]


def retract(space: Space, x: Array, v: Array, which: Retraction) -> Array:
    """R_x(v) by the space's retraction of second or of first order."""
    if isinstance(space, Flat):
        return space.move(x, v)
    return space.project(space.retract(x, v) if which == "second" else space.retract1(x, v))


@solver(
    order=2, reference="Heun's method with the retractions of Absil & Malick, SIAM J. Optim. 22 (2012)", nonlinear=MOVES, spaces=HOMOGENEOUS
)
@moving
def retraction_heun(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""y = R_x(k₁),  x_t = R_x((k₁ + P_x k₂)/2),  R of second order, and the projection P_x in place of the transport."""
    return heun_by(denoise, x, s, t, space, "second"), None


def heun_by(denoise: Denoiser, x: Array, s: Node, t: Node, space: Space, which: Retraction) -> Array:
    """Heun's method by a retraction; order 2 by one of second order, 1 by one of first."""
    k = slope(space, denoise, s, t)
    first = k(x, 0.0)
    y = retract(space, x, first, which)
    return retract(space, x, 0.5 * (first + space.tangent(x, k(y, 1.0))), which)


@solver(
    order=1,
    weak=1,
    reference="Schwarz, Herrmann, Sturm & Wardetzky, arXiv:2202.00959, retraction-based random walks",
    nonlinear=MOVES,
    spaces=HOMOGENEOUS,
)
@moving
def retraction_euler_maruyama(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None
) -> tuple[Array, Any]:
    r"""x_t = R_x(h b + √h z),  R of second order."""
    return walk_by(denoise, x, s, t, noise, space, "second"), None


def walk_by(denoise: Denoiser, x: Array, s: Node, t: Node, noise: Noise, space: Space, which: Retraction) -> Array:
    """The random walk by a retraction; weak order 1 by one of second order, 0 by one of first."""
    gone, root = clock(s, t)
    return retract(space, x, gone * pull(space, denoise, x, s) + root * space.noise(x, noise(s, t)), which)
