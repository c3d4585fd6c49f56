"""Laws of the shifted and the optimal grids: even spacing in their variable, identities between them, and optimality for Gaussian data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, GRIDS, SCHEDULES, SOLVERS, VE, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP, sample
from scorebed.solvers.equidistribution import lipschitz, tangent
from scorebed.solvers.grid import uniform, uniform_lam
from scorebed.solvers.spacing import (
    align_gaussian,
    align_klub,
    cosine,
    exponential,
    flow_shift,
    simple_diffusion,
    transfer,
)
from scorebed.toy.properties.strategies import schedules
from tests.test_grid import check_run

Error = Literal["kl", "w2"]
ERRORS: tuple[Error, ...] = ("kl", "w2")
SPECTRUM = [0.01, 0.3, 4.0]
OPTIONS: dict[str, dict[str, Any]] = {
    "simple_diffusion": {"resolution": 256},
    "align_gaussian": {"c": 0.5},
    "align_klub": {"c": 0.5},
    "tangent": {"variances": SPECTRUM},
    "lipschitz": {"variances": SPECTRUM},
}
VARIABLE: dict[str, Callable[[Node, list[Node]], float]] = {
    "cosine": lambda z, ends: math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (z.t - ends[0].t) / (ends[1].t - ends[0].t)))),
    "exponential": lambda z, _: math.log(z.sigma / z.alpha),
    "flow_shift": lambda z, _: (tau := z.sigma / (z.alpha + z.sigma)) / (3.0 - 2.0 * tau),
    "simple_diffusion": lambda z, _: Cosine(s=0.0).at_lam(z.lam - math.log(64 / 256)).t,
    "align_gaussian": lambda z, _: math.atan2(z.sigma, 0.5 * z.alpha),
    "align_klub": lambda z, _: math.log1p((0.5 * z.alpha / z.sigma) ** 2),
}
"""What is evenly spaced, written out anew; ``tangent`` and ``lipschitz`` have tests of their own."""


KINDS = (*VARIABLE, "tangent", "lipschitz")


def test_every_spacing_is_here() -> None:
    assert {"exponential", *(name for name, kind in GRIDS.items() if not kind.__module__.endswith(".grid"))} == set(KINDS)


def make(kind: str, schedule: Schedule, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    return GRIDS[kind](schedule, n, start, end, **OPTIONS.get(kind, {}))


def check_law(grid: list[Node], kind: str, schedule: Schedule, n: int, start: float, end: float) -> None:
    check_run(grid, schedule, n, start, end)
    if kind in VARIABLE:
        values = np.array([VARIABLE[kind](node, [grid[0], grid[-1]]) for node in grid])
        even = np.linspace(values[0], values[-1], n + 1)
        slack = 1e-7 if kind == "cosine" else 1e-11  # arccos takes the square root of round-off at its ends
        np.testing.assert_allclose(values, even, rtol=0.0, atol=slack * np.abs(values).max())


@pytest.mark.parametrize("n", [1, 2, 17, 100])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", list(SCHEDULES))
def test_default_grids_run_from_noise_to_data(name: str, kind: str, n: int) -> None:
    schedule = SCHEDULES[name]()
    check_law(make(kind, schedule, n), kind, schedule, n, schedule.t_max, schedule.t_min)


@given(schedules(), st.floats(0.0, 0.4), st.floats(0.5, 1.0), st.booleans(), st.sampled_from(sorted(KINDS)), st.integers(1, 12))
def test_grids_between_any_two_times(schedule: Schedule, a: float, b: float, forward: bool, kind: str, n: int) -> None:
    low, high = (schedule.t_min + u * (schedule.t_max - schedule.t_min) for u in (a, b))
    start, end = (low, high) if forward else (high, low)
    check_law(make(kind, schedule, n, start, end), kind, schedule, n, start, end)


def lams(grid: Sequence[Node]) -> Any:
    return np.array([node.lam for node in grid])


def same(a: list[Node], b: list[Node], atol: float = 1e-12) -> None:
    np.testing.assert_allclose(lams(a), lams(b), rtol=0.0, atol=atol)


def test_exponential_is_uniform_lam_and_geometric() -> None:
    assert exponential is uniform_lam
    steps = [b.sigma / a.sigma for a, b in pairwise(exponential(EDM(), 12))]
    np.testing.assert_allclose(steps, (0.002 / 80.0) ** (1 / 12), rtol=1e-12)


def test_shift_one_is_uniform_and_shifts_are_the_formula() -> None:
    flow = RectifiedFlow()
    same(flow_shift(flow, 9, shift=1.0), uniform(flow, 9))
    whole = flow_shift(RectifiedFlow(1e-9, 1.0 - 1e-9), 8, shift=3.0)
    t = np.linspace(1.0, 0.0, 9)
    np.testing.assert_allclose([z.t for z in whole], 3.0 * t / (1.0 + 2.0 * t), rtol=0.0, atol=1e-8)
    shifted = flow_shift(flow, 9, shift=2.5)
    back = RectifiedFlow(1e-6, 1.0 - 1e-6)
    before = [back.at_lam(z.lam + math.log(2.5)).t for z in shifted]
    np.testing.assert_allclose(np.diff(before), (before[-1] - before[0]) / 9, rtol=1e-9)


def test_simple_diffusion_is_the_shifted_cosine_schedule() -> None:
    """arXiv:2301.11093: logsnr = -2 log tan(pi t/2) + 2 log(64/d), t uniform; at d = 64 and on the cosine schedule, uniform in t."""
    d = 256
    times = np.linspace(0.95, 0.05, 7)
    logsnr = -2.0 * np.log(np.tan(0.5 * np.pi * times)) + 2.0 * np.log(64 / d)
    grid = simple_diffusion(EDM(), 6, math.exp(-0.5 * logsnr[0]), math.exp(-0.5 * logsnr[-1]), resolution=d)
    np.testing.assert_allclose(2.0 * lams(grid), logsnr, rtol=0.0, atol=1e-12)
    plain = Cosine(s=0.0)
    same(simple_diffusion(plain, 9, resolution=64), uniform(plain, 9), 1e-11)
    assert simple_diffusion(VP(), 9, resolution=32, base=16) == align_gaussian(VP(), 9, c=2.0)


def test_cosine_points_are_those_of_chebyshev() -> None:
    grid = cosine(RectifiedFlow(), 10, 0.9, 0.1)
    np.testing.assert_allclose([z.t for z in grid], 0.5 + 0.4 * np.cos(np.pi * np.arange(11) / 10), rtol=1e-14)


@given(schedules(), st.floats(0.05, 5.0), st.sampled_from(ERRORS), st.booleans())
def test_one_variance_gives_the_arctan_law(schedule: Schedule, c: float, error: Error, many: bool) -> None:
    same(tangent(schedule, 7, variances=[c * c, c * c, 0.0] if many else [c * c], error=error), align_gaussian(schedule, 7, c=c), 1e-9)


def test_multiplicities_are_repetitions() -> None:
    same(tangent(VP(), 7, variances=[0.1, 0.1, 0.1, 2.0]), tangent(VP(), 7, variances=np.array([2.0, 0.1]), weights=[1, 3]), 1e-10)


def ratios(lam: Any, c: Any) -> Any:
    """log of (standard deviation that DDIM ends with) / (true one) for each c: the sum of log cos(dtheta)."""
    theta = np.arctan(np.exp(-np.asarray(lam))[:, None] / np.asarray(c))
    return np.log(np.cos(np.diff(theta, axis=0))).sum(0)


def loss(lam: Any, c: Any, error: str, weights: Any = 1.0) -> float:
    """KL or W2², exactly, of N(0, (r c)²) from N(0, c²) at the last node, summed over c."""
    log_r = ratios(lam, c)
    if error == "kl":
        return float(np.sum(weights * (0.5 * np.expm1(2.0 * log_r) - log_r)))
    return float(np.sum(weights * (np.square(c) + math.exp(-2.0 * lam[-1])) * np.expm1(log_r) ** 2))


@pytest.mark.parametrize("schedule", [VP(), EDM(), RectifiedFlow()], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("grid_of", [uniform_lam, lambda s, n: align_gaussian(s, n, c=0.5)], ids=["uniform_lam", "align"])
def test_ddim_on_a_gaussian_is_a_product_of_cosines(schedule: Schedule, grid_of: Callable[..., list[Node]]) -> None:
    c, grid = 0.5, grid_of(schedule, 7)
    target = GaussianMixture([1.0], [[0.0]], [[[c * c]]])
    start, last = grid[0], grid[-1]
    x = np.array([[math.hypot(c * start.alpha, start.sigma)]])
    found = sample(SOLVERS["ddim"], target.denoised, x, grid, terminal="none")[0, 0] / math.hypot(c * last.alpha, last.sigma)
    assert math.log(found) == pytest.approx(ratios(lams(grid), [c])[0], rel=1e-9)


def perturbed(lam: Any, rng: np.random.Generator, size: float) -> Any:
    """Another grid with the same ends: each step's length changed by a random factor."""
    steps = np.diff(lam) * np.exp(size * rng.standard_normal(len(lam) - 1))
    return np.concatenate([[lam[0]], lam[0] + np.cumsum(steps) * (lam[-1] - lam[0]) / steps.sum()])


