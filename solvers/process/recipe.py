r"""The complete recipe on linear processes: every diffusion dz = F z dς + G dW_ς with constant matrices (Ma, Chen & Fox, arXiv:1506.04696).

F = −(D + Q) S^{-1},   G Gᵀ = 2 D,   D positive semi-definite, Q antisymmetric:  N(0, S) is stationary.

VP        state (x)         D = 1
CLD       state (x, v)      D = diag(0, Γ M),       Q couples x and v                                arXiv:2112.07068
PSLD      state (x, v)      D = diag(Γ, M ν)/2      the same with noise on both                       arXiv:2303.01748
HOLD      state (x, v, a)   noise on the acceleration alone                                           arXiv:2404.12814
MDM       any Q, D                                                                                    arXiv:2302.07261
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from scorebed.solvers.process.base import Instant, ordered, positive
from scorebed.solvers.process.general import GeneralProcess, floats
from scorebed.solvers.process.linear import Matrix

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_NAMES = ("x", "v", "a", "j")


@dataclass(frozen=True)
class Recipe(GeneralProcess):
    """dz = F z dς + G dW, ς = ``rate`` t, from z_0 = (x0, v0, …): ``force`` F and ``diffusion`` G Gᵀ by rows.

    ``gamma`` has the variances of v0, a0, … of the data, and the clock of points is −½ log(e^{2ς} − 1), as CLD's.
    """

    force: Matrix = ((-1.0,),)
    diffusion: Matrix = ((2.0,),)
    rate: float = 1.0
    gamma: tuple[float, ...] = ()
    t_min: float = 1e-3
    t_max: float = 3.0

    kind = "phase"

    def __post_init__(self) -> None:
        f, d = (np.array(getattr(self, name), dtype=float) for name in ("force", "diffusion"))
        n = len(f)
        if f.shape != (n, n) or d.shape != (n, n) or not 1 <= n <= len(_NAMES) or not (np.isfinite(f).all() and np.isfinite(d).all()):
            raise ValueError(
                f"Recipe: force {f.shape} and diffusion {d.shape} must be finite square matrices of one size, 1 to {len(_NAMES)}"
            )
        if not np.array_equal(d, d.T) or np.linalg.eigvalsh(d).min() < -1e-12 * max(1.0, np.abs(d).max()):
            raise ValueError("Recipe: diffusion must be symmetric and positive semi-definite, for it is G Gᵀ")
        gamma = tuple(map(float, self.gamma))
        if len(gamma) != n - 1 or not all(math.isfinite(v) and v >= 0.0 for v in gamma):
            raise ValueError(f"Recipe: gamma = {gamma} must give a variance for each of {', '.join(_NAMES[1:n]) or 'nothing'}")
        positive(self, "rate", "t_min", "t_max")
        ordered(self)
        object.__setattr__(self, "force", floats(f))
        object.__setattr__(self, "diffusion", floats(d))
        object.__setattr__(self, "gamma", gamma)

    @property
    def state(self) -> tuple[str, ...]:  # type: ignore[override]
        return _NAMES[: len(self.force)]

    @property
    def gives(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"{name}0" for name in self.state)

    @property
    def draws(self) -> int:  # type: ignore[override]
        return len(self.force)

    def node(self, t: float) -> Instant:
        t = float(t)
        if not 0.0 < t <= self.t_max * (1.0 + 1e-12):
            raise ValueError(f"t = {t!r} is outside {type(self).__name__}: give 0 < t <= {self.t_max:g}")
        return Instant(t, -0.5 * math.log(math.expm1(2.0 * self.rate * t)), self)

    def at(self, clock: float) -> Instant:
        t = 0.5 * math.log1p(math.exp(-2.0 * float(clock))) / self.rate
        return Instant(self.node(t).t, float(clock), self)

    def forward(self, node: Instant) -> tuple[Matrix, Matrix]:
        return moved(self.force, self.diffusion, self.rate * node.t)

    def motion(self, node: Instant) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        force, noise = np.array(self.force), np.array(self.diffusion)
        return self.rate * force @ np.array(self.forward(node)[0]), self.rate * force, self.rate * noise

    @property
    def stationary(self) -> np.ndarray:
        """S with F S + S Fᵀ + G Gᵀ = 0, the covariance that all forgets to; ``ValueError`` where there is none."""
        return stationary(self.force, self.diffusion)


def stationary(force: Matrix, diffusion: Matrix) -> np.ndarray:
    """S with F S + S Fᵀ + G Gᵀ = 0.

    Returns:
        S, (n, n) float64.

    Raises:
        ValueError: F has an eigenvalue whose real part is not negative.
    """
    f, n = np.array(force), len(force)
    if np.linalg.eigvals(f).real.max() >= 0.0:
        raise ValueError("the process forgets nothing: F has an eigenvalue whose real part is not negative")
    system = np.kron(f, np.eye(n)) + np.kron(np.eye(n), f)
    return np.linalg.solve(system, -np.array(diffusion).ravel()).reshape(n, n)


@lru_cache(maxsize=65536)
def moved(force: Matrix, noise: Matrix, clock: float) -> tuple[Matrix, Matrix]:
    """Φ(ς) and Σ(ς) = ∫_0^ς Φ G Gᵀ Φᵀ; the quadrature is a sum of squares, and doubling keeps its digits: Σ(2ς) = Φ Σ Φᵀ + Σ."""
    f, d = np.array(force), np.array(noise)
    halvings = max(0, math.ceil(math.log2(max(1e-300, clock * max(1.0, float(np.abs(f).sum(1).max()))))))
    short = clock / 2.0**halvings
    moves = np.stack([exponential(f, 0.5 * short * (1.0 + p)) for p in _POINTS])
    move, spread = exponential(f, short), 0.5 * short * np.einsum("p,pij,jk,plk->il", _WEIGHTS, moves, d, moves)
    for _ in range(halvings):
        move, spread = move @ move, move @ spread @ move.T + spread
    return floats(move), floats(0.5 * (spread + spread.T))


def exponential(f: np.ndarray, clock: float) -> np.ndarray:
    """e^{F ς} by Taylor's series, for |F ς| up to about 1."""
    out, term = np.eye(len(f)), np.eye(len(f))
    for k in range(1, 24):
        term = term @ f * (clock / k)
        out = out + term
    return out


