r"""Linear processes whose steps have no closed form: what noise does to them, by one quadrature.

A process is given by its forward law z_t = A_t m + noise of covariance Σ_t and by how it forgets, dz = (F z + …) dt + G dW in the direction
of noise. About its mean e = z − A m every motion that keeps the law is

    de = (F + ½ (1 + η) G Gᵀ Σ^{-1}) e dt + sqrt(η) G dW,      η = 0: the flow; η = 1: the reverse SDE; any η ≥ 0 between and beyond,

t running backwards. In y = L^{-1} e, with Σ = L Lᵀ, nothing is stiff and Σ is the identity; y is integrated in log t by Gauss's collocation
of 8 points on panels, its noise by their quadrature, a sum of squares that keeps its digits where the step is short.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.solvers.process.linear import LinearProcess, Matrix, Transfer

_PANEL, _STAGES = 0.2, 8  # of log t


def _collocation() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gauss's points on [0, 1], the matrix of ∫_0^{c_i} ℓ_j, and the weights."""
    points, weights = np.polynomial.legendre.leggauss(_STAGES)
    c = 0.5 * (1.0 + points)
    powers = np.vander(c, increasing=True)
    k = np.arange(1, _STAGES + 1)
    return c, (np.vander(c, _STAGES + 1, increasing=True)[:, 1:] / k) @ np.linalg.inv(powers), 0.5 * weights


_C, _A, _B = _collocation()


class GeneralProcess(LinearProcess):
    """A linear process with ``forward`` and ``motion``; transfers and rates follow for every η."""

    def motion(self, node: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(dA/dt, F, G Gᵀ)."""
        raise NotImplementedError

    def transfer(self, s: Any, t: Any, eta: float = 0.0) -> Transfer:
        n, g = len(self.state), len(self.gives)
        if s.t == t.t:
            return Transfer(floats(np.eye(n)), floats(np.zeros((n, g))), floats(np.zeros((n, n))))
        forwards(s, t, eta)
        a, c = _known(self, s.t, t.t, float(eta))
        (begin, _), (end, _) = self.forward(s), self.forward(t)
        return Transfer(a, floats(np.array(end) - np.array(a) @ np.array(begin)), c)

    def rates(self, node: Any, eta: float = 1.0) -> Transfer:
        slope, force, noise = self.motion(node)
        a, spread = (np.array(m) for m in self.forward(node))
        p = force + 0.5 * (1.0 + eta) * noise @ np.linalg.inv(spread)
        return Transfer(floats(p), floats(slope - p @ a), floats(math.sqrt(eta) * root(noise)))


def forwards(s: Any, t: Any, eta: float) -> None:
    """Refuse an η that is no amount of noise, and noise on the way to noise."""
    if not 0.0 <= eta < math.inf:
        raise ValueError(f"eta = {eta!r} must be finite and at least 0: 0 is the flow, 1 the reverse SDE")
    if eta > 0.0 and t.t > s.t:
        raise ValueError("the reverse SDE runs towards the data: give t below s, or eta = 0")


def carried(process: Any, start: float, end: float, eta: float) -> tuple[Matrix, Matrix]:
    """Ψ with e_t = Ψ e_s + C ξ, and C; of a process, or of what has its ``state``, ``node``, ``forward`` and ``motion``."""
    n = len(process.state)
    y, k = np.eye(n), np.zeros((n, n))
    low, high = math.log(start), math.log(end)
    panels = max(1, math.ceil(abs(high - low) / _PANEL))
    h = (high - low) / panels
    for i in range(panels):
        here, spread = _panel(process, low + i * h, h, eta)
        y, k = here @ y, here @ k @ here.T + spread
    first, last = _root_at(process, start), _root_at(process, end)
    return floats(last @ y @ np.linalg.inv(first)), floats(last @ root(k))


_known = lru_cache(maxsize=4096)(carried)


def _root_at(process: Any, t: float) -> np.ndarray:
    """L of Σ_t = L Lᵀ."""
    return root(np.array(process.forward(process.node(t))[1]))


def _panel(process: Any, low: float, h: float, eta: float) -> tuple[np.ndarray, np.ndarray]:
    """What a panel of length h in log t does to y, and the covariance of the noise that it adds."""
    n = len(process.state)
    slopes, noises = [], []
    for c in _C:
        t = math.exp(low + h * float(c))
        _, force, noise = process.motion(process.node(t))
        factor = _root_at(process, t)
        inverse = np.linalg.inv(factor)
        turn, fresh = inverse @ force @ factor, inverse @ noise @ inverse.T
        slopes.append(t * (turn + 0.5 * (1.0 + eta) * fresh - _lower(turn + turn.T + fresh)))
        noises.append(t * fresh)
    m = np.stack(slopes)
    system = np.eye(_STAGES * n) - h * np.einsum("ij,jkl->ikjl", _A, m).reshape(_STAGES * n, -1)
    inside = np.linalg.solve(system, np.tile(np.eye(n), (_STAGES, 1))).reshape(_STAGES, n, n)
    y = np.eye(n) + h * np.einsum("j,jkl,jlm->km", _B, m, inside)
    if eta == 0.0:
        return y, np.zeros((n, n))
    to_end = y @ np.linalg.inv(inside)
    return y, abs(h) * eta * np.einsum("j,jkl,jlm,jnm->kn", _B, to_end, np.stack(noises), to_end)


def _lower(m: np.ndarray) -> np.ndarray:
    """L^{-1} dL of a root whose L^{-1} dΣ L^{-T} is ``m``: the part below the diagonal, and half of the diagonal."""
    return np.tril(m, -1) + 0.5 * np.diag(np.diag(m))


def root(m: np.ndarray) -> np.ndarray:
    """The lower triangular root of a covariance, which may be singular."""
    out = np.zeros_like(m)
    for j in range(len(m)):
        left = m[j:, j] - out[j:, :j] @ out[j, :j]
        if left[0] > 1e-15 * m[j, j]:
            out[j:, j] = left / math.sqrt(left[0])
    return out


def floats(m: np.ndarray) -> Matrix:
    """A matrix of Python floats."""
    return tuple(map(tuple, m.tolist()))