@given(schedules(), st.floats(0.05, 5.0), st.integers(2, 30), st.floats(0.01, 1.5), st.integers(0, 2**32 - 1))
def test_no_other_grid_beats_the_arctan_law(schedule: Schedule, c: float, n: int, size: float, seed: int) -> None:
    best = lams(align_gaussian(schedule, n, c=c))
    other = perturbed(best, np.random.default_rng(seed), size)
    assert ratios(other, [c])[0] < ratios(best, [c])[0] < 0.0


def test_the_arctan_law_keeps_its_digits_far_out() -> None:
    """rho -> c²/rho reverses the grid, so that neither theta near 0 nor theta near pi/2 may lose digits."""
    lam = lams(align_gaussian(EDM(1e-9, 1e9), 8, 1e9, 1e-9, c=1.0))
    np.testing.assert_allclose(lam, -lam[::-1], rtol=0.0, atol=1e-13)
    far = lams(align_gaussian(EDM(1e-9, 1e9), 8, 1e9, 1e8, c=1.0))  # 1/rho is as good as pi/2 - theta there
    np.testing.assert_allclose(np.exp(far), np.linspace(1e-9, 1e-8, 9), rtol=1e-13)
    near = lams(align_gaussian(EDM(1e-9, 1e9), 8, 1e-8, 1e-9, c=1.0))
    np.testing.assert_allclose(np.exp(-near), np.linspace(1e-8, 1e-9, 9), rtol=1e-13)


