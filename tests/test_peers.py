"""The scoreboard of other libraries: its measuring is exact, nothing is left out, what is known is kept, and its words are clear."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from scorebed.toy.cli import main
from scorebed.toy.foreign.candidate import single_is_double
from scorebed.toy.foreign.draws import Paired, Units
from scorebed.toy.foreign.guard import TooLong, within
from scorebed.toy.foreign.kdiffusion import sampling
from scorebed.toy.foreign.scheduler_nodes import of
from scorebed.toy.measure.targets import pair, two_modes
from scorebed.toy.peers import board
from scorebed.toy.peers.defects import DEFECTS
from scorebed.toy.peers.entries import APART, entries
from scorebed.toy.peers.faces import LIBRARIES
from scorebed.toy.peers.mend import line_of, mended, origin
from scorebed.toy.peers.report import formula, labelled, markdown, reached, slope
from scorebed.toy.store.database import Store

REVIEWED = Path(__file__).resolve().parent.parent / "toy" / "PEERS.md"


@given(st.floats(0.01, 1.0), st.floats(0.01, 20.0))
@settings(max_examples=20)
def test_the_denoisers_are_those_of_the_exact_laws(alpha: float, sigma: float) -> None:
    at = of(alpha, sigma)
    x = np.linspace(-4.0, 4.0, 9)[:, None] * math.hypot(alpha, sigma)
    np.testing.assert_allclose(two_modes().denoised(x, at), two_modes().law.denoised(x, at), rtol=1e-10, atol=1e-12)
    both = np.concatenate([x, 0.5 * x], axis=1)
    np.testing.assert_allclose(pair().denoised(both, at), pair().law.denoised(both, at), rtol=1e-10, atol=1e-12)


def test_states_are_quantiles_and_are_carried_to_quantiles() -> None:
    s, t, target = of(1.0, 5.0), of(1.0, 0.2), two_modes()
    np.testing.assert_allclose(target.line(s).cdf(target.states(s)[:, 0]), np.linspace(0.02, 0.98, 33), atol=1e-12)
    np.testing.assert_allclose(target.flow(target.states(s), s, t), target.states(t), atol=1e-9)


def test_a_path_gives_overlapping_intervals_their_correlation() -> None:
    asked = [(3.0, 4.0), (1.0, 4.0), (0.5, 1.0)]
    path = Units(list(asked), path=True)
    stage, step, after = (path((path.size, 1), interval)[:, 0] for interval in asked)
    assert float(step @ step) == pytest.approx(1.0)
    assert float(stage @ step) == pytest.approx(math.sqrt(1.0 / 3.0))
    assert float(step @ after) == 0.0


def test_too_many_draws_are_refused() -> None:
    units = Units([None])
    units((2, 1), None)
    with pytest.raises(RuntimeError, match="more draws"):
        units((2, 1), None)


def test_paired_draws_have_the_correlation_that_is_asked() -> None:
    units = Units([None] * 4)
    pairs = Paired(units, 2, 0.6)
    first, second, third, fourth = (pairs((units.size, 1), None)[:, 0] for _ in range(4))
    assert float(first @ second) == pytest.approx(0.6)
    assert float(second @ second) == pytest.approx(1.0)
    assert float(third @ fourth) == pytest.approx(0.6)
    assert float(second @ third) == 0.0


def test_a_loop_without_end_is_stopped() -> None:
    def endless() -> None:
        while True:
            pass

    with pytest.raises(TooLong, match=r"0\.2 s"):
        within(0.2, endless)


def test_float64_is_only_for_the_time_of_a_with() -> None:
    import torch
    from diffusers import DEISMultistepScheduler

    with single_is_double():
        s = DEISMultistepScheduler()
        s.set_timesteps(4)
        assert s.sigmas.dtype == torch.float64
    assert str(torch.float32) == "torch.float32"
    assert torch.get_default_dtype() == torch.float32
    s = DEISMultistepScheduler()
    s.set_timesteps(4)
    assert s.sigmas.dtype == torch.float32


def test_mending_leaves_the_installed_module_alone() -> None:
    before = origin("azula.sample").read_bytes()
    words = "alpha_s**2 + sigma_t**2) * integral"
    module = mended("azula.sample", (words, "alpha_s**2 + sigma_s**2) * integral"))
    import azula.sample

    assert module.REABSampler is not azula.sample.REABSampler
    assert origin("azula.sample").read_bytes() == before
    assert origin("azula.sample").read_text(encoding="utf-8").splitlines()[line_of("azula.sample", words) - 1].count("sigma_t") == 1
    with pytest.raises(LookupError, match="another release"):
        mended("azula.sample", ("no such words", ""))


def test_every_sampler_is_on_the_board_or_left_off_with_a_reason() -> None:
    import azula.sample
    import diffusers

    there = {e.peer.name for e in entries()} | set(APART)
    schedulers = {name for name in dir(diffusers) if name.endswith("Scheduler") and hasattr(getattr(diffusers, name), "set_timesteps")}
    assert len(schedulers) > 40
    deprecated = {name for name in schedulers if ".deprecated." in getattr(diffusers, name).__module__}
    assert sorted(schedulers - deprecated - there) == []
    samples = {name for name, f in vars(sampling()).items() if name.startswith("sample_") and callable(f)}
    assert sorted(samples - there) == []
    classes = {n for n, c in vars(azula.sample).items() if inspect.isclass(c) and issubclass(c, azula.sample.Sampler)} - {"Sampler"}
    assert sorted(classes - there) == []


def test_entries_have_names_of_their_own_and_known_defects() -> None:
    board_entries = entries()
    assert len({e.key for e in board_entries}) == len(board_entries)
    named = {key for e in board_entries for key in e.defects}
    assert named <= set(DEFECTS)
    assert all((e.order is None) != (e.weak is None) or "adaptive" in e.name for e in board_entries)


def test_what_is_known_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"EulerSampler", "REABSampler (order=2)"}
    first = board.run_board(tmp_path, ["azula"], quick=True, jobs=1, only=lambda e: e.name in wanted)
    assert {r["name"] for r in first} == wanted
    with Store(tmp_path) as store:
        kept = {r.row["name"]: r.key for r in store.records("peers")}
        assert set(kept) == wanted
        store.delete([kept["EulerSampler"]])
    seen: list[str] = []
    measure = board.measured
    monkeypatch.setattr(board, "measured", lambda *args: seen.append(args[1]) or measure(*args))
    again = board.run_board(tmp_path, ["azula"], quick=True, jobs=1, only=lambda e: e.name in wanted)
    assert seen == ["EulerSampler"]
    assert [r["name"] for r in again] == [r["name"] for r in first]
    euler, reab = again
    assert reached(euler) is True
    assert reached(reab) is False
    assert slope(formula(reab)[1]) == pytest.approx(1.0, abs=0.2)
    page = markdown(labelled(again), {"reab-swapped-sigma": [1.0, 3.0]})
    assert "| EulerSampler | 1 |" in page
    assert "azula/sample.py:" in page
    assert "order 1.00 as shipped, order 3.00" in page
    assert "3m-factor" not in page.split("## Left off")[0]  # only the libraries that were asked for
    json.dumps(again)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(board, "find_spec", lambda name: None)
    found = CliRunner().invoke(main, ["peers", "--library", "azula", "--out", str(tmp_path)])
    assert found.exit_code == 1
    assert "scorebed[peers]" in found.output
    assert "azula" in found.output


def test_an_unknown_library_is_refused(tmp_path: Path) -> None:
    found = CliRunner().invoke(main, ["peers", "--library", "fairseq", "--out", str(tmp_path)])
    assert found.exit_code == 2
    assert "diffusers" in found.output
    with pytest.raises(ValueError, match="k-diffusion"):
        board.run_board(tmp_path, ["fairseq"])


def test_the_reviewed_copy_has_every_defect_and_entry() -> None:
    page = REVIEWED.read_text(encoding="utf-8")
    assert [key for key in DEFECTS if f'<a id="{key}"></a>' not in page] == []
    assert [e.name for e in entries() if f"| {e.name} |" not in page] == []
    assert [name for name in LIBRARIES if f"## {name} " not in page] == []
