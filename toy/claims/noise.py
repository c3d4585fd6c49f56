r"""Claim 192: the noise scale of ER-SDE (arXiv:2309.06169).

x_t = (phi_t/phi_s) x + (1 - phi_t/phi_s) D + sqrt(sigma_t² - sigma_s² phi_t²/phi_s²) xi at alpha = 1. Weak order comes from the exact
covariance of the output on Gaussians, strong order from the kernels of runs on one Brownian path (``toy.properties.paths``): neither from
samples.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, SOLVERS, VP, Node, Solver, grid, sample, trace
from scorebed.toy.claims.common import sheet
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILLION
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties.cases import warped
from scorebed.toy.properties.paths import path_errors

SCALES = {"ode": 0.0, "sde_2": 0.5, "sde": 1.0, "sde_3": 1.5}
"""φ = ρ^{1 + η} by name, with η."""
STEPS = (64, 128, 256)


def std_error(solver: Solver, nodes: list[Node], variances: tuple[float, ...] = (0.04, 1.0, 4.0)) -> float:
    """Largest relative error of the output's std over Gaussians of these variances; exact."""
    target = GaussianMixture([1.0], np.zeros((1, len(variances))), np.array([variances]))
    out = np.sqrt(np.diag(moments(trace(solver, nodes), target)[1]))
    exact = np.sqrt(nodes[-1].alpha ** 2 * np.array(variances) + nodes[-1].sigma ** 2)
    return float(np.abs(out / exact - 1.0).max())


def weak(solver: Solver) -> float:
    """The order of the covariance on Gaussians."""
    return order_of(STEPS, [std_error(solver, warped(VP(), n, 0.9, 0.05)) for n in STEPS]).slope


def strong(solver: Solver) -> float:
    """The order of the distance of runs with n and 2n steps on one path."""
    return order_of((32, 64, 128), path_errors(solver, (32, 64, 128))).slope


def radicand(power: float, s: float, t: float) -> float:
    """σ_t² − σ_s² (φ_t/φ_s)² for φ = σ^power, over σ_t²."""
    return 1.0 - (s / t) ** 2 * (t / s) ** (2.0 * power)


def _same(a: str, b: str, **options: Any) -> float:
    """Largest difference of two methods on one Gaussian's states and one seed."""
    target, nodes = GaussianMixture([1.0], [[0.3]], 0.25), grid.uniform_lam(VP(), 10, 0.9, 0.05)
    x = np.linspace(-2.0, 2.0, 9)[:, None]
    left, right = (sample(m, target.denoised, x, nodes, noise=3, terminal="none") for m in (SOLVERS[a](**options), SOLVERS[b]))
    return float(np.abs(left - right).max())


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        steps = (4, 8, 16, 32, 64, 128)
        for (phi, eta), colour in zip(SCALES.items(), (INK, BLUE, VERMILLION, GREEN), strict=True):
            found = [std_error(SOLVERS["er_sde_2"](phi=phi), grid.uniform_lam(VP(), n, 0.9, 0.05)) for n in steps]
            left.plot(steps, found, "o-", color=colour, markeredgecolor="white", label=rf"$\varphi = \rho^{{{1 + eta:g}}}$")
        left.set(title="ER-SDE-Solver-2: error of the std", xlabel="steps", ylabel="relative error", xscale="log", yscale="log")
        left.set_xticks(steps, [str(n) for n in steps])
        left.legend(loc="lower left", title="noise scale", title_fontsize=8.5)
        method = SOLVERS["er_sde_2"]
        counts = (16, 32, 64, 128)
        errors = [std_error(method, warped(VP(), n, 0.9, 0.05)) for n in counts]
        right.plot(counts, errors, "s-", color=PURPLE, markeredgecolor="white", label="weak: std on Gaussians, slope 2")
        right.plot(
            counts, path_errors(method, counts), "D-", color=ORANGE, markeredgecolor="white", label="strong: distance of paths, slope 1"
        )
        for slope, value in ((2, errors[-1]), (1, path_errors(method, counts)[-1])):
            right.plot(
                counts, value * (np.array(counts) / counts[-1]) ** -float(slope), color=MUTED, linewidth=0.7, linestyle=(0, (1.5, 2))
            )
        right.set(title=r"$\varphi = \rho^{1.5}$: weak and strong", xlabel="steps", xscale="log", yscale="log")
        right.set_xticks(counts, [str(n) for n in counts])
        right.legend(loc="lower left")

    return sheet(2, draw)


