"""What must not change the result: the batch, the dtype, the device, the run itself; and how often a step waits for the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers.model import denoiser, from_denoised
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.foreign.candidate import Candidate, Refused
from scorebed.toy.measure.manners import keeps_memory, no_draws, one_run, reads, repeats, returned, some_setting
from scorebed.toy.measure.targets import Affine, modes

_POINT = 0.7


def _start(candidate: Candidate, n: int = 12) -> tuple[Any, Any]:
    grid = some_setting(candidate).nodes(n)
    return grid, modes().states(grid[0])


def given_state(candidate: Candidate) -> Finding:
    """Whether the state that it is given is still the caller's afterwards."""
    detail = "changes its input; each run needs a copy: write x = x + … in place of x += …"
    wrote = one_run(candidate).wrote
    return judged(not wrote, "input", "the state before and after a run", "changed" if wrote else "as it was", "as it was", detail)


def memory(candidate: Candidate) -> Finding:
    """Same input, same answer: nothing is left over from the run before."""
    kind = keeps_memory(candidate)
    detail = "same input, two answers: it keeps something from run to run; begin each run with empty memory"
    measured = {"": "the same answer", "memory": "same input, two answers", "noise": "it draws noise of its own"}[kind]
    return judged(kind != "memory", "memory", "one batch three times", measured, "the same answer", detail)


def batch(candidate: Candidate) -> Finding:
    """A sample must not depend on the rest of its batch."""
    grid, x = _start(candidate)
    together = candidate.run(modes().denoised, x, grid).x
    if candidate.stochastic:
        together = candidate.run(modes().denoised, x, grid, draws=no_draws).x
        alone = np.concatenate([candidate.run(modes().denoised, x[i : i + 1], grid, draws=no_draws).x for i in range(len(x))])
    else:
        alone = np.concatenate([candidate.run(modes().denoised, x[i : i + 1], grid).x for i in range(len(x))])
    off = float(np.abs(together - alone).max()) / max(1.0, float(np.abs(together).max()))
    detail = "a norm or a mean over the whole batch enters the step"
    tried = "7 samples together and one by one" + (", without noise" if candidate.stochastic else "")
    return judged(off < 1e-6, "batch", tried, f"differ by {off:.1e}", "0", detail, "note" if candidate.adaptive else "fail")


def dtype(candidate: Candidate) -> Finding:
    """float32 in, float32 out, and close to the run in float64."""
    _, double = returned(candidate, "float64")
    kind, single = returned(candidate, "float32")
    off = float(np.abs(single - double).max()) / max(1.0, float(np.abs(double).max()))
    noisy = bool(candidate.stochastic) and candidate.library == "torch"  # torch draws other numbers in another dtype
    kept = bool(kind == "float32" and (off < 2e-3 or noisy))
    measured = f"{kind} comes back" + ("" if noisy else f", off by {off:.0e}")
    promoted = "np.float64 scalars or float64 tensors among the coefficients promote the state"
    detail = promoted if kind != "float32" else "cancellation in single precision"
    return judged(kept, "dtype", "a float32 state", measured, "float32", detail, "fail" if kind == "float32" else "note")


def device(candidate: Candidate) -> Finding:
    """The same on a GPU, where there is one."""
    if candidate.library != "torch":
        return Finding("device", "skip", "a GPU run", "NumPy has one device")
    import torch

    if not torch.cuda.is_available():
        return Finding("device", "skip", "a GPU run", "no GPU here")
    grid, x = _start(candidate)
    target = Affine([0.4], [0.5])
    here = candidate.run(target, x, grid, seed=2)
    there = candidate.run(target, candidate.state(x, device="cuda"), grid, seed=2)
    off = float(np.abs(here.x - there.x).max())
    kept = bool(there.raw.is_cuda and (candidate.stochastic or off < 1e-9))
    return judged(kept, "device", "CPU and GPU", f"{there.raw.device}, differ by {off:.1e}", "0", "an array made on the wrong device")


def noise(candidate: Candidate) -> Finding:
    """The same seed gives the same samples, another seed others."""
    same, other = repeats(candidate)
    measured = "reproducible" if same and other else "the same seed gives other samples" if not same else "the seed changes nothing"
    return judged(same and other, "noise", "seeds 1, 1 and 2", measured, "reproducible", "draws from a generator that no seed reaches")


def parameterisations(candidate: Candidate) -> Finding:
    """The same exact law as eps, score, v, flow and denoised: one and the same run."""
    grid, x = _start(candidate)
    target = modes()
    draws = no_draws if candidate.stochastic else None
    plain = candidate.run(target.denoised, x, grid, draws=draws).x
    worst = 0.0
    for name in ("eps", "score", "v", "flow"):
        wrapped = denoiser(_predicting(target, name), name)
        worst = max(worst, float(np.abs(candidate.run(wrapped, x, grid, draws=draws).x - plain).max()))
    off = worst / max(1.0, float(np.abs(plain).max()))
    tolerance = 1e-3 if candidate.kind == "diffusers" else 1e-6
    detail = "round-off of the model's output is amplified: coefficients that cancel"
    return judged(off < tolerance, "parameterisations", "eps, score, v, flow and denoised", f"differ by {off:.0e}", "0", detail)


