"""What a maintainer pastes first: about three lines that fail where a defect is and pass once it is mended, and the mend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scorebed.toy.peers.defect import ERROR, EVEN, FINE, GENTLE, ORDER, OWN, WORKS, Defect
from scorebed.toy.peers.entry import Peer

_IMPORTS = {
    "diffusers": "from diffusers import {name}",
    "k-diffusion": "from {sampling} import {name}",
    "azula": "from azula.sample import {name}",
    "torchdiffeq": "from scorebed.toy.foreign.velocity import torchdiffeq_solver",
    "skrample": "from skrample.sampling.{part} import {name}\nfrom scorebed.toy.foreign.skrample import skrample_sampler",
}


def _options(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in options.items())


def _subject(peer: Peer) -> str:
    """The first arguments of ``check_solver``."""
    if peer.library == "skrample":
        return f"skrample_sampler({peer.name}({_options(peer.options)}))"
    if peer.library == "torchdiffeq":
        more = f", {_options(peer.options)}" if peer.options else ""
        return f'torchdiffeq_solver("{peer.name}"{more}), kind="velocity", library="torch"'
    made = [peer.name]
    made += [f"{'config' if peer.library == 'diffusers' else 'options'}={dict(peer.options)!r}"] if peer.options else []
    made += [f"step={dict(peer.step)!r}"] if peer.step else []
    return ", ".join(made)


def three_lines(defect: Defect) -> str:
    """A program of about three lines that raises an AssertionError as long as the defect is there: ``check_solver`` with what is claimed,
    or, for laws and where only the library's own grid shows it, the measurement of the board.

    Returns:
        source of the program.
    """
    trial, (low, high) = defect.trial, defect.after
    if trial.what == ORDER and trial.setting in (OWN, GENTLE, EVEN, FINE):
        part = defect.module.rpartition(".")[2]
        first = _IMPORTS[trial.peer.library].replace("{name}", trial.peer.name).replace("{part}", part)
        asked = {"order": round((low + high) / 2.0), "only": ["order"]}
        call = f"check_solver({_subject(trial.peer)}, {_options(asked)})"
        return f"from scorebed import check_solver\n{first}\nassert (report := {call}).passed, report\n"
    wanted = f"<= {high:g}" if trial.what == ERROR else "== 1.0" if trial.what == WORKS else f">= {low:g}"
    text = {ERROR: "error", WORKS: "runs"}.get(trial.what, "order")
    return (
        "from scorebed.toy.peers.defects import DEFECTS\n"
        f'{text} = DEFECTS["{defect.key}"].trial.value()  # of {trial.peer.name} as it is installed\n'
        f"assert {text} {wanted}, {text}\n"
    )


def mend(defect: Defect) -> list[str]:
    """The mend as lines of Markdown: the words replaced as a difference, or what to write, in words."""
    if defect.fix or not defect.changes:
        return [f"**Mend.** {defect.fix or 'none known'}.", ""]
    lines = ["**Mend.**", "", "```diff"]
    for old, new in defect.changes:
        before, after = old.strip("\n").splitlines(), new.strip("\n").splitlines()
        lines += [f"- {line}" for line in before if line not in after] + [f"+ {line}" for line in after if line not in before]
    return [*lines, "```", ""]
