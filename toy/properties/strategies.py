r"""hypothesis strategies for schedules, nodes, grids, exact laws, solvers and seeds, for property tests here and in other projects.

    from hypothesis import given
    from scorebed.toy.properties.strategies import grids, mixtures, solvers

    @given(solvers(stochastic=False), grids(max_steps=6), mixtures(d=2))
    def test_mine(solver, grid, mixture): ...

Everything drawn is valid: schedules have sane constants, grids are strictly monotone with steps of bounded ratio, covariances are positive
definite. ``scorebed.strategies`` is this module. hypothesis comes with the extra ``testing``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

try:
    from hypothesis import strategies as st
    from hypothesis.extra import numpy as hnp
except ImportError as error:
    raise ImportError("scorebed.strategies needs hypothesis, of the extra testing: pip install 'scorebed[testing]'") from error

from scorebed.solvers.grid import check
from scorebed.solvers.schedule import EDM, VE, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP

if TYPE_CHECKING:
    from scorebed.analytic import GaussianMixture
    from scorebed.solvers import Solver

Strategy = st.SearchStrategy
STRUCTURES = ("isotropic", "diagonal", "full")
"""Covariance structures that ``mixtures`` draws."""


def _schedules() -> dict[str, Strategy[Schedule]]:
    def betas(kind: type[VP]) -> Strategy[Schedule]:
        return st.builds(kind, beta_min=st.floats(0.05, 2.0), beta_max=st.floats(2.0, 25.0))

    return {
        "VP": betas(VP),
        "SubVP": betas(SubVP),
        "Cosine": st.builds(Cosine, s=st.floats(0.0, 0.05)),
        "VE": st.builds(VE, sigma_min=st.floats(1e-3, 0.1), sigma_max=st.floats(5.0, 500.0)),
        "EDM": st.builds(EDM, sigma_min=st.floats(1e-3, 0.1), sigma_max=st.floats(5.0, 500.0)),
        "RectifiedFlow": st.builds(RectifiedFlow),
    }


def schedules(*names: str) -> Strategy[Schedule]:
    """Schedules with random constants; ``names`` (keys of ``solvers.SCHEDULES``) narrows the kinds.

    Returns:
        a Strategy of schedules.

    Raises:
        ValueError: a name that is not known.
    """
    known = _schedules()
    for name in names:
        if name not in known:
            raise ValueError(f"schedule {name!r} is not known: give some of {', '.join(known)}")
    return st.one_of([known[name] for name in names or known])


def nodes(schedule: Schedule | Strategy[Schedule] | None = None) -> Strategy[Node]:
    """Nodes of ``schedule`` (an instance, a strategy of them, or any) between its ``t_min`` and ``t_max``."""
    return _schedule(schedule).flatmap(lambda made: st.floats(made.t_min, made.t_max).map(made.node))


@st.composite
def grids(
    draw: st.DrawFn,
    schedule: Schedule | Strategy[Schedule] | None = None,
    min_steps: int = 1,
    max_steps: int = 12,
    towards: Literal["data", "noise", "either"] = "data",
    variable: Literal["lam", "t", "either"] = "either",
    ratio: float = 5.0,
    lam: tuple[float, float] | None = None,
) -> list[Node]:
    """Strictly monotone grids of ``min_steps`` to ``max_steps`` unequal steps.

    Args:
        schedule: an instance, a strategy of them, or None for any.
        min_steps, max_steps: bounds on the number of steps; the grid has one node more.
        towards: from noise to data, from data to noise, or either.
        variable: in which variable the steps are drawn.
        ratio: the largest step over the smallest, in that variable.
        lam: bounds on lam, to stay where a law is not lost in round-off; None keeps the schedule's own range.

    Returns:
        a grid of strictly monotone nodes.

    Raises:
        ValueError: the schedule has no nodes within the bounds.
    """
    made = draw(_schedule(schedule))
    variable = draw(st.sampled_from(("lam", "t"))) if variable == "either" else variable
    first, last = made.node(made.t_max), made.node(made.t_min)
    if lam is not None:
        if min(lam[1], last.lam) <= max(lam[0], first.lam):
            raise ValueError(f"lam = {lam} has no part in {made}, which runs from lam = {first.lam:.3g} to {last.lam:.3g}")
        first, last = (made.at_lam(lam[0]) if first.lam < lam[0] else first), (made.at_lam(lam[1]) if last.lam > lam[1] else last)
    noisy, clean = getattr(first, variable), getattr(last, variable)
    n = draw(st.integers(min_steps, max_steps))
    gaps = np.array(draw(st.lists(st.floats(1.0, ratio), min_size=n, max_size=n)))
    begin, end = draw(st.floats(0.0, 0.3)), draw(st.floats(0.7, 1.0))
    shares = begin + (end - begin) * np.concatenate(([0.0], np.cumsum(gaps) / np.sum(gaps)))
    at = made.at_lam if variable == "lam" else made.node
    low, high = sorted((noisy, clean))
    grid = [at(min(max(noisy + float(share) * (clean - noisy), low), high)) for share in shares]
    if towards == "noise" or (towards == "either" and draw(st.booleans())):
        grid.reverse()
    return check(grid)


@st.composite
def mixtures(
    draw: st.DrawFn,
    d: int | None = None,
    k: int | None = None,
    structure: str | None = None,
    spread: float = 3.0,
    std: tuple[float, float] = (0.05, 1.5),
) -> GaussianMixture:
    """``analytic.GaussianMixture`` of ``k`` components (default 1 to 4) in ``d`` dimensions (default 1 to 3).

    Args:
        structure: one of ``STRUCTURES``, or None for any.
        spread: the means lie in [-spread, spread]^d.
        std: bounds on the components' standard deviations (of the eigenvalues' roots, for full covariances).

    Returns:
        the drawn GaussianMixture.

    Raises:
        ValueError: an unknown structure.
    """
    from scorebed.analytic import GaussianMixture

    if structure is not None and structure not in STRUCTURES:
        raise ValueError(f"structure = {structure!r} is not known: give one of {', '.join(STRUCTURES)}")
    structure = draw(st.sampled_from(STRUCTURES)) if structure is None else structure
    d = draw(st.integers(1, 3)) if d is None else d
    k = draw(st.integers(1, 4)) if k is None else k
    weights = draw(_array((k,), 0.05, 1.0))
    means = draw(_array((k, d), -spread, spread))
    variances = draw(_array((k,) if structure == "isotropic" else (k, d), *std)) ** 2
    covariances = variances
    if structure == "full":
        q = np.linalg.qr(draw(_array((k, d, d), -1.0, 1.0)) + 2.0 * np.eye(d)).Q
        covariances = np.einsum("kij,kj,klj->kil", q, variances, q)
        covariances = 0.5 * (covariances + covariances.transpose(0, 2, 1))
    return GaussianMixture(weights / weights.sum(), means, covariances)


def gaussians(d: int | None = None, structure: str | None = None, **options: Any) -> Strategy[GaussianMixture]:
    """Single Gaussians, as mixtures of one component; ``options`` as for ``mixtures``."""
    return mixtures(d=d, k=1, structure=structure, **options)


def solvers(stochastic: bool | None = None, unrollable: bool | None = None) -> Strategy[Solver]:
    """Registered solvers of gaussian processes; ``stochastic`` and ``unrollable`` (into a Plan), where given, narrow the choice.

    Returns:
        a Strategy of registered solvers.

    Raises:
        ValueError: no registered solver is left.
    """
    from scorebed.solvers import methods_on

    chosen = [s for s in methods_on().values() if stochastic in (None, s.weak is not None) and unrollable in (None, s.nonlinear is None)]
    if not chosen:
        raise ValueError(f"no registered solver has stochastic = {stochastic} and unrollable = {unrollable}")
    return st.sampled_from(chosen)


def seeds() -> Strategy[int]:
    """Seeds for ``solvers.noise`` and for NumPy generators."""
    return st.integers(0, 2**32 - 1)


def _schedule(schedule: Schedule | Strategy[Schedule] | None) -> Strategy[Any]:
    if schedule is None:
        return schedules()
    return schedule if isinstance(schedule, st.SearchStrategy) else st.just(schedule)


def _array(shape: tuple[int, ...], low: float, high: float) -> Strategy[np.ndarray]:
    return hnp.arrays(np.float64, shape, elements=st.floats(low, high))
