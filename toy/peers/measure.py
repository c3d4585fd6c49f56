r"""Measuring one entry of the scoreboard.

Four runs tell what costs an order, each differing from the one before in one thing:

    shipped   the scheduler's own grid, float32, a network that knows only the timestep
    ideal     float64, and the network knows the scheduler's own sigma: no round-off, no rounded timesteps
    own       our grid, sigma/alpha from 8 to 0.1 uniform in its cube root: not the last step to sigma = 0, nor the ends of the schedule
    gentle    our grid, uniform in log(sigma/alpha) after two very short first steps: no cost of a first-order start

The order in the ``own`` column is the formula's, start included. Schedulers of integer timesteps have ``fine`` instead: a table of 131,072
entries, in float64, from its noisy end to an eighth.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.peers.affine import Draws, basis, moments
from scorebed.toy.peers.entry import Entry
from scorebed.toy.peers.guard import TooLong, limit, quiet, said
from scorebed.toy.peers.schedulers import IDEAL, SHIPPED, Drive, Mode, Ran, karras
from scorebed.toy.peers.slopes import Measured, measured
from scorebed.toy.peers.truth import carried, mixture_denoised, pair_denoised, spread, states

STEPS = (25, 49, 97, 193, 385)
"""6 k + 1 nodes: whole cycles of single-step methods of order 2 and 3."""
SHIPPED_STEPS = (8, 16, 32, 64, 128, 256)
WEAK_STEPS = (25, 49, 97, 193)
QUICK = 3
ROUNDOFF = 1e-12
FINITE = (*range(1, 17), 24, 32, 48, 64)
IDEAL_STEPS = (32, 64, 128)


def gentle(n: int, high: float = 8.0, low: float = 0.1) -> np.ndarray:
    """n + 1 nodes, even in log(sigma/alpha) but for the first two steps, of 1/n³ and 1/n² of the length."""
    if n < 4:
        return np.exp(np.linspace(math.log(high), math.log(low), n + 1))
    r = np.cumsum([0.0, n**-3.0, n**-2.0, *([1.0 / (n - 2)] * (n - 2))])
    return np.asarray(np.exp(math.log(high) + r / r[-1] * (math.log(low) - math.log(high))))


def modes(entry: Entry) -> dict[str, Mode]:
    """The runs that this entry's interface allows."""
    if isinstance(entry.drive, Drive):
        if entry.drive.family == "table":
            fine = {} if entry.drive.name == "UnCLIPScheduler" else {"fine": Mode(wide=True, fine=True)}  # its table cannot be set
            return {"shipped": SHIPPED, **fine}
        if entry.drive.family in ("crash", "wuerstchen"):
            return {"shipped": SHIPPED, "ideal": IDEAL}
    return {
        "shipped": SHIPPED,
        "ideal": IDEAL,
        "own": Mode(wide=True, ideal=True, grid=karras),
        "gentle": Mode(wide=True, ideal=True, grid=gentle),
    }


def path_error(drive: Any, n: int, mode: Mode) -> float:
    """RMS distance from the exact flow of the mixture."""
    ran: Ran = drive.run(n, states, mixture_denoised, mode)
    exact = carried(states(ran.first), ran.first, ran.last)
    return float(np.sqrt(np.mean((ran.x - exact) ** 2)))


def law_error(drive: Any, n: int, mode: Mode) -> float:
    """RMS error of mean and variance of the output on the Gaussian pair, exact."""
    rows = 5 * n + 16
    ran: Ran = drive.run(n, lambda at: basis(rows, (2,)), pair_denoised, mode, noise=Draws(rows))
    got = np.concatenate(moments(ran.x, *spread(ran.first)))
    return float(np.sqrt(np.mean((got - np.concatenate(spread(ran.last))) ** 2)))


def errors(entry: Entry, mode: Mode, steps: Sequence[int], seconds: float = 60.0) -> Measured:
    """The order of an entry in one mode."""
    one: Callable[[Any, int, Mode], float] = law_error if entry.stochastic else path_error
    with limit(seconds), quiet():
        found = [one(entry.drive, n, mode) for n in steps]
    bad = [n for n, e in zip(steps, found, strict=True) if not math.isfinite(e)]
    if len(bad) == len(steps):
        raise FloatingPointError(f"nan or inf at every number of steps tried, {steps[0]} to {steps[-1]}")
    return measured(steps, found, ROUNDOFF if mode.wide else 0.0)


def _target(entry: Entry) -> tuple[int, Callable[..., np.ndarray]]:
    return (2, pair_denoised) if entry.stochastic else (1, mixture_denoised)


def finite(entry: Entry, steps: Sequence[int] = FINITE, seconds: float = 12.0) -> tuple[dict[str, list[int]], list[int]]:
    """What goes wrong at which number of steps, as shipped: the text of the exception, ``nan``, or ``hang``; and the numbers tried.

    The small numbers come first, then the rest, as far as the time goes.
    """
    tried: list[int] = []
    failures: dict[str, list[int]] = {}
    d, denoise = _target(entry)

    def initial(at: Node) -> np.ndarray:
        return np.zeros((3, d)) + at.sigma * np.array([[-1.0], [0.0], [1.5]])

    began = time.monotonic()
    first = [n for n in steps if n <= 8 or n & (n - 1) == 0]
    for n in [*first, *(n for n in steps if n not in first)]:
        left = seconds - (time.monotonic() - began)
        if left <= 1.0:
            break
        tried.append(n)
        try:
            with limit(min(left, 6.0)), quiet():
                ran = entry.drive.run(n, initial, denoise, SHIPPED)
            kind = None if np.all(np.isfinite(ran.x)) else "nan" if np.any(np.isnan(ran.x)) else "inf"
        except TooLong:
            kind = "hang"
        except Exception as error:  # whatever a peer raises is a result
            kind = said(error)
        if kind:
            failures.setdefault(kind, []).append(n)
    return {kind: sorted(at) for kind, at in failures.items()}, sorted(tried)


