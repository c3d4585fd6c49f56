r"""Claims 56, 194, 254, 261, 275, 289: where to begin, how to space, what to look up, and how often to ask."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.solvers import EDM, GRIDS, SOLVERS, VP, Node, RectifiedFlow, grid, sample, trace
from scorebed.solvers.guide import guided
from scorebed.solvers.model import predicts
from scorebed.toy.claims.common import refinements, slope, states
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.problems.lines import modes

WIDE = GaussianMixture([0.5, 0.5], [[1.2, 0.4], [0.6, -0.5]], [[[0.6, 0.2], [0.2, 0.3]], [[0.2, 0.0], [0.0, 0.4]]])


@claim(
    56,
    paper="Analytic-Init and conditional image leakage",
    reference="arXiv:2406.15735",
    statement="Of all N(μ, s² I) the nearest to p_M in KL has μ = α_M E x0 and s² = α_M² tr Cov/d + σ_M²; beginning there at M < T "
    "leaves less error than N(0, σ² I), and the same as M → T. At noisy times what y adds to x_t about x0 is all that y "
    "says.",
    control="the start is N(0, σ² I), and y is noised as x is",
)
def analytic_start(broken: bool) -> list[Row]:
    """A mixture of the plane and its Gaussian; DDIM at 40 steps from three levels; the information of y = x0 + noise."""
    one = GaussianMixture([1.0], [WIDE.mean()], [WIDE.covariance()])
    node = VP().node(0.4)
    exact = WIDE.marginal(node)
    mean, spread = np.asarray(exact.mean()), np.asarray(exact.covariance())

    def kl(mu: np.ndarray, s2: float) -> float:
        """KL(p_M ‖ N(μ, s² I)) up to the entropy of p_M."""
        return math.log(s2) + 0.5 * (float(np.trace(spread)) + float(np.sum((mean - mu) ** 2))) / s2

    mu = node.alpha * WIDE.mean() * (0.0 if broken else 1.0)
    s2 = node.sigma**2 + (0.0 if broken else node.alpha**2 * float(np.trace(WIDE.covariance())) / 2)
    around = [kl(mu + 0.02 * np.array(v), s2 * f) for v in ((1, 0), (-1, 0), (0, 1), (0, -1)) for f in (0.97, 1.0, 1.03)]

    def error(start: float, fitted: bool) -> float:
        nodes = grid.uniform_lam(VP(), 40, start=start, end=0.002)
        top = nodes[0]
        centre = top.alpha * one.mean() * (1.0 if fitted else 0.0)
        width = top.sigma**2 + (top.alpha**2 * float(np.trace(one.covariance())) / 2 if fitted else 0.0)
        plan = trace(SOLVERS["dpmpp_2m"], nodes, terminal="denoise")
        return gaussian_w2(*moments(plan, one, centre, width * np.eye(2)), one.mean(), one.covariance())

    def told(t: float) -> float:
        """I(x0; y | x_t) over I(x0; y), unit Gaussians, y = x0 + n with variance .1, or with that of x_t."""
        at = VP().node(t)
        r = 0.1 + ((at.sigma / at.alpha) ** 2 if broken else 0.0)
        left = 1.0 / (1.0 + (at.alpha / at.sigma) ** 2)
        return math.log(1.0 + left / r) / math.log(1.0 + 1.0 / 0.1)

    gains = [error(m, False) - error(m, True) for m in (0.4, 1.0)]
    return [
        above("least increase of KL about the fitted start", min(around) - kl(mu, s2), 0.0),
        below("W2 from the fitted start at M = .4 over that from N(0, σ²)", error(0.4, not broken) / error(0.4, False), 0.8, "times"),
        below("what it gains at M = 1 over what it gains at M = .4", gains[1] / gains[0], 0.05, "times", kept=True),
        near("I(x0; y | x_t)/I(x0; y) at t = 1", told(1.0), 1.0, 0.01, "times"),
    ]


@claim(
    194,
    paper="Scaling rectified flow transformers (SD3)",
    reference="arXiv:2403.03206",
    statement="The shift t → a t/(1 + (a − 1) t) moves log(α/σ) by −log a everywhere, which with a = √(m/n) keeps the standard error "
    "of a constant image of m pixels what it was with n; densities of t integrate to 1.",
    control="a = m/n is used",
)
def shift(broken: bool) -> list[Row]:
    """Rectified flow at 19 times, resolutions 64² and 256²; the logit-normal and cosine densities."""
    ratio = (256 / 64) ** 2
    a = ratio if broken else math.sqrt(ratio)
    t = np.linspace(0.05, 0.95, 19)
    moved = a * t / (1.0 + (a - 1.0) * t)
    lam = np.log((1.0 - moved) / moved) - np.log((1.0 - t) / t)
    nodes = GRIDS["flow_shift"](RectifiedFlow(1e-3, 0.999), 8, shift=4.0)
    plain = GRIDS["flow_shift"](RectifiedFlow(1e-3, 0.999), 8, shift=1.0)
    u = (np.arange(200_000) + 0.5) / 200_000
    logit = np.log(u / (1.0 - u))
    normal = np.exp(-0.5 * logit**2) / math.sqrt(2.0 * math.pi) / (u * (1.0 - u))
    cosine = 2.0 / (math.pi - 2.0 * math.pi * u + 2.0 * math.pi * u * u)
    errors = moved / (1.0 - moved) / math.sqrt(ratio) / (t / (1.0 - t))  # of the mean over the pixels, against the small image's
    return [
        below("log(α/σ) of shifted times minus plain ones, against −log 4", float(np.abs(lam + math.log(4.0)).max()), 1e-12),
        below("standard error of a constant image over the small one's, off 1", float(np.abs(errors - 1.0).max()), 1e-12),
        below("our shifted grid's inner nodes against the formula", max(_off(n, plain) for n in nodes[1:-1]), 1e-10, kept=True),
        near("integral of the logit-normal density", float(normal.mean()), 1.0, 1e-4, kept=True),
        near("integral of the cosine density", float(cosine.mean()), 1.0, 1e-4, kept=True),
    ]


def _off(node: Node, plain: list[Node]) -> float:
    """Distance in t from the shifted one of the uniform times between the ends before the shift."""
    ends = [n.t / (4.0 - 3.0 * n.t) for n in (plain[0], plain[-1])]
    times = np.linspace(ends[0], ends[1], len(plain))
    return float(np.abs(4.0 * times / (1.0 + 3.0 * times) - node.t).min())


@claim(
    254,
    paper="ReDi (trajectory retrieval)",
    reference="arXiv:2302.02285",
    statement="Jumping along the stored trajectory that is nearest at the key time errs by at most the flow's Lipschitz constant "
    "times the distance there, which falls like n^{-1/d} with the number of trajectories.",
    control="a trajectory is taken at random",
)
def retrieval(broken: bool) -> list[Row]:
    """Exact flows of a Gaussian of the plane from t = .8 to .3; stores of 200 and 12,800 trajectories, 300 queries."""
    law, key, value = GaussianMixture([1.0], [[0.5, -0.2]], [[[1.0, 0.4], [0.4, 0.5]]]), VP().node(0.8), VP().node(0.3)
    eigen = np.linalg.eigvalsh(law.covariance())
    bound = max(math.sqrt((value.alpha**2 * v + value.sigma**2) / (key.alpha**2 * v + key.sigma**2)) for v in eigen)
    asked, rng = law.marginal(key).sample(300, 1), np.random.default_rng(2)
    goal = np.asarray(law.flow(asked, key, value))
    near_by, worst = [], 0.0
    for n in (200, 12_800):
        store = law.marginal(key).sample(n, 3)
        apart = np.linalg.norm(asked[:, None] - store[None], axis=-1)
        pick = rng.integers(0, n, len(asked)) if broken else apart.argmin(1)
        least = apart.min(1)
        error = np.linalg.norm(np.asarray(law.flow(store[pick], key, value)) - goal, axis=1)
        near_by.append(float(np.median(np.take_along_axis(apart, pick[:, None], 1))))
        worst = max(worst, float((error / (bound * least)).max()))
    return [
        below("largest jump error over L × distance to the nearest", worst, 1.0 + 1e-9, "times"),
        near("exponent of the distance in the size of the store", math.log(near_by[1] / near_by[0]) / math.log(64.0), -0.5, 0.06),
    ]


@claim(
    261,
    paper="AdaDiff (steps chosen for each condition)",
    reference="arXiv:2311.14768",
    statement="Conditions of different difficulty have different best numbers of steps under error plus cost; a policy gradient finds "
    "them, and beats the best number that is the same for all.",
    control="the policy is not told the condition",
)
def chosen_steps(broken: bool) -> list[Row]:
    """One wide Gaussian, one narrow, three modes; W2 + .004 × steps by DDIM; REINFORCE with a baseline, 3,000 draws."""
    counts = (2, 4, 8, 16, 32, 64)
    laws = [GaussianMixture([1.0], [[0.0]], 1.0), GaussianMixture([1.0], [[0.4]], 0.01), modes()]
    price = np.array([[_distance(law, n) + 0.004 * n for n in counts] for law in laws])
    best = price.argmin(1)
    rng, logits = np.random.default_rng(0), np.zeros((3, len(counts)))
    for _ in range(3_000):
        c = int(rng.integers(3))
        row = 0 if broken else c
        p = np.exp(logits[row] - logits[row].max())
        p /= p.sum()
        pick = int(rng.choice(len(counts), p=p))
        logits[row] += 4.0 * (float(p @ price[c]) - price[c, pick]) * (np.eye(len(counts))[pick] - p)
    learned = np.array([logits[0 if broken else c].argmax() for c in range(3)])
    own = float(price[np.arange(3), learned].mean())
    return [
        above("different best numbers of steps", float(len(set(best.tolist()))), 2.0, kept=True),
        below("price of the policy over the enumerated optimum", own / float(price.min(1).mean()), 1.02, "times"),
        below("price of the policy over that of the best fixed number", own / float(price.mean(0).min()), 0.97, "times"),
    ]


def _distance(law: GaussianMixture, steps: int) -> float:
    """RMS distance of DDIM's end from the exact flow's, over 41 equally likely states."""
    nodes = grid.uniform_lam(VP(), steps, end=0.02)
    x = states(law, nodes[0], 41)
    end = sample(SOLVERS["ddim"], law.denoised, x, nodes, terminal="none")
    return float(np.sqrt(np.mean((end - np.asarray(law.flow(x, nodes[0], nodes[-1]))) ** 2)))


@claim(
    275,
    paper="StreamDiffusion",
    reference="arXiv:2312.12491",
    statement="A batch whose samples stand at different steps of their runs gives what runs one after the other give, to round-off; "
    "residual guidance, with (x − α x_ref)/σ for the unconditional eps, is classifier-free guidance if the unconditional "
    "law is the point x_ref, and elsewhere is off by (w − 1)(D_null − x_ref).",
    control="the batch shares one time, and the unconditional law is wide",
)
def stream(broken: bool) -> list[Row]:
    """Four samples staggered by a step each; guidance with w = 3 against a point and against a Gaussian."""
    law, nodes = modes(), grid.uniform_lam(VP(), 8, end=0.02)
    x = states(law, nodes[0], 4)
    alone = sample(SOLVERS["ddim"], law.denoised, x, nodes, terminal="none")
    batch = x.copy()
    for tick in range(len(nodes) + 3):
        live = [i for i in range(4) if 0 <= tick - i < len(nodes) - 1]
        at = [(tick if broken else tick - i) % (len(nodes) - 1) for i in live]
        if live:
            batch[live] = sample(SOLVERS["ddim"], law.denoised, batch[live], [nodes[k : k + 2] for k in at], terminal="none")
    reference, w, node = 0.4, 3.0, VP().node(0.5)
    y = states(law, node, 9)

    @predicts("denoised")
    def at_reference(z: np.ndarray, _: Node) -> np.ndarray:
        """D of the virtual eps."""
        return np.full_like(z, reference)

    def gap(variance: float) -> tuple[float, np.ndarray]:
        null = GaussianMixture([1.0], [[reference]], variance)
        true = guided(law.denoised, null.denoised, w)(y, node)
        virtual = guided(law.denoised, at_reference, w)(y, node)
        return float(np.abs(true - virtual).max()), virtual - true - (w - 1.0) * (np.asarray(null.denoised(y, node)) - reference)

    return [
        below("staggered batch against runs one by one", float(np.abs(batch - alone).max()), 1e-12),
        below("residual guidance against guidance, unconditional law a point", gap(0.3 if broken else 1e-12)[0], 1e-6),
        below("its error on N(x_ref, .3) against the closed form", float(np.abs(gap(0.3)[1]).max()), 1e-12, kept=True),
    ]


@claim(
    289,
    paper="FlowTurbo",
    reference="arXiv:2409.18128",
    statement="The pseudo-corrector, Heun with the predicted point's velocity kept for the next step, costs one evaluation a step, is "
    "of order 2, and its real stability interval is half of Heun's.",
    control="Euler's method stands in for it",
)
def pseudo_corrector(broken: bool) -> list[Row]:
    """``pec_t`` on three modes under rectified flow; growth on x' = −βx/h at step sizes on both sides of 1."""
    name = "euler_t" if broken else "pec_t"
    flow = RectifiedFlow(1e-3, 0.999)
    grids = refinements(GRIDS["uniform"], flow, (32, 64, 128, 256), 0.9, 0.05)

    def grows(method: str, beta: float) -> float:
        nodes = grid.from_times(EDM(), np.linspace(500.0, 100.0, 401))
        linear = predicts("denoised")(lambda y, node: (1.0 - beta * node.sigma) * y)
        end = sample(SOLVERS[method], linear, np.ones((1, 1)), nodes, terminal="none")
        return math.log(max(float(np.abs(end).max()), 1e-300))

    per_step = trace(SOLVERS[name], grids[0]).nfe / (len(grids[0]) - 1)
    return [
        order("order of the pseudo-corrector", slope(SOLVERS[name], grids), 2.0),
        below("evaluations a step", per_step, 1.1, kept=True),
        above("log growth at a step of 1.1", grows("euler" if broken else "pec", 1.1), 5.0),
        below("log growth of Heun there", grows("heun", 1.1), -5.0, kept=True),
    ]
