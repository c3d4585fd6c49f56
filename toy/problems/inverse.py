r"""Inverse problems with their exact answers: a prior, an operator, a schedule, an observation drawn from the joint law, and p(x0 | y).

``INVERSE["mine"] = InverseProblem(name="mine", …)`` adds one. The posterior is ``law.given`` where A is linear, else a grid of the plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel, Regression
from scorebed.solvers import VP, Solver
from scorebed.solvers.inverse import Conditioned, Linear
from scorebed.toy.problems import operators as see
from scorebed.toy.problems.digits import digits
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.grid_posterior import GridPosterior, grid_posterior
from scorebed.toy.problems.products import product8d


@dataclass(frozen=True, kw_only=True)
class InverseProblem(EuclideanProblem):
    """A prior and an observation of it: the target is p(x0 | y), and what a sampler is given is the model of the prior.

    Attributes:
        make: makes the prior, a ``GaussianMixture``.
        look: makes the operator.
        seed: of the pair (x0, y) that is drawn from the joint law, unless ``given_y`` says what was seen.
        end: time of the last node, where what is left of the noise is far below the least spread of the posterior.
        bandwidth: of the kernel of MMD between posterior samples.
    """

    process: Any = VP()  # noqa: RUF009
    closed: bool = False
    end: float | None = 1e-3
    look: Callable[[], Any]
    seed: int = 0
    given_y: tuple[float, ...] | None = None
    bandwidth: float = 0.5

    @cached_property
    def law(self) -> GaussianMixture:
        """The prior."""
        made = self.make()
        return made.mixture() if hasattr(made, "mixture") else made

    @cached_property
    def operator(self) -> Any:
        return self.look()

    @property
    def linear(self) -> bool:
        """Whether y is linear in x0."""
        return isinstance(self.operator, Linear)

    @property
    def d(self) -> int:
        return self.law.d

    @cached_property
    def model(self) -> ExactModel:
        """E[x0 | x] of the prior, with its vector-Jacobian product."""
        return ExactModel(self.law)

    @cached_property
    def variances(self) -> tuple[float, ...]:
        """The spectrum of the prior's covariance."""
        return tuple(float(v) for v in np.linalg.eigvalsh(np.atleast_2d(self.law.covariance())))

    def bind(self, solver: Solver) -> Solver:
        """No solver belongs here by itself.

        Raises:
            ValueError: always; a solver that is handed the prior's model samples the prior.
        """
        super().bind(solver)
        raise ValueError(
            f"{solver.name} samples the prior of {self.name}: give a posterior method, e.g. METHODS['exact'](solver={solver.name!r})"
        )

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
    def target(self) -> GaussianMixture:
        """p(x0 | y) as a mixture."""
        if self.linear:
            return self.law.given(self.operator.matrix, self.y, self.operator.variance)
        return self.grid_posterior.law()

    @property
    def posterior(self) -> GaussianMixture:
        """The target."""
        return self.target

    @cached_property
    def regression(self) -> Regression:
        """E[x0 | y] and draws of x0 | y for any y."""
        return Regression(self.law, self.operator.matrix, self.operator.variance)

    def start_states(self, n: int, seed: int = 0) -> np.ndarray:
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


_IMAGE: dict[str, Any] = {"end": 3e-3, "bandwidth": 2.0}
_LOWER = tuple(range(32, 64))

INVERSE: dict[str, InverseProblem] = {
    p.name: p
    for p in (
        InverseProblem(
            name="gaussian2d",
            description="one Gaussian, an oblique line seen",
            make=_gaussian2d,
            look=lambda: Linear([[1.0, 0.4]], 0.05),
            given_y=(1.2,),
        ),
        InverseProblem(
            name="isotropic",
            description="N(0, I) in 3-D, two rows",
            make=_isotropic,
            look=lambda: see.random_rows(3, 2, 0.1, 3),
            given_y=(0.8, -0.5),
        ),
        InverseProblem(
            name="line",
            description="two modes on the line",
            make=_line,
            look=lambda: Linear([[0.8]], 0.3),
            given_y=(0.1,),
        ),
        InverseProblem(
            name="mixture2d",
            description="three modes, an oblique line seen",
            make=_mixture2d,
            look=lambda: Linear([[1.0, 0.4]], 0.05),
            given_y=(-0.4,),
        ),
        InverseProblem(
            name="product8d",
            description="256 modes in 8-D, three random rows",
            make=product8d,
            look=lambda: see.random_rows(8, 3, 0.05, 1),
            seed=2,
        ),
        InverseProblem(
            name="digits_mask",
            description="digits, the upper half hidden",
            make=digits,
            look=lambda: see.mask(64, _LOWER, 0.2),
            seed=3,
            **_IMAGE,
        ),
        InverseProblem(
            name="digits_pooling",
            description="digits from 2 × 2 means",
            make=digits,
            look=lambda: see.pooling(8, 2, 0.02),
            seed=4,
            **_IMAGE,
        ),
        InverseProblem(
            name="digits_blur",
            description="blurred digits",
            make=digits,
            look=lambda: see.blur(8, 1.0, 0.02),
            seed=5,
            **_IMAGE,
        ),
        InverseProblem(
            name="digits_radon",
            description="digits by four angles",
            make=digits,
            look=lambda: see.radon(8, (0.0, 0.8, 1.6, 2.4), 0.05),
            seed=6,
            **_IMAGE,
        ),
        InverseProblem(
            name="gain2d",
            description="a signal times an unknown gain",
            make=_plane,
            look=lambda: see.UnknownGain(0.02),
            given_y=(0.6,),
        ),
        InverseProblem(
            name="phase2d",
            description="the square of a projection",
            make=_mixture2d,
            look=lambda: see.PhaseRetrieval([[1.0, 0.3]], 0.1),
            given_y=(0.9,),
        ),
    )
}
"""The inverse problems by name."""
