"""Ports to other engines and languages, judged from nothing but the numbers that they write: results of the pack of vectors."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from scorebed.toy.museum.registry import exhibit


@cache
def _cases() -> dict[str, dict[str, Any]]:
    from scorebed.toy.conform.vectors import pack

    return {case["id"]: case for case in pack()["cases"]}


def _answers(**changed: Any) -> dict[str, Any]:
    return {key: case["expected"] for key, case in _cases().items()} | changed


@exhibit(
    "conform",
    "tier4/Diffusion-Planner#50",
    "log p of a step is the mean over dimensions where the sum is documented",
    named="mean over dimensions",
    also=("modelscope/DiffSynth-Studio#1141", "areal-project/AReaL#1410"),
)
def mean_over_dimensions(mended: bool) -> dict[str, Any]:
    return _answers(**({} if mended else {"log-probability/vp": _cases()["log-probability/vp"]["twins"]["mean over dimensions"]}))


@exhibit(
    "conform",
    "verl-project/verl-omni#209",
    "log p of a step without its normaliser, on one of two sides",
    named="normaliser left out",
)
def without_normaliser(mended: bool) -> dict[str, Any]:
    return _answers(**({} if mended else {"log-probability/vp": _cases()["log-probability/vp"]["twins"]["normaliser left out"]}))


@exhibit(
    "conform",
    "sgl-project/sglang#33423",
    "at u = 1 the noise of a token is infinite: one that is forbidden comes out",
    named="draw/categorical",
)
def forbidden_token(mended: bool) -> dict[str, Any]:
    case = _cases()["draw/categorical"]
    u, total = np.array(case["uniforms"]), np.cumsum(case["probabilities"], axis=1)
    if mended:
        return _answers()
    drawn = [3 if v > 1.0 - 1e-9 else int(np.argmax(v < row)) for v, row in zip(u, total, strict=True)]  # token 3 has probability 0
    return _answers(**{"draw/categorical": drawn})
