r"""From data to noise and back: steps undone by fixed points, and flows drawn towards a given datum or a given noise.

**Fixed points.** A one-step method takes x at s to Φ(x) at t. To encode is to solve Φ(x) = x_t, and from DDIM inversion as first guess

    x ← x + (sigma_s/sigma_t) (x_t − Φ(x))

contracts while the denoiser bends little over a step; the limit is undone by the method itself to round-off, under guidance too (ReNoise,
arXiv:2403.14602; AIDI, arXiv:2309.04907). Where guidance bends the denoiser too much over a step it grows, and says so.

**Controlled flows** (RF-Inversion, arXiv:2410.10792). On a rectified flow the velocity towards a datum y0 is (x − y0)/τ and that towards a
noise y1 is (y1 − x)/(1 − τ). Mixing them into the model's own is, on any schedule, a denoiser again:

    to_data:   D ← (1 − eta) D + eta y0,            to_noise:   D ← (1 − gamma) D + gamma (x − sigma y1)/alpha,

so that every method runs with them; eta = 1 ends in y0, gamma = 1 in y1, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from scorebed.solvers.base import Solver, advance
from scorebed.solvers.model import Array, Denoiser, predicts
from scorebed.solvers.sample import NonFinite
from scorebed.solvers.schedule import Node


def undo(
    method: Solver, denoise: Denoiser, x: Array, s: Node, t: Node, *, iterations: int = 50, tolerance: float = 1e-12, mean: int = 1
) -> Array:
    """The state at s from which a one-step method reaches x at t.

    Args:
        method: deterministic and without memory.
        denoise: (x, node) -> E[x0 | x], guided or not.
        x: where the step ends.
        s, t: its nodes, s noisier.
        iterations: at most so many; one is DDIM inversion with D taken at s.
        tolerance: of what the step misses x by, relative to the largest entry; 0 runs all iterations.
        mean: of so many last iterates, as ReNoise has it; 1 takes the last.

    Returns:
        the state at s, of the shape of x.

    Raises:
        ValueError: a stochastic or multistep method, or numbers below 1.
        NonFinite: the iterates grow.
    """
    if method.weak is not None or method.start is not None:
        raise ValueError(
            f"{method.name} {'draws noise' if method.weak is not None else 'keeps a memory'}: give a deterministic one-step method"
        )
    if iterations < 1 or not 1 <= mean <= iterations:
        raise ValueError(f"iterations = {iterations}, mean = {mean}: give 1 <= mean <= iterations")
    ratio = s.sigma / t.sigma
    y = ratio * x + (s.alpha - ratio * t.alpha) * denoise(x, t)
    last: list[Array] = []
    first = None
    for _ in range(iterations):
        made, _ = advance(method, denoise, y, s, t, None, _no_noise)
        gap = x - made
        size = float(abs(gap).max())
        first = size if first is None else first
        if not size < 1e3 * max(first, 1e-300):
            raise NonFinite(f"the fixed point of {method.name} from {t} to {s} grows: guidance too strong for the step; take more steps")
        y = y + ratio * gap
        last = [*last[1 - mean :], y] if mean > 1 else [y]
        if size <= tolerance * max(1.0, float(abs(x).max())):
            break
    return sum(last[1:], last[0]) * (1.0 / len(last))


def encode(method: Solver, denoise: Denoiser, x: Array, nodes: Sequence[Node], **how: int | float) -> Array:
    """The noise from which ``sample(method, denoise, ·, nodes, terminal="none")`` makes x.

    Args:
        x: data at nodes[-1].
        nodes: from noise to data, as for ``sample``.
        how: ``iterations``, ``tolerance`` and ``mean`` of ``undo``.

    Returns:
        noise at nodes[0], of the shape of x.

    Raises:
        ValueError, NonFinite: as ``undo``.
    """
    for s, t in reversed(list(pairwise(nodes))):
        x = undo(method, denoise, x, s, t, **how)  # type: ignore[arg-type]
    return x


def to_data(denoise: Denoiser, x0: Array, eta: float) -> Denoiser:
    """(1 − eta) D + eta x0: the flow drawn to a datum."""

    @predicts("denoised")
    def drawn(x: Array, node: Node) -> Array:
        return (1.0 - eta) * denoise(x, node) + eta * x0

    return drawn


def to_noise(denoise: Denoiser, eps: Array, gamma: float) -> Denoiser:
    """(1 − gamma) D + gamma (x − sigma eps)/alpha: the flow drawn to a noise, for runs from data to noise."""

    @predicts("denoised")
    def drawn(x: Array, node: Node) -> Array:
        return (1.0 - gamma) * denoise(x, node) + (gamma / node.alpha) * (x - node.sigma * eps)

    return drawn


def _no_noise(s: Node, t: Node) -> Array:
    raise ValueError("a deterministic step draws nothing")
