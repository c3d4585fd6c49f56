"""What docs/which_sampler.md says in words, measured again where it is cheap."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, sample
from scorebed.toy.measure.cost import affordable
from scorebed.toy.problems.registry import PROBLEMS

FROM_DDIM = " from ddim"
WHERE = ("mixture1d", "product2d", "product8d")


@cache
def error(problem: str, name: str, nfe: int) -> float:
    """RMS distance from the exact flow with as many steps as the budget pays for."""
    one = PROBLEMS[problem]
    method = SOLVERS[name.removesuffix(FROM_DDIM)]
    method = method(start="ddim") if name.endswith(FROM_DDIM) else method
    nodes, x = one.nodes(affordable(one, method, nfe)), one.draw(one.samples, 0)
    end = sample(method, one.model, x, nodes, terminal="none")
    return one.distance(end, np.asarray(one.exact(x, nodes[0], nodes[-1]).x))


@pytest.mark.parametrize("problem", WHERE)
def test_five_evaluations(problem: str) -> None:
    few = [error(problem, name, 5) for name in ("ddim", "dpmpp_2m", "unipc_2")]
    assert max(few) < 2.0 * min(few)
    assert error(problem, "heun", 5) > 10.0 * max(few)
    assert error(problem, "deis_tab2", 5) > 10.0 * max(few)


@pytest.mark.parametrize("problem", WHERE)
def test_ten_and_twenty_evaluations(problem: str) -> None:
    for nfe in (10, 20):
        assert error(problem, "dpmpp_2m", nfe) < 3.2 * error(problem, "unipc_2", nfe)
        assert error(problem, "unipc_2", nfe) < error(problem, "dpmpp_2m", nfe) < error(problem, "ddim", nfe) < error(problem, "heun", 10)


@pytest.mark.parametrize("problem", WHERE)
def test_a_start_costs_at_ten_evaluations(problem: str) -> None:
    assert error(problem, f"unipc_3{FROM_DDIM}", 10) < error(problem, "unipc_3", 10)


@pytest.mark.parametrize("problem", ["mixture1d", "product8d"])
def test_forty_evaluations(problem: str) -> None:
    assert error(problem, "unipc_3", 40) < error(problem, "unipc_2", 40) < error(problem, "dpmpp_2m", 40)
