"""Problems of linear processes for the studies: phase space, a bridge to a pinned end, paired ends, a sequence with levels of its own."""

from __future__ import annotations

import numpy as np

from scorebed.analytic.process import LinearLaw, PhaseLaw, PinnedBridge
from scorebed.solvers import VP
from scorebed.solvers.process.bridge import BrownianBridge, Interpolant
from scorebed.solvers.process.frames import Levels
from scorebed.solvers.process.langevin import CLD
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.lines import modes

_CLD, _BRIDGE, _PAIRED = CLD(beta=6.0, mass=0.5), BrownianBridge(kappa=1.0), Interpolant("linear", 0.3)
_LEVELS = Levels(VP(), (0.9, 0.3, -0.3, -0.9))
_ANY = ("ddim", "heun_t", "rk4_t", "exp_adams_2", "exp_adams_3", "exp_pc_2", "ddpm", "gddim_2", "euler_maruyama")


def phase() -> PhaseLaw:
    """Three modes on the line, velocities from a narrow Gaussian."""
    return PhaseLaw(modes(), _CLD)


def bridge() -> PinnedBridge:
    """Three modes on the line, bridged to a point between two of them."""
    return PinnedBridge(modes(), [0.8], _BRIDGE)


def paired() -> LinearLaw:
    """(x0, x1) in three clusters: where the pair starts says in part where it ends."""
    means = [[-1.5, -1.0], [0.3, 1.4], [1.6, -0.6]]
    covariances = [[[0.09, 0.05], [0.05, 0.2]], [[0.2, -0.1], [-0.1, 0.15]], [[0.12, 0.0], [0.0, 0.3]]]
    return LinearLaw(_PAIRED, [0.35, 0.4, 0.25], means, covariances)


def sequence() -> LinearLaw:
    """Four frames of an AR(1) walk that drifts up or down."""
    lag = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    way = np.linspace(0.0, 1.8, 4)
    return LinearLaw(_LEVELS, [0.5, 0.5], [0.4 + way, 0.1 - way], [0.15 * 0.8**lag] * 2)


PROBLEMS = (
    LinearProblem(
        name="phase",
        description="3 modes on the line and their velocities, critically damped",
        make=phase,
        process=_CLD,
        end=0.01,
        closed=False,
        samples=40,
        finest=1280,
        solvers=(*_ANY, "rvv", "sscs", "sscs_2", "roba"),
    ),
    LinearProblem(
        name="bridge",
        description="3 modes on the line, bridged to one point",
        make=bridge,
        process=_BRIDGE,
        grid="uniform",
        start=0.95,
        end=0.02,
        finest=1280,
        solvers=(*_ANY, "dbim_2", "dbim_3", "dbmsolver_2", "ddbm_hybrid"),
    ),
    LinearProblem(
        name="paired",
        description="both ends from a joint mixture, an interpolant between them",
        make=paired,
        process=_PAIRED,
        grid="uniform",
        start=0.95,
        end=0.02,
        closed=False,
        samples=40,
        finest=1280,
        solvers=(*_ANY, "interpolant_sde", "ddbm_hybrid"),
    ),
    LinearProblem(
        name="sequence",
        description="4 frames of a walk, each with a level of noise of its own",
        make=sequence,
        process=_LEVELS,
        start=0.9,
        end=0.01,
        closed=False,
        samples=40,
        finest=1280,
        solvers=_ANY,
    ),
)
