"""check_solver: what it says of faults that are no wrong order, which method a sampler is, and one test id per check."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from scorebed.solvers import SOLVERS, VP, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.check import Report, as_candidate, check_solver, solver_test, solver_tests
from scorebed.toy.check.orders import judge
from scorebed.toy.check.same import read
from scorebed.toy.cli import main
from scorebed.toy.measure.order import Conditions, measure_order
from scorebed.toy.measure.settings import bound

pytest_plugins = ["pytester"]


def ddim(denoise: Any, x: Any, nodes: Any) -> Any:
    for s, t in pairwise(nodes):
        x = (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoise(x, s)
    return x


def two_m(denoise: Any, x: Any, nodes: Any, ratio: Any = lambda h, before: h / before, memory: Any = None) -> Any:
    """DPM-Solver++(2M) with a ratio of steps and a memory of its own."""
    old: dict[str, Any] = {} if memory is None else memory
    for s, t in pairwise(nodes):
        d, h = denoise(x, s), t.lam - s.lam
        mixed = d if not old else d + 0.5 * ratio(h, old["h"]) * (d - old["d"])
        old.update(d=d, h=h)
        x = (t.sigma / s.sigma) * x - t.alpha * math.expm1(-h) * mixed
    return x


def writes(denoise: Any, x: Any, nodes: Any) -> Any:
    for s, t in pairwise(nodes):
        d = denoise(x, s)
        x *= t.sigma / s.sigma
        x -= t.alpha * math.expm1(s.lam - t.lam) * d
    return x.copy()


LEFT: dict[str, Any] = {}


def leaks(denoise: Any, x: Any, nodes: Any) -> Any:
    return two_m(denoise, x, nodes, memory=LEFT)


def clips(denoise: Any, x: Any, nodes: Any) -> Any:
    return ddim(lambda y, node: np.clip(denoise(y, node), -1.0, 1.0), x, nodes)


def returns_two(denoise: Any, x: Any, nodes: Any) -> Any:
    return ddim(denoise, x, nodes), {"nfe": len(nodes) - 1}


def turns_complex(denoise: Any, x: Any, nodes: Any) -> Any:
    return ddim(denoise, x, nodes) + 0j


def looks_up(denoise: Any, x: Any, nodes: Any) -> Any:
    return {"some": x}["boom"]


def upside_down(denoise: Any, x: Any, nodes: Any) -> Any:
    return two_m(denoise, x, nodes, ratio=lambda h, before: before / h)


def diverges(denoise: Any, x: Any, nodes: Any) -> Any:
    return ddim(denoise, x, nodes) * (1.0 + 1e-6 * len(nodes) ** 3)


def test_a_sampler_that_writes_into_its_input() -> None:
    report = check_solver(writes, order=1, quick=True, only=("input", "order", "formula"))
    assert report["input"].status == "fail"
    assert "changes its input; each run needs a copy" in str(report)
    assert all(f.status == "pass" for f in report.findings if f.name.startswith("order"))  # each run is given a copy here
    assert report["formula"].status == "pass"
    assert check_solver(ddim, order=1, quick=True, only=("input",)).passed


def test_memory_that_is_left_over() -> None:
    report = check_solver(leaks, order=2, quick=True, only=("memory", "order", "noise"))
    assert report["memory"].measured == "same input, two answers"
    assert report.cause == "memory between runs"
    assert report.weak is None
    assert check_solver(two_m, order=2, quick=True, only=("memory",))["memory"].status == "pass"


def test_a_clipped_denoised() -> None:
    report = check_solver(clips, order=1, quick=True, only=("order",))
    assert report.cause == "clipped denoised"
    assert "converges to another map; is the denoised clipped?" in str(report)


@pytest.mark.parametrize(
    ("sampler", "words"),
    [(returns_two, "returns a tuple of 2"), (turns_complex, "complex"), (looks_up, "KeyError: 'boom' at ")],
    ids=["tuple", "complex", "raises"],
)
def test_what_does_not_run_is_said(sampler: Any, words: str) -> None:
    report = check_solver(sampler, order=1)
    assert report["runs"].status == "fail"
    assert words in report["runs"].measured
    if sampler is looks_up:
        line = looks_up.__code__.co_firstlineno + 1
        assert report["runs"].measured.endswith(f"test_check_words.py:{line}")


def test_a_formula_that_the_orders_do_not_betray() -> None:
    report = check_solver(upside_down, order=2, quick=True, only=("order", "formula"))
    assert report.passed
    assert report["formula"].status == "note"
    assert "upside down" in report["formula"].measured
    assert check_solver(two_m, order=2, quick=True, only=("formula",))["formula"].status == "pass"


def test_without_a_claim_an_order_is_a_note_and_growth_a_fail() -> None:
    report = check_solver(ddim, quick=True, only=("order",))
    assert {f.status for f in report.findings[1:]} == {"note"}
    growing = check_solver(diverges, quick=True, only=("order",))
    assert not growing.passed
    assert "the error grows with the number of steps" in str(growing)
    falling = measure_order(lambda n: n**-2.0, conditions=Conditions())
    assert judge(falling, None) == ("note", "no claim")
    assert judge(falling, 2.0) == ("pass", "as claimed")
    assert judge(falling, 3.0) == ("fail", "lower than claimed")
    assert judge(measure_order(lambda n: 1e-9 * n**2.6), None)[0] == "fail"
    assert judge(measure_order(lambda n: n**-2.0 + 1e-3, steps=(8, 16, 32, 64, 128)), 2.0)[0] == "fail"


def test_unknown_names_are_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(ValueError, match=r"only: 'ordre' is not known: did you mean 'order'\?"):
        check_solver(ddim, only=("ordre",))
    with pytest.raises(ValueError, match="did you mean 'order'"):
        solver_test(ddim, only=("ordre",))
    with pytest.raises(ValueError, match="xfail: 'dtyp' is not known: did you mean 'dtype'"):
        solver_tests(ddim, xfail={"dtyp": "none"})
    with pytest.raises(ValueError, match="did you mean 'dpmpp_2m'"):
        check_solver(ddim, same_as="dpmpp2m")
    skipped = check_solver(ddim, order=1, quick=True, only=("weak order",))["weak order"]
    assert skipped.status == "skip"
    assert "draws no noise" in skipped.measured


def test_the_time_limit_is_told() -> None:
    def slow(denoise: Any, x: Any, nodes: Any) -> Any:
        while len(nodes) > 40:
            pass
        return ddim(denoise, x, nodes)

    report = check_solver(slow, order=1, quick=True, only=("order", "batch"), seconds=0.4)
    assert report["time limit"].status == "fail"
    assert "not made: order, batch" in report["time limit"].detail
    with pytest.raises(ValueError, match="seconds = 0 must be positive"):
        check_solver(ddim, seconds=0)

    def endless(denoise: Any, x: Any, nodes: Any) -> Any:
        while True:
            pass

    assert "no answer in 0.3 s" in check_solver(endless, seconds=0.3)["runs"].measured


def test_which_method_of_ours_it_is() -> None:
    own = check_solver(ddim, order=1, quick=True, only=("same as",))
    assert "ddim" in own["same as"].measured.split(", ")
    named = check_solver(two_m, order=2, same_as="dpmpp_2m", quick=True, only=("same as",))
    assert named["same as"].measured == "the same as dpmpp_2m (started by ddim)"
    other = check_solver(upside_down, order=2, same_as="dpmpp_2m", quick=True, only=("same as",))
    assert other["same as"].status == "fail"
    assert "departs: step 2, in the state of evaluation 3" in other["same as"].measured
    assert check_solver(SOLVERS["ddpm"], quick=True, only=("same as",))["same as"].measured.startswith("the law of ddpm")
    assert check_solver(ddim, same_as="ddpm", only=("same as",))["same as"].measured == "ddim draws no noise, ddpm draws noise"


def test_a_reading_from_outside_is_the_plan() -> None:
    nodes = bound(VP())[0].nodes(5)
    reading, plan = read(as_candidate(SOLVERS["dpmpp_3m"]), nodes), trace(SOLVERS["dpmpp_3m"], nodes)
    scale = np.append(nodes[0].alpha, np.ones(plan.nfe))  # in x/alpha
    at = np.array([node.alpha for node in plan.nodes])
    assert np.allclose(reading.output, plan.output * scale / nodes[-1].alpha, rtol=0.0, atol=1e-12)
    assert np.allclose(reading.inputs, plan.inputs * scale / at[:, None], rtol=0.0, atol=1e-12)


def test_a_plan_is_a_candidate() -> None:
    plan = trace(SOLVERS["heun"], uniform_lam(VP(), 8))
    report = check_solver(plan, quick=True)
    assert report.kind == "plan"
    assert report.passed, str(report)
    assert report["accuracy"].status in ("pass", "note")
    assert report["evaluations"].measured == "16"
    done = as_candidate(plan)
    x = np.linspace(-1.0, 1.0, 6)[:, None]
    grid = done.own(3)
    assert np.array_equal(done.run(lambda y, node: 0.5 * y, x, grid).x, plan.run(lambda y, node: 0.5 * y, x))


def test_verdict_is_one_line_for_a_summary() -> None:
    with pytest.raises(AssertionError) as raised:
        solver_test(clips, order=1, quick=True, only=("order",))()
    first = str(raised.value).splitlines()[0]
    assert first.startswith("clips: order: 3 modes, VP, uneven steps: 0.00")
    assert first.endswith("(clipped denoised)")
    assert Report("mine", "function").verdict.startswith("PASSED: mine")


TESTS = """
from scorebed.toy.check import solver_tests


