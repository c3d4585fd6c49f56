r"""How the error of a form's output changes with each of its numbers, state by state, by one walk back through the form.

With u_i = a_i x_T + r_i Σ_j w_ij D_j, D_i = D(u_i at tau_i), and v what the output's change is multiplied with, from the last row to the
first

    v_m = v,    v_i = J_iᵀ d_i,    d_j = Σ_{i>j} r_i w_ij v_i,
    ∂w_ij = r_i ⟨v_i, D_j⟩,    ∂lam_i = ⟨v_i, a_i' x_T + r_i' Σ_j w_ij D_j⟩ + ∂tau_i,    ∂tau_i = ⟨d_i, ∂D/∂tau_i⟩.

J_iᵀ is the model's own: a network's by automatic differentiation, an exact law's (alpha/sigma²) Cov[x0 | x]. It costs about as much as the
model, whatever the number of numbers, of which differences ask a run for each. The derivative in tau alone is a difference, since what a
network is told is a number of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from scorebed.solvers import Node
from scorebed.solvers.plan.ops import total
from scorebed.toy.tuning.form import Form
from scorebed.toy.tuning.setting import Array, Setting

_SMALL = 1e-5
"""The step in lam of the differences of alpha and sigma, which are floats."""


@dataclass
class Taped:
    """A run of a form on some states, with what its way back needs.

    Attributes:
        form, x, out: the form, the states, where it takes them.
        values: the evaluations; ``backs`` their transposed Jacobians; ``told`` how they change with the level that the model is told.
    """

    form: Form
    x: Array
    out: Array = None
    values: list[Array] = field(default_factory=list)
    backs: list[Callable[[Array], Array]] = field(default_factory=list)
    told: list[Array] = field(default_factory=list)

    def back(self, v: Array, parts: Sequence[str]) -> np.ndarray:
        """⟨v, ∂x/∂θ⟩ of every state for the numbers θ of ``form.free(parts)``; v has the shape of x, the answer is (n, numbers)."""
        form, m, n = self.form, self.form.m, len(self.x)
        weights, lams, told = np.zeros((m + 1, m, n)), np.zeros((m, n)), np.zeros((m, n))
        pulled: list[list[tuple[float, Array]]] = [[] for _ in range(m)]
        for i in range(m, 0, -1):
            node = form.last if i == m else form.schedule.at_lam(float(form.lams[i]))
            rest = _numbers(form, node)[1]
            for j in range(i):
                weights[i, j] = rest * _inner(v, self.values[j])
                pulled[j].append((rest * float(form.weights[i, j]), v))
            if i < m:
                slope, change = _changes(form, float(form.lams[i]))
                mixed = total([(float(w), value) for w, value in zip(form.weights[i, :i], self.values, strict=False)])
                lams[i] = slope * _inner(v, self.x) + change * _inner(v, mixed)
            given = total(pulled[i - 1])
            if self.told:
                told[i - 1] = _inner(given, self.told[i - 1])
            v = self.backs[i - 1](given) if i > 1 else v
        return self._free(parts, weights, lams, told)

    def _free(self, parts: Sequence[str], weights: np.ndarray, lams: np.ndarray, told: np.ndarray) -> np.ndarray:
        out: list[np.ndarray] = []
        if "nodes" in parts:
            out.append((lams + told)[1:])  # the level that is told goes along
        if "times" in parts:
            out.append(told)
        if "weights" in parts:  # the newest weight of each row takes what is left of 1
            out += [weights[i, : i - 1] - weights[i, i - 1] for i in range(2, self.form.m + 1)]
        return np.concatenate(out).T


def taped(setting: Setting, form: Form, x: Array, *, parts: Sequence[str], step: float) -> Taped:
    """A run whose way back is known.

    Args:
        setting: of a model with ``pull``.
        form: what runs.
        x: the states.
        parts: what may move; without nodes and times no difference in the told level is asked for.
        step: in lam, of that difference.

    Returns:
        the Taped run; its ``out`` is where it ends.

    Raises:
        ValueError: a setting without ``pull``, or levels outside the schedule.
    """
    if setting.pull is None:
        raise ValueError(f"setting: {setting.name} has no pull, the model with its transposed Jacobian: give one, or search by differences")
    run, high = Taped(form, x), form.last.lam
    for i in range(form.m):
        u = form.mixed(i, x, run.values)
        value, back = setting.pull(u, form.schedule.at_lam(float(form.told[i])))
        run.values.append(value)
        run.backs.append(back)
        if "nodes" in parts or "times" in parts:
            h = step if form.told[i] + step < high else -step
            run.told.append((setting.denoise(u, form.schedule.at_lam(float(form.told[i]) + h)) - value) * (1.0 / h))
    run.out = form.mixed(form.m, x, run.values)
    return run


def _numbers(form: Form, node: Node) -> tuple[float, float]:
    """(a, r) of a row at a node."""
    scale = node.sigma / form.first.sigma
    return scale, node.alpha - form.first.alpha * scale


def _changes(form: Form, lam: float) -> tuple[float, float]:
    """How (a, r) change with the level."""
    low, high = max(lam - _SMALL, form.first.lam), min(lam + _SMALL, form.last.lam)
    (a, r), (b, s) = (_numbers(form, form.schedule.at_lam(at)) for at in (low, high))
    return (b - a) / (high - low), (s - r) / (high - low)


def _inner(a: Array, b: Array) -> np.ndarray:
    """⟨a, b⟩ of every state."""
    found = (a * b).reshape(len(a), -1).sum(1)
    return np.asarray(found.detach().cpu() if hasattr(found, "detach") else found, dtype=float)