@pytest.mark.parametrize("n", [2, 5, 20])
@pytest.mark.parametrize("c", [0.1, 1.0, 3.0])
def test_the_arctan_law_is_stationary(c: float, n: int) -> None:
    """d/dtheta_i Σ log cos = tan(dtheta_i) - tan(dtheta_{i+1}) = 0, by central differences in theta."""
    theta = np.arctan(np.exp(-lams(align_gaussian(VP(), n, c=c))) / c)
    for i in range(1, n):
        shifts = np.zeros((2, n + 1))
        shifts[:, i] = 1e-4, -1e-4
        up, down = (np.log(np.cos(np.diff(theta + shift))).sum() for shift in shifts)
        assert abs(up - down) / 2e-4 < 1e-10


def test_the_best_end_before_a_last_evaluation() -> None:
    """terminal="denoise" is a step to theta = 0, so the best end is one step of n + 1 away from it."""
    c, n = 0.5, 6
    edm = EDM(1e-6, 80.0)

    def error(end: float) -> float:
        grid = align_gaussian(edm, n, None, end, c=c)
        x = sample(SOLVERS["ddim"], GaussianMixture([1.0], [[0.0]], [[[c * c]]]).denoised, np.array([[math.hypot(c, 80.0)]]), grid)
        return abs(float(x[0, 0]) / c - 1.0)

    best = c * math.tan(math.atan(80.0 / c) / (n + 1))
    assert all(error(best) < error(best * factor) for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0))


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("end", [0.01, 0.5])
@pytest.mark.parametrize("spectrum", [[0.01, 4.0], [0.001, 0.03, 1.0, 9.0]], ids=str)
def test_the_tangent_law_is_the_optimum(spectrum: list[float], end: float, error: Error) -> None:
    """Close to what a search over all grids of n steps finds, the closer the larger n, and better than its rivals."""
    schedule, c = EDM(end, 80.0), np.sqrt(spectrum)
    gaps = []
    for n in (12, 48):
        lam = lams(tangent(schedule, n, variances=spectrum, error=error))
        at = loss(lam, c, error)

        def of_logs(z: Any, lam: Any = lam, at: float = at) -> float:
            steps = np.diff(lam) * np.exp(z - z.mean())
            return loss(np.concatenate([[lam[0]], lam[0] + np.cumsum(steps) * (lam[-1] - lam[0]) / steps.sum()]), c, error) / at

        gaps.append(1.0 - minimize(of_logs, np.zeros(n), method="BFGS", options={"gtol": 1e-7}).fun)
        rivals = [align_gaussian(schedule, n, c=float(k)) for k in c] + [uniform_lam(schedule, n)]
        assert all(at < loss(lams(rival), c, error) for rival in rivals)
    assert -1e-9 < gaps[1] < min(5e-4, gaps[0] / 5.0)  # measured: n^-4 for kl, n^-2 for w2


