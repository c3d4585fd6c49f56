r"""How the share α of tokens that have not jumped falls with time: by name in ``SHARES``, or one with numbers of its own.

    Power(n)      α = (1 − t)^n                                                     n = 1 is CondOT
    Cubic(a, b)   α = −2u³ + 3u² + a (u³ − 2u² + u) + b (u³ − u²),  u = 1 − t       discrete flow matching (arXiv:2407.15595, sec. 4.1)

with α' = a in u at the noisy end and b at the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Share(NamedTuple):
    """α(t), −α'(t) and t(α)."""

    alpha: Callable[[float], float]
    falls: Callable[[float], float]
    time: Callable[[float], float]


@dataclass(frozen=True)
class Power:
    """α = (1 − t)^n, n ≥ 1.

    Raises:
        ValueError: n below 1, where α' is infinite at t = 1.
    """

    n: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.n < math.inf:
            raise ValueError(f"Power: n = {self.n!r}: give a number of at least 1")

    def alpha(self, t: float) -> float:
        return float((1.0 - t) ** self.n)

    def falls(self, t: float) -> float:
        return float(self.n * (1.0 - t) ** (self.n - 1.0))

    def time(self, alpha: float) -> float:
        return float(1.0 - alpha ** (1.0 / self.n))


@dataclass(frozen=True)
class Cubic:
    """The cubic from 0 to 1 with slope a at the noisy end and b at the data, each from 0 to 3, where it is monotone.

    Raises:
        ValueError: a slope outside [0, 3].
    """

    a: float = 0.0
    b: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.a <= 3.0 and 0.0 <= self.b <= 3.0):
            raise ValueError(f"Cubic: slopes a = {self.a!r}, b = {self.b!r}: give numbers from 0 to 3, where α is monotone")

    def alpha(self, t: float) -> float:
        u = 1.0 - t
        return u * u * (3.0 - 2.0 * u) + u * (1.0 - u) * (self.a * (1.0 - u) - self.b * u)

    def falls(self, t: float) -> float:
        u = 1.0 - t
        return max(6.0 * u * (1.0 - u) + self.a * (1.0 - u) * (1.0 - 3.0 * u) + self.b * u * (3.0 * u - 2.0), 0.0)

    def time(self, alpha: float) -> float:
        low, high = 0.0, 1.0  # α falls from 1 to 0
        while True:
            middle = 0.5 * (low + high)
            if middle in (low, high):
                return low if abs(self.alpha(low) - alpha) <= abs(self.alpha(high) - alpha) else high
            low, high = (middle, high) if self.alpha(middle) > alpha else (low, middle)


SHARES = {
    "linear": Share(lambda t: 1.0 - t, lambda t: 1.0, lambda a: 1.0 - a),
    "cosine": Share(
        lambda t: 1.0 - math.sin(0.5 * math.pi * t),
        lambda t: 0.5 * math.pi * math.cos(0.5 * math.pi * t),
        lambda a: math.asin(1.0 - a) / (0.5 * math.pi),
    ),
    "square": Share(lambda t: 1.0 - t * t, lambda t: 2.0 * t, lambda a: math.sqrt(1.0 - a)),
}
"""How the share that has not jumped falls: 1 − t (log-linear noise), 1 − sin(πt/2) (MaskGIT's cosine), 1 − t²."""


def share_of(share: Any, of: str) -> Any:
    """A share by its name, or itself.

    Returns:
        the share, looked up by name or as given.

    Raises:
        ValueError: neither; ``of`` says whose it is.
    """
    if isinstance(share, str) and share in SHARES:
        return SHARES[share]
    if isinstance(share, Share | Power | Cubic):
        return share
    raise ValueError(f"{of}: share = {share!r} is not known: give one of {', '.join(SHARES)}, or a Power, a Cubic or a Share")
