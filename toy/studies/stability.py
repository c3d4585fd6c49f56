r"""Linear stability: the test equation dy/drho = lambda y, on equal steps of rho, through the real step of a solver.

On the EDM schedule (alpha = 1, sigma = rho) the denoiser D = y - rho lambda y has the slope (y - D)/rho = lambda y. A step of length h = -1
is then a linear map of the state and of every array in the carry, and its coefficients are found by handing it unit vectors. Several steps
in a row give x_0, x_1, x_2, … as linear functions of where they began, and for a method that is autonomous in rho these obey

    x_{n+k} = Σ_{j<k} a_j(z) x_{n+j},      z = lambda h,

whose roots decide: the region of absolute stability is where none of them exceeds one in modulus. That the recurrence also holds one step
later is checked, so that a method that is not autonomous in rho (an exponential integrator in lam) is refused and not measured wrongly.
A method whose steps repeat in cycles, such as one with cached evaluations, is looked at once in a ``period``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from scorebed.solvers import EDM, SOLVERS, Node, Solver
from scorebed.solvers.base import advance
from scorebed.solvers.methods.stabilized import stork_2

_WARM = 6  # steps that fill any memory
_LONGEST = 8  # the longest recurrence looked for
_PROBE = -0.3141 + 0.2718j  # a point where no root is special
_EDGE = 1e-10  # a root may exceed one by this: round-off at a root of modulus one


def _nodes(period: int) -> list[Node]:
    n = period * (_WARM + _LONGEST + 3)
    return [EDM().node(float(n + 2 - i)) for i in range(n + 1)]


def _no_noise(s: Node, t: Node) -> Any:
    raise ValueError("the solver draws noise: a region of absolute stability is that of a deterministic method")


def _replaced(value: Any, fill: Any) -> Any:
    """The carry with each array in it replaced by ``fill()``."""
    if isinstance(value, np.ndarray):
        return fill()
    if isinstance(value, dict):
        return {k: _replaced(v, fill) for k, v in value.items()}
    return type(value)(_replaced(v, fill) for v in value) if type(value) in (tuple, list) else value


def _orbits(solver: Solver, z: NDArray[np.complex128], steps: int, period: int) -> NDArray[np.complex128]:
    """x after 0 … ``steps`` periods for every z and every unit vector of (x, arrays of the carry): shape (steps + 1, z, unknowns)."""
    if solver.weak is not None or solver.nonlinear is not None:
        raise ValueError(
            f"{solver.name} {'draws noise' if solver.weak is not None else solver.nonlinear}: it has no region of absolute stability"
        )
    nodes, warm = _nodes(period), period * _WARM

    def denoise(rates: NDArray[np.complex128]) -> Any:
        return lambda x, node: x + node.rho * rates * x  # h = -1, so lambda = -z

    carry: Any = None
    x = np.ones((1, 1), complex)
    for s, t in pairwise(nodes[: warm + 1]):
        x, carry = advance(solver, denoise(np.array([[_PROBE]])), x, s, t, carry, _no_noise)
    count = 1

    def counted() -> None:
        nonlocal count
        count += 1

    _replaced(carry, counted)
    units = iter(np.eye(count, dtype=complex)[:, None, :] + np.zeros((1, len(z), 1)))
    x = next(units)
    carry = _replaced(carry, lambda: next(units))
    orbit = [x]
    for s, t in pairwise(nodes[warm : warm + period * steps + 1]):
        x, carry = advance(solver, denoise(z[:, None]), x, s, t, carry, _no_noise)
        orbit.append(x)
    return np.array(orbit[::period])


def recurrence_length(solver: Solver, period: int = 1) -> int:
    """k, the number of roots: 1 for a one-step method.

    Returns:
        k, the number of roots.

    Raises:
        ValueError: stochastic, nonlinear, or not autonomous in rho.
    """
    orbit = _orbits(solver, np.array([_PROBE]), _LONGEST + 1, period)[:, 0]
    for k in range(1, _LONGEST + 1):
        coefficients, *_ = np.linalg.lstsq(orbit[:k].T, orbit[k], rcond=1e-10)
        if all(
            np.allclose(orbit[j : j + k].T @ coefficients, orbit[j + k], rtol=0.0, atol=1e-8 * np.abs(orbit[: j + k + 1]).max())
            for j in (0, 1)
        ):
            return k
    raise ValueError(f"{solver.name} obeys no recurrence with constant coefficients on equal steps of rho: it is not autonomous in rho")


def roots(solver: Solver, z: ArrayLike, period: int = 1) -> NDArray[np.complex128]:
    """The roots of the recurrence at each z = lambda h, from one period to the next; shape (…, k)."""
    flat = np.atleast_1d(np.asarray(z, complex)).ravel()
    k = recurrence_length(solver, period)
    orbit = np.moveaxis(_orbits(solver, flat, k, period), 0, -1)
    coefficients = (np.linalg.pinv(orbit[..., :k], rcond=1e-11) @ orbit[..., k:])[..., 0]
    companion = np.zeros((len(flat), k, k), complex)
    companion[:, range(k - 1), range(1, k)] = 1.0
    companion[:, -1, :] = coefficients
    return np.asarray(np.linalg.eigvals(companion), complex).reshape(*np.shape(z), k)


def amplification(solver: Solver, z: ArrayLike, period: int = 1) -> NDArray[np.float64]:
    """The largest modulus of a root at each z = lambda h, for one step: below one, the solution decays as it should."""
    return np.asarray(np.abs(roots(solver, z, period)).max(axis=-1) ** (1.0 / period))


def real_interval(solver: Solver, longest: float = 1000.0, step: float = 0.02, period: int = 1) -> float:
    """The length of the interval (-length, 0) of real z in which the method is stable, to about 1e-9.

    The first crossing is looked for at multiples of ``step`` that grow by 1 % and then found by bisection; ``longest`` where there is none.

    Returns:
        the length of the stable real interval, at most ``longest``.
    """
    marks = [step]
    while marks[-1] < longest:
        marks.append(min(longest, max(marks[-1] + step, 1.003 * marks[-1])))
    # off the round numbers, where roots may coincide
    outside = np.flatnonzero(amplification(solver, -np.array(marks) * (1.0 + 1e-7), period) > 1.0 + _EDGE)
    if not len(outside):
        return longest
    first = int(outside[0])
    low, high = (marks[first - 1] if first else 0.0), marks[first]
    while high - low > 1e-10 * high:
        middle = 0.5 * (low + high)
        if amplification(solver, -middle, period) > 1.0 + _EDGE:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


def intervals(solvers: Mapping[str, Solver]) -> pd.DataFrame:
    """``real_interval`` of each solver, by label. Columns: solver, length (NaN where there is no region), roots, why (there is none)."""
    rows: list[tuple[str, float, float, str]] = []
    for label, solver in solvers.items():
        try:
            rows.append((label, real_interval(solver), float(recurrence_length(solver)), ""))
        except ValueError as refused:
            rows.append((label, math.nan, math.nan, str(refused)))
    return pd.DataFrame(rows, columns=["solver", "length", "roots", "why"])


def families() -> dict[str, dict[str, Solver]]:
    """The regions that belong side by side: what momentum, and what stages, do to those of the plain methods above them."""
    betas = (1.0, 0.8, 0.5, 0.3)
    return {
        "Adams-Bashforth": {f"order {r}": SOLVERS[f"lms_{r}"] for r in (1, 2, 3, 4)},
        "Generalised heavy ball, β = 0.5": {f"order {r}": SOLVERS[f"ghvb_{r}"](beta=0.5) for r in (1, 2, 3, 4)},
        "Runge-Kutta": {name: SOLVERS[name] for name in ("euler", "heun", "kutta3", "rk4")},
        "Chebyshev (RKC2)": {f"{s} stages": SOLVERS["rkc2"](stages=s) for s in (2, 3, 4, 5)},
        "Heavy ball on order 4": {f"β = {b:g}": SOLVERS["hb_lms_4"](beta=b) for b in betas},
        "Generalised heavy ball, order 4": {f"β = {b:g}": SOLVERS["ghvb_4"](beta=b) for b in betas},
        "Nesterov on order 4": {f"β = {b:g}": SOLVERS["nesterov_lms_4"](beta=b) for b in betas},
        "STORK-2": {f"{s} stages": stork_2(stages=s) for s in (2, 3, 10, 50)},
    }
