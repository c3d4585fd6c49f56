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

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scorebed.solvers import SOLVERS, Solver, methods_on
from scorebed.toy.store import code
from scorebed.toy.store.files import replace_text
from scorebed.toy.store.key import key, keyed
from scorebed.toy.store.owner import begin
from scorebed.toy.store.tasks import Chain, Task
from scorebed.toy.store.versions import numerical, version_of, versions
from scorebed.toy.store.work import work
from scorebed.toy.studies import transfer_runs as runs
from scorebed.toy.studies.sent import Sent
from scorebed.toy.studies.study import pick
from scorebed.toy.studies.transfer_rank import Agreement, Errors, agreement, chance, halves, winners
from scorebed.toy.studies.transfer_runs import SPACES, Case, Reference, Run, cases
from scorebed.toy.studies.transfer_sides import DRAWN, NETWORK, Held, Network, Setting, described, marks, own_samples
from scorebed.toy.studies.transfer_targets import TARGETS

BUDGETS, STATES, DRAWS = (5, 10, 20), 16, 256
DEFAULT = (
    *("ddim", "euler_t", "heun", "heun_t", "midpoint", "rk4", "dpm_solver_2", "dpm_solver_3", "dpmpp_2s", "dpmpp_2m", "dpmpp_3m"),
    *("ab2", "ipndm_2", "ipndm_4", "trig_ab_2", "trig_ab_3", "deis_tab2", "unipc_2", "unipc_3", "ghvb_2"),
    *("deis_tab2(start=ddim)", "ipndm_4(start=ddim)", "unipc_3(start=ddim)"),
)
"""The solvers of a study that names none: different ones, of every deterministic family, and what another start costs or saves."""
FIRST, FINEST = 80, 2560
"""Steps of the coarsest and of the finest grid of a reference."""
STUDY = "transfer"
"""The name of its rows in the store."""

Report = Callable[[int, int, str], Any]


@dataclass(frozen=True)
class Study:
    """What came out.

    Attributes:
        errors: of all runs.
        agreements: with the network, by space, target and budget.
        best: the solvers on the network by budget, the best first, with intervals over states, and their steps (``transfer_rank.winners``).
        targets: a line on each side.
        kept, made: how many runs were kept from before, and how many measured now.
    """

    errors: pd.DataFrame
    agreements: pd.DataFrame
    best: pd.DataFrame
    targets: dict[str, str]
    folder: Path
    kept: int = 0
    made: int = 0


def eligible() -> dict[str, Solver]:
    """The methods whose path can be compared: deterministic ones of R^d with a Plan."""
    return {k: s for k, s in methods_on().items() if s.weak is None and not s.spaces and s.nonlinear is None}


@dataclass(frozen=True)
class Side:
    """A side of the study as chains ask for it.

    Attributes:
        what, study: the key of the side, and the name that its rows are kept under.
        draws: the task of the network's own samples, where the target is fitted to them.
    """

    setting: Setting
    what: str
    study: str
    draws: Task | None
    modules: tuple[str, ...]

    def task(self, call: Any, args: tuple[Any, ...], label: str, beside: str = "", **about: Any) -> Task:
        """A task of this side; ``about`` is what it depends on besides."""
        study = self.study and f"{self.study}{beside}"
        arrays = call is runs.level
        name = f"{self.setting.target} · {label}"
        return Task(key(side=self.what, call=call.__name__, **about), study, call, args, name, arrays, not beside, self.modules)


def sides(network: Network, targets: Sequence[str], seed: int, n: int, draws: int) -> list[Side]:
    """The network and its stand-ins: what each is, and what it depends on."""
    held, grid = Held(network), [node.lam for node in network.grid(3)]
    modules = code.modules(runs.measured, *(SOLVERS[name].step for name in (runs.REFINED, runs.CHECKED, DRAWN)))
    common: dict[str, Any] = {
        "network": {"name": network.name, "shape": network.shape, "marks": marks(network), "grid": grid},
        "seed": seed,
        "code": code.digest(*modules),
        "versions": {**numerical(), "torch": version_of("torch")},
    }
    args = (held, draws, seed)
    own = Task(key(draws=draws, **common), f"{STUDY} samples", own_samples, args, "the network's own samples", True, False, modules)
    out = []
    for name in (NETWORK, *targets):
        recipe = TARGETS[name] if name != NETWORK else None
        fitted = recipe is not None and recipe.fitted
        what, study = keyed(STUDY, target=name, recipe=recipe, n=n, draws=draws if fitted else None, **common)
        out.append(Side(Setting(held, name, seed, n), what, study, own if fitted else None, modules))
    return out


def reference(one: Side) -> Chain:
    """The reference of a side, refined until it is settled or the finest grid is reached; every level is kept. Returns (draws, arrays)."""
    draws = None if one.draws is None else (yield one.draws)
    steps, found = FIRST, None
    while found is None or not (bool(found["settled"]) or int(found["steps"]) >= FINEST):
        args = (one.setting, draws, steps, steps >= FINEST, found)
        found = yield one.task(runs.level, args, f"reference, {steps} steps", " references", steps=steps, first=FIRST)
        steps *= 2
    return draws, found


