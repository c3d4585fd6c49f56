r"""Fewer evaluations: some are made, the others are sums of those made before, and what comes out is a Plan again.

A cache holds a network's output P (denoised, eps, v, …) or extrapolates it. With the last k that were made, at the values u_1, u_2, … of
a variable u, newest first, a skipped one at u is

    polynomial    P = Σ_j ℓ_j(u) P_j                                  k = 1: the plain hold; k = 2, 3: AB-Cache (arXiv:2504.10540)
    taylor        P = P_1 + Σ_{i<k} (u − u_1)^i Δ^i,  Δ^i = P[u_1 … u_{i+1}]      TaylorSeer (arXiv:2503.06923)

The second puts differences into a Taylor series, where Newton's form has Π_j (u − u_j): it errs by O(h²) for every k ≥ 2 (``ERRATA``).

    Cache             a guide: it makes a model of a model, by a rule that says at each call whether to ask
    cached(solver)    a solver: every so many evaluations are made, so that order, stability, mutants and ``gpu.run`` apply as to any other
    reuse(plan)       a Plan with some of its evaluations replaced
    switched(models)  one model at some noise levels, another at others

What runs at once is in ``solvers.parallel``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Literal, get_args

from scorebed.solvers.base import Carry, Solver, advance, remade, solver
from scorebed.solvers.model import PREDICTIONS, Array, Denoiser, from_denoised, to_denoised
from scorebed.solvers.noise import Noise
from scorebed.solvers.plan import Plan
from scorebed.solvers.plan.form import Form
from scorebed.solvers.plan.tape import Tape
from scorebed.solvers.weights.lagrange import lagrange

Rule = Callable[[int, Any, Any], bool]
"""(number of the call, state, node) -> whether the model is asked. The first call always asks."""
Shape = Literal["polynomial", "taylor"]
Clock = Literal["lam", "rho", "t", "index"]


def check(order: int, by: str, what: str, shape: str, lag: int) -> None:
    """Refuse what no cache can do.

    Raises:
        ValueError: an argument that is not known; the message lists what is.
    """
    for name, value, least in (("order", order, 1), ("lag", lag, 0)):
        if isinstance(value, bool) or int(value) != value or value < least:
            raise ValueError(f"{name} = {value!r}: give an integer of at least {least}")
    for name, given, known in (("by", by, get_args(Clock)), ("what", what, PREDICTIONS), ("shape", shape, get_args(Shape))):
        if given not in known:
            raise ValueError(f"{name} = {given!r} is not known: give one of {', '.join(known)}")


class Cache:
    """A model that asks another one now and then, and says what it would have said from what it said.

    Args:
        denoise: the model.
        rule: whether to ask, ``every(n)`` or a threshold of ``solvers.cache_rules``.
        order: how many evaluations an extrapolation reads.
        by: the variable it extrapolates in; "index", the number of the call, takes steps for equal.
        what: the prediction that is held, one of ``PREDICTIONS``; a cache of a network holds what the network predicts.
        shape: "polynomial" or "taylor".
        lag: read evaluations so many older than the newest, once there are enough.

    ``made`` says of each call whether the model was asked; ``reuse(plan, cache.made)`` is the Plan of the run. One ``Cache`` serves one
    run: ``fresh()`` gives another.
    """

    prediction = "denoised"

    def __init__(
        self,
        denoise: Denoiser,
        rule: Rule,
        *,
        order: int = 1,
        by: Clock = "lam",
        what: str = "denoised",
        shape: Shape = "polynomial",
        lag: int = 0,
    ) -> None:
        check(order, by, what, shape, lag)
        self.denoise, self.rule = denoise, rule
        self.how: dict[str, Any] = {"order": order, "by": by, "what": what, "shape": shape, "lag": lag}
        self.past: tuple[tuple[float, Any], ...] = ()
        self.calls, self.made = 0, list[bool]()

    def fresh(self) -> Cache:
        """The same cache, empty, with a fresh rule where the rule remembers."""
        again = getattr(self.rule, "fresh", None)
        return Cache(self.denoise, again() if again is not None else self.rule, **self.how)

    def _clock(self, node: Any, call: int) -> float:
        by = self.how["by"]
        return float(call) if by == "index" else float(getattr(node, by))

    def __call__(self, x: Array, node: Any) -> Array:
        call, what = self.calls, self.how["what"]
        self.calls += 1
        asked = not self.past or bool(self.rule(call, x, node))
        self.made.append(asked)
        u = self._clock(node, call)
        if asked:
            value = self.denoise(x, node)
            kept = (u, from_denoised(value, x, node, what))
            self.past = (kept, *(one for one in self.past if one[0] != u))[: self.how["order"] + self.how["lag"]]
            return value
        lag = self.how["lag"] if len(self.past) == self.how["order"] + self.how["lag"] else 0
        known = self.past[lag : lag + self.how["order"]]
        ws = weights([v for v, _ in known], u, self.how["shape"])
        held = ws[0] * known[0][1]
        for w, (_, value) in zip(ws[1:], known[1:], strict=True):
            held = held + w * value
        return to_denoised(held, x, node, what)


def weights(points: Sequence[float], u: float, shape: str) -> list[float]:
    """What each of the values at ``points``, newest first, weighs in that at ``u``: "polynomial" or "taylor"."""
    return _taylor(points, u) if shape == "taylor" else _polynomial(points, u)


def _polynomial(points: Sequence[float], u: float) -> list[float]:
    """ℓ_j(u); they add up to 1 to the last bit."""
    others = [lagrange(points, j, u) for j in range(1, len(points))]
    return [1.0 - math.fsum(others), *others]


def _taylor(points: Sequence[float], u: float) -> list[float]:
    """Weights of P_1 + Σ_i (u − u_1)^i P[u_1 … u_{i+1}]: on equal steps N, F + Σ Δ^i F (−k)^i / (i! N^i)."""
    out = [0.0] * len(points)
    for i in range(len(points)):
        for j in range(i + 1):
            out[j] += (u - points[0]) ** i / math.prod(points[j] - points[m] for m in range(i + 1) if m != j)
    return out


def every(n: int, first: int = 1) -> Rule:
    """Ask at the first ``first`` calls and at every n-th after them.

    Returns:
        the Rule: (call, x, node) -> whether to ask.

    Raises:
        ValueError: a number that is no positive integer.
    """
    for name, value in (("n", n), ("first", first)):
        if isinstance(value, bool) or int(value) != value or value < 1:
            raise ValueError(f"{name} = {value!r}: give an integer of at least 1")
    return lambda call, x, node: call < first or (call - first + 1) % n == 0


def cached(method: Solver, every: int = 2, **how: Any) -> Solver:
    """The method that makes every ``every``-th evaluation and has the others from those made before; the first ``order`` are made.

    An extrapolation from k evaluations errs by O(h^k), so the order is the least of the method's and k; ``shape="taylor"`` has at most 2,
    a ``lag`` costs nothing but a constant.

    Args:
        method: a deterministic or stochastic method with a Plan.
        every: 1 makes all.
        how: options of ``Cache``.

    Returns:
        the Solver that reuses evaluations, of the least order.

    Raises:
        ValueError: a method that has no Plan, or options that ``Cache`` refuses.
    """
    if method.nonlinear is not None:
        raise ValueError(f"{method.name} has no Plan ({method.nonlinear}), and so no evaluation that could be replaced")
    made = Cache(lambda x, node: x, _every(every, 1), **how).how
    k = made["order"]
    rule = _every(every, k + made["lag"])

    def step(denoise: Denoiser, x: Array, s: Any, t: Any, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        memory, calls, past = carry or (None, 0, ())
        cache = Cache(denoise, rule, **how)
        cache.calls, cache.past = calls, past
        x_t, memory = advance(method, cache, x, s, t, memory, noise)
        return x_t, (memory, cache.calls, cache.past)

    least = method.order if every == 1 else min(method.order, k, 2 if made["shape"] == "taylor" else k)
    step.__name__ = f"cached_{method.name.split('(')[0]}"
    step.__doc__ = f"{method.name} with every {every}-th evaluation made: see ``cached``."
    return solver(
        order=least,
        weak=None if method.weak is None else min(method.weak, least),
        strong=None if method.strong is None else min(method.strong, least),
        reference=f"{method.reference}; reuse as in arXiv:2504.10540",
        inexact=method.inexact or (None if made["what"] == "denoised" else "a held eps is not that of a constant D at the next state"),
        on=method.on,
        register=False,
    )(remade(step, cached, method, every, **how))


_every = every


def reuse(plan: Plan, keep: Sequence[bool] | Rule, **how: Any) -> Plan:
    """The Plan with some of its evaluations replaced by sums of those that are made.

    Args:
        plan: of any method on any grid.
        keep: whether each evaluation is made, in order, the first always; or a rule that reads the number of the call alone.
        how: options of ``Cache``.

    Returns:
        the Plan with fewer evaluations.

    Raises:
        ValueError: another number of entries than the Plan has evaluations, or options that ``Cache`` refuses.
    """
    if callable(keep):
        rule: Rule = keep
    else:
        kept = [bool(k) for k in keep]
        if len(kept) != plan.nfe:
            raise ValueError(f"keep has {len(kept)} entries for the {plan.nfe} evaluations of {plan.solver}: give one for each")
        if not kept[0]:
            raise ValueError("keep[0] is False: there is nothing yet that could stand for the first evaluation")
        rule = lambda call, x, node: kept[call]  # noqa: E731
    tape = Tape(f"reused({plan.solver})", plan.grid, plan.takes)
    return tape.plan(onto(plan, tape, Cache(tape.evaluate, rule, **how)))


def switched(models: Sequence[Denoiser], levels: Sequence[float]) -> Denoiser:
    """The first model below the first level of lam, the next between it and the second, and so on: a large network at some noise levels, a
    small one or an early exit at others.

    Returns:
        the Denoiser that picks a model by lam.

    Raises:
        ValueError: levels that do not grow, or another number of them than one less than there are models.
    """
    if len(levels) != len(models) - 1 or any(b <= a for a, b in pairwise(levels)):
        raise ValueError(f"levels = {list(levels)!r}: give {len(models) - 1} growing values of lam for {len(models)} models")

    def denoise(x: Array, node: Any) -> Array:
        return models[sum(node.lam >= level for level in levels)](x, node)

    return denoise


def summed(terms: Sequence[tuple[float, Any]]) -> Any:
    """Σ c × form, for folds onto a tape."""
    out = Form({})
    for c, value in terms:
        out = out + c * value
    return out


def onto(plan: Plan, tape: Tape, evaluate: Callable[[Any, Any], Any]) -> Any:
    """The plan on a tape with another model: its sums stay what they are."""
    return plan.fold(tape.x, evaluate, tape.draw, lambda terms: tape.hold(summed(terms)), lambda i, x: tape.after(i, x)[0])
