"""The operations of a Plan: evaluations, draws, linear sums of registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scorebed.solvers.model import Array
from scorebed.solvers.state import parts

Registers = Any
"""A register, or a tuple of them."""
Value = Any
"""What a walk puts into a register."""


@dataclass(frozen=True)
class Evaluate:
    """What the model gives at the state in the registers ``source``; it fills ``makes`` registers."""

    node: Any
    source: Registers
    makes: int = 1


@dataclass(frozen=True)
class Draw:
    """The draws of the interval from s to t; it fills ``makes`` registers."""

    s: Any
    t: Any
    makes: int = 1


@dataclass(frozen=True)
class Combine:
    """The sum of coefficient × register over ``terms``."""

    terms: tuple[tuple[int, float], ...]
    makes = 1


Op = Evaluate | Draw | Combine


def reads(op: Op) -> tuple[int, ...]:
    """The registers that an operation reads."""
    if isinstance(op, Evaluate):
        return parts(op.source)
    return tuple(i for i, _ in op.terms) if isinstance(op, Combine) else ()


def total(terms: Sequence[tuple[float, Array]]) -> Array:
    """Σ c value, without an array of zeros to begin from."""
    (c, value), *rest = terms
    out = c * value
    for c, value in rest:
        out = out + c * value
    return out
