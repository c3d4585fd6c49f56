"""Universal methods on what nothing was fitted to: ``python -m benchmarks.universal [--nfe N ...] [--networks NAMES] [--fit FILE]``.

On families of exact laws the error is shown over that of the best of ``advise``'s short list, found on the same states: the geometric mean
over six members of each. On a network it is shown over that of the registered Plan which was best in ``benchmarks/tuned.json``, with its
interval, on states that neither was chosen on. Where a course stands, its scale and stretch, a race on other states says.

``--fit`` makes the courses of ``toy/tuning/universal.json`` again, on members of three families, such with ripples, and one network.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tuned import NETWORKS, chunked, remembered
from scorebed.solvers import SOLVERS, VP, Plan, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.tuning.advise import SHORT, SHORT_GRIDS, Candidate, advise, candidates, measured, ratio_interval
from scorebed.toy.tuning.descent import Descent
from scorebed.toy.tuning.families import FAMILIES, member
from scorebed.toy.tuning.form import PARTS, form_of
from scorebed.toy.tuning.lockstep import errors_of
from scorebed.toy.tuning.setting import Setting, named
from scorebed.toy.tuning.universal import Course, course_of, saved, table
from scorebed.toy.tuning.universal_fit import fit, place

PLAIN = [("products", range(4)), ("mixtures", range(4)), ("spectra", range(2))]
RIPPLED = [("products", range(4)), ("mixtures", range(4, 8)), ("spectra", range(2, 3))]
RIPPLES = (0.4, 0.8, 1.6)
NETWORK, SHARE = "galaxy-ztf-32", 0.3
"""What courses are fitted to: members as they are, members with ripples of each size, and one network with its share of what goes down."""
MEMBERS, STATES, RACED = range(70, 76), 96, 48
TESTED = {"galaxy-hsc-32": 256, "crystals": 256, "21cm": 48}
_KEPT, _HELD, _ROWS = 192, 48, 48
_BEGIN, _STRETCH = 1.0, 0.65
"""Where a first course stands for laws of scale 1, whose data come about in less than the whole of VP's range."""


def placed(setting: Setting, nfe: int, seed: int) -> Candidate:
    """The universal method where a race puts it."""
    return advise(setting, nfe, methods=["universal"], states=RACED, seed=seed).best


def family_ratios(family: str, nfe: int) -> np.ndarray:
    """Its error over that of the best of the short list, on each member."""
    found = []
    for seed in MEMBERS:
        setting = member(family, seed)
        x = setting.draw(STATES, 7)
        answer = setting.answer(x)
        plans = [c.plan for c in candidates(setting, nfe, methods=SHORT, grids=SHORT_GRIDS)]
        best = min(float(np.median(one)) for one in errors_of(setting, plans, x, answer)[0])
        found.append(float(np.median(measured(setting, placed(setting, nfe, 77).plan, x, answer))) / best)
    return np.array(found)


def opponent(setting: Setting, nfe: int) -> Plan:
    """The registered Plan that was the best of all in ``benchmarks/tuned.json``."""
    rows = json.loads(Path("benchmarks/tuned.json").read_text(encoding="utf-8"))
    label = next(str(r["start"]) for r in rows if (r["model"], r["nfe"]) == (setting.name, nfe))
    method, _, grid = label.rpartition(" on ")
    made = candidates(setting, nfe, methods=[method.partition(", start ")[0]], grids=[grid])
    return next(c.plan for c in made if label in (c.label, *c.same))


def network_row(model: str, nfe: int, out: Path) -> str:
    """A row, the ratios of the medians, of the 90th percentiles and of the RMS, and below it that of the geometric means."""
    setting = remembered(chunked(named(model), NETWORKS[model]), out / f"{model}.npz", NETWORKS[model])
    rival = opponent(setting, nfe)
    at = placed(setting, nfe, 77)
    x = setting.draw(TESTED[model], 4242)
    answer = setting.answer(x)
    ours, theirs = (measured(setting, plan, x, answer) for plan in (at.plan, rival))
    ratio, low, high = ratio_interval(ours, theirs)
    tail, rms = np.quantile(ours, 0.9) / np.quantile(theirs, 0.9), math.sqrt(np.mean(ours**2) / np.mean(theirs**2))
    gap = np.log(ours) - np.log(theirs)
    mean, wide = float(gap.mean()), 2.0 * float(gap.std()) / math.sqrt(len(gap))
    means = f"geometric means {math.exp(mean):.2f}, {math.exp(mean - wide):.2f} to {math.exp(mean + wide):.2f}"
    where = f"scale {at.scale:g}, stretch {at.stretch:g}"
    figures = f"{ratio:.2f} | {low:.2f} to {high:.2f} | {tail:.2f} | {rms:.2f}"
    return f"| {model} | {nfe} | {figures} | {np.median(ours):.2g} | {rival.solver}, {np.median(theirs):.2g} | {where} |\n{means}"


def first_course(nfe: int) -> Course:
    """That of DPM-Solver++(3M) begun by DDIM on even steps of lam."""
    schedule = VP()
    grid = uniform_lam(schedule, nfe, schedule.t_max, schedule.t_min)
    made = course_of(form_of(trace(SOLVERS["dpmpp_3m"](start="ddim"), grid)))
    return Course(_BEGIN + _STRETCH * made.levels, _STRETCH * made.told, made.combinations)


def fitted(nfe: int, iterations: int, out: Path) -> dict[str, Any]:
    """A course fitted to all at once, as it is kept, at scale and stretch 1 for the laws on the average."""
    laws = [member(family, k) for family, seeds in PLAIN for k in seeds]
    laws += [member(family, k, size) for size in RIPPLES for family, seeds in RIPPLED for k in seeds]
    settings = [remembered(chunked(named(NETWORK), _ROWS), out / f"{NETWORK}.npz", _ROWS), *laws]
    shares = [SHARE] + [(1 - SHARE) / len(laws)] * len(laws)
    searches = [Descent(one, PARTS, states=_KEPT, held_out=_HELD, seed=k, say=lambda line: None) for k, one in enumerate(settings)]
    course = first_course(nfe)
    begin = [place(search, course) for search in searches]
    course, places = fit(
        searches, course, begin, shares=shares, iterations=iterations, say=lambda line: print(f"{nfe} evaluations, {line}", flush=True)
    )
    at, stretch = np.mean(places[1:], axis=0)
    return saved(Course(at + stretch * course.levels, stretch * course.told, course.combinations))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--nfe", nargs="+", type=int)
    asked.add_argument("--families", nargs="*", choices=list(FAMILIES), default=list(FAMILIES))
    asked.add_argument("--networks", nargs="*", choices=list(TESTED), default=[])
    asked.add_argument("--fit", type=Path)
    asked.add_argument("--iterations", type=int, default=100)
    asked.add_argument("--out", type=Path, default=Path("out/universal"))
    options = asked.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for nfe in options.nfe or table():
        if options.fit is not None:
            made = json.loads(options.fit.read_text(encoding="utf-8")) if options.fit.exists() else {"courses": {}}
            made["courses"][str(nfe)] = fitted(nfe, options.iterations, options.out)
            options.fit.write_text(json.dumps(made) + "\n", encoding="utf-8")
            continue
        for family in options.families:
            one = family_ratios(family, nfe)
            print(f"{nfe} evaluations, {family}: {np.exp(np.log(one).mean()):.3f} ({', '.join(f'{r:.2f}' for r in one)})", flush=True)
        for model in options.networks:
            print(network_row(model, nfe, options.out), flush=True)


if __name__ == "__main__":
    main()
