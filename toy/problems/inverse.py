r"""Inverse problems with their exact answers: a prior, an operator, a schedule, an observation drawn from the joint law, and p(x0 | y).

``INVERSE["mine"] = InverseProblem("mine", …)`` adds one. The posterior is ``law.given`` where A is linear, a grid of the plane where not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel, Regression
from scorebed.solvers import VP, Node, Schedule, grid
from scorebed.solvers.inverse import Conditioned, Linear
from scorebed.toy.problems import operators as see
from scorebed.toy.problems.digits import digits
from scorebed.toy.problems.grid_posterior import GridPosterior, grid_posterior
from scorebed.toy.problems.registry import PROBLEMS

_VP = VP()


@dataclass(frozen=True)
class InverseProblem:
    """A prior and an observation of it.

    Attributes:
        make: makes the prior, a ``GaussianMixture``.
        look: makes the operator.
        seed: of the pair (x0, y) that is drawn from the joint law, unless ``given_y`` says what was seen.
        end: time of the last node, where what is left of the noise is far below the least spread of the posterior.
        bandwidth: of the kernel of MMD between posterior samples.
    """

    name: str
    description: str
    make: Callable[[], Any]
    look: Callable[[], Any]
    seed: int = 0
    given_y: tuple[float, ...] | None = None
    schedule: Schedule = _VP
    end: float = 1e-3
    bandwidth: float = 0.5

    @cached_property
    def law(self) -> GaussianMixture:
        made = self.make()
        return made.mixture() if hasattr(made, "mixture") else made

    @cached_property
    def operator(self) -> Any:
        return self.look()

    @property
    def linear(self) -> bool:
        return isinstance(self.operator, Linear)

    @property
    def d(self) -> int:
        return self.law.d

    @cached_property
    def model(self) -> ExactModel:
        return ExactModel(self.law)

    def joint(self, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """n pairs (x0, y) of the joint law."""
        rng = np.random.default_rng(seed)
        x0 = self.law.sample(n, rng)
        return x0, self.operator(x0) + self.operator.variance**0.5 * rng.standard_normal((n, self.operator.m))

    @cached_property
    def y(self) -> np.ndarray:
        """The observation, (m,)."""
        return self.joint(1, self.seed)[1][0] if self.given_y is None else np.array(self.given_y)

    @cached_property
    def conditioned(self) -> Conditioned:
        return Conditioned(self.model, self.operator, self.y)

    @cached_property
    def grid_posterior(self) -> GridPosterior:
        """p(x0 | y) on a grid of the plane."""
        reach = float(np.abs(self.law.means).max() + 6.0 * np.sqrt(np.linalg.eigvalsh(self.law.covariance())[-1]))
        r2 = self.operator.variance
        return grid_posterior(self.law.log_prob, lambda x: -0.5 / r2 * np.square(self.y - self.operator(x)).sum(1), -reach, reach, 601)

    @cached_property
    def posterior(self) -> GaussianMixture:
        """p(x0 | y) as a mixture."""
        if self.linear:
            return self.law.given(self.operator.matrix, self.y, self.operator.variance)
        return self.grid_posterior.law()

    @cached_property
    def regression(self) -> Regression:
        """E[x0 | y] and draws of x0 | y for any y."""
        return Regression(self.law, self.operator.matrix, self.operator.variance)

    def nodes(self, n: int) -> list[Node]:
        """n steps, uniform in lam."""
        return grid.uniform_lam(self.schedule, n, end=self.end)

    def start(self, n: int, seed: int = 0) -> np.ndarray:
        """n states at the first node, N(0, sigma²), as a sampler draws them."""
        return self.nodes(1)[0].sigma * np.random.default_rng([seed, 1]).standard_normal((n, self.d))


def _gaussian2d() -> GaussianMixture:
    return GaussianMixture([1.0], [[0.3, -0.2]], [[[1.0, 0.6], [0.6, 0.8]]])


def _mixture2d() -> GaussianMixture:
    return GaussianMixture([0.35, 0.4, 0.25], [[-1.1, 0.9], [1.0, 0.1], [-0.2, -1.2]], [0.08, 0.12, 0.05])


def _line() -> GaussianMixture:
    return GaussianMixture([0.3, 0.7], [-1.0, 1.2], [0.06, 0.15])


def _plane() -> GaussianMixture:
    return GaussianMixture([0.5, 0.5], [[-0.8, 1.0], [0.9, 1.2]], [[0.15, 0.05], [0.1, 0.08]])


def _isotropic() -> GaussianMixture:
    return GaussianMixture([1.0], [[0.0, 0.0, 0.0]], 1.0)


def _product8d() -> Any:
    return PROBLEMS["product8d"].target


_IMAGE: dict[str, Any] = {"end": 3e-3, "bandwidth": 2.0}
_LOWER = tuple(range(32, 64))

INVERSE: dict[str, InverseProblem] = {
    p.name: p
    for p in (
        InverseProblem("gaussian2d", "one Gaussian, an oblique line seen", _gaussian2d, lambda: Linear([[1.0, 0.4]], 0.05), 0, (1.2,)),
        InverseProblem("isotropic", "N(0, I) in 3-D, two rows", _isotropic, lambda: see.random_rows(3, 2, 0.1, 3), 0, (0.8, -0.5)),
        InverseProblem("line", "two modes on the line", _line, lambda: Linear([[0.8]], 0.3), 0, (0.1,)),
        InverseProblem("mixture2d", "three modes, an oblique line seen", _mixture2d, lambda: Linear([[1.0, 0.4]], 0.05), 0, (-0.4,)),
        InverseProblem("product8d", "256 modes in 8-D, three random rows", _product8d, lambda: see.random_rows(8, 3, 0.05, 1), 2),
        InverseProblem("digits_mask", "digits, the upper half hidden", digits, lambda: see.mask(64, _LOWER, 0.2), 3, **_IMAGE),
        InverseProblem("digits_pooling", "digits from 2 × 2 means", digits, lambda: see.pooling(8, 2, 0.02), 4, **_IMAGE),
        InverseProblem("digits_blur", "blurred digits", digits, lambda: see.blur(8, 1.0, 0.02), 5, **_IMAGE),
        InverseProblem("digits_radon", "digits by four angles", digits, lambda: see.radon(8, (0.0, 0.8, 1.6, 2.4), 0.05), 6, **_IMAGE),
        InverseProblem("gain2d", "a signal times an unknown gain", _plane, lambda: see.UnknownGain(0.02), 0, (0.6,)),
        InverseProblem("phase2d", "the square of a projection", _mixture2d, lambda: see.PhaseRetrieval([[1.0, 0.3]], 0.1), 0, (0.9,)),
    )
}
"""The inverse problems by name."""
