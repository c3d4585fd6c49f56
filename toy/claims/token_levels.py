r"""Claim 131: embeddings of tokens, a level of Gaussian noise for each, and the order in which they are shown."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from scorebed.toy.claims.registry import Row, below, claim, near, order
from scorebed.toy.measure.convergence import order_of

_TABLE = np.array([[0.40, 0.08], [0.12, 0.40]])
"""Two tokens of two values, embedded at ∓1."""
_ATOMS, _WEIGHTS = np.array(list(product((-1.0, 1.0), repeat=2))), _TABLE.ravel()
_Z, _ONE = np.polynomial.hermite_e.hermegauss(40)
_NOISE, _W = np.array(list(product(_Z, _Z))), np.outer(_ONE, _ONE).ravel() / (2.0 * np.pi)
_END = np.array([40.0, 40.0])


def _errors(gamma: np.ndarray, alone: bool) -> np.ndarray:
    """E(x_i − D_i)² of the exact denoiser of y = √γ x + ε, (2,), by quadrature; alone: of one that sees its own token only."""
    total = np.zeros(2)
    for atom, weight in zip(_ATOMS, _WEIGHTS, strict=True):
        y = np.sqrt(gamma) * atom + _NOISE
        logs = y[:, None, :] * np.sqrt(gamma) * _ATOMS - 0.5 * gamma  # atoms are ±1: |x_i|² = 1
        if alone:
            ratio = np.log(_TABLE.sum(1)), np.log(_TABLE.sum(0))
            denoised = np.stack(
                [np.tanh(np.sqrt(g) * y[:, i] + 0.5 * (r[1] - r[0])) for i, (g, r) in enumerate(zip(gamma, ratio, strict=True))], 1
            )
        else:
            p = _WEIGHTS * np.exp(logs.sum(-1) - logs.sum(-1).max(1, keepdims=True))
            denoised = (p / p.sum(1, keepdims=True)) @ _ATOMS
        total += weight * (_W @ (atom - denoised) ** 2)
    return total


def _paths() -> dict[str, list[np.ndarray]]:
    zero = np.zeros(2)
    return {"together": [zero, _END], "first": [zero, np.array([_END[0], 0.0]), _END], "second": [zero, np.array([0.0, _END[1]]), _END]}


def _integral(path: list[np.ndarray], alone: bool) -> float:
    """½ ∫ Σ mmse_i dγ_i along a path, by Gauss's rule in √γ."""
    z, w = np.polynomial.legendre.leggauss(48)
    total = 0.0
    for a, b in pairwise(path):
        for u, weight in zip(0.5 * (z + 1.0), 0.5 * w, strict=True):
            total += 0.5 * weight * 2.0 * u * float(_errors(a + u * u * (b - a), alone) @ (b - a))
    return total


def _steps(path: list[np.ndarray], n: int, alone: bool) -> float:
    """The bound of n steps on each leg: the error at a step's noisy end counts for all of it."""
    total = 0.0
    for a, b in pairwise(path):
        levels = [a + (i / n) ** 2 * (b - a) for i in range(n + 1)]
        total += sum(0.5 * float(_errors(s, alone) @ (t - s)) for s, t in pairwise(levels))
    return total


@claim(
    131,
    paper="Masked-Diffuse LM (soft masks in an order)",
    reference="arXiv:2304.04746",
    statement="With a level of Gaussian noise for each embedded token the bound is a line integral, which for the exact posterior is "
    "the entropy of the text whatever the order in which tokens are shown; the order matters to what steps cost, and that "
    "is of first order.",
    control="each token's posterior sees no other token",
)
def token_levels(broken: bool) -> list[Row]:
    """Two dependent bits at ∓1, both together or one after the other; by quadrature in the plane."""
    entropy = -float((_TABLE * np.log(_TABLE)).sum())
    values = {name: _integral(path, broken) for name, path in _paths().items()}
    counts = (8, 16, 32)
    costs = {name: [_steps(path, n, broken) - values[name] for n in counts] for name, path in _paths().items()}
    return [
        below("spread of the bound over three orders, nats", float(np.ptp(list(values.values()))), 1e-6, kept=True),
        near("bound less the entropy", values["together"] - entropy, 0.0, within=1e-4, unit="nats"),
        order("order of what the steps cost", order_of(counts, costs["together"]).slope, 1.0, kept=True),
        below("cost of 32 steps each, one after the other to together", costs["first"][-1] / costs["together"][-1], 0.95),
    ]
