r"""Claims 36, 51, 62, 101, 125: conditioning by putting in what is known, at which level of noise, and again and again.

The exact way holds the known part at its own level (clean), as E[x0 | x_t, y] of the joint law does. Replacement noises it to the level of
the rest, and so tells the model less than is known: for unit pairs of correlation r the rest goes to alpha² r k a cycle, not r k.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance import gaussian_kl
from scorebed.analytic.gaussian.regression import ExactModel, Regression
from scorebed.solvers import SOLVERS, VP, Node, grid, sample
from scorebed.solvers.inverse import METHODS, Conditioned, Linear
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.affine_law import affine_law

R = 0.8
PAIR = GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, R], [R, 1.0]]])
KNOWN = Conditioned(ExactModel(PAIR), Linear([[1.0, 0.0]], 1e-8), np.array([1.5]))


def once_round(square: float, steps: int) -> tuple[float, float, float]:
    """One cycle of COW between the level alpha² = square and the data, on the free coordinate: m -> rate m + shift, and the variance added.

    The method's own run with the known coordinate overwritten at the top; noise back up to the top closes the cycle.

    Returns:
        (rate, shift, variance added) of one cycle.
    """
    top = VP().at_lam(0.5 * math.log(square / (1.0 - square)))
    nodes = grid.uniform_lam(VP(), steps, start=top.t, end=1e-4)
    law = affine_law(METHODS["cow"](cycles=0, high=0.0, low=1.0), KNOWN, nodes, 2)
    slope = float(law.start[1, 1])
    return top.alpha * slope, float(law.offset[1]), float(law.noise[1] @ law.noise[1]) + (top.sigma * slope) ** 2


def fixed_point(square: float, cycles: float = math.inf) -> tuple[float, float, float]:
    """Mean over the known and variance of the free coordinate after so many cycles from 0, and the rate; extrapolated in the steps."""
    out = []
    for steps in (80, 160):
        rate, shift, spread = once_round(square, steps)
        gone = 1.0 - (0.0 if cycles == math.inf else rate**cycles)
        out.append((shift * gone / (1.0 - rate) / 1.5, spread * (1.0 - (1.0 - gone) ** 2) / (1.0 - rate**2), rate))
    return tuple(2.0 * b - a for a, b in zip(*out, strict=True))


@claim(
    62,
    paper="COW (cyclic one-way diffusion)",
    reference="arXiv:2306.08247",
    statement="Overwriting the known region and cycling between two levels of noise makes the free region follow p(free | fixed).",
    control="the cycles are left out: one pass",
    when="the level goes to the data: clamp-and-renoise at level alpha has the mean alpha² r k (r k is right) for pairs of correlation "
    "r, and at alpha² = .9 and r = .8 the variance .431 (.36); the bias goes with 1 − alpha², and the mixing time grows like its inverse",
)
def cycles(broken: bool) -> list[Row]:
    """The law of one cycle of the method's own run on a Gaussian pair with r = 0.8, and its fixed point."""
    many = 1 if broken else math.inf
    mean, spread, rate = fixed_point(0.9, many)
    closer, _, slower = fixed_point(0.97, many)
    return [
        near("mean of the free one over the known, alpha² = 0.9", mean, 0.9 * R, 2e-3),
        near("its variance", spread, 0.431, 2e-3),
        near("mean of the free one over the known, alpha² = 0.97", closer, 0.97 * R, 2e-3),
        below("distance of the mean from r at alpha² = 0.9, as printed", abs(mean - R), 0.01, printed=True),
        near("mixing time at alpha² = 0.97 over that at 0.9", math.log(rate) / math.log(slower), 3.2, 0.7, "times", kept=True),
    ]


