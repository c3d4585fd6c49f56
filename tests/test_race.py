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
from scorebed.toy.tuning.race import race
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
