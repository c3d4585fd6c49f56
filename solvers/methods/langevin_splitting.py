r"""Splittings in phase space: the reverse SDE and the flow of a Langevin process by parts (Dockhorn, Vahdat & Kreis, arXiv:2112.07068;
Pandey, Rudolph & Mandt, arXiv:2310.07894).

Backwards in time, with S the stationary covariance and s the score,

    dz = −F z + G Gᵀ s  =  (−F − G Gᵀ S^{-1}) z + G dW      |   G Gᵀ (s + S^{-1} z)              SSCS: exact   |   by the model
                        =  −½ G Gᵀ S^{-1} z + G dW (O)      |   the rest of x (A)   |   the rest of v (B)

O is solved exactly, A and B by Euler with the other component at rest. A step forgets the noise by what O damps, so that however fine the
rest, what B leaves out of its own v is of the order of the friction: all of these but ``sscs_2`` have order 1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.solvers.base import solver
from scorebed.solvers.methods.runge_kutta import at_time
from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.process.general import floats, root
from scorebed.solvers.process.linear import Matrix, Transfer, total
from scorebed.solvers.process.recipe import exponential, moved, stationary
from scorebed.solvers.ranges import within
from scorebed.solvers.state import State, bare, parts
from scorebed.solvers.weights.tableau import plus

_PHASE = ("phase",)
SPLIT = "splits the motion, which moves a point mass too"
"""Why a method does not follow a constant model exactly, nor asks about states that have the law of their node."""


@lru_cache(maxsize=256)
def _parts(process: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F, G Gᵀ and ½ G Gᵀ S^{-1}, the same at all times."""
    (_, force, noise), (_, other, _) = (process.motion(process.node(t)) for t in (process.t_max, 0.5 * process.t_max))
    if not np.allclose(force, other, rtol=1e-9):
        raise ValueError(f"{type(process).__name__} moves with coefficients of time: splittings are for CLD, PSLD and other recipes")
    return force, noise, 0.5 * noise @ np.linalg.inv(stationary(floats(force), floats(noise)))


def _exact(force: np.ndarray, noise: np.ndarray, s: Any, t: Any) -> tuple[Matrix, Matrix]:
    """A and C of dz = F z + G dW from s to t."""
    a, spread = moved(floats(force), floats(noise), s.t - t.t)
    return a, floats(root(np.array(spread)))


def linear(s: Any, t: Any) -> tuple[Matrix, Matrix]:
    """What the linear part of the reverse SDE does from s to t."""
    force, noise, damping = _parts(s.process)
    return _exact(-force - 2.0 * damping, noise, s, t)


def friction(s: Any, t: Any) -> tuple[Matrix, Matrix]:
    """What O does from s to t."""
    _, noise, damping = _parts(s.process)
    return _exact(-damping, noise, s, t)


def model_part(node: Any) -> tuple[Matrix, Matrix]:
    """(P, Q) of G Gᵀ (s + S^{-1} z) = P z + Q m, forwards in t."""
    force, _, damping = _parts(node.process)
    rates = node.process.rates(node)
    return total([(1.0, rates.a), (-1.0, floats(force + 2.0 * damping))]), rates.b


def kicks(node: Any, eta: float) -> tuple[Matrix, Matrix]:
    """(P, Q) of A and B together, forwards in t: the reverse SDE without O, or the flow with η = 0."""
    rates = node.process.rates(node, eta)
    return (total([(1.0, rates.a), (-1.0, floats(_parts(node.process)[2]))]) if eta else rates.a), rates.b


def drift(z: State, m: State, h: float, pull: tuple[Matrix, Matrix], rows: range) -> State:
    """z + h (P z + Q m) in the components ``rows``, the others at rest."""
    (p, q), every = pull, parts(z)
    slopes = parts(Transfer(tuple(p[i] for i in rows), tuple(q[i] for i in rows), tuple(() for _ in rows))(z, m))
    new = dict(zip(rows, slopes, strict=True))
    return bare(tuple(part + h * new[i] if i in new else part for i, part in enumerate(every)))


def _x(s: Any) -> range:
    return range(1)


def _v(s: Any) -> range:
    return range(1, len(s.process.state))


def _slope(z: State, m: State, pull: tuple[Matrix, Matrix]) -> State:
    """P z + Q m."""
    slope: State = Transfer(*pull, tuple(() for _ in pull[0]))(z, m)
    return slope


def noisy(z: State, step: tuple[Matrix, Matrix], xi: State) -> State:
    """A z + C ξ."""
    a, c = step
    out: State = Transfer(a, tuple(() for _ in a), c)(z, (), xi)
    return out


def _all(s: Any) -> range:
    return range(len(s.process.state))


