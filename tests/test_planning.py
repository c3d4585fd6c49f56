"""Planners of tokens: path planning on tables, planned denoising, and guides of tokens as rules of the one guide."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scorebed.analytic.finite import Known, TableLaw, total_variation
from scorebed.solvers import SOLVERS, sample
from scorebed.solvers.decode import DECODERS, decode
from scorebed.solvers.guide import guided
from scorebed.solvers.guide_tokens import TokenCBG, TokenCFG, leave_one_out, planned
from scorebed.solvers.process.generators import gaussian_rates
from scorebed.solvers.process.jump import JumpProcess
from scorebed.solvers.process.paths import MixturePath
from scorebed.toy.problems.decoding import decoded_law
from scorebed.toy.problems.jump import JumpProblem, random_table

LAW = TableLaw(random_table(2, 4, 5), JumpProcess(2))
TRUTH, EXACT = LAW.marginal(LAW.process.node(0.0)), Known(LAW)


def off(planner: Any, eta: float, sizes: list[int], model: Any = None, **how: Any) -> float:
    return total_variation(decoded_law(DECODERS["p2"](planner=planner, eta=eta, **how), LAW, sizes, model=model), TRUTH)


def by_pattern(scores: dict[tuple[int, ...], list[float]]) -> Any:
    """A planner that looks at which tokens are known, and at no value."""

    def planner(z: np.ndarray, x: np.ndarray, node: Any) -> np.ndarray:
        known = [tuple(np.flatnonzero(row != 2).tolist()) for row in x]
        return np.array([scores.get(k, [4.0, 3.0, 2.0, 1.0]) for k in known])

    return planner


def test_a_planner_that_sees_the_token_it_judges_doubts_nothing() -> None:
    """P2 by the exact model itself is the most confident of what is drawn, and so it is with η = 0."""
    for sizes in ([1] * 4, [2, 0, 2]):
        wanted = total_variation(decoded_law(DECODERS["confidence"], LAW, [n for n in sizes if n]), TRUTH)
        assert off(None, 1.0, sizes) == pytest.approx(wanted, abs=1e-14)
        assert off(leave_one_out(EXACT), 0.0, sizes) == pytest.approx(wanted, abs=1e-14)


def test_a_planner_of_places_keeps_the_law_while_one_token_is_shown() -> None:
    """The second of two known tokens stays and the first gives way to the third: exact. Two shown in one step are not."""
    swap = by_pattern({(0, 1): [1.0, 4.0, 3.0, 0.0], (1, 2): [0.0, 4.0, 3.0, 2.0]})
    path = decoded_law(DECODERS["p2"](planner=swap), LAW, [1, 1, 0])
    known = np.array(np.nonzero(path)).T != 2
    assert (known == [False, True, True, False]).all()
    assert off(swap, 1.0, [1, 1, 0, 1, 1]) < 1e-13
    twice = by_pattern({(0, 1): [0.0, 4.0, 3.0, 2.0]})
    assert off(twice, 1.0, [1, 1, 1, 1]) > 0.01


def test_a_planner_of_values_has_another_law_and_can_mend_a_worse_one() -> None:
    """It masks again what the others speak against, more so with a larger η. Figures of this table, which is all that they say."""
    planner = leave_one_out(EXACT)
    plain, more = off(planner, 1.0, [1] * 4), off(planner, 4.0, [1] * 4)
    assert plain > 0.1
    assert more > 0.1
    assert plain != pytest.approx(more, abs=0.01)

    def hot(x: np.ndarray, node: Any) -> np.ndarray:
        q = EXACT(x, node) ** 0.6
        return np.asarray(q / q.sum(-1, keepdims=True))

    assert off(planner, 1.0, [1] * 4, model=hot) < 0.7 * off(None, 1.0, [1] * 4, model=hot)


def test_a_prompt_stays_where_it_is_said_to_be_fixed() -> None:
    doubt = by_pattern({(1,): [4.0, -9.0, 3.0, 2.0]})
    prompt = np.array([2, 1, 2, 2])
    free = decoded_law(DECODERS["p2"](planner=doubt), LAW, [1], start=prompt)
    kept = decoded_law(DECODERS["p2"](planner=doubt, fixed=np.array([0, 1, 0, 0])), LAW, [1], start=prompt)
    assert free[:, 1].sum() == 0.0
    assert kept[:, 1].sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="eta = -1"):
        decode(DECODERS["p2"](eta=-1.0), EXACT, np.full((2, 4), 2), LAW.process, 2, noise=0)
    with pytest.raises(ValueError, match="each at least 1"):
        decode(DECODERS["maskgit"], EXACT, np.full((2, 4), 2), LAW.process, [2, 0, 2], noise=0)


def test_planning_in_torch_is_planning_in_numpy() -> None:
    torch = pytest.importorskip("torch")
    x = np.full((30, 4), 2)
    sizes = [1, 1, 0, 1, 0, 1]
    plain = decode(DECODERS["p2"](planner=leave_one_out(EXACT)), EXACT, x, LAW.process, sizes, noise=1)

    def model(y: Any, node: Any) -> Any:
        return torch.tensor(EXACT(y.numpy().astype(int), node))

    there = decode(DECODERS["p2"](planner=leave_one_out(model)), model, torch.tensor(x), LAW.process, sizes, noise=1)
    np.testing.assert_array_equal(there.numpy().astype(int), plain.astype(int))
    assert plain.max() < 2


# planned denoising


@pytest.mark.parametrize("process", [JumpProcess(2, "uniform"), JumpProcess(2), MixturePath(2, (0.3, 0.2, 0.5))], ids=lambda p: str(p)[:25])
def test_a_planner_and_a_denoiser_make_the_model(process: Any) -> None:
    """p(x0 | x) from P(noise | x) and p(x0 | x, noise), both from the joint law of (x0, noise) given x by Bayes' rule (DDPD, prop. 3.1)."""
    law, node = TableLaw(random_table(2, 3, 8), process), process.node(0.6)
    x = np.argwhere(law.marginal(node) > 0.0)
    exact = law.probabilities(x, node)
    kept = node.clock * np.eye(2, process.alphabet) / np.maximum(process.forward(node), 1e-300)  # of the token that is seen
    clean = np.take_along_axis(np.pad(exact, ((0, 0), (0, 0), (0, process.alphabet - 2))), x[..., None], 2)[..., 0]
    quiet = clean * kept.sum(0)[x]  # P(data | x): kept is diagonal

    def denoiser(y: np.ndarray, at: Any) -> np.ndarray:
        return np.asarray((exact - quiet[..., None] * np.eye(2, process.alphabet).T[x]) / np.maximum(1.0 - quiet, 1e-300)[..., None])

    p = planned(lambda y, at: 1.0 - quiet, denoiser)(x, node)
    np.testing.assert_allclose(p, exact, atol=1e-13)
    assert quiet.max() > 0.3


