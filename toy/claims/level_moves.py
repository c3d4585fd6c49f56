r"""Claims 57, 115, 292: one expert for each range of levels, levels that are drawn with the state, structure that comes a step late."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Node, grid, sample
from scorebed.solvers.methods.langevin import langevin
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.measure.output_law import transfer_matrix

_VP, _EDM = VP(), EDM()
_MEAN, _VARIANCE = 0.7, 0.3
_Affine = tuple[float, float]


def _expert(levels: Sequence[Node]) -> _Affine:
    """(A, b) that minimise the mean over the levels of E|A x_t + b − x0|² on N(.7, .3): the normal equations of its moments."""
    alpha, sigma = (np.array([getattr(node, name) for node in levels]) for name in ("alpha", "sigma"))
    x, xx = np.mean(alpha * _MEAN), np.mean(alpha**2 * (_VARIANCE + _MEAN**2) + sigma**2)
    xy = np.mean(alpha * (_VARIANCE + _MEAN**2))
    a, b = np.linalg.solve(np.array([[xx, x], [x, 1.0]]), np.array([xy, _MEAN]))
    return float(a), float(b)


def _w2_of_experts(number: int, late: float) -> float:
    """W2 of the output of fine DDIM whose expert is switched, ``late`` of a range after its end, to the limit of one expert per level."""
    nodes = grid.uniform_lam(_VP, 960, start=0.9, end=0.05)
    each = len(nodes) // number
    shift = int(late * each)

    def run(model: Callable[[int], _Affine]) -> tuple[float, float]:
        # an affine map takes mean and standard deviation with it
        mean, std = 0.0, 1.0
        for i, (s, t) in enumerate(pairwise(nodes)):
            a, b = model(i)
            e, d = t.sigma / s.sigma, -t.alpha * math.expm1(s.lam - t.lam)
            mean, std = (e + d * a) * mean + d * b, (e + d * a) * std
        return mean, std

    experts = [_expert(nodes[k * each : (k + 1) * each]) for k in range(number)]
    switched = run(lambda i: experts[min(max(i - shift, 0) // each, number - 1)])
    limit = run(lambda i: _expert([nodes[i]]))
    return math.hypot(switched[0] - limit[0], switched[1] - limit[1])


@claim(
    57,
    paper="A-SDM (switching of models by timestep)",
    reference="arXiv:2406.00210",
    statement="K affine experts, each the best of its range of levels and blind to the time, sample a Gaussian with an error of "
    "second order in 1/K: within a range the errors of the best expert cancel.",
    control="an expert goes on for half a range after its own",
)
def experts(broken: bool) -> list[Row]:
    """DDIM of 960 steps, 6 to 24 experts, by affine maps of mean and standard deviation."""
    counts = (6, 12, 24)
    errors = [_w2_of_experts(k, 0.5 if broken else 0.0) for k in counts]
    return [order("order in the number of experts", order_of(counts, errors).slope, 2.0), below("W2 with 24 experts", errors[-1], 0.004)]


_FAR = GaussianMixture([0.35, 0.65], [[-1.5], [1.5]], [0.09, 0.09])
_LINE = np.linspace(-14.0, 14.0, 561)


def _levels(highest: float, number: int = 7) -> list[Node]:
    return grid.uniform_lam(_EDM, number - 1, start=highest, end=0.3)


def _chain(levels: Sequence[Node], delta: float, blind: bool) -> tuple[np.ndarray, np.ndarray]:
    """The kernel of the state, sigma | x and then one Langevin step there, and p(sigma | x); blind: sigma is drawn without x."""
    x = _LINE[:, None]
    density = np.stack([np.exp(_FAR.log_prob(x, node)) for node in levels], 1)
    given = density / density.sum(1, keepdims=True)
    kernel = np.zeros((len(x), len(x)))
    for j, node in enumerate(levels):
        mean = langevin(x, _FAR.denoised(x, node), np.zeros_like(x), node, delta)
        std = (langevin(x, _FAR.denoised(x, node), np.ones_like(x), node, delta) - mean)[0, 0]
        kernel += (1.0 / len(levels) if blind else given[:, j : j + 1]) * transfer_matrix(_LINE, mean[:, 0], std)
    return kernel, given


def _stationary(kernel: np.ndarray) -> np.ndarray:
    """The law that the kernel keeps."""
    n = len(kernel)
    law = np.linalg.solve(kernel.T - np.eye(n) + np.ones((n, n)), np.ones(n))
    return np.asarray(law / law.sum())


def _gap(kernel: np.ndarray) -> float:
    """1 − the second largest eigenvalue in modulus: what is forgotten in a step."""
    return float(1.0 - np.sort(np.abs(np.linalg.eigvals(kernel)))[-2])


@claim(
    115,
    paper="Denoising MCMC",
    reference="arXiv:2209.14593",
    statement="Langevin steps at sigma and draws of sigma | x in turn keep p(x, sigma) up to a bias of first order in the step. Its "
    "states at a low sigma need fewer evaluations on the way to the data than those at the highest; without high levels the "
    "modes do not mix.",
    control="sigma is drawn without a look at x",
)
def levels_that_move(broken: bool) -> list[Row]:
    """Two modes; the chain as a matrix on 561 points, 7 levels; Heun's method from .4 and from 20 down to .02."""
    levels = _levels(3.0)
    meant = np.mean([np.exp(_FAR.log_prob(_LINE[:, None], node)) for node in levels], 0)
    steps = (1 / 5, 1 / 10, 1 / 20)
    biases = [float(0.5 * np.abs(_stationary(_chain(levels, delta, broken)[0]) - meant / meant.sum()).sum()) for delta in steps]

    def evaluations(start: float) -> int:
        for n in range(1, 100):
            nodes = grid.karras(_EDM, n, start, 0.02)
            x = np.asarray(_FAR.marginal(nodes[0]).quantile((np.arange(99) + 0.5) / 99))[:, None]
            if rms(sample(SOLVERS["heun"], _FAR.denoised, x, nodes, terminal="none") - _FAR.flow(x, nodes[0], nodes[-1])) < 0.01:
                return 2 * n
        return 200

    wide, narrow = (_gap(_chain(_levels(top), 0.1, False)[0]) for top in (3.0, 0.5))
    return [
        order("order of the bias in the step", order_of([5, 10, 20], biases).slope, 1.0),
        below("TV of the stationary law to p(x), step .05", biases[-1], 0.004),
        above("evaluations from sigma = 20 to one from .4, W2 < .01", evaluations(20.0) / evaluations(0.4), 2.0, kept=True),
        above("gap with levels up to 3 to one up to .5", wide / narrow, 20.0, kept=True),
    ]


