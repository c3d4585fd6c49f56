r"""Butcher tableaux and the one helper that runs them.

An explicit Runge-Kutta method for dy/du = d(y, u) over a step of length h is

    d_i = d(y + h Σ_{j<i} a_ij d_j, u + c_i h),      y + h Σ_i b_i d_i,

and an embedded pair has in ``error`` the weights b - b̂ of the difference to its second, lower-order formula. Exact fractions are rounded
once. Sources: Hairer, Nørsett & Wanner, Solving Ordinary Differential Equations I (1993), section II.1 and table II.5.2; Ralston, Math.
Comp. 16 (1962); Bogacki & Shampine, Appl. Math. Lett. 2 (1989); Dormand & Prince, J. Comput. Appl. Math. 6 (1980).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scorebed.solvers.state import State, bare, parts


@dataclass(frozen=True)
class Tableau:
    """``a[i]`` has the i weights of stage i; ``error`` is empty where there is no embedded formula."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    error: tuple[float, ...] = ()


EULER = Tableau((0.0,), ((),), (1.0,))
MIDPOINT = Tableau((0.0, 1 / 2), ((), (1 / 2,)), (0.0, 1.0))
HEUN = Tableau((0.0, 1.0), ((), (1.0,)), (1 / 2, 1 / 2))
RALSTON = Tableau((0.0, 2 / 3), ((), (2 / 3,)), (1 / 4, 3 / 4))
KUTTA3 = Tableau((0.0, 1 / 2, 1.0), ((), (1 / 2,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6))
RK4 = Tableau((0.0, 1 / 2, 1 / 2, 1.0), ((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))

BOGACKI_SHAMPINE = Tableau(
    (0.0, 1 / 2, 3 / 4, 1.0),
    ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)),
    (2 / 9, 1 / 3, 4 / 9, 0.0),
    (-5 / 72, 1 / 12, 1 / 9, -1 / 8),
)
DORMAND_PRINCE = Tableau(
    (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0),
    (
        (),
        (1 / 5,),
        (3 / 40, 9 / 40),
        (44 / 45, -56 / 15, 32 / 9),
        (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
        (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
    ),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40),
)


def plus(y: State, h: float, weights: Sequence[float], slopes: Sequence[State]) -> State:
    """y + h Σ_j w_j d_j, by components."""
    for w, d in zip(weights, slopes, strict=True):
        if w:
            y = bare(tuple(a + (h * w) * b for a, b in zip(parts(y), parts(d), strict=True)))
    return y


def stages(tableau: Tableau, slope: Callable[[State, float], State], y: State, h: float) -> list[State]:
    """The slopes d_i = slope(y + h Σ_j a_ij d_j, c_i) of all stages."""
    found: list[State] = []
    for c, row in zip(tableau.c, tableau.a, strict=True):
        found.append(slope(plus(y, h, row, found), c))
    return found