def test_the_two_errors_have_different_optima() -> None:
    c, schedule = np.array([0.03, 3.0]), EDM(0.002, 80.0)
    kl, w2 = (lams(tangent(schedule, 200, variances=c**2, error=error)) for error in ERRORS)
    assert loss(kl, c, "kl") < 0.99 * loss(w2, c, "kl")
    assert loss(w2, c, "w2") < 0.99 * loss(kl, c, "w2")


def klub(lam: Any, c: float) -> float:
    """Σ ∫ rho^-3 (V(rho_i) - V(rho)) drho, exactly."""
    rho = np.exp(-np.asarray(lam))
    s, t = rho[:-1], rho[1:]
    before = c**2 * s**2 / (c**2 + s**2) * 0.5 * (t**-2.0 - s**-2.0)
    return float(np.sum(before - 0.5 * np.log((s**2 * (c**2 + t**2)) / (t**2 * (c**2 + s**2)))))


@pytest.mark.parametrize("c", [0.1, 0.5, 2.0])
def test_the_klub_law_is_the_optimum_of_its_bound(c: float) -> None:
    grid = lams(align_klub(EDM(), 2000, c=c))
    best = klub(grid, c)
    r = np.linspace(0.0, 1.0, 2001)
    for k in (1, 2, 3):
        for sign in (-1.0, 1.0):
            other = np.interp(r + sign * 0.2 / (k * np.pi) * np.sin(k * np.pi * r) * 0.9, r, grid)
            assert best < klub(other, c)
    assert best < min(klub(lams(g), c) for g in (align_gaussian(EDM(), 2000, c=c), uniform_lam(EDM(), 2000)))


def stretch(node: Node, v: float) -> float:
    return 0.5 * math.log(node.alpha**2 * v + node.sigma**2)


@pytest.mark.parametrize("schedule", [VE(), EDM()], ids=lambda s: type(s).__name__)
def test_lipschitz_without_scaling_is_uniform_in_the_log_of_the_narrowest(schedule: Schedule) -> None:
    values = [stretch(node, 0.01) for node in lipschitz(schedule, 15, variances=SPECTRUM)]
    np.testing.assert_allclose(np.diff(values), (values[-1] - values[0]) / 15, rtol=1e-9)


