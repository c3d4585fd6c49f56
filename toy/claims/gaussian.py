r"""Claim 16: the flow of a Gaussian is closed (arXiv:2303.02490 and "Painters").

x_t = alpha_t mu + Σ psi_k(t) c_k u_k with psi_k = sqrt((alpha_t² lam_k + sigma_t²)/(alpha_T² lam_k + sigma_T²)), c_k the coefficients of
x_T - alpha_T mu, and D(x_t) = mu + Σ (alpha_t lam_k/(alpha_t² lam_k + sigma_t²)) psi_k c_k u_k.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import brentq

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Node, sample
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILLION
from scorebed.toy.problems.reference import integrate

SPECTRUM = np.array([4.0, 1.0, 0.25, 0.04])


def target() -> GaussianMixture:
    """A Gaussian in four dimensions with the spectrum above, in a turned basis."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))
    return GaussianMixture([1.0], [[0.5, -1.0, 0.3, 0.0]], (q * SPECTRUM @ q.T)[None])


def closed(x: np.ndarray, s: Node, t: Node, broken: bool = False) -> np.ndarray:
    """The formula of the module, from the eigenvectors of the covariance; broken, with the psi of the mean variance for all."""
    law = target()
    values, vectors = np.linalg.eigh(law.covariance())
    if broken:
        values = np.full_like(values, values.mean())
    psi = np.sqrt((t.alpha**2 * values + t.sigma**2) / (s.alpha**2 * values + s.sigma**2))
    return t.alpha * law.means[0] + ((x - s.alpha * law.means[0]) @ vectors * psi) @ vectors.T


def share(lam: float, sigma: float) -> float:
    """The coefficient of a direction in D over its final value, on the way from infinite noise (alpha = 1): sqrt(lam/(lam + sigma²))."""
    return math.sqrt(lam / (lam + sigma * sigma))


def decided(lam: float, broken: bool = False) -> float:
    """The noise level at which D along a direction has half of its final size, found on the exact flow of the direction."""
    law = GaussianMixture([1.0], [[0.0]], 1.0 if broken else lam)
    first = EDM().node(80.0)
    x = np.array([[80.0]])
    end = float(law.flow(x, first, EDM().node(1e-6))[0, 0])

    def half(log_sigma: float) -> float:
        node = EDM().node(math.exp(log_sigma))
        return float(law.denoised(law.flow(x, first, node), node)[0, 0]) / end - 0.5

    return math.exp(brentq(half, math.log(1e-5), math.log(79.0), xtol=1e-13))


def two_modes() -> GaussianMixture:
    """Two narrow modes at −1 and 1."""
    return GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.01)


def gaussian_error(sigma: float) -> float:
    """RMS error at ``sigma`` of the Gaussian of the same mean and variance, of states that come from sigma = 80 on two modes at ±1."""
    law = two_modes()
    like = GaussianMixture([1.0], [law.mean()], law.covariance()[None])
    s, t = EDM().node(80.0), EDM().node(sigma)
    x = 80.0 * np.linspace(-2.0, 2.0, 41)[:, None]
    exact = law.flow(x, s, t)
    return float(np.sqrt(np.mean((like.flow(x, s, t) - exact) ** 2) / np.mean(exact**2)))


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        sigmas = np.geomspace(50.0, 0.005, 200)
        for lam, colour in zip(SPECTRUM, (INK, BLUE, VERMILLION, GREEN), strict=True):
            left.plot(sigmas, [share(lam, s) for s in sigmas], color=colour, label=f"std {math.sqrt(lam):g}")
            left.plot([decided(lam)], [0.5], "o", color=colour, markeredgecolor="white")
        left.set(title="Directions appear in D in order of their variance", xlabel="σ, falling", ylabel="share of the final", xscale="log")
        left.invert_xaxis()
        left.legend(loc="upper left", title="principal direction", title_fontsize=8.5)
        law = two_modes()
        like = GaussianMixture([1.0], [law.mean()], law.covariance()[None])
        first = EDM().node(80.0)
        for x0, colour in ((0.3, BLUE), (0.8, ORANGE), (1.6, PURPLE)):
            x = np.array([[80.0 * x0]])
            for which, line in ((law, "-"), (like, (0, (1.5, 1.5)))):
                paths = [float(which.flow(x, first, EDM().node(s))[0, 0]) / math.hypot(1.0, s) for s in sigmas]
                right.plot(sigmas, paths, color=colour, linestyle=line)
        right.plot([], [], color=MUTED, label="two modes at ±1")
        right.plot([], [], color=MUTED, linestyle=(0, (1.5, 1.5)), label="Gaussian of equal moments")
        right.axvline(1.0, color=MUTED, linewidth=0.8)
        right.set(title="Until the modes part, one Gaussian does", xlabel="σ, falling", ylabel="x / sqrt(1 + σ²)", xscale="log")
        right.set_ylim(0.2, 2.0)
        right.invert_xaxis()
        right.legend(loc="upper left")

    return sheet(2, draw)


