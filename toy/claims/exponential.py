r"""Claims 55 and 60: DPM-Solver and DEIS, exponential integrators of eps.

The probability flow is exact in the form x_t = (alpha_t/alpha_s) x_s - alpha_t ∫ e^{-lam} eps dlam = alpha_t (y_s + ∫ eps drho). DPM-Solver
expands eps in lam, DEIS interpolates it in t or rho; with eps frozen both are DDIM.
"""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import quad

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Cosine, Node, Solver, sample, solver
from scorebed.solvers.methods.deis import deis_weights
from scorebed.toy.claims.common import refinements, sheet, slope, states
from scorebed.toy.claims.registry import Row, above, below, claim, order
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.measure.convergence import global_errors
from scorebed.toy.properties.cases import jagged, modes, warped

STEPS = (64, 128, 256)


@solver(order=1, reference="the kernel of the integral taken at the node where the step begins", register=False)
def left_kernel(denoise, x, s, t, carry, noise):  # type: ignore[no-untyped-def]
    """x_t = (α_t/α_s) x − α_t e^{−λ_s} h ε_s: DPM-Solver-1 with a rectangle in the place of the exact integral."""
    eps = (1.0 / s.sigma) * (x - s.alpha * denoise(x, s))
    return (t.alpha / s.alpha) * x - t.alpha * math.exp(-s.lam) * (t.lam - s.lam) * eps, carry


def variation(broken: bool) -> float:
    """Largest relative difference of the exact flow of three modes from the variation-of-constants formula, by quadrature along it."""
    target, s, t = modes(), VP().node(0.8), VP().node(0.1)
    x = states(target, s, 7)
    points, weights = np.polynomial.legendre.leggauss(64)
    total = np.zeros_like(x)
    for p, w in zip(points, weights, strict=True):
        node = s.toward(t, 0.5 * (1.0 + float(p)))
        kernel = math.exp(-s.lam if broken else -node.lam)
        total += 0.5 * w * (t.lam - s.lam) * kernel * target.eps(target.flow(x, s, node), node)
    found = (t.alpha / s.alpha) * x - t.alpha * total
    return float(np.abs(found / target.flow(x, s, t) - 1.0).max())


def across_schedules(method: Solver) -> float:
    """Largest difference in x/α of runs on VP, cosine and EDM with the same nodes in λ."""
    target, lams = modes(), np.linspace(-1.5, 2.5, 9)
    runs = []
    for schedule in (VP(), Cosine(), EDM()):
        nodes = [schedule.at_lam(float(lam)) for lam in lams]
        y = states(target, EDM().at_lam(float(lams[0])))
        runs.append(sample(method, target.denoised, nodes[0].alpha * y, nodes, terminal="none") / nodes[-1].alpha)
    return max(float(np.abs(r - runs[0]).max()) for r in runs[1:])


def _draw_orders(names: dict[str, tuple[str, str]], title: str) -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        steps, target = (8, 16, 32, 64, 128, 256), modes()
        for axis, schedule, what in ((left, VP(), "VP"), (right, EDM(0.05, 20.0), "EDM")):
            start, end = (0.9, 0.05) if what == "VP" else (10.0, 0.1)
            grids = refinements(jagged, schedule, steps, start, end)
            x = states(target, grids[0][0])
            exact = target.flow(x, grids[0][0], grids[0][-1])
            for (name, (label, colour)), marker in zip(names.items(), "osD^v", strict=False):
                errors = global_errors(SOLVERS[name], target.denoised, x, exact, grids)
                axis.plot(steps, errors, color=colour, marker=marker, markeredgecolor="white", label=label)
                guide = errors[-1] * (np.array(steps) / steps[-1]) ** -float(SOLVERS[name].order)
                axis.plot(steps, guide, color=MUTED, linewidth=0.7, linestyle=(0, (1.5, 2.0)), zorder=1)
            axis.set(title=f"{title}, {what}", xlabel="steps", ylabel="RMS error", xscale="log", yscale="log", ylim=(1e-11, 3.0))
            axis.set_xticks(steps, [str(n) for n in steps])
            axis.legend(loc="lower left", title="dotted: claimed order", title_fontsize=8.5)

    return sheet(2, draw)


def _draw_dpm() -> Figure:
    names = {"dpm_solver_1": ("DPM-Solver-1", BLUE), "dpm_solver_2": ("DPM-Solver-2", VERMILLION), "dpm_solver_3": ("DPM-Solver-3", GREEN)}
    return _draw_orders(names, "Unequal steps in λ")