@pytest.mark.parametrize("schedule", [VP(), SubVP(), Cosine(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_lipschitz_steps_have_equal_shares(schedule: Schedule) -> None:
    """∫ L dt by brute force: the variation of log R over a fine path, the larger of the extremes at every sub-step."""
    grid = lipschitz(schedule, 6, 0.95, 0.05, variances=SPECTRUM)
    shares = []
    for a, b in pairwise(grid):
        path = [a.toward(b, float(r)) for r in np.linspace(0.0, 1.0, 2001)]
        moves = [np.abs(np.diff([stretch(node, v) for node in path])) for v in SPECTRUM]
        shares.append(np.max(moves, axis=0).sum())
    np.testing.assert_allclose(shares, np.mean(shares), rtol=1e-3)


def test_lipschitz_of_no_drift_is_refused() -> None:
    with pytest.raises(ValueError, match=r"variances = .*1.* leave VP\(.* no drift"):
        lipschitz(VP(), 5, variances=[1.0])


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "dpm_solver_2", "deis_rhoab2", "unipc_2", "heun"])
@pytest.mark.parametrize("schedule", [EDM(), RectifiedFlow(), SubVP(), Cosine()], ids=lambda s: type(s).__name__)
def test_transferred_grids_give_the_same_samples(name: str, schedule: Schedule) -> None:
    target = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, 0.0]], [[[0.1, 0.02], [0.02, 0.2]], np.eye(2) * 0.05])
    grid = uniform(VP(), 9, 0.9, 0.05)
    moved = transfer(grid, schedule)
    np.testing.assert_allclose(lams(moved), lams(grid), rtol=0.0, atol=1e-14)
    assert all(node.schedule is schedule for node in moved)
    same(transfer(moved, VP()), grid, 0.0)
    x = np.random.default_rng(0).standard_normal((20, 2))
    here = sample(SOLVERS[name], target.denoised, x, grid, terminal="none") / grid[-1].alpha
    there = sample(SOLVERS[name], target.denoised, x / grid[0].alpha * moved[0].alpha, moved, terminal="none") / moved[-1].alpha
    np.testing.assert_allclose(there, here, rtol=0.0, atol=1e-10)


def test_transfer_refuses_what_it_cannot_reach() -> None:
    with pytest.raises(ValueError, match="outside VE"):
        transfer(uniform(EDM(), 4), VE())
    with pytest.raises(TypeError, match="is not a list of nodes"):
        transfer(None, VP())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="is not a schedule"):
        transfer(uniform(EDM(), 4), VP)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("flow_shift", "shift"),
        ("simple_diffusion", "resolution"),
        ("simple_diffusion", "base"),
        ("align_gaussian", "c"),
        ("align_klub", "c"),
    ],
)
def test_bad_numbers_are_refused(kind: str, name: str, bad: float) -> None:
    with pytest.raises(ValueError, match=f"{name} = {bad} must be positive and finite"):
        GRIDS[kind](VP(), 5, **{**OPTIONS.get(kind, {}), name: bad})


@pytest.mark.parametrize("kind", ["tangent", "lipschitz"])
@pytest.mark.parametrize("bad", [[], [0.0], [-1.0, 1.0], [math.nan], [math.inf, 1.0], np.eye(2)], ids=str)
def test_bad_spectra_are_refused(kind: str, bad: Any) -> None:
    with pytest.raises(ValueError, match="must be a list of finite eigenvalues"):
        GRIDS[kind](VP(), 5, variances=bad)


def test_bad_weights_and_errors_are_refused() -> None:
    for weights in ([1.0], [1.0, 0.0], [1.0, math.nan]):
        with pytest.raises(ValueError, match="one for each of the 2 variances"):
            tangent(VP(), 5, variances=[1.0, 2.0], weights=weights)
    with pytest.raises(ValueError, match="error = 'tv' is not known"):
        tangent(VP(), 5, variances=[1.0], error="tv")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_grid_takes_is_refused(kind: str) -> None:
    for n in (0, 2.0, True):
        with pytest.raises(ValueError, match="is not a number of steps"):
            make(kind, VP(), n)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not strictly monotone between nodes 0 and 1"):
        make(kind, VP(), 3, 0.5, 0.5)
    with pytest.raises(ValueError, match="stop short"):
        make(kind, VP(), 3, None, 0.0)
    with pytest.raises(TypeError, match="is not a schedule"):
        make(kind, VP, 3)  # type: ignore[arg-type]
