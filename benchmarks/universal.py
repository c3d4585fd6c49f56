"""Universal methods on what nothing was fitted to: ``python -m benchmarks.universal [--nfe N ...] [--networks NAMES] [--fit FILE]``.

On families of exact laws the error is shown over that of the best of ``advise``'s short list, found on the same states: the geometric mean
over six members of each. On a network it is shown over that of the registered Plan which was best in ``benchmarks/tuned.json``, with its
interval, on states that neither was chosen on. Which course it is and where it stands, a race on other states says.

``--fit`` fits courses, ``--to networks`` on members of three families, such with ripples, and one network, ``--to laws`` on members of
products and mixtures first and then of all three families, ``--to tables`` on members of a fourth, from the course for networks. It goes on
from those that FILE has, a copy of ``toy/tuning/universal.json`` or one's own, and else from DPM-Solver++(3M).
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np

from benchmarks.tuned import NETWORKS, chunked, remembered
from scorebed.solvers import SOLVERS, VP, Plan, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.tuning.advise import SHORT, SHORT_GRIDS, advise
from scorebed.toy.tuning.candidates import Candidate, candidates
from scorebed.toy.tuning.course import Course, course_of
from scorebed.toy.tuning.descent import Descent
from scorebed.toy.tuning.families import FAMILIES, member
from scorebed.toy.tuning.form import PARTS, form_of
from scorebed.toy.tuning.lockstep import errors_of, measured
from scorebed.toy.tuning.race import ratio_interval
from scorebed.toy.tuning.setting import Setting, named
from scorebed.toy.tuning.universal import FITTED_TO, load, saved, table
from scorebed.toy.tuning.universal_fit import fit, place

LAWS = [("products", range(12)), ("mixtures", range(12)), ("spectra", range(6))]
PLAIN = [("products", range(4)), ("mixtures", range(4)), ("spectra", range(2))]
RIPPLED = [("products", range(4)), ("mixtures", range(4, 8)), ("spectra", range(2, 3))]
RIPPLES = (0.4, 0.8, 1.6)
TABLES = range(18)
NETWORK, SHARE = "galaxy-ztf-32", 0.3
"""What courses are fitted to: members alone, or members as they are, members with ripples of each size, and one network with its share of
what goes down; or tables alone."""
MEMBERS, STATES, RACED = range(70, 76), 96, {"crystals": 384}
"""Members that nothing was fitted to, states of each and of a race, and of a race where errors have heavy tails."""
TESTED = {"galaxy-hsc-32": 256, "crystals": 1024, "21cm": 48}
_KEPT, _HELD, _ROWS = 192, 48, 48
_BEGIN, _STRETCH = 1.0, 0.65
"""Where a first course stands for laws of scale 1, whose data come about in less than the whole of VP's range."""


def placed(setting: Setting, nfe: int, seed: int) -> Candidate:
    """The universal method where a race puts it."""
    return advise(setting, nfe, methods=["universal"], states=RACED.get(setting.name, STATES), seed=seed).best


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
    where = at.label.removeprefix("universal on ")
    figures = f"{ratio:.2f} | {low:.2f} to {high:.2f} | {tail:.2f} | {rms:.2f}"
    return f"| {model} | {nfe} | {figures} | {np.median(ours):.2g} | {rival.solver}, {np.median(theirs):.2g} | {where} |\n{means}"


def first_course(nfe: int) -> Course:
    """That of DPM-Solver++(3M) begun by DDIM on even steps of lam."""
    schedule = VP()
    grid = uniform_lam(schedule, nfe, schedule.t_max, schedule.t_min)
    made = course_of(form_of(trace(SOLVERS["dpmpp_3m"](start="ddim"), grid)))
    return Course(_BEGIN + _STRETCH * made.levels, made.told, made.combinations)


def fitted(begun: Course, fitted_to: str, iterations: int, out: Path) -> Course:
    """A course fitted to all at once, at scale and stretch 1 for laws on the average; to laws first without Gaussians, which gain most."""
    if fitted_to == "laws":
        for stage in (LAWS[:2], LAWS):
            begun = _fitted(begun, [member(family, k) for family, seeds in stage for k in seeds], [], iterations)
        return begun
    if fitted_to == "tables":
        return _fitted(begun, [member("tables", k) for k in TABLES], [], iterations)
    laws = [member(family, k) for family, seeds in PLAIN for k in seeds]
    laws += [member(family, k, size) for size in RIPPLES for family, seeds in RIPPLED for k in seeds]
    return _fitted(begun, laws, [remembered(chunked(named(NETWORK), _ROWS), out / f"{NETWORK}.npz", _ROWS)], iterations)


def _fitted(begun: Course, laws: list[Setting], networks: list[Setting], iterations: int) -> Course:
    shares = [SHARE] * len(networks) + [(1.0 - SHARE * len(networks)) / len(laws)] * len(laws)
    searches = [
        Descent(one, PARTS, states=_KEPT, held_out=_HELD, seed=k, say=lambda line: None) for k, one in enumerate([*networks, *laws])
    ]
    begin = [place(search, begun) for search in searches]
    course, places = fit(
        searches, begun, begin, shares=shares, iterations=iterations, say=lambda line: print(f"{begun.m} evaluations, {line}", flush=True)
    )
    at, stretch = np.mean(places[len(networks) :], axis=0)
    return Course(at + stretch * course.levels, course.told, course.combinations)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--nfe", nargs="+", type=int)
    asked.add_argument("--families", nargs="*", choices=list(FAMILIES), default=list(FAMILIES))
    asked.add_argument("--networks", nargs="*", choices=list(TESTED), default=[])
    asked.add_argument("--fit", type=Path)
    asked.add_argument("--to", choices=FITTED_TO, default="networks")
    asked.add_argument("--iterations", type=int, default=100)
    asked.add_argument("--out", type=Path, default=Path("out/universal"))
    options = asked.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for nfe in options.nfe or table():
        if options.fit is not None:
            made = json.loads(options.fit.read_text(encoding="utf-8")) if options.fit.exists() else {kind: {} for kind in FITTED_TO}
            known = made[options.to]
            begun = load(known[str(nfe)]) if str(nfe) in known else table()[nfe] if options.to == "tables" else first_course(nfe)
            known[str(nfe)] = saved(fitted(begun, options.to, options.iterations, options.out))
            options.fit.write_text(json.dumps(made) + "\n", encoding="utf-8")
            continue
        for family in options.families:
            one = family_ratios(family, nfe)
            print(f"{nfe} evaluations, {family}: {np.exp(np.log(one).mean()):.3f} ({', '.join(f'{r:.2f}' for r in one)})", flush=True)
        for model in options.networks:
            print(network_row(model, nfe, options.out), flush=True)


if __name__ == "__main__":
    main()