@claim(
    125,
    paper="SeisFusion (known traces put in)",
    reference="arXiv:2403.11482",
    statement="Putting the known data in place of the model's at every reverse step, with resampling cycles, gives the missing data their "
    "conditional law.",
    control="the known and the missing part are independent, where replacement has nothing to get wrong",
    when="the conditional score is exact, or known and missing parts are independent; cycles lessen the bias and do not remove it",
)
def replacement(broken: bool) -> list[Row]:
    """W2 to the exact conditional, by exact laws of the runs."""
    law = GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.0], [0.0, 1.0]]]) if broken else PAIR
    c = Conditioned(ExactModel(law), KNOWN.operator, KNOWN.y)
    truth, nodes = law.given(c.operator.matrix, c.y, c.operator.variance), grid.uniform_lam(VP(), 60, end=1e-3)

    def off(name: str, **options: object) -> float:
        return abs(float(affine_law(METHODS[name](**options), c, nodes, 2).mean[1] - truth.mean()[1])) / math.sqrt(truth.covariance()[1, 1])

    once, often, exact = off("replacement"), off("repaint", resample=8), off("exact", solver="dpmpp_2m")
    return [
        above("mean of the missing one by replacement, off by", once, 0.3, "std"),
        above("with 8 resamplings a step, off by", often, 0.05, "std"),
        below("with the exact conditional score, off by", exact, 0.01, "std", kept=True),
        below("with 8 resamplings a step, as printed", 1.0 if broken else often, 0.01, "std", printed=True),
    ]


@cache
def _joint(alpha: float, sigma: float, a: float, s: float) -> Regression:
    return Regression(PAIR, np.diag([alpha, a]), np.diag([sigma**2, s**2]))


def given_y(n: Node, level: Node | None, x: np.ndarray, y: float, xi: np.ndarray) -> np.ndarray:
    """E[x0 | x_t, y at its level] of the pair (y, x), y clean where the level is None; x and the noise of y (n, 1)."""
    alpha, sigma = (1.0, 1e-6) if level is None else (level.alpha, level.sigma)
    return _joint(alpha, sigma, n.alpha, n.sigma).mean(np.concatenate([alpha * y + sigma * xi, x], 1))[:, 1:]


@claim(
    36,
    paper="UniCon (a level of noise for each part)",
    reference="arXiv:2410.11439",
    statement="With the joint score at two levels (t_x, t_y) one model gives p(x | y) at t_y = 0, the joint law at t_x = t_y and the "
    "marginal at t_y = T; a model that is right on the diagonal alone gives a biased conditional.",
    control="the model of the diagonal, handed y noised to the level of x, is used where two levels are meant",
)
def levels(broken: bool) -> list[Row]:
    """DPM-Solver++ on E[x0 | x_t, y_s] of a Gaussian pair, y = 1.5; exact laws of the runs."""
    nodes, rows = grid.uniform_lam(VP(), 40, end=1e-3), []
    for what, level, mean, variance in (("t_y = 0", None, R * 1.5, 1 - R * R), ("t_y = T", nodes[0], 0.0, 1.0)):

        def run(c: object, x: np.ndarray, n: list[Node], draws: Any, level: Node | None = level) -> np.ndarray:
            xi = draws.next()
            return sample(SOLVERS["dpmpp_2m"], lambda z, s: given_y(s, s if broken else level, z, 1.5, xi), x, n)

        law = affine_law(run, KNOWN, nodes, 1)
        found, spread = float(law.mean[0]), float(law.covariance[0, 0])
        rows += [near(f"mean of x at {what}", found, mean, 0.03), near(f"variance of x at {what}", spread, variance, 0.05)]
    return rows


