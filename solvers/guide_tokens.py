r"""Guides of models on tokens: each makes clean conditionals of clean conditionals, (B, L, S) and normalised for each token.

    D-CFG     p ∝ p(· | x, y)^γ p(· | x)^{1−γ}                           two models: ``guided(given, null, TokenCFG(γ))``
    D-CBG     p ∝ p(· | x) p(y | x with this value)^γ                    and a classifier: ``guided(model, classifier, TokenCBG(γ))``
    planned   p = P(noise | x) p(· | x, noise) + P(data | x) δ_x         a planner and a denoiser of noisy tokens

(Schiff et al., arXiv:2412.10193, sec. 3.1 and 3.2; Liu et al., arXiv:2410.06264, prop. 3.1.) The first two are rules of the one guide
(``solvers.guide``), so γ may be one for each sample or a function of the node. With γ = 1 the first is the conditional, and so is the
second for one token at a time. With another γ, many tokens do not follow π(x) p(y | x)^γ: what is normalised token by token is not the
tilted law, whose conditionals average over the tokens still masked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.solvers.draws import onehot
from scorebed.solvers.guide import CFG, Guided, Scale, by_row, guided
from scorebed.solvers.state import Array

Model = Callable[[Array, Any], Array]


def _power(p: Array, w: Any) -> Array:
    """p^w, with w one for each sample or a number; 0 where p = 0, whatever w."""
    w = by_row(w, p) if getattr(w, "ndim", 0) else w
    return (p > 0) * (p + (p <= 0)) ** w


def _normal(weight: Array) -> Array:
    return weight / weight.sum(-1)[..., None]


@dataclass(frozen=True)
class TokenCFG(CFG):
    """given^γ null^{1−γ}, normalised for each token; what is impossible for ``given`` stays so."""

    linear = False

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        w = self.at(node)
        return _normal(_power(given, w) * (_power(null, 1.0 - w) + (null <= 0)))


@dataclass(frozen=True)
class TokenCBG(CFG):
    """given null^γ, normalised for each token: ``null`` is p(y | x with token i set to k), (B, L, S), for every token and value."""

    linear = False

    def alone(self, node: Any) -> float | None:
        return 1.0 if isinstance(w := self.at(node), float) and w == 0.0 else None

    def __call__(self, given: Array, null: Array, x: Array, node: Any) -> Array:
        return _normal(given * _power(null, self.at(node)))


def token_guidance(conditional: Model, unconditional: Model, scale: Scale) -> Guided:
    """D-CFG of two models of clean conditionals: ``guided`` by ``TokenCFG``."""
    return guided(conditional, unconditional, TokenCFG(scale))


def token_classifier(model: Model, classifier: Model, scale: Scale) -> Guided:
    """D-CBG of a model and ``classifier(x, node)``, p(y | x with token i set to k): ``guided`` by ``TokenCBG``."""
    return guided(model, classifier, TokenCBG(scale))


def planned(planner: Model, denoiser: Model) -> Model:
    """The model that a planner, P(token i is noise | x) of shape (B, L), and a denoiser, p(x0^i = k | x, token i is noise), make."""

    def joined(x: Array, node: Any) -> Array:
        noisy = planner(x, node)[..., None]
        p = denoiser(x, node)
        return noisy * p + (1.0 - noisy) * onehot(x, node.process.alphabet, p)[..., : node.process.size]

    return joined


def leave_one_out(model: Model) -> Callable[[Array, Array, Any], Array]:
    """A planner of ``p2``: p(x0^i = k | z without token i) of a model on masks, by a call for each token."""

    def planner(z: Array, x: Array, node: Any) -> Array:
        out = []
        for i in range(int(z.shape[-1])):
            alone = np.eye(int(z.shape[-1]), dtype=np.int64)[i]
            alone = z.new_tensor(alone) if hasattr(z, "new_tensor") else alone
            out.append(model(z + alone * (node.process.mask - z), node)[:, i])
        return _stack(out)

    return planner


def _stack(rows: list[Array]) -> Array:
    if not hasattr(rows[0], "new_tensor"):
        return np.stack(rows, 1)
    out = rows[0].new_empty((len(rows[0]), len(rows), rows[0].shape[-1]))
    for i, row in enumerate(rows):
        out[:, i] = row
    return out
