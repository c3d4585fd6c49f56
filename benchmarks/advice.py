"""What ``advise`` finds against what trying everything finds: ``python -m benchmarks.advice [--nfe N ...] [--models NAMES]``.

Eight exact problems that no choice in the library was made on, or networks by name. Every candidate runs on states that the race has not
seen, and the sixteen best of them and the advised one on others again, more of them: else the least of a thousand is so by chance.
Shown are the median error there of the advised one over the least of these, its place among them, and the cost of the race over that of
trying every candidate on as many states. Wanted: at most 1.1, at a tenth.
"""

from __future__ import annotations

import argparse

import numpy as np

from scorebed.solvers import Plan
from scorebed.toy.tuning.advise import advise
from scorebed.toy.tuning.families import member
from scorebed.toy.tuning.lockstep import errors_of
from scorebed.toy.tuning.race import middle_half, ratio_interval
from scorebed.toy.tuning.setting import Setting, named

FAMILIES, SEEDS = ("products", "mixtures", "sheets", "clusters"), (70, 71)
_NEAR = 16
"""How many of the best of all run on other states again."""


def row(setting: Setting, nfe: int, *, states: int | None, test: int | None, confirm: int | None) -> str:
    """One line of the table."""
    advice = advise(setting, nfe, **({} if states is None else {"states": states}))
    every = [*advice.ranking, *advice.others]
    plans = [c.plan for c in every]
    test = test or 2 * len(advice.best.errors)
    near = np.argsort(middle_half(_errors(setting, plans, test, 4242)), kind="stable")[:_NEAR]
    errors = _errors(setting, [plans[k] for k in (0, *near)], confirm or 4 * test, 4243)
    least = np.median(errors, axis=1)
    best = 1 + int(np.argmin(least[1:]))
    ratio, low, high = ratio_interval(errors[0], errors[best])
    cells = [setting.name, nfe, len(every), every[0].label, every[near[best - 1]].label, f"{ratio:.3f}", f"{low:.2f} to {high:.2f}"]
    return " | ".join(map(str, [*cells, 1 + int((least[1:] < least[0]).sum()), f"{advice.evaluations / advice.exhaustive:.1%}"]))


def _errors(setting: Setting, plans: list[Plan], states: int, seed: int) -> np.ndarray:
    x = setting.draw(states, seed)
    return np.array(errors_of(setting, plans, x, setting.answer(x))[0])


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--models", nargs="*", default=[])
    asked.add_argument("--families", nargs="*", choices=FAMILIES, default=FAMILIES)
    asked.add_argument("--nfe", nargs="+", type=int, default=[8])
    asked.add_argument("--states", type=int, help="of the race")
    asked.add_argument("--test", type=int, help="states that every candidate runs on; twice as many as the race has by itself")
    asked.add_argument("--confirm", type=int, help="states that the best of these run on; four times as many by itself")
    options = asked.parse_args()
    print("model | evaluations | candidates | advised | the best of all | ratio | 95 % | place | cost")
    for nfe in options.nfe:
        exact = (member(family, seed) for family in options.families for seed in SEEDS)
        for setting in map(named, options.models) if options.models else exact:
            print(row(setting, nfe, states=options.states, test=options.test, confirm=options.confirm), flush=True)


if __name__ == "__main__":
    main()
