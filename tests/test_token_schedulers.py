"""The schedulers of diffusers for tokens, held against their laws: one is D3PM's posterior exactly, two look at what they drew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

from scorebed.analytic.finite import TableLaw
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.check.discrete import check_discrete
from scorebed.toy.foreign.token_schedulers import amused, block_refinement, discrete_ddim
from scorebed.toy.peers.token_shortfall import Shortfall
from scorebed.toy.peers.token_shortfalls import SHORTFALLS
from scorebed.toy.peers.tokens import ENTRIES, TokenEntry, installed, markdown, measure
from scorebed.toy.problems.jump import random_table

UNIFORM = TableLaw(random_table(2, 2, 1), JumpProcess(2, "uniform", t_max=0.5))


def test_discrete_ddim_is_the_posterior_of_d3pm() -> None:
    theirs = check_discrete(discrete_ddim(), library="torch", law=UNIFORM, steps=(2, 4))
    ours = check_discrete("jump_ancestral", law=UNIFORM, steps=(2, 4))
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


THERE = [entry for entry in ENTRIES if installed(entry)]


@pytest.mark.parametrize("entry", [e for e in THERE if e.ours is not None], ids=lambda e: e.name)
def test_samplers_of_the_same_formula_have_the_same_law_as_ours(entry: TokenEntry) -> None:
    """To float32, where draws are followed; order 1 on the table."""
    row = measure(entry, (2, 4))
    assert row["apart"] < (1e-6 if row["noise"] == 0.0 else 4.0 * row["noise"] + 1e-5)
    assert row["tv, 4 steps"] < 0.75 * row["tv, 2 steps"]
    assert (row["noise"] == 0.0) == (entry.library == "flow_matching" or "DDIM" in entry.name)


@pytest.mark.parametrize("fault", [f for f in SHORTFALLS if any(e.library == f.library for e in THERE)], ids=lambda f: f.key)
def test_a_shortfall_goes_when_it_is_mended(fault: Shortfall) -> None:
    for value, (low, high) in zip(fault.values(), (fault.before, fault.after), strict=True):
        assert np.isnan(value) if np.isnan(low) else low <= value <= high, (fault.where, value)
    assert fault.said(fault.before[0]) != fault.said(fault.after[0])


def test_every_scheduler_of_tokens_is_an_entry_and_every_shortfall_is_named() -> None:
    from scorebed.toy.peers.entries import APART

    names = " ".join(e.name for e in ENTRIES)
    assert [name for name, why in APART.items() if why == "discrete tokens" and name not in names] == []
    assert {f.key for f in SHORTFALLS} == {key for e in ENTRIES for key in e.shortfalls}


def test_the_page_of_tokens_has_its_rows_and_sections() -> None:
    import pandas as pd

    block = next(e for e in ENTRIES if e.name.startswith("Block"))
    fault = next(f for f in SHORTFALLS if f.key == "block-confidence")
    page = markdown(pd.DataFrame([measure(block, (2, 4), 2000)]), [(fault, 0.19, float("nan"))])
    assert "| diffusers BlockRefinementScheduler, temperature = 1 | none |" in page
    assert '<a id="block-confidence"></a>' in page
    assert "0.1900 as shipped, fails with it mended" in page
    assert "diffusers/schedulers/scheduling_block_refinement.py:" in page
    reviewed = (Path(__file__).parents[1] / "toy/PEERS_TOKENS.md").read_text(encoding="utf-8")
    assert [e.name for e in ENTRIES if f"| {e.library} {e.name} |" not in reviewed] == []
    assert [f.key for f in SHORTFALLS if f'<a id="{f.key}"></a>' not in reviewed] == []
