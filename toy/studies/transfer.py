r"""Does the exact testbed predict a real network? The same solvers, grids and initial states on the network and on exact targets.

On each of them solver s within a budget of N evaluations is run from the same n states at the noisiest node, and its error is the RMS
distance from where the probability flow takes them:

    state     x at the last node
    picture   D(x, last node), each sample shown from the 5th to the 99.9th percentile of its reference and cut off there, as
              ``scorebed sample`` draws it

The flow's end is found by refining: a third-order multistep method on 80, 160, … steps until two successive grids agree to ``TOLERANCE`` of
the states' RMS, then a fourth-order one of another kind on the finest. The larger of the two differences is the reference's error. Methods
that agree on one grid prove nothing: on a network of ReLUs, whose field has kinks, classical fourth-order methods share their quadrature
and its second-order error, and agree 100 times better than they are right (measured).

``transfer_targets.py`` has the targets, ``transfer_rank.py`` what is said of the two orders of solvers.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorebed.solvers import SOLVERS, Denoiser, Node, NonFinite, NotLinear, Schedule, Solver, methods_on, sample, trace
from scorebed.toy.measure.cost import most_steps
from scorebed.toy.store.files import replace_text
from scorebed.toy.store.versions import versions
from scorebed.toy.studies.study import pick
from scorebed.toy.studies.transfer_rank import Agreement, Errors, agreement, chance, halves
from scorebed.toy.studies.transfer_store import SPACES, Folder, Reference, Run, load_arrays, save_arrays
from scorebed.toy.studies.transfer_targets import TARGETS, build

NETWORK = "network"
BUDGETS, STATES, DRAWS = (5, 10, 20), 16, 256
DEFAULT = (
    *("ddim", "euler_t", "heun", "heun_t", "midpoint", "rk4", "dpm_solver_2", "dpm_solver_3", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m"),
    *("ab2", "ipndm_2", "ipndm_4", "trig_ab_2", "trig_ab_3", "deis_tab2", "unipc_2", "unipc_3", "ghvb_2"),
)
"""The solvers of a study that names none: twenty different ones, of every deterministic family."""
FIRST, FINEST, TOLERANCE, MARGIN = 80, 2560, 1e-4, 10.0
REFINED, CHECKED = "dpmpp_3m", "ipndm_4"
"""The methods of the reference."""
_OTHER = 1_000_003  # the draws' seed is that of the study plus this

Report = Callable[[int, int, str], Any]


class Network(Protocol):
    """What a study asks of a network; ``gpu.models.Pretrained`` has it."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def denoise(self) -> Denoiser: ...
    def grid(self, n: int) -> list[Node]: ...
    def start(self, n: int, seed: int = 0, *, dtype: Any = ...) -> Any: ...


@dataclass(frozen=True)
class Case:
    """A solver within a budget: the most steps that it affords, or why it is not run."""

    solver: Solver
    budget: int
    steps: int
    nfe: int
    status: str = "ok"
    message: str = ""


@dataclass(frozen=True)
class Study:
    """What came out: ``errors`` of all runs, ``agreements`` with the network by space, target and budget, and a line on each target."""

    errors: pd.DataFrame
    agreements: pd.DataFrame
    targets: dict[str, str]
    folder: Path


def eligible() -> dict[str, Solver]:
    """The methods whose path can be compared: deterministic ones of R^d with a Plan."""
    return {k: s for k, s in methods_on().items() if s.weak is None and not s.spaces and s.nonlinear is None}


def cases(network: Network, solvers: Sequence[Solver], budgets: Sequence[int]) -> list[Case]:
    """Every solver within every budget; of several that are one program on a grid, only the first is run."""
    out: list[Case] = []
    seen: dict[tuple[int, str], str] = {}
    for budget in sorted(budgets):
        for solver in solvers:
            try:
                found = _program(network, solver, budget)
            except (NotLinear, ValueError) as refused:
                out.append(Case(solver, budget, 0, 0, "refused", str(refused)))
                continue
            if found is None:
                out.append(Case(solver, budget, 0, 0, "dear", f"a step and the last evaluation take more than {budget}"))
                continue
            steps, nfe, program = found
            first = seen.setdefault((budget, program), solver.name)
            same = first != solver.name
            message = f"the program of {first}" if same else ""
            out.append(Case(solver, budget, steps, nfe, "same" if same else "ok", message))
    return out


