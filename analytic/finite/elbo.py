r"""Bounds of −log π(x0) on tables, each written in several ways that must agree, and all tight with the exact model.

Masks, whatever the share (Sahoo et al., arXiv:2406.07524, eq. 10; Ou et al., arXiv:2406.03736):

    ∫_0^1 dλ/λ E_M [ Σ_{i ∈ M} −log p(x0^i | x0 outside M) ],       every token in M with probability λ         ``masked_quadrature``
    = Σ_M (|M| − 1)! (L − |M|)!/L! Σ_{i ∈ M} −log p(x0^i | x0 outside M)                                       ``masked_bound``
    = the mean over orders of the log loss of showing tokens one by one (Hoogeboom et al., arXiv:2110.02037)   ``any_order_bound``

Any kernel (Lou et al., arXiv:2310.16834, th. 3.6), with concrete scores r of q(x_t | x0) and s of the model:

    KL(q_T(· | x0) ‖ p_T) + ∫_0^T β Σ_x q_t(x | x0) Σ_{y ≠ x} Q(y, x) (s_y − r_y log s_y + r_y log r_y − r_y) dt    ``score_entropy_bound``
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise, permutations

import numpy as np

from scorebed.analytic.finite.table import TableLaw, kl
from scorebed.solvers.process import Instant

Model = Callable[[np.ndarray], np.ndarray]
"""x (B, L) -> p(x0^i = k | x), (B, L, S)."""


def conditionals(law: TableLaw) -> Model:
    """The exact clean conditionals given masked states."""
    node = law.process.at(0.5)
    return lambda x: law.probabilities(x, node)


def _loss(model: Model, x0: np.ndarray, masked: tuple[int, ...], mask: int) -> np.ndarray:
    """−log p(x0^i | x0 outside M) for i in M."""
    x = np.array(x0)
    x[list(masked)] = mask
    p = model(x[None])[0]
    return np.asarray(-np.log(p[list(masked), x0[list(masked)]]))


def _sets(tokens: int) -> list[tuple[int, ...]]:
    return [m for size in range(1, tokens + 1) for m in combinations(range(tokens), size)]


def masked_bound(law: TableLaw, x0: np.ndarray, model: Model | None = None) -> float:
    """The bound for one x0 (L,), in nats, as a sum over sets of masked tokens; ``model`` is the exact one."""
    model, n = model or conditionals(law), law.d
    weigh = {m: math.factorial(m - 1) * math.factorial(n - m) / math.factorial(n) for m in range(1, n + 1)}
    return math.fsum(weigh[len(m)] * float(_loss(model, x0, m, law.process.size).sum()) for m in _sets(n))


def any_order_bound(law: TableLaw, x0: np.ndarray, model: Model | None = None) -> float:
    """The same as the mean over all L! orders of the log loss, token by token."""
    model, n, total = model or conditionals(law), law.d, []
    for order in permutations(range(n)):
        for k in range(n):
            left = order[k:]
            total.append(float(_loss(model, x0, left, law.process.size)[0]))
    return math.fsum(total) / math.factorial(n)


def masked_quadrature(law: TableLaw, x0: np.ndarray, model: Model | None = None, low: float = 0.0, high: float = 1.0) -> float:
    """The same as an integral over the mask rate, a polynomial that Gauss-Legendre quadrature integrates exactly."""
    model, n = model or conditionals(law), law.d
    places, weights = np.polynomial.legendre.leggauss(n)
    rates, weights = low + (high - low) * 0.5 * (1.0 + places), 0.5 * (high - low) * weights
    losses = {m: float(_loss(model, x0, m, law.process.size).sum()) for m in _sets(n)}
    return math.fsum(
        w * r ** (len(m) - 1) * (1.0 - r) ** (n - len(m)) * loss for m, loss in losses.items() for r, w in zip(rates, weights, strict=True)
    )


def block_bound(law: TableLaw, x0: np.ndarray, size: int, model: Model | None = None) -> float:
    """Block diffusion (Arriola et al., arXiv:2503.09573, eq. 8): blocks of ``size`` tokens from left to right, each by ``masked_bound``
    given the tokens before it.

    Returns:
        the bound for x0, in nats.
    """
    model, n, mask, total = model or conditionals(law), law.d, law.process.size, []
    for start in range(0, n, size):
        block = tuple(range(start, min(start + size, n)))
        after = tuple(range(block[-1] + 1, n))
        b = len(block)
        for k in range(1, b + 1):
            for m in combinations(block, k):
                weight = math.factorial(k - 1) * math.factorial(b - k) / math.factorial(b)
                total.append(weight * float(_loss(model, x0, (*m, *after), mask)[:k].sum()))
    return math.fsum(total)


def score_entropy_bound(law: TableLaw, x0: np.ndarray, end: float, nodes: int = 80, tilt: float = 0.0) -> float:
    """The bound for one x0 on any kernel, from 0 to ``end``, with the exact concrete scores (times e^{tilt}, for controls).

    Returns:
        the bound for x0, in nats.

    Raises:
        ValueError: a path that no forward process makes.
    """
    process = law.process
    places, weights = np.polynomial.legendre.leggauss(nodes)
    u, weights = 0.5 * (1.0 + places), 0.5 * weights
    total = []
    one = np.zeros(law.table.shape)
    one[tuple(x0)] = 1.0
    point = TableLaw(one, process)
    for a, w in zip(u, weights, strict=True):
        node = process.node(end * a**4)
        p, here = law.marginal(node), point.marginal(node)
        x = np.argwhere(here > 0.0)
        r, s = _ratios(here, x), _ratios(p, x) * math.exp(tilt)
        noising = process.returns(node)
        if np.ptp(noising, 1).max() > 1e-9 * noising.max():
            raise ValueError(f"{process} has no forward rates that are the same for all data, so this bound does not hold of it")
        rate = noising[:, 0].T[x]  # of y → x: (R, L, A)
        with np.errstate(divide="ignore", invalid="ignore"):
            log = np.where(r > 0.0, r * (np.log(np.where(r > 0.0, r, 1.0)) - np.log(np.where(s > 0.0, s, 1.0))), 0.0)
        inside = (rate * (s + log - r)).sum((1, 2))
        total.append(w * 4.0 * end * a**3 * float(here[tuple(x.T)] @ inside))
    last = process.node(end)
    return kl(point.marginal(last), law.marginal(last)) + math.fsum(total)


def step_bound(law: TableLaw, x0: np.ndarray, nodes: Sequence[Instant], model: Callable[..., np.ndarray] | None = None) -> float:
    """The bound of steps that draw all tokens at once (D3PM, arXiv:2107.03006, eq. 1), for one x0 (L,), in nats:

        KL(q(x_T | x0) ‖ p_T) + Σ_{s → t} E_{q(x_s | x0)} Σ_i KL(q(x_t^i | x_s, x0) ‖ p(x_t^i | x_s))

    the last step being to the data, where its term is −log p(x0 | x_s). With the exact model its mean over π is H(π) and the conditional
    total correlations of the steps: what drawing at once costs (``parallel.step_correlation``).

    Args:
        law: the truth.
        x0: data.
        nodes: from noise to data, t = 0.
        model: (x, node) -> p(x0^i = k | x), the exact one by default.

    Returns:
        the bound for x0, in nats.
    """
    process, model = law.process, model or law.probabilities
    one = np.zeros(law.table.shape)
    one[tuple(x0)] = 1.0
    point = TableLaw(one, process)
    total = [kl(point.marginal(nodes[0]), law.marginal(nodes[0]))]
    for s, t in pairwise(nodes):
        here = point.marginal(s)
        x = np.argwhere(here > 0.0)
        clean = np.broadcast_to(np.eye(process.size)[x0], (*x.shape, process.size))
        q, p = process.posterior(clean, x, s, t), process.posterior(model(x, s), x, s, t)
        with np.errstate(divide="ignore", invalid="ignore"):
            off = np.where(q > 0.0, q * (np.log(np.where(q > 0.0, q, 1.0)) - np.log(p)), 0.0)
        total.append(float(here[tuple(x.T)] @ off.sum((1, 2))))
    return math.fsum(total)


def _ratios(p: np.ndarray, x: np.ndarray) -> np.ndarray:
    out = np.empty((*x.shape, p.shape[0]))
    for i in range(x.shape[1]):
        for y in range(p.shape[0]):
            z = x.copy()
            z[:, i] = y
            out[:, i, y] = p[tuple(z.T)] / p[tuple(x.T)]
    return out
