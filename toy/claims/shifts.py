r"""Claims 14, 26, 38, 75, 89: diffusion about a degraded input, and bridges to a lattice."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy.integrate import solve_ivp

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw, PinnedBridge
from scorebed.solvers import GRIDS, SOLVERS, VP, Node, grid, sample, trace
from scorebed.solvers.methods.centred import MeanReverting, ResidualShift, about
from scorebed.solvers.process.bridge import BrownianBridge, Relay
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.convergence import rms
from scorebed.toy.problems.lines import modes

LEVEL = 0.3


@claim(
    14,
    paper="MRS (mean-reverting sampler)",
    reference="arXiv:2502.07856",
    statement="In u = (x − μ)/λ∞ the mean-reverting SDE is VP with α = e^{−θ̄}: its samplers of order 1 and 2 are SDE-DPM-Solver++ "
    "and DPM-Solver++ there; and a start at N(μ, λ∞²) leaves in the mean what e^{−θ̄_T} (x0 − μ) of it survives the flow.",
    control="the centre is off by a tenth",
)
def mean_reverting(broken: bool) -> list[Row]:
    """Three modes about μ = .4, 12 steps of four methods against VP's own; the mean of a Gaussian from the mismatched start."""
    process, plain, mu = MeanReverting(LEVEL), VP(), 0.4
    target = modes()
    inner = GaussianMixture(target.weights, (target.means - mu) / LEVEL, np.ravel(target.covariances) / LEVEL**2)
    nodes = grid.uniform_lam(process, 12, start=0.8, end=0.02)
    same = [plain.at_lam(node.lam + math.log(LEVEL)) for node in nodes]
    u, off = states(inner, same[0], 21), 0.0

    from_mu = GaussianMixture(target.weights, target.means - mu, target.covariances)

    def restored(x: np.ndarray, node: Node) -> np.ndarray:
        """E[x0 | x_t], x_t = μ + α (x0 − μ) + σ ε."""
        return np.asarray(mu + from_mu.denoised(x - mu, node))

    def fixed(s: Node, t: Node) -> np.ndarray:
        """The same normals in every step: noise is named by lam, which the two schedules do not share."""
        return np.linspace(-1.5, 1.5, 21)[:, None]

    for name in ("dpmpp_1", "dpmpp_2m", "sde_dpmpp_1", "dpmpp_2m_sde"):
        theirs = mu + LEVEL * sample(SOLVERS[name], inner.denoised, u, same, noise=fixed, terminal="none")
        solver = about(SOLVERS[name], np.array([mu + (0.1 if broken else 0.0)]))
        ours = sample(solver, restored, mu + LEVEL * u, nodes, noise=fixed, terminal="none")
        off = max(off, float(np.abs(ours - theirs).max()))
    node = process.node(0.5)
    decay = plain.node(0.5).alpha
    fine = grid.uniform_lam(process, 400, end=0.002)
    plan = trace(SOLVERS["dpmpp_2m"], fine, terminal="denoise")
    about_mu = GaussianMixture([1.0], [[1.0 - mu]], 0.2)
    lost = float(moments(plan, about_mu)[0][0] - moments(plan, about_mu, np.zeros(1), LEVEL**2 * np.eye(1))[0][0])
    top = fine[0]
    survives = top.alpha * (1.0 - mu) * math.sqrt(0.2 / (top.alpha**2 * 0.2 + top.sigma**2))
    return [
        below("runs about μ against VP's in u, four methods", off, 1e-10),
        below("marginal at t = ½: e^{−θ̄} and λ∞ √(1 − e^{−2θ̄})", _gap(node, decay), 1e-12, kept=True),
        near("mean lost by the start at N(μ, λ∞²) over the closed form", lost / survives, 1.0, 0.01, "times", kept=True),
    ]


def _gap(node: Node, decay: float) -> float:
    return abs(node.alpha - decay) + abs(node.sigma - LEVEL * math.sqrt(1.0 - decay * decay))