def _program(network: Network, solver: Solver, budget: int) -> tuple[int, int, str] | None:
    """(steps, evaluations, program) of the most steps within the budget, the terminal evaluation included."""
    steps = most_steps(lambda n: trace(solver, network.grid(n), "denoise").nfe, budget)
    if steps == 0:
        return None
    plan = trace(solver, network.grid(steps), "denoise")
    with np.errstate(over="ignore", invalid="ignore"):  # a method that will diverge is told by its run
        numbers = np.concatenate((plan.output, plan.inputs.ravel(), [node.lam for node in plan.nodes]))
        rounded = np.round(numbers, 9) + 0.0
    return steps, plan.nfe, hashlib.sha256(rounded.tobytes()).hexdigest()


def pictures(x0: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    """Samples (n, …) in units of the range of ``like``, cut off at 0 and 1."""
    low, high = (np.percentile(like.reshape(len(like), -1), q, axis=1).reshape(-1, *(1,) * (like.ndim - 1)) for q in (5.0, 99.9))
    return np.asarray(np.clip((x0 - low) / np.maximum(high - low, 1e-6), 0.0, 1.0))


def distances(x: NDArray[np.float64], x0: NDArray[np.float64], exact: Reference) -> dict[str, NDArray[np.float64]]:
    """RMS distance of each sample from the reference, by space."""
    pairs = {"state": (x, exact.x), "picture": (pictures(x0, exact.x0), pictures(exact.x0, exact.x0))}
    with np.errstate(over="ignore"):
        return {space: np.sqrt(np.mean((a - b).reshape(len(a), -1) ** 2, axis=1)) for space, (a, b) in pairs.items()}


def end(network: Network, denoise: Denoiser, solver: Solver, x: Any, steps: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The state at the last node and the denoised mean there, as arrays.

    Raises:
        NonFinite: the run diverged.
    """
    nodes = network.grid(steps)
    x = sample(solver, denoise, x, nodes, terminal="none")
    return x.cpu().numpy(), denoise(x, nodes[-1]).cpu().numpy()


def refine(network: Network, denoise: Denoiser, x: Any, name: str, folder: Folder, told: Callable[[str], Any]) -> Reference:
    """The reference of a target, refined until it is settled or the finest grid is reached; every level is kept in the folder."""
    nodes = network.grid(2)
    probe = np.concatenate([denoise(nodes[i].sigma * x, nodes[i]).reshape(len(x), -1)[:, ::7].cpu().numpy() for i in (1, 2)])
    found = folder.reference(name, probe)
    while found is None or not (found.settled or found.steps >= FINEST):
        steps = FIRST if found is None else 2 * found.steps
        told(f"reference, {steps} steps")
        coarse, pair = found, end(network, denoise, SOLVERS[REFINED], x, steps)
        found = Reference(*pair, steps, dict.fromkeys(SPACES, math.nan), False)
        if coarse is not None:
            errors, settled = _apart(found, coarse.x, coarse.x0)
            if settled or steps >= FINEST:
                told(f"reference, {steps} steps, checked")
                other, agreed = _apart(found, *end(network, denoise, SOLVERS[CHECKED], x, steps))
                errors, settled = {space: max(errors[space], other[space]) for space in SPACES}, settled and agreed
            found = Reference(*pair, steps, errors, settled)
        folder.keep(name, probe, found)
    return found


def _apart(one: Reference, x: NDArray[np.float64], x0: NDArray[np.float64]) -> tuple[dict[str, float], bool]:
    errors = {space: float(np.sqrt(np.mean(e**2))) for space, e in distances(x, x0, one).items()}
    return errors, errors["state"] <= TOLERANCE * float(np.sqrt(np.mean(one.x**2)))


def measure(network: Network, denoise: Denoiser, x: Any, target: str, case: Case, exact: Reference) -> Run:
    """Run one case on one target; a solver that diverges is a run of infinite error."""
    row = (target, case.solver.name, case.budget, case.steps, case.nfe)
    if case.status != "ok":
        return Run(*row, case.status, case.message, (), (), exact.name)
    try:
        found = distances(*end(network, denoise, case.solver, x, case.steps), exact)
    except NonFinite as diverged:
        lost = (math.inf,) * len(exact.x)
        return Run(*row, "diverged", str(diverged), lost, lost, exact.name)
    low = [space for space in SPACES if float(np.sqrt(np.mean(found[space] ** 2))) < MARGIN * exact.errors[space]]
    message = f"{' and '.join(low)}: less than {MARGIN:g} times the error of the reference" if low else ""
    state, picture = (tuple(float(f"{e:.9g}") for e in found[space]) for space in SPACES)
    return Run(*row, "floor" if low else "ok", message, state, picture, exact.name)


def own_samples(network: Network, count: int, seed: int, folder: Folder, told: Callable[[str], Any]) -> NDArray[np.float64]:
    """``count`` samples (count, d) that the network draws, kept in the folder: dpmpp_2m, 24 steps, from states the study does not use."""
    import torch

    x = network.start(count, seed + _OTHER, dtype=torch.float32)
    nodes, path = network.grid(24), folder.path / "draws.npz"
    probe = network.denoise(nodes[12].sigma * x[:4], nodes[12]).double().numpy()
    held = load_arrays(path)
    if (
        held is not None
        and held["draws"].shape == (count, math.prod(network.shape))
        and np.allclose(held["probe"], probe, rtol=1e-3, atol=1e-4)
    ):
        return held["draws"]
    parts = []
    for i in range(0, count, 64):
        told(f"samples, {i} of {count}")
        parts.append(sample(SOLVERS["dpmpp_2m"], network.denoise, x[i : i + 64], nodes).double().flatten(1).cpu().numpy())
    draws = np.concatenate(parts)
    save_arrays(path, draws=draws, probe=probe)
    return np.asarray(draws)


def run_transfer(
    network: Network,
    solvers: Sequence[str | Solver] | None = None,
    nfe: Sequence[int] = BUDGETS,
    n: int = STATES,
    targets: Sequence[str] | None = None,
    out: str | Path = Path("out/transfer"),
    seed: int = 0,
    draws: int = DRAWS,
    report: Report | None = None,
) -> Study:
    """Measure the network and the targets, and how well each target predicts the network's order of the solvers.

    Args:
        network: a ``gpu.models.Pretrained``, or what has its ``name, shape, schedule, denoise, grid, start``.
        solvers: names or objects; None takes ``DEFAULT``, ``["all"]`` every deterministic method that has a Plan.
        nfe: budgets of evaluations, the last one to sigma = 0 included.
        n: initial states; the same for all.
        targets: names of ``TARGETS``; None takes all.
        out: folder of the results; what is there already of the same study is not computed again.
        seed: of the initial states, and of what is random in the targets.
        draws: samples that the network draws for the fitted targets.
        report: called with (runs done, runs in all, what comes next).

    Raises:
        ValueError: an unknown or stochastic solver, an unknown target, a budget below 2, n below 2, or draws below 8.
    """
    methods = pick(solvers or DEFAULT, eligible(), "deterministic solver with a Plan")
    names = [name for name in TARGETS if name in set(pick(targets, {k: k for k in TARGETS}, "target"))]
    for what, value, least in (("nfe", min(nfe, default=0), 2), ("n", n, 2), ("draws", draws, 8)):
        if value < least:
            raise ValueError(f"{what} = {value!r}: give at least {least}")
    import torch

    folder, x = Folder(out), network.start(n, seed, dtype=torch.float64)
    todo = cases(network, methods, sorted(set(nfe)))
    rows: list[Run] = []
    exacts: dict[str, Reference] = {}
    texts = {NETWORK: network.name}
    every = len(todo) * (1 + len(names))
    for name in (NETWORK, *names):

        def told(what: str, name: str = name) -> None:
            if report is not None:
                report(len(rows), every, f"{name} · {what}")

        denoise = network.denoise
        if name != NETWORK:
            told("building")
            own = own_samples(network, draws, seed, folder, told) if TARGETS[name].fitted else None
            target = build(name, network.shape, seed, own)
            texts[name], denoise = target.description, target.denoise
        exact = exacts[name] = refine(network, denoise, x, name, folder, told)
        for case in todo:
            told(f"{case.solver.name}, {case.budget}")
            run = folder.known(name, case.solver.name, case.budget, case.steps, exact.name) if case.status == "ok" else None
            if run is None:
                run = measure(network, denoise, x, name, case, exact)
                if case.status == "ok":  # what is not run depends on the list of solvers
                    folder.append(run)
            rows.append(run)
    if report is not None:
        report(every, every, "comparing")
    study = Study(_errors(rows, exacts), compare(rows, seed), texts, folder.path)
    settings = {"model": network.name, "solvers": [s.name for s in methods], "nfe": sorted(set(nfe)), "n": n, "seed": seed, "draws": draws}
    references = {k: {"steps": e.steps, "settled": e.settled, **e.errors} for k, e in exacts.items()}
    about = {"arguments": settings, "targets": texts, "references": references, "versions": versions()}
    replace_text(folder.path / "transfer.json", json.dumps(about, indent=2) + "\n")
    replace_text(folder.path / "errors.csv", study.errors.to_csv(index=False))
    replace_text(folder.path / "agreement.csv", study.agreements.to_csv(index=False))
    return study


def _kind(target: str) -> str:
    return TARGETS[target].kind if target in TARGETS else NETWORK


def _errors(rows: Sequence[Run], exacts: dict[str, Reference]) -> pd.DataFrame:
    """A row for each run, its errors in the RMS over samples."""
    return pd.DataFrame(
        {
            "target": run.target,
            "kind": _kind(run.target),
            "solver": run.solver,
            "budget": run.budget,
            "steps": run.steps,
            "nfe": run.nfe,
            **{space: run.rms(space) for space in SPACES},
            **{f"reference_{space}": exacts[run.target].errors[space] for space in SPACES},
            "status": run.status,
            "message": run.message,
        }
        for run in rows
    )


def errors_of(rows: Sequence[Run], target: str, space: str) -> Errors:
    """What ``transfer_rank`` takes: the errors of the runs that were made."""
    return {(run.solver, run.budget): run.errors(space) for run in rows if run.target == target and run.state}


def compare(rows: Sequence[Run], seed: int = 0) -> pd.DataFrame:
    """A row for each space, target and budget (0: mean over budgets); empty where no budget has solvers enough.

    ``gain`` is the correlation less that of the first generic target, ``gain_low`` and ``gain_high`` its interval over the same draws.
    """
    out: list[dict[str, Any]] = []
    for space in SPACES:
        network = errors_of(rows, NETWORK, space)
        most, least = halves(network, seed=seed), chance(network, seed=seed)
        names = [name for name in dict.fromkeys(run.target for run in rows) if name != NETWORK]
        sides = {name: errors_of(rows, name, space) for name in names}
        plain = next((sides[name] for name in names if _kind(name) == "generic"), None)
        for target, errors in sides.items():
            found: list[Agreement] = agreement(network, errors, plain, seed=seed) if most else []
            for a in found:
                marks = {"halves": most.get(a.budget, math.nan), "chance": least.get(a.budget, math.nan)}
                if a.budget == 0:
                    marks["halves"] = float(np.mean(list(most.values())))
                out.append({"space": space, "target": target, "kind": _kind(target), **vars(a), **marks})
    return pd.DataFrame(out)
