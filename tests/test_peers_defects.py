"""Each defect of a peer: measured as shipped, measured again mended at run time, and shown by its few lines."""

from __future__ import annotations

import re
from typing import Any

import pytest

import scorebed
from scorebed.toy.foreign.guard import quiet
from scorebed.toy.foreign.kdiffusion import sampling
from scorebed.toy.peers.board import silence
from scorebed.toy.peers.defects import DEFECTS
from scorebed.toy.peers.faces import LIBRARIES, installed
from scorebed.toy.peers.program import mend, three_lines

HERE = {key: d for key, d in DEFECTS.items() if d.library in installed()}
"""Those of the libraries that are here: what is known of the others was measured where they are, and stands in ``toy/PEERS.md``."""
SLOPES = {
    key: float(d.shows.split("claimed ")[1].split('"')[0])
    for key, d in HERE.items()
    if "claimed " in d.shows and key != "lower-order-final"
}


@pytest.fixture(autouse=True)
def _silent() -> None:
    silence()


def test_the_libraries_of_most_defects_are_here() -> None:
    assert {"diffusers", "k-diffusion", "azula", "torchdiffeq"} <= {d.library for d in HERE.values()}
    assert {d.library for d in DEFECTS.values()} <= set(LIBRARIES)


@pytest.mark.parametrize("key", DEFECTS)
def test_every_defect_has_its_program_and_its_mend(key: str) -> None:
    """From the page to a failing program: it compiles, is of a few lines, and a replacement of words or a sentence says what to write."""
    program, lines = three_lines(DEFECTS[key]), mend(DEFECTS[key])
    compile(program.replace("{sampling}", "k_diffusion.sampling"), key, "exec")
    assert len(program.strip().splitlines()) <= 4
    assert "none known" not in lines[0]
    assert any(line.startswith(("- ", "+ ", "**Mend.** ")) for line in lines)


def failing(key: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the three lines after they failed, run as a maintainer runs them, but for fewer targets and no diagnosis."""
    full, names = scorebed.check_solver, {"__name__": key}
    monkeypatch.setattr(scorebed, "check_solver", lambda *args, **how: full(*args, **how, quick=True, diagnosis=False))
    program = three_lines(DEFECTS[key]).replace("{sampling}", sampling().__name__)
    with quiet(), pytest.raises(AssertionError):
        exec(compile(program, key, "exec"), names)
    return names


@pytest.mark.parametrize("key", HERE)
def test_a_defect_costs_what_it_is_said_to_and_mending_it_gives_it_back(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    defect, names = DEFECTS[key], failing(key, monkeypatch)
    measured = [names[name] for name in ("error", "order", "runs") if name in names]
    shipped, mended = measured[0] if measured else defect.trial.value(), defect.mended_trial().value()
    assert defect.before[0] <= shipped <= defect.before[1], f"{defect.where} as shipped: {shipped}"
    assert defect.after[0] <= mended <= defect.after[1], f"{defect.where} mended: {mended}"
    assert not (defect.after[0] <= shipped <= defect.after[1])


def _printed(key: str, capsys: pytest.CaptureFixture[str]) -> str:
    program = DEFECTS[key].shows.replace("{sampling}", sampling().__name__)
    with quiet():
        exec(compile(program, key, "exec"), {"__name__": key})
    return capsys.readouterr().out


@pytest.mark.parametrize("key", SLOPES)
def test_the_few_lines_show_the_missing_order(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"slope ([-\d.]+)", _printed(key, capsys))
    assert found is not None
    assert float(found.group(1)) < SLOPES[key] - 0.7


@pytest.mark.parametrize("key", ["unipc-bh1-nan", "empty-last-step"])
def test_the_few_lines_show_nan(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _printed(key, capsys).strip() == "nan"


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("no-third-order-sde", UnboundLocalError),
        ("prk-few-steps", ValueError),
        ("unclip-one-step", ZeroDivisionError),
        ("sde-one-step", UnboundLocalError),
    ],
)
def test_the_few_lines_raise(key: str, error: type[Exception], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(error):
        _printed(key, capsys)


@pytest.mark.parametrize("key", ["truncated-timesteps", "log-linear-timesteps"])
def test_the_few_lines_show_timesteps_of_other_sigmas(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert max(abs(float(v)) for v in re.findall(r"-?\d+\.\d*", _printed(key, capsys))) > 0.4
