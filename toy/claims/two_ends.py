r"""Claims 13, 45, 107, 149, 158: interpolants, electric fields, phase space and bridges, each by its own closed law."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.analytic.output.moments import moments
from scorebed.analytic.process import LinearLaw, StudentMixture
from scorebed.solvers import EDM, GRIDS, SOLVERS, VP, trace
from scorebed.solvers.process.bridge import DiffusionBridge, Interpolant
from scorebed.solvers.process.langevin import CLD
from scorebed.solvers.process.recipe import psld
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of, rms

ENDS = np.array([[0.5, -0.3]]), np.array([[[0.6, 0.25], [0.25, 0.9]]])
"""Mean and covariance of (x0, x1), on the line."""


def output(law: LinearLaw, name: str, steps: int, start: float, end: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Moments of what a method draws from the law's own marginal at ``start``."""
    nodes = GRIDS["uniform"](law.process, steps, start=start, end=end)
    return moments(trace(SOLVERS[name], nodes, terminal="denoise"), law)


@claim(
    13,
    paper="Stochastic interpolants",
    reference="arXiv:2303.08797",
    statement="x_t = a x0 + b x1 + γ z: the ODE and the SDE with any ε carry one law to the other; under a drift error δ the SDE's KL "
    "at the end is at most δ²/4ε, which the ODE's may exceed by any factor; γ = 0 is rectified flow.",
    control="the term −γγ̇ of the score is left out of the drift",
)
def interpolants(broken: bool) -> list[Row]:
    """A correlated Gaussian pair, 320 steps of DDIM, DDPM and Euler-Maruyama; KL by the linear moments for a target of variance 1e-5."""
    process = Interpolant(spread=0.4)
    law = LinearLaw(process, [1.0], *ENDS)
    exact = ENDS[0][0][:1], ENDS[1][0][:1, :1]
    rows = []
    for name in ("ddim", "ddpm", "euler_maruyama"):
        out = output(law, name, 320, 0.98)
        rows.append(below(f"W2 at the end, {name}", gaussian_w2(out[0][:1], out[1][:1, :1], *exact), 0.05, kept=True))
    delta, eps, narrow = 0.3, 5.0, 1e-5

    def carried(noise: float, off: float) -> tuple[float, float]:
        """Mean and variance at t = 1 from N(0, 1) at 0 to N(0, narrow), γ² = 2 c t (1 − t), independent ends."""
        c = 0.4

        def rates(t: float, y: np.ndarray) -> list[float]:
            spread = (1.0 - t) ** 2 + t * t * narrow + 2.0 * c * t * (1.0 - t)
            slope = (-(1.0 - t) + t * narrow + (0.0 if broken else c * (1.0 - 2.0 * t))) / spread
            drift = slope - noise / spread
            return [drift * y[0] + off, 2.0 * drift * y[1] + 2.0 * noise]

        done = solve_ivp(rates, (0.0, 1.0), [0.0, 1.0], method="LSODA", rtol=1e-10, atol=1e-14)
        return float(done.y[0, -1]), float(done.y[1, -1])

    kls = {}
    for noise in (0.0, eps):
        mean, spread = carried(noise, delta)
        kls[noise] = 0.5 * (narrow / spread - 1.0 - math.log(narrow / spread) + mean * mean / spread)
    return [
        *rows,
        *(
            near(f"variance carried, ε = {e:g}, over the target's", carried(e, 0.0)[1] / narrow, 1.0, 1e-4, "times")
            for e in (0.0, 0.5, eps)
        ),
        below("KL of the SDE with drift error δ over δ²/4ε", kls[eps] / (delta**2 / (4.0 * eps)), 1.0, "times", kept=True),
        above("KL of the ODE with the same over δ²/4ε", kls[0.0] / (delta**2 / (4.0 * eps)), 10.0, "times", kept=True),
    ]


