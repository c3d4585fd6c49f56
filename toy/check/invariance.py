"""What must not change the result: the batch, the dtype, the device, the run itself; and how often a step waits for the device."""

from __future__ import annotations

from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.solvers.model import denoiser
from scorebed.toy.check.candidate import Candidate, Refused
from scorebed.toy.check.finding import Finding, judged
from scorebed.toy.check.robust import some_grid
from scorebed.toy.check.trials import Affine, Trial, modes

_N = 12
_POINT = 0.7


def _start(candidate: Candidate, n: int = _N) -> tuple[Any, Any]:
    make = some_grid(candidate)
    grid = make(n)
    return grid, Trial("", modes(), make).states(grid[0])


def _no_draws(shape: tuple[int, ...], interval: Any) -> np.ndarray:
    return np.zeros(shape)


def batch(candidate: Candidate) -> Finding:
    """A sample must not depend on the rest of its batch."""
    grid, x = _start(candidate)
    together = candidate.run(modes().denoised, x, grid).x
    if candidate.stochastic:
        together = candidate.run(modes().denoised, x, grid, draws=_no_draws).x
        alone = np.concatenate([candidate.run(modes().denoised, x[i : i + 1], grid, draws=_no_draws).x for i in range(len(x))])
    else:
        alone = np.concatenate([candidate.run(modes().denoised, x[i : i + 1], grid).x for i in range(len(x))])
    off = float(np.abs(together - alone).max()) / max(1.0, float(np.abs(together).max()))
    detail = "a norm or a mean over the whole batch enters the step"
    tried = "7 samples together and one by one" + (", without noise" if candidate.stochastic else "")
    return judged(off < 1e-6, "batch", tried, f"differ by {off:.1e}", "0", detail, "note" if candidate.adaptive else "fail")


def dtype(candidate: Candidate) -> Finding:
    """float32 in, float32 out, and close to the run in float64."""
    grid, x = _start(candidate)
    double = candidate.run(modes().denoised, x, grid, seed=2)
    single = candidate.run(modes().denoised, candidate.state(x, "float32"), grid, seed=2)
    kind = str(getattr(single.raw, "dtype", type(single.raw))).removeprefix("torch.")
    off = float(np.abs(single.x - double.x).max()) / max(1.0, float(np.abs(double.x).max()))
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
    grid, x = _start(candidate)
    runs = [candidate.run(modes().denoised, x, grid, seed=seed).x for seed in (1, 1, 2)]
    same, other = bool(np.array_equal(runs[0], runs[1])), bool(np.array_equal(runs[0], runs[2]))
    kept = same and not other
    measured = "reproducible" if kept else "the same seed gives other samples" if not same else "the seed changes nothing"
    return judged(kept, "noise", "seeds 1, 1 and 2", measured, "reproducible", "draws from a generator that no seed reaches")


def parameterisations(candidate: Candidate) -> Finding:
    """The same exact law as eps, score, v, flow and denoised: one and the same run."""
    grid, x = _start(candidate)
    target = modes()
    plain = candidate.run(target.denoised, x, grid, seed=3).x
    worst = 0.0
    for name in ("eps", "score", "v", "flow"):
        wrapped = denoiser(_predicting(target, name), name)
        worst = max(worst, float(np.abs(candidate.run(wrapped, x, grid, seed=3).x - plain).max()))
    off = worst / max(1.0, float(np.abs(plain).max()))
    tolerance = 1e-3 if candidate.kind == "diffusers" else 1e-6
    detail = "round-off of the model's output is amplified: coefficients that cancel"
    return judged(off < tolerance, "parameterisations", "eps, score, v, flow and denoised", f"differ by {off:.0e}", "0", detail)


def _predicting(target: Any, name: str) -> Any:
    from scorebed.solvers.model import from_denoised

    return lambda x, node: from_denoised(target.denoised(x, node), x, node, name) if node.sigma else x / node.alpha


def exactness(candidate: Candidate) -> Finding:
    """For D = c any run has a closed form, alpha_t c + (sigma_t/sigma_s)(x - alpha_s c): what exponential methods are exact on."""
    worst = 0.0
    for n in (2, 9) if candidate.freedom.grid else (10, 20):
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
    measured = f"{per:g} per step{extra} ({counts[1]} for 16 steps)"
    return Finding("evaluations", "pass", "calls of the model counted", measured)


