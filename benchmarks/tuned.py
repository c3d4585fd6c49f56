"""Tuned Plans against the best registered Plan on networks: ``python -m benchmarks.tuned [--models NAMES] [--nfe N ...] [--show]``.

One network and budget after another; what is finished is kept in ``out/tuned/figures.json``, what is not goes on where it was. Where the
flow takes a state is kept too, as the budgets of a network ask for the same. ``--show`` prints the table of what is kept.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.toy.tuning.setting import Setting, named
from scorebed.toy.tuning.tune import tune

NETWORKS = {"galaxy-hsc-32": 48, "21cm": 16, "crystals": 96}
"""How many states a call is best given on a CPU, whose caches are small."""
BUDGETS = (8, 20, 10, 5)
STATES = {"galaxy-hsc-32": (4096, 128, 512), "21cm": (48, 16, 32), "crystals": (1536, 128, 256)}
"""States that move the numbers, decide what is kept, and tell how good it is."""
RACED = {"galaxy-hsc-32": 16, "21cm": 16, "crystals": 192}
"""States of the race that finds the opponent: errors of crystals have heavy tails."""
WANTED = {5: 0.7, 8: 0.4, 10: 0.4, 20: 0.6}


def chunked(setting: Setting, rows: int) -> Setting:
    """The setting whose model sees a few states at a time."""

    def denoise(x: Any, node: Any) -> Any:
        if len(x) <= rows:
            return setting.denoise(x, node)
        out = 1.0 * x
        for i in range(0, len(x), rows):
            out[i : i + rows] = setting.denoise(x[i : i + rows], node)
        return out

    return replace(setting, denoise=denoise)


class Remembered(Setting):
    """A setting whose answers are kept in a file, by the bytes of their states."""

    file: Path
    rows: int

    def answer(self, x: Any, *, confirmed: bool = True) -> Any:
        """Where the flow takes the states x, as ``Setting.answer``, found for a few at a time."""
        import torch

        known: dict[str, np.ndarray] = dict(np.load(self.file)) if self.file.exists() else {}
        keys = [f"{hashlib.sha256(one.numpy().tobytes()).hexdigest()} {confirmed}" for one in x]
        missing = [i for i, key in enumerate(keys) if key not in known]
        for i in range(0, len(missing), self.rows):
            part = missing[i : i + self.rows]
            found = super().answer(x[part], confirmed=confirmed).numpy()
            known.update({keys[k]: one for k, one in zip(part, found, strict=True)})
            unfinished = self.file.with_name(f".{self.file.name}")
            np.savez(unfinished, **known)  # type: ignore[arg-type]
            unfinished.replace(self.file)
            print(f"the flow of {i + len(part)} of {len(missing)} states", flush=True)
        return torch.from_numpy(np.stack([known[key] for key in keys]))


def remembered(setting: Setting, file: Path, rows: int) -> Setting:
    """The setting with its answers kept in a file, found for so many states at a time."""
    made = Remembered(**{f.name: getattr(setting, f.name) for f in fields(setting)})
    object.__setattr__(made, "file", file)
    object.__setattr__(made, "rows", rows)
    return made


def one(model: str, nfe: int, out: Path, iterations: int | None) -> dict[str, Any]:
    """Tune, and tell what came of it."""
    began = time.process_time()

    def say(line: str) -> None:
        print(f"{model} {nfe} [{time.process_time() - began:.0f} s] {line}", flush=True)

    setting = remembered(chunked(named(model), NETWORKS[model]), out / f"{model}.npz", NETWORKS[model])
    states, held_out, test = STATES[model]
    plan = tune(
        setting,
        nfe,
        states=states,
        held_out=held_out,
        test=test,
        raced=RACED[model],
        iterations=iterations,
        checkpoint=out / f"{model}-{nfe}.json",
        report=say,
    )
    plan.save(out / f"{model}-{nfe}.plan.json")
    row = {k: v for k, v in plan.record.items() if k != "history"}
    return {**row, "wanted": WANTED[nfe], "seconds": round(time.process_time() - began)}


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as Markdown."""
    heads = ("network", "evaluations", "ratio of medians", "95 %", "wanted", "90th percentile", "RMS", "error", "against", "states")
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for r in sorted(rows, key=lambda r: (list(NETWORKS).index(r["model"]), r["nfe"])):
        low, high = r["ratio interval"]
        cells = [r["model"], r["nfe"], f"{r['ratio']:.2f}", f"{low:.2f} to {high:.2f}", f"≤ {r['wanted']}"]
        cells += [f"{r['90th percentile ratio']:.2f}", f"{r['rms ratio']:.2f}", f"{r['median error']:.2g}"]
        cells += [f"{r['start']}, {r['median error of the start']:.2g}", r["states"]]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--models", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    asked.add_argument("--nfe", nargs="+", type=int, choices=BUDGETS, default=list(BUDGETS))
    asked.add_argument("--iterations", type=int)
    asked.add_argument("--out", type=Path, default=Path("out/tuned"))
    asked.add_argument("--show", action="store_true")
    options = asked.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "figures.json"
    rows: list[dict[str, Any]] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else []
    for model in options.models:
        for nfe in options.nfe:
            if options.show or any((r["model"], r["nfe"]) == (model, nfe) for r in rows):
                continue
            rows.append(one(model, nfe, options.out, options.iterations))
            kept.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
