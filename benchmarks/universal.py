"""Universal methods on members that nothing was fitted to: ``python -m benchmarks.universal [--nfe N ...] [--fit FILE]``.

Shown is the median error over that of the best of ``advise``'s short list, which is found on the same states: the geometric mean over six
members of each family. ``--fit`` goes on from the numbers of the table on sixteen members of each family named by ``--on``, and writes what
it finds to a file, whose numbers are judged beside those of the table.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.solvers import VP
from scorebed.toy.tuning.advise import SHORT, SHORT_GRIDS, candidates, measured
from scorebed.toy.tuning.families import FAMILIES, TRAIN, member
from scorebed.toy.tuning.form import PARTS
from scorebed.toy.tuning.lockstep import errors_of
from scorebed.toy.tuning.search import Search
from scorebed.toy.tuning.universal import bound, shares
from scorebed.toy.tuning.universal_fit import fit
from scorebed.toy.tuning.universal_table import NUMBERS

MEMBERS, STATES = range(70, 76), 96
FITTED, SEEN, HELD = range(16), 24, 12


def ratios(family: str, nfe: int, tried: dict[str, dict[str, list[float]]]) -> dict[str, np.ndarray]:
    """For each set of numbers its error over that of the best of the short list, on each member."""
    found: dict[str, list[float]] = {name: [] for name in tried}
    for seed in MEMBERS:
        setting = member(family, seed)
        x = setting.draw(STATES, 7)
        answer = setting.answer(x)
        plans = [c.plan for c in candidates(setting, nfe, methods=SHORT, grids=SHORT_GRIDS)]
        best = min(float(np.median(one)) for one in errors_of(setting, plans, x, answer)[0])
        first, last = setting.ends
        for name, numbers in tried.items():
            plan = bound(numbers, setting.schedule, first.t, last.t).plan()
            found[name].append(float(np.median(measured(setting, plan, x, answer))) / best)
    return {name: np.array(one) for name, one in found.items()}


def fitted(nfe: int, families: list[str], iterations: int) -> dict[str, list[float]]:
    """Numbers fitted to members of families, from those of the table on."""
    searches = [
        Search(member(family, seed), PARTS, states=SEEN, held_out=HELD, seed=seed, say=lambda line: None)
        for family in families
        for seed in FITTED
    ]
    schedule = VP()
    begun = bound(NUMBERS[nfe], schedule, schedule.t_max, schedule.t_min)
    return shares(fit(searches, begun, iterations, lambda line: print(f"{nfe} evaluations, {line}", flush=True)))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--nfe", nargs="+", type=int, choices=list(NUMBERS), default=list(NUMBERS))
    asked.add_argument("--fit", type=Path)
    asked.add_argument("--on", nargs="+", choices=list(FAMILIES), default=list(TRAIN))
    asked.add_argument("--iterations", type=int, default=40)
    options = asked.parse_args()
    made: dict[str, Any] = {}
    for nfe in options.nfe:
        tried = {"table": NUMBERS[nfe]}
        if options.fit is not None:
            made[str(nfe)] = tried["fitted"] = fitted(nfe, options.on, options.iterations)
            options.fit.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        for family in FAMILIES:
            for name, one in ratios(family, nfe, tried).items():
                each = ", ".join(f"{ratio:.2f}" for ratio in one)
                print(f"{nfe} evaluations, {family}, {name}: {np.exp(np.log(one).mean()):.3f} ({each})", flush=True)


if __name__ == "__main__":
    main()
