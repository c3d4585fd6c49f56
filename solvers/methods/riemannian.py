r"""Methods that move in a Space: what they share, and the probability-flow ODE along geodesics.

Noise on a Riemannian manifold M is Brownian motion with the generator Δ/2, in the clock tau = sigma² of a node, with alpha = 1. Its time
reversal and its probability flow are (De Bortoli et al., arXiv:2202.02763, theorem 1; Huang et al., arXiv:2208.07949)

    dx = score dtau' + dB,   dtau' = -dtau,        dx/dtau = -score/2,        score = grad log p_tau.

The denoiser of a Space returns the ambient vector D = x + sigma² score, so that with the projection P_x on the tangent space

    score = P_x(D - x)/sigma²,        dx/dsigma = -P_x(D - x)/sigma.

On R^d that is Tweedie's formula, and sigma is the variable of arXiv:2206.00364: there these methods are the ordinary ones of ``edm.py``, in
x/alpha and sigma/alpha on every schedule. A step of the ODE goes along geodesics, exp_x(v), and carries tangent vectors back by parallel
transport.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from scorebed.solvers.base import Carry, Space, Step, solver
from scorebed.solvers.methods.edm import at_rho
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.space.xp import dot, namespace, unit

MOVES = "moves in a Space"
"""Why a method of this family has no Plan."""
HOMOGENEOUS = ("Euclidean", "Torus", "Sphere", "SO3", "Hyperbolic")
"""The spaces without boundary."""
SMOOTH = (*HOMOGENEOUS, "Box", "HalfSpace")
"""Those and the ones with right angles only, where the unfolded score is smooth."""


class Flat:
    """R^d, where a method moves that is given no Space: what the steps need of one, for arrays of any shape."""

    def move(self, x: Array, v: Array) -> Array:
        return x + v

    def tangent(self, x: Array, v: Array) -> Array:
        return v

    def noise(self, x: Array, z: Array) -> Array:
        return z

    def project(self, x: Array) -> Array:
        return x

    def transport(self, x: Array, y: Array, v: Array) -> Array:
        return v

    def ricci(self, x: Array, v: Array) -> Array:
        return 0.0 * v

    def dexpinv(self, u: Array, v: Array) -> Array:
        return v

    exp = move


FLAT = Flat()


def moving(body: Step) -> Step:
    """The step of a method that is written for a Space: on R^d, that is without one, it moves x/alpha, on any schedule."""

    @wraps(body)
    def step(
        denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, space: Space | None = None, **options: Any
    ) -> tuple[Array, Carry]:
        if space is not None:
            return body(denoise, x, s, t, carry, noise, space=space, **options)

        def denoised(y: Array, node: Node) -> Array:
            return denoise(node.alpha * y, node)

        y, memory = body(denoised, (1.0 / s.alpha) * x, s, t, carry, noise, space=FLAT, **options)
        return t.alpha * y, memory

    return step


def pull(space: Space, denoise: Denoiser, x: Array, node: Node) -> Array:
    """P_x(D − x) = σ² score, a tangent vector at x."""
    return space.tangent(x, denoise(x, node) - x)


def slope(space: Space, denoise: Denoiser, s: Node, t: Node) -> Callable[[Array, float], Array]:
    """(x, c) -> (σ_t − σ_s) dx/dσ at x and the node c of the way in σ: the step that Euler's method would make of it."""

    def at(x: Array, c: float) -> Array:
        node = at_rho(s, t, c)
        return ((s.rho - t.rho) / node.rho) * pull(space, denoise, x, node)

    return at


def go(space: Space, x: Array, v: Array) -> Array:
    """The end of the geodesic that leaves x with v, reflected at walls whatever the rule of the space is."""
    if not getattr(space, "bounded", False):
        return space.move(x, v)
    if hasattr(space, "split"):
        return space.join([go(*part) for part in zip(space.spaces, space.split(x), space.split(v), strict=True)])
    return space.move(x, v) if space.rule == "reflect" else space.reflect(x, v)[0]


def carrying(space: Space, x: Array, v: Array) -> tuple[Array, Callable[[Array], Array]]:
    """``go(space, x, v)``, y, and how tangent vectors at y are carried back along the path to x.

    At walls they are reflected as the path is. The score of a law that a box reflects is odd under each mirror image, so this is the score
    of the unfolded law, which is smooth.

    Returns:
        (y, back): back takes tangent vectors at y to x.
    """
    if not getattr(space, "bounded", False):
        y = space.move(x, v)
        return y, lambda w: space.transport(y, x, w)
    if hasattr(space, "split"):
        ends, backs = zip(*(carrying(*part) for part in zip(space.spaces, space.split(x), space.split(v), strict=True)), strict=True)
        return space.join(list(ends)), lambda w: space.join([back(u) for back, u in zip(backs, space.split(w), strict=True)])
    xp = namespace(x)
    y, arrived = space.reflect(x, v)
    if hasattr(space, "outward"):  # one wall, one reflection
        normal, _ = unit(arrived - v)
        return y, lambda w: w - (2.0 * dot(normal, w)) * normal
    still = arrived == v
    sign = xp.where(still, xp.ones_like(v), arrived / xp.where(still, xp.ones_like(v), v))
    return y, lambda w: sign * w


@solver(order=1, reference="arXiv:2202.02763, Alg. 1 without noise; Euler's method along geodesics", nonlinear=MOVES, spaces=SMOOTH)
@moving
def geodesic_euler(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = exp_x(k),  k = (1 − σ_t/σ_s) P_x(D − x).  On R^d Euler's method of ``edm.py``."""
    return go(space, x, slope(space, denoise, s, t)(x, 0.0)), None


@solver(order=2, reference="Heun's method along geodesics, arXiv:2206.00364, Alg. 1 on R^d", nonlinear=MOVES, spaces=SMOOTH)
@moving
def geodesic_heun(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""y = exp_x(k₁),  x_t = exp_x((k₁ + Γ_{y→x} k₂)/2),  k₂ the slope at (y, t) and Γ the parallel transport along the geodesic.

    Γ k₂ is the slope along the geodesic to second order, so that the local error is O(h³) as on R^d.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    k = slope(space, denoise, s, t)
    first = k(x, 0.0)
    y, back = carrying(space, x, first)
    return go(space, x, 0.5 * (first + back(k(y, 1.0)))), None


@solver(order=2, reference="the midpoint rule along geodesics, on the flow of arXiv:2202.02763", nonlinear=MOVES, spaces=SMOOTH)
@moving
def geodesic_midpoint(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None
) -> tuple[Array, Any]:
    r"""y = exp_x(k₁/2),  x_t = exp_x(Γ_{y→x} k₂),  k₂ the slope at y and (σ_s + σ_t)/2."""
    k = slope(space, denoise, s, t)
    y, back = carrying(space, x, 0.5 * k(x, 0.0))
    return go(space, x, back(k(y, 0.5))), None
