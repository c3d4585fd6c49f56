r"""Claims 27, 72, 80, 170, 202, 221: pairs, clocks, teachers and latents behind models of few steps."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import EDM, SOLVERS, VP, Node, grid, sample, trace
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.problems.lines import modes


@claim(
    27,
    paper="SlimFlow (annealing reflow)",
    reference="arXiv:2407.12718",
    statement="With noise √(1 − β²) ε + β ε' in the pairs of a reflow, ε' fresh, the source stays N(0, I) for every β; the transport "
    "cost grows with β from that of the exact pairs to that of independent ones.",
    control="the noise is (1 − β) ε + β ε'",
)
def annealed(broken: bool) -> list[Row]:
    """Exact pairs of three modes on the line, β from 0 to 1."""
    u = (np.arange(4000) + 0.5) / 4000
    data = np.asarray(modes().quantile(u))
    second, cross = float(np.mean(data**2)), float(np.mean(ndtri(u) * data))
    betas = (0.0, 0.25, 0.5, 0.75, 1.0)
    kept = {b: 1.0 - b if broken else math.sqrt(1.0 - b * b) for b in betas}
    spread = [kept[b] ** 2 + b * b for b in betas]
    costs = [second + v - 2.0 * kept[b] * cross for b, v in zip(betas, spread, strict=True)]
    return [
        below("variance of the source, off 1", max(abs(v - 1.0) for v in spread), 1e-12),
        above("least increase of the transport cost in β", min(np.diff(costs)), 0.0, kept=True),
        near("cost at β = 1 over that of independent pairs", costs[-1] / (second + 1.0), 1.0, 1e-12, "times", kept=True),
        above("cost at β = 1 over that of the exact pairs", costs[-1] / costs[0], 1.5, "times", kept=True),
    ]


@claim(
    72,
    paper="BOOT (bootstrapping by the signal ODE)",
    reference="arXiv:2306.05544",
    statement="The signal y = (x_t − σ_t ε)/α_t with ε = x_T fixed obeys dy/dλ = D(x_t) − y, λ = log(α/σ); its exponential Euler step is "
    "DDIM's; begun at y = D(x_T), as it is trained to, its end errs in the order of α_T, and begun at 0 in that of its square.",
    control="Euler's step in λ stands in for the exponential one, and y begins at 0",
)
def signal(broken: bool) -> list[Row]:
    """Three modes on the line: the step against DDIM, and the end from starts where α_T is e^{−2} to e^{−4}."""
    plain = modes()
    target = GaussianMixture(plain.weights, plain.means + 1.0, plain.covariances)  # of mean far from 0, where D(x_T) ends up

    def end(x: np.ndarray, y: np.ndarray, nodes: list[Node], euler: bool) -> np.ndarray:
        for s, t in pairwise(nodes):
            h = t.lam - s.lam
            clean = target.denoised(s.alpha * y + s.sigma * x, s)
            y = y + (h if euler else -math.expm1(-h)) * (clean - y)
        return y

    nodes = grid.uniform_lam(VP(), 12, start=0.9, end=0.02)
    x = states(target, nodes[0], 21)
    start = (x - nodes[0].sigma * x) / nodes[0].alpha
    y = end(x, start, nodes, broken)
    theirs = (sample(SOLVERS["ddim"], target.denoised, x, nodes, terminal="none") - nodes[-1].sigma * x) / nodes[-1].alpha
    errors, counts = [], []
    for lam in (-2.0, -2.7, -3.4, -4.1):
        first = VP().at_lam(lam)
        fine = grid.uniform_lam(VP(), 400, start=first.t, end=0.02)
        z = states(target, first, 21)
        begin = 0.0 * z if broken else np.asarray(target.denoised(z, first))
        last = fine[-1]
        exact = sample(SOLVERS["ddim"], target.denoised, z, fine, terminal="none")
        errors.append(rms(last.alpha * end(z, begin, fine, False) + last.sigma * z - exact))
        counts.append(round(1e4 / first.alpha))
    return [
        below("a run by exponential Euler steps against DDIM", float(np.abs(y - theirs).max()), 1e-10),
        order("order of the error of the start in α_T", order_of(counts, errors).slope, 1.0),
        below("RMS error at α_T = e^{−4.1}", errors[-1], 0.05, kept=True),
    ]


@claim(
    80,
    paper="YONOS-SR (scale distillation)",
    reference="arXiv:2401.17258",
    statement="A teacher that sees a finer observation leaves the student's optimum where it was, by the tower property, and lowers "
    "the variance of its targets by what the finer observation explains.",
    control="the teacher's finer observation is of another image",
)
def tower(broken: bool) -> list[Row]:
    """A Gaussian chain x → fine → coarse in three dimensions, with x_t at one level; every expectation a matrix."""
    rng = np.random.default_rng(0)
    root = rng.standard_normal((3, 3))
    prior, fine, coarse, noise = root @ root.T, 0.2 * np.eye(3), 0.5 * np.eye(3), 0.8 * np.eye(3)
    e = np.eye(3)
    other = prior if broken else np.zeros((3, 3))
    see = np.vstack([np.hstack([0.0 * e if broken else e, e if broken else 0.0 * e]), np.hstack([e, 0.0 * e])])  # fine, x_t of (x, another)
    both = np.block([[prior, 0.0 * e], [0.0 * e, other if broken else prior]])
    seen = see @ both @ see.T + np.block([[fine, 0.0 * e], [0.0 * e, noise]])

    def gain(cross: np.ndarray, spread: np.ndarray) -> np.ndarray:
        return np.asarray(cross @ np.linalg.inv(spread))

    teacher = gain(prior @ np.hstack([e, e]), np.block([[prior + fine, prior], [prior, prior + noise]]))  # as if it saw its own image
    student_seen = np.block([[prior + fine + coarse, prior], [prior, prior + noise]])
    student = gain(prior @ np.hstack([e, e]), student_seen)
    coarse_and_state = np.vstack([np.hstack([e, 0.0 * e]), np.hstack([e, 0.0 * e])])
    observed = coarse_and_state @ both @ coarse_and_state.T + np.block([[fine + coarse, 0.0 * e], [0.0 * e, noise]])
    shared = 0.0 if broken else 1.0  # the noise of the fine observation is part of the coarse one's
    cross = see @ both @ coarse_and_state.T + np.block([[shared * fine, 0.0 * e], [0.0 * e, noise]])
    regressed = gain(teacher @ cross, observed)
    target = float(np.trace(teacher @ seen @ teacher.T - regressed @ observed @ regressed.T))
    plain = float(np.trace(prior - student @ student_seen @ student.T))
    explained = float(np.trace(prior - teacher @ seen @ teacher.T))
    return [
        below("E[teacher | coarse, x_t] against the student's own optimum", float(np.abs(regressed - student).max()), 1e-10),
        near("variance of its targets and what fine explains, over the plain one", (target + explained) / plain, 1.0, 1e-10, "times"),
        below("variance of its targets over the plain one", target / plain, 0.9, "times"),
    ]


@claim(
    170,
    paper="DisCo-Diff (discrete latents)",
    reference="arXiv:2407.03300",
    statement="Told its component, the flow of a mixture is that of one Gaussian: its slope stays small, few steps err less, and the "
    "law over the latent's prior is the same.",
    control="the latent is drawn independently of the component",
)
def latents(broken: bool) -> list[Row]:
    """Three modes on the line, DDIM at 8 steps with and without the latent; slopes of the exact flows."""
    target = modes()
    nodes = grid.uniform_lam(VP(), 8, end=0.002)
    plan = trace(SOLVERS["ddim"], nodes, terminal="denoise")
    u = (np.arange(400) + 0.5) / 400
    exact = np.asarray(target.quantile(u))
    ends, spreads = [], []
    for mean, v in zip(target.means[:, 0], np.ravel(target.covariances), strict=True):
        out = moments(plan, GaussianMixture([1.0], [[mean]], v), np.zeros(1), np.eye(1))
        ends.append(float(out[0][0]))
        spreads.append(float(out[1][0, 0]))
    weights = np.full(3, 1 / 3) if broken else target.weights
    told = np.asarray(GaussianMixture(weights, np.array(ends)[:, None], np.array(spreads)).quantile(u))
    x = ndtri(u)[:, None]
    blind = np.sort(sample(SOLVERS["ddim"], target.denoised, x, nodes, terminal="denoise")[:, 0])
    start, clean = nodes[0], VP().node(0.002)
    z = states(target, start, 401)
    steep = float(np.max(np.diff(np.asarray(target.flow(z, start, clean))[:, 0]) / np.diff(z[:, 0])))
    own = max(
        math.sqrt((clean.alpha**2 * v + clean.sigma**2) / (start.alpha**2 * v + start.sigma**2)) for v in np.ravel(target.covariances)
    )
    return [
        below("W2 with the latent over that without, 8 steps", rms(told - exact) / rms(blind - exact), 0.7, "times"),
        above("largest slope of the flow without over that with", steep / own, 3.0, "times", kept=True),
    ]


@claim(
    202,
    paper="Improved training of latent consistency models",
    reference="arXiv:2502.01441",
    statement="Where a fifth of the targets are impulses far to one side, the Cauchy loss stays nearest to the clean optimum, the "
    "pseudo-Huber loss next, L2 farthest; where the noise itself is skewed the robust losses aim beside the mean.",
    control="there are no impulses, and the noise is not skewed",
)
def robust(broken: bool) -> list[Row]:
    """Locations by quadrature: N(0, 1) with impulses at 20 ± 5, and an even mixture of N(0, 1) and N(3, 4)."""
    x = np.linspace(-30.0, 60.0, 90_001)

    def normal(centre: float, width: float) -> np.ndarray:
        return np.asarray(np.exp(-0.5 * ((x - centre) / width) ** 2) / (width * math.sqrt(2.0 * math.pi)))

    share = 0.0 if broken else 0.2
    impulses = (1.0 - share) * normal(0.0, 1.0) + share * normal(20.0, 5.0)
    skewed = 0.5 * normal(0.0, 1.0) + 0.5 * normal(0.0 if broken else 3.0, 2.0)

    def root(loss: str, density: np.ndarray) -> float:
        """Where the mean of the loss's slope vanishes."""
        slopes = {"L2": lambda r: r, "pseudo-Huber": lambda r: r / np.sqrt(r * r + 1.0), "Cauchy": lambda r: r / (1.0 + r * r)}
        return float(brentq(lambda at: float(np.trapezoid(slopes[loss](x - at) * density, x)), -1.0, 6.0))

    off = {loss: abs(root(loss, impulses)) for loss in ("L2", "pseudo-Huber", "Cauchy")}
    middle = root("L2", skewed)
    return [
        above("pseudo-Huber's distance from the clean optimum, less Cauchy's", off["pseudo-Huber"] - off["Cauchy"], 0.1),
        above("L2's distance from the clean optimum, less pseudo-Huber's", off["L2"] - off["pseudo-Huber"], 1.0),
        above("bias of the Cauchy loss on skewed noise", abs(root("Cauchy", skewed) - middle), 0.3),
        above("bias of the pseudo-Huber loss there", abs(root("pseudo-Huber", skewed) - middle), 0.1),
    ]


