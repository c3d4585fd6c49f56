"""Claims 37, 93, 250: which frequencies a level shows, where a run begins, and in which clock its steps are equal."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from scorebed.analytic.gaussian.field import StationaryField, pool
from scorebed.analytic.output.error import flow_rms
from scorebed.solvers import EDM, SOLVERS, VP, Node, trace
from scorebed.solvers.spacing import simple_diffusion
from scorebed.toy.claims.registry import Row, below, claim, near
from scorebed.toy.measure.convergence import rms
from scorebed.toy.problems.products import product2d

FLAT = product2d()


@claim(
    93,
    paper="TabSyn",
    reference="arXiv:2310.09656",
    statement="With sigma = t the paths of the flow are straight wherever the data look like a point, so that Euler's steps in t err "
    "less than with sigma = sqrt(t) at as many steps; one point is reached exactly.",
    control="the two clocks are exchanged",
)
def clocks(broken: bool) -> list[Row]:
    """Euler in t on dx/dt = (sigma'/sigma)(x − D), from sigma = 5 to 0.05: one point, and a product of two mixtures."""

    def run(d: Any, x: np.ndarray, power: float, n: int) -> np.ndarray:
        ts = np.linspace(5.0 ** (1.0 / power), 0.05 ** (1.0 / power), n + 1)
        for s, t in pairwise(ts):
            node = EDM().node(float(s**power))
            x = x + (t - s) * power / s * (x - d(x, node))
        return x

    a, b = (0.5, 1.0) if broken else (1.0, 0.5)
    point = np.array([0.3, -0.4])
    x = 5.0 * np.random.default_rng(0).standard_normal((100, 2))
    exact = point + (0.05 / 5.0) * (x - point)
    one = rms(run(lambda y, node: np.broadcast_to(point, y.shape), x, a, 10) - exact)
    first, last = EDM().node(5.0), EDM().node(0.05)
    right = FLAT.flow(x, first, last)
    errors = [rms(run(FLAT.denoised, x, power, 24) - right) for power in (a, b)]
    return [
        below("one point, sigma = t: RMS error of ten steps", one, 1e-12),
        below("two mixtures, 24 steps: error with sigma = t over sqrt(t)", errors[0] / errors[1], 0.7),
    ]


@claim(
    250,
    paper="simple diffusion (shifted schedules)",
    reference="arXiv:2301.11093",
    statement="Average pooling by s in two directions multiplies the signal-to-noise ratio of what is locally constant by s², so that a "
    "schedule shifted by 2 log(64/d) gives every resolution the same coarse one; a few steps then err less at high resolution.",
    control="the shift goes the other way",
)
def pooling(broken: bool) -> list[Row]:
    """A smooth field of 32² and its pools, in units of its low frequencies; DDIM in eight steps on the fine spectrum."""
    field, fine = StationaryField.power_law((32, 32), 8.0, low=0.3), StationaryField.power_law((64, 64), 3.0)
    p = pool((32, 32), 4)
    node = VP().node(0.4)
    ratio = (np.trace(field.cross(p)) / len(p)) / (node.sigma**2 / 16.0) / (np.trace(field.cross(np.eye(1024)[:8])) / 8 / node.sigma**2)
    v = fine.variances * 64.0  # eigenvalues grow with the pixels that a low frequency is spread over: the shift's reason
    shift = 64.0 / 512.0 if broken else 512.0 / 64.0
    plans = [trace(SOLVERS["ddim"], simple_diffusion(VP(), 8, resolution=64.0 * k)) for k in (shift, 1.0)]
    gain = flow_rms(plans[0], v) / flow_rms(plans[1], v)
    low = [0.5 * (2 * math.log(64.0 / d)) + math.log(d / 64.0) for d in (64.0, 256.0)]
    return [
        near("SNR of the pooled smooth field over the unpooled, pools of 4²", float(ratio), 16.0, 1.0, kept=True),
        near("low-frequency log-SNR at 256 against 64, shifted", low[1] - low[0], 0.0, 1e-12, kept=True),
        below("error of eight shifted steps over unshifted ones, fine spectrum", gain, 0.8),
    ]


@claim(
    37,
    paper="Diffusion probabilistic model made slim (spectral diffusion)",
    reference="arXiv:2211.17106",
    statement="The best linear denoiser is the Wiener filter; the frequency that it half passes grows as the noise falls, for S ~ f^-a "
    "like (sigma/alpha)^(-2/a); a denoiser that is limited to a band loses exactly the posterior energy above it.",
    control="the filter believes in a spectrum that is half as steep",
)
def slim(broken: bool) -> list[Row]:
    """A ring of 4096 points, a = 2, and the mean squared error of filters in closed form."""
    f, a = np.arange(1, 2048, dtype=float), 2.0
    s = f**-a * 1e4
    believed = f ** (-0.5 * a) * 1e4 if broken else s
    levels = [VP().node(t) for t in (0.2, 0.4, 0.6, 0.8)]

    def gain(n: Node) -> Any:
        return n.alpha * believed / (n.alpha**2 * believed + n.sigma**2)

    def error(n: Node, g: Any) -> float:
        return float(np.sum(s * (1.0 - g * n.alpha) ** 2 + g**2 * n.sigma**2))

    half = [float(np.exp(np.interp(-0.5, -np.asarray(gain(n)) * n.alpha, np.log(f)))) for n in levels]
    slope = float(np.polyfit(np.log([n.rho for n in levels]), np.log(half), 1)[0])
    n = levels[1]
    cut = np.where(f <= 20.0, gain(n), 0.0)
    energy = float(np.sum((n.alpha * s) ** 2 / (n.alpha**2 * s + n.sigma**2) * (f > 20.0)))
    best = float(np.sum(s * n.sigma**2 / (n.alpha**2 * s + n.sigma**2)))
    return [
        near("slope of the half-passed frequency against sigma/alpha", slope, -2.0 / a, 0.02),
        below("error of the filter over the least possible", error(n, gain(n)) / best - 1.0, 1e-12),
        near("what the band limit adds over the energy above it", (error(n, cut) - error(n, gain(n))) / energy, 1.0, 1e-9),
    ]