@claim(
    16,
    paper="Painters (analytic Gaussian probability flow)",
    reference="arXiv:2303.02490",
    statement="On a Gaussian the flow multiplies each principal coefficient by ψ_k, σ_t/σ_T off the data; D gains the directions in "
    "order of "
    "their variance; a skip by the formula is exact and one DDIM jump is not, its std is too small by Π cos Δθ; on a mixture the "
    "Gaussian of "
    "equal moments serves until the modes part.",
    control="one ψ for all directions, one variance for all, a DDIM jump for the skip, the mixture asked after its modes have parted",
    draw=_draw,
)
def painters(broken: bool) -> list[Row]:
    """The formula against integration, the order of the directions, skips, and mixtures."""
    law, s, m, t = target(), VP().node(0.9), VP().node(0.4), VP().node(0.02)
    x = law.sample(8, 1, s)
    exact = integrate(law.denoised, x, s, t).x
    rows = [below("closed form against integration to 1e-12", float(np.abs(closed(x, s, t, broken) - exact).max()), 1e-9)]
    law0, jump = GaussianMixture([1.0], [[0.0, 0.0]], [[1.0, 0.0]]), VP().node(0.02)
    off = float(law0.flow(np.array([[0.0, 1.0]]), s, jump)[0, 0 if broken else 1])
    rows.append(below("off the data: ψ against σ_t/σ_T", abs(off / (jump.sigma / s.sigma) - 1.0), 1e-13, "relative"))
    times = [decided(lam, broken) for lam in SPECTRUM]
    rows.append(
        above("least ratio of the σ at which one direction and the next are half decided", min(np.divide(times[:-1], times[1:])), 1.9)
    )
    worst = max(abs(a / math.sqrt(3.0 * lam) - 1.0) for a, lam in zip(times, SPECTRUM, strict=True))
    rows.append(below("those σ against sqrt(3 λ_k)", worst, 1e-3, "relative"))
    two = law.flow(law.flow(x, s, m), m, t)
    one = sample(SOLVERS["ddim"], law.denoised, x, [s, t], terminal="none") if broken else law.flow(x, s, t)
    rows.append(below("skip in one against a skip in two", float(np.abs(one - two).max()), 1e-12))
    # the jump's std against the cosine; broken, against that of the exact skip
    line, c = GaussianMixture([1.0], [[0.0]], 0.25), 0.5
    y = np.array([[math.hypot(s.alpha * c, s.sigma)]])
    out = line.flow(y, s, t) if broken else sample(SOLVERS["ddim"], line.denoised, y, [s, t], terminal="none")
    ratio = float(out[0, 0]) / math.hypot(t.alpha * c, t.sigma)
    turn = math.cos(math.atan2(s.sigma, s.alpha * c) - math.atan2(t.sigma, t.alpha * c))
    rows.append(below("std of one DDIM jump against cos Δθ", abs(ratio - turn), 1e-12))
    rows.append(below("std of one DDIM jump over the exact", ratio, 0.9))
    early, late = (0.05, 10.0) if broken else (10.0, 0.05)
    rows.append(below("mixture at ten times the separation: error of the Gaussian", gaussian_error(early), 1e-3, "relative"))
    rows.append(above("mixture at a twentieth of it: error of the Gaussian", gaussian_error(late), 0.1, "relative"))
    return rows