@claim(
    26,
    paper="ResShift",
    reference="arXiv:2307.12348",
    statement="The transitions N(x + α_t (y − x0), κ² α_t I) compose to N(x0 + η_t (y − x0), κ² η_t I), the posterior has mean "
    "(η_{t−1}/η_t) x_t + (α_t/η_t) x0 and variance κ² η_{t−1} α_t/η_t; with the exact conditional the chain draws p(x | y) "
    "as T grows, and at T = 4 it is nearer than DDPM from noise.",
    control="the model is not told y",
)
def residual_shift(broken: bool) -> list[Row]:
    """Transitions and posteriors by their moments; x given y = x + noise on a Gaussian, T = 4, 15 and 60."""
    kappa, etas = 2.0, np.array([0.001, 0.02, 0.1, 0.35, 0.7, 0.999])
    alphas = np.diff(np.concatenate([[0.0], etas]))
    x0, y = 0.6, -0.3
    mean, spread, off = x0, 0.0, 0.0
    for a, eta in zip(alphas, etas, strict=True):
        mean, spread = mean + a * (y - x0), spread + kappa**2 * a
        off = max(off, abs(mean - x0 - eta * (y - x0)), abs(spread - kappa**2 * eta))
    solver, process = SOLVERS["resshift"], ResidualShift(kappa)
    s, t = process.node(math.sqrt(0.7)), process.node(math.sqrt(0.35))
    point = np.array([[0.9]])

    def clean(_: np.ndarray, node: Node) -> np.ndarray:
        return np.array([[x0 - y]])

    ours = sample(solver, clean, point - y, [s, t], noise=lambda a, b: np.zeros((1, 1)), terminal="none")[0, 0] + y
    one = sample(solver, clean, point - y, [s, t], noise=lambda a, b: np.ones((1, 1)), terminal="none")[0, 0] + y
    exact = 0.35 / 0.7 * point[0, 0] + 0.35 / 0.7 * x0
    law = GaussianMixture([1.0], [[0.5, -0.4]], [[[1.0, 0.5], [0.5, 0.6]]])
    seen = np.array([1.4, 0.1])
    given = law.given(np.eye(2), seen, 0.1)
    known = law if broken else given

    def error(steps: int) -> float:
        about_y = GaussianMixture([1.0], known.means - seen, [known.covariance()])
        nodes = [process.node(v) for v in np.geomspace(0.999**0.5, 0.02, steps + 1)]
        plan = trace(SOLVERS["resshift"], nodes, terminal="denoise")
        out = moments(plan, about_y, np.zeros(2), kappa**2 * np.eye(2))
        return gaussian_w2(out[0] + seen, out[1], given.mean(), given.covariance())

    plain = grid.uniform_lam(VP(), 4, end=0.02)
    ddpm = moments(trace(SOLVERS["ddpm"], plain, terminal="denoise"), given, np.zeros(2), np.eye(2))
    noise = gaussian_w2(*ddpm, given.mean(), given.covariance())
    return [
        below("composed transitions against the marginal", off, 1e-12, kept=True),
        below("the step's mean against the posterior's", abs(float(ours) - exact), 1e-12, kept=True),
        below("its variance against κ² η_{t−1} α_t/η_t", abs(float(one - ours) ** 2 - kappa**2 * 0.35 * 0.35 / 0.7), 1e-12, kept=True),
        near("W2 at T = 15 over that at 60", error(15) / error(60), 4.0, 1.6, "times"),
        below("W2 at T = 60", error(60), 0.05),
        below("W2 at T = 4 over DDPM's from noise", error(4) / noise, 1.0, "times"),
    ]


@claim(
    38,
    paper="RDEIC (relay residual diffusion)",
    reference="arXiv:2410.02640",
    statement="A start at t_N from a compressed feature and noise has the law N(α c, α² S_c + σ²), whose KL from p_{t_N} is closed, "
    "and vanishes where the residual is folded into the mean of the forward process.",
    control="the residual is left out",
)
def relay(broken: bool) -> list[Row]:
    """x0 ~ N(.5, .6) and c = .7 x0 + .2 + noise of variance .05, at three levels of a relay."""
    rows, ends = [], (np.array([[0.5, 0.55]]), np.array([[[0.6, 0.42], [0.42, 0.344]]]))
    for t in (0.6, 0.4, 0.25):
        node = VP().node(t)
        process = Relay(VP(), t_max=t)
        plain = GaussianMixture([1.0], ends[0][:, :1], ends[1][0, 0, 0]).marginal(node)
        folded = plain if broken else LinearLaw(process, [1.0], *ends).marginal(process.node(t))
        seen, width = node.alpha * ends[0][0, 1], node.alpha**2 * ends[1][0, 1, 1] + node.sigma**2
        kls = []
        for law in (folded, plain):
            mean, spread = float(law.mean()[0]), float(law.covariance()[0, 0])
            kls.append(0.5 * (width / spread - 1.0 - math.log(width / spread) + (seen - mean) ** 2 / spread))
        rows.append((t, *kls))
    return [
        *(below(f"KL of the start with the residual folded in, t = {t:g}", one, 1e-12) for t, one, _ in rows),
        above("KL without it, t = .25", rows[-1][2], 0.005, kept=True),
        above("KL without it at t = .25 over that at .6", rows[-1][2] / rows[0][2], 1.5, "times", kept=True),
    ]


