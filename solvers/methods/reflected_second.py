r"""Reflected diffusions to second order, predictor-corrector, and steps of bounded length.

A box reflects like a torus of twice its side on which everything is even: fold a path of the torus, and it is the reflected path. The law
that a box reflects is even and smooth there, its score odd and smooth, and an SDE on the torus has schemes of any weak order. So the stages
of ``reflected_heun`` lie at the folded points, with the score carried back through the reflections of the path (``riemannian.carrying``).
In a polytope with corners other than right angles there is no such unfolding, and its claim stops at the box and the half-space.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import Space, solver
from scorebed.solvers.methods.reflected import WALLED
from scorebed.solvers.methods.riemannian import MOVES, carrying, go, moving, pull
from scorebed.solvers.methods.riemannian_sde import clock, isotropic
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node


@solver(
    order=2,
    weak=2,
    reference="Kloeden & Platen (1992), eq. 15.1.3, on the unfolded torus",
    nonlinear=MOVES,
    spaces=("Box", "HalfSpace", "Euclidean"),
)
@moving
def reflected_heun(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""y = fold(x + h b + √h z),  x_t = fold(x + h (b + M b_y)/2 + √h z),  b_y the score at (y, t), M the reflections of the path to y."""
    gone, root = clock(s, t)
    z = root * space.noise(x, noise(s, t))
    first = gone * pull(space, denoise, x, s)
    y, back = carrying(space, x, first + z)
    h_over_t = gone * math.exp(2.0 * (t.lam - s.lam))
    return go(space, x, 0.5 * (first + back(h_over_t * pull(space, denoise, y, t))) + z), None


@solver(
    order=1,
    weak=1,
    reference="Milstein & Tretyakov (2003), section 6.6; Leimkuhler, Sharma & Tretyakov, Ann. Appl. Probab. 33 (2023)",
    nonlinear=MOVES,
    spaces=WALLED,
)
@moving
def reflected_walk(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None) -> tuple[Array, Any]:
    r"""x_t = the end of the reflected path x → x + h score + √(h d) z/|z|:  the simplest random walk, ±√h on the line.

    No step is longer than |h score| + √(h d), so that no path is reflected more often than that allows.

    Returns:
        (x_t inside the space, of the shape of x, None).
    """
    gone, root = clock(s, t)
    return go(space, x, gone * pull(space, denoise, x, s) + root * isotropic(space, x, noise(s, t))), None


@solver(
    order=1,
    weak=1,
    reference="arXiv:2304.04740, section 4.2; arXiv:2011.13456, Algs. 2 and 4, with reflected steps",
    nonlinear=MOVES,
    spaces=WALLED,
)
@moving
@within(corrector="[0, inf)")
def reflected_pc(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, space: Space = None, corrector: float = 0.5
) -> tuple[Array, Any]:
    r"""Predictor: ``reflected_euler`` from s to t.  Corrector: x ← fold(x + (δ/2) score_t(x) + √δ ζ),  δ = corrector · min(h, σ_t²).

    The corrector is a reflected Langevin step, which leaves the law at t as it is up to O(δ²). Beyond σ_t², where the score turns round, it
    would be no step of Langevin's dynamics any more. Its noise comes from the halves of the
    interval, whose difference is independent of the sum that the predictor takes.

    Returns:
        (x_t inside the space, of the shape of x, None).
    """
    gone, root = clock(s, t)
    if s.lam == t.lam:
        return go(space, x, 0.0 * x), None
    first, second = _pair(noise, s, t)
    y = go(space, x, gone * pull(space, denoise, x, s) + root * space.noise(x, first))
    share = min(1.0, gone * math.exp(2.0 * (t.lam - s.lam)))  # of σ_t²: h/σ_t² = (h/σ_s²)(σ_s/σ_t)²
    step = (0.5 * corrector * share) * pull(space, denoise, y, t) + (t.sigma * math.sqrt(corrector * share)) * space.noise(y, second)
    return go(space, y, step), None


def _pair(noise: Noise, s: Node, t: Node) -> tuple[Array, Array]:
    """Two independent unit normals of the interval: (a ξ₁ + b ξ₂, b ξ₁ − a ξ₂), a² and b² the shares of its halves in the clock."""
    m = s.toward(t, 0.5)
    whole = -math.expm1(-2.0 * (t.lam - s.lam))
    a = math.sqrt(-math.expm1(-2.0 * (m.lam - s.lam)) / whole)
    b = math.sqrt(max(0.0, 1.0 - a * a))
    one, two = noise(s, m), noise(m, t)
    return a * one + b * two, b * one - a * two
