"""How the share α of tokens that have not jumped falls with time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple


class Share(NamedTuple):
    """α(t), −α'(t) and t(α)."""

    alpha: Callable[[float], float]
    falls: Callable[[float], float]
    time: Callable[[float], float]


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
