r"""Hidden Markov chains: an oracle for sequences that no table holds.

    h_1 ~ a,  h_{i+1} ~ T(h_i, ·),  x0^i ~ E(h_i, ·),  x_t^i ~ K_t(x0^i, ·)

Given x_t the chain has the weights b_i(h) = Σ_k E(h, k) K_t(k, x_t^i) at each place. Forward-backward gives p(h_i | x_t), and with it the
clean conditionals p(x0^i = k | x_t) = Σ_h p(h_i = h | x_t) E(h, k) K_t(k, x_t^i)/b_i(h), in O(L H²). E = I is a Markov chain on the tokens.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers.process import Instant
from scorebed.solvers.process.jump import JumpProcess


class HiddenChain:
    """The law of L tokens that a hidden chain emits, on a process.

    Args:
        start: a, (H,).
        transition: T, (H, H), rows sum to 1.
        emission: E, (H, S), rows sum to 1; None is the identity, a Markov chain on the tokens.
        length: L.
        process: a ``JumpProcess`` of size S.

    Raises:
        ValueError: rows that are no laws, shapes that do not fit, or another size than the process has.
    """

    def __init__(self, start: Any, transition: Any, emission: Any = None, *, length: int, process: JumpProcess) -> None:
        self.start, self.transition = np.array(start, dtype=float), np.array(transition, dtype=float)
        h = len(self.start)
        self.emission = np.eye(h) if emission is None else np.array(emission, dtype=float)
        for name, rows, shape in (
            ("start", self.start[None], (1, h)),
            ("transition", self.transition, (h, h)),
            ("emission", self.emission, (h, process.size)),
        ):
            if rows.shape != shape:
                raise ValueError(f"{name} has shape {rows.shape}: give {shape} for {h} hidden states and {process.size} values")
            if not np.isfinite(rows).all() or rows.min() < 0.0 or np.abs(rows.sum(-1) - 1.0).max() > 1e-9:
                raise ValueError(
                    f"{name} is no law: its rows are at least {rows.min():g} and sum to {rows.sum(-1).max():g}, give ≥ 0 and 1"
                )
        if length < 1:
            raise ValueError(f"length = {length!r}: give at least 1 token")
        self.d, self.process = int(length), process

    def __repr__(self) -> str:
        return f"HiddenChain({len(self.start)} hidden, {self.process.size}^{self.d}, {self.process})"

    def _weights(self, x: np.ndarray, node: Instant | None) -> np.ndarray:
        """b_i(h), (B, L, H)."""
        k = np.eye(self.process.size) if node is None else self.process.forward(node)
        return np.asarray((self.emission @ k).T[x])

    def _forward(self, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """p(h_i | x up to i), (B, L, H), and log p(x), (B,)."""
        out, log = np.empty_like(b), np.zeros(len(b))
        now = np.broadcast_to(self.start, b[:, 0].shape)
        for i in range(self.d):
            now = now * b[:, i]
            total = now.sum(1)
            if not (total > 0.0).all():
                raise ValueError(f"x holds a sequence that the chain does not give: row {int(np.flatnonzero(total <= 0.0)[0])}, token {i}")
            now = now / total[:, None]
            log += np.log(total)
            out[:, i] = now
            now = now @ self.transition
        return out, log

    def hidden(self, x: Any, node: Instant | None = None) -> np.ndarray:
        """p(h_i = h | x), (B, L, H), of data or of states at a node."""
        b = self._weights(np.asarray(x), node)
        forward, _ = self._forward(b)
        out, back = np.empty_like(b), np.ones_like(b[:, 0])
        for i in range(self.d - 1, -1, -1):
            both = forward[:, i] * back
            out[:, i] = both / both.sum(1, keepdims=True)
            back = (back * b[:, i]) @ self.transition.T
            back = back / back.max(1, keepdims=True)
        return out

    def probabilities(self, x: Any, node: Instant) -> np.ndarray:
        """The clean conditionals p(x0^i = k | x_t = x), (B, L, S): the exact model."""
        if self.process.absorbing:
            node = self.process.at(0.5)
        x = np.asarray(x)
        k = self.process.forward(node)
        ratio = self.hidden(x, node) / np.where((b := self._weights(x, node)) > 0.0, b, 1.0)
        p = (ratio @ self.emission) * k.T[x]
        return np.asarray(p / p.sum(-1, keepdims=True))

    denoised = probabilities

    def log_prob(self, x: Any, node: Instant | None = None) -> np.ndarray:
        """log π(x), or log p_t(x) at a node, (B,)."""
        return self._forward(self._weights(np.asarray(x), node))[1]

    def sample(self, n: int, rng: np.random.Generator, node: Instant | None = None) -> np.ndarray:
        """n draws of the data, or of p_t at a node; (n, L) integers."""
        h = _draw(np.broadcast_to(self.start, (n, len(self.start))), rng)
        out = np.empty((n, self.d), dtype=np.int64)
        for i in range(self.d):
            out[:, i] = _draw(self.emission[h], rng)
            h = _draw(self.transition[h], rng)
        return out if node is None else _draw(self.process.forward(node)[out], rng)

    def pairs(self) -> np.ndarray:
        """The law of neighbours (x^i, x^{i+1}), the mean over places, (S, S)."""
        h, out = self.start, np.zeros((self.process.size,) * 2)
        for _ in range(self.d - 1):
            out += self.emission.T @ (h[:, None] * self.transition) @ self.emission
            h = h @ self.transition
        return np.asarray(out / max(self.d - 1, 1))

    def table(self) -> np.ndarray:
        """π as a table, (S,) * L, where that is small.

        Returns:
            (S,) * L probabilities.

        Raises:
            ValueError: more than 4096 entries.
        """
        if self.process.size**self.d > 4096:
            raise ValueError(f"{self.process.size}^{self.d} entries are more than a table holds: 4096")
        states = np.stack(np.unravel_index(np.arange(self.process.size**self.d), (self.process.size,) * self.d), -1)
        with np.errstate(divide="ignore"):
            b = self._weights(states, None)
        now, total = np.broadcast_to(self.start, b[:, 0].shape), np.ones(len(b))
        for i in range(self.d):
            now = now * b[:, i]
            total = now.sum(1)
            now = now @ self.transition
        return np.asarray(total.reshape((self.process.size,) * self.d))


def _draw(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One value for each row of p."""
    c = p.cumsum(-1)
    return np.asarray((c <= rng.random((*p.shape[:-1], 1)) * c[..., -1:]).sum(-1))