@claim(
    192,
    paper="ER-SDE-Solver",
    reference="arXiv:2309.06169",
    statement="φ = σ is DDIM and φ = σ² the ancestral sampler; a constant denoiser is followed in law; the variance stays "
    "non-negative only if "
    "φ/σ does not fall; the second-order method has weak order 2 and strong order 1; the error grows with the noise injected, so that "
    "the ODE is best with few evaluations.",
    control="the two scales change places; the noise is 2 % too large; φ/σ falls; first order stands in for weak 2, the ODE for strong 1",
    draw=_draw,
)
def er_sde(broken: bool) -> list[Row]:
    """Identities, exactness, orders, and errors at eight steps; all exact."""
    a, b = ("sde", "ode") if broken else ("ode", "sde")
    rows = [below("ER-SDE-Solver-1, φ = ρ, against DDIM", _same("er_sde_1", "ddim", phi=a), 1e-12)]
    rows.append(below("ER-SDE-Solver-1, φ = ρ², against DDPM", _same("er_sde_1", "ddpm", phi=b), 1e-12))
    rows.append(below("law on a point mass, variance relative, φ = ρ^1.5, 3 steps", _point_mass(1.02 if broken else 1.0), 1e-12))
    powers = (0.5, 0.8) if broken else (1.0, 1.5, 2.0, 2.5)
    rows.append(above("least variance of the noise, φ = σ^p", min(radicand(p, 2.0, 0.5) for p in powers), 0.0, "σ_t²"))
    fallen = radicand(1.5 if broken else 0.5, 2.0, 0.5)
    rows.append(below("the same for φ = σ^0.5, whose φ/σ falls", fallen, -1e-3, "σ_t²"))
    first, second = SOLVERS["er_sde_1"], SOLVERS["er_sde_2"]
    for phi in ("sde_2", "sde"):
        rows.append(order(f"ER-SDE-Solver-2, {_name(phi)}: weak order", weak((first if broken else second)(phi=phi)), 2.0))
    rows.append(order("ER-SDE-Solver-2, φ = ρ^1.5: strong order", strong(second(phi="ode" if broken else "sde_2")), 1.0))
    nodes = grid.uniform_lam(VP(), 8, 0.9, 0.05)
    errors = [std_error(second(phi=phi), nodes) for phi in SCALES]
    ratios = [y / x for x, y in pairwise(errors[::-1] if broken else errors)]
    rows.append(above("error of the std at 8 steps: least growth from η = 0 to 0.5, 1, 1.5", min(ratios), 1.05, "times"))
    return rows


def _name(phi: str) -> str:
    return f"φ = ρ^{1.0 + SCALES[phi]:g}"


def _point_mass(factor: float) -> float:
    """The relative error of the variance on a point mass, with the noise multiplied by ``factor``."""
    nodes, point = [EDM().node(s) for s in (5.0, 2.0, 0.5, 0.1)], GaussianMixture([1.0], [[0.7]], 0.0)
    plan = trace(SOLVERS["er_sde_1"](phi="sde_2"), nodes)
    _, covariance = moments(plan, point)
    started = moments(plan, point, covariance=np.zeros((1, 1)))[1]  # what the noise adds
    total = covariance[0, 0] + (factor**2 - 1.0) * started[0, 0]
    return abs(float(total) / nodes[-1].sigma ** 2 - 1.0)