def from_recipe(dissipation: Matrix, turning: Matrix, covariance: Matrix | None = None, **options: object) -> Recipe:
    """The process of D, Q and S: F = −(D + Q) S^{-1}, G Gᵀ = 2 D.

    Returns:
        the Recipe of force F and diffusion G Gᵀ.

    Raises:
        ValueError: Q that is not antisymmetric, or D that is no covariance.
    """
    d, q = np.array(dissipation, dtype=float), np.array(turning, dtype=float)
    if d.shape != q.shape or not np.array_equal(q, -q.T):
        raise ValueError(f"turning = {turning!r} must be antisymmetric and of the shape of dissipation, {d.shape}")
    s = np.eye(len(d)) if covariance is None else np.array(covariance, dtype=float)
    return Recipe(floats(-(d + q) @ np.linalg.inv(s)), floats(2.0 * d), **options)  # type: ignore[arg-type]


def psld(friction: float = 0.01, nu: float = 4.01, beta: float = 8.0, *, gamma: float = 0.04, mass: float | None = None) -> Recipe:
    r"""Phase-space Langevin diffusion, F = ½β [[−Γ, 1/M], [−1, −ν]], G Gᵀ = β diag(Γ, Mν) (arXiv:2303.01748, eq. 8).

    ``friction`` Γ; ``mass`` M is critical, 1/M = (Γ − ν)²/4, by default. Γ = 0 is CLD. Velocities of the data have variance gamma M.

    Returns:
        the Recipe of PSLD, with t_max = 1.
    """
    m = 4.0 / (friction - nu) ** 2 if mass is None else mass
    force = ((-0.5 * beta * friction, 0.5 * beta / m), (-0.5 * beta, -0.5 * beta * nu))
    return Recipe(force, ((beta * friction, 0.0), (0.0, beta * m * nu)), gamma=(gamma * m,), t_max=1.0)


def third_order(rate: float = 3.0, coupling: float = math.sqrt(2.0), friction: float = 3.0) -> Recipe:
    r"""Third-order Langevin dynamics: dx = v dς, dv = (−x + c a) dς, da = (−c v − ξ a) dς + sqrt(2ξ) dW; N(0, 1) is stationary."""
    force = ((0.0, 1.0, 0.0), (-1.0, 0.0, coupling), (0.0, -coupling, -friction))
    noise = ((0.0,) * 3, (0.0,) * 3, (0.0, 0.0, 2.0 * friction))
    return Recipe(force, noise, rate=rate, gamma=(0.1, 0.1), t_max=1.0)
