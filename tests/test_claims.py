"""Claims of papers: every one has the verdict stated here, and every negative control fails."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from typer.testing import CliRunner

from scorebed.toy.claims import registry
from scorebed.toy.claims.families import FAMILIES
from scorebed.toy.claims.registry import BROKEN, CLAIMS, FALSE, HOLDS, Claim, Row, Verdict, above, below, load, near
from scorebed.toy.cli import main

VERDICTS = {
    0: HOLDS,
    3: FALSE,
    4: HOLDS,
    5: HOLDS,
    6: HOLDS,
    7: HOLDS,
    8: HOLDS,
    9: HOLDS,
    10: FALSE,
    11: HOLDS,
    12: HOLDS,
    13: HOLDS,
    14: HOLDS,
    15: HOLDS,
    16: HOLDS,
    17: HOLDS,
    18: HOLDS,
    19: HOLDS,
    21: HOLDS,
    23: HOLDS,
    25: HOLDS,
    26: HOLDS,
    27: HOLDS,
    29: HOLDS,
    30: HOLDS,
    31: HOLDS,
    32: HOLDS,
    35: HOLDS,
    36: HOLDS,
    37: HOLDS,
    38: HOLDS,
    39: HOLDS,
    40: HOLDS,
    43: HOLDS,
    44: HOLDS,
    45: HOLDS,
    46: HOLDS,
    47: HOLDS,
    48: HOLDS,
    49: HOLDS,
    50: HOLDS,
    51: HOLDS,
    52: HOLDS,
    54: HOLDS,
    55: HOLDS,
    56: HOLDS,
    57: HOLDS,
    58: HOLDS,
    59: HOLDS,
    60: FALSE,
    61: HOLDS,
    62: FALSE,
    63: HOLDS,
    65: FALSE,
    66: HOLDS,
    67: HOLDS,
    68: HOLDS,
    69: HOLDS,
    70: HOLDS,
    71: HOLDS,
    72: HOLDS,
    73: HOLDS,
    75: HOLDS,
    77: HOLDS,
    78: HOLDS,
    79: HOLDS,
    80: HOLDS,
    81: HOLDS,
    82: HOLDS,
    83: HOLDS,
    84: HOLDS,
    85: HOLDS,
    86: HOLDS,
    87: HOLDS,
    88: HOLDS,
    89: HOLDS,
    93: HOLDS,
    94: HOLDS,
    99: HOLDS,
    100: HOLDS,
    101: HOLDS,
    104: HOLDS,
    105: HOLDS,
    107: HOLDS,
    108: HOLDS,
    109: HOLDS,
    112: HOLDS,
    114: HOLDS,
    115: HOLDS,
    119: HOLDS,
    120: HOLDS,
    121: HOLDS,
    122: HOLDS,
    123: HOLDS,
    124: HOLDS,
    125: FALSE,
    126: HOLDS,
    128: HOLDS,
    130: HOLDS,
    131: HOLDS,
    133: HOLDS,
    134: HOLDS,
    135: HOLDS,
    136: HOLDS,
    137: HOLDS,
    139: HOLDS,
    140: HOLDS,
    141: HOLDS,
    142: HOLDS,
    143: HOLDS,
    144: HOLDS,
    145: HOLDS,
    146: HOLDS,
    147: HOLDS,
    148: HOLDS,
    149: HOLDS,
    151: HOLDS,
    153: HOLDS,
    156: FALSE,
    157: HOLDS,
    158: HOLDS,
    160: HOLDS,
    161: HOLDS,
    162: HOLDS,
    163: HOLDS,
    164: HOLDS,
    165: HOLDS,
    168: HOLDS,
    169: HOLDS,
    170: HOLDS,
    172: HOLDS,
    173: HOLDS,
    174: HOLDS,
    175: HOLDS,
    176: HOLDS,
    177: HOLDS,
    178: HOLDS,
    180: HOLDS,
    181: HOLDS,
    183: FALSE,
    184: HOLDS,
    187: HOLDS,
    188: HOLDS,
    190: HOLDS,
    191: FALSE,
    192: HOLDS,
    193: HOLDS,
    194: HOLDS,
    195: HOLDS,
    196: HOLDS,
    197: HOLDS,
    198: HOLDS,
    200: HOLDS,
    202: HOLDS,
    204: HOLDS,
    205: HOLDS,
    206: HOLDS,
    207: HOLDS,
    208: HOLDS,
    209: HOLDS,
    211: HOLDS,
    212: HOLDS,
    213: HOLDS,
    214: HOLDS,
    215: HOLDS,
    216: HOLDS,
    217: HOLDS,
    218: HOLDS,
    219: HOLDS,
    220: HOLDS,
    221: HOLDS,
    222: HOLDS,
    223: HOLDS,
    224: HOLDS,
    229: HOLDS,
    230: HOLDS,
    232: HOLDS,
    234: HOLDS,
    236: HOLDS,
    237: HOLDS,
    238: HOLDS,
    239: HOLDS,
    240: HOLDS,
    241: HOLDS,
    242: HOLDS,
    243: HOLDS,
    244: HOLDS,
    245: HOLDS,
    246: HOLDS,
    247: HOLDS,
    248: HOLDS,
    249: HOLDS,
    250: HOLDS,
    251: HOLDS,
    252: HOLDS,
    254: HOLDS,
    255: HOLDS,
    257: HOLDS,
    258: HOLDS,
    259: HOLDS,
    260: HOLDS,
    261: HOLDS,
    263: HOLDS,
    265: HOLDS,
    266: HOLDS,
    268: HOLDS,
    270: HOLDS,
    271: HOLDS,
    272: HOLDS,
    274: HOLDS,
    275: HOLDS,
    276: HOLDS,
    277: HOLDS,
    278: HOLDS,
    280: HOLDS,
    282: HOLDS,
    285: HOLDS,
    286: HOLDS,
    288: HOLDS,
    289: HOLDS,
    290: HOLDS,
    292: HOLDS,
    293: HOLDS,
    294: HOLDS,
    295: HOLDS,
}
load()


@pytest.mark.parametrize("number", VERDICTS)
def test_the_verdict_is_the_one_stated_and_the_control_fails(number: int) -> None:
    claim = CLAIMS[number]
    verdict = claim.run()
    assert claim.expected == VERDICTS[number]
    assert verdict.status == VERDICTS[number], [f"{r.quantity}: {r.measured} not {r.bound}" for r in verdict.rows if not r.holds]
    assert verdict.control_fails, verdict.survivors
    assert claim.as_it_must(verdict)
    assert all(math.isfinite(r.measured) for r in verdict.rows)
    if verdict.status == FALSE:
        assert verdict.sentence == f"false as printed; true when {claim.when}"
        assert any(r.printed and not r.holds for r in verdict.rows)
    assert list(claim.table(verdict).columns) == list(registry.COLUMNS)


def test_every_claim_is_here_with_a_control_and_a_reference() -> None:
    assert set(CLAIMS) == set(VERDICTS)
    for claim in CLAIMS.values():
        assert claim.control
        assert claim.reference.startswith("arXiv:")
        assert len(claim.statement) > 80
        assert bool(claim.when) == (claim.expected == FALSE)


def one(rows: list[Row], control: list[Row], when: str = "") -> Claim:
    return Claim(
        1, "paper", "arXiv:0", "statement", "control", lambda broken: control if broken else rows, Figure, FALSE if when else HOLDS, when
    )


def test_a_control_that_passes_is_a_failure() -> None:
    claim = one([below("a", 0.5, 1.0), below("b", 0.5, 1.0)], [below("a", 2.0, 1.0), below("b", 0.5, 1.0)])
    verdict = claim.run()
    assert verdict.status == HOLDS
    assert verdict.survivors == ("b",)
    assert not claim.as_it_must(verdict)


def test_a_row_that_the_break_leaves_alone_may_hold() -> None:
    rows = [below("a", 0.5, 1.0), below("b", 0.5, 1.0, kept=True)]
    assert one(rows, [below("a", 2.0, 1.0), rows[1]]).run().control_fails


def test_a_printed_row_that_fails_makes_the_claim_false_as_printed_and_another_makes_it_fail() -> None:
    good, bad, printed = below("a", 0.5, 1.0), below("a", 2.0, 1.0), below("p", 2.0, 1.0, printed=True)
    claim = one([good, printed], [bad, printed], "something")
    assert claim.run().status == FALSE
    assert claim.run().sentence == "false as printed; true when something"
    assert claim.as_it_must(claim.run())
    assert one([bad, printed], [bad, printed], "something").run().status == BROKEN
    true = replace(printed, measured=0.5)
    verdict = one([good, true], [bad, true], "something").run()
    assert verdict.status == HOLDS
    assert not one([good, true], [bad, true], "something").as_it_must(verdict)


@pytest.mark.parametrize("value", [math.nan, 1.1, -0.1])
def test_a_value_outside_its_bounds_does_not_hold(value: float) -> None:
    assert not Row("a", value, 0.0, 1.0).holds


def test_a_row_without_a_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="bounds nothing"):
        Row("a", 1.0)
    with pytest.raises(ValueError, match="low <= high"):
        Row("a", 1.0, 2.0, 1.0)


def test_a_control_of_other_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="same quantities against the same bounds"):
        one([below("a", 0.5, 1.0)], [below("a", 2.0, 1.5)]).run()
    with pytest.raises(ValueError, match="breaks no row"):
        one([below("a", 0.5, 1.0, kept=True)], [below("a", 0.5, 1.0, kept=True)]).run()


def test_a_number_is_taken_once() -> None:
    with pytest.raises(ValueError, match="claim 3 is registered already"):
        registry.claim(3, paper="", reference="", statement="", control="", draw=Figure)(lambda broken: [])


def test_bounds_are_written_as_mathematics() -> None:
    assert below("a", 0.0, 1e-6).bound == "≤ 1e-06"
    assert above("a", 0.0, 2.0).bound == "≥ 2"
    assert near("a", 0.0, 0.3, 1e-6).bound == "0.3 ± 1e-06"


def test_the_command_prints_saves_and_draws(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["claims", "192", "183", "--figures", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for text in ("ER-SDE", "arXiv:2308.05021", "false as printed; true when", "fails as it must", "1 holds, 1 false as printed"):
        assert text in " ".join(done.output.split())
    saved = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert [r["id"] for r in saved] == [192, 183]
    assert saved[1]["control"]["fails"] is True
    assert (tmp_path / "claims.csv").read_text(encoding="utf-8").startswith("id,paper,statement,quantity")
    assert {"claim_192.png", "claim_192.svg", "claim_183.png", "claim_183.svg"} <= {p.name for p in tmp_path.iterdir()}


def test_the_command_chooses_by_family_and_words(tmp_path: Path) -> None:
    run = CliRunner()
    done = run.invoke(main, ["claims", "--search", "er-sde", "--json", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    records = json.loads(done.stdout)
    assert [(r["id"], r["family"], r["control"]["fails"]) for r in records] == [(192, "solvers-sde", True)]
    listed = run.invoke(main, ["claims", "--family", "solvers-ode", "--list", "--json"])
    assert {r["id"] for r in json.loads(listed.stdout)} == {i for i in CLAIMS if CLAIMS[i].family == "solvers-ode"}
    assert "arXiv:2309.06169" in run.invoke(main, ["claims", "192", "--list"]).output
    for wrong, words in ((["--family", "cooking"], "no family cooking"), (["--search", "zebra"], "has the words 'zebra'")):
        refused = run.invoke(main, ["claims", *wrong])
        assert refused.exit_code == 2
        assert words in refused.output


def test_every_claim_has_one_family() -> None:
    numbers = [n for group in FAMILIES.values() for n in group]
    assert len(numbers) == len(set(numbers))
    assert {claim.id for claim in CLAIMS.values() if claim.family == "other"} == set()


def test_the_command_ends_with_status_1_where_a_control_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [below("a", 0.5, 1.0)]
    monkeypatch.setitem(CLAIMS, 183, replace(one(rows, rows), id=183))
    done = CliRunner().invoke(main, ["claims", "183", "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "PASSES, as it must not: a" in done.output
    assert "Not as it must be: 183" in done.output


def test_an_unknown_number_is_refused(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["claims", "99999", "--out", str(tmp_path)])
    assert done.exit_code == 2
    assert "no claim 99999" in done.output


def test_a_verdict_says_what_does_not_hold() -> None:
    verdict = one([below("a", 2.0, 1.0)], [below("a", 2.0, 1.0)]).run()
    assert isinstance(verdict, Verdict)
    assert verdict.sentence == "does not hold: a"
    assert not verdict.holds