@claim(
    45,
    paper="PFGM++",
    reference="arXiv:2302.04265",
    statement="With r = σ √D the electric field of data in N + D dimensions gives dx/dσ = (x − D(x, σ))/σ for the denoiser of its "
    "Student kernel; the field has no divergence off the data, and the denoiser tends to the Gaussian one like 1/D.",
    control="the kernel's exponent is (N + D)/2 + 1",
)
def electric(broken: bool) -> list[Row]:
    """Five charges on the line: dx/dr by the field, its divergence at D = 3, and denoisers at D = 32 to 2048."""
    charges, weights = np.array([[-1.2], [-0.4], [0.1], [0.9], [1.5]]), np.array([0.3, 0.1, 0.2, 0.25, 0.15])
    x, extra = np.linspace(-2.0, 2.0, 21)[:, None], 2.0 if broken else 0.0

    def field(y: np.ndarray, r: float, d: float) -> tuple[np.ndarray, np.ndarray]:
        across, out = StudentMixture(weights, charges, d + extra).field(y, r)
        return across[:, 0], out

    def divergence(r: float, d: float, h: float = 1e-4) -> float:
        """∂_x E_x + r^{1−D} ∂_r (r^{D−1} E_r) over |E|, at its largest."""
        along = (field(x + h, r, d)[0] - field(x - h, r, d)[0]) / (2 * h)
        out = ((r + h) ** (d - 1) * field(x, r + h, d)[1] - (r - h) ** (d - 1) * field(x, r - h, d)[1]) / (2 * h) * r ** (1 - d)
        return float((np.abs(along + out) / np.abs(field(x, r, d)).sum(0)).max())

    r, d, counts = 0.8, 4.0, (32, 128, 512, 2048)
    node, plain = EDM().at_lam(-math.log(0.6)), GaussianMixture(weights, charges, 0.0)
    errors = [rms(StudentMixture(weights, charges, n).denoised(x, node) - plain.denoised(x, node)) for n in counts]
    across, out = field(x, r, d)
    own = (x - StudentMixture(weights, charges, d).denoised(x, EDM().at_lam(-math.log(r / math.sqrt(d)))))[:, 0] / r
    return [
        below("dx/dr of the field against (x − D)/r", float(np.abs(across / out - own).max()), 1e-10),
        below("divergence of the field over it, D = 3", divergence(0.7, 3.0), 1e-6),
        order("rate at which the denoiser tends to the Gaussian one, in 1/D", order_of(counts, errors).slope, 1.0, kept=True),
    ]


@claim(
    107,
    paper="AGM (phase space stochastic bridges)",
    reference="arXiv:2310.07805",
    statement="The least acceleration that brings (x, v) to x1 at t = 1 is 3/(1 − t) ((x1 − x)/(1 − t) − v) where the last velocity "
    "is free, and has the gain 4 where it is to be (x1 − x)/(1 − t); both paths end at x1, and the acceleration tells x1.",
    control="the gains are exchanged",
)
def phase_bridge(broken: bool) -> list[Row]:
    """The linear-quadratic problem on 4,000 steps by least norm; the paths by integration; x̂1 from the field."""
    x, v, goal, n = 0.4, -0.7, 1.3, 4000
    h = 1.0 / n
    t = (np.arange(n) + 0.5) * h
    reach = (1.0 - t) * h  # of x(1) by each acceleration

    def best(pinned: bool) -> float:
        """The first acceleration of the least-norm solution."""
        rows, wanted = [reach], [goal - x - v]
        if pinned:
            rows, wanted = [reach, np.full(n, h)], [goal - x - v, (goal - x) - v]
        a = np.stack(rows)
        return float((a.T @ np.linalg.solve(a @ a.T, np.array(wanted)))[0])

    free, fixed = (4.0, 3.0) if broken else (3.0, 4.0)
    pull = (goal - x) - v

    def end(gain: float) -> float:
        def rates(s: float, y: np.ndarray) -> list[float]:
            left = 1.0 - s
            return [y[1], gain / left * ((goal - y[0]) / left - y[1])]

        return float(solve_ivp(rates, (0.0, 1.0 - 1e-5), [x, v], rtol=1e-9, atol=1e-11).y[0, -1])

    left = 0.6
    acceleration = 4.0 / left * ((goal - x) / left - v)
    return [
        below("least acceleration with a free end against its gain", abs(best(False) - free * pull), 5e-3),
        below("least acceleration with the velocity pinned against its gain", abs(best(True) - fixed * pull), 5e-3),
        below("distance of the ends of both paths from x1", max(abs(end(3.0) - goal), abs(end(4.0) - goal)), 1e-3, kept=True),
        below("x1 from the acceleration", abs(left * (acceleration * left / 4.0 + v) + x - goal), 1e-12, kept=True),
    ]


