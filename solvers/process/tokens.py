r"""What every process of tokens is: a kernel P(x_t^i = y | x0^i = k) for each token by itself, and ways back from noise to data.

A model gives the clean conditionals p(x0^i = k | x_t), (B, L, S). All that a step needs is linear in them:

    P(x_t = y | x_s = x)          = Σ_k p_k K_t(k, y) K_{ts}(y, x) / K_s(k, x)      the posterior, where there is a forward process K_{ts}
    rate x → y at s               = Σ_k p_k u_s(x, k, y)                            any rates that carry K_s(k, ·) along, for each k
    rate x → y at s, to noise     = Σ_k p_k ǔ_s(x, k, y)                            the same against time: what a corrector adds

exact where the other tokens stand still, which is all that a step of many tokens gets wrong. Rates u carry the path K(k, ·) if

    −∂_t K_t(k, y) = Σ_x K_t(k, x) u_t(x, k, y) − K_t(k, y) Σ_z u_t(y, k, z)

and there are many such: time reversal, the flows of discrete flow matching (Gat et al., arXiv:2407.15595), and with K' = −∂_t K

    u = [K(k, x) K'(k, y) − K'(k, x) K(k, y)]₊ / K(k, x)            kinetic-optimal (Shaul et al., arXiv:2412.03487, sec. 4)
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from scorebed.solvers.draws import KeyedDraws, onehot
from scorebed.solvers.process.base import Instant
from scorebed.solvers.state import Array, alike, is_finite


class TokenProcess:
    """L tokens, each noised by itself. A subclass gives ``node``, ``at``, ``forward`` and what of the rest it has."""

    size: int
    t_min: float
    t_max: float

    kind = "jump"
    state = ("x",)
    gives = ("probabilities",)
    draws = 1

    @property
    def absorbing(self) -> bool:
        """Whether tokens jump to a mask and nowhere else, so that the clean conditionals given a state do not depend on time."""
        return False

    @property
    def mask(self) -> int | None:
        """The value of the mask, None without one."""
        return None

    @property
    def alphabet(self) -> int:
        """How many values a token has under noise: S, and the mask."""
        return self.size + (self.mask is not None)

    def node(self, t: float) -> Instant:
        """The point at time t."""
        raise NotImplementedError

    def at(self, clock: float) -> Instant:
        """The point at this clock."""
        raise NotImplementedError

    # kernels

    def forward(self, node: Instant) -> np.ndarray:
        """P(x_t = y | x0 = k), (S, A)."""
        raise NotImplementedError

    def between(self, s: Instant, t: Instant) -> np.ndarray:
        """P(x_t = y | x_s = x) for the cleaner node ``s``, (A, A).

        Raises:
            ValueError: the process says nothing of two times.
        """
        raise ValueError(f"{type(self).__name__} has no forward process between two times: use a method of rates, such as tau_leaping")

    def velocities(self, node: Instant) -> np.ndarray:
        """u(x, k, y), (A, S, A), 0 where y = x: the rates that methods ask for.

        Raises:
            ValueError: the process has no rates.
        """
        raise ValueError(f"{type(self).__name__} has steps and no rates: use a method of posteriors, such as jump_ancestral")

    def flow(self, node: Instant) -> np.ndarray:
        """The rates of the flow that ``flow_euler`` follows, (A, S, A): those of ``velocities`` where there is no other."""
        return self.velocities(node)

    def returns(self, node: Instant) -> np.ndarray:
        """ǔ(x, k, y), (A, S, A), 0 where y = x: rates towards noise that carry the path back.

        Raises:
            ValueError: the process has none.
        """
        raise ValueError(f"{type(self).__name__} has no rates towards noise: use a method without a corrector")

    # from clean conditionals to steps; p is (…, S), x is (…), both NumPy or torch

    def posterior(self, p: Array, x: Array, s: Instant, t: Instant) -> Array:
        """P(x_t = y | x_s = x) of every token, the others standing still, (…, A); ``t`` is cleaner. Linear in p."""
        return self.mean(_bayes(self, s, t), p, x)

    def rates(self, p: Array, x: Array, node: Instant) -> Array:
        """The rates in time of the jumps x → y at ``node`` towards data, (…, A), 0 where y = x. Linear in p."""
        return self.mean(_kept(self, "velocities", node), p, x)

    def flow_rates(self, p: Array, x: Array, node: Instant) -> Array:
        """The same for ``flow``."""
        return self.mean(_kept(self, "flow", node), p, x)

    def return_rates(self, p: Array, x: Array, node: Instant) -> Array:
        """The same towards noise."""
        return self.mean(_kept(self, "returns", node), p, x)

    def leaped(self, p: Array, x: Array, node: Instant, h: float, free: float = 0.0) -> Array:
        """The law of tokens whose x0 is drawn from p, after jumps at the flow's rates given it for a time h, the last of which says where
        they are; ``free`` times the rates to data and to noise besides. (…, A).

        Returns:
            probabilities of the tokens' values, (…, A).
        """
        w = (1.0 + free) * _kept(self, "flow", node)
        w = w + free * _kept(self, "returns", node) if free else w
        total = w.sum(-1, keepdims=True)
        stays = np.exp(-h * total)
        return self.mean((1.0 - stays) * w / np.where(total > 0.0, total, 1.0) + stays * np.eye(self.alphabet)[:, None, :], p, x)

    @staticmethod
    def mean(w: np.ndarray, p: Array, x: Array) -> Array:
        """Σ_k p_k w[x, k, y], (…, A)."""
        return (p[..., None] * alike(w, p)[x]).sum(-2)

    def fastest(self, node: Instant, flow: bool = False) -> float:
        """The largest total rate of jumps that a token can have at ``node``, whatever the model says; of the flow's jumps with ``flow``."""
        try:
            return float(_kept(self, "flow" if flow else "velocities", node).sum(-1).max())
        except ZeroDivisionError:
            return math.inf

    def onehot(self, x: Array, like: Array) -> Array:
        """e_x of the alphabet, (…, A), in dtype and library of ``like``."""
        return onehot(x, self.alphabet, like)

    def widened(self, p: Array) -> Array:
        """Probabilities of the S values as ones of the alphabet, (…, A): the mask has none."""
        return p @ alike(np.eye(self.size, self.alphabet), p)

    # what the loop asks

    def check(self, x: Any, name: str = "x") -> None:
        """Refuse what is not an array of integers (…, L), each a value of the alphabet."""
        if not (hasattr(x, "shape") and hasattr(x, "dtype")):
            raise TypeError(f"{name} is a {type(x).__name__}: give a NumPy array or a torch tensor of integers, shape (B, L)")
        whole = x.dtype.kind in "iu" if isinstance(x, np.ndarray) else not (x.is_floating_point() or x.is_complex())
        if not whole or str(x.dtype).endswith("bool"):
            raise TypeError(f"{name} has dtype {x.dtype}: tokens are integers, e.g. {name}.astype('int64')")
        if len(x.shape) < 2 or math.prod(x.shape) == 0:
            raise ValueError(f"{name} has shape {tuple(x.shape)}: give at least one sample of at least one token, shape (B, L)")
        low, high = int(x.min()), int(x.max())
        if low < 0 or high >= self.alphabet:
            mask = "" if self.mask is None else f", {self.mask} the mask"
            raise ValueError(f"{name} has values from {low} to {high}: tokens are 0 to {self.alphabet - 1}{mask}")

    def check_output(self, value: Any, x: Any, what: str) -> None:
        """Refuse what is not probabilities (…, L, S)."""
        if not (hasattr(value, "shape") and hasattr(value, "dtype")):
            raise TypeError(f"{what} is a {type(value).__name__}, not an array of shape {(*x.shape, self.size)}")
        if tuple(value.shape) != (*x.shape, self.size):
            raise ValueError(f"{what} has shape {tuple(value.shape)}: give the probabilities of the clean values, {(*x.shape, self.size)}")
        if not is_finite(value):
            return  # the loop says more of it
        if bool((value < 0).any()) or bool((abs(value.sum(-1) - 1.0) > 1e-3).any()):
            raise ValueError(f"{what} are no probabilities: they must be at least 0 and sum to 1; of logits give the softmax")

    def noise(self, source: Any, s: Any, t: Any) -> KeyedDraws:
        """The draws of a step."""
        return KeyedDraws(source, s, t)

    def check_noise(self, value: Any, x: Any, where: str) -> None:
        """Refuse what draws nothing."""
        if not callable(value):
            raise TypeError(f"noise(s, t) {where} is a {type(value).__name__}: give a function of probabilities that draws (solvers.draws)")

    def clean(self, prediction: Array) -> Array:
        """The most probable clean values, (…, L)."""
        return prediction.argmax(-1)


