"""Linear forms in registers: what stands in for an array while a step is traced."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NoReturn

import numpy as np


class NotLinear(TypeError):
    """The step does something with arrays that is not a linear combination with float coefficients."""


def refuse(what: str) -> NoReturn:
    """Say that a step is not linear.

    Raises:
        NotLinear: always; ``what`` is what the step did.
    """
    raise NotLinear(f"{what}: between evaluations a step may only use +, - and float * on arrays; otherwise declare it nonlinear")


class Form:
    """A linear form in registers, which stands in for an array while a step is traced."""

    __slots__ = ("terms",)

    def __init__(self, terms: dict[int, float]) -> None:
        self.terms = terms

    def _plus(self, other: Any, sign: float) -> Form:
        if isinstance(other, Real) and other == 0:  # sum() starts at 0
            return self
        if not isinstance(other, Form):
            refuse(f"an array and {other!r} are added")
        total = dict(self.terms)
        for i, c in other.terms.items():
            total[i] = total.get(i, 0.0) + sign * c
        return Form(total)

    def __add__(self, other: Any) -> Form:
        return self._plus(other, 1.0)

    def __sub__(self, other: Any) -> Form:
        return self._plus(other, -1.0)

    def __rsub__(self, other: Any) -> Form:
        return (-self)._plus(other, 1.0)

    def __mul__(self, other: Any) -> Form:
        if not isinstance(other, Real):
            refuse(f"an array is multiplied by {other!r}")
        c = float(other)
        if not math.isfinite(c):
            raise ValueError(f"a coefficient is {c}: steps need finite coefficients")
        return Form({i: c * v for i, v in self.terms.items()})

    def __truediv__(self, other: Any) -> Form:
        return self * (1.0 / other) if isinstance(other, Real) else refuse(f"an array is divided by {other!r}")

    def __neg__(self) -> Form:
        return self * -1.0

    def __pos__(self) -> Form:
        return self

    __radd__ = __add__
    __rmul__ = __mul__

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Form:
        # NumPy scalars on the left come here
        if method == "__call__" and not kwargs and len(inputs) == 2 and isinstance(inputs[0], Real):
            if ufunc is np.multiply:
                return self * float(inputs[0])
            if ufunc is np.add:
                return self + float(inputs[0])
        refuse(f"numpy.{ufunc.__name__} is applied to an array")

    def __getattr__(self, name: str) -> NoReturn:
        refuse(f"the step looks at .{name} of an array")

    def __rtruediv__(self, other: Any) -> NoReturn:
        refuse("something is divided by an array")

    def _compared(self, *_: Any) -> NoReturn:
        refuse("the step looks at the values of an array")

    __bool__ = __float__ = __int__ = __len__ = __iter__ = __getitem__ = __array__ = __abs__ = __pow__ = _compared
    __complex__ = __index__ = __round__ = __contains__ = __setitem__ = __invert__ = __and__ = __or__ = __xor__ = _compared
    __mod__ = __rmod__ = __floordiv__ = __rfloordiv__ = __divmod__ = __rdivmod__ = _compared
    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __matmul__ = __rmatmul__ = __rpow__ = _compared
    __hash__ = None  # type: ignore[assignment]
