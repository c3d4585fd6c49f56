r"""The box [lower, upper]^d, with reflection at its faces or with projection.

A straight path from x with velocity v that is reflected at the faces ends, coordinate by coordinate, at the fold of x + v,

    fold(y) = lower + L − | (y − lower mod 2L) − L |,     L = upper − lower,

so a path of any length takes no loop. This is how the reflected Euler scheme of weak order 1 moves (the projected scheme, clip(x + v), has
weak order ½; Lépingle, Math. Comput. Simul. 38, 1995; Gobet, ESAIM P&S 5, 2001).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from scorebed.solvers.model import Array
from scorebed.solvers.space.base import dimension
from scorebed.solvers.space.euclidean import Flat
from scorebed.solvers.space.xp import constant, namespace

Rule = Literal["reflect", "project"]


def known_rule(rule: str) -> Rule:
    """``rule`` as one of the rules at a boundary.

    Returns:
        ``rule`` itself, once checked.

    Raises:
        ValueError: it is none.
    """
    if rule not in get_args(Rule):
        raise ValueError(f"rule = {rule!r} must be one of {', '.join(map(repr, get_args(Rule)))}")
    return rule  # type: ignore[return-value]


class Box(Flat):
    """The product of d intervals; points (..., d).

    Args:
        d: dimension.
        lower, upper: the ends, numbers or d of them, finite.
        rule: what ``move`` does at a face: ``"reflect"`` the path, or ``"project"`` its end.

    Attributes:
        normals: inward unit normals of the faces in the order of ``gaps``, (2d, d).

    Raises:
        TypeError: d not an integer.
        ValueError: d < 1, ends not finite or not in order or not of d coordinates, an unknown rule.
    """

    bounded = True

    def __init__(self, d: int, lower: Any = 0.0, upper: Any = 1.0, rule: Rule = "reflect") -> None:
        self.dim = dimension(d)
        self.shape = (self.dim,)
        self.rule = known_rule(rule)
        try:
            low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), (self.dim,)) for end in (lower, upper))
        except ValueError:
            raise ValueError(f"lower = {lower!r}, upper = {upper!r}: give numbers, or {self.dim} of them each") from None
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise ValueError(f"lower = {lower!r}, upper = {upper!r}: give finite ends with lower < upper")
        self.lower, self.upper = low, high
        self.normals = np.vstack([np.eye(self.dim), -np.eye(self.dim)])
        plain = (low == 0.0).all() and (high == 1.0).all()
        ends = "" if plain else f", lower={_short(low)}, upper={_short(high)}"
        self.name = f"Box({d}{ends}{'' if rule == 'reflect' else f', rule={rule!r}'})"

    @property
    def origin(self) -> np.ndarray:
        """The middle."""
        return 0.5 * (self.lower + self.upper)

    def edges(self) -> np.ndarray:
        """The middle, two opposite corners, and the middle of a face."""
        face = self.origin
        face[0] = self.lower[0]
        return np.stack([self.origin, self.lower, self.upper, face])

    def gaps(self, x: Array) -> Array:
        """The signed distances to the 2d faces, the lower ones first, positive inside: (..., d) to (..., 2d)."""
        return namespace(x).concatenate([x - constant(self.lower, x), constant(self.upper, x) - x], axis=-1)

    def move(self, x: Array, v: Array) -> Array:
        """``reflect`` or ``clip`` of x + v, by the rule."""
        return self.reflect(x, v)[0] if self.rule == "reflect" else self.project(x + v)

    def reflect(self, x: Array, v: Array) -> tuple[Array, Array]:
        """The end of the reflected path and the velocity with which it arrives there."""
        xp = namespace(x)
        y = x + v
        low, high = constant(self.lower, y), constant(self.upper, y)
        length = high - low
        phase = xp.remainder(y - low, 2.0 * length)
        back = phase > length
        folded = xp.where(back, high - (phase - length), low + phase)
        inside = (y >= low) & (y <= high)
        end = xp.where(inside, y, xp.clip(folded, low, high))
        return end, xp.where(back & ~inside, -v, v)

    def project(self, x: Array) -> Array:
        """The nearest point: each coordinate clipped to its interval."""
        return namespace(x).clip(x, constant(self.lower, x), constant(self.upper, x))

    def deviation(self, x: Array) -> Array:
        """The largest excess of a coordinate over its interval."""
        xp = namespace(x)
        low, high = constant(self.lower, x), constant(self.upper, x)
        return xp.amax(xp.clip(xp.maximum(low - x, x - high), 0.0, None), axis=-1)

    def uniform(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Independent uniform coordinates."""
        return rng.uniform(self.lower, self.upper, (n, self.dim))


def _short(ends: np.ndarray) -> str:
    return f"{ends[0]:g}" if (ends == ends[0]).all() else f"({', '.join(f'{e:g}' for e in ends)})"
