r"""Guides that replace one known term of ∇ log p(y | x_t).

With x0 | x_t approximated by N(D, C) the likelihood is N(y; A D, A C A^T + r² I), and with C held fixed its score is

    g = J^T A^T (A C A^T + r² I)^{-1} (y − A D),     J = ∂D/∂x.

C = 0 is DPS, C = c_t² I is ΠGDM, C = (sigma²/alpha) J, which is the covariance of x0 | x_t, is TMPD, solved by a few steps of conjugate
gradients MMPS. On one Gaussian the covariance is constant and TMPD is exact; ΠGDM is for an isotropic one with its own variance. STSL keeps
the trace of the covariance, through which the likelihood of E|y − A x0|² depends on x; ``steered`` (FlowChef, CDDB) drops J.
"""

from __future__ import annotations

from typing import Any, Literal

from scorebed.solvers.inverse import Conditioned, Draws, guide
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.schedule import Node


@guide(reference="Bayes' rule with the law itself: no approximation but the steps", exact="every mixture", solver="ddpm")
def exact(c: Conditioned, noise: Draws) -> Denoiser:
    r"""D̃ = E[x0 | x_t, y], of a model that knows it: ``model.given(operator, y)``."""
    given = getattr(c.model, "given", None)
    if given is None:
        raise TypeError("exact needs a model that can be conditioned exactly: analytic laws can, a network cannot")
    return given(c.operator, c.y)


@guide(reference="arXiv:2209.14687, eq. 16, with the likelihood's own weight 1/2r²", linear=False)
def dps(c: Conditioned, noise: Draws, *, weight: float = 1.0) -> Denoiser:
    r"""g = (weight/r²) J^T A^T (y − A D): the covariance of x0 given x_t is left out."""

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        pulled = c.vjp(x, node, c.operator.vjp(d, c.residual(d)))
        return d + (weight * node.sigma**2 / (node.alpha * c.operator.variance)) * pulled

    return guided


@guide(reference="Song, Vahdat, Mardani, Kautz (ICLR 2023), eqs. 6-8", exact="one isotropic Gaussian of standard deviation std")
def pigdm(c: Conditioned, noise: Draws, *, std: float = 1.0) -> Denoiser:
    r"""g = J^T A^T (r_t² A A^T + r² I)^{-1} (y − A D),  r_t² = ρ² c²/(ρ² + c²) with c = std of the data, ρ = σ/α."""

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        solved = c.operator.solve(c.residual(d), spread(node, std))
        return d + (node.sigma**2 / node.alpha) * c.vjp(x, node, c.operator.adjoint(solved))

    return guided


def spread(node: Node, std: float) -> float:
    """r_t² = σ² c²/(α² c² + σ²): the variance of x0 given x_t for data of variance c²."""
    return node.sigma**2 * std**2 / (node.alpha**2 * std**2 + node.sigma**2)


@guide(reference="arXiv:2310.06721, eqs. 8-10 and Alg. 1", exact="one Gaussian")
def tmpd(c: Conditioned, noise: Draws, *, covariance: Literal["full", "rowsum"] = "full") -> Denoiser:
    r"""g = J^T A^T (A C A^T + r² I)^{-1} (y − A D),  C = (σ²/α) J.  "rowsum": A C A^T as diag(A C A^T 1), the paper's shortcut."""

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        e, scale = c.residual(d), node.sigma**2 / node.alpha
        if covariance == "rowsum":
            sums = c.operator(c.vjp(x, node, 0.0 * x + c.operator.adjoint(0.0 * e + 1.0)))
            solved = e / (scale * sums + c.operator.variance)
        else:
            columns = [c.operator(c.vjp(x, node, 0.0 * x + row)) for row in c.operator.matrix]
            solved = _solve(columns, scale, c.operator.variance, e)
        return d + scale * c.vjp(x, node, c.operator.adjoint(solved))

    return guided


