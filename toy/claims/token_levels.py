r"""Claims 130, 131: embeddings of tokens, a level of Gaussian noise for each, and the order in which they are shown."""

from __future__ import annotations

import math
from itertools import pairwise, product

import numpy as np

from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.output_law import transfer_matrix

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


_LAW = np.array([[0.45, 0.0], [0.15, 0.40]])
"""Two bits, of which (0, 1) does not occur."""
_S = np.linspace(-24.0, 24.0, 193)


def _flow(levels: list[np.ndarray], joint: bool, alone: bool) -> np.ndarray:
    """The law of the summed messages s of a Bayesian flow network on a grid, (s1, s2): in each step x is drawn from p(x | s) ∝ π e^{s·x},
    jointly or token by token, and s_i gets N(Δγ_i x_i, Δγ_i).

    Returns:
        masses on the grid, axes (s1, s2).
    """
    e = np.stack([np.exp(-_S), np.exp(_S)])
    given = _LAW[:, :, None, None] * e[:, None, :, None] * e[None, :, None, :]
    given = given / given.sum((0, 1))
    own = [np.outer(side, np.ones(2))[:, 0] for side in (_LAW.sum(1), _LAW.sum(0))]
    first, second = (given.sum(1), given.sum(0))
    if alone:
        first, second = (w[:, None, None] * np.ones_like(first) * f for w, f in zip(own, (e[:, :, None], e[:, None, :]), strict=True))
        first, second = first / first.sum(0), second / second.sum(0)
    law = np.zeros((len(_S), len(_S)))
    law[len(_S) // 2, len(_S) // 2] = 1.0
    for a, b in pairwise(levels):
        new = np.zeros_like(law)
        for i, j in product(range(2), repeat=2):
            chance = given[i, j] if joint and not alone else first[i] * second[j]
            new += _moved(b[0] - a[0], i).T @ (law * chance) @ _moved(b[1] - a[1], j)
        law = new
    return law


def _moved(step: float, value: int) -> np.ndarray:
    """From s to s + N(step x, step), (s, s'), x = ∓1."""
    return transfer_matrix(_S, _S + step * (2 * value - 1), math.sqrt(step))


@claim(
    130,
    paper="ChemBFN (Bayesian flow networks out of the distribution)",
    reference="arXiv:2412.11439",
    statement="As we read it, corrected: with the exact posterior a Bayesian flow gives the law of the data in any order, "
    "semi-autoregressive too, and nothing outside it; what is outside comes of tokens drawn apart in one step, and falls "
    "with the steps, or of a wrong posterior.",
    control="each token's posterior sees no other token",
)
def bayesian_flow(broken: bool) -> list[Row]:
    """Two bits with a forbidden pair, accuracy to 9; the law of the messages on a grid of 193²."""
    end = np.array([9.0, 9.0])
    centre = _S[:, None]
    normal = [np.exp(-0.5 * (centre - end[0] * x) ** 2 / end[0]) for x in (-1.0, 1.0)]
    exact = sum(_LAW[i, j] * (normal[i] @ normal[j].T) for i, j in product(range(2), repeat=2))
    exact = exact / exact.sum()
    # the messages say (0, 1): s1 < 0 < s2
    outside = np.outer(_S < 0.0, _S > 0.0)
    least = float(exact[outside].sum())

    def together(n: int) -> list[np.ndarray]:
        return [end * i / n for i in range(n + 1)]

    in_turn = [np.array([9.0 * min(i, 4) / 4, 9.0 * max(i - 4, 0) / 4]) for i in range(9)]
    counts = (8, 16, 32)
    apart = [_flow(together(n), False, broken) for n in counts]
    lost = [0.5 * float(np.abs(law - exact).sum()) for law in apart]
    return [
        below("TV of 4 steps that draw jointly", 0.5 * float(np.abs(_flow(together(4), True, broken) - exact).sum()), 1e-4),
        below("TV of one token after the other, drawn apart", 0.5 * float(np.abs(_flow(in_turn, False, broken) - exact).sum()), 1e-4),
        order("order of the TV of steps that draw apart", order_of(counts, lost).slope, 1.0),
        above("mass outside after 8 of these steps", float(apart[0][outside].sum()) - least, 1e-3, kept=True),
    ]
