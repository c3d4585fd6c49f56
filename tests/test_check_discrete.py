"""``check_discrete``: right samplers pass, in NumPy and torch; each planted fault is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import scorebed
from scorebed.analytic.finite import TableLaw
from scorebed.solvers import SOLVERS
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.check.discrete import check_discrete
from scorebed.toy.foreign.threshold import Continuous
from scorebed.toy.foreign.tokens import Edge, Seeded, answered, courses
from scorebed.toy.problems.jump import random_table

MASK = 2
STEPS = (2, 4, 8)


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True))


def beside(p: np.ndarray, shown: float) -> np.ndarray:
    """Values with probability ``shown``, else the mask."""
    return np.concatenate([shown * p, np.full((*p.shape[:-1], 1), 1.0 - shown)], -1)


def ancestral(
    show: Callable[[list[float], int], float] = lambda times, i: (times[i] - times[i + 1]) / times[i],
    heat: float = 1.0,
    leak: float = 0.0,
    clean: bool = False,
) -> Callable[..., Any]:
    """A sampler of masks with one thing or another wrong."""

    def sampler(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        for i in range(len(times) - 1):
            p = softmax(heat * logits(state, times[i]))
            full = beside(p, show(times, i) * (1.0 - leak))
            state = np.where(state == MASK, draw(full), state)
        return np.where(state == MASK, draw(softmax(logits(state, 0.0))), state) if clean else state

    return sampler


def late(times: list[float], i: int) -> float:
    s, t = times[i + 1], times[i + 2] if i + 2 < len(times) else 2 * times[i + 1] - times[i]
    return 1.0 if s <= 0.0 else min((s - t) / s, 1.0)


def remasking(made_up_for: bool) -> Callable[..., Any]:
    def sampler(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        for s, t in pairwise(times):
            sigma = min(s - t, t / (1.0 - s) if s < 1.0 else 1.0)
            shown = ((1.0 - t) - (1.0 - sigma * made_up_for) * (1.0 - s)) / s
            known = np.eye(3)[state] * (1.0 - sigma) + sigma * np.eye(3)[MASK]
            state = draw(np.where((state == MASK)[..., None], beside(softmax(logits(state, s)), shown), known))
        return state

    return sampler


def most_confident(logits: Any, state: Any, times: Any, draw: Any) -> Any:
    rows = np.arange(len(state))
    for t in times[1:]:
        p = softmax(logits(state))
        value = draw(p)
        sure = np.where(state == MASK, np.take_along_axis(p, value[..., None], -1)[..., 0], -1.0)
        state = state.copy()
        for _ in range(round(state.shape[1] * (1.0 - t)) - int((state != MASK)[0].sum())):
            place = sure.argmax(1)
            state[rows, place] = value[rows, place]
            sure[rows, place] = -1.0
    return state


def gumbel(dtype: Any, cast: Any = None) -> Callable[..., Any]:
    def sampler(logits: Any, state: Any, times: Any) -> Any:
        rng = np.random.default_rng(0)
        for s, t in pairwise(times):
            here = logits(state, s)
            u = rng.random(here.shape, dtype=dtype)
            noise = -np.log(-np.log(u if cast is None else u.astype(cast)))
            show = (state == MASK) & (rng.random(state.shape) < (s - t) / s)
            state = np.where(show, (here + noise).argmax(-1), state)
        return state

    return sampler


def redrawn(logits: Any, state: Any, times: Any, draw: Any) -> Any:
    """Draws tokens that are finished again (as a loop that forgets which were masked)."""
    for s, t in pairwise(times):
        p = softmax(np.where(state[..., None] == MASK, logits(state, s), 0.0))
        state = np.where((state == MASK) | (t == 0.0), draw(beside(p, (s - t) / s)), state)
    return state


@pytest.mark.parametrize(
    ("sampler", "cause", "finding"),
    [
        (ancestral(show=late), "off by one", "masked half-way"),
        (ancestral(show=lambda times, i: times[i] - times[i + 1]), "forgotten renormalisation", "masked half-way"),
        (ancestral(show=lambda times, i: times[i] - times[i + 1], clean=True), "forgotten renormalisation", "masked half-way"),
        (ancestral(leak=0.02), "masks are left in the output", "masks left"),
        (ancestral(heat=1.3), "a temperature of 0.769 in the draw", "single draws"),
        (remasking(False), "the remasking rate is not made up for", "masked half-way"),
        (most_confident, "looks at what was drawn", "order"),
        (gumbel(np.float32), "float32 Gumbel", "uniform numbers"),
        (gumbel(np.float64, np.float32), "probability 0 is drawn at u next to 1", "uniform numbers"),
        ("tau_leaping", "masks are left in the output", "masks left"),
    ],
    ids=["late", "undivided", "undivided, cleaned", "leak", "heat", "remasking", "confidence", "float32", "cast", "leaping"],
)
def test_planted_faults_are_found_and_named(sampler: Any, cause: str, finding: str) -> None:
    report = check_discrete(sampler, steps=STEPS, samples=20_000)
    assert not report.passed
    assert cause in (report.cause or ""), str(report)
    assert report[finding].status == "fail"
    assert json.loads(json.dumps(report.as_dict()))["cause"] == report.cause


def test_finished_tokens_that_change_are_noted() -> None:
    report = check_discrete(redrawn, steps=STEPS)
    assert report["finished tokens"].status == "note"
    assert report.changes


@pytest.mark.parametrize(
    "sampler", [ancestral(), remasking(True), "jump_euler", SOLVERS["first_hitting"]], ids=["plain", "remask", "ours", "exact"]
)
def test_right_samplers_pass(sampler: Any) -> None:
    report = check_discrete(sampler, steps=STEPS)
    assert report.passed, str(report)
    assert report.exact
    if sampler is SOLVERS["first_hitting"]:
        assert max(report.errors) < 1e-12
    else:
        assert 0.75 < report.order < 1.25
    assert "PASSED" in str(report)


def test_a_sampler_of_uniform_numbers_is_counted() -> None:
    report = check_discrete(gumbel(np.float64), steps=STEPS, samples=20_000)
    assert report.passed, str(report)
    assert not report.exact
    assert "counted over 20000 runs" in report["runs"].measured
    assert report.noise > 0.0


def test_samplers_of_torch_are_followed() -> None:
    torch = pytest.importorskip("torch")

    def sampler(logits: Any, state: Any, times: Any) -> Any:
        for s, t in pairwise(times):
            p, shown = torch.softmax(logits(state, s), -1), (s - t) / s
            full = torch.cat([shown * p, (1 - shown) * torch.ones_like(p[..., :1])], -1)
            state = torch.where(state == MASK, torch.distributions.Categorical(full).sample(), state)
        return state

    def rounded(logits: Any, state: Any, times: Any) -> Any:
        for s, t in pairwise(times):
            here = logits(state, s)
            noise = -torch.log(-torch.log(torch.rand(here.shape)))
            show = (state == MASK) & (torch.rand(state.shape) < (s - t) / s)
            state = torch.where(show, (here + noise).argmax(-1), state)
        return state

    report = check_discrete(sampler, library="torch", steps=(2, 4))
    assert report.passed, str(report)
    assert report.exact
    assert "float32 Gumbel" in (check_discrete(rounded, library="torch", steps=(2, 4), samples=5000).cause or "")


def test_a_single_step_is_a_sampler_too() -> None:
    """Handed logits as an array, it never calls them: it is run step by step."""
    torch = pytest.importorskip("torch")

    def step(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        s, t = times
        return np.where(state == MASK, draw(beside(softmax(logits), (s - t) / s)), state)

    def in_torch(logits: Any, state: Any, times: Any) -> Any:
        s, t = times
        p, shown = torch.softmax(logits, -1), (s - t) / s
        full = torch.cat([shown * p, (1 - shown) * torch.ones_like(p[..., :1])], -1)
        return torch.where(state == MASK, torch.multinomial(full.reshape(-1, 3), 1).reshape(state.shape), state)

    whole = check_discrete(ancestral(), steps=(2, 4))
    for report in (check_discrete(step, steps=(2, 4)), check_discrete(in_torch, steps=(2, 4), library="torch")):
        assert report.passed, str(report)
        np.testing.assert_allclose(report.errors, whole.errors, atol=1e-6)

    def wrong(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        return np.where(state == MASK, draw(beside(softmax(logits / 1.5), (times[0] - times[1]) / times[0])), state)

    assert "temperature of 1.5" in (check_discrete(wrong, steps=(2, 4)).cause or "")


def test_the_networks_own_logit_of_the_mask_must_be_left_out() -> None:
    """A sampler that draws from all S + 1 logits emits masks; one that sets the mask's to minus infinity does not."""

    def careless(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        for s, t in pairwise(times):
            p = softmax(logits(state, s))
            p = beside(p[..., :2], 1.0) * (s - t) / s + np.eye(3)[2] * (1.0 - (1.0 - p[..., 2:]) * (s - t) / s)
            state = np.where(state == MASK, draw(p), state)
        return state

    def careful(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        for s, t in pairwise(times):
            here = logits(state, s)
            here[..., MASK] = -np.inf
            state = np.where(state == MASK, draw(beside(softmax(here)[..., :2], (s - t) / s)), state)
        return state

    report = check_discrete(careless, steps=(2, 4), mask_logit=-3.0)
    assert "masks are left in the output" in (report.cause or ""), str(report)
    assert check_discrete(careful, steps=(2, 4), mask_logit=-3.0).passed
    with pytest.raises(ValueError, match="the process has no mask"):
        check_discrete("jump_euler", law=TableLaw(random_table(2, 2, 1), JumpProcess(2, "uniform")), mask_logit=0.0)


def test_uniform_noise_has_its_order_too() -> None:
    law = TableLaw(random_table(2, 2, 1), JumpProcess(2, "uniform"))
    report = check_discrete("jump_ancestral", law=law, steps=(16, 32, 64))
    assert report.passed, str(report)


@pytest.mark.parametrize(
    ("sampler", "options", "error", "says"),
    [
        (3, {}, TypeError, "sampler = 3 is not callable"),
        ("no_such", {}, KeyError, "is no solver"),
        ("heun", {}, ValueError, "give a method on tokens, of kind 'jump'"),
        (ancestral(), {"steps": (4,)}, ValueError, "at least two numbers of steps"),
        (ancestral(), {"samples": 10}, ValueError, "1000 samples"),
        (ancestral(), {"library": "jax"}, ValueError, "give 'numpy' or 'torch'"),
    ],
)
def test_bad_arguments_are_refused(sampler: Any, options: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        check_discrete(sampler, **options)


@pytest.mark.parametrize(
    ("sampler", "says"),
    [
        (lambda logits, state, times: 1 / 0, "ZeroDivisionError"),
        (lambda logits, state, times: state[:, :1], "it returned shape"),
        (lambda logits, state, times: 1.0 * state, "give integers from 0 to 2"),
        (lambda logits, state, times: state + 7, "give integers from 0 to 2"),
    ],
)
def test_what_does_not_run_is_said(sampler: Any, says: str) -> None:
    report = check_discrete(sampler)
    assert not report.passed
    assert says in report["runs"].measured


def test_it_is_exported() -> None:
    assert scorebed.check_discrete is check_discrete


# the draws of others


def test_choices_are_walked_exactly() -> None:
    def run(source: Any) -> np.ndarray:
        rng = np.random.default_rng()
        first = rng.choice(3, p=[0.5, 0.25, 0.25])
        second = np.random.choice(2, p=[0.1, 0.9]) if first else 0  # noqa: NPY002
        place = rng.permutation(2)[0]
        return np.array([first, second, place])

    law = courses(run)
    assert law[(0, 0, 0)] == pytest.approx(0.25)
    assert law[(1, 1, 1)] == pytest.approx(0.25 * 0.9 * 0.5)
    assert sum(law.values()) == pytest.approx(1.0)
    with pytest.raises(Continuous):
        courses(lambda source: np.random.default_rng().random(3).cumsum() > 0.5)
    with pytest.raises(OverflowError, match="more than 10 courses"):
        courses(run, most=10)


def test_uniform_numbers_that_are_compared_once_are_followed() -> None:
    """``rand < p`` is a choice, whichever side it stands on and in either library; anything more is counted."""
    torch = pytest.importorskip("torch")
    p = np.array([0.25, 0.5])

    def numpy(source: Any) -> np.ndarray:
        rng = np.random.default_rng()
        return np.array([*(rng.random(2) < p), *(p > rng.random(2)), rng.random() >= 0.125]).astype(int)

    def tensors(source: Any) -> np.ndarray:
        q = torch.tensor(p)
        return torch.cat([torch.rand(2) < q, q.gt(torch.rand(2)), torch.rand(1) >= 0.125]).numpy().astype(int)

    for run in (numpy, tensors):
        law = courses(run)
        assert sum(law.values()) == pytest.approx(1.0)
        assert [sum(w for k, w in law.items() if k[i]) for i in range(5)] == pytest.approx([0.25, 0.5, 0.25, 0.5, 0.875])
        assert law[1, 1, 1, 1, 1] == pytest.approx(0.125**2 * 0.875)

    def twice(source: Any) -> np.ndarray:
        u = np.random.default_rng().random(2)
        return np.array([*(u < p), *(u < 2 * p)])

    def twice_in_torch(source: Any) -> np.ndarray:
        u = torch.rand(2)
        return torch.stack([u < 0.25, u < 0.5]).numpy()

    for more in (twice, twice_in_torch, lambda s: torch.rand(2).log().numpy(), lambda s: np.random.default_rng().random(2)[0] < 0.5):
        with pytest.raises(Continuous):
            courses(more)
    with pytest.raises(Continuous):
        courses(lambda s: np.random.default_rng().random((2, 1)) < p)


def test_a_sampler_that_compares_uniform_numbers_is_followed_exactly() -> None:
    def shown_by_chance(logits: Any, state: Any, times: Any, draw: Any) -> Any:
        rng = np.random.default_rng()
        for s, t in pairwise(times):
            show = (state == MASK) & (rng.random(state.shape) < (s - t) / s)
            state = np.where(show, draw(softmax(logits(state, s))), state)
        return state

    report = check_discrete(shown_by_chance, steps=STEPS)
    assert report.passed, str(report)
    assert report.exact
    np.testing.assert_allclose(report.errors, check_discrete(ancestral(), steps=STEPS).errors, atol=1e-12)


def test_uniform_numbers_come_from_the_source() -> None:
    with answered(Seeded(1)):
        one, two = np.random.default_rng(5).random(4), np.random.rand(4)  # noqa: NPY002
    with answered(Seeded(1)):
        again = np.random.default_rng(9).random(4)
    np.testing.assert_array_equal(one, again)
    assert (one != two).all()
    with answered(Edge(1)) as source:
        assert np.random.default_rng().random((2, 3), dtype=np.float32)[0].tolist() == [0.5, 1.0 - 2.0**-24, 0.5]
    assert source.kinds == {"uniform float32"}