def _solve(columns: list[Array], scale: float, variance: float, e: Array) -> Array:
    """(scale [columns] + variance I)^{-1} e for columns (n, m) each, by elimination without pivots (the matrix is positive definite)."""
    m = len(columns)
    rows: list[list[Any]] = [[scale * columns[j][:, i] + (variance if i == j else 0.0) for j in range(m)] for i in range(m)]
    right = [e[..., i] + 0.0 * columns[0][:, 0] for i in range(m)]
    for k in range(m):
        for i in range(k + 1, m):
            factor = rows[i][k] / rows[k][k]
            right[i] = right[i] - factor * right[k]
            for j in range(k + 1, m):
                rows[i][j] = rows[i][j] - factor * rows[k][j]
    for k in reversed(range(m)):
        for j in range(k + 1, m):
            right[k] = right[k] - rows[k][j] * right[j]
        right[k] = right[k] / rows[k][k]
    out = 0.0 * columns[0]
    for i in range(m):
        out[..., i] = right[i]
    return out


@guide(reference="arXiv:2405.13712, Alg. 2", exact="one Gaussian, once conjugate gradients have converged")
def mmps(c: Conditioned, noise: Draws, *, iterations: int = 3) -> Denoiser:
    r"""As TMPD, (A C A^T + r² I) u = y − A D solved by ``iterations`` steps of conjugate gradients from u = 0."""

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        scale = node.sigma**2 / node.alpha

        def times(u: Array) -> Array:
            return scale * c.operator(c.vjp(x, node, c.operator.adjoint(u))) + c.operator.variance * u

        solved = conjugate_gradients(times, c.residual(d), iterations)
        return d + scale * c.vjp(x, node, c.operator.adjoint(solved))

    return guided


def conjugate_gradients(times: Any, e: Array, iterations: int) -> Array:
    """The iterate after so many steps for ``times``(u) = e, each row of e by itself; a row that is solved stays."""
    u, r = 0.0 * e, e
    p, size = r, (r * r).sum(-1)[..., None]
    for _ in range(iterations):
        q = times(p)
        curvature = (p * q).sum(-1)[..., None]
        step = size / (curvature + (curvature == 0.0) * 1.0)
        u, r = u + step * p, r - step * q
        before, size = size, (r * r).sum(-1)[..., None]
        p = r + size / (before + (before == 0.0) * 1.0) * p
    return u


@guide(reference="arXiv:2312.00852, Theorem 3.1 and Alg. 1")
def stsl(c: Conditioned, noise: Draws, *, eta: float = 1.0, probe: float = 1e-3, probes: int = 1) -> Denoiser:
    r"""log p(y | x_t) ≥ −(|y − A D|² + tr A C A^T)/2r²,  C = ρ² (I + σ² ∇² log p), with A^T A taken as its mean eigenvalue a:

    g = g_DPS − η (a ρ² σ²/2r²) ∇ tr ∇² log p,   ∇ tr ∇² log p ≈ (H(x + c e) − H(x)) e/c,   H v = (α J v − v)/σ².

    Hutchinson's probe e is drawn anew at every evaluation. On one Gaussian H is constant, and STSL is DPS.

    Returns:
        the guided Denoiser D + (σ²/α) g.
    """
    mean_square = float((c.operator.matrix**2).sum()) / c.operator.d

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        pulled = (1.0 / c.operator.variance) * c.vjp(x, node, c.operator.adjoint(c.residual(d)))
        turn = 0.0 * x
        for _ in range(probes):
            e = noise.next()
            turn = turn + (node.alpha / (node.sigma**2 * probe * probes)) * (c.vjp(x + probe * e, node, e) - c.vjp(x, node, e))
        drift = (eta * mean_square * node.rho**2 * node.sigma**2 / (2.0 * c.operator.variance)) * turn
        return d + (node.sigma**2 / node.alpha) * (pulled - drift)

    return guided


@guide(reference="arXiv:2412.00100, Alg. 1; the correction of arXiv:2305.19809 (CDDB), Alg. 2", linear=False, solver="ddim")
def steered(c: Conditioned, noise: Draws, *, step: float = 0.5) -> Denoiser:
    r"""D̃ = D + step A^T (y − A D)/‖A‖²: the gradient of |y − A x0|² at D, not carried back to x_t (J dropped)."""
    size = float(c.operator.s[0]) ** 2 if hasattr(c.operator, "s") else 1.0

    def guided(x: Array, node: Node) -> Array:
        d = c.denoised(x, node)
        return d + (step / size) * c.operator.vjp(d, c.residual(d))

    return guided