@pytest.mark.parametrize("process", [JumpProcess(2, "uniform"), MixturePath(2, (0.5, 0.2, 0.3))], ids=["uniform", "hybrid"])
def test_planned_denoising_is_exact_at_its_times(process: Any) -> None:
    """Also of noise with masks; a planner that overlooks a tenth of the noise is not."""
    law = TableLaw(random_table(2, 2, 3), process)
    problem = JumpProblem(name="two", make=lambda: law, process=process, start=0.6, end=0.58)
    nodes = problem.nodes(1)
    found = problem.law(SOLVERS["planned_denoising"], nodes, faint=1e-10)
    assert total_variation(found, law.marginal(nodes[-1])) < 1e-6
    blind = planned(lambda x, n: np.full(x.shape, 0.9), problem.known)
    blinded = JumpProblem(name="blind", make=lambda: law, process=process, start=0.6, end=0.58)
    object.__setattr__(blinded, "known", blind)
    assert total_variation(blinded.law(SOLVERS["planned_denoising"], nodes, faint=1e-10), law.marginal(nodes[-1])) > 1e-4


def test_a_generator_has_no_plan() -> None:
    process = JumpProcess(3, gaussian_rates(3))
    law = TableLaw(random_table(3, 2, 1), process)
    with pytest.raises(ValueError, match="use kernel='absorbing' or 'uniform'"):
        sample(SOLVERS["planned_denoising"], Known(law), np.zeros((1, 2), int), [process.node(0.5), process.node(0.4)], noise=0)


# rules


def test_guides_of_tokens_are_rules_of_the_one_guide() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(3), (4, 2)), rng.dirichlet(np.ones(3), (4, 2))
    p[0, 0] = [0.0, 0.4, 0.6]
    q[1, 1] = [0.5, 0.0, 0.5]
    asked: list[str] = []

    def of(name: str, value: np.ndarray) -> Any:
        return lambda x, node: (asked.append(name), value[: len(x)])[1]

    x = np.zeros((4, 2), dtype=int)
    made = guided(of("given", p), of("null", q), TokenCFG(2.0))(x, None)
    wanted = p**2 / np.where(q > 0, q, 1.0)
    np.testing.assert_allclose(made, wanted / wanted.sum(-1, keepdims=True), atol=1e-15)
    assert made[0, 0, 0] == 0.0
    asked.clear()
    assert (guided(of("given", p), of("null", q), TokenCFG(1.0))(x, None) == p).all()
    assert asked == ["given"]  # one evaluation where one is enough
    scales = np.array([0.0, 1.0, 2.0, -1.0])
    each = guided(of("given", p), of("null", q), TokenCFG(scales))(x, None)
    for i, w in enumerate(scales):
        alone = TokenCFG(np.array([w]))(p[i : i + 1], q[i : i + 1], x[:1], None)
        np.testing.assert_allclose(each[i : i + 1], alone, atol=1e-15)
    np.testing.assert_array_equal(TokenCFG(scales).take(slice(1, 2))(p[1:2], q[1:2], x[1:2], None), each[1:2])
    late = guided(of("given", p), of("null", q), TokenCFG(lambda node: node.t))
    np.testing.assert_allclose(late(x, JumpProcess(2).node(0.5)), TokenCFG(0.5)(p, q, x, None))
    tilted = guided(of("given", p), of("null", q), TokenCBG(1.5))(x, None)
    np.testing.assert_allclose(tilted, (p * q**1.5) / (p * q**1.5).sum(-1, keepdims=True), atol=1e-15)
    asked.clear()
    assert (guided(of("given", p), of("null", q), TokenCBG(0.0))(x, None) == p).all()
    assert asked == ["given"]
    assert not TokenCFG(2.0).linear
    with pytest.raises(ValueError, match="must be finite"):
        TokenCFG(float("nan"))


def test_rules_of_tokens_in_torch() -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    p, q, w = rng.dirichlet(np.ones(3), (4, 2)), rng.dirichlet(np.ones(3), (4, 2)), np.array([0.5, 2.0, 3.0, 1.0])
    for rule in (TokenCFG, TokenCBG):
        there = rule(torch.tensor(w))(torch.tensor(p), torch.tensor(q), None, None)
        np.testing.assert_allclose(there.numpy(), rule(w)(p, q, None, None), atol=1e-15)
