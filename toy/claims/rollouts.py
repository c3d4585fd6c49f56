r"""Claims 67, 174, 266: a trajectory made step by step against one made at once, and an interpolator as the forward process.

A model that is off by δ makes a sampler draw c δ too much. A roll-out of x_{n+1} = a x_n + b + noise does so at every step,

    E x̂_n − E x_n = c δ (1 − a^n)/(1 − a),

a sampler of the whole trajectory once.
"""

from __future__ import annotations

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, Node, grid, trace
from scorebed.toy.claims.registry import Row, above, below, claim, near

A, B, NOISE, HORIZON, DELTA = 0.98, 0.3, 0.2, 60, 0.01


def mean_drawn(law: GaussianMixture, delta: float) -> np.ndarray:
    """The mean of what DDIM draws of one Gaussian at 40 steps, its model off by ``delta`` in every coordinate."""
    nodes = grid.uniform_lam(EDM(), 40, start=30.0, end=0.002)
    spread, centre = law.covariance(), law.mean()

    def affine(node: Node) -> tuple[np.ndarray, np.ndarray]:
        gain = spread @ np.linalg.inv(spread + node.sigma**2 * np.eye(law.d))
        return gain, centre - gain @ centre + delta

    return moments(trace(SOLVERS["ddim"], nodes, terminal="denoise"), law, affine=affine)[0]


def trajectory() -> GaussianMixture:
    """The joint law of x_1 … x_H from x_0 = 0."""
    n = np.arange(1, HORIZON + 1)
    mean = B * (1.0 - A**n) / (1.0 - A)
    low = np.minimum.outer(n, n)
    covariance = NOISE**2 * A ** np.abs(np.subtract.outer(n, n)) * (1.0 - A ** (2 * low)) / (1.0 - A * A)
    return GaussianMixture([1.0], mean[None], covariance[None])


def means(broken: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """E x_1 … E x_H of the roll-out, of the joint sampler, exactly, and c δ."""
    delta, step = (0.0 if broken else DELTA), GaussianMixture([1.0], [[0.0]], NOISE**2)
    off = float(mean_drawn(step, delta)[0])
    rolled, x = [], 0.0
    for _ in range(HORIZON):
        x = A * x + B + off
        rolled.append(x)
    joint = trajectory()
    return np.array(rolled), mean_drawn(joint, delta), joint.mean(), float(mean_drawn(step, DELTA)[0])


@claim(
    67,
    paper="Text2PDE",
    reference="arXiv:2410.01153",
    statement="An error δ of the model in each step adds up over a roll-out as the closed power sum says; drawing the whole "
    "trajectory at once pays for it once.",
    control="the model is not off",
)
def whole_trajectory(broken: bool) -> list[Row]:
    """Means of a 60-step roll-out and of a joint draw by DDIM at 40 steps, the model off by .01."""
    rolled, joint, exact, off = means(broken)
    closed = off * (1.0 - A**HORIZON) / (1.0 - A)
    apart = abs(joint[-1] - exact[-1])
    return [
        near("error of the roll-out's mean after 60 steps over its closed sum", (rolled[-1] - exact[-1]) / closed, 1.0, 1e-9, "times"),
        above("its error over that of the joint draw", abs(rolled[-1] - exact[-1]) / max(apart, 1e-9), 10.0, "times"),
        below("error of the joint draw over that of one step", apart / off, 2.0, "times", kept=True),
    ]


@claim(
    174,
    paper="Diffusion world models",
    reference="arXiv:2402.03570",
    statement="The error of a discounted value has a closed form in the horizon for a model that is rolled out step by step, and "
    "grows faster than it; drawing all H steps at once errs less.",
    control="the model is not off",
)
def values(broken: bool) -> list[Row]:
    """Value Σ γ^h E x_h of a reward that is the state, γ = .99, at horizons 15 and 60."""
    rolled, joint, exact, off = means(broken)
    gamma, n = 0.99, np.arange(1, HORIZON + 1)

    def value(x: np.ndarray, h: int) -> float:
        return float(gamma ** n[:h] @ x[:h])

    def closed(h: int) -> float:
        """Σ_n γ^n c δ (1 − a^n)/(1 − a)."""
        sums = [q * (1.0 - q**h) / (1.0 - q) for q in (gamma, gamma * A)]
        return off / (1.0 - A) * (sums[0] - sums[1])

    errors = {h: (value(rolled, h) - value(exact, h), abs(value(joint, h) - value(exact, h))) for h in (15, HORIZON)}
    return [
        *(
            near(f"error of the roll-out's value over its closed form, H = {h}", errors[h][0] / closed(h), 1.0, 1e-9, "times")
            for h in errors
        ),
        above("the error over that of the joint draw, H = 60", errors[60][0] / max(errors[60][1], 1e-9), 5.0, "times"),
        above("the error at H = 60 over that at 15, by 60/15", 0.25 * errors[60][0] / max(errors[15][0], 1e-9), 1.5, "times"),
    ]


@claim(
    266,
    paper="DYffusion",
    reference="arXiv:2306.01984",
    statement="With the forecast and the interpolation of a dynamical system in place of denoising and noising, cold sampling x_{n+1} "
    "= x_n + I(x0, F, i_{n+1}) − I(x0, F, i_n) cancels a bias of the interpolator, which resampling by I keeps, and its "
    "error is of higher order in the bias where that varies.",
    control="resampling stands in for cold sampling",
)
def cold(broken: bool) -> list[Row]:
    """A damped rotation in the plane, the forecaster exact from where it is, the interpolator off by a constant or by a slope."""
    turn, damp, horizon = 1.3, 0.4, 8

    def flow(x: np.ndarray, time: float) -> np.ndarray:
        c, s = np.cos(turn * time), np.sin(turn * time)
        return np.exp(-damp * time) * np.array([[c, -s], [s, c]]) @ x

    def run(bias: float, slope: float, naive: bool) -> float:
        x0 = np.array([1.0, -0.4])

        def interpolate(end: np.ndarray, i: int) -> np.ndarray:
            """From the two ends, exact for this system but for the bias."""
            return flow(end, (i - horizon) / horizon) + bias + slope * i / horizon

        x, worst = x0, 0.0
        for n in range(horizon):
            end = flow(x, (horizon - n) / horizon)
            x = interpolate(end, n + 1) if naive else x + interpolate(end, n + 1) - interpolate(end, n)
            worst = max(worst, float(np.linalg.norm(x - flow(x0, (n + 1) / horizon))))
        return worst

    kept = run(0.1, 0.0, naive=True)
    return [
        below("worst error of the path, constant bias .1", run(0.1, 0.0, broken), 1e-12),
        below("the same over that of resampling", run(0.1, 0.0, broken) / kept, 1e-10, "times"),
        below("worst error with a bias that grows to .1, over that of resampling", run(0.0, 0.1, broken) / run(0.0, 0.1, naive=True), 0.5),
    ]
