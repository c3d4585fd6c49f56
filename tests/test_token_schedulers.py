"""The schedulers of diffusers for tokens, held against their laws: one is D3PM's posterior exactly, two look at what they drew."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from scorebed.analytic.finite import TableLaw
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.check.discrete import check_discrete
from scorebed.toy.foreign.token_schedulers import amused, block_refinement, discrete_ddim
from scorebed.toy.problems.jump import random_table

UNIFORM = TableLaw(random_table(2, 2, 1), JumpProcess(2, "uniform", t_max=0.5))


def test_discrete_ddim_is_the_posterior_of_d3pm() -> None:
    theirs = check_discrete(discrete_ddim(), library="torch", law=UNIFORM, steps=(2, 4, 8))
    ours = check_discrete("jump_ancestral", law=UNIFORM, steps=(2, 4, 8))
    assert theirs.passed, str(theirs)
    assert theirs.exact
    np.testing.assert_allclose(theirs.errors, ours.errors, atol=1e-6)  # its probabilities are float32


def test_discrete_ddim_at_its_default_temperature_draws_nothing() -> None:
    report = check_discrete(discrete_ddim(temperature=0.0), library="torch", law=UNIFORM, steps=(2, 4, 8))
    assert report["order"].status == "fail"
    assert min(report.errors) > 0.03


@pytest.mark.parametrize("sampler", [amused(), block_refinement()], ids=["amused", "block_refinement"])
def test_schedulers_that_keep_the_most_confident_do_not_converge(sampler: object) -> None:
    report = check_discrete(sampler, library="torch", steps=(2, 4, 8), samples=10_000)
    assert report["order"].status == "fail"
    assert "looks at what was drawn" in (report.cause or "")
    assert report["one step"].status == "pass"


def test_amused_cannot_run_on_a_single_token() -> None:
    report = check_discrete(amused(), library="torch", steps=(2, 4), samples=2000)
    assert report["single draws"].status == "skip"
    assert "out of bounds" in report["single draws"].measured