def bayes(here: np.ndarray, there: np.ndarray, step: np.ndarray) -> np.ndarray:
    """w[x, k, y] = K_t(k, y) K_{ts}(y, x) / K_s(k, x) of K_s, K_t and K_{ts}; 0 where k cannot have become x."""
    return over(there[None, :, :] * step.T[:, None, :], here)


def over(w: np.ndarray, here: np.ndarray) -> np.ndarray:
    """w[x, k, y] / K(k, x), 0 where K(k, x) = 0."""
    there = here.T[:, :, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(there > 0.0, w / there, 0.0)


def kinetic(k: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """[K(k, x) K'(k, y) − K'(k, x) K(k, y)]₊ / K(k, x), (A, S, A), of K and K' (S, A)."""
    flux = k.T[:, :, None] * slope[None] - slope.T[:, :, None] * k[None]
    return over(np.maximum(flux, 0.0), k)


def apart(w: np.ndarray) -> np.ndarray:
    """w[x, k, y] with 0 where y = x."""
    n = len(w)
    w[range(n), :, range(n)] = 0.0
    return w


@lru_cache(maxsize=512)
def _bayes(process: TokenProcess, s: Instant, t: Instant) -> np.ndarray:
    return bayes(process.forward(s), process.forward(t), process.between(t, s))


@lru_cache(maxsize=512)
def _kept(process: TokenProcess, what: str, node: Instant) -> np.ndarray:
    return np.asarray(getattr(process, what)(node))