@claim(
    101,
    paper="ShapeFusion (noise in the mask only)",
    reference="arXiv:2403.19773",
    statement="Noise in the masked region alone, with the rest clean, samples p(masked | rest) for every mask and leaves the rest "
    "unchanged; conditioning by replacement is biased.",
    control="the rest is noised with the mask, and put in by replacement",
)
def masks(broken: bool) -> list[Row]:
    """Every mask of four coordinates of a correlated Gaussian; exact laws of the runs, and the rest after the run."""
    root = np.random.default_rng(2).standard_normal((4, 4))
    law = GaussianMixture([1.0], np.zeros((1, 4)), (root @ root.T / 4 + 0.2 * np.eye(4))[None])
    k, nodes = np.array([0.5, -1.0, 0.8, 0.3]), grid.uniform_lam(VP(), 40, end=1e-3)
    worst, moved = 0.0, 0.0
    for size in (1, 2, 3):
        for rest in combinations(range(4), size):
            seen, free = list(rest), [i for i in range(4) if i not in rest]
            truth = law.given(np.eye(4)[seen], k[seen], 1e-10)
            c = Conditioned(ExactModel(law), Linear(np.eye(4)[seen], 1e-10), k[seen])
            if broken:
                found = affine_law("replacement", c, nodes, 4)
            else:
                inside = GaussianMixture([1.0], truth.mean()[free][None], truth.covariance()[np.ix_(free, free)][None])
                held = np.zeros(4)
                held[seen] = k[seen]

                def run(
                    c: Conditioned,
                    x: np.ndarray,
                    n: list[Node],
                    draws: Any,
                    law: GaussianMixture = inside,
                    free: list[int] = free,
                    held: np.ndarray = held,
                ) -> np.ndarray:
                    out = np.tile(held, (len(x), 1))
                    out[:, free] = sample(SOLVERS["dpmpp_2m"], law.denoised, np.ascontiguousarray(x[:, free]), n)
                    return out

                found = affine_law(run, c, nodes, 4)
            worst = max(worst, found.w2(truth.mean(), truth.covariance()))
            moved = max(moved, float(np.abs(found.noise[seen]).max(initial=0.0) + np.abs(found.start[seen]).max()))
    return [
        below("worst W2 to p(masked | rest) over 14 masks", worst, 0.03),
        below("largest change of the rest", moved, 1e-12, kept=True),
    ]


@claim(
    51,
    paper="SADM (any observed subset of a sequence)",
    reference="arXiv:2212.08228",
    statement="A sequence sampled frame by frame from exact conditionals on whatever frames are there has the joint law, missing frames "
    "included; conditioning on the last frame alone loses a KL that is a log-determinant.",
    control="each frame is drawn given the last one alone",
)
def sequence(broken: bool) -> list[Row]:
    """An autoregression of order two, 6 frames, the third given and the fifth missing; covariances by composition."""
    phi = np.array([0.5, 0.4])
    root = np.eye(6)
    for t in range(6):
        for j, p in enumerate(phi):
            if t - j - 1 >= 0:
                root[t] += p * root[t - j - 1]
    cov = root @ root.T
    law = GaussianMixture([1.0], np.zeros((1, 6)), cov[None])
    a, b, lost = np.zeros((6, 6)), np.zeros(6), 0.0  # frame t = a[t] ξ + b[t] (the given value)
    b[2], order = 1.0, [0, 1, 3, 5]
    done = [2]
    for t in order:
        past = [max(done)] if broken else done
        gain = np.linalg.solve(cov[np.ix_(past, past)], cov[past, t])
        var = cov[t, t] - gain @ cov[past, t]
        full = cov[t, t] - cov[t, done] @ np.linalg.solve(cov[np.ix_(done, done)], cov[done, t])
        only = cov[t, t] - cov[t, max(done)] ** 2 / cov[max(done), max(done)]
        lost += 0.5 * math.log(only / full)
        a[t], b[t] = gain @ a[past], gain @ b[past]
        a[t, t] = math.sqrt(var)
        done = [*done, t]
    kept = [0, 1, 3, 5]
    exact = law.given(np.eye(6)[[2]], [1.0], 1e-12)
    found = (a @ a.T)[np.ix_(kept, kept)]
    truth = exact.covariance()[np.ix_(kept, kept)]
    kl = gaussian_kl(exact.mean()[kept], truth, b[kept], found)
    return [
        below("KL of the law of frame-by-frame samples from p(frames | given)", kl, 1e-9),
        above("log-determinant that the last frame alone would lose", lost, 0.05, kept=True),
    ]
