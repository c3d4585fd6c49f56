r"""Guides of models on tokens: each makes clean conditionals of clean conditionals, (B, L, S) and normalised for each token.

    D-CFG   p ∝ p(· | x, y)^γ p(· | x)^{1−γ}                              two models                      (arXiv:2412.10193, sec. 3.1)
    D-CBG   p ∝ p(· | x) p(y | x with this value)^γ                       a model and a classifier        (arXiv:2412.10193, sec. 3.2)

With γ = 1 the first is the conditional, and so is the second for one token at a time. With another γ, many tokens do not follow
π(x) p(y | x)^γ: what is normalised token by token is not the tilted law, whose conditionals average over the tokens still masked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scorebed.solvers.state import Array

Model = Callable[[Array, Any], Array]


def token_guidance(conditional: Model, unconditional: Model, scale: float) -> Model:
    """D-CFG of two models of clean conditionals; what has probability 0 for the conditional one stays impossible."""

    def guided(x: Array, node: Any) -> Array:
        p, q = conditional(x, node), unconditional(x, node)
        weight = (p > 0) * (p + (p <= 0)) ** scale * (q + (q <= 0)) ** (1.0 - scale)
        return weight / weight.sum(-1)[..., None]

    return guided


def token_classifier(model: Model, classifier: Model, scale: float) -> Model:
    """D-CBG: ``classifier(x, node)`` gives p(y | x with token i set to k), (B, L, S), for every token and value."""

    def guided(x: Array, node: Any) -> Array:
        weight = model(x, node) * classifier(x, node) ** scale
        return weight / weight.sum(-1)[..., None]

    return guided
