r"""The transitions of a Plan: given the past, each state of a stochastic Plan is Gaussian, x_{i+1} ~ N(m_i, C_i C_iᵀ), exactly.

Between evaluations a Plan is linear in its draws, so the state after a step is m_i + Σ_j c_ij ξ_j, m_i a function of the states so far. For
a state of several components C_i is a matrix, the same for every coordinate. So means, standard deviations and log-probabilities of a
roll-out, which reinforcement learning of samplers needs, are read off and not estimated.

Where a draw enters an evaluation of its own step, the state after it is no Gaussian given the one before. Then the state that was evaluated
is a *stage* of the path, Gaussian given what came before it, and the path is x, stage, …, x', stage, …: a chain of more states, of which
everything above holds (``pending``). What the past fixes, as the end of a step whose draw its stage has told, has no density and follows
from the path and the model; the density of the path is the product over its states with noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.solvers.model import Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.plan.pending import Pending, Value, within
from scorebed.solvers.precision import resolution
from scorebed.solvers.sample import Watched, WatchedNoise
from scorebed.solvers.state import Array, State, bare, parts


@dataclass(frozen=True)
class Transition:
    """One state of a roll-out, given those before.

    Attributes:
        s, t: the node at which the step begins, and that of ``next``.
        x, next: the states before and after, as the Plan has them.
        mean: E[next | past], of the state's shape.
        factor: C, shape (components, rank), the same for every coordinate; ``std`` is its only entry's size for one component.
        log_prob: log p(next | past) of each sample, shape (n,); of the components that have noise, where some have none (the density on the
            range of C); None where none has: ``next`` is ``mean`` then.
        stage: whether ``next`` is a state that was evaluated inside the step, and not its end.
    """

    s: Any
    t: Any
    x: State
    next: State
    mean: State
    factor: np.ndarray
    log_prob: Array | None
    stage: bool = False

    @property
    def covariance(self) -> np.ndarray:
        """C Cᵀ, over components."""
        return np.asarray(self.factor @ self.factor.T)

    @property
    def std(self) -> float:
        """The standard deviation of each entry, for states of one component."""
        return math.sqrt(float(self.covariance[0, 0]))


class Transitions:
    """A Plan with a model, state by state: ``rollout`` draws, ``score`` reads the log-probabilities of given states."""

    def __init__(self, plan: Any, model: Denoiser) -> None:
        self.plan, self.model = plan, model

    @cached_property
    def stages(self) -> tuple[bool, ...]:
        """For each state of a path after the first, whether it is a stage inside a step; all False where every step is Gaussian."""
        makes = iter([op.makes for op in self.plan.calls.values()])
        zeros = bare((np.zeros((1, 1)),) * self.plan.components)
        draws = iter([op.makes for op in self.plan.draws.values()])
        found = self._walk(zeros, lambda x, n: (np.zeros((1, 1)),) * next(makes), lambda s, t: (np.zeros((1, 1)),) * next(draws), None)
        return tuple(one.stage for one in found)

    def rollout(self, x: State, noise: Noise | int | None = None) -> list[Transition]:
        """Run the Plan from ``x`` and say what every state of the path was: the end of each step, and its stages before it.

        Args:
            x: the state at the first node, (n, ...), or a tuple of them.
            noise: as of ``sample``.

        Returns:
            the Transitions in order, one for each state of the path.
        """
        drawn = WatchedNoise(noise, x, self.plan.grid[0])
        return self._walk(x, self._ask(), lambda s, t: parts(drawn(s, t)), None)

    def score(self, states: Sequence[State]) -> list[Transition]:
        """The transitions through given states: the same means and log-probabilities as in the roll-out that made them, or those of another
        model through them. What has no noise is not read but follows: the end of a path may then be another one than was given.

        Args:
            states: x, and every state of the path after it, stages included: ``[x, *(one.next for one in rollout(x))]``.

        Returns:
            the Transitions in order, one for each state of the path.

        Raises:
            ValueError: another number of states than the path has; or states where the model cannot go, since what of them has no noise is
                another.
        """
        if len(states) != 1 + len(self.stages):
            inside = sum(self.stages)
            places = f"{len(self.plan.grid)} nodes" + (f" and {inside} stages inside its steps" if inside else "")
            raise ValueError(f"states has {len(states)} entries for {places}: give x and the next of every transition of a roll-out")
        draws = iter([op.makes for op in self.plan.draws.values()])
        return self._walk(states[0], self._ask(), lambda s, t: (None,) * next(draws), states)

    def _ask(self) -> Callable[[State, Any], tuple[Any, ...]]:
        watched = Watched(self.model, self.plan.grid[0], self.plan.takes)
        return lambda x, node: parts(watched(x, *parts(node)))

    def _walk(self, x: State, ask: Any, drawn: Any, states: Sequence[State] | None) -> list[Transition]:
        plan, pending, path, step_of = self.plan, Pending(self.plan), list[Transition](), 0

        def visit(pieces: tuple[Value, ...], t: Any, stage: bool) -> tuple[Any, ...]:
            """The path goes through this value: what it is there, and what that tells of the draws."""
            means, factor, directions = pending.split(pieces)
            if stage and not factor.size:
                return means
            after, log_prob = means, None
            if factor.size:
                after = tuple(map(pending.realised, pieces)) if states is None else parts(states[len(path) + 1])
                z, left = within(factor, tuple(a - m for a, m in zip(after, means, strict=True)))
                _check_range(left, after, f"{plan.solver}, step {step_of}")
                log_prob = _log_density(z, factor)
                pending.see(directions, z)
            before = path[-1].next if path else x
            path.append(Transition(plan.grid[step_of], t, before, bare(after), bare(means), factor, log_prob, stage))
            return after

        def evaluate(state: Any, node: Any) -> Any:
            asked = visit(parts(state), node, stage=True)
            return bare(tuple(Value(part, {}) for part in ask(bare(asked), node)))

        def draw(s: Any, t: Any) -> Any:
            return bare(tuple(Value(0.0 * parts(x)[0], pending.add(xi)) for xi in drawn(s, t)))

        def combine(terms: list[tuple[float, Value]]) -> Value:
            known, draws = 0.0 * parts(x)[0], dict[int, float]()
            for c, value in terms:
                known = known + c * value.known
                for k, share in value.draws.items():
                    draws[k] = draws.get(k, 0.0) + c * share
            return Value(known, draws)

        def step(i: int, state: Any) -> Any:
            nonlocal step_of
            after = visit(parts(state), plan.grid[i + 1], stage=False)
            pending.forget(plan.ends[i])
            step_of = i + 1
            return bare(tuple(Value(part, {}) for part in after))

        plan.fold(bare(tuple(Value(part, {}) for part in parts(x))), evaluate, draw, combine, step)
        return path


def path_log_prob(path: Sequence[Transition]) -> Array:
    """log p of each path given where it began, (n,): the sum over its states that have noise, stages included.

    Args:
        path: of ``rollout`` or ``score``.

    Returns:
        log p of each path, (n,).

    Raises:
        ValueError: no state has noise.
    """
    return _total(path, path, lambda a, b: a.log_prob)


def log_ratio(new: Sequence[Transition], old: Sequence[Transition]) -> Array:
    """log p_new(path) − log p_old(path) of each sample, (n,): the importance ratio of two policies on the states of ``old``.

    What has no noise follows from the path and the model, so that ``new[-1].next`` may be another end than ``old``'s: the ratio weighs what
    ``new`` makes of the path.

    Args:
        new: ``score`` of the new model on the states that ``old`` went through.
        old: ``rollout`` of the old one.

    Returns:
        log p_new(path) − log p_old(path) of each sample, (n,).

    Raises:
        ValueError: no step with noise, or roll-outs of different length or noise.
    """
    return _total(new, old, lambda a, b: a.log_prob - b.log_prob)


def kl(new: Sequence[Transition], old: Sequence[Transition]) -> Array:
    """Σ_states KL(p_old(· | past) ‖ p_new(· | past)) of each sample, (n,), exactly: ½ |C^{-1} (m_old − m_new)|², C of the noise, which two
    models of one Plan share. Its mean over roll-outs of ``old`` is the KL of the paths.

    Args:
        new, old: as of ``log_ratio``.

    Returns:
        KL divergence of each sample in nats, (n,), 0 or more.

    Raises:
        ValueError: as ``log_ratio``; or means that differ where there is no noise.
    """

    def term(a: Transition, b: Transition) -> Any:
        z, left = within(b.factor, tuple(one - other for one, other in zip(parts(a.mean), parts(b.mean), strict=True)))
        _check_range(left, parts(b.mean), f"the step from {b.s}")
        return 0.5 * sum(_squares(z))

    return _total(new, old, term)


def _total(new: Sequence[Transition], old: Sequence[Transition], term: Any) -> Any:
    if len(new) != len(old) or not old:
        raise ValueError(f"new has {len(new)} steps, old has {len(old)}: give two policies on the same grid")
    if any((a.log_prob is None) != (b.log_prob is None) for a, b in zip(new, old, strict=True)):
        raise ValueError("new and old have noise at different steps: give two policies of one Plan")
    drawn = [(a, b) for a, b in zip(new, old, strict=True) if a.log_prob is not None]
    if not drawn:
        raise ValueError("no step has noise, and so none a density: take a stochastic method")
    first, *rest = (term(a, b) for a, b in drawn)
    return sum(rest, first)


def _check_range(left: float, like: tuple[Any, ...], where: str) -> None:
    """Refuse a state that the noise cannot reach."""
    if not left:
        return
    size = max(float(abs(part).max()) for part in like)
    if left > 0.5 * math.sqrt(resolution(like[0])) * (1.0 + size):
        raise ValueError(f"{where}: the part of the state that has no noise is off by {left:.2g}: this model cannot go there")


def _squares(z: list[Any]) -> list[Any]:
    """|z|² of each sample, over all entries."""
    return [(one * one).reshape(one.shape[0], -1).sum(1) for one in z]


def _log_density(z: list[Any], factor: np.ndarray) -> Any:
    """log N(C z; 0, C Cᵀ) on the range of C, of each sample, over all its entries."""
    entries = math.prod(z[0].shape[1:])
    sizes = np.linalg.svd(factor, compute_uv=False)
    return -0.5 * sum(_squares(z)) - entries * float(np.log(sizes * math.sqrt(2.0 * math.pi)).sum())