def _predicting(target: Any, name: str) -> Any:
    return lambda x, node: from_denoised(target.denoised(x, node), x, node, name) if node.sigma else x / node.alpha


def exactness(candidate: Candidate) -> Finding:
    """For D = c any run has a closed form, alpha_t c + (sigma_t/sigma_s)(x - alpha_s c): what exponential methods are exact on."""
    worst = 0.0
    for n in (2, 9) if candidate.interface.grid else (10, 20):
        grid, x = _start(candidate, n)
        end = candidate.run(lambda y, node: 0.0 * y + _POINT, x, grid)
        s, t = grid[0], end.end
        exact = t.alpha * _POINT + (t.sigma / s.sigma) * (x - s.alpha * _POINT)
        worst = max(worst, float(np.abs(end.x - exact).max()) / max(1.0, t.alpha / s.alpha, t.sigma / s.sigma))
    kept = worst < (1e-9 if candidate.kind != "diffusers" else 1e-4)
    measured = f"off by {worst:.0e}"
    detail = "exact for exponential and x/alpha methods; a method in x(t) discretises the schedule too and is not"
    return judged(kept, "exactness", "a constant denoiser, few steps", measured, "0", detail, "note")


def evaluations(candidate: Candidate) -> Finding:
    """Evaluations counted at the model."""
    counts = []
    for n in (8, 16, 17):
        grid, x = _start(candidate, n)
        counts.append(candidate.run(modes().denoised, x, grid).nfe)
    per = (counts[1] - counts[0]) / 8
    start = counts[0] - 8 * per
    extra = f", {start:+g} once" if start else ""
    measured = f"{per:g} per step{extra} ({counts[1]} for 16 steps)" if per else f"{counts[1]}"
    return Finding("evaluations", "pass", "calls of the model counted", measured)


def waits(candidate: Candidate) -> Finding:
    """Host synchronisations per step, on tensors that would be on the device."""
    if candidate.library != "torch":
        return Finding("host waits", "skip", "synchronisations per step", "NumPy runs on the host")
    (few, _), (many, _) = (reads(candidate, n) for n in (8, 16))
    per = {k: (v - few.get(k, 0)) / 8 for k, v in many.items() if v != few.get(k, 0)}
    total = sum(per.values())
    words = ", ".join(f"{k} {v:g}" for k, v in sorted(per.items()))
    measured = f"{total:.3g} per step" + (f" ({words})" if words else "")
    detail = "each of them stalls a GPU where its tensor lives there; keep coefficients on the host as Python floats"
    return judged(total < 0.5, "host waits", ".item(), .cpu(), bool() … of tensors, per step", measured, "0", detail, "note")


def moves(candidate: Candidate, deltas: tuple[float, ...] = (1e-2, 1e-3, 1e-5, 1e-8), **how: Any) -> list[float]:
    """How far the result moves where four nodes move by each of ``deltas`` of a step, over what is in proportion to the first of them.

    1 all along: double precision. A method whose coefficients are float32 answers a small change in jumps of about 1e-7, or not at all; one
    that looks its times up in a table does so for large changes too.

    Returns:
        size of the move for each of ``deltas``, 1 where in proportion.

    Raises:
        Refused: the candidate takes no nodes of others.
    """
    grid, x = _start(candidate, 10)
    schedule = grid[0].schedule
    if schedule is None or not candidate.interface.grid:
        raise Refused(f"{candidate.name} takes no grid of ours: how it answers to changes of the grid cannot be asked")
    draws = no_draws if candidate.stochastic else None

    def run(delta: float) -> np.ndarray:
        nodes = [*grid]
        for i in (3, 4, 5, 6):
            nodes[i] = schedule.at_lam(grid[i].lam + delta * (grid[i + 1].lam - grid[i].lam))
        return candidate.run(modes().denoised, x, nodes, draws=draws, **how).x

    base = run(0.0)
    sizes = [float(np.abs(run(delta) - base).max()) / delta for delta in deltas]
    return [size / max(sizes[0], 1e-300) for size in sizes]


def proportional(answers: list[float]) -> bool:
    """Whether all answers are 1, to a factor of 2."""
    return all(0.5 < a < 2.0 for a in answers)


def precision(candidate: Candidate) -> Finding | None:
    """Whether float64 in gives float64 accuracy."""
    if not candidate.interface.grid or candidate.kind == "diffusers" or candidate.adaptive:
        return None
    answers = moves(candidate)
    measured = "in proportion" if proportional(answers) else "answers " + ", ".join(f"{a:.2g}" for a in answers) + " of it"
    tried = "nodes moved by 1e-2, 1e-3, 1e-5, 1e-8 of a step"
    detail = "something is rounded: float32 coefficients, or times looked up in a table"
    return judged(proportional(answers), "precision", tried, measured, "in proportion", detail)