@solver(order=1, reference="arXiv:2112.07068, section 4.3 and algorithm 1", weak=1, strong=1, inexact=SPLIT, on=_PHASE)
def sscs(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""Linear part over half of the step, Euler's step of the model's part from s to t in the middle, linear part over the other half."""
    i = at_time(s, t, 0.5) if s.t != t.t else s
    u = noisy(x, linear(s, i), noise(s, i))
    u = drift(u, denoise(u, i), t.t - s.t, model_part(i), _all(s))
    return noisy(u, linear(i, t), noise(i, t)), None


@solver(order=2, reference="arXiv:2112.07068, section 4.3, with the midpoint rule inside", weak=2, strong=1, inexact=SPLIT, on=_PHASE)
def sscs_2(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""``sscs`` with the explicit midpoint rule on the model's part: of order 2, at two evaluations."""
    i, h = at_time(s, t, 0.5) if s.t != t.t else s, t.t - s.t
    u = noisy(x, linear(s, i), noise(s, i))
    pull, still = model_part(i), u
    u = drift(still, denoise(u, i), 0.5 * h, pull, _all(s))
    u = plus(still, 1.0, (h,), (_slope(u, denoise(u, i), pull),))
    return noisy(u, linear(i, t), noise(i, t)), None


def _sequence(order: str, denoise: Denoiser, x: State, s: Any, t: Any, noise: Noise, reduced: bool = False) -> State:
    """The parts in this order, each over the step; ``reduced``: A and B with one prediction."""
    h, pull, m = t.t - s.t, kicks(s, 1.0), None
    for part in order:
        if part == "O":
            x = noisy(x, friction(s, t), noise(s, t))
        else:
            m = denoise(x, s) if m is None or not reduced else m
            x = drift(x, m, h, pull, _x(s) if part == "A" else _v(s))
    return x


@solver(order=1, reference="arXiv:2310.07894, section 3.2: naive OBA", weak=1, strong=1, inexact=SPLIT, on=_PHASE)
def oba(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""O, then B, then A, each over the whole step and with a prediction of its own."""
    return _sequence("OBA", denoise, x, s, t, noise), None


@solver(order=1, reference="arXiv:2310.07894, section 3.2: naive BAO", weak=1, strong=1, inexact=SPLIT, on=_PHASE)
def bao(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""B, then A, then O, each over the whole step and with a prediction of its own."""
    return _sequence("BAO", denoise, x, s, t, noise), None


@solver(order=1, reference="arXiv:2310.07894, section 3.2: reduced OBA", weak=1, strong=1, inexact=SPLIT, on=_PHASE)
def roba(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""``oba`` with one prediction for B and A: half the evaluations."""
    return _sequence("OBA", denoise, x, s, t, noise, reduced=True), None


@solver(order=1, reference="Leimkuhler & Matthews, AMRX 2013; arXiv:2310.07894", weak=1, strong=1, inexact=SPLIT, on=_PHASE)
def baoab(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""Halves of B and A at s, O, halves of A and B at t, each with a prediction of its own. Of order 2 were B free of v."""
    h = 0.5 * (t.t - s.t)
    for node, order in ((s, "BA"), (t, "AB")):
        pull = kicks(node, 1.0)
        for part in order:
            x = drift(x, denoise(x, node), h, pull, _x(s) if part == "A" else _v(s))
        x = noisy(x, friction(s, t), noise(s, t)) if node is s else x
    return x, None


@solver(order=1, reference="arXiv:2310.07894, section 3.2: naive velocity Verlet on the flow", inexact=SPLIT, on=_PHASE)
def nvv(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""Half a step of v and a whole one of x at s, half a step of v at t, three predictions. The force on v depends on v, so the palindrome
    is one of Euler's steps and not of a method with its adjoint: order 1, with an error of the friction's size.

    Returns:
        (x_t like the state x, None for no memory).
    """
    h, here, there = t.t - s.t, kicks(s, 0.0), kicks(t, 0.0)
    u = drift(x, denoise(x, s), 0.5 * h, here, _v(s))
    u = drift(u, denoise(u, s), h, here, _x(s))
    return drift(u, denoise(u, t), 0.5 * h, there, _v(s)), None


@solver(order=1, reference="arXiv:2310.07894, section 3.2: reduced velocity Verlet on the flow", inexact=SPLIT, on=_PHASE)
def rvv(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise) -> tuple[State, Any]:
    r"""``nvv`` with one prediction at s for both steps there: two evaluations."""
    h, here, there, m = t.t - s.t, kicks(s, 0.0), kicks(t, 0.0), denoise(x, s)
    u = drift(drift(x, m, 0.5 * h, here, _v(s)), m, h, here, _x(s))
    return drift(u, denoise(u, t), 0.5 * h, there, _v(s)), None


@solver(order=1, reference="arXiv:2310.07894, eq. 10: conjugate integrator, lambda-DDIM-I", inexact="freezes ε, which moves", on=_PHASE)
@within(lam="[-100, 100]")
def conjugate(denoise: Denoiser, x: State, s: Any, t: Any, carry: None, noise: Noise, *, lam: float = 0.0) -> tuple[State, Any]:
    r"""z_t = e^{(F − λ) h} (1 + λ h) z_s + ∫ e^{(F − λ)(t − τ)} ½ G Gᵀ L^{-T} dτ ε_s,  ε = L^{-1} (z − A m),  Σ = L Lᵀ,  h = t_t − t_s.

    Exponential in F − λ, Euler for the λ that is left. λ = 0: the motion exact, ε frozen.

    Returns:
        (x_t like the state x, None for no memory).
    """
    m = denoise(x, s)
    return (s.to(t) if s.t == t.t else _conjugate(s, t, lam))(x, m), None


def _conjugate(s: Any, t: Any, lam: float) -> Transfer:
    """The step as matrices, by quadrature of 6 points."""
    force, noise, _ = _parts(s.process)
    n, h = len(force), t.t - s.t
    points, weights = np.polynomial.legendre.leggauss(6)
    shifted, pull = force - lam * np.eye(n), np.zeros((n, n))
    for c, w in zip((0.5 * (1.0 + points)).tolist(), 0.5 * weights, strict=True):
        node = at_time(s, t, c)
        pull += w * h * exponential(shifted, (1.0 - c) * h) @ (0.5 * noise) @ np.linalg.inv(root(np.array(node.process.forward(node)[1]))).T
    mean, spread = (np.array(m) for m in s.process.forward(s))
    eps = pull @ np.linalg.inv(root(spread))
    return Transfer(floats((1.0 + lam * h) * exponential(shifted, h) + eps), floats(-eps @ mean), floats(np.zeros((n, n))))
