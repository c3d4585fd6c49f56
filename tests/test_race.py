"""The race of ``advise``: who is left, who was left behind, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed.toy.tuning.race import race


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
        medians = [np.median(run.errors[k]) for k in some]
        assert medians == sorted(medians)
    assert {len(run.errors[k]) for k in run.ranking} == {states}
    assert run.evaluations == asked[0] == sum(map(len, run.errors))
    assert len(run.ranking) == n or len(run.ranking) >= 8
    assert run.evaluations <= n * states
    over = race(n, states, ask, first=first, until=time.monotonic() - 1.0)
    assert {len(one) for one in over.errors} == {len(over.errors[0])}
    assert len(over.errors[0]) <= max(3, states // 2)