@claim(
    55,
    paper="DPM-Solver",
    reference="arXiv:2206.00927",
    statement="The flow is (α_t/α_s) x − α_t ∫ e^{−λ} ε dλ exactly; the singlestep methods have order k = 1, 2, 3 in the largest step "
    "of λ; "
    "DPM-Solver-1 is DDIM; a point mass is followed exactly; the result depends on the schedule only through the nodes in λ.",
    control="the kernel e^{−λ} is taken at the beginning of the step; lower-order methods stand in for order 2 and 3, order 2 for 1",
    draw=_draw_dpm,
)
def dpm_solver(broken: bool) -> list[Row]:
    """The formula, three orders, identity, exactness, invariance."""
    first = left_kernel if broken else SOLVERS["dpm_solver_1"]
    rows = [below("exact flow against the integral formula, by quadrature", variation(broken), 1e-11, "relative")]
    for k in (1, 2, 3):
        method = SOLVERS[f"dpm_solver_{3 - k if broken and k < 3 else k - 1 if broken else k}"]
        rows.append(order(f"DPM-Solver-{k} on unequal steps of λ", slope(method, refinements(jagged, VP(), STEPS, 0.9, 0.05)), float(k)))
    target, nodes = modes(), jagged(VP(), 10, 0.9, 0.05)
    x = states(target, nodes[0])
    ddim = sample(SOLVERS["ddim"], target.denoised, x, nodes, terminal="none")
    gap = float(np.abs(sample(first, target.denoised, x, nodes, terminal="none") - ddim).max())
    rows.append(below("DPM-Solver-1 against DDIM", gap, 1e-13))
    point, ends = GaussianMixture([1.0], [[0.7]], 0.0), [VP().node(0.9), VP().node(0.05)]
    worst = 0.0
    for name in ("dpm_solver_1", "dpm_solver_2", "dpm_solver_3"):
        method = left_kernel if broken else SOLVERS[name]
        away = sample(method, point.denoised, x, ends, terminal="none") - point.flow(x, *ends)
        worst = max(worst, float(np.abs(away).max()))
    rows.append(below("error on a point mass after one step", worst, 1e-11))
    methods = ("euler_t", "midpoint_t", "kutta3_t") if broken else ("dpm_solver_1", "dpm_solver_2", "dpm_solver_3")
    rows.append(below("difference across VP, cosine, EDM at equal λ", max(across_schedules(SOLVERS[m]) for m in methods), 1e-12))
    return rows


def coefficients(broken: bool) -> float:
    """Largest relative error of C_ij against adaptive quadrature of ∫ ℓ_j(t(ρ)) dρ over a step."""
    nodes, worst = [VP().node(t) for t in (0.5, 0.42, 0.36, 0.3, 0.26)], 0.0
    for r in (1, 2, 3):
        past, t = nodes[3 - r : 4][::-1], nodes[4]
        s, times = past[0], [n.t for n in past]
        found = [1.0] + [0.0] * r if broken else deis_weights(times, s, t)
        for j in range(r + 1):

            def integrand(rho: float, j: int = j, times: list[float] = times) -> float:
                u = VP().at_lam(-math.log(rho)).t
                return math.prod((u - times[i]) / (times[j] - times[i]) for i in range(len(times)) if i != j)

            exact = quad(integrand, s.rho, t.rho, epsabs=0.0, epsrel=1e-13)[0] / (t.rho - s.rho)
            worst = max(worst, abs(found[j] / exact - 1.0))
    return worst


def frozen(kind: str, s: Node, t: Node, target: GaussianMixture | None = None) -> float:
    """RMS error of one step of VP from s to t with the score or eps held fixed, the linear part and all coefficients exact.

    x_t = (α_t/α_s) x + α_t ∫ eps dρ; with the score fixed eps = −σ score and ∫ σ dρ = 1/α_t − 1/α_s on VP.

    Returns:
        RMS error of the step, 0 or more.
    """
    target = target or modes()
    x = states(target, s, 41)
    if kind == "score":
        move = -(1.0 / t.alpha - 1.0 / s.alpha) * target.score(x, s)
    else:
        move = (t.rho - s.rho) * target.eps(x, s)
    away = (t.alpha / s.alpha) * x + t.alpha * move - target.flow(x, s, t)
    return float(np.sqrt(np.mean(away**2)))


