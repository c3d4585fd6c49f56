r"""Claim 286: rectified flow (arXiv:2209.03003).

X_t = (1 - t) X_0 + t X_1, v(x, t) = E[X_1 - X_0 | X_t = x], dZ = v dt from Z_0 = X_0 gives the rectified pair (Z_0, Z_1). For independent
N(0, A) and N(0, B), v = (t B - (1 - t) A) C_t^{-1} x with C_t = (1 - t)² A + t² B, so that Z_1 = M Z_0 by a matrix equation. In this file
t = 1 is data.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.integrate import solve_ivp
from scipy.linalg import sqrtm

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, Node, RectifiedFlow, grid, sample
from scorebed.toy.claims.common import sheet, states
from scorebed.toy.claims.registry import Row, above, below, claim
from scorebed.toy.figures.style import BLUE, GREEN, INK, MUTED, ORANGE, VERMILLION
from scorebed.toy.properties.cases import modes

A, B = np.array([[1.0, 0.0], [0.0, 0.05]]), np.array([[0.5, 0.45], [0.45, 0.5]])


def at(t: float) -> Node:
    """The node of the straight path at t, t = 1 the data."""
    return Node(1.0 - t, t, 1.0 - t, math.inf if t == 1.0 else -math.inf if t == 0.0 else math.log(t / (1.0 - t)))


def velocity(x: np.ndarray, t: float) -> np.ndarray:
    """E[X_1 − X_0 | x] from N(0, 1) to three modes."""
    node = at(t)
    return np.asarray(modes().denoised(x, node) - modes().eps(x, node))


def carried(x: np.ndarray, scale: float = 1.0, end: float = 1.0 - 1e-9) -> np.ndarray:
    """Z_1 from Z_0 = x, by integration to 1e-11."""
    done = solve_ivp(
        lambda t, z: scale * velocity(z.reshape(x.shape), t).ravel(), (0.0, end), x.ravel(), method="DOP853", rtol=1e-11, atol=1e-11
    )
    return np.asarray(done.y[:, -1]).reshape(x.shape)


@cache
def gaussian_map(commuting: bool, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """M, A and B."""
    a = np.eye(2) if commuting else A

    def slope(t: float, m: np.ndarray) -> np.ndarray:
        c = (1.0 - t) ** 2 * a + t * t * B
        v = (t * B - (1.0 - t) * a) @ np.linalg.inv(c)
        return np.asarray(scale * v @ m.reshape(2, 2)).ravel()

    done = solve_ivp(slope, (0.0, 1.0), np.eye(2).ravel(), method="DOP853", rtol=1e-12, atol=1e-13)
    return done.y[:, -1].reshape(2, 2), a, B


def optimal_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A^{-1/2} (A^{1/2} B A^{1/2})^{1/2} A^{-1/2}."""
    root = np.real(sqrtm(a))
    inner = np.real(sqrtm(root @ b @ root))
    inverse = np.linalg.inv(root)
    return np.asarray(inverse @ inner @ inverse)


def cost(m: np.ndarray, a: np.ndarray) -> float:
    """E|M Z − Z|², Z of covariance A."""
    d = m - np.eye(2)
    return float(np.trace(d @ a @ d.T))


def cost_ratio(p: float, broken: bool = False) -> float:
    """E|Z_1 − Z_0|^p over E|X_1 − X_0|^p, from N(0, 1) to three modes, by quantiles; broken, with Z_1 in reverse order."""
    u = (np.arange(4000) + 0.5) / 4000
    x, z = (np.asarray(law.quantile(u)) for law in (GaussianMixture([1.0], [[0.0]], 1.0), modes()))
    pairs = np.abs(z[::10, None] - x[None, ::10])
    return float((np.abs((z[::-1] if broken else z) - x) ** p).mean() / (pairs**p).mean())


