"""The targets that samplers are measured on: their exact denoisers, fast and in every library, and typical states."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scorebed.solvers import Node
from scorebed.solvers.guide import mix
from scorebed.solvers.state import alike
from scorebed.toy.problems import lines
from scorebed.toy.problems.euclidean import diagonal, line, typical
from scorebed.toy.problems.products import product2d

_LEVELS = np.linspace(0.02, 0.98, 33)


class Target:
    """A law with an exact flow. A mixture of diagonal parts, or a rotated product of mixtures on lines, has E[x0 | x] in plain float64, ten
    times as fast as the law's own and as good as round-off here; everything else is the law's."""

    def __init__(self, law: Any, quantiles: bool = False) -> None:
        self.law, self.d, self.quantiles = law, int(law.d), quantiles
        self.rotation = getattr(law, "rotation", None)
        parts = getattr(law, "factors", [law])
        self.parts = [
            (np.log(f.weights), f.means, np.asarray(f.structure.along(np.ones((1, f.d)))[0], float).reshape(-1, 1))
            for f in parts
            if f.d == 1
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def states(self, node: Node) -> np.ndarray:
        """A few fixed states that are typical of the marginal at ``node``, (7, d); or its quantiles from 2 % to 98 %, (33, 1)."""
        if self.quantiles:
            return self._quantiles(node)
        return typical(self.law, node)

    def _quantiles(self, node: Node) -> np.ndarray:
        line = self.law.line(node)
        low, high = (np.full(len(_LEVELS), float(v)) for v in (min(line.means - 9 * line.scales), max(line.means + 9 * line.scales)))
        for _ in range(60):
            middle = 0.5 * (low + high)
            below = line.cdf(middle) < _LEVELS
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray(0.5 * (low + high))[:, None]

    def denoised(self, x: Any, node: Node) -> Any:
        """E[x0 | x], shape (..., d), in the library and dtype of x."""
        if node.sigma == 0.0:
            return x / node.alpha
        if not self.parts:
            return self.law.denoised(x, node)
        y = np.asarray(x.detach().cpu() if hasattr(x, "detach") else x, float)
        with np.errstate(all="ignore"):
            y = y if self.rotation is None else y @ self.rotation
            out = np.concatenate([_line(y[..., i : i + 1], node, *part) for i, part in enumerate(self.parts)], axis=-1)
            out = out if self.rotation is None else out @ self.rotation.T
        return alike(out, x)


def _line(y: np.ndarray, node: Node, log_weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """E[x0 | x] of a mixture on a line, the textbook sum; y (..., 1)."""
    mu, tau = means[:, 0], variances[:, 0]
    c = node.alpha**2 * tau + node.sigma**2
    off = y - node.alpha * mu
    logits = log_weights - 0.5 * (off**2 / c + np.log(c))
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return (weights * (mu + (node.alpha * tau / c) * off)).sum(-1, keepdims=True) / weights.sum(-1, keepdims=True)


@cache
def modes() -> Target:
    """Three unequal modes on the line."""
    return Target(lines.modes())


@cache
def product() -> Target:
    """Six modes in the plane, with an exact flow map."""
    return Target(product2d())


@cache
def ellipsoid() -> Target:
    """One Gaussian with standard deviations 0.2, 1 and 2."""
    return Target(diagonal([0.5, -1.0, 0.3], [0.04, 1.0, 4.0]))


@cache
def two_modes() -> Target:
    """0.4 N(-1, 0.3²) + 0.6 N(0.8, 0.4²), looked at through its quantiles: what other libraries' samplers are measured on."""
    return Target(line([0.4, 0.6], [-1.0, 0.8], [0.3, 0.4]), quantiles=True)


@cache
def pair() -> Target:
    """N((0.7, -0.4), diag(0.09, 0.64)): one coordinate tighter than a normalised image, one wider."""
    return Target(diagonal([0.7, -0.4], [0.09, 0.64]))


@cache
def inner() -> Target:
    """0.4 N(-0.4, 0.08²) + 0.6 N(0.3, 0.1²): as good as all of it inside [-1, 1], where nothing that clips the denoised changes it."""
    return Target(line([0.4, 0.6], [-0.4, 0.3], [0.08, 0.1]))


class Affine:
    """E[x0 | x] of the Gaussian N(mean, diag(variance)), in the few operations that every library has.

    ``strength`` w > 1 guides: D + (w - 1)(D - D_0) with D_0 that of the same Gaussian of ``wide`` times the standard deviation and mean 0.
    """

    def __init__(self, mean: ArrayLike, variance: ArrayLike, strength: float = 1.0, wide: float = 3.0) -> None:
        self.mean, self.variance = np.asarray(mean, float), np.asarray(variance, float)
        self.strength, self.wide = strength, wide

    def __call__(self, x: Any, node: Node) -> Any:
        if node.sigma == 0.0:
            return x / node.alpha
        slope, shift = self.parts(node, self.mean, self.variance)
        if self.strength != 1.0:
            slope0, shift0 = self.parts(node, 0.0 * self.mean, self.wide**2 * self.variance)
            slope, shift = mix(slope, slope0, self.strength), mix(shift, shift0, self.strength)
        return x * alike(slope, x) + alike(shift, x)

    @staticmethod
    def parts(node: Node, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope and constant of E[x0 | x] in x, of the unguided Gaussian."""
        c = node.alpha**2 * variance + node.sigma**2
        return node.alpha * variance / c, node.sigma**2 / c * mean