def _draw_deis() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        target, steps = modes(), (8, 16, 32, 64, 128, 256)
        grids = refinements(warped, VP(), steps, 0.9, 0.05)
        x = states(target, grids[0][0])
        exact = target.flow(x, grids[0][0], grids[0][-1])
        curves = (
            ("ddim", "r = 0 (DDIM)", INK),
            ("deis_tab1", "r = 1", BLUE),
            ("deis_tab2", "r = 2", VERMILLION),
            ("deis_tab3", "r = 3", GREEN),
        )
        for (name, label, colour), marker in zip(curves, "osD^", strict=True):
            errors = global_errors(SOLVERS[name], target.denoised, x, exact, grids)
            left.plot(steps, errors, color=colour, marker=marker, markeredgecolor="white", label=f"tAB-DEIS, {label}")
        left.set(title="Order r + 1", xlabel="steps", ylabel="RMS error", xscale="log", yscale="log")
        left.set_xticks(steps, [str(n) for n in steps])
        left.legend(loc="lower left")
        times = np.geomspace(1e-4, 0.5, 25)
        for law, line, what in ((modes(), "-", "smooth data"), (narrow(), (0, (3, 1.5)), "data of std 1e-3")):
            for kind, colour in (("score", ORANGE), ("eps", BLUE)):
                errors = [frozen(kind, VP().node(float(t)), VP().node(0.5 * float(t)), law) for t in times]
                name = "ε" if kind == "eps" else kind
                right.plot(times, errors, color=colour, linestyle=line, label=f"{name} held fixed, {what}")
        right.set(title="One step from t to t/2, VP", xlabel="t", ylabel="RMS error", xscale="log", yscale="log")
        right.legend(loc="lower right")

    return sheet(2, draw)


@claim(
    60,
    paper="DEIS",
    reference="arXiv:2204.13902",
    statement="tAB-DEIS with r + 1 evaluations of memory has order r + 1 and is DDIM for r = 0; its coefficients are integrals of Lagrange "
    "polynomials in t against dρ; in ρ the flow is y′ = ε and Runge-Kutta methods keep their orders; near t = 0 a step with ε held fixed "
    "beats one with the score held fixed.",
    when="the data is concentrated on less than the noise (σ well above its local std); of a smooth density the score has a limit at "
    "t = 0, "
    "ε = −σ score has none in t, and the score does better",
    control="memory is not used (all weight on the newest evaluation), rectangles replace the stages, ε and the score change places",
    draw=_draw_deis,
)
def deis(broken: bool) -> list[Row]:
    """Orders, coefficients, and ε against score."""
    target, nodes = modes(), warped(VP(), 10, 0.9, 0.05)
    x = states(target, nodes[0])
    first = left_kernel if broken else _deis_0
    gap = sample(first, target.denoised, x, nodes, terminal="none") - sample(SOLVERS["ddim"], target.denoised, x, nodes, terminal="none")
    rows = [below("tAB-DEIS with r = 0 against DDIM", float(np.abs(gap).max()), 1e-13)]
    rows.append(below("C_ij against adaptive quadrature, r = 1, 2, 3", coefficients(broken), 1e-11, "relative"))
    # a multistep method reaches its order late: its error constants are large
    for r, steps in ((1, (128, 256, 512)), (2, (128, 256, 512)), (3, (128, 256, 512))):
        grids = refinements(jagged, VP(), STEPS if broken else steps, 0.9, 0.05)
        rows.append(order(f"tAB-DEIS, r = {r}", slope(SOLVERS["ddim" if broken else f"deis_tab{r}"], grids), r + 1.0))
    grids = refinements(warped, VP(), STEPS, 0.9, 0.05)
    for name, k in (("heun", 2), ("kutta", 3), ("rk4", 4)):
        rows.append(order(f"ρRK-DEIS, {name}", slope(left_kernel if broken else SOLVERS[f"deis_rho_{name}"], grids), float(k)))
    a, b = ("eps", "score") if broken else ("score", "eps")
    s, t = VP().node(1e-3), VP().node(5e-4)
    what = "error of a step from t = 1e-3 to half, score over ε held fixed"
    rows.append(above(f"{what}, data of std 1e-3 about its modes", frozen(a, s, t, narrow()) / frozen(b, s, t, narrow()), 2.0, "times"))
    rows.append(above(f"{what}, data with a smooth density", frozen("score", s, t) / frozen("eps", s, t), 1.0, "times", printed=True))
    return rows


def narrow(std: float = 1e-3) -> GaussianMixture:
    """The three modes, each of this std: far narrower than the noise at small t."""
    return GaussianMixture(modes().weights, modes().means, std**2)


@solver(order=1, reference="arXiv:2204.13902, eqs. 14-15 with r = 0", register=False)
def _deis_0(denoise, x, s, t, carry, noise):  # type: ignore[no-untyped-def]
    """x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) C_0 ε_s."""
    (weight,) = deis_weights([s.t], s, t)
    eps = (1.0 / s.sigma) * (x - s.alpha * denoise(x, s))
    return (t.alpha / s.alpha) * x + t.alpha * (t.rho - s.rho) * weight * eps, carry
