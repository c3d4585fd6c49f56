r"""Steps of states of several components, against the bare sums that they are.

A linear process's step has a sum for each component of the state: (x, v) from (x, v) and what a model gives, (x0, v0), has eight products.
The fused passes of a Plan are held against these sums written with torch, new arrays each, and in place into arrays that lie ready.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from scorebed.gpu.plan.graph import Graph
from scorebed.gpu.plan.runner import Runner
from scorebed.solvers import GRIDS, SOLVERS, VP, trace
from scorebed.solvers.process.frames import Levels
from scorebed.solvers.process.langevin import CLD

KINDS: dict[str, Any] = {"(x, v)": CLD(), "3 frames": Levels(VP(), (0.5, 0.0, -0.5))}
Sums = list[list[tuple[float, Tensor]]]


def in_place(sums: Sums, rooms: list[Tensor]) -> None:
    """Every sum into its room."""
    for terms, room in zip(sums, rooms, strict=True):
        torch.mul(terms[0][1], terms[0][0], out=room)
        for c, value in terms[1:]:
            room.add_(value, alpha=c)


def as_written(sums: Sums) -> list[Tensor]:
    """Every sum as a new array."""
    out = []
    for terms in sums:
        made = terms[0][0] * terms[0][1]
        for c, value in terms[1:]:
            made = made + c * value
        out.append(made)
    return out


def answer(m: Any, z: Any, node: Any) -> Any:
    """A model that lies ready."""
    return m


def tuples(
    x: Tensor, steps: int, repeats: int, seconds: Callable[..., list[float]], names: tuple[str, ...] = ("ddim", "exp_adams_2")
) -> list[tuple[str, float, float]]:
    """(what, ours, theirs) in seconds of one step, of methods on phase space and on sequences."""
    out = []
    for kind, process in KINDS.items():
        z = tuple(torch.randn_like(x) for _ in process.state)
        m, rooms = tuple(torch.randn_like(x) for _ in process.gives), [torch.empty_like(x) for _ in process.state]
        nodes = GRIDS["uniform"](process, steps, 0.9, 0.1)
        for name in names:
            plan = trace(SOLVERS[name], nodes)
            runner = Runner(plan, z, check="none")
            known = (*z, *m) if name == "ddim" else (*z, *m, *(torch.randn_like(x) for _ in m))
            step = nodes[1].to(nodes[2]) if name == "ddim" else process.multistep(nodes[1::-1], nodes[1], nodes[2])
            rows = zip(step.a, step.b, strict=True)
            sums = [[(c, value) for c, value in zip((*a, *b), known, strict=True) if c] for a, b in rows]
            works = [partial(runner.loop, partial(answer, m), z), partial(in_place, sums, rooms), partial(as_written, sums)]
            ours, bare, written = seconds(works, x.device, repeats)
            out.append((f"{name} on {kind} / the bare sums in place", ours / steps, bare))
            out.append((f"{name} on {kind} / the bare sums as written", ours / steps, written))
            if x.device.type == "cuda":
                graph = Graph(plan, partial(answer, m), z, check="none")
                (replayed,) = seconds([graph._replay], x.device, repeats)
                out.append((f"{name} on {kind}, one graph / the bare sums in place", replayed / steps, bare))
    return out
