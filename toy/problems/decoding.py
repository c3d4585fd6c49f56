"""The exact law of a decoder on a joint table: every draw of every step followed, states merged between steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.analytic.finite import Known, TableLaw
from scorebed.solvers.decode import Decoder
from scorebed.toy.problems.jump_law import Answers, branch, merged


def decoded_law(how: Decoder, law: TableLaw, sizes: Sequence[int], start: np.ndarray | None = None, model: Any = None) -> np.ndarray:
    """The law of the output as a table of the alphabet, from all masks or from the state ``start`` (L,); ``model`` is the exact one."""
    process, asked = law.process, model or Known(law)
    x = np.full((1, law.d), process.size) if start is None else np.asarray(start)[None]
    weight, node = np.ones(1), process.at(0.5)
    for count in sizes:

        def run(rows: np.ndarray, draws: Answers, x: np.ndarray = x, count: int = count) -> Any:
            return how.step(asked, x[rows], node, count, draws)

        ends, _, weight = branch(run, weight)
        x, _, weight = merged(ends.astype(np.int64), None, weight)
    table = np.zeros((process.alphabet,) * law.d)
    np.add.at(table, tuple(x.T), weight)
    return table