_PATCH = np.kron(np.eye(2), np.full((1, 2), math.sqrt(0.5)))
"""The low band: one mean for each of two patches of two pixels; (2, 4)."""
_HIGH = np.kron(np.eye(2), np.array([[1.0, -1.0]]) * math.sqrt(0.5))
_COVARIANCE = _PATCH.T @ np.array([[1.0, 0.7], [0.7, 1.0]]) @ _PATCH + _HIGH.T @ np.array([[0.2, 0.12], [0.12, 0.2]]) @ _HIGH


class _Guided:
    """D by patches, whose low band is drawn to that of the low-resolution model of ``delay`` calls ago by w: P (D_low − P D_patch)."""

    def __init__(self, w: float, delay: int) -> None:
        self.w, self.delay, self.seen = w, delay, list[Any]()
        self.low = GaussianMixture([1.0], [[0.0, 0.0]], (_PATCH @ _COVARIANCE @ _PATCH.T)[None])
        self.patches = [GaussianMixture([1.0], [[0.0, 0.0]], _COVARIANCE[None, k : k + 2, k : k + 2]) for k in (0, 2)]

    def __call__(self, x: np.ndarray, node: Node) -> np.ndarray:
        self.seen.append(self.low.denoised(x @ _PATCH.T, node))
        own = np.concatenate([law.denoised(x[:, k : k + 2], node) for law, k in zip(self.patches, (0, 2), strict=True)], 1)
        return np.asarray(own + self.w * (self.seen[max(len(self.seen) - 1 - self.delay, 0)] - own @ _PATCH.T) @ _PATCH)


@claim(
    292,
    paper="ASGDiffusion",
    reference="arXiv:2412.06163",
    statement="Structure of a low-resolution run that comes one step late in parallel patches errs by O(h). On a Gaussian pyramid the "
    "low band is then the low-resolution run's own, while the high bands of two patches come out independent, whatever they "
    "are in the data.",
    control="the structure of the first step is kept, and weighs .8",
)
def late_structure(broken: bool) -> list[Row]:
    """Two patches of two pixels, a low band of correlation .7 and high bands of correlation .6; DDIM as a matrix."""
    w = 0.8 if broken else 1.0

    def matrix(n: int, delay: int, w: float = 1.0) -> np.ndarray:
        nodes = grid.uniform_lam(_VP, n, start=0.9, end=0.02)
        return np.asarray(sample(SOLVERS["ddim"], _Guided(w, delay), np.eye(4), nodes, terminal="none")).T

    counts = (32, 64, 128)
    late = [rms(matrix(n, n if broken else 1, w) - matrix(n, 0)) for n in counts]
    nodes = grid.uniform_lam(_VP, 64, start=0.9, end=0.02)
    low = sample(SOLVERS["ddim"], _Guided(1.0, 0).low.denoised, np.eye(2), nodes, terminal="none").T
    made = matrix(64, 0, w)
    high = _HIGH @ made @ made.T @ _HIGH.T
    return [
        order("order of the delay's error", order_of(counts, late).slope, 1.0),
        below("low band less the low-resolution run's", rms(_PATCH @ made - low @ _PATCH), 1e-12),
        near("correlation of the high bands, .6 in the data", float(high[0, 1] / high[0, 0]), 0.0, within=1e-12, kept=True),
    ]
