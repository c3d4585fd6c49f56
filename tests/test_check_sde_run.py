"""``check_sde_solver(run, kind="run")``: intervals that cover, right runs pass, faults are named, and too few paths are told."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed import check_sde_solver
from scorebed.toy.check.sde import _Stepper
from scorebed.toy.check.sde_run import Runs
from scorebed.toy.measure.convergence import STEEPEST, profile_order
from scorebed.toy.problems.equations import EQUATIONS
from tests.test_check_sde import Step, euler_maruyama, heun, milstein, platen

Run = Callable[..., Any]


def drawing(step: Step, seeded: bool = True) -> Run:
    """The step on its own noise, from the seed or, whatever the seed is, from a stream that goes on from call to call."""
    stream = np.random.default_rng(0)

    def run(b: Any, s: Any, x: Any, t0: float, t1: float, steps: int, seed: int) -> Any:
        rng, t = np.random.default_rng(seed) if seeded else stream, np.linspace(t0, t1, steps + 1)
        for a, c in pairwise(t):
            x = step(b, s, x, a, c, np.sqrt(abs(c - a)) * rng.standard_normal(x.shape))
        return x

    return run


def test_the_interval_covers() -> None:
    """95 % of intervals hold the order of errors that are c h^p and noise, and as many tell pure noise as such."""
    rng, n = np.random.default_rng(0), np.array([4, 8, 16, 32])
    clean = n[:, None] ** -2.0 * np.array([1.0, -0.5, 0.2])
    root = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.5, 0.5, 1.0]]) * 1e-3
    covered, halved, silent = 0, 0, 0
    for _ in range(200):
        noise = rng.standard_normal((4, 3)) @ root.T
        order = profile_order([4, 8, 16, 32], list(clean + noise), [root @ root.T] * 4)
        covered += order is not None and order.low <= 2.0 <= order.high
        half = profile_order([4, 8, 16, 32], list(clean + noise), [root @ root.T] * 4, miss=0.5)
        halved += half is not None and half.low <= 2.0 <= half.high
        silent += profile_order([4, 8, 16, 32], list(noise), [root @ root.T] * 4) is None
    assert 180 <= covered < 200
    assert 80 <= halved <= 120
    assert 180 <= silent < 200
    kinked = clean + 5.0 * n[:, None] ** -4.0
    order = profile_order([4, 8, 16, 32], list(kinked), [1e-12 * np.eye(3)] * 4)
    assert order is not None
    assert 1.9 < order.low < order.high < STEEPEST


@pytest.mark.parametrize("seeded", [True, False])
@pytest.mark.parametrize("name", ["gbm", "double well"])
def test_the_error_is_that_of_the_transfer_operator(name: str, seeded: bool) -> None:
    """With control variates or without, the mean over paths is the weak error that quadrature gives."""
    runs = Runs(drawing(euler_maruyama, seeded), 0.0, 30000, np.random.default_rng(3), seeded)
    (mean, covariance), strong = runs.level(EQUATIONS[name], 1.0, 6)
    error = _Stepper(euler_maruyama, "ito").weak_error(EQUATIONS[name], 1.0, 6)
    spread = float(np.sqrt(mean @ covariance @ mean)) / float(np.linalg.norm(mean))
    bias = float(np.trace(covariance)) / (2.0 * error)
    assert abs(float(np.linalg.norm(mean)) - bias - error) < 4.0 * spread
    if name == "gbm":
        assert (spread < 0.05 * error) == seeded
        assert (strong is not None) == seeded


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (euler_maruyama, {"weak": 1.0, "strong": 0.5}),
        (milstein, {"weak": 1.0, "strong": 1.0, "backward": False}),
        (platen, {"weak": 2.0, "strong": 0.5, "backward": False, "paths": 24000}),
        (heun, {"weak": 1.0, "strong": 1.0, "calculus": "stratonovich", "backward": False}),
    ],
    ids=["euler_maruyama", "milstein", "platen", "heun"],
)
def test_a_right_run_passes(step: Step, options: dict[str, Any]) -> None:
    result = check_sde_solver(drawing(step), kind="run", **{"paths": 6000, **options})
    assert result.passed, result
    assert result["the noise itself"].status == "pass"


def test_the_intervals_of_a_check_hold_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each order has its share of what may be missed, against time and strong ones too."""
    shares = list[float]()

    def recorded(steps: Any, errors: Any, covariances: Any, miss: float) -> Any:
        shares.append(miss)
        return profile_order(steps, errors, covariances, miss)

    monkeypatch.setattr("scorebed.toy.check.sde_run.profile_order", recorded)
    check_sde_solver(drawing(euler_maruyama), kind="run", paths=3000)
    assert len(shares) > len(EQUATIONS)
    assert abs(sum(shares) - 0.05) < 1e-12


