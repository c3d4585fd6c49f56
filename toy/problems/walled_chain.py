r"""Weak errors at walls without Monte Carlo, where a method clips its state to [0, 1] or lets it out: the law of its chain, by quadrature.

The transition operator of a method acts on functions of the position,

    (P f)(x) = E f(x_t(x, z)) = ∫ f(x_t(x, z)) φ(z) dz,        x_t(x, z) the method's own step from x with the normal z.

Clipping leaves kinks: in z where the end of the step meets a wall, and in x at the walls, near which f changes over √h. So f is a
polynomial on each of a few panels that are as short as √h at the walls and meet there, and the integral is a sum of Gauss-Legendre rules on
the pieces between the z at which x_t meets a wall, which bisection finds. How far states lie outside is asked of the method too. Nothing is
known of it but its steps: the noise that it takes and the drift that it makes of the denoiser are what is measured.

Applied backwards from an observable at the end and integrated over the exact law at the start, P gives the mean of the observable under the
method, to about 1e-9. The observables are functions of u = cos πx at the nearest point of [0, 1], as those of ``radial_law``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.polynomial import chebyshev, legendre

from scorebed.analytic.heat import HeatMixture
from scorebed.solvers import Node, Solver
from scorebed.solvers.base import advance
from scorebed.toy.problems.radial_law import Observable, RadialChain, count_draws, length

_ORDER = 12
_NODES = np.cos(math.pi * (np.arange(_ORDER)[::-1] + 0.5) / _ORDER)
_TO_COEFFICIENTS = np.linalg.inv(chebyshev.chebvander(_NODES, _ORDER - 1))
_FAR = 7.0
"""Normals further out have a mass of 3e-12."""
_WIDEST = 0.1
"""Of the panels, where the target's own shape counts."""
_SPLIT = 32
_RULE = legendre.leggauss(16)


