r"""Claims 50, 164, 178, 205: other ways to the noise than α x + σ ε, on the line, where the exact maps are quantile functions."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import Encoded, LinearLaw, MonotonePath
from scorebed.solvers import SOLVERS, VP, RectifiedFlow, grid, sample, trace
from scorebed.solvers.process.consecutive import Consecutive
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.problems.lines import modes

PAIR = (GaussianMixture([0.4, 0.6], [[-1.2], [0.9]], [0.1, 0.3]), GaussianMixture([0.5, 0.5], [[-0.4], [1.6]], [0.2, 0.05]))


def blend(n: int, x: np.ndarray, broken: bool) -> np.ndarray:
    """n steps x ← x + δ (E[x0 | x] − E[x1 | x]) from x1 to x0, x_a = (1 − a) x1 + a x0."""
    data, noise = PAIR
    for i in range(n):
        a = i / n
        total, mass = np.zeros_like(x), np.zeros_like(x)
        for wk, mk, vk in zip(data.weights, data.means[:, 0], np.ravel(data.covariances), strict=True):
            for wl, ml, vl in zip(noise.weights, noise.means[:, 0], np.ravel(noise.covariances), strict=True):
                spread = a * a * vk + (1.0 - a) ** 2 * vl
                rest = x - a * mk - (1.0 - a) * ml
                share = wk * wl * np.exp(-0.5 * rest * rest / spread) / math.sqrt(spread)
                start = ml if broken else ml + (1.0 - a) * vl / spread * rest
                total, mass = total + share * (mk + a * vk / spread * rest - start), mass + share
        x = x + total / mass / n
    return x


@claim(
    178,
    paper="Iterative α-(de)blending",
    reference="arXiv:2305.03486",
    statement="The iteration x_{α+δ} = x_α + δ (E[x1 | x_α] − E[x0 | x_α]) converges, with order 1, to a map that carries one law to "
    "the other for any pair, the monotone one on the line; from Gaussian noise each step is one of DDIM with (α, σ) = (α, 1 "
    "− α).",
    control="the mean of x0 stands in for E[x0 | x_α]",
)
def blending(broken: bool) -> list[Row]:
    """Two mixtures of two modes, 40 to 320 steps against quantiles; and DDIM on rectified flow against the same iteration."""
    data, noise = PAIR
    u = (np.arange(41) + 0.5)[:, None] / 41
    x, exact = np.asarray(noise.quantile(u))[:, None], np.asarray(data.quantile(u))[:, None]
    x, exact = x.reshape(-1, 1), exact.reshape(-1, 1)
    counts = (40, 80, 160, 320)
    errors = [rms(blend(n, x, broken) - exact) for n in counts]
    flow, target = RectifiedFlow(1e-3, 0.999), modes()
    nodes = grid.GRIDS["uniform"](flow, 20)
    z = states(target, nodes[0])
    ours = z
    for s, t in pairwise(nodes):
        clean = target.denoised(ours, s)
        eps = 0.0 * ours if broken else (ours - s.alpha * clean) / s.sigma
        ours = ours + (s.t - t.t) * (clean - eps)
    theirs = sample(SOLVERS["ddim"], target.denoised, z, nodes, terminal="none")
    return [
        order("order in the step, mixture to mixture", order_of(counts, errors).slope, 1.0),
        below("RMS distance from the monotone map at 320 steps", errors[-1], 0.02),
        below("one step after another, from noise, against DDIM", float(np.abs(ours - theirs).max()), 1e-12),
    ]


@claim(
    164,
    paper="Neural diffusion models",
    reference="arXiv:2310.08337",
    statement="A forward map q(z_t | x) = N(α F(x), σ²) that makes a law on the line Gaussian makes its reverse process linear: a "
    "linear denoiser is the exact one, so that the bound is tight, and one Euler step of the flow samples the law.",
    control="F is the identity",
)
def learned_noising(broken: bool) -> list[Row]:
    """Three modes on the line through their quantile map: the linear denoiser's excess loss, and one Euler step in t."""
    target, schedule = modes(), VP()
    code = target if broken else GaussianMixture([1.0], [[0.0]], 1.0)
    law, mean, variance = Encoded(target, code), float(code.mean()[0]), float(code.covariance()[0, 0])
    excess = []
    for t in (0.2, 0.5, 0.8):
        node = schedule.node(t)
        x = states(code, node, 2001)
        gain = node.alpha * variance / (node.alpha**2 * variance + node.sigma**2)
        excess.append(rms(mean + gain * (x - node.alpha * mean) - law.denoised(x, node)))
    x = states(code, schedule.node(0.999))
    found = law.decode(sample(SOLVERS["euler_t"], law.denoised, x, [schedule.node(0.999), schedule.node(1e-3)], terminal="none"))
    exact = np.asarray(target.quantile((np.arange(len(x)) + 0.5) / len(x)))
    return [
        below("largest excess of the linear denoiser, RMS", max(excess), 1e-10),
        below("one Euler step against the law's quantiles, RMS", rms(found[:, 0] - exact), 1e-8),
    ]