def straightness(reflowed: bool) -> tuple[float, float]:
    """S = ∫ E|Z_1 − Z_0 − v(Z_t, t)|² dt and ∫ E Var(X_1 − X_0 | X_t) dt, of the independent pair or of its rectified pair (Z_0, M Z_0).

    With Σ_ij = Cov(X_i, X_j) and X_1 − X_0 = d, v(x, t) = Cov(d, X_t) Cov(X_t)^{-1} x; the path by the implicit midpoint rule.

    Returns:
        (S, integrated conditional variance), both 0 or more.
    """
    m, a, b = gaussian_map(False)
    cross = m @ a if reflowed else np.zeros((2, 2))  # Cov(X_1, X_0)
    moved = a + b - cross - cross.T
    path, gaps, variances, steps = np.eye(2), [], 0.0, 200
    fields = []
    for i in range(steps):
        t = (i + 0.5) / steps
        here = (1.0 - t) ** 2 * a + t * t * b + t * (1.0 - t) * (cross + cross.T)
        with_d = (1.0 - t) * (cross - a) + t * (b - cross.T)
        v = with_d @ np.linalg.inv(here)
        middle = np.linalg.solve(np.eye(2) - v / (2.0 * steps), path)
        path = middle + v @ middle / (2.0 * steps)
        fields.append(v @ middle)
        variances += float(np.trace(moved - v @ with_d.T)) / steps
    for field in fields:
        gap = path - np.eye(2) - field
        gaps.append(float(np.trace(gap @ a @ gap.T)))
    return float(np.mean(gaps)), variances


def second_euler(broken: bool = False) -> float:
    """Largest error of one Euler step from t = ½ of the second rectification on the line, against the monotone map.

    Of the pair (Z_0, T(Z_0)) the field at x = (Z_0 + T(Z_0))/2 is T(Z_0) − Z_0 of the one Z_0 there, found by bisection on the increasing
    map.

    Returns:
        the largest absolute error, 0 or more.
    """
    x = states(GaussianMixture([1.0], [[0.0]], 1.0), at(1.0), 21)[:, 0]
    up = np.asarray(modes().quantile(GaussianMixture([1.0], [[0.0]], 1.0).cdf(x)))
    half = 0.5 * (x + up)
    if broken:
        return float(np.abs(half + 0.5 * velocity(half[:, None], 0.5)[:, 0] - up).max())
    fine = np.linspace(-5.0, 5.0, 200001)
    middle = 0.5 * (fine + np.asarray(modes().quantile(GaussianMixture([1.0], [[0.0]], 1.0).cdf(fine))))
    back = np.interp(half, middle, fine)
    field = 2.0 * (half - back)
    return float(np.abs(half + 0.5 * field - up).max())


def _draw() -> Figure:
    def draw(left: Axes, right: Axes) -> None:
        x = states(GaussianMixture([1.0], [[0.0]], 1.0), at(1.0), 25)
        times = np.linspace(0.0, 1.0, 41)
        path, z = [x[:, 0]], x
        for s, t in itertools.pairwise(times):
            done = solve_ivp(lambda u, y: velocity(y[:, None], u).ravel(), (s, min(t, 1.0 - 1e-6)), z[:, 0], rtol=1e-6, atol=1e-8)
            z = done.y[:, -1:]
            path.append(z[:, 0])
        curves = np.array(path)
        left.plot(times, curves, color=BLUE, linewidth=0.9)
        left.plot(times, np.outer(1.0 - times, curves[0]) + np.outer(times, curves[-1]), color=ORANGE, linewidth=0.7)
        left.plot([], [], color=BLUE, label="first rectification")
        left.plot([], [], color=ORANGE, label="second: straight")
        left.set(title="From N(0, 1) to three modes", xlabel="t", ylabel="x")
        left.set_ylim(top=3.1)
        left.legend(loc="upper left")
        m, a, _ = gaussian_map(False)
        circle = np.array([np.cos(np.linspace(0, 2 * math.pi, 200)), np.sin(np.linspace(0, 2 * math.pi, 200))])
        root = np.real(sqrtm(a))
        best = optimal_map(A, B)
        right.plot(*(root @ circle), color=MUTED, label="N(0, A)")
        right.plot(*(m @ root @ circle), color=INK, label="N(0, B)")
        for k, colour in enumerate((VERMILLION, GREEN, BLUE, ORANGE)):
            z0 = root @ circle[:, 12 + 25 * k]
            for which, line in ((m, "-"), (best, (0, (2, 1.5)))):
                end = which @ z0
                right.plot([z0[0], end[0]], [z0[1], end[1]], color=colour, linestyle=line, linewidth=1.2)
            right.plot(*z0, "o", color=colour, markersize=4)
        right.plot([], [], color=MUTED, linestyle="-", linewidth=1.2, label="rectified pairs")
        right.plot([], [], color=MUTED, linestyle=(0, (2, 1.5)), linewidth=1.2, label="optimal pairs")
        right.set(title="Gaussians that do not commute", aspect="equal")
        right.legend(loc="upper left", ncols=2)

    return sheet(2, draw, 4.4)