@dataclass(frozen=True, eq=False)
class Piecewise:
    """A function on the line, a polynomial between ``breaks``; outside them as at the ends."""

    breaks: np.ndarray

    @property
    def nodes(self) -> np.ndarray:
        """Where its values are kept, ascending."""
        return (self.breaks[:-1, None] + 0.5 * np.diff(self.breaks)[:, None] * (1.0 + _NODES)).reshape(-1)

    def fitted(self, values: np.ndarray) -> np.ndarray:
        """Values at ``nodes``, (n, columns), as coefficients (order, columns, panels)."""
        return np.einsum("ki,pic->kcp", _TO_COEFFICIENTS, values.reshape(len(self.breaks) - 1, _ORDER, -1))

    def __call__(self, coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
        """The function at x, (..., columns) by Clenshaw's recurrence."""
        x = np.clip(x, self.breaks[0], self.breaks[-1])
        j = np.clip(np.searchsorted(self.breaks, x, side="right") - 1, 0, len(self.breaks) - 2)
        low = self.breaks[j]
        u = 2.0 * (x - low) / (self.breaks[j + 1] - low) - 1.0
        rows = np.take(coefficients, j, axis=-1)
        one = two = np.zeros_like(rows[0])
        for row in rows[:0:-1]:
            one, two = row + 2.0 * u * one - two, one
        return np.moveaxis(rows[0] + u * one - two, 0, -1)


def panels(root: float, low: float = 0.0, high: float = 1.0) -> Piecewise:
    """Panels on [low, high], of length 2 root at the walls 0 and 1 and outside them, and longer away from them."""
    inner = _graded(2.0 * root)
    left = np.linspace(low, 0.0, math.ceil(-low / (2.0 * root)) + 1)[:-1] if low < 0.0 else np.empty(0)
    right = np.linspace(1.0, high, math.ceil((high - 1.0) / (2.0 * root)) + 1)[1:] if high > 1.0 else np.empty(0)
    return Piecewise(np.concatenate([left, inner, right]))


def _graded(first: float) -> np.ndarray:
    """Breaks of [0, 1], symmetric, whose distances grow by half from ``first`` at the walls."""
    ends, width = [0.0], min(first, _WIDEST)
    while ends[-1] + width < 0.5:
        ends.append(ends[-1] + width)
        width = min(1.5 * width, _WIDEST)
    half = np.array(ends) * (0.5 / (ends[-1] + width))
    return np.concatenate([half, [0.5], 1.0 - half[::-1]])


@dataclass(frozen=True, eq=False)
class WalledChain:
    """The position under a method with kinks at the walls of [0, 1].

    Args:
        target: on ``Box(1)``.
    """

    target: HeatMixture

    @property
    def space(self) -> object:
        """The interval."""
        return self.target.space

    def coordinate(self, x: np.ndarray) -> np.ndarray:
        """u = cos πx at the nearest point of [0, 1]."""
        return np.cos(math.pi * np.clip(x, 0.0, 1.0))

    def error(self, solver: Solver, grid: Sequence[Node], *observables: Observable) -> float:
        """``RadialChain.error``.

        Returns:
            the weak error, as of ``RadialChain.error``.

        Raises:
            ValueError: a method that draws more than once in a step, or whose step meets a wall at several z.
        """
        return self.errors(solver, grid, *observables)[0]

    def errors(self, solver: Solver, grid: Sequence[Node], *observables: Observable) -> tuple[float, float]:
        """``RadialChain.errors``, and what ``error`` raises."""
        observables = observables or (np.exp,)
        start, values = self._carried(solver, grid, observables)
        elapsed = grid[0].sigma ** 2 - grid[-1].sigma ** 2
        bridge = HeatMixture(self.target.space, [1.0], self.target.means[:1], elapsed)
        marginal = self._mean(start, values, grid[0]) - self._exact(grid[-1], observables)
        return length(marginal), length(start(values, self.target.means[0])[0] - self._exact(grid[-1], observables, bridge))

    def _exact(self, node: Node, observables: Sequence[Observable], bridge: HeatMixture | None = None) -> np.ndarray:
        fine = panels(0.25 * min(node.sigma, 0.5))
        u = self.coordinate(fine.nodes)
        return self._mean(fine, fine.fitted(np.stack([f(u) for f in observables], axis=-1)), node, bridge)

    def _mean(self, on: Piecewise, values: np.ndarray, node: Node, bridge: HeatMixture | None = None) -> np.ndarray:
        """∫ p f over the exact law at ``node``, times the density of ``bridge``, on the parts of the panels that hold one."""
        points, weights = _RULE
        inside = on.breaks[(on.breaks >= 0.0) & (on.breaks <= 1.0)]
        breaks = np.unique(np.concatenate([inside, panels(0.25 * min(node.sigma, 0.5)).breaks]))
        half = 0.5 * np.diff(breaks)
        x = (breaks[:-1, None] + half[:, None] * (1.0 + points)).reshape(-1)
        log = self.target.log_prob(x[:, None], node) + (0.0 if bridge is None else bridge.log_prob(x[:, None]))
        law = (half[:, None] * weights).reshape(-1) * np.exp(log - log.max())
        return np.asarray(law @ on(values, x) / law.sum())

    def _carried(self, solver: Solver, grid: Sequence[Node], observables: Sequence[Observable]) -> tuple[Piecewise, np.ndarray]:
        """The observables, carried back to the first node: a function with its coefficients."""
        steps = list(pairwise(grid))
        if (draws := count_draws(solver, self.target, np.full((1, 1), 0.3), *steps[0])) > 1:
            raise ValueError(f"{solver.name} draws {draws} times in a step: at walls a chain is followed through one draw")
        ends = self._ends(solver, steps)
        roots = [math.sqrt(s.sigma**2 - t.sigma**2) for s, t in steps]
        on = panels(roots[-1], *ends[-1])
        u = self.coordinate(on.nodes)
        values = on.fitted(np.stack([f(u) for f in observables], axis=-1))
        for i in range(len(steps) - 1, -1, -1):
            before = panels(min(roots[max(i - 1, 0)], roots[i]), *ends[i])
            z, weights = self._rule(solver, before.nodes, *steps[i])
            after = on(values, self._step(solver, before.nodes, z, *steps[i]))
            on, values = before, before.fitted(np.einsum("nq,nqc->nc", weights, after))
        return on, values

    def _step(self, solver: Solver, x: np.ndarray, z: np.ndarray, s: Node, t: Node) -> np.ndarray:
        """x_t for positions x (n,) and normals z (n, q): (n, q)."""
        x_t, _ = advance(solver, self.target.denoised, x[:, None, None], s, t, None, lambda s, t: z[..., None])
        return np.broadcast_to(x_t[..., 0], z.shape)

    def _ends(self, solver: Solver, steps: Sequence[tuple[Node, Node]]) -> list[tuple[float, float]]:
        """Between which positions the chain moves at each node."""
        low, high, out = 0.0, 1.0, [(0.0, 1.0)]
        for s, t in steps:
            x = np.linspace(low, high, 9)
            reached = self._step(solver, x, np.broadcast_to([-_FAR, 0.0, _FAR], (len(x), 3)), s, t)
            low, high = min(0.0, float(reached.min())), max(1.0, float(reached.max()))
            out.append((low, high))
        return out

    def _rule(self, solver: Solver, x: np.ndarray, s: Node, t: Node) -> tuple[np.ndarray, np.ndarray]:
        """z and weights, (n, q): of a standard normal, on the pieces between the z where x_t meets a wall, and between signs."""
        low, high = np.full((len(x), 2), -_FAR), np.full((len(x), 2), _FAR)
        for turn in range(3):
            z = low[..., None] + (high - low)[..., None] * (np.arange(_SPLIT + 1) / _SPLIT)  # (n, 2, split + 1)
            x_t = self._step(solver, x, z.reshape(len(x), -1), s, t).reshape(z.shape)
            beyond = np.stack([x_t[:, 0] > 0.0, x_t[:, 1] >= 1.0], axis=1)
            change = np.diff(beyond, axis=-1)
            if turn == 0 and change.sum(-1).max() > 1:
                raise ValueError(f"{solver.name} meets a wall at several values of one step's noise: its chain is not followed")
            first = np.argmax(change, axis=-1)[..., None]
            never = ~change.any(-1)
            low = np.where(never, _FAR, np.take_along_axis(z, first, axis=-1)[..., 0])
            high = np.where(never, _FAR, np.take_along_axis(z, first + 1, axis=-1)[..., 0])
        far = np.full((len(x), 1), _FAR)
        ends = np.sort(np.concatenate([-far, 0.5 * (low + high), 0.0 * far, far], axis=-1), axis=-1)
        parts = math.ceil(2.0 * math.sqrt(s.sigma**2 - t.sigma**2) / _WIDEST)  # long steps cross many panels
        cut = np.arange(parts) / parts
        ends = np.concatenate([(ends[:, :-1, None] + np.diff(ends, axis=-1)[..., None] * cut).reshape(len(x), -1), far], axis=-1)
        points, weights = _RULE
        half = 0.5 * np.diff(ends, axis=-1)[..., None]
        z = (ends[:, :-1, None] + half * (1.0 + points)).reshape(len(x), -1)
        density = (half * weights).reshape(z.shape) * np.exp(-0.5 * z * z)
        return z, density / density.sum(-1, keepdims=True)


def followed(solver: Solver, chain: RadialChain) -> RadialChain | WalledChain:
    """The chain of ``chain.target`` that sees all of a method: on panels where it claims a weak order below 1, as only walls cause."""
    return WalledChain(chain.target) if solver.weak is not None and solver.weak < 1.0 else chain