def about(one: Side) -> Chain:
    """(a line on the side, its reference)."""
    draws, found = yield from reference(one)
    said = yield one.task(described, (one.setting, draws), "what it is", " targets")
    return said["text"], Reference.of(found)


def chain(one: Side, case: Case) -> Chain:
    """The run of a case on a side."""
    draws, found = yield from reference(one)
    exact = Reference.of(found)
    if case.status != "ok":  # what is not run depends on the list of solvers
        return Run(one.setting.target, case.solver.name, case.budget, case.steps, case.nfe, case.status, case.message, (), (), exact.name)
    args = (one.setting, draws, Sent(case.solver), case.budget, case.steps, case.nfe, found)
    method = code.digest(*code.modules(case.solver.step, case.solver.start and case.solver.start.step))
    what: dict[str, Any] = {"solver": case.solver, "code": method, "budget": case.budget, "steps": case.steps, "exact": exact.name}
    row = yield one.task(runs.measured, args, f"{case.solver.name}, {case.budget}", **what)
    return Run(**{**row, **{space: tuple(row[space]) for space in SPACES}})


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
    *,
    force: bool = False,
    **how: Any,
) -> Study:
    """Measure the network and the targets, and how well each target predicts the network's order of the solvers.

    Args:
        network: a ``gpu.models.Pretrained``, or what has its ``name, shape, schedule, denoise, grid, start``.
        solvers: names or objects; None takes ``DEFAULT``, ``["all"]`` every deterministic method that has a Plan.
        nfe: budgets of evaluations, the last one to sigma = 0 included.
        n: initial states; the same for all.
        targets: names of ``TARGETS``; None takes all.
        out: folder of the results; what is in its store already is not computed again.
        seed: of the initial states, and of what is random in the targets.
        draws: samples that the network draws for the fitted targets.
        report: called with (runs done, runs in all, what comes next).
        force: replace the tables of another study.
        how: who computes, and ``fresh``, as ``toy.store.work.work`` says.

    Returns:
        the Study: errors of all runs, agreements, best solvers and targets.

    Raises:
        ValueError: an unknown or stochastic solver, an unknown target, a budget below 2, n below 2, or draws below 8.
        StoreError: the folder holds another study, or takes nothing; a store that is damaged.
    """
    methods = pick(solvers or DEFAULT, eligible(), "deterministic solver with a Plan")
    names = [name for name in TARGETS if name in set(pick(targets, {k: k for k in TARGETS}, "target"))]
    for what, value, least in (("nfe", min(nfe, default=0), 2), ("n", n, 2), ("draws", draws, 8)):
        if value < least:
            raise ValueError(f"{what} = {value!r}: give at least {least}")
    settings = {"model": network.name, "solvers": [s.name for s in methods], "nfe": sorted(set(nfe)), "n": n, "seed": seed, "draws": draws}
    settings["targets"] = names
    folder = begin(out, "errors.csv", "transfer.json", settings, force)
    todo, compared = cases(network, methods, sorted(set(nfe))), sides(network, names, seed, n, draws)
    chains = [about(one) for one in compared] + [chain(one, case) for one in compared for case in todo]
    outcome = work(chains, folder, report, **how)
    if report is not None:
        report(len(chains), len(chains), "comparing")
    told = dict(zip((NETWORK, *names), outcome.values, strict=False))
    texts, exacts = ({name: pair[i] for name, pair in told.items()} for i in (0, 1))
    rows: list[Run] = outcome.values[len(compared) :]
    study = Study(_errors(rows, exacts), compare(rows, seed), ranked(rows, seed), texts, folder, outcome.kept, outcome.made)
    references = {k: {"steps": e.steps, "settled": e.settled, **e.errors} for k, e in exacts.items()}
    written = {"arguments": settings, "targets": texts, "references": references, "versions": versions()}
    replace_text(folder / "transfer.json", json.dumps(written, indent=2) + "\n")
    replace_text(folder / "errors.csv", study.errors.to_csv(index=False))
    replace_text(folder / "best.csv", study.best.to_csv(index=False))
    replace_text(folder / "agreement.csv", study.agreements.to_csv(index=False))
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


def ranked(rows: Sequence[Run], seed: int = 0) -> pd.DataFrame:
    """The solvers on the network, the best of each budget first: what ``winners`` says, and steps and evaluations of the run."""
    about = {(run.solver, run.budget): (run.steps, run.nfe) for run in rows if run.target == NETWORK}
    found = winners(errors_of(rows, NETWORK, SPACES[0]), seed=seed)
    return pd.DataFrame([{**row, **dict(zip(("steps", "nfe"), about[row["solver"], row["budget"]], strict=True))} for row in found])


def compare(rows: Sequence[Run], seed: int = 0) -> pd.DataFrame:
    """A row for each space, target and budget (0: mean over budgets); empty where no budget has solvers enough.

    ``gain`` is the correlation less that of the first generic target, ``gain_low`` and ``gain_high`` its interval over the same draws.

    Returns:
        one row for each space, target and budget, empty where solvers are too few.
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