def one_noise(b: Any, s: Any, x: Any, t0: float, t1: float, steps: int, seed: int) -> Any:
    rng, h = np.random.default_rng(seed), (t1 - t0) / steps
    for i in range(steps):
        x = euler_maruyama(b, s, x, t0 + i * h, t0 + (i + 1) * h, np.sqrt(abs(h)) * rng.standard_normal())
    return x


TWINS: dict[str, Run] = {
    "noise scaled by h in place of sqrt(h)": drawing(lambda b, s, x, t, u, w: euler_maruyama(b, s, x, t, u, w * np.sqrt(abs(u - t)))),
    "noise 0.9 times what it should be": drawing(lambda b, s, x, t, u, w: euler_maruyama(b, s, x, t, u, 0.9 * w)),
    "noise left out": drawing(lambda b, s, x, t, u, w: euler_maruyama(b, s, x, t, u, 0.0 * w)),
    "solves the Stratonovich equation": drawing(heun),
    "corrects for Stratonovich twice, or the wrong way": drawing(
        lambda b, s, x, t, u, w: 2.0 * euler_maruyama(b, s, x, t, u, w) - heun(b, s, x, t, u, w)
    ),
    "drift left out": drawing(lambda b, s, x, t, u, w: x + s(x, t) * w, seeded=False),
    "sign of the drift, against time": drawing(lambda b, s, x, t, u, w: x + b(x, t) * abs(u - t) + s(x, t) * w),
    "one noise for all paths": one_noise,
    "the seed is ignored": lambda b, s, x, t0, t1, steps, seed: drawing(euler_maruyama)(b, s, x, t0, t1, steps, 5),
}


@pytest.mark.parametrize("cause", TWINS)
def test_a_wrong_twin_is_named(cause: str) -> None:
    result = check_sde_solver(TWINS[cause], kind="run", weak=1, paths=6000, backward="against" in cause)
    assert not result.passed
    assert result.cause is not None
    named = re.sub(r"0\.(89|9)\d*", "0.9", result.cause)  # to the noise of so few paths
    assert named == cause, result


def test_the_sign_of_milsteins_term_costs_the_strong_order() -> None:
    """Its weak order is kept: only the solver's own paths, read off its seed, show it."""
    twin = drawing(lambda b, s, x, t, u, w: 2.0 * euler_maruyama(b, s, x, t, u, w) - milstein(b, s, x, t, u, w))
    result = check_sde_solver(twin, kind="run", weak=1, strong=1, paths=4500, backward=False)
    assert {f.name for f in result.failures} == {"strong order: gbm", "strong order: sinh"}, result


def test_an_order_that_is_not_there_is_refused() -> None:
    result = check_sde_solver(drawing(euler_maruyama), kind="run", weak=2, noise="additive", paths=9000, backward=False)
    assert any(f.detail == "lower than claimed" for f in result.failures), result


def test_too_few_paths_are_told() -> None:
    """An order that no interval decides is not a pass, and a run without a seed has no strong order."""
    run = drawing(platen, seeded=False)
    result = check_sde_solver(run, kind="run", weak=2, strong=0.5, paths=3000, backward=False)
    assert {f.name for f in result.failures} == {"weak order, decided", "strong order, decided"}, result
    assert "too noisy" in result["weak order: gbm"].detail
    assert "paths=50000" in result["weak order: gbm"].detail
    assert result["strong order: gbm"].status == "skip"


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="kind = 'walk'"):
        check_sde_solver(one_noise, kind="walk")
    with pytest.raises(ValueError, match="paths = 10"):
        check_sde_solver(one_noise, kind="run", paths=10)
    result = check_sde_solver(lambda b, s, x, t0, t1, steps, seed: x[:, None], kind="run", weak=1)
    assert "must be equal" in result.failures[0].measured


def test_a_run_of_torchsde() -> None:
    pytest.importorskip("torchsde")
    from scorebed.toy.foreign.sde import torchsde_run

    result = check_sde_solver(torchsde_run("euler"), kind="run", weak=1, strong=0.5, paths=3000, backward=False)
    assert result.passed, result
