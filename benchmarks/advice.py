"""What ``advise`` finds against what trying everything finds: ``python -m benchmarks.advice [--nfe N ...] [--models NAMES]``.

Eight exact problems that no choice in the library was made on, or networks by name. Every candidate runs on states that the race has not
seen; shown are the error of the advised one over the least of all, the same by where it ranks, and the cost of the race over that of trying
every candidate on as many states. Wanted: at most 1.1, at a tenth.
"""

from __future__ import annotations

import argparse

import numpy as np

from scorebed.toy.tuning.advise import advise, ratio_interval
from scorebed.toy.tuning.families import member
from scorebed.toy.tuning.lockstep import errors_of
from scorebed.toy.tuning.setting import Setting, named

FAMILIES, SEEDS = ("products", "mixtures", "sheets", "clusters"), (70, 71)


def row(setting: Setting, nfe: int, states: int | None, test: int | None) -> str:
    """One line of the table."""
    advice = advise(setting, nfe, **({} if states is None else {"states": states}))
    every = [*advice.ranking, *advice.others]
    x = setting.draw(test or 2 * len(advice.best.errors), 4242)
    errors, _ = errors_of(setting, [c.plan for c in every], x, setting.answer(x))
    medians = np.array([np.median(one) for one in errors])
    best = int(np.argmin(medians))
    ratio, low, high = ratio_interval(errors[0], errors[best])
    place = 1 + int((medians < medians[0]).sum())
    share = advice.evaluations / advice.exhaustive
    cells = [setting.name, str(nfe), str(len(every)), advice.best.label, every[best].label, f"{ratio:.3f}", f"{low:.2f} to {high:.2f}"]
    return " | ".join([*cells, str(place), f"{share:.1%}"])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--models", nargs="*", default=[])
    asked.add_argument("--families", nargs="*", choices=FAMILIES, default=FAMILIES)
    asked.add_argument("--nfe", nargs="+", type=int, default=[8])
    asked.add_argument("--states", type=int, help="of the race")
    asked.add_argument("--test", type=int, help="states that every candidate runs on; twice as many as the race has by itself")
    options = asked.parse_args()
    print("model | evaluations | candidates | advised | the best of all | ratio | 95 % | place | cost")
    for nfe in options.nfe:
        exact = (member(family, seed) for family in options.families for seed in SEEDS)
        for setting in map(named, options.models) if options.models else exact:
            print(row(setting, nfe, options.states, options.test), flush=True)


if __name__ == "__main__":
    main()
