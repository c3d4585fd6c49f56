"""A good call of any method, by every face of the library: the loop, the replay of a Plan, ``gpu.run``, a pipeline's scheduler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, Node, NonFinite, Solver, sample, trace
from scorebed.solvers.state import State, bare, parts
from scorebed.toy.problems.jump import PROBLEMS as JUMPS
from scorebed.toy.problems.lines import PROBLEMS as LINES
from scorebed.toy.problems.problem import enrolled
from scorebed.toy.problems.processes import PROBLEMS as LINEAR
from scorebed.toy.problems.spaces import PROBLEMS as SPACES

STEPS, BATCH = 4, 3
CLEAR = (ValueError, TypeError, NonFinite)
"""The errors that a refusal may be; NonFinite is an ArithmeticError of ours."""


@dataclass(frozen=True)
class Call:
    """A call of a method: what ``sample`` takes."""

    solver: Solver
    denoise: Any
    x: Any
    grid: Any
    noise: Any = 7
    terminal: Any = "none"
    options: tuple[tuple[str, Any], ...] = ()


def each(f: Callable[[Any], Any], x: State) -> State:
    """A state whose every component is changed."""
    return bare(tuple(f(part) for part in parts(x)))


def good(solver: Solver) -> Call:
    """A call that every face takes: three states of an exact problem of the method's kind of process."""
    if solver.takes != "denoised":
        return Call(solver, _mapped(solver), LINES[0].draw(BATCH, 0), LINES[0].nodes(STEPS))
    problem, bound = next(enrolled((*LINES, *SPACES, *JUMPS, *LINEAR), solver))
    return Call(bound, problem.model, problem.draw(BATCH, 0), problem.nodes(STEPS))


def _mapped(solver: Solver) -> Any:
    from scorebed.solvers import predicts

    def model(x: Any, s: Node, t: Node | None = None) -> Any:
        return 0.5 * x

    return predicts(solver.takes)(model)


def by_sample(call: Call) -> Any:
    """The loop."""
    return sample(call.solver, call.denoise, call.x, call.grid, noise=call.noise, terminal=call.terminal)


def by_plan(call: Call) -> Any:
    """The replay of a Plan."""
    return trace(call.solver, call.grid, call.terminal).run(call.denoise, call.x, call.noise)


def by_gpu(call: Call) -> Any:
    """``gpu.run`` on torch."""
    from scorebed import gpu

    return gpu.run(call.solver, call.denoise, call.x, call.grid, noise=call.noise, terminal=call.terminal)


def by_scheduler(call: Call) -> Any:
    """The loop of a pipeline of diffusers around ``ScorebedScheduler``, the network's output being E[x0 | x]; ``grid`` is its timesteps."""
    import torch

    from scorebed.gpu import ScorebedScheduler

    name, options = call.solver.name.split("(")[0], dict(call.solver.options)
    own = ScorebedScheduler(solver=name, solver_options=options, prediction_type="sample", seed=call.noise, final_sigmas_type="sigma_min")
    own.set_timesteps(**call.grid)
    x = call.x
    with torch.no_grad():
        for t in own.timesteps:
            x = own.step(call.denoise(x, t), t, x).prev_sample
    return x


FACES: dict[str, Callable[[Call], Any]] = {"sample": by_sample, "Plan.run": by_plan, "gpu.run": by_gpu, "scheduler": by_scheduler}


def at(face: str, call: Call) -> Call:
    """The good call with states and a model of the face's library."""
    if face not in ("gpu.run", "scheduler"):
        return call
    import torch

    if face == "scheduler":
        x = torch.from_numpy(np.array(call.x))
        return replace(call, denoise=lambda x, t: 0.5 * torch.tanh(x), x=x, grid={"sigmas": [10.0, 3.0, 1.0, 0.3]})
    inner = call.denoise

    def model(x: Any, *nodes: Any) -> Any:
        value = inner(each(lambda part: part.detach().cpu().numpy(), x), *nodes)
        return each(lambda v: torch.from_numpy(np.array(v)).to(parts(x)[0].dtype), value)

    for name in ("prediction", "predicts"):
        if hasattr(inner, name):
            setattr(model, name, getattr(inner, name))
    return replace(call, denoise=model, x=each(lambda part: torch.from_numpy(np.array(part)), call.x))


def outside(solver: Solver, face: str) -> str:
    """Why the face has no good call of the method, or nothing."""
    if face == "Plan.run" and solver.nonlinear is not None:
        return f"no Plan: {solver.nonlinear}"
    if face in ("gpu.run", "scheduler") and "jump" in solver.on:
        return "tokens run in NumPy"
    if face == "scheduler" and solver.name.partition("(")[0] not in SOLVERS:
        return "a pipeline names its method, and this one is not registered"
    if face == "scheduler" and "gaussian" not in solver.on:
        return "no pipeline has such a process"
    if face == "scheduler" and (solver.nonlinear is not None or solver.takes != "denoised"):
        return f"no Plan for a pipeline: {solver.nonlinear or 'a few-step map'}"
    return ""
