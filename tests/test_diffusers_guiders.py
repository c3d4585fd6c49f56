"""Diffusers' guiders beside our rules: the same numbers and laws, or a difference that mending takes away."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from scorebed.solvers import RectifiedFlow, convert
from scorebed.solvers.methods.steering.rules import APG, CFGZero
from scorebed.toy.peers.board import silence
from scorebed.toy.peers.guider import Guider, laws, numbers
from scorebed.toy.peers.guider_passes import Pass, passes
from scorebed.toy.peers.guiders import guiders
from scorebed.toy.peers.guiders_report import write_guiders

theirs = pytest.importorskip("diffusers.guiders")
REVIEWED = Path(__file__).resolve().parent.parent / "toy" / "PEERS.md"
ROUND_OFF, SINGLE = 1e-12, 1e-5
silence()


@pytest.mark.parametrize("one", guiders(), ids=lambda one: one.label)
def test_the_same_numbers_and_laws_or_what_mends_it(one: Guider) -> None:
    """Ours to round-off, and so the same law, unless the entry says why; what it says is in its source gives our numbers back."""
    found, (law, meant) = numbers(one), laws(one)
    round_off = 1e-4 if one.third else 1e-10  # their first step is never perturbed
    if not (one.changes or one.other):
        assert found < ROUND_OFF
        assert one.pictures or (law < round_off and meant > 0.05)
        return
    if "float32" in one.why:
        assert ROUND_OFF < found < SINGLE
        assert law < SINGLE
    else:
        assert not found < 0.05  # or it raises
        assert not law < 0.05
    assert numbers(one, mend=True) < ROUND_OFF
    assert one.pictures or laws(one, mend=True)[0] < round_off


@pytest.mark.parametrize("one", passes(), ids=lambda one: f"{one.name}: {one.why}")
def test_perturbed_passes_that_are_not(one: Pass) -> None:
    assert not one.works()
    assert one.works(mend=True)


def test_every_guider_is_here() -> None:
    there = {one.name for one in guiders()} | {one.name for one in passes()}
    classes = {n for n, c in vars(theirs).items() if inspect.isclass(c) and issubclass(c, theirs.BaseGuidance)} - {"BaseGuidance"}
    assert classes == there


def test_zero_at_first_and_the_default_form_near_one() -> None:
    """CFG-Zero* stands still in its first steps, as ours above a level; APG in its default form does not tend to the class as w → 1."""
    source = torch.Generator().manual_seed(3)
    x, given, null = (torch.randn(4, 3, 5, 5, generator=source, dtype=torch.float64) for _ in range(3))
    node = RectifiedFlow().node(0.6)

    def said(guider: Any, step: int) -> Any:
        guider.set_state(step=step, num_inference_steps=10, timestep=torch.tensor(500.0))
        return guider.forward(given, null).pred

    means = (convert(value, x, node, "flow", "denoised") for value in (given, null))
    still = convert(CFGZero(3.0, zero=0.0)(*means, x, node), x, node, "denoised", "flow")
    torch.testing.assert_close(said(theirs.ClassifierFreeZeroStarGuidance(guidance_scale=3.0, zero_init_steps=1), 0), still)
    near = theirs.AdaptiveProjectedGuidance(guidance_scale=1.0 + 1e-4, eta=0.0, adaptive_projected_guidance_rescale=0.0)
    assert float((said(near, 5) - given).abs().max()) > 0.05
    assert float((APG(1.0 + 1e-4)(given, null, x, node) - given).abs().max()) < 1e-3


def test_the_page_and_the_reviewed_copy(tmp_path: Path) -> None:
    page, reviewed = write_guiders(tmp_path).read_text(encoding="utf-8"), REVIEWED.read_text(encoding="utf-8")
    for text in (page, reviewed):
        assert [one.label for one in guiders() if f"| {one.label} |" not in text] == []
        assert [one.why for one in passes() if f"| {one.why} |" not in text] == []
    assert "| raises |" in page