@claim(
    205,
    paper="Neural flow diffusion models",
    reference="arXiv:2404.12940",
    statement="Of all forward flows between a law and noise the one without curvature of its paths is the optimal map's: its velocity "
    "is constant along every path, and one Euler step samples exactly; the linear flow of independent pairs is neither.",
    control="pairs are independent, as in flow matching",
)
def learned_flow(broken: bool) -> list[Row]:
    """Three modes on the line: z_t = (1 − t) x + t T(x) with T monotone, against the flow of independent pairs."""
    target, process = modes(), RectifiedFlow(1e-3, 0.999)
    law = MonotonePath(target, GaussianMixture([1.0], [[0.0]], 1.0))
    times = np.linspace(0.95, 0.05, 19)
    nodes = [process.node(t) for t in times]
    u = (np.arange(41) + 0.5) / 41
    seen = (target.marginal(node).quantile(u) if broken else law.quantile(u, node) for node in nodes)
    paths = np.stack([np.asarray(z)[:, None] for z in seen])
    model = target.denoised if broken else law.denoised
    one = sample(SOLVERS["euler_t"], model, paths[0], [nodes[0], nodes[-1]], terminal="none")
    bend = np.diff(paths, 2, axis=0) / (times[1] - times[0]) ** 2
    whole = 0.9 * (np.asarray(target.quantile(u)) - np.asarray(law.noise.quantile(u)))
    return [
        below("RMS acceleration along the paths", rms(bend), 1e-8),
        below("one Euler step against the end of the paths, RMS", rms(one - paths[-1]), 1e-10),
        above("RMS length of the paths over that of the monotone map", rms(paths[-1] - paths[0]) / rms(whole), 0.5, kept=True),
    ]


@claim(
    50,
    paper="Consecutive Brownian bridges for frame interpolation",
    reference="arXiv:2405.05953",
    statement="The noise that a chain along a Brownian bridge draws in all is bounded, Σ var = κ², where a DDPM chain draws the "
    "integral of β; and where the answer is one point the bridge ends there, without spread.",
    control="a DDPM chain stands in for the bridge",
)
def bounded_noise(broken: bool) -> list[Row]:
    """Variances of the draws of 800 steps of both bridges, summed; and the output law of 20 steps of one from a pin to a point."""
    bridge, n = Consecutive(), 800

    def drawn(process: object, start: float, end: float) -> float:
        """Σ C² of the transfers that DDPM makes."""
        nodes = grid.GRIDS["uniform"](process, n, start=start, end=end)
        return sum(float(s.to(t, 1.0).c[0][0]) ** 2 for s, t in pairwise(nodes))

    own = drawn(VP(), 1.0, 1e-3) if broken else drawn(bridge, 1.0, 1e-3)
    law = LinearLaw(bridge, [1.0], [[0.2, 0.7, -1.0]], np.diag([0.0, 0.3 if broken else 0.0, 0.0])[None])
    nodes = grid.GRIDS["uniform"](bridge, 20, start=1.0, end=0.5)
    mean, spread = moments(trace(SOLVERS["ddpm"], nodes), law)
    return [
        near("Σ var of the bridge's draws over κ²", own, 1.0, 0.02),
        above("Σ var of DDPM's draws over it", drawn(VP(), 1.0, 1e-3) / own, 5.0, "times"),
        below("spread of the output where the data is a point", math.sqrt(float(spread[0, 0])), 1e-5),
        below("its distance from the point", abs(float(mean[0]) - 0.7), 1e-9, kept=True),
    ]