def sample(denoise, x, nodes):
    for s, t in zip(nodes, nodes[1:]):
        x = (t.sigma / s.sigma) * x + (t.alpha - s.alpha * t.sigma / s.sigma) * denoise(x, s)
    return x


def in_place(denoise, x, nodes):
    kept = x.copy()
    x += 1.0
    return sample(denoise, kept, nodes)


test_mine = solver_tests(in_place, order=1, quick=True, only=("order", "input", "batch"), xfail={"input": "works in place"})
test_same = solver_tests(sample, order=1, quick=True, only=("order",), xfail={"order": "does not fail"})
"""


def test_one_test_id_per_check(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_there=TESTS)
    result = pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, xfailed=1, failed=1)
    result.stdout.fnmatch_lines(["*test_mine[[]order[]] PASSED*", "*test_mine[[]input[]] XFAIL*", "*test_mine[[]batch[]] PASSED*"])
    result.stdout.fnmatch_lines(["*test_same[[]order[]] FAILED*"])  # an expected failure that passes is one


def test_a_file_with_a_neighbour(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("import math\n")
    body = "from neighbour_of_mine import math\n\n\ndef sample(denoise, x, nodes):\n    return x * math.exp(0.0)\n"
    (tmp_path / "mine_with_one.py").write_text(body)
    result = CliRunner().invoke(main, ["check", f"{tmp_path}/mine_with_one.py:sample", "--only", "evaluations", "--quick"])
    assert result.exit_code == 0, result.output
    wrong = CliRunner().invoke(main, ["check", f"{tmp_path}/mine_with_one.py:sample", "--only", "ordre"])
    assert wrong.exit_code == 2
    same = CliRunner().invoke(main, ["check", "ddim", "--same-as", "ddim", "--only", "same as"])
    assert same.exit_code == 0, same.output
