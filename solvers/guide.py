r"""Guidance: a model made of two, for NumPy and torch alike.

    D = D_null + w (D_given − D_null)                         arXiv:2207.12598, eq. 6, with w = 1 + the w there

``guided(given, null, rule)`` asks both models and joins their answers by a *rule*: a number w, one for each sample, a function of the node,
or a ``Rule`` (others are in ``solvers.methods.steering.rules``). The second model may be unconditional, negative, weaker or degraded:
autoguidance (arXiv:2406.02507) and perturbed attention (arXiv:2403.17377) are this rule with another ``null``. Every prediction of
``solvers.model`` is affine in D with the same coefficients for both, so that a linear rule is the same for eps, v, score, flow and D; the
others are rules of D.

``gpu.wrap(network, …, null=…, guidance=rule)`` and ``gpu.guided`` join the two halves of one batched call by the same rules.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.state import is_finite

Scale = Any
"""w: a number, one for each sample, or a function of the node that gives either."""


class Rule:
    """How two predictions become one: ``rule(given, null, x, node)``.

    Attributes:
        linear: whether it is the same for every prediction; if not, the two must be E[x0 | x].
    """

    linear = False

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        raise NotImplementedError

    def alone(self, node: Any) -> float | None:
        """1.0 where the rule gives ``given`` and needs no ``null``, 0.0 where it gives ``null``, else None."""
        return None

    def take(self, rows: Any) -> Rule:
        """The rule for these samples of the batch."""
        return self


def scale_of(w: Any) -> Any:
    """A guidance scale as a float, or as a vector of one for each sample.

    Returns:
        float, or a vector (B,) of one scale for each sample.

    Raises:
        TypeError: neither a number nor a vector.
        ValueError: nan or inf.
    """
    vector = np.asarray(w) if isinstance(w, list | tuple) else w
    if getattr(vector, "ndim", 0) > 0:
        if vector.ndim != 1 or str(vector.dtype).replace("torch.", "").startswith(("bool", "complex")):
            raise TypeError(f"guidance has shape {tuple(vector.shape)}: give a number, or a vector of one for each sample")
        if not is_finite(vector):
            raise ValueError("guidance has nan or inf entries: every scale must be finite")
        return vector
    try:
        value = float(w)
    except (TypeError, ValueError):
        raise TypeError(f"guidance = {w!r}: give a number, or a vector of one for each sample") from None
    if not math.isfinite(value):
        raise ValueError(f"guidance = {w!r} must be finite")
    return value


def mix(given: Array, null: Array, w: Any) -> Array:
    """null + w (given − null), for a number w or one for each sample; one pass in torch.

    Returns:
        the mixed model output, of the shape of ``given``.

    Raises:
        ValueError: another number of scales than samples.
    """
    if getattr(w, "ndim", 0):
        if w.shape[0] not in (1, given.shape[0]):
            raise ValueError(f"guidance has {w.shape[0]} scales for a batch of {given.shape[0]}: give one for each sample, or a number")
        w = by_row(w, given)
    return null.lerp(given, w) if hasattr(null, "lerp") else null + w * (given - null)


@dataclass(frozen=True)
class CFG(Rule):
    """Classifier-free guidance, null + w (given − null); w by sample, and on an interval (arXiv:2404.07724) by a function of the node.

    Args:
        scale: w.
    """

    scale: Scale = 1.0
    linear = True

    def __post_init__(self) -> None:
        if not callable(self.scale):
            object.__setattr__(self, "scale", scale_of(self.scale))

    def at(self, node: Any) -> Any:
        """w at a node."""
        return scale_of(self.scale(node)) if callable(self.scale) else self.scale

    def alone(self, node: Any) -> float | None:
        w = self.at(node)
        return w if isinstance(w, float) and w in (0.0, 1.0) else None

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        return mix(given, null, self.at(node))

    def take(self, rows: Any) -> Rule:
        w = self.scale
        return replace(self, scale=w[rows]) if getattr(w, "ndim", 0) and w.shape[0] > 1 else self


def rule_of(rule: Rule | Scale) -> Rule:
    """A scale as the rule of classifier-free guidance; a rule as it is."""
    return rule if isinstance(rule, Rule) else CFG(rule)


class Guided:
    """The guided model; made by ``guided``. ``take(rows)`` is that of a part of the batch, where both models have theirs."""

    prediction = "denoised"

    def __init__(self, given: Denoiser, null: Denoiser, rule: Rule) -> None:
        self.given, self.null, self.rule = given, null, rule
        self.pointwise = all(getattr(model, "pointwise", False) for model in (given, null)) and rule.take(slice(0)) is rule
        if hasattr(given, "take") and hasattr(null, "take"):
            self.take = lambda rows: Guided(given.take(rows), null.take(rows), rule.take(rows))

    def __call__(self, x: Array, node: Any) -> Array:
        alone = self.rule.alone(node)
        if alone is not None:
            return self.given(x, node) if alone else self.null(x, node)
        return self.rule(self.given(x, node), self.null(x, node), x, node)

    def __reduce__(self) -> Any:
        return Guided, (self.given, self.null, self.rule)


def guided(given: Denoiser, null: Denoiser, rule: Rule | Scale = 1.0) -> Guided:
    """rule(D_given, D_null): the model that every solver runs with.

    Args:
        given, null: models E[x0 | x], shape (..., d).
        rule: a scale w, or a ``Rule``.

    Returns:
        the Guided model (x, node) -> E[x0 | x], shape (..., d).

    Raises:
        TypeError: a model that is not callable.
        ValueError: a model that is marked as another prediction, or a scale that is not finite.
    """
    for name, model in (("given", given), ("null", null)):
        if not callable(model):
            raise TypeError(f"{name} = {model!r} is not callable: give a function of (x, node)")
        marked = getattr(model, "prediction", "denoised")
        if marked != "denoised":
            raise ValueError(f"{name} predicts {marked!r}, not 'denoised': wrap it, solvers.model.denoiser(f, {marked!r})")
    return Guided(given, null, rule_of(rule))


def interval(scale: float, low: float, high: float) -> CFG:
    """w where low < rho ≤ high, else 1 (arXiv:2404.07724, with rho = sigma/alpha)."""
    return CFG(lambda node: scale if low < node.rho <= high else 1.0)


def by_row(values: Any, like: Array) -> Array:
    """One number for each sample, against arrays (n, ...)."""
    column = values.reshape(-1, *[1] * (like.ndim - 1))
    if hasattr(like, "new_tensor"):
        return column.to(like) if hasattr(column, "to") else like.new_tensor(column)
    return np.asarray(column, like.dtype)
