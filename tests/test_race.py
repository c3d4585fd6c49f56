"""The race of ``advise``: who is left, who was left behind, and what it cost."""

from __future__ import annotations

import runpy
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed.solvers import Plan
from scorebed.toy.tuning.advise import advise
from scorebed.toy.tuning.families import member
from scorebed.toy.tuning.race import interval, middle_half, race, ratio_interval
from scorebed.toy.tuning.setting import Setting


@given(n=st.integers(1, 300), states=st.integers(4, 120), first=st.integers(1, 3), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_a_race(n: int, states: int, first: int, seed: int) -> None:
    """Those that are left saw every state and are in order, as are the others by what they saw; the best, always the best, is found."""
    rng = np.random.default_rng(seed)
    truth, asked = rng.permutation(n) + 1.0, [0]
    chance = n * rng.random((n, states))

    def ask(some: Sequence[int], rows: slice) -> tuple[list[np.ndarray], int]:
        asked[0] += len(some) * (rows.stop - rows.start)
        assert rows.stop <= states
        return [truth[k] + (truth[k] > 1.0) * chance[k, rows] for k in some], len(some) * (rows.stop - rows.start)

    run = race(n, states, ask, first=first)
    assert sorted(run.ranking + run.others) == list(range(n))
    assert truth[run.ranking[0]] == 1.0
    for some in (run.ranking, run.others):
        middle = [np.sort(np.log(run.errors[k]))[len(run.errors[k]) // 4 : -(len(run.errors[k]) // 4) or None].mean() for k in some]
        assert np.all(np.diff(middle) > -1e-12)
    assert {len(run.errors[k]) for k in run.ranking} == {states}
    assert run.evaluations == asked[0] == sum(map(len, run.errors))
    assert len(run.ranking) == n or len(run.ranking) >= 8
    assert run.evaluations <= n * states
    over = race(n, states, ask, first=first, until=time.monotonic() - 1.0)
    assert {len(one) for one in over.errors} == {len(over.errors[0])}
    assert len(over.errors[0]) <= max(3, states // 2)


@given(n=st.integers(1, 60), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_the_middle_half_of_errors(n: int, seed: int) -> None:
    """It scales as errors do, lies between the quartiles, does not hear how far off the worst quarter is, and goes along the last axis."""
    rng = np.random.default_rng(seed)
    errors = np.exp(2.0 * rng.standard_normal(n))
    low, high = np.sort(errors)[[n // 4, n - 1 - n // 4]]
    assert low * (1 - 1e-12) <= middle_half(errors) <= high * (1 + 1e-12)
    np.testing.assert_allclose(middle_half(7.0 * rng.permutation(errors)), 7.0 * middle_half(errors), rtol=1e-12)
    far = np.where(np.argsort(np.argsort(errors)) >= n - n // 4, np.inf, errors)
    np.testing.assert_allclose(middle_half(far), middle_half(errors), rtol=1e-12)
    np.testing.assert_allclose(middle_half(np.stack([errors, 2.0 * errors])), [middle_half(errors), 2.0 * middle_half(errors)], rtol=1e-12)
    assert middle_half(np.full(n, np.inf)) == np.inf


def test_chance_moves_it_less_than_the_median() -> None:
    """Where log errors are normal, and more where they come in two kinds; intervals of it hold it, its own and that of a ratio."""
    rng = np.random.default_rng(0)
    for kinds in (0.0, 1.5):
        errors = np.exp(rng.standard_normal((4000, 96)) * (0.5 if kinds else 1.0) + kinds * rng.choice([-1.0, 1.0], (4000, 96)))
        apart = np.std(np.log(middle_half(errors))) / np.std(np.log(np.median(errors, axis=-1)))
        assert apart < (0.75 if kinds else 0.93)
    one, other = np.exp(rng.standard_normal((2, 400)))
    low, high = interval(one, of=middle_half)
    assert low < middle_half(one) < high
    assert (low, high) != interval(one)
    ratio, low, high = ratio_interval(one, other, of=middle_half)
    assert low < ratio < high
    assert ratio == pytest.approx(middle_half(one) / middle_half(other))


def test_what_the_benchmark_holds_advice_against(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sixteen best of all on some states are told on others, and the advised one beside them, though it is none of them."""
    row = runpy.run_path(str(Path(__file__).resolve().parent.parent / "benchmarks" / "advice.py"))["row"]
    setting = member("products", 70)
    advice = advise(setting, 3, methods=["ddim", "dpmpp_2m", "heun"], states=8)
    plans = [c.plan for c in (*advice.ranking, *advice.others)]
    assert len(plans) > 18
    asked = list[tuple[int, int, int]]()

    def errors(_: Setting, some: list[Plan], states: int, seed: int) -> np.ndarray:
        """On the states that choose, the earlier the worse; on those that tell, 2 for the advised, 1 for the eighth best, 3 for others."""
        asked.append((len(some), states, seed))
        where = [plans.index(plan) for plan in some]
        told = {0: 2.0, len(plans) - 8: 1.0}
        return np.array([np.full(states, 99.0 - k if seed == 4242 else told.get(k, 3.0)) for k in where])

    monkeypatch.setitem(row.__globals__, "_errors", errors)
    monkeypatch.setitem(row.__globals__, "advise", lambda *_, **__: advice)
    cells = row(setting, 3, states=8, test=5, confirm=20).split(" | ")
    assert [(n, states) for n, states, _ in asked] == [(len(plans), 5), (17, 20)]
    assert asked[0][2] != asked[1][2]
    best = [*advice.ranking, *advice.others][-8]
    assert cells[2:6] == [str(len(plans)), advice.best.label, best.label, "2.000"]
    assert cells[7] == "2"
