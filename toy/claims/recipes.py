r"""Claims 82, 137, 153: forward processes that keep N(0, I), and noise that is not the same for every pixel."""

from __future__ import annotations

import math

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.output.moments import moments
from scorebed.solvers import GRIDS, SOLVERS, trace
from scorebed.solvers.methods.centred import ResidualShift
from scorebed.solvers.process.langevin import CLD
from scorebed.solvers.process.recipe import Recipe
from scorebed.toy.claims.registry import Row, above, below, claim, near

TWIST = np.array([[0.0, 0.7], [-0.7, 0.0]])


def metric(x: np.ndarray) -> np.ndarray:
    """R^{-1}(x), symmetric and positive definite, (…, 2, 2)."""
    u, v = x[..., 0], x[..., 1]
    rows = [[1.0 + 0.5 * np.sin(v) ** 2, 0.2 * u * v], [0.2 * u * v, 0.8 + 0.3 * u * u]]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def divergence(x: np.ndarray) -> np.ndarray:
    """Σ_j ∂_j R^{-1}_{ij}."""
    u, v = x[..., 0], x[..., 1]
    return np.stack([0.2 * u, 0.2 * v], -1)


@claim(
    137,
    paper="A flexible diffusion model",
    reference="arXiv:2206.10365",
    statement="dX = (−(R^{-1}/2 + ω) X + ½ div R^{-1}) dt + R^{-1/2} dW leaves N(0, I) where it is, for every positive definite "
    "R^{-1}(x) and every antisymmetric ω; VP and critically damped Langevin dynamics are instances.",
    control="div R^{-1} is left out",
)
def flexible(broken: bool) -> list[Row]:
    """The Fokker-Planck residual over p at 200 points by central differences; the drift of E|X|²; VP and CLD as recipes."""
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=(200, 2)), 1e-4
    kept = 0.0 if broken else 1.0

    def drift(y: np.ndarray) -> np.ndarray:
        pulled = np.einsum("...ij,...j->...i", 0.5 * metric(y) + TWIST, y)
        return np.asarray(0.5 * kept * divergence(y) - pulled)

    def flux(y: np.ndarray) -> np.ndarray:
        """(f − ½ div R^{-1} + ½ R^{-1} x) p: the current."""
        p = np.exp(-0.5 * np.sum(y * y, -1, keepdims=True))
        inside = drift(y) - 0.5 * divergence(y) + 0.5 * np.einsum("...ij,...j->...i", metric(y), y)
        return np.asarray(inside * p)

    slope = sum((flux(x + h * e)[:, i] - flux(x - h * e)[:, i]) / (2.0 * h) for i, e in enumerate(np.eye(2)))
    residual = np.abs(slope) / np.exp(-0.5 * np.sum(x * x, -1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1)
    mass = np.multiply.outer(weights, weights) / (2.0 * math.pi)
    growth = float(np.sum(mass * (2.0 * np.sum(grid * drift(grid), -1) + np.trace(metric(grid), axis1=-2, axis2=-1))))
    vp = Recipe()
    cld = CLD()
    own = Recipe(((0.0, 1.0 / cld.mass), (-1.0, -2.0 / math.sqrt(cld.mass))), ((0.0, 0.0), (0.0, 4.0 * math.sqrt(cld.mass))), gamma=(0.1,))
    return [
        below("largest residual of Fokker-Planck over p", float(residual.max()), 1e-6),
        below("drift of E|X|² under N(0, I)", abs(growth), 1e-8),
        below("VP as a recipe: its stationary variance, off 1", abs(float(vp.stationary[0, 0]) - 1.0), 1e-12, kept=True),
        below(
            "CLD as one: x of variance 1, v of variance M, uncorrelated", _apart(own.stationary, np.diag([1.0, cld.mass])), 1e-10, kept=True
        ),
    ]


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())


