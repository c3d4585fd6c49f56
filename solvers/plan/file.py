"""A Plan as plain JSON: everything that it does and everything that made it, without a line of code.

    plan.save("plan.json");  Plan.load("plan.json").run(denoise, x)

Numbers are written so that they come back to the last bit. A process is written by its name and its constants, so that a Plan on a table of
levels or on a process of one's own is refused, by name, when it is saved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from scorebed.solvers.plan.ops import Combine, Draw, Evaluate, Op
from scorebed.solvers.sample import Unrolled
from scorebed.solvers.schedule import SCHEDULES, Node

P = TypeVar("P")
FORMAT, VERSION = "scorebed plan", 1
_BIGGEST = 64_000_000
"""Bytes of a file at most."""


def to_dict(plan: Any, record: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The Plan as JSON takes it.

    Args:
        plan: on a schedule of ``SCHEDULES``.
        record: what else is to be remembered: how it was made.

    Returns:
        a dict of plain JSON values, from which ``from_dict`` makes the Plan.

    Raises:
        TypeError: nodes of a process that has no name in ``SCHEDULES``, or a Plan of a few-step map.
    """
    if plan.takes != "denoised":
        raise TypeError(f"a Plan of {plan.solver} takes a few-step map ({plan.takes!r}), and only Plans of denoised means can be saved")
    schedule = plan.grid[0].process
    name = next((k for k, kind in SCHEDULES.items() if type(schedule) is kind), None)
    if name is None or not is_dataclass(schedule):
        raise TypeError(f"a Plan on {schedule!r} cannot be saved: its process is none of {', '.join(SCHEDULES)}")
    nodes: list[Node] = []

    def place(node: Node) -> int:
        if node not in nodes:
            nodes.append(node)
        return nodes.index(node)

    ops: list[list[Any]] = []
    for op in plan.ops:
        if isinstance(op, Evaluate):
            ops.append(["evaluate", place(op.node), op.source])
        elif isinstance(op, Draw):
            ops.append(["draw", place(op.s), place(op.t)])
        else:
            ops.append(["combine", [[register, c] for register, c in op.terms]])
    grid = [place(node) for node in plan.grid]
    return {
        "format": FORMAT,
        "version": VERSION,
        "solver": plan.solver,
        "schedule": {"name": name, **{f.name: getattr(schedule, f.name) for f in fields(schedule)}},
        "nodes": [list(node) for node in nodes],
        "grid": grid,
        "ops": ops,
        "states": list(plan.states),
        "result": plan.result,
        "ends": list(plan.ends),
        "record": dict(plan.record if record is None else record),
    }


def from_dict(kind: Callable[..., P], made: Mapping[str, Any]) -> P:
    """The Plan, of this class, that ``to_dict`` wrote down.

    Returns:
        the Plan, an instance of ``kind``.

    Raises:
        ValueError: another format or version, or something in it that makes no Plan; the message says what.
    """
    if made.get("format") != FORMAT or made.get("version") != VERSION:
        raise ValueError(f"this is no Plan of version {VERSION}: format = {made.get('format')!r}, version = {made.get('version')!r}")
    try:
        constants = dict(made["schedule"])
        schedule = SCHEDULES[constants.pop("name")](**constants)
        nodes = [Node(float(t), float(alpha), float(sigma), float(lam), schedule) for t, alpha, sigma, lam in made["nodes"]]
        ops = tuple(_op(words, nodes) for words in made["ops"])
        plan = kind(
            solver=str(made["solver"]),
            grid=tuple(nodes[i] for i in made["grid"]),
            ops=ops,
            states=tuple(int(r) for r in made["states"]),
            result=int(made["result"]),
            ends=tuple(int(e) for e in made["ends"]),
            record=dict(made.get("record", {})),
        )
    except (KeyError, IndexError, TypeError) as problem:
        raise ValueError(f"this Plan is damaged: {type(problem).__name__}: {problem}") from None
    _check(plan)
    return plan


def _op(words: Any, nodes: list[Node]) -> Op:
    kind, *rest = words
    if kind == "evaluate":
        return Evaluate(nodes[rest[0]], int(rest[1]))
    if kind == "draw":
        return Draw(nodes[rest[0]], nodes[rest[1]])
    if kind == "combine":
        return Combine(tuple((int(register), float(c)) for register, c in rest[0]))
    raise ValueError(f"this Plan has an operation {kind!r}; there are evaluate, draw and combine")


def _check(plan: Any) -> None:
    """Every register is made before it is read, and every number is finite."""
    for i, op in enumerate(plan.ops):
        read = (op.source,) if isinstance(op, Evaluate) else tuple(r for r, _ in op.terms) if isinstance(op, Combine) else ()
        if any(not 0 <= r <= i for r in read):
            raise ValueError(f"this Plan is damaged: operation {i} reads register {max(read)}, which is made later")
        if isinstance(op, Combine) and not all(math.isfinite(c) for _, c in op.terms):
            raise ValueError(f"this Plan is damaged: operation {i} has a coefficient that is not finite")
    if any(not 0 <= r <= len(plan.ops) for r in (*plan.states, plan.result)):
        raise ValueError("this Plan is damaged: a state is in a register that is never made")


class Saved(Unrolled):
    """What can be saved, loaded and run: the base of ``Plan``."""

    def save(self, path: str | Path) -> Path:
        """Write the Plan to ``path`` as plain JSON, whole or not at all.

        Returns:
            the path of the file written.

        Raises:
            TypeError: nodes of a process that has no name in ``SCHEDULES``.
            OSError: the file cannot be written.
        """
        path = Path(path)
        text = json.dumps(to_dict(self), indent=1) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
        return path

    @classmethod
    def load(cls: type[P], path: str | Path) -> P:
        """Read a Plan that ``save`` wrote; nothing in the file is executed.

        Returns:
            the Plan, an instance of this class.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is too large, no JSON, or no Plan.
        """
        path = Path(path)
        if path.stat().st_size > _BIGGEST:
            raise ValueError(f"{path} has {path.stat().st_size} bytes: a Plan has less than {_BIGGEST}")
        try:
            made = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as problem:
            raise ValueError(f"{path} is no JSON: {problem}") from None
        if not isinstance(made, dict):
            raise ValueError(f"{path} holds a {type(made).__name__}, not a Plan")
        return from_dict(cls, made)