def keeps_dtype(entry: Entry, seconds: float = 20.0) -> str:
    """The dtypes that the sampler returns for float64 states, where it is not float64 itself."""
    import torch

    if not isinstance(entry.drive, Drive) or entry.drive.family == "wuerstchen":
        return ""
    seen: set[str] = set()
    try:
        with limit(seconds), quiet():
            s = entry.drive.made(8, SHIPPED)
            x = torch.zeros((2, 1, 1, 1), dtype=torch.float64)
            old: Any = None
            for i, t in enumerate(list(s.timesteps)[:3]):
                x = s.scale_model_input(x, t) * 0 + x if hasattr(s, "scale_model_input") else x
                out = torch.full_like(x, 0.1)
                if entry.drive.name == "CogVideoXDPMScheduler":
                    x, old = s.step(out, old, t, None if i == 0 else s.timesteps[i - 1], x, return_dict=False)
                else:
                    x = s.step(out, t, x, return_dict=False, **entry.drive.step)[0]
                seen.add(str(x.dtype).removeprefix("torch."))
                x = x.to(torch.float64)
    except Exception as error:  # whatever a peer raises is a result
        return said(error)
    return ", ".join(sorted(seen - {"float64"}))


def host_reads(entry: Entry, n: int = 16, seconds: float = 30.0) -> float | None:
    """Values read from tensors by the host, per call of the network, without those of the harness; on a device each may wait for it."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    reads = 0

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            nonlocal reads
            if function.overloadpacket._qualified_op_name == "aten::_local_scalar_dense":
                reads += 1
            return function(*args, **(kwargs or {}))

    if not isinstance(entry.drive, Drive):
        return None
    try:
        with limit(seconds), quiet():
            s = entry.drive.made(n, SHIPPED)
            if entry.drive.family == "wuerstchen":
                return None
            x = torch.zeros((2, 1, 1, 1))
            times = list(s.timesteps)
            old: Any = None
            for i, t in enumerate(times):
                if hasattr(s, "scale_model_input"):
                    s.scale_model_input(x, t)
                with Count():
                    if entry.drive.name == "CogVideoXDPMScheduler":
                        x, old = s.step(x * 0.1, old, t, None if i == 0 else times[i - 1], x, return_dict=False)
                    else:
                        x = s.step(x * 0.1, t, x, return_dict=False, **entry.drive.step)[0]
    except Exception:
        return None
    return reads / len(times)


def repeats(entry: Entry, n: int = 8, seconds: float = 30.0) -> bool | None:
    """Whether two runs after the same ``torch.manual_seed`` are equal; None where a run fails."""
    import torch

    runs = []
    d, denoise = _target(entry)
    try:
        with limit(seconds), quiet():
            for _ in range(2):
                torch.manual_seed(7)
                ran = entry.drive.run(n, lambda at: np.full((4, d), at.sigma), denoise, SHIPPED)
                runs.append(ran.x)
    except Exception:
        return None
    return bool(np.array_equal(runs[0], runs[1]))


def calls(entry: Entry, n: int = 16) -> int | None:
    """Evaluations of the network in a run of 16 steps."""
    d, denoise = _target(entry)
    try:
        with limit(20.0), quiet():
            return int(entry.drive.run(n, lambda at: np.zeros((2, d)), denoise, SHIPPED).calls)
    except Exception:
        return None


def measure(entry: Entry, quick: bool = False) -> dict[str, Any]:
    """Everything about one entry, as plain values; never raises for what the peer does."""
    began = time.perf_counter()
    out: dict[str, Any] = {
        "library": entry.library,
        "name": entry.name,
        "order": entry.order,
        "weak": entry.weak,
        "source": entry.source,
        "defects": list(entry.defects),
        "note": entry.note,
        "measured": {},
        "failed": {},
    }
    for name, mode in modes(entry).items():
        if name == "gentle" and (quick or (entry.order or 0) < 3):
            continue
        by_mode = {"shipped": SHIPPED_STEPS, "ideal": IDEAL_STEPS, "own": STEPS[:-1]}
        steps: Sequence[int] = WEAK_STEPS[: 3 if name == "ideal" else 4] if entry.stochastic else by_mode.get(name, STEPS)
        if name == "fine":
            steps = (16, 32, 64, 128) if entry.stochastic else (16, 32, 64, 128, 256)
        if name in ("own", "gentle") and not entry.stochastic and (entry.order or 0) >= 3 and not quick:
            steps = STEPS
        try:
            out["measured"][name] = errors(entry, mode, steps[:QUICK] if quick else steps).json()
        except Exception as error:  # whatever a peer raises is a result
            out["failed"][name] = said(error)
    out["finite"], out["tried"] = finite(entry, (1, 2, 3, 4, 8, 16) if quick else FINITE)
    out["calls"] = calls(entry)
    out["repeats"] = repeats(entry)
    out["dtype"] = keeps_dtype(entry)
    out["reads"] = host_reads(entry)
    out["seconds"] = round(time.perf_counter() - began, 2)
    return out
