"""What a transfer study measures: references and runs, on a network or on an exact target, as rows of the store."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers import SOLVERS, Denoiser, NonFinite, NotLinear, Solver, sample, trace
from scorebed.toy.measure.cost import most_steps
from scorebed.toy.studies.sent import Sent
from scorebed.toy.studies.transfer_sides import Network, Setting, alone, side, start

TOLERANCE, MARGIN = 1e-4, 10.0
REFINED, CHECKED = "dpmpp_3m", "ipndm_4"
"""The methods of the reference."""
SPACES = ("state", "picture")


@dataclass(frozen=True)
class Run:
    """One solver on one target within one budget.

    Attributes:
        budget, nfe: evaluations allowed, and taken; the last one, to sigma = 0, included.
        status: ``ok``; ``floor``, less than ten times the error of the reference in either space; ``diverged``; ``dear``, one step costs
            more than the budget; ``same``, the program is that of an earlier solver; ``refused``, the method does not walk this grid.
        message: why the status is not ``ok``.
        state, picture: the error of each sample, RMS over its entries; inf where the run diverged, empty where there was none.
        reference: the reference that the errors are measured against.
    """

    target: str
    solver: str
    budget: int
    steps: int
    nfe: int
    status: str
    message: str
    state: tuple[float, ...]
    picture: tuple[float, ...]
    reference: str

    def errors(self, space: str) -> NDArray[np.float64]:
        """Errors of the samples in the ``state`` or the ``picture``."""
        return np.array(self.state if space == "state" else self.picture, dtype=np.float64)

    def rms(self, space: str) -> float:
        """RMS over all samples and entries; nan where nothing was run."""
        errors = self.errors(space)
        with np.errstate(over="ignore"):
            return float(np.sqrt(np.mean(errors**2))) if errors.size else math.nan


@dataclass(frozen=True)
class Reference:
    """Where the flow takes the states, by the finest grid so far.

    Attributes:
        x, x0: states (n, …) at the last node, and the denoised means there.
        steps: of the grid.
        errors: estimated RMS error, by space; nan before there was a coarser run to compare with.
        settled: whether the estimate is as small as was asked.
    """

    x: NDArray[np.float64]
    x0: NDArray[np.float64]
    steps: int
    errors: dict[str, float]
    settled: bool

    @property
    def name(self) -> str:
        """A hash of the states."""
        return hashlib.sha256(np.ascontiguousarray(self.x).tobytes()).hexdigest()[:16]

    def arrays(self) -> dict[str, Any]:
        """The reference as the store keeps it."""
        errors = np.array([self.errors[space] for space in SPACES])
        return {"x": self.x, "x0": self.x0, "steps": np.array(self.steps), "errors": errors, "settled": np.array(self.settled)}

    @staticmethod
    def of(arrays: Mapping[str, Any]) -> Reference:
        """The reference that arrays of the store are."""
        errors = dict(zip(SPACES, np.asarray(arrays["errors"]).tolist(), strict=True))
        return Reference(np.asarray(arrays["x"]), np.asarray(arrays["x0"]), int(arrays["steps"]), errors, bool(arrays["settled"]))


@dataclass(frozen=True)
class Case:
    """A solver within a budget: the most steps that it affords, or why it is not run."""

    solver: Solver
    budget: int
    steps: int
    nfe: int
    status: str = "ok"
    message: str = ""


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

    Returns:
        (state at the last node, denoised mean there), both NumPy arrays.

    Raises:
        NonFinite: the run diverged.
    """
    nodes = network.grid(steps)
    x = sample(solver, denoise, x, nodes, terminal="none")
    return x.cpu().numpy(), denoise(x, nodes[-1]).cpu().numpy()


@alone
def level(setting: Setting, draws: Mapping[str, Any] | None, steps: int, last: bool, coarse: Mapping[str, Any] | None) -> dict[str, Any]:
    """The reference on a grid of ``steps``, held against that on half of them; where it settles, or is the last, against another method."""
    network, (_, denoise), x = setting.network.network, side(setting, draws), start(setting)
    pair = end(network, denoise, SOLVERS[REFINED], x, steps)
    found = Reference(*pair, steps, dict.fromkeys(SPACES, math.nan), False)
    if coarse is not None:
        errors, settled = _difference(found, coarse["x"], coarse["x0"])
        if settled or last:
            other, agreed = _difference(found, *end(network, denoise, SOLVERS[CHECKED], x, steps))
            errors, settled = {space: max(errors[space], other[space]) for space in SPACES}, settled and agreed
        found = Reference(*pair, steps, errors, settled)
    return found.arrays()


def _difference(one: Reference, x: NDArray[np.float64], x0: NDArray[np.float64]) -> tuple[dict[str, float], bool]:
    errors = {space: float(np.sqrt(np.mean(e**2))) for space, e in distances(x, x0, one).items()}
    return errors, errors["state"] <= TOLERANCE * float(np.sqrt(np.mean(one.x**2)))


@alone
def measured(
    setting: Setting,
    draws: Mapping[str, Any] | None,
    solver: Sent[Solver],
    budget: int,
    steps: int,
    nfe: int,
    reference: Mapping[str, Any],
) -> dict[str, Any]:
    """Run a solver on a side; a solver that diverges is a run of infinite error."""
    network, (_, denoise), exact = setting.network.network, side(setting, draws), Reference.of(reference)
    what: dict[str, Any] = {"target": setting.target, "solver": solver.value.name, "budget": budget, "steps": steps, "nfe": nfe}
    what["reference"] = exact.name
    try:
        found = distances(*end(network, denoise, solver.value, start(setting), steps), exact)
    except NonFinite as diverged:
        lost = (math.inf,) * len(exact.x)
        return asdict(Run(**what, status="diverged", message=str(diverged), state=lost, picture=lost))
    low = [space for space in SPACES if float(np.sqrt(np.mean(found[space] ** 2))) < MARGIN * exact.errors[space]]
    message = f"{' and '.join(low)}: less than {MARGIN:g} times the error of the reference" if low else ""
    state, picture = (tuple(float(f"{e:.9g}") for e in found[space]) for space in SPACES)
    return asdict(Run(**what, status="floor" if low else "ok", message=message, state=state, picture=picture))
