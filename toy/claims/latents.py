r"""Claims 39, 146, 169, 187: diffusion of a part of what is there, a latent, a residual, and what the rest costs."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import PinnedBridge
from scorebed.solvers import EDM, SOLVERS, grid, sample, trace
from scorebed.solvers.process.bridge import BrownianBridge
from scorebed.toy.claims.registry import Row, above, below, claim, near

_RNG = np.random.default_rng(3)
BASIS = np.linalg.qr(_RNG.standard_normal((5, 5)))[0]
SPECTRUM = np.array([2.0, 0.9, 0.3, 0.05, 0.02])
DATA = GaussianMixture([1.0], [[0.4, -0.2, 0.1, 0.0, 0.3]], [(BASIS * SPECTRUM) @ BASIS.T])


def encoder(rank: int, broken: bool) -> np.ndarray:
    """``rank`` orthonormal rows that are not the data's axes, or oblique ones."""
    rows = np.linalg.qr(np.random.default_rng(rank).standard_normal((5, rank)))[0].T
    return rows + 0.4 * np.roll(rows, 1, 1) if broken else rows


def through(law: GaussianMixture, e: np.ndarray) -> GaussianMixture:
    """The law of E x for one Gaussian."""
    return GaussianMixture([1.0], law.means @ e.T, [e @ law.covariance() @ e.T])


@claim(
    169,
    paper="Latent diffusion",
    reference="arXiv:2112.10752",
    statement="With an orthonormal linear encoder the squared W2 error in pixels is the energy that the encoder drops plus the "
    "squared W2 error of the latent sampler, exactly; a latent scale that is off by k is a shift of the log-SNR by 2 log k, "
    "and nothing else.",
    control="the encoder's rows are oblique, and the shift is half of what it should be",
)
def latent(broken: bool) -> list[Row]:
    """DDIM at 8 steps on the latent of a Gaussian, decoded; and on a latent scaled by 3."""
    e = encoder(3, broken)
    inner = through(DATA, e)
    nodes = grid.karras(EDM(), 8)
    mean, spread = moments(trace(SOLVERS["ddim"], nodes, terminal="denoise"), inner, np.zeros(3), nodes[0].sigma ** 2 * np.eye(3))
    pixels = gaussian_w2(e.T @ mean, e.T @ spread @ e, DATA.mean(), DATA.covariance()) ** 2
    rest = np.eye(5) - e.T @ e
    dropped = float(np.trace(rest @ DATA.covariance() @ rest) + np.sum((rest @ DATA.mean()) ** 2))
    own = gaussian_w2(mean, spread, inner.mean(), inner.covariance()) ** 2
    k = 3.0
    scaled = GaussianMixture([1.0], k * inner.means, [k * k * inner.covariance()])
    shift = (0.5 if broken else 1.0) * math.log(k)
    shifted = [EDM().at_lam(node.lam + shift) for node in nodes]
    x = np.random.default_rng(0).standard_normal((6, 3))
    one = sample(SOLVERS["dpmpp_2m"], scaled.denoised, nodes[0].sigma * x, nodes)
    two = sample(SOLVERS["dpmpp_2m"], inner.denoised, shifted[0].sigma * x, shifted)
    return [
        near("W2² in pixels over dropped energy and latent W2²", pixels / (dropped + own), 1.0, 1e-9, "times"),
        below("a latent scaled by 3 against log-SNR moved by 2 log 3", float(np.abs(one - k * two).max()), 1e-10),
        above("share of the dropped energy in the error", dropped / pixels, 0.2, kept=True),
    ]


@claim(
    39,
    paper="TLB-VFI (latent Brownian bridge)",
    reference="arXiv:2507.04984",
    statement="A Brownian bridge in a linear latent is the bridge in pixels seen through the encoder, marginal and posterior alike, "
    "and its end differs from the data by the energy that the encoder drops.",
    control="the latent's bridge has its noise in pixels, through an oblique encoder",
)
def latent_bridge(broken: bool) -> list[Row]:
    """Marginals, posteriors and the end of a DDPM chain of a bridge of a 5-D Gaussian, in three latent dimensions."""
    process, e, pin = BrownianBridge(), encoder(3, broken), np.array([1.0, -0.5, 0.3, 0.2, 0.0])
    wide, inner = PinnedBridge(DATA, pin, process), PinnedBridge(through(DATA, e), e @ pin, process)
    node, x = process.node(0.6), np.random.default_rng(1).standard_normal((7, 3))
    big, small = wide.marginal(node), inner.marginal(node)
    off = max(np.abs(e @ big.mean() - small.mean()).max(), np.abs(e @ big.covariance() @ e.T - small.covariance()).max())
    seen = through(big, e)  # E[x0 | E x_t] of the bridge in pixels, by regression
    gain = (1.0 - node.t) * e @ DATA.covariance() @ e.T @ np.linalg.inv(seen.covariance())
    best = e @ DATA.mean() + (x - seen.mean()) @ gain.T
    nodes = grid.GRIDS["uniform"](process, 40, start=1.0, end=0.02)
    plan = trace(SOLVERS["ddpm"], nodes, terminal="denoise")
    mean, spread = moments(plan, inner, e @ pin, np.zeros((3, 3)))
    decoded = gaussian_w2(e.T @ mean, e.T @ spread @ e, DATA.mean(), DATA.covariance()) ** 2
    rest = np.eye(5) - e.T @ e
    dropped = float(np.trace(rest @ DATA.covariance() @ rest) + np.sum((rest @ DATA.mean()) ** 2))
    own = gaussian_w2(mean, spread, e @ DATA.mean(), e @ DATA.covariance() @ e.T) ** 2
    return [
        below("marginal of the latent bridge against the pixels' seen through E", float(off), 1e-12),
        below("E[x0 | E x_t] against the latent's posterior mean", float(np.abs(inner.denoised(x, node)[0] - best).max()), 1e-12),
        near("W2² of the decoded end over dropped energy and latent W2²", decoded / (dropped + own), 1.0, 1e-6, "times"),
    ]


