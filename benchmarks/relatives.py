"""LD3, S4S, BNS, DyWeight, AMED, AYS and GITS side by side, as settings and neighbours of ``tune``: ``python -m benchmarks.relatives``.

One method and start for all, DPM-Solver++(2M) begun by DDIM on even steps of lam (for AMED the midpoint method), one set of training
states, one search, and test states that nothing was fitted to. Kept in ``benchmarks/relatives.json``; ``--show`` prints the table.

What each is here, and where it differs. AYS moves levels to the least divergence of paths, in closed form on a Gaussian with the model's
spectrum; GITS by dynamic programming over one-step errors of DDIM; DMN and LD3's first set by the error itself, with the method's own
weights on every grid (``searched``, without gradient). A form (``tune``) has weights of its own, as shares that stay where levels move: so
("nodes",) stands beside it. LD3 proper also moves what the network is told. S4S moves weights, S4S-Alt weights and levels in turn, here
together. BNS moves all but what the network is told. DyWeight moves weights and what the network is told; its weights need not add up to
1, ours keep constants exactly. AMED predicts the inner level of a two-stage step for each sample; here it is one for all.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tuned import NETWORKS, chunked, remembered
from scorebed.solvers import SOLVERS, Plan, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.toy.problems.registry import PROBLEMS
from scorebed.toy.tuning.form import PARTS
from scorebed.toy.tuning.known import Known
from scorebed.toy.tuning.lockstep import measured
from scorebed.toy.tuning.race import ratio_interval
from scorebed.toy.tuning.schedule_makers import MAKERS, searched, usual
from scorebed.toy.tuning.setting import Setting, named
from scorebed.toy.tuning.tune import tune

KEPT = Path(__file__).with_name("relatives.json")
NFE = 8
SCHEDULES = {"AYS": "klub", "GITS": "gits", "DMN, LD3's first set": "searched"}
SETTINGS: dict[str, tuple[str, ...]] = {
    "nodes alone": ("nodes",),
    "LD3": ("nodes", "times"),
    "S4S": ("weights",),
    "DyWeight": ("times", "weights"),
    "BNS, S4S-Alt": ("nodes", "weights"),
    "tune": PARTS,
}
STATES = {"product2d": (384, 96, 400), "galaxy-hsc-32": (128, 32, 64), "crystals": (64, 32, 64), "21cm": (48, 16, 32)}


def setting_of(model: str, out: Path) -> Setting:
    """The setting; a network's answers are kept beside those of ``benchmarks.tuned``."""
    if model in PROBLEMS:
        return named(model)
    return remembered(chunked(named(model), NETWORKS[model]), out / f"{model}.npz", NETWORKS[model])


def measure(model: str, out: Path, iterations: int) -> list[dict[str, Any]]:
    """A row for the start, one for each neighbour, one for each setting."""
    setting = setting_of(model, out)
    first, last = setting.ends
    states, held_out, test = STATES[model]
    solver = SOLVERS["dpmpp_2m"](start="ddim")
    start = trace(solver, uniform_lam(setting.schedule, NFE, first.t, last.t))
    two_stage = trace(SOLVERS["midpoint"], uniform_lam(setting.schedule, NFE // 2, first.t, last.t))
    x = setting.draw(test, 2)
    answer = setting.answer(x)
    before, rows = measured(setting, start, x, answer), list[dict[str, Any]]()

    def enter(name: str, how: str, plan: Plan, began: float) -> None:
        errors = measured(setting, plan, x, answer)
        ratio, low, high = ratio_interval(errors, before)
        row = {"model": model, "name": name, "how": how, "median": float(np.median(errors)), "ratio": ratio, "ratio interval": [low, high]}
        rows.append({**row, "seconds": round(time.process_time() - began), "states": states, "iterations": iterations})
        print(rows[-1], flush=True)

    enter("start", "dpmpp_2m, start ddim on uniform_lam", start, time.process_time())
    began = time.process_time()
    known = Known(setting, solver, NFE, states=states // (6 if model in PROBLEMS else 4))
    grids = usual(known)
    best = min(grids, key=lambda name: known.error(grids[name]))
    enter("the best usual grid", best, trace(solver, grids[best]), began)
    for name, maker in SCHEDULES.items():
        began = time.process_time()
        made = searched(known, 60) if maker == "searched" and model not in PROBLEMS else MAKERS[maker](known)
        enter(name, f"scorebed schedules, {maker}", trace(solver, made), began)
    for name, parts, begin in [*((k, v, start) for k, v in SETTINGS.items()), ("AMED, for all samples", ("nodes", "times"), two_stage)]:
        began = time.process_time()
        plan = tune(
            setting, NFE, start=begin, parameters=parts, states=states, held_out=held_out, test=test, iterations=iterations, report=print
        )
        how = f"parameters = {', '.join(parts)}" + ("; start: midpoint on uniform_lam" if begin is two_stage else "")
        enter(name, how, plan, began)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = ["| network | relative | as | median error | against the start | 95 % | seconds |", "|" + "---|" * 7]
    for r in rows:
        low, high = r["ratio interval"]
        cells = [r["model"], r["name"], r["how"], f"{r['median']:.2g}", f"{r['ratio']:.2g}", f"{low:.2g} to {high:.2g}", r["seconds"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--models", nargs="+", choices=list(STATES), default=["product2d", "galaxy-hsc-32", "crystals"])
    asked.add_argument("--iterations", type=int, default=60)
    asked.add_argument("--out", type=Path, default=Path("out/tuned"))
    asked.add_argument("--show", action="store_true")
    options = asked.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else []
    for model in [] if options.show else options.models:
        rows = [r for r in rows if r["model"] != model] + measure(model, options.out, options.iterations)
        KEPT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
