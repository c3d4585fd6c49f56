r"""Claims 73, 99 and 276: going back from samples to noise, exactly (BDIA), by DDIM (There and Back Again), by RF-Solver.

DDIM turns a Gaussian of std c by cos(theta_t - theta_s), theta = arctan(sigma/(alpha c)), too little in either direction, so that the std
of inverted latents is Π cos and that of a round trip Π cos² of what it should be.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import SOLVERS, VP, Node, RectifiedFlow, Solver, grid, sample, solver, trace
from scorebed.solvers.methods.reversible import amplification, ddim_inversion, invert, keep
from scorebed.toy.claims.common import refinements, sheet, slope, states
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties.cases import modes, warped
from scorebed.toy.studies.stability import real_interval

EPS = float(np.finfo(np.float64).eps)


def round_trip(method: Solver, n: int, dtype: str = "float64", broken: bool = False) -> tuple[float, float]:
    """Largest error of states that went to data and back on n steps, and the growth of round-off that ``amplification`` predicts."""
    nodes, target = grid.uniform_lam(VP(), n, 0.9, 0.05), modes()
    x = states(target, nodes[0]).astype(dtype)
    end, carry = keep(method, target.denoised, x, nodes)
    if broken:
        return float(np.abs(ddim_inversion(target.denoised, end, nodes) - x).max()), amplification(method, nodes)
    back, _ = invert(method, target.denoised, end, carry, nodes)
    return float(np.abs(back - x).max()), amplification(method, nodes)


def _draw_bdia() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        steps = (4, 8, 12, 16, 20, 24, 28, 32)
        for gamma, colour in ((0.9, BLUE), (0.5, VERMILLION), (0.3, GREEN)):
            found = [round_trip(SOLVERS["bdia"](gamma=gamma), n)[0] for n in steps]
            left.plot(steps, found, "o-", color=colour, label=f"γ = {gamma}", markeredgecolor="white")
            left.plot(steps, [found[0] * gamma ** -(n - steps[0]) for n in steps], color=colour, linestyle=(0, (1.5, 1.5)), linewidth=1.0)
        left.set(title="Round trip in float64", xlabel="steps", ylabel="largest error", yscale="log")
        left.plot([], [], color=MUTED, linestyle=(0, (1.5, 1.5)), linewidth=1.0, label="1/γ a step")
        left.legend(loc="upper left")
        gammas = np.linspace(0.1, 0.95, 12)
        right.plot(gammas, 2.0 * (1.0 - gammas) / (1.0 + gammas), color=INK, label="2 (1 − γ)/(1 + γ)")
        right.plot(gammas, [real_interval(SOLVERS["bdia"](gamma=float(g))) for g in gammas], "o", color=ORANGE, label="measured")
        right.set(title="Real stability interval", xlabel="γ", ylabel="length in λh")
        right.legend(loc="upper right")

    return sheet(2, draw)


@claim(
    73,
    paper="BDIA",
    reference="arXiv:2307.10829",
    statement="The bidirectional step is undone exactly, up to round-off that grows by 1/γ a step; γ = 1 is the leapfrog, of order 2 and "
    "without a real stability interval; γ < 1 has order 1 and the interval 2 (1 − γ)/(1 + γ).",
    control="the way back is plain DDIM inversion, and the extra term of the step is left out (DDIM)",
    draw=_draw_bdia,
)
def bdia(broken: bool) -> list[Row]:
    """Round trips in two precisions, growth per step, orders, intervals."""
    method = SOLVERS["bdia"]
    error, grown = round_trip(method, 20, broken=broken)
    rows = [below("round trip, 20 steps, γ = 0.5, float64", error, 100.0 * EPS * grown)]
    ratio = math.log2(round_trip(method, 12, "float32", broken)[0] / round_trip(method, 12, broken=broken)[0])
    rows.append(near("floor of float32 over that of float64", ratio, 29.0, 4.0, "bits"))
    for gamma in (0.5, 0.8):
        errors = [round_trip(method(gamma=gamma), n, broken=broken)[0] for n in (8, 16, 24, 32)]
        found = float(np.exp(np.polyfit((8, 16, 24, 32), np.log(errors), 1)[0]))
        rows.append(near(f"growth of the round trip's error a step, γ = {gamma}", found * gamma, 1.0, 0.15, "of 1/γ"))
    used = (lambda gamma: SOLVERS["ddim"]) if broken else (lambda gamma: method(gamma=gamma))
    worst = max(abs(real_interval(used(g)) / (2.0 * (1.0 - g) / (1.0 + g)) - 1.0) for g in (0.3, 0.5, 0.9))
    rows.append(below("interval against 2 (1 − γ)/(1 + γ), worst of γ = 0.3, 0.5, 0.9", worst, 1e-6, "relative"))
    rows.append(below("interval of γ = 1", real_interval(used(1.0)), 1e-6, "λh"))
    grids = [_equal_rho(n) for n in (64, 128, 256)]
    rows.append(order("order of γ = 1 on equal steps of ρ", slope(used(1.0), grids), 2.0))
    # a first-order method is no DDIM here but the leapfrog, which is what γ < 1 is not
    rows.append(order("order of γ = 0.5 there", slope(method(gamma=1.0) if broken else used(0.5), grids), 1.0))
    return rows


def _equal_rho(n: int, high: float = 2.0, low: float = 0.3) -> list[Node]:
    return [VP().at_lam(-math.log(high + (low - high) * i / n)) for i in range(n + 1)]


def cosines(nodes: list[Node], c: float) -> float:
    """Π cos(theta_{i+1} − theta_i)."""
    angles = [math.atan2(n.sigma, n.alpha * c) for n in nodes]
    return math.prod(math.cos(b - a) for a, b in pairwise(angles))


def latent(c: float, nodes: list[Node], solver: Solver | None = None) -> tuple[float, float]:
    """std of the latents that ``solver`` (DDIM) finds for data of std c, and of what it makes of them, over what they should be.

    ``nodes`` run to noise; the data is taken at the first of them.

    Returns:
        (std of the latents, std of the round trip), each over its target.
    """
    solver, target = solver or SOLVERS["ddim"], GaussianMixture([1.0], [[0.0]], c * c)
    out = moments(trace(solver, nodes), target)[1]
    first, last = (math.hypot(n.alpha * c, n.sigma) for n in (nodes[0], nodes[-1]))
    back = moments(trace(solver, nodes[::-1]), target, covariance=out)[1]
    return math.sqrt(out[0, 0]) / last, math.sqrt(back[0, 0]) / first


def _inversion_grid(n: int, kind: str = "uniform") -> list[Node]:
    return grid.GRIDS[kind](VP(), n, 1.0, 0.002)[::-1]


def _draw_latents() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        stds = np.geomspace(0.05, 2.0, 30)
        for n, colour in ((10, VERMILLION), (25, BLUE), (100, GREEN)):
            nodes = _inversion_grid(n)
            left.plot(stds, [latent(c, nodes)[0] for c in stds], color=colour, label=f"{n} steps")
            left.plot(stds, [cosines(nodes, c) for c in stds], "o", color=colour, markersize=3.0)
        left.axhline(1.0, color=INK, linewidth=0.8)
        left.set(title="std of the latents over the exact", xlabel="std c of the data", xscale="log")
        left.plot([], [], "o", color=MUTED, markersize=3.0, label="Π cos Δθ")
        left.legend(loc="lower right")
        for kind, colour in (("uniform", BLUE), ("quadratic", ORANGE), ("uniform_lam", GREEN)):
            right.plot(stds, [latent(c, _inversion_grid(25, kind))[0] for c in stds], color=colour, label=f"uniform in {_variable(kind)}")
        right.set(title="25 steps, by grid", xlabel="std c of the data", xscale="log")
        right.legend(loc="lower right")

    return sheet(2, draw)


def _variable(kind: str) -> str:
    return {"uniform": "t", "quadratic": "√t", "uniform_lam": "λ"}[kind]


@claim(
    99,
    paper="There and Back Again (DDIM inversion)",
    reference="arXiv:2410.23530",
    statement="DDIM inversion leaves latents between noise and sample: on N(0, c²) each step carries the factor cos Δθ, "
    "θ = arctan(σ/(αc)); the latents' std is Π cos and a round trip Π cos² of the right one, less for smaller c, and tends to it with the "
    "number of steps. The exact flow gives noise exactly.",
    control="the step that is exact on this Gaussian (a rotation in θ) in the place of DDIM, and DDIM in the place of the exact flow",
    draw=_draw_latents,
)
def latents(broken: bool) -> list[Row]:
    """Stds from exact moments of Plans; no samples."""
    stds, nodes = (0.1, 0.3, 1.0, 3.0), _inversion_grid(25)

    def found(c: float, on: list[Node] = nodes) -> tuple[float, float]:
        return latent(c, on, _turning(c) if broken else None)

    rows = []
    worst = max(abs(found(c)[0] - cosines(nodes, c)) for c in stds)
    rows.append(below("std of the latents against Π cos Δθ, c = 0.1 … 3", worst, 1e-12))
    worst = max(abs(found(c)[1] - cosines(nodes, c) ** 2) for c in stds)
    rows.append(below("std of the round trip against Π cos² Δθ", worst, 1e-12))
    values = [1.0 - found(c)[0] for c in (0.1, 0.2, 0.5, 1.0)]
    rows.append(above("least growth of what is missing as c is halved, steps of equal t", min(a / b for a, b in pairwise(values)), 1.1))
    errors = [1.0 - found(0.3, _inversion_grid(n))[0] for n in (100, 200, 400)]
    rate = order_of((100, 200, 400), [max(e, 1e-300) for e in errors]).slope
    rows.append(order("what is missing falls with the steps, c = 0.3", rate, 1.0))
    target, x = GaussianMixture([1.0], [[0.0]], 0.09), np.array([[0.3]])
    s, t = VP().node(0.0), nodes[-1]
    out = sample(SOLVERS["ddim"], target.denoised, x, nodes, terminal="none") if broken else target.flow(x, s, t)
    rows.append(below("std of the exact flow's latents at t = 1 against 1", abs(float(out[0, 0]) - 1.0), 1e-4))
    lam = _inversion_grid(25, "uniform_lam")
    spread = latent(0.2, lam)[0] / latent(1.0, lam)[0]
    rows.append(near("std at c = 0.2 over that at c = 1 on steps of equal λ: no dependence there", spread, 1.0, 0.005, kept=True))
    return rows


def _turning(c: float) -> Solver:
    @solver(order=1, reference="the exact flow of N(0, c²)", register=False)
    def turning(denoise, x, s, t, carry, noise):  # type: ignore[no-untyped-def]
        """x_t = (sqrt(α_t² c² + σ_t²)/sqrt(α_s² c² + σ_s²)) x."""
        denoise(x, s)
        return (math.hypot(t.alpha * c, t.sigma) / math.hypot(s.alpha * c, s.sigma)) * x, carry

    return turning


def _interval(solver: Solver) -> float:
    """The real stability interval in τ: one step from τ = 0.9 to 0.8 on v = λ x, by bisection on |x_t| = |x|."""
    s, t = RectifiedFlow().node(0.9), RectifiedFlow().node(0.8)

    def grows(z: float) -> bool:
        rate = z / (t.t - s.t)
        out = solver.step(lambda x, n: x - n.sigma * rate * x, np.ones((1, 1)), s, t, None, None)[0]
        return abs(float(out[0, 0])) > 1.0

    low, high = 0.1, 8.0
    while high - low > 1e-10:
        middle = 0.5 * (low + high)
        low, high = (low, middle) if grows(-middle) else (middle, high)
    return low


def there_and_back(solver: Solver, n: int) -> float:
    """RMS error of states taken from data to noise and back on n steps of rectified flow."""
    nodes, target = grid.uniform(RectifiedFlow(), n, 0.9, 0.1), modes()
    x = states(target, nodes[-1])
    up = sample(solver, target.denoised, x, nodes[::-1], terminal="none")
    return float(np.sqrt(np.mean((sample(solver, target.denoised, up, nodes, terminal="none") - x) ** 2)))


def _draw_rf() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        steps = (5, 10, 20, 40, 80, 160)
        target = modes()
        for name, stages, colour, marker in (("euler_t", 1, VERMILLION, "o"), ("rf_solver_2", 2, BLUE, "s")):
            label = {"euler_t": "Euler", "rf_solver_2": "RF-Solver"}[name]
            grids = refinements(grid.uniform, RectifiedFlow(), steps, 0.9, 0.1)
            x = states(target, grids[0][0])
            exact = target.flow(x, grids[0][0], grids[0][-1])
            found = [float(np.abs(sample(SOLVERS[name], target.denoised, x, g, terminal="none") - exact).max()) for g in grids]
            nfe = [stages * n for n in steps]
            left.plot(nfe, found, color=colour, marker=marker, markeredgecolor="white", label=label)
            back = [there_and_back(SOLVERS[name], n) for n in steps]
            right.plot([2 * n for n in nfe], back, color=colour, marker=marker, markeredgecolor="white", label=label)
        left.set(title="Error of samples", xlabel="evaluations", ylabel="largest error", xscale="log", yscale="log")
        right.set(title="Error of a round trip", xlabel="evaluations there and back", xscale="log", yscale="log")
        left.legend(loc="lower left")
        right.legend(loc="lower left")

    return sheet(2, draw)


@claim(
    276,
    paper="RF-Solver",
    reference="arXiv:2411.04746",
    statement="The second-order Taylor step on rectified flow is the explicit midpoint rule: order 2 at two evaluations, real stability "
    "interval 2, a round trip of order 2 or better where Euler's has order 1, better also at equal evaluations, but not exactly "
    "reversible.",
    control="the second-order term is left out (Euler), and for the last row an exactly reversible method (BELM)",
    draw=_draw_rf,
)
def rf_solver(broken: bool) -> list[Row]:
    """Identity, order, interval, round trips."""
    method = SOLVERS["euler_t" if broken else "rf_solver_2"]
    target, nodes = modes(), grid.uniform(RectifiedFlow(), 10, 0.9, 0.1)
    x = states(target, nodes[0])
    midpoint = sample(SOLVERS["midpoint_t"], target.denoised, x, nodes, terminal="none")
    gap = float(np.abs(sample(method, target.denoised, x, nodes, terminal="none") - midpoint).max())
    rows = [below("largest difference from the midpoint rule, 10 steps", gap, 1e-13)]
    rows.append(near("evaluations a step", trace(method, nodes).nfe / 10, 2.0, 0.0))
    rows.append(order("order", slope(method, refinements(warped, RectifiedFlow(), (64, 128, 256), 0.9, 0.1)), 2.0))
    heun3 = SOLVERS["kutta3_t"] if broken else method  # Euler has the interval 2 as well; a method of order 3 has not
    rows.append(near("real stability interval in τ", _interval(heun3), 2.0, 1e-6, "λh"))
    trips = [there_and_back(method, n) for n in (40, 80, 160)]
    rows.append(above("order of the round trip", order_of((40, 80, 160), trips).slope, 1.85, "order"))
    rows.append(order("order of Euler's round trip", order_of((80, 160, 320), _euler_trips(broken)).slope, 1.0))
    ratio = there_and_back(method, 20) / there_and_back(SOLVERS["euler_t"], 40)
    rows.append(below("round trip over Euler's at equal evaluations (20 and 40 steps)", ratio, 0.5))
    if broken:
        up = grid.uniform(RectifiedFlow(), 20, 0.9, 0.1)[::-1]
        start = states(target, up[0])
        end, carry = keep(SOLVERS["belm"], target.denoised, start, up)
        left = float(np.abs(invert(SOLVERS["belm"], target.denoised, end, carry, up)[0] - start).max())
    else:
        left = there_and_back(method, 20)
    rows.append(above("error of the round trip of 20 steps: not reversible", left, 1e-7))
    return rows


def _euler_trips(broken: bool) -> list[float]:
    return [there_and_back(SOLVERS["midpoint_t" if broken else "euler_t"], n) for n in (80, 160, 320)]
