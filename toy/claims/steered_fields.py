r"""Claims 0, 6, 180, 184, 247: fields put together of exact parts, and the law that a run of them has."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.special import ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.tilt import full, quadratic
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, VP, Node, grid, sample, trace
from scorebed.solvers.guide import guided, mix
from scorebed.solvers.methods.steering.composition import banded, low_pass, reflected
from scorebed.toy.claims.registry import Row, above, below, claim, near

Floats = np.ndarray


def gain(covariance: Floats, node: Node) -> Floats:
    """A with E[x0 | x] = A x for N(0, covariance)."""
    covariance = np.atleast_2d(covariance)
    return np.asarray(node.alpha * covariance @ np.linalg.inv(node.alpha**2 * covariance + node.sigma**2 * np.eye(len(covariance))))


def sampled(matrix: Any, d: int, name: str = "dpmpp_2m", steps: int = 100, start: Floats | None = None) -> Floats:
    """The covariance that a solver samples with the model ``matrix(node)`` x, on EDM from sigma 80."""
    nodes = grid.uniform_lam(EDM(), steps, start=80.0, end=0.002)
    plan, unit = trace(SOLVERS[name], nodes, terminal="denoise"), GaussianMixture([1.0], np.zeros((1, d)), 1.0)
    begin = nodes[0].sigma ** 2 * np.eye(d) if start is None else start
    return moments(plan, unit, np.zeros(d), begin, affine=lambda node: (matrix(node), np.zeros(d)))[1]


def _two(left: float) -> GaussianMixture:
    return GaussianMixture([left, 1.0 - left], [[-1.0], [1.0]], 0.06)


@claim(
    0,
    paper="W2SD (weak-to-strong by reflection)",
    reference="arXiv:2502.00473",
    statement="One reflection displaces x_t by σ² Δλ (s_strong − s_weak) + O(Δλ²). Where strong is nearer to the ideal than weak, it moves "
    "the mode weights past strong towards the ideal; in the other order it moves them away.",
    control="the weak model is the strong one",
)
def reflection(broken: bool) -> list[Row]:
    """The displacement at two steps, and mode weights of 24 steps from even quantiles: weak .1, strong .3, ideal .5 on the left."""
    strong, weak = _two(0.3), _two(0.3 if broken else 0.1)
    x, gaps = np.linspace(-2.0, 2.0, 9)[:, None], []
    for h in (0.05, 0.025):
        s, t = VP().at_lam(0.3), VP().at_lam(0.3 + h)
        kept = t.sigma / s.sigma
        there = kept * x - t.alpha * math.expm1(-h) * strong.denoised(x, s)
        back = there / kept - s.alpha * math.expm1(h) * weak.denoised(there, t)
        first = s.sigma**2 * h * (strong.score(x, s) - _two(0.1).score(x, s))
        gaps.append(float(np.abs(back - x - first).max()))
    nodes = grid.uniform_lam(VP(), 24, 1.0, 0.02)
    begin = nodes[0].sigma * ndtri((np.arange(300) + 0.5) / 300)[:, None]

    def left(model: Any) -> float:
        return float((sample(SOLVERS["ddim"], model, begin, nodes) < 0.0).mean())

    plain = left(strong.denoised)
    forth, back_ = left(reflected(strong.denoised, weak.denoised, nodes)), left(reflected(weak.denoised, strong.denoised, nodes))
    return [
        near("order of what is left beside σ² Δλ (s_strong − s_weak)", math.log2(gaps[0] / gaps[1]), 2.0, 0.2, "order"),
        above("mass moved past strong towards the ideal", forth - plain, 0.1),
        below("mass of the other order, from strong's", back_ - plain, -0.1),
    ]


@claim(
    6,
    paper="MGLD-VSR (motion-guided latents)",
    reference="arXiv:2312.00853",
    statement="Under a Gaussian prior the quadratic energy of a linear warp, κ|x_i − W x_j|², is sampled exactly where the guidance is the "
    "gradient of log E[e^{−energy} | x_t], which carries the posterior covariance; the energy of the denoised frames alone is biased.",
    control="the covariance is left out: the gradient of the energy of the denoised frames",
)
def warp(broken: bool) -> list[Row]:
    """Two frames of correlation .3, W = .9, κ = 8: the variance of x_i − W x_j, exact by moments of fine runs."""
    prior = GaussianMixture([1.0], [[0.0, 0.0]], [[[1.0, 0.3], [0.3, 1.0]]])
    v = np.array([1.0, -0.9])
    energy = 8.0 * np.outer(v, v)
    tilt = full(quadratic(prior, energy).law)[0]

    def naive(node: Node) -> Floats:
        a = gain(full(prior)[0], node)
        return a - (node.sigma**2 / node.alpha) * a.T @ energy @ a

    found = sampled(naive if broken else (lambda node: gain(tilt, node)), 2, "ddim", 400)
    meant = float(v @ tilt @ v)
    return [
        near("variance of the warp's residual over the tilt's", float(v @ found @ v) / meant, 1.0, 0.02, "times"),
        below("largest error of the covariance", float(np.abs(found - tilt).max()), 0.02),
    ]


@claim(
    180,
    paper="Plug-and-play diffusion distillation",
    reference="arXiv:2406.01954",
    statement="The least-squares external guide is (w − 1)(ε_c − ε_u); on a fine-tuned base it is right only where the difference of "
    "the two conditional means is the same there: for a base moved by m its error is (w − 1)(A_c − A_u) α m, and none where A_c = A_u.",
    control="the guide is w (ε_c − ε_u), and the class is half as wide as the data",
)
def plug(broken: bool) -> list[Row]:
    """Gaussians: the class N(.5, .3), the data N(0, 1), moved by m = .7; and classes as wide as the data."""
    w, m, node, x = 3.0, 0.7, VP().node(0.4), np.linspace(-2.0, 2.0, 7)[:, None]
    c, u = GaussianMixture([1.0], [[0.5]], 0.3), GaussianMixture([1.0], [[0.0]], 1.0)
    alike = GaussianMixture([1.0], [[0.5]], 0.5 if broken else 1.0)

    def guide(one: GaussianMixture, at: Floats) -> Floats:
        return (w if broken else w - 1.0) * (one.denoised(at, node) - u.denoised(at, node))

    def needed(one: GaussianMixture, shift: float) -> Floats:
        moved = x - node.alpha * shift  # both laws moved by shift
        return (w - 1.0) * (one.denoised(moved, node) - u.denoised(moved, node))

    slopes = [float(gain(np.array([[v]]), node)[0, 0]) for v in (0.3, 1.0)]
    off = guide(c, x) - needed(c, m)
    formula = (w - 1.0) * (slopes[0] - slopes[1]) * node.alpha * m
    total, right = c.denoised(x, node) + guide(c, x), mix(c.denoised(x, node), u.denoised(x, node), w)
    return [
        below("base and guide against guidance of scale w", float(np.abs(total - right).max()), 1e-10),
        below("error on a moved base, less the formula", float(np.abs(off - formula).max()), 1e-10),
        below("error on a moved base, classes as wide as the data", float(np.abs(guide(alike, x) - needed(alike, m)).max()), 1e-10),
        above("size of that error", abs(formula), 0.1, kept=True),
    ]


@claim(
    184,
    paper="FreSca (frequency scaling)",
    reference="arXiv:2504.02154",
    statement="For stationary Gaussian fields each frequency is a guided ODE of its own: with scales l and h of the two bands the sampled "
    "spectrum is c_k^{w_k} u_k^{1 − w_k}; l = h is classifier-free guidance; masks that are Hermitian keep the output real.",
    control="the two bands are exchanged",
)
def bands(broken: bool) -> list[Row]:
    """Rings of 8 points, spectra 1/(1 + k²) and 2/(1 + k²/4), l = 2, h = 1.3."""
    d, low, high = 8, 2.0, 1.3
    k = np.abs(np.fft.fftfreq(d, 1.0 / d))
    c, u = 1.0 / (1.0 + k**2), 2.0 / (1.0 + 0.25 * k**2)
    matrices = [np.fft.ifft(np.fft.fft(np.eye(d), axis=1) * one, axis=1).real for one in (c, u)]
    p = low_pass(d, 1)
    laws = [GaussianMixture([1.0], np.zeros((1, d)), one[None]) for one in matrices]
    scales = (high, low) if broken else (low, high)
    model = banded(laws[0].denoised, laws[1].denoised, *scales, lambda gap: gap @ p)
    got = sampled(lambda node: np.asarray(model(np.eye(d), node)).T, d)
    spectrum = np.fft.fft(got[0]).real
    w = np.where(k <= 1.0, low, high)
    node, x = EDM().node(0.7), np.random.default_rng(0).standard_normal((3, d))
    same = banded(laws[0].denoised, laws[1].denoised, 2.5, 1.2 if broken else 2.5, lambda gap: gap @ p)(x, node)
    plain = guided(laws[0].denoised, laws[1].denoised, 2.5)(x, node)
    half = np.fft.ifft(np.fft.fft(x, axis=1) * (np.fft.fftfreq(d) >= 0.0), axis=1)
    return [
        below("largest relative error of the spectrum", float(np.abs(spectrum / (c**w * u ** (1.0 - w)) - 1.0).max()), 0.02),
        below("l = h against guidance", float(np.abs(same - plain).max()), 1e-10),
        above("imaginary part under a mask of one side", float(np.abs(half.imag).max()), 0.1, kept=True),
    ]


@claim(
    247,
    paper="Generate anything anywhere (scores by region)",
    reference="arXiv:2306.17154",
    statement="Scores put together by region masks sample the product of the regions' marginals exactly where in each law the regions are "
    "independent; where they are not, the seam keeps a covariance which neither law has.",
    control="the regions of the two laws are correlated",
)
def anywhere(broken: bool) -> list[Row]:
    """Two Gaussians of the plane, one for each coordinate: covariance of the output by moments."""

    def output(r: float) -> tuple[Floats, list[Floats]]:
        one, two = (np.array([[a, r * math.sqrt(a * b)], [r * math.sqrt(a * b), b]]) for a, b in ((1.0, 0.5), (0.4, 2.0)))
        return sampled(lambda node: np.stack([gain(one, node)[0], gain(two, node)[1]]), 2), [one, two]

    got, (one, two) = output(0.8 if broken else 0.0)
    seam, laws = output(0.8)
    return [
        below("error of the variances", max(abs(got[0, 0] / one[0, 0] - 1.0), abs(got[1, 1] / two[1, 1] - 1.0)), 0.01),
        below("covariance at the seam", abs(got[0, 1]), 0.01),
        above("seam covariance of correlated laws, from either law's", min(abs(seam[0, 1] - a[0, 1]) for a in laws), 0.02, kept=True),
    ]