@claim(
    286,
    paper="Rectified flow",
    reference="arXiv:2209.03003",
    statement="Rectification keeps every marginal and raises no convex cost; it is straight exactly if Var(X_1 − X_0 | X_t) = 0, "
    "which the second "
    "is; Σ_k S(Z^k) ≤ E|X_1 − X_0|²; on the line the first gives the monotone map; from N(0, I) to N(0, S) it gives S^{1/2}, between "
    "Gaussians "
    "that do not commute a map that is not optimal; Euler on the straight path is DDIM.",
    control="the field is 10 % too small, pairs are matched in reverse, the first field stands in for the second, commuting for "
    "non-commuting",
    draw=_draw,
)
def rectified(broken: bool) -> list[Row]:
    """The line by quantiles, Gaussians by a matrix equation."""
    scale = 0.9 if broken else 1.0
    normal = GaussianMixture([1.0], [[0.0]], 1.0)
    u = (np.arange(21) + 0.5) / 21
    x = np.asarray(normal.quantile(u))[:, None]
    half = carried(x, scale, 0.5)
    middle = modes().marginal(at(0.5))
    rows = [below("law at t = ½: largest error of the distribution function", float(np.abs(middle.cdf(half[:, 0]) - u).max()), 1e-9)]
    apart = carried(x, scale)[:, 0] - np.asarray(modes().quantile(u))
    rows.append(below("Z_1 against the monotone map on the line", float(np.abs(apart).max()), 1e-7))
    for p in (1, 2, 4):
        rows.append(below(f"E|Z_1 − Z_0|^{p} over E|X_1 − X_0|^{p}", cost_ratio(float(p), broken), 1.0))
    rows.append(below("second rectification on the line: error of one Euler step from t = ½", second_euler(broken), 1e-8))
    m, a, b = gaussian_map(True, scale)
    rows.append(below("N(0, I) to N(0, S): M against S^{1/2}", float(np.abs(m - np.real(sqrtm(b))).max()), 1e-9))
    m, a, b = gaussian_map(broken, scale)
    rows.append(below("N(0, A) to N(0, B): M A Mᵀ against B", float(np.abs(m @ a @ m.T - b).max()), 1e-9))
    rows.append(above("the same: asymmetry of M, which the optimal map has not", float(np.abs(m - m.T).max() / np.abs(m).max()), 0.05))
    rows.append(above("the same: E|Z_1 − Z_0|² over the least, W2²", cost(m, a) / cost(optimal_map(a, b), a), 1.01))
    rows.append(below("the same: E|Z_1 − Z_0|² over that of independent pairs", cost(m, a) / float(np.trace(a + b)), 1.0, kept=True))
    (first, _), (second, spread) = straightness(False), straightness(not broken)
    rows.append(below("S of the second rectification over S of the first", second / first, 1e-12))
    rows.append(below("E Var(X_1 − X_0 | X_t) of the rectified pair, over E|X_1 − X_0|²", spread / float(np.trace(A + B)), 1e-12))
    total = (first + second) / float(np.trace(A + B))
    rows.append(below("S(Z¹) + S(Z²) over E|X_1 − X_0|²", total, 1.0, kept=True))
    target, nodes = modes(), grid.uniform(RectifiedFlow(), 10, 0.9, 0.1)
    start = states(target, nodes[0])
    euler = sample(SOLVERS["heun_t" if broken else "euler_t"], target.denoised, start, nodes, terminal="none")
    away = np.abs(euler - sample(SOLVERS["ddim"], target.denoised, start, nodes, terminal="none"))
    rows.append(below("Euler on the straight path against DDIM", float(away.max()), 1e-13))
    return rows