@claim(
    75,
    paper="RDDM",
    reference="arXiv:2308.13712",
    statement="Residual and noise may be taken off one after the other or together: with w = (x − a y)/b the path obeys dw = D d((1 − "
    "a)/b), so that every path in the plane of their amounts ends at the same place, with the exact predictor and with any "
    "other that knows the scaled state alone, but not with one that errs by the amounts; the coefficients are those of DDIM "
    "about the input.",
    control="the predictor errs by a tenth of the residual's amount",
)
def two_removals(broken: bool) -> list[Row]:
    """Three modes about y = .8: x_t = x0 + a (y − x0) + b ε from (a, b) = (.9, .8) to (0, .05) along three paths."""
    target, y = modes(), 0.8

    def clean(x: np.ndarray, a: float, b: float) -> np.ndarray:
        """E[x0 | x] at these amounts."""
        node = Node(0.5, 1.0 - a, b, math.log((1.0 - a) / b), VP())
        return np.asarray(target.denoised(x - a * y, node) + (0.1 * a if broken else 0.0))

    def end(corners: list[tuple[float, float]]) -> np.ndarray:
        x = np.linspace(-1.2, 2.4, 19)[:, None]
        for (a0, b0), (a1, b1) in pairwise(corners):

            def slope(s: float, z: np.ndarray, a0: float = a0, b0: float = b0, a1: float = a1, b1: float = b1) -> np.ndarray:
                a, b = a0 + s * (a1 - a0), b0 + s * (b1 - b0)
                state = z[:, None]
                d = clean(state, a, b)
                return ((a1 - a0) * (y - d) + (b1 - b0) * (state - d - a * (y - d)) / b)[:, 0]

            x = solve_ivp(slope, (0.0, 1.0), x[:, 0], method="DOP853", rtol=1e-10, atol=1e-11).y[:, -1:]
        return x

    start, last = (0.9, 0.8), (0.0, 0.05)
    together, residual, noise = end([start, last]), end([start, (0.0, 0.8), last]), end([start, (0.9, 0.05), last])
    process = ResidualShift(0.5)
    s, t = process.node(0.7), process.node(0.6)
    x = np.linspace(-1.0, 1.0, 9)[:, None]
    d = target.denoised(x, s)
    ddim = (t.sigma / s.sigma) * x + (t.alpha - t.sigma / s.sigma * s.alpha) * d
    form = x - (t.alpha - s.alpha) * (0.0 - d) - (s.sigma - t.sigma) * (x - d - (1.0 - s.alpha) * (0.0 - d)) / s.sigma
    return [
        below("residual first against together, RMS", rms(residual - together), 1e-7),
        below("noise first against together, RMS", rms(noise - together), 1e-7),
        below("RDDM's step against DDIM about the input", float(np.abs(ddim - form).max()), 1e-12, kept=True),
    ]


@claim(
    89,
    paper="GLAD (bridges on quantised latents)",
    reference="arXiv:2403.16883",
    statement="Bridges to the points of a lattice have the drift (E[z | x_t] − x_t)/(1 − t), a softmax over the points, and end on "
    "them with exactly their masses.",
    control="the softmax forgets the masses",
)
def lattice(broken: bool) -> list[Row]:
    """Five points of uneven mass from one start; DDPM, which is exact on each bridge, at 200 steps, 6,000 runs."""
    points, masses = np.array([-1.0, -0.5, 0.0, 0.5, 1.0]), np.array([0.1, 0.35, 0.05, 0.3, 0.2])
    process = BrownianBridge()
    used = np.full(5, 0.2) if broken else masses
    law = PinnedBridge(GaussianMixture(used, points[:, None], 1e-10), np.array([0.2]), process)
    nodes = GRIDS["quadratic"](process, 200, start=1.0, end=1e-4)
    x = np.full((6000, 1), 0.2)
    end = sample(SOLVERS["ddpm"], law.denoised, x, nodes, noise=3, terminal="denoise")
    nearest = np.abs(end - points).argmin(1)
    node = process.node(0.3)
    at = np.linspace(-1.0, 1.0, 9)[:, None]
    log = np.log(masses) - 0.5 * (at - 0.3 * 0.2 - 0.7 * points) ** 2 / (0.3 * 0.7)
    share = np.exp(log - log.max(1, keepdims=True))
    expected = (share @ points / share.sum(1))[:, None]
    return [
        below("E[z | x_t] against the softmax", float(np.abs(law.denoised(at, node)[0] - expected).max()), 1e-6),
        below("TV of the masses at the end", 0.5 * float(np.abs(np.bincount(nearest, minlength=5) / len(end) - masses).sum()), 0.025),
        below("largest distance from the lattice", float(np.abs(end[:, 0] - points[nearest]).max()), 1e-2, kept=True),
    ]
