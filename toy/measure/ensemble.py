r"""A Plan read on an ensemble of weighted points in one dimension: the transfer operator under ``toy.measure.output_law``.

A Plan is read operation by operation on an ensemble of weighted points. Evaluations and combinations move the points. A combination with
noise, y = m + s ξ, makes the law of y a normal mixture,

    p(y) = Σ_i w_i N(y; m_i, s²),

exactly; it is put back on a uniform grid that is fine against s, where sums over the grid are integrals to e^{-2π² (s/dx)²}. What the next
step remembers of the past (D(x_{n-1}) of a two-step method) is carried
as a second variable: the joint law of (x_{n-1}, x_n) is propagated, as a sparse table.
Noise that an evaluation sees and that is used again (SEEDS, stochastic Heun) is integrated by quadrature.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.interpolate import make_interp_spline
from scipy.sparse import coo_array, csr_array

from scorebed.analytic import GaussianMixture
from scorebed.solvers import Node
from scorebed.solvers.plan import Combine, Plan
from scorebed.solvers.state import parts

_TAIL = 8.5  # a normal beyond so many standard deviations weighs 1e-17
_MANY = 20_000  # components of a final mixture that are kept as such
_BLOCK = 4_000_000  # entries handled at once
_LIMIT = 400_000_000  # entries of a joint law
_NODES = 16  # half the trapezoidal nodes of a draw that is used inside a step; more where the evaluations ask for it
_MOST = 600
_FINE = 256  # trapezoidal nodes of a draw that nothing smooths afterwards
_MASS, _MOST_POINTS = 4e-3, 200_000  # of a law without noise at its end: the largest mass of a point, and how many there may be
_SPLINE = 7
POINTS = 1.6  # of a grid per standard deviation of the noise that made it: sums are integrals to 1e-16
NOW, OLD, XI = (frozenset({name}) for name in ("now", "old", "xi"))
"""What a quantity may depend on: the present variable, the one before it, and noise inside the step."""


class TooCoarse(ArithmeticError):
    """Grid number ``which`` must be ``times`` finer for what comes after it; another attempt takes a finer one."""

    def __init__(self, which: int, times: float) -> None:
        super().__init__(which, times)
        self.which, self.times = which, times


@dataclass(frozen=True)
class Smeared:
    """mean + Σ_d draws[d] ξ_d over the points of the ensemble; the draws are named by their registers,
    and ``on`` says what the mean depends on."""

    mean: np.ndarray
    draws: dict[int, float]
    on: frozenset[str]

    @property
    def s(self) -> float:
        return math.sqrt(sum(c * c for c in self.draws.values()))


def initial_grid(mixture: GaussianMixture, node: Node, fine: float, prior: bool) -> tuple[np.ndarray, np.ndarray]:
    """A uniform grid of the initial law with its weights."""
    if prior:
        means, scales, weights = np.zeros(1), np.array([node.sigma]), np.ones(1)
    else:
        line = mixture.line(node)
        means, scales, weights = line.means, line.scales, line.weights
    if scales.min() <= 0.0:
        raise ValueError(f"the initial law has a component without width at {node}: begin at a node with sigma > 0")
    low, high = (means - _TAIL * scales).min(), (means + _TAIL * scales).max()
    x = np.linspace(low, high, 1 + math.ceil((high - low) / (scales.min() / fine)))
    z = (x[:, None] - means) / scales
    p = (np.exp(-0.5 * z * z) / scales) @ weights
    return x, p / p.sum()


class Ensemble:
    """The ensemble on its way through a Plan: flat arrays over its points, each with the number of its present grid point."""

    def __init__(
        self, plan: Plan, target: GaussianMixture, fine: dict[int, float], prior: bool, model: Any = None, refine: float = 1.0
    ) -> None:
        self.plan, self.model, self._fine, self.made = _factored(plan), model or target.denoised, fine, 0
        self.refine = refine
        x, self.weights = initial_grid(target, plan.grid[0], self.fine, prior)
        self.now, self.nodes = (
            np.arange(len(x)),
            list[int](),
        )  # ``nodes``: of each quadrature inside the step, the last first
        self.x = {0: Smeared(x, {}, NOW)}
        self.last, self.states = self.plan.last_use, set(plan.states[1:]) - {plan.result}
        self.at = 0  # operations done, and the newest register

    @property
    def fine(self) -> float:
        """Points per standard deviation of the grid that is made next."""
        return self._fine.get(self.made, POINTS) * self.refine

    @property
    def inside(self) -> int:
        return math.prod(self.nodes)

    def others(self, register: int, i: int) -> dict[int, Smeared]:
        """What is read after operation i, without the register."""
        return {r: v for r, v in self.x.items() if r != register and self.last.get(r, -1) > i}

    def run(self) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        self.plan.fold(0, self.evaluate, self.draw, self.combine)
        return self.finish()

    def evaluate(self, register: int, node: Any) -> int:
        self.place(register, self.at - 1)
        source = self.x[register]
        value = np.asarray(self.model(source.mean[:, None], *parts(node)))[:, 0]
        if XI & source.on:
            self.integrated(value)
        return self.keep(Smeared(value, {}, source.on))

    def draw(self, s: Node, t: Node) -> int:
        return self.keep(Smeared(np.zeros(1), {self.at + 1: 1.0}, frozenset()))

    def combine(self, terms: list[tuple[float, int]]) -> int:
        return self.keep(_combined([(c, self.x[r]) for c, r in terms]))

    def keep(self, value: Smeared) -> int:
        """The register that the present operation makes; what nothing reads any more is forgotten."""
        self.x[self.at + 1] = value
        self.x = {r: v for r, v in self.x.items() if self.last.get(r, -1) > self.at}
        self.at += 1
        if self.at in self.states and self.at in self.x:
            self.place(self.at, self.at - 1)
        return self.at

    def place(self, register: int, i: int) -> None:
        """Free the register of noise: on a grid of its own where nothing else shares that noise, else by quadrature of the noise."""
        value, others = self.x[register], self.others(register, i)
        state, name = register in self.plan.states, self.plan.solver
        if not value.draws:
            if state and XI & value.on:
                if others:
                    raise ValueError(f"{name} hands on more than its state, and nothing smooths its noise: its law is not computed here")
                self.spline(register)
            return
        alone = not any(set(value.draws) & set(v.draws) for v in others.values())
        if alone and not any((OLD | XI) & v.on for v in others.values()):
            self.regrid(register, others)
        elif state:
            raise ValueError(f"{name} hands on more than its state and one past state: its law needs more than two dimensions")
        else:
            for draw in sorted(value.draws):
                self.quadrature(draw, i)

    def quadrature(self, draw: int, i: int) -> None:
        """Replace a draw by the nodes of the trapezoidal rule, everywhere; by many, for a spline, if no fresh noise follows in the step."""
        end = next(state for state in self.plan.states[1:] if state > i + 1)
        used = {d for v in self.x.values() for d in v.draws}
        smoothed = any(r != draw and r <= end and (r in used or r > i + 1) for r in self.plan.draws)
        z = np.linspace(-_TAIL, _TAIL, int(_NODES * self._fine.get(-self.made - 1, 1.0)) * 2 + 1 if smoothed else _FINE)
        w = np.exp(-0.5 * z * z)
        if (self.inside > 1 and not smoothed) or self.weights.size * len(z) > _LIMIT:
            raise ValueError(f"{self.plan.solver} uses its noise {self.inside * len(z)} fold inside one step: its law is not computed here")
        copies = len(z)
        for r, v in self.x.items():
            mean = np.tile(v.mean, copies) if v.mean.size > 1 else v.mean
            if draw in v.draws:
                mean = mean + v.draws[draw] * np.repeat(z, self.weights.size)
            rest = {d: c for d, c in v.draws.items() if d != draw}
            self.x[r] = Smeared(mean, rest, v.on | (XI if draw in v.draws else frozenset()))
        self.now, self.nodes = np.tile(self.now, copies), [copies, *self.nodes]
        self.weights = np.tile(self.weights, copies) * np.repeat(w / w.sum(), self.weights.size)

    def integrated(self, value: np.ndarray) -> None:
        """An integral over the noise must be the same with every second node."""
        if self.inside % 2 == 0 or self.weights.size > self.inside * len(np.unique(self.now)):
            return
        table, mass = value.reshape(self.inside, -1), self.weights.reshape(self.inside, -1)
        seen = mass.sum(0) > 1e-13
        full = (mass * table).sum(0)[seen] / mass.sum(0)[seen]
        half = (mass * table)[::2].sum(0)[seen] / mass[::2].sum(0)[seen]
        if self.inside < _MOST and np.abs(full - half).max(initial=0.0) > 1e-7 * max(1.0, float(np.abs(full).max(initial=0.0))):
            raise TooCoarse(-self.made - 1, 1.6)

    def regrid(self, register: int, others: dict[int, Smeared]) -> None:
        """y = m + s ξ becomes the present variable; the former one stays behind it if anything still depends on it."""
        value, s = self.x[register], self.x[register].s
        means = np.broadcast_to(value.mean, self.weights.shape)
        keep = self.weights > 1e-18
        self.resolved(means, s)
        self.made += 1
        remembers = any(NOW & v.on for v in others.values())
        rows = self.now[keep] if remembers else np.zeros(keep.sum(), np.int64)
        x, old, self.now, self.weights = _deposit(means[keep], self.weights[keep], rows, s, s / self.fine)
        if remembers:
            first = np.zeros(1 + rows.max(), np.int64)
            first[rows] = np.flatnonzero(keep)
            others = {
                r: Smeared(v.mean[first[old]] if NOW & v.on else v.mean, v.draws, OLD if NOW & v.on else v.on) for r, v in others.items()
            }
        self.x, self.nodes = {**others, register: Smeared(x[self.now], {}, NOW)}, []

    def resolved(self, means: np.ndarray, s: float) -> None:
        """Where there is mass, neighbours on the present grid, and nodes of noise, must lie closer than the kernel is wide."""
        table, mass = (a.reshape(*self.nodes, -1) for a in (means, self.weights * self.inside))
        for axis in range(table.ndim):
            first, after = ([slice(None)] * table.ndim for _ in range(2))
            first[axis], after[axis] = slice(None, -1), slice(1, None)
            near = np.minimum(mass[tuple(first)], mass[tuple(after)]) > 1e-13
            if axis == table.ndim - 1:
                near = near & (np.diff(self.now[: table.shape[-1]]) == 1)
            wide = float(np.abs(np.diff(table, axis=axis))[near].max(initial=0.0))
            if wide > s / 1.5:
                raise TooCoarse(self.made if axis == table.ndim - 1 else -self.made - 1, 1.15 * wide * 1.5 / s)

    def spline(self, register: int) -> None:
        """y(x, ξ) with all its noise inside: p(y) = Σ_x w_x φ(ξ(y)) ξ'(y), with ξ(y) a spline through the nodes of ξ."""
        rows, weights = self.x[register].mean.reshape(self.inside, -1).T, self.weights.reshape(self.inside, -1).sum(0)
        keep = weights > 1e-18
        rows, weights = rows[keep], weights[keep]
        if self.inside != _FINE or not (np.diff(rows, axis=1) > 0).all():
            raise ValueError(f"{self.plan.solver}: a step is not monotone in its noise on this grid; give more steps")
        z = np.linspace(-_TAIL, _TAIL, _FINE)
        near = weights[1:] > 1e-13
        narrow = float(np.diff(rows, axis=1).min()) / (z[1] - z[0])
        wide = float(np.abs(np.diff(rows[:, _FINE // 2]))[near].max(initial=0.0))
        if wide > narrow / 1.5:
            raise TooCoarse(self.made, 1.15 * wide * 1.5 / narrow)
        self.made += 1
        low, high = rows[:, 0].min(), rows[:, -1].max()
        x = np.linspace(low, high, 1 + math.ceil((high - low) / (narrow / self.fine)))
        p = np.zeros_like(x)
        for y, w in zip(rows, weights, strict=True):
            i, j = np.searchsorted(x, (y[0], y[-1]))
            xi = make_interp_spline(y, z, k=_SPLINE)
            p[i:j] += w * np.exp(-0.5 * xi(x[i:j]) ** 2) * xi.derivative()(x[i:j])
        self.x = {register: Smeared(x, {}, NOW)}
        self.weights, self.now, self.nodes = p / p.sum(), np.arange(len(x)), []

    def summed(self, points: np.ndarray) -> None:
        """Where no noise smooths the last map, sums over the grid must be integrals: small masses, and the same with every second."""
        largest, mass = float(self.weights.max()), self.weights / self.weights.sum()
        if largest > _MASS:
            raise TooCoarse(self.made, 1.1 * largest / _MASS)
        half = mass[::2] / mass[::2].sum()
        size = float(np.abs(points).max(initial=1.0, where=mass > 1e-16))
        off = max(abs(mass @ (points / size) ** k - half @ (points[::2] / size) ** k) for k in range(1, 5))
        if off > 1e-10 and points.size < _MOST_POINTS:
            raise TooCoarse(self.made, 2.0)
        if off > 1e-6:
            raise ValueError(f"{self.plan.solver}: the last map is too steep for {points.size} points; give more steps")

    def finish(self) -> tuple[np.ndarray, np.ndarray, float, np.ndarray | None]:
        if not self.x[self.plan.result].draws and XI & self.x[self.plan.result].on:
            self.spline(self.plan.result)
        value = self.x[self.plan.result]
        points, density = np.broadcast_to(value.mean, self.weights.shape), None
        if not value.draws and value.on == NOW and (np.diff(points) > 0).all():
            density = self.weights / make_interp_spline(np.arange(points.size), points, k=_SPLINE).derivative()(np.arange(points.size))
        s = value.s
        if s > 0.0:
            self.resolved(points, s)
        else:
            self.summed(points)
        if points.size > _MANY and s > 0.0:
            x, _, column, self.weights = _deposit(points, self.weights, np.zeros(points.size, np.int64), s, s / 10.0)
            points = x[column]
            density, s = self.weights * (10.0 / s), 0.0
        order = np.argsort(points)
        order = order[self.weights[order] > 1e-18]
        weights = self.weights[order]
        return points[order], weights / weights.sum(), s, None if density is None else density[order]


def _factored(plan: Plan) -> Plan:
    """The Plan, with a whole earlier sum of the same step that recurs in a later one read from its register."""
    sums: dict[int, dict[int, float]] = {}
    for r, given in plan.sums.items():
        terms, begin = dict(given), max(state for state in plan.states if state < r)
        for j in range(r - 1, begin, -1):
            inner = sums.get(j, {})
            if len(inner) > 1 and inner.keys() <= terms.keys():
                ratios = [terms[i] / c for i, c in inner.items()]
                if max(ratios) - min(ratios) <= 1e-9 * max(abs(ratio) for ratio in ratios):
                    terms = {i: c for i, c in terms.items() if i not in inner}
                    terms[j] = terms.get(j, 0.0) + ratios[0]
        sums[r] = terms
    ops = [Combine(tuple(sums[r].items())) if r in sums else op for (r,), op in zip(plan.made, plan.ops, strict=True)]
    return replace(plan, ops=tuple(ops))


def _combined(terms: list[tuple[float, Smeared]]) -> Smeared:
    mean, draws, on = np.zeros(1), dict[int, float](), frozenset[str]()
    for c, part in terms:
        mean, on = mean + c * part.mean, on | part.on
        for d, b in part.draws.items():
            draws[d] = draws.get(d, 0.0) + c * b
    return Smeared(mean, draws, on)


def _deposit(means: np.ndarray, weights: np.ndarray, rows: np.ndarray, s: float, dx: float) -> tuple[np.ndarray, ...]:
    """Rows of mixtures Σ w N(m, s²) as masses on one uniform grid: its points; row, column and mass of each entry, by row."""
    low, high = means.min() - _TAIL * s, means.max() + _TAIL * s
    count, reach = 1 + math.ceil((high - low) / dx), math.ceil(_TAIL * s / dx)
    if means.size * (2 * reach + 1) > _LIMIT:
        raise ValueError(
            f"the law would need {means.size} x {2 * reach + 1} points: the noise of a step, {s:.2g}, is small against the spread of the "
            f"state, {high - low:.2g}; give fewer steps or end at a larger sigma"
        )
    nearest, offsets = np.rint((means - low) / dx).astype(np.int64), np.arange(-reach, reach + 1)
    shape = (int(rows.max()) + 1, count)
    table, block = csr_array(shape), max(1, _BLOCK // offsets.size)
    for i in range(0, means.size, block):
        part = slice(i, i + block)
        column = nearest[part, None] + offsets
        z = (low + dx * column - means[part, None]) / s
        mass = weights[part, None] * np.exp(-0.5 * z * z)
        good = (column >= 0) & (column < count) & (mass > 1e-20)
        row = np.broadcast_to(rows[part, None], column.shape)[good]
        table = table + coo_array((mass[good], (row, column[good])), shape=shape).tocsr()
    entries = table.tocoo()
    return low + dx * np.arange(count), entries.row, entries.col, entries.data / entries.data.sum()