@claim(
    187,
    paper="DiffuseVAE",
    reference="arXiv:2201.00308",
    statement="Diffusion about a reconstruction x̂ is diffusion of the residual x0 − x̂: the smaller its variance, the fewer steps "
    "give the same W2; and what is sampled is the mixture of p(x | x̂(z)) over z.",
    control="the residual is diffused about the reconstruction of another z",
)
def residual(broken: bool) -> list[Row]:
    """DDIM on the residual of a mixture of three modes with its modes as reconstructions, and on the modes' whole law."""
    means, v = np.array([-1.5, 0.2, 1.9]), 0.04

    def end(variance: float, steps: int) -> float:
        nodes = grid.uniform_lam(EDM(), steps, start=20.0, end=0.002)
        law = GaussianMixture([1.0], [[0.0]], variance)
        plan = trace(SOLVERS["ddim"], nodes, terminal="denoise")
        return math.sqrt(float(moments(plan, law, np.zeros(1), nodes[0].sigma ** 2 * np.eye(1))[1][0, 0]))

    def needed(variance: float) -> int:
        return next(n for n in range(5, 400, 5) if abs(end(variance, n) - math.sqrt(variance)) < 0.01)

    weights = np.array([0.3, 0.5, 0.2])
    about = np.roll(means, 1) if broken else means
    sampled = GaussianMixture(weights, about[:, None], end(v, 200) ** 2)
    data = GaussianMixture(weights, means[:, None], v)
    x = np.linspace(-3.0, 3.5, 200)[:, None]
    gap = float(np.abs(np.exp(sampled.log_prob(x)) - np.exp(data.log_prob(x))).max())
    least = 1.0 if broken else needed(1.0) / needed(v)
    return [
        above("steps to W2 = .01: residual of variance 1 over one of .04", least, 1.5, "times"),
        below("density of the sampled mixture against the data's", gap, 0.02),
    ]


@claim(
    146,
    paper="Lost in latent space",
    reference="arXiv:2507.02608",
    statement="An emulator in a latent of rank r forecasts as well as one of the whole state until r cuts into the modes that are "
    "excited; and a sampler of the next state has a lower CRPS than the best point forecast, by a factor 1/√2.",
    control="the encoder keeps the least excited modes, and the sampler's draws collapse to the point",
)
def emulation(broken: bool) -> list[Row]:
    """One step of a stable linear system of 12 modes, 4 of them excited; the sampler is DPM-Solver++(2M) at 12 steps."""
    d, excited, a = 12, 4, 0.8
    energy = np.where(np.arange(d) < excited, 1.0, 1e-6)
    order = np.argsort(energy) if broken else np.argsort(-energy)

    def error(rank: int) -> float:
        """Mean squared error of the forecast of the state at the next step from the latent."""
        kept = np.isin(np.arange(d), order[:rank])
        return float(np.sum(np.where(kept, (1.0 - a * a) * energy, energy)))

    noise = math.sqrt(1.0 - a * a)
    nodes = grid.uniform_lam(EDM(), 12, start=20.0, end=0.002)
    law = GaussianMixture([1.0], [[0.0]], noise**2)
    plan = trace(SOLVERS["dpmpp_2m"], nodes, terminal="denoise")
    spread = math.sqrt(float(moments(plan, law, np.zeros(1), nodes[0].sigma ** 2 * np.eye(1))[1][0, 0])) * (0.0 if broken else 1.0)
    mean = math.sqrt(2.0 / math.pi)
    crps = mean * math.hypot(spread, noise) - 0.5 * mean * math.sqrt(2.0) * spread  # E|X − y| − ½ E|X − X'|
    return [
        near("forecast error of rank 4 over that of the whole state", error(excited) / error(d), 1.0, 1e-3, "times"),
        above("forecast error of rank 3 over that of the whole state", error(excited - 1) / error(d), 1.2, "times", kept=True),
        near("CRPS of the sampler over that of the point forecast", crps / (mean * noise), 1.0 / math.sqrt(2.0), 0.01, "times"),
    ]
