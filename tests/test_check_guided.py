"""check_guided: the two parts of a guided law, and what stands before the two models' answers."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed import SOLVERS, check_guided
from scorebed.analytic.gaussian.tilt import geometric
from scorebed.solvers import sample
from scorebed.solvers.guide import guided, interval
from scorebed.solvers.methods.steering.rules import CFGZero
from scorebed.toy.check.guided_formula import GuidedReport
from scorebed.toy.measure.guided_law import split
from scorebed.toy.measure.guided_plane import apart
from scorebed.toy.problems.guided import GUIDED, GuidedPlane

GAUSSIAN = GUIDED["gaussian"]


@pytest.mark.parametrize("method", ["ddim", "ddpm"])
def test_guidance_samples_the_tilt_under_neither(method: str) -> None:
    """arXiv:2408.09000, §3: CFG of scale 3 is far from p_c³ p_u^{−2} in the limit, with the flow and with the SDE; at scale 1 it is not."""
    report = check_guided(3.0, solver=method, exact=True)
    assert not report.passed
    assert report.causes == ["guidance bias"]
    assert report.larger == "guidance bias"
    assert report.bias > 0.15
    if method == "ddpm":
        return
    plain = check_guided(1.0, solver=method, exact=True, steps=10)
    assert plain.passed, plain
    assert plain.bias < 0.01 < plain.discretisation
    assert plain.larger == "discretisation"


def test_a_model_of_the_tilt_passes() -> None:
    """The mended twin: the exact denoiser of p_c^w p_u^{1 − w}; and the same with another w is a bias."""
    law = geometric([GAUSSIAN.given, GAUSSIAN.null], [3.0, -2.0])
    good = check_guided(lambda given, null: law.denoised, problem="gaussian", exact=True, name="tilt")
    assert good.passed or good.causes == ["answers in different units"]
    assert good.bias < 0.01
    other = geometric([GAUSSIAN.given, GAUSSIAN.null], [2.0, -1.0])
    assert check_guided(lambda given, null: other.denoised, problem="gaussian", exact=True).bias > 0.05


W = 3.0
FORMULAS = {
    "": lambda c, u: u + W * (c - u),
    "scale is 1 + w": lambda c, u: c + W * (c - u),
    "given and null swapped": lambda c, u: c + W * (u - c),
    "guidance ignored": lambda c, u: c,
    "null left out": lambda c, u: W * c,
    "sign of the difference": lambda c, u: c - (W - 1.0) * (c - u),
    "weights do not add up to 1": lambda c, u: W * c - W * u,
}


@pytest.mark.parametrize("fault", FORMULAS)
def test_faults_of_the_formula_are_read(fault: str) -> None:
    formula = FORMULAS[fault]
    report = check_guided(lambda given, null: lambda x, n: formula(given(x, n), null(x, n)), scale=W, steps=4, problem="gaussian")
    assert report.passed == (fault == ""), report
    assert report.causes[:1] == ([fault] if fault else []), report


def test_rules_and_functions_of_answers() -> None:
    assert check_guided(interval(3.0, 0.2, 2.0), scale=3.0, steps=4)["formula"].status == "pass"
    report = check_guided(lambda given, null, x, node: null + 3.0 * np.tanh(given - null), scale=3.0, steps=4, problem="gaussian")
    assert report["formula"].status == "note"
    assert check_guided(CFGZero(3.0), scale=3.0, steps=4).causes == ["guidance ignored"]  # a sample of one entry lies along itself

    def wrong_node(given: Any, null: Any) -> Any:
        return lambda x, n: null(x, n) + 3.0 * (given(x, n.schedule.at_lam(n.lam + 0.1)) - null(x, n))

    assert "model asked at the wrong node" in check_guided(wrong_node, scale=3.0, steps=4, problem="gaussian").causes
    report = check_guided(lambda given, null, x, node: null + 3.0 * (given - null), scale=3.0, steps=4, problem="gaussian")
    assert report["formula"].status == "pass"


def sampler(scale: float = 3.0, swap: bool = False, noisy: bool = False) -> Any:
    def mine(given: Any, null: Any, x: np.ndarray, nodes: Any) -> np.ndarray:
        a, b = (null, given) if swap else (given, null)
        for s, t in pairwise(nodes):
            d = b(x, s) + scale * (a(x, s) - b(x, s))
            r = t.sigma / s.sigma
            if noisy:
                r = r * np.exp(s.lam - t.lam)
                x = r * x + t.alpha * (1.0 - np.exp(2.0 * (s.lam - t.lam))) * d
                x = x + t.sigma * np.sqrt(1.0 - np.exp(2.0 * (s.lam - t.lam))) * np.random.standard_normal(x.shape)  # noqa: NPY002
            else:
                x = r * x + (t.alpha - r * s.alpha) * d
        return b(x, nodes[-1]) + scale * (a(x, nodes[-1]) - b(x, nodes[-1]))

    return mine


@pytest.mark.parametrize(
    ("candidate", "cause"),
    [
        (sampler(), None),
        (sampler(4.0), "scale is 1 + w"),
        (sampler(swap=True), "given and null swapped"),
        (sampler(1.0), "guidance ignored"),
    ],
)
def test_samplers_are_judged_by_their_samples(candidate: Any, cause: str | None) -> None:
    report = check_guided(candidate, scale=3.0, problem="gaussian")
    assert report.cause == cause, report
    if cause is None:
        exact = check_guided(3.0, problem="gaussian")
        assert report.bias == pytest.approx(exact.bias, abs=0.01)
        assert report.discretisation == pytest.approx(exact.discretisation, abs=0.01)


def test_stochastic_samplers_and_wrong_ones() -> None:
    report = check_guided(sampler(noisy=True), scale=3.0, problem="gaussian", steps=10)
    assert report.passed, report
    assert 0.02 < report.bias < 0.2

    def broken(given: Any, null: Any, x: np.ndarray, nodes: Any) -> np.ndarray:
        return 1.6 * sampler()(given, null, x, nodes)

    assert check_guided(broken, scale=3.0, problem="gaussian", steps=10).causes[0] == "unguided sampler wrong"
    assert check_guided(lambda given, null, x, nodes: x[:5], scale=3.0, steps=4).cause == "it raised"


def test_in_the_plane_samples_tell_the_same() -> None:
    """Two Gaussians of the plane: the slices of a guided run differ from what was meant, those of the exact tilt do not."""
    place = GUIDED["plane"]
    assert isinstance(place, GuidedPlane)
    meant, x, nodes = place.meant_states(3.0, 512), place.start_states(512), place.nodes(40)
    good = sample(SOLVERS["dpmpp_2m"], place.meant_law(3.0).denoised, x, nodes)
    cfg = sample(SOLVERS["dpmpp_2m"], guided(place.given.denoised, place.null.denoised, 3.0), x, nodes)
    assert apart(meant, good) < 0.02
    assert apart(meant, cfg) > 0.05


def test_wrong_use_is_told() -> None:
    with pytest.raises(ValueError, match="on the line"):
        check_guided(3.0, problem="plane")
    with pytest.raises(ValueError, match="on the line"):
        check_guided(3.0, problem="nowhere")
    with pytest.raises(ValueError, match="solver = 'ddmi'"):
        check_guided(3.0, solver="ddmi")
    with pytest.raises(TypeError, match="not callable"):
        check_guided("cfg")
    with pytest.raises(ValueError, match="plane"):
        split(GUIDED["plane"], lambda x, n: x, 3.0, "ddim", 5)
    assert isinstance(check_guided(2.0, steps=4).as_dict()["bias"], float)
    assert GuidedReport("x", "y").larger == "discretisation"