@claim(
    153,
    paper="Where to diffuse, how to diffuse, and how to get back (MDM)",
    reference="arXiv:2302.07261",
    statement="A linear process of drift −(Q + D) with Q skew and diffusion 2 D forgets to N(0, I) whatever Q and D are; the block "
    "exponential of its matrices has mean and covariance of every transition.",
    control="Q is symmetric",
)
def multivariate(broken: bool) -> list[Row]:
    """Three components with random Q and D of rank 2: Lyapunov's residual, and transitions against an integration of the moments."""
    from scipy.integrate import solve_ivp
    from scipy.linalg import expm

    rng = np.random.default_rng(1)
    raw, tall = rng.standard_normal((3, 3)), rng.standard_normal((3, 2))
    q, d = (raw + raw.T) if broken else (raw - raw.T), tall @ tall.T
    f, g = -(q + d), 2.0 * d
    lyapunov = float(np.abs(f + f.T + g).max())
    time = 0.6
    block = expm(time * np.block([[-f, g], [np.zeros((3, 3)), f.T]]))
    move, spread = block[3:, 3:].T, block[3:, 3:].T @ block[:3, 3:]

    def moments_of(_: float, y: np.ndarray) -> np.ndarray:
        a, c = y[:9].reshape(3, 3), y[9:].reshape(3, 3)
        return np.concatenate([(f @ a).ravel(), (f @ c + c @ f.T + g).ravel()])

    found = solve_ivp(moments_of, (0.0, time), np.concatenate([np.eye(3).ravel(), np.zeros(9)]), rtol=1e-11, atol=1e-12).y[:, -1]
    off = float(np.abs(np.concatenate([move.ravel(), spread.ravel()]) - found).max())
    process = Recipe(tuple(map(tuple, f.tolist())), tuple(map(tuple, (0.5 * (g + g.T)).tolist())), gamma=(0.0, 0.0))
    a, c = (np.array(m) for m in process.forward(process.node(time)))
    return [
        below("residual of F + Fᵀ + G Gᵀ = 0, N(0, I) stationary", lyapunov, 1e-12),
        below("block exponential against integrated moments", off, 1e-7, kept=True),
        below("the process's own transition against it", max(_apart(a, move), _apart(c, spread)), 1e-9, kept=True),
    ]


@claim(
    82,
    paper="UPSR (uncertainty-guided perturbation)",
    reference="arXiv:2503.18512",
    statement="A residual-shift chain may have a κ for every pixel with the same closed marginals; noise in proportion to the "
    "residual's standard deviation leaves less reverse KL at few steps than the same noise for all.",
    control="κ is in inverse proportion",
)
def anisotropic(broken: bool) -> list[Row]:
    """Residuals of standard deviations .05 to 2 on eight pixels, DDPM at 4 and 8 steps, Σ κ² the same."""
    widths = np.geomspace(0.05, 2.0, 8)

    def kl(kappas: np.ndarray, steps: int) -> float:
        """Σ KL(output ‖ residual's law), from N(0, κ²) at the last time."""
        total = 0.0
        for kappa, width in zip(kappas, widths, strict=True):
            process = ResidualShift(kappa=float(kappa))
            law = GaussianMixture([1.0], [[0.0]], float(width) ** 2)
            nodes = GRIDS["uniform"](process, steps)
            out = moments(trace(SOLVERS["ddpm"], nodes, terminal="denoise"), law, np.zeros(1), nodes[0].sigma ** 2 * np.eye(1))
            ratio = float(out[1][0, 0]) / float(width) ** 2
            total += 0.5 * (ratio - 1.0 - math.log(ratio))
        return total

    shape = 1.0 / widths if broken else widths
    scale = 2.0 * math.sqrt(len(widths))
    ours = scale * shape / float(np.linalg.norm(shape))
    same = np.full(len(widths), 2.0)
    return [
        *(below(f"reverse KL over that of equal noise, {n} steps", kl(ours, n) / kl(same, n), 0.9, "times") for n in (4, 8)),
        near("Σ κ² over that of equal noise", float(ours @ ours / (same @ same)), 1.0, 1e-12, "times", kept=True),
        above("reverse KL of equal noise at 4 steps", kl(same, 4), 0.01, kept=True),
    ]
