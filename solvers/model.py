r"""Parameterisations of one and the same regression, and the wrapper that turns any of them into a ``Denoiser``.

With x = alpha x0 + sigma eps and D = E[x0 | x], every prediction is linear in (x, D):

    eps    = (x - alpha D) / sigma                 E[eps | x]
    score  = -eps / sigma = (alpha D - x)/sigma²   grad log p_t(x), Tweedie's formula
    v      = alpha eps - sigma D                   arXiv:2202.00512, appendix D
    flow   = eps - D                               the velocity of the rectified flow, arXiv:2209.03003

and the way back is D = a x + b prediction with the two numbers of ``to_denoised``. They hold for every alpha and sigma, not only where
alpha² + sigma² = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from scorebed.solvers.schedule import Node
from scorebed.solvers.state import Array, State

Denoiser = Callable[[State, Any], State]
"""E[x0 | x_t] as a function of (x, node); on another process what its models give, from its states."""

F = TypeVar("F", bound=Callable[..., Any])

PREDICTIONS = ("denoised", "eps", "score", "v", "flow")
MAPS = ("endpoint", "map", "average", "velocity", "draw")
"""Models of few-step methods, which are no predictions: ``endpoint``, f(x, s), where the flow takes x from s without noise; ``map``,
f(x, s, t), where it takes it at t; ``average``, u(x, s, t) = (f − x)/(t − s), its average velocity; ``velocity``, v(x, s), dx/dt of paths
between coupled ends, whose laws on the way are not those of the process; ``draw``, g(x, s, ξ), a draw of p(x0 | x_s = x) made of normals ξ
of x's shape. None is a posterior mean, nor can be turned into one."""


def _known(prediction: str) -> None:
    if prediction in MAPS:
        raise ValueError(
            f"{prediction!r} is a few-step map, where the flow goes, and no posterior mean: give it to a method that takes one"
        )
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction = {prediction!r} is not known: give one of {', '.join(PREDICTIONS)}")


def _finite(prediction: str, node: Node, *coefficients: float) -> tuple[float, ...]:
    if not all(map(math.isfinite, coefficients)):
        raise ValueError(f"{prediction!r} and 'denoised' do not determine each other at alpha = {node.alpha}, sigma = {node.sigma}")
    return coefficients


def _over(a: float, b: float) -> float:
    return a / b if b else math.inf


def to_denoised(value: Array, x: Array, node: Node, prediction: str) -> Array:
    """The denoised mean that a ``prediction`` called ``value`` at (x, node) stands for.

    Returns:
        E[x0 | x_t], of the shape of x.

    Raises:
        ValueError: unknown prediction, or one that does not determine the mean at this node (eps where alpha = 0).
    """
    _known(prediction)
    alpha, sigma = node.alpha, node.sigma
    if prediction == "denoised":
        return value
    if prediction == "eps":
        a, b = _over(1.0, alpha), -_over(sigma, alpha)
    elif prediction == "score":
        a, b = _over(1.0, alpha), _over(sigma * sigma, alpha)
    elif prediction == "v":
        norm = alpha * alpha + sigma * sigma
        a, b = _over(alpha, norm), -_over(sigma, norm)
    else:
        a, b = _over(1.0, alpha + sigma), -_over(sigma, alpha + sigma)
    a, b = _finite(prediction, node, a, b)
    return a * x + b * value


def from_denoised(denoised: Array, x: Array, node: Node, prediction: str) -> Array:
    """The ``prediction`` at (x, node) that belongs to this denoised mean; the inverse of ``to_denoised``.

    Returns:
        the prediction at (x, node), of the shape of x.

    Raises:
        ValueError: unknown prediction, or one that is not defined at this node (eps or score where sigma = 0).
    """
    _known(prediction)
    alpha, sigma = node.alpha, node.sigma
    if prediction == "denoised":
        return denoised
    if prediction == "eps":
        a, b = _over(1.0, sigma), -_over(alpha, sigma)
    elif prediction == "score":
        a, b = -_over(1.0, sigma * sigma), _over(alpha, sigma * sigma)
    elif prediction == "v":
        a, b = _over(alpha, sigma), -_over(alpha * alpha + sigma * sigma, sigma)
    else:
        a, b = _over(1.0, sigma), -_over(alpha + sigma, sigma)
    a, b = _finite(prediction, node, a, b)
    return a * x + b * denoised


def convert(value: Array, x: Array, node: Node, source: str, target: str) -> Array:
    """``value``, a ``source`` prediction at (x, node), as a ``target`` prediction."""
    _known(source)
    _known(target)
    return value if source == target else from_denoised(to_denoised(value, x, node, source), x, node, target)


def predicts(prediction: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Mark a function with what it predicts, so that handing it over as something else is an error instead of garbage."""
    if prediction not in MAPS:
        _known(prediction)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.prediction = prediction  # type: ignore[attr-defined]
        return function

    return mark


def pointwise(function: F) -> F:
    """Mark a denoiser that treats every sample by itself and all alike, so that methods with steps of each sample's own may call it on a
    part of the batch instead of the whole (``solvers.rows``).

    Returns:
        ``function`` itself, marked as pointwise.
    """
    function.pointwise = True  # type: ignore[attr-defined]
    return function


def denoiser(function: Callable[[Array, Node], Array], prediction: str = "denoised") -> Denoiser:
    """Wrap ``function(x, node)``, which predicts ``prediction``, into a ``Denoiser``.

    Returns:
        the Denoiser of ``function``.

    Raises:
        TypeError: ``function`` is not callable.
        ValueError: unknown prediction, or ``function`` is marked (``predicts``) as another one.
    """
    _known(prediction)
    if not callable(function):
        raise TypeError(f"function = {function!r} is not callable: give a function of (x, node)")
    marked = getattr(function, "prediction", prediction)
    if marked != prediction:
        raise ValueError(f"prediction = {prediction!r}, but {function!r} predicts {marked!r}")

    return Converted(function, prediction)


class Converted:
    """The ``Denoiser`` of a function of (x, node) that predicts something else; ``take(rows)`` where the function has it."""

    def __init__(self, function: Callable[[Array, Node], Array], source: str) -> None:
        self.function, self.source, self.prediction = function, source, "denoised"
        self.pointwise = getattr(function, "pointwise", False)
        if hasattr(function, "take"):
            self.take = self._take

    def __call__(self, x: Array, node: Node) -> Array:
        return to_denoised(self.function(x, node), x, node, self.source)

    def _take(self, rows: Any) -> Converted:
        return Converted(self.function.take(rows), self.source)  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return Converted, (self.function, self.source)
