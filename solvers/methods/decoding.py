r"""Rules that say which masked tokens are shown next: by chance, by place, by how sure the model is, by what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers.decode import DECODERS, decoder
from scorebed.solvers.draws import Draw, onehot
from scorebed.solvers.state import Array, alike


def first(score: Array, hidden: Array, count: Any, p: Array) -> Array:
    """The ``count`` hidden tokens of the highest score, (B, L) of 0 and 1; of equal ones the leftmost."""
    n = hidden.shape[-1]
    score, left, out = score + 0.0, hidden, 0 * hidden
    for _ in range(min(int(count), n)):
        where = score * left - 1e30 * (1 - left)
        place = onehot(where.argmax(-1), n, p) * left
        out, left = out + place, left * (place < 0.5)
    return out


def by_chance(weight: Array, hidden: Array, count: Any, draw: Draw) -> Array:
    """``count`` hidden tokens one after the other with probabilities proportional to their weights, which is what Gumbel top-k draws."""
    n = hidden.shape[-1]
    left, out = hidden, 0 * hidden
    for _ in range(min(int(count), n)):
        w = weight * left
        none = (w.sum(-1) <= 0)[..., None]
        place = onehot(draw(w + none), n, weight) * left * ~none
        out, left = out + place, left * (place < 0.5)
    return out


def entropies(p: Array) -> Array:
    """−Σ p log p of each token, (B, L), in nats."""
    log = (p + (p <= 0)).log() if hasattr(p, "log") else np.log(p + (p <= 0))
    return -(p * log).sum(-1)


def probability(p: Array, value: Array) -> Array:
    """p of the value drawn, (B, L)."""
    return (p * onehot(value, p.shape[-1], p)).sum(-1)


def van_der_corput(n: int) -> list[float]:
    """The first n numbers of the van der Corput sequence in base 2, of which the places of tokens are the ranks."""
    return [sum((i >> k & 1) * 0.5 ** (k + 1) for k in range(i.bit_length())) for i in range(n)]


@decoder(exact=True, reference="ARDM, arXiv:2110.02037, Alg. 1 (any order)")
def random_order(p: Array, hidden: Array, count: int, draw: Draw) -> tuple[Array, Array]:
    """Places by chance, all alike."""
    return by_chance(p[..., 0] * 0.0 + 1.0, hidden, count, draw), draw(p)


@decoder(exact=True, reference="the chain rule, left to right")
def left_to_right(p: Array, hidden: Array, count: int, draw: Draw) -> tuple[Array, Array]:
    """The leftmost first: an autoregressive model."""
    return first(alike(np.arange(hidden.shape[-1], 0, -1.0), p) + 0.0 * hidden, hidden, count, p), draw(p)


@decoder(exact=True, reference="Halton-MaskGIT, arXiv:2503.17076, sec. 3 (here of places on a line)")
def halton_order(p: Array, hidden: Array, count: int, draw: Draw) -> tuple[Array, Array]:
    """Places far from each other first: in the order of the van der Corput sequence."""
    n = hidden.shape[-1]
    rank = np.argsort(np.argsort(van_der_corput(n), kind="stable"), kind="stable")  # token of the i-th number
    score = np.empty(n)
    score[rank] = np.arange(n, 0, -1.0)
    return first(alike(score, p) + 0.0 * hidden, hidden, count, p), draw(p)


@decoder(exact=True, reference="entropy-ordered decoding, arXiv:2505.24857, sec. 3")
def lowest_entropy(p: Array, hidden: Array, count: int, draw: Draw) -> tuple[Array, Array]:
    """Where the model is surest, before anything is drawn: the least entropy."""
    return first(-entropies(p), hidden, count, p), draw(p)


@decoder(exact=True, reference="top-k margin, arXiv:2502.06768, sec. 4")
def largest_margin(p: Array, hidden: Array, count: int, draw: Draw) -> tuple[Array, Array]:
    """Where the most likely value leads the second by most."""
    best = onehot(p.argmax(-1), p.shape[-1], p)
    lead = (p * best).sum(-1) - (p - 2.0 * best).max(-1)[0] if hasattr(p, "log") else (p * best).sum(-1) - (p - 2.0 * best).max(-1)
    return first(lead, hidden, count, p), draw(p)


@decoder(exact=True, reference="EB-sampler, arXiv:2505.24857, Alg. 1")
def entropy_bound(p: Array, hidden: Array, count: int, draw: Draw, *, bound: float = 0.1) -> tuple[Array, Array]:
    """In order of entropy, as many as lose at most ``bound`` nats together, Σ H − max H, and one at least; ``count`` is not asked."""
    h, out = entropies(p), 0 * hidden
    left, spent, largest = hidden, 0.0 * h[..., :1], 0.0 * h[..., :1]
    for k in range(hidden.shape[-1]):
        place = first(-h, left, 1, p)
        here = (h * place).sum(-1)[..., None]
        larger = here * (here > largest) + largest * (here <= largest)
        fits = (spent + here - larger <= bound) | (k == 0)
        out, left = out + place * fits, left * (place < 0.5) * fits
        spent, largest = spent + here * fits, larger
    return out, draw(p)


@decoder(exact=False, reference="LLaDA, arXiv:2502.09992, Alg. 5 (low-confidence remasking)")
def confidence(p: Array, hidden: Array, count: int, draw: Draw) -> tuple[Array, Array]:
    """All values are drawn, and the most probable of them stay."""
    value = draw(p)
    return first(probability(p, value), hidden, count, p), value


@decoder(exact=False, reference="MaskGIT, arXiv:2202.04200, sec. 3.2; Gumbel noise of a temperature on the confidence")
def maskgit(p: Array, hidden: Array, count: int, draw: Draw, *, temperature: float = 1.0) -> tuple[Array, Array]:
    """All values are drawn, and some stay, with log p + temperature Gumbel noise: by chance with weights p^{1/temperature}."""
    value = draw(p)
    return by_chance(probability(p, value) ** (1.0 / temperature), hidden, count, draw), value


@decoder(exact=True, reference="block diffusion, arXiv:2503.09573; semi-autoregressive decoding of LLaDA")
def blocks(p: Array, hidden: Array, count: int, draw: Draw, *, size: int = 2, inner: str = "random_order") -> tuple[Array, Array]:
    """Blocks of ``size`` tokens from left to right, by another rule inside: the first block that has hidden tokens."""
    n = hidden.shape[-1]
    ahead, now = 0 * hidden[..., :1], 0 * hidden
    for start in range(0, n, size):
        inside = alike(((np.arange(n) >= start) & (np.arange(n) < start + size)).astype(float), p)
        here = hidden * inside
        now = now + here * (ahead == 0)
        ahead = ahead + here.sum(-1)[..., None]
    return DECODERS[inner].rule(p, now, count, draw)