@claim(
    149,
    paper="Denoising diffusion bridge models",
    reference="arXiv:2309.16948",
    statement="VP pinned at x_T has mean (SNR_T/SNR_t)(α_t/α_T) x_T + α_t x0 (1 − SNR_T/SNR_t) and variance σ_t² (1 − SNR_T/SNR_t); "
    "its SDE and its ODE share their marginals, but from x_T itself the ODE goes one way: a first stochastic step is "
    "needed.",
    control="the pinned end is not told apart: VP's own mean and variance",
)
def pinned(broken: bool) -> list[Row]:
    """The law of the bridge at nine times; a correlated pair by DDIM and DDPM at 320 steps; spread of the ends from one x_T."""
    process, schedule = DiffusionBridge(VP()), VP()
    top, off = schedule.node(process.t_max), 0.0
    for t in np.linspace(0.1, 0.9, 9):
        node = schedule.node(float(t))
        ratio = 0.0 if broken else (top.alpha / top.sigma) ** 2 / (node.alpha / node.sigma) ** 2
        (mean,), ((spread,),) = process.forward(process.node(float(t)))
        off = max(
            off,
            abs(mean[0] - node.alpha * (1.0 - ratio)),
            abs(mean[1] - ratio * node.alpha / top.alpha),
            abs(spread - node.sigma**2 * (1.0 - ratio)),
        )
    law = LinearLaw(process, [1.0], *ENDS)
    exact = ENDS[0][0][:1], ENDS[1][0][:1, :1]
    w2 = {}
    for name in ("ddim", "ddpm"):
        out = output(law, name, 320, 0.95 * process.t_max)
        w2[name] = gaussian_w2(out[0][:1], out[1][:1, :1], *exact)
    one = LinearLaw(process, [1.0], np.array([[0.5, -0.3]]), np.array([[[0.6, 0.0], [0.0, 0.0]]]))
    nodes = GRIDS["uniform"](process, 320, start=process.t_max, end=1e-3)
    ends = moments(trace(SOLVERS["ddpm"], nodes, terminal="denoise"), one, np.array([-0.3]), np.zeros((1, 1)))
    inside = GRIDS["uniform"](process, 320, start=0.999 * process.t_max, end=1e-3)
    at = one.marginal(inside[0]).mean()
    ode = moments(trace(SOLVERS["ddim"], inside, terminal="denoise"), one, np.asarray(at), np.zeros((1, 1)))
    return [
        below("mean and variance of the bridge against the SNR form", float(off), 1e-10),
        *(below(f"W2 of the data's end, {name}", v, 0.05, kept=True) for name, v in w2.items()),
        near("variance from one x_T by the SDE over the data's", float(ends[1][0, 0]) / 0.6, 1.0, 0.05, "times", kept=True),
        below("variance from one x_T by the ODE", float(ode[1][0, 0]), 1e-12, kept=True),
    ]


@claim(
    158,
    paper="PSLD (a complete recipe)",
    reference="arXiv:2303.01748",
    statement="z' = A z with noise on position and velocity, critically damped, leaves N(0, I) × N(0, M I) where it is, and its "
    "kernel is the matrix exponential; Γ = 0 is CLD; flow and SDE draw the data, whose score in v tends to −v/γM where the "
    "data has a density.",
    control="the noise on v is left out",
)
def complete_recipe(broken: bool) -> list[Row]:
    """Two processes by Lyapunov's equation and matrix exponentials; a Gaussian at 15 and 60 steps; the score at t = 1e-4."""
    rows: list[Row] = []
    noisy, still = psld(), psld(friction=0.0, nu=4.0)
    mass = 0.25
    for name, process in (("noise on both", noisy), ("noise on v alone", still)):
        f, d = np.array(process.force), np.array(process.diffusion)
        s = np.diag([1.0, process.stationary[1, 1]])
        off = float(np.abs(f @ s + s @ f.T + (d * np.array([[1.0, 0.0], [0.0, 0.0]]) if broken else d)).max())
        move = np.array(process.forward(process.node(0.4))[0])
        rows.append(below(f"residual of stationarity of N(0, 1) × N(0, M), {name}", off, 1e-10))
        rows.append(below(f"kernel against the matrix exponential, {name}", float(np.abs(move - expm(0.4 * f)).max()), 1e-9, kept=True))
    spread = np.diag([0.5, noisy.gamma[0]])
    law = LinearLaw(noisy, [1.0], np.array([[0.6, 0.0]]), spread[None])
    for method in ("ddim", "ddpm"):
        few, many = (gaussian_w2(*output(law, method, n, 1.0), np.array([0.6, 0.0]), spread) for n in (15, 60))
        rows.append(above(f"W2 of the data at 15 over 60 steps by {method}", few / many, 2.0, "times", kept=True))
    cld = CLD(beta=4.0, mass=mass, gamma=0.04)
    first, second = (np.array(p.forward(p.node(0.3))[0]) for p in (cld, still))
    small = LinearLaw(still, [1.0], np.array([[0.6, 0.0]]), np.diag([0.5, still.gamma[0]])[None])
    z = (np.array([[0.6]]), np.array([[0.2]]))
    score = float(small.score(z, still.node(1e-4))[1][0, 0])
    rows.append(below("Γ = 0 against CLD", float(np.abs(first - second).max()), 1e-9, kept=True))
    rows.append(near("score in v at t = 1e-4 over −v/γM", score / (-0.2 / still.gamma[0]), 1.0, 0.1, "times", kept=True))
    return rows
