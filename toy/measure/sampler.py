r"""The order of somebody's sampler under a setting: one call for whatever ``toy.foreign`` can drive, deterministic or stochastic.

A deterministic sampler is held against the exact flow map. Of a stochastic one the law of the output on Gaussians is exact where its draws
can be replaced: on N(mu, diag(v)) every run is affine in the state and the draws, x_T = c + a x_s + Σ_k b_k ξ_k, coordinate by coordinate.
One run on unit draws reads off c, a and every b_k, so that mean a m_s + c and variance a² v_s + Σ b_k² are known to round-off, and the weak
order is a slope without noise. Where they cannot, moments by Monte Carlo with their standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from scorebed.solvers import Node
from scorebed.toy.foreign.candidate import Candidate
from scorebed.toy.foreign.draws import Draws, Interval, Paired, Recorder, Units
from scorebed.toy.measure.convergence import rms
from scorebed.toy.measure.order import FLOOR, OrderResult, measure_order
from scorebed.toy.measure.settings import Setting
from scorebed.toy.measure.targets import Affine

HOPELESS = 0.8
"""A last slope this far below the claim does not rise to it."""
SETTLED = 0.2
EXACT_STEPS = 4


def measure(candidate: Candidate, setting: Setting, claim: float | None = None, *, refine: bool = True, **law: Any) -> OrderResult:
    """The order of a candidate under a setting.

    Args:
        claim: slopes that still rise to it are refined further; those of a lower order only fall. Without one nothing is.
        refine: whether to go beyond ``setting.steps`` at all.
        law: of a stochastic candidate, ``path`` and ``pair`` of ``affine``.

    Returns:
        the OrderResult, order of the path or of the law.

    Raises:
        Refused, ValueError, TypeError: the candidate cannot be run so.
        ArithmeticError: it is not finite from the first numbers of steps on.
    """
    terminal = "own" if setting.own else _end(candidate, setting)
    setting = setting.under(terminal=terminal)
    size = rms(_exact(candidate, setting, setting.nodes(setting.steps[0]))) if not candidate.stochastic else 0.0
    floor = 0.0 if setting.conditions.dtype == "float32" else FLOOR * max(1.0, size)

    def enough(result: OrderResult) -> bool:
        if claim is None:
            return not candidate.stochastic or result.settled <= SETTLED
        if candidate.stochastic:
            return result.settled <= SETTLED and result.reaches(claim)
        return result.reaches(claim) or result.last_slope < claim - HOPELESS

    def error(n: int) -> tuple[float, int]:
        return law_error(candidate, setting, n, **law) if candidate.stochastic else path_error(candidate, setting, setting.nodes(n))

    return measure_order(
        error,
        conditions=setting.under(floor=floor).conditions,
        steps=setting.steps,
        finer=setting.finer if refine and (claim is not None or candidate.stochastic) else (),
        enough=enough,
    )


def _end(candidate: Candidate, setting: Setting) -> str:
    """The end of the setting where the candidate has it, else its usual one."""
    ends = candidate.interface.ends
    return setting.conditions.terminal if setting.conditions.terminal in ends else ends[0]


def how(candidate: Candidate, setting: Setting) -> dict[str, Any]:
    """The options of ``Candidate.run`` that the setting's conditions mean."""
    c = setting.conditions
    out: dict[str, Any] = {"dtype": c.dtype, "network": c.network, "end": _end(candidate, setting)}
    if c.start == "exact":
        out["start"] = (EXACT_STEPS, setting.target.flow)
    return out


def _exact(candidate: Candidate, setting: Setting, grid: Sequence[Node], end: Node | None = None) -> np.ndarray:
    """The exact end state from the setting's states, as the candidate would return it."""
    last = end or candidate._end(grid, _end(candidate, setting))
    x = np.asarray(setting.target.flow(setting.states(grid[0]), grid[0], last))
    return np.asarray(setting.model(x, last)) if candidate.interface.ends[0] == "denoised" else x


def path_error(candidate: Candidate, setting: Setting, grid: Sequence[Node]) -> tuple[float, int]:
    """RMS error of the end state against the exact flow, and evaluations."""
    done = candidate.run(setting.model, setting.states(grid[0]), grid, **how(candidate, setting))
    exact = _exact(candidate, setting, grid, done.end)
    if done.x.shape != exact.shape:
        raise ValueError(f"a state of shape {exact.shape} came back with shape {done.x.shape}")
    return rms(done.x - exact), done.nfe


def asks(candidate: Candidate, grid: Sequence[Node], **run: Any) -> list[Interval | None]:
    """What a run on this grid asks of its noise, draw by draw."""
    recorder = Recorder()
    candidate.run(Affine([0.0], [1.0]), np.zeros((2, 1)), grid, draws=recorder, **run)
    return recorder.asked


def affine(
    candidate: Candidate, target: Any, grid: Sequence[Node], *, path: bool | None = None, pair: tuple[int, float] | None = None, **run: Any
) -> Any:
    """On a diagonal Gaussian: constant (d,), coefficient of the state, sum of squares of those of the draws; evaluations; end.

    ``path``: draws of overlapping intervals are increments of one path; ``pair``: see ``Paired``; ``run``: options of ``Candidate.run``.

    Returns:
        (constant (d,), coefficient of the state, sum of squares of those of draws, evaluations, end).
    """
    units = Units(asks(candidate, grid, **run), first=2, path=candidate.path if path is None else path)
    x = np.zeros((units.size, target.d))
    x[1] = 1.0
    draws: Draws = units if pair is None else Paired(units, *pair)
    done = candidate.run(Affine(target.mean(), np.diag(target.covariance())), x, grid, draws=draws, **run)
    rest = done.x[1:] - done.x[0]
    return done.x[0], rest[0], np.square(rest[1:]).sum(0), done.nfe, done.end


def law_error(candidate: Candidate, setting: Setting, n: int, **law: Any) -> tuple[float, int]:
    """RMS error of mean and variances of the output of n steps, started from the exact marginal."""
    grid = setting.nodes(n)
    constant, slope, noise, nfe, end = affine(candidate, setting.target, grid, **law, **how(candidate, setting))
    mean, variance = setting.target.mean(), np.diag(setting.target.covariance())
    first = grid[0]
    gain, shift = np.ones_like(mean), np.zeros_like(mean)
    if candidate.interface.ends[0] == "denoised":
        gain, shift = Affine(mean, variance).parts(end, mean, variance)
    off_mean = constant + slope * first.alpha * mean - (gain * end.alpha * mean + shift)
    exact = gain**2 * (end.alpha**2 * variance + end.sigma**2)
    off_variance = slope**2 * (first.alpha**2 * variance + first.sigma**2) + noise - exact
    return rms(np.append(off_mean, off_variance)), nfe


def monte_carlo(candidate: Candidate, setting: Setting, n: int, samples: int = 20000, seed: int = 0) -> tuple[float, float]:
    """(largest error of a mean or variance, in units of its standard error; relative error of the variance) by sampling."""
    grid, target = setting.nodes(n), setting.target
    x = np.asarray(target.sample(samples, np.random.default_rng(seed), grid[0]))
    done = candidate.run(Affine(target.mean(), np.diag(target.covariance())), x, grid, seed=seed)
    variance = done.end.alpha**2 * np.diag(target.covariance()) + done.end.sigma**2
    off = (done.x.mean(0) - done.end.alpha * target.mean()) / np.sqrt(variance / samples)
    off2 = (done.x.var(0) / variance - 1.0) / math.sqrt(2.0 / samples)
    return float(np.abs(np.append(off, off2)).max()), rms(done.x.var(0) / variance - 1.0)