def text_chain(text: str, alphabet: str, *, length: int, kernel: str = "absorbing") -> HiddenChain:
    """The Markov chain of the letters of a text, from its counts of pairs with one added to each; what is not in ``alphabet`` is left out.

    Returns:
        the HiddenChain of ``length`` letters over ``alphabet``.

    Raises:
        ValueError: a text with fewer than two letters of the alphabet.
    """
    letters = [alphabet.index(c) for c in text.lower() if c in alphabet]
    if len(letters) < 2:
        raise ValueError(f"text has {len(letters)} letters of {alphabet!r}: give more of it")
    pairs = np.zeros((1, len(alphabet), len(alphabet)))
    np.add.at(pairs[0], (letters[:-1], letters[1:]), 1.0)
    return counted_chain(pairs, length=length, process=JumpProcess(len(alphabet), kernel))


def counted_chain(counts: Any, *, length: int, process: JumpProcess) -> HiddenChain:
    """The chain of pairs that were counted, one added to each; it may have a period, and begins anywhere in it.

    Args:
        counts: how often value a at place f of the period is followed by b, (P, S, S); a Markov chain has P = 1.
        length: L.
        process: of size S. The hidden states are (f, a), of which a is seen.

    Returns:
        the HiddenChain of ``length`` tokens, with P S hidden states.

    Raises:
        ValueError: counts that are none, or of another size.
    """
    n = np.array(counts, dtype=float)
    period, size = len(n), process.size
    if n.shape != (period, size, size) or not np.isfinite(n).all() or n.min() < 0.0:
        raise ValueError(f"counts have shape {n.shape}: give (P, {size}, {size}) numbers of at least 0")
    n = n + 1.0
    single = n.sum(2)
    start = (single / single.sum(1, keepdims=True)).ravel() / period
    move = np.zeros((period, size, period, size))
    for f in range(period):
        move[f, :, (f + 1) % period] = n[f] / single[f][:, None]
    seen = np.tile(np.eye(size), (period, 1))
    return HiddenChain(start, move.reshape(period * size, -1), seen, length=length, process=process)