class _Waits:
    """Counts what makes the host wait for the device."""

    names = ("item", "cpu", "tolist", "numpy", "__bool__", "__float__", "__int__", "__index__", "nonzero", "__array__")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.on = True

    def mode(self) -> Any:
        import torch
        from torch.overrides import TorchFunctionMode

        watched = {getattr(torch.Tensor, name): name for name in self.names if hasattr(torch.Tensor, name)}
        waits = self

        class Mode(TorchFunctionMode):
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                if waits.on and func in watched:
                    waits.counts[watched[func]] = waits.counts.get(watched[func], 0) + 1
                return func(*args, **(kwargs or {}))

        return Mode()


def waits(candidate: Candidate) -> Finding:
    """Host synchronisations per step, on tensors that would be on the device."""
    if candidate.library != "torch":
        return Finding("host waits", "skip", "synchronisations per step", "NumPy runs on the host")
    found = []
    for n in (8, 16):
        grid, x = _start(candidate, n)
        counter = _Waits()
        candidate.watch = counter
        try:
            with counter.mode():
                candidate.run(_Quiet(counter), x, grid)
        finally:
            candidate.watch = None
        found.append(dict(counter.counts))
    per = {k: (v - found[0].get(k, 0)) / 8 for k, v in found[1].items() if v != found[0].get(k, 0)}
    total = sum(per.values())
    words = ", ".join(f"{k} {v:g}" for k, v in sorted(per.items()))
    measured = f"{total:.3g} per step" + (f" ({words})" if words else "")
    detail = "each of them stalls a GPU where its tensor lives there; keep coefficients on the host as Python floats"
    return judged(total < 0.5, "host waits", ".item(), .cpu(), bool() … of tensors, per step", measured, "0", detail, "note")


class _Quiet:
    """A cheap denoiser whose own work is not counted."""

    def __init__(self, counter: _Waits) -> None:
        self.counter = counter

    def __call__(self, x: Any, node: Node) -> Any:
        self.counter.on = False
        try:
            c = node.alpha**2 + node.sigma**2
            return (node.alpha / c) * x
        finally:
            self.counter.on = True


def moves(candidate: Candidate, deltas: tuple[float, ...] = (1e-2, 1e-3, 1e-5, 1e-8), **how: Any) -> list[float]:
    """How far the result moves where four nodes move by each of ``deltas`` of a step, over what is in proportion to the first of them.

    1 all along: double precision. A method whose coefficients are float32 answers a small change in jumps of about 1e-7, or not at all; one
    that looks its times up in a table does so for large changes too.
    """
    grid, x = _start(candidate, 10)
    schedule = grid[0].schedule
    if schedule is None or not candidate.freedom.grid:
        raise Refused(f"{candidate.name} takes no grid of ours: how it answers to changes of the grid cannot be asked")
    draws = _no_draws if candidate.stochastic else None

    def run(delta: float) -> np.ndarray:
        nodes = [*grid]
        for i in (3, 4, 5, 6):
            nodes[i] = schedule.at_lam(grid[i].lam + delta * (grid[i + 1].lam - grid[i].lam))
        return candidate.run(modes().denoised, x, nodes, draws=draws, **how).x

    base = run(0.0)
    sizes = [float(np.abs(run(delta) - base).max()) / delta for delta in deltas]
    return [size / max(sizes[0], 1e-300) for size in sizes]


def proportional(answers: list[float]) -> bool:
    return all(0.5 < a < 2.0 for a in answers)


def precision(candidate: Candidate) -> Finding | None:
    """Whether float64 in gives float64 accuracy."""
    if not candidate.freedom.grid or candidate.kind == "diffusers" or candidate.adaptive:
        return None
    answers = moves(candidate)
    measured = "in proportion" if proportional(answers) else "answers " + ", ".join(f"{a:.2g}" for a in answers) + " of it"
    tried = "nodes moved by 1e-2, 1e-3, 1e-5, 1e-8 of a step"
    detail = "something is rounded: float32 coefficients, or times looked up in a table"
    return judged(proportional(answers), "precision", tried, measured, "in proportion", detail)