@claim(
    221,
    paper="sCM (TrigFlow)",
    reference="arXiv:2410.11081",
    statement="TrigFlow is EDM with σ = σ_d tan t: f = cos t x − sin t σ_d F has EDM's preconditioning; and the exact consistency map "
    "has no derivative along the flow.",
    control="σ = tan t, and E[x0 | x] stands in for the map",
)
def trigonometric(broken: bool) -> list[Row]:
    """σ_d = ½ at nine times; three modes on the line at 41 states and four levels."""
    sd, worst = 0.5, 0.0
    for t in np.linspace(0.1, 1.45, 9):
        sigma = (1.0 if broken else sd) * math.tan(t)
        norm = math.hypot(sigma, sd)
        skip, out, inside = sd**2 / norm**2, sigma * sd / norm, 1.0 / norm
        # x_trig = cos t x0 + sin t σ_d ε = cos t x_edm, and its network sees x_trig/σ_d
        worst = max(worst, abs(math.cos(t) ** 2 - skip), abs(math.sin(t) * sd - out), abs(math.cos(t) / sd - inside))
    target = modes()
    model = FlowMap(target)
    endpoint = target.denoised if broken else model.endpoint
    largest = 0.0
    for t in (0.3, 0.7, 1.1, 1.4):
        node = EDM().at_lam(-math.log(math.tan(t)))
        largest = max(largest, float(np.abs(model.tangent(endpoint, states(target, node, 41), node)).max()))
    return [
        below("TrigFlow's coefficients against EDM's", worst, 1e-12),
        below("largest derivative of the map along the flow", largest, 1e-5),
    ]
