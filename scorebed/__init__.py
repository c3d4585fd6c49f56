"""scorebed: the oracle for samplers.

    import scorebed as sb

    law = sb.GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.05, 0.1])
    nodes = sb.grid.uniform_lam(sb.VP(), 20)
    x0 = sb.sample(sb.SOLVERS["dpmpp_2m"], law.denoised, law.sample(1000, rng, nodes[0]), nodes)
    print(sb.check_solver(my_sampler, order=2))

The rooms are ``scorebed.solvers`` (the methods), ``scorebed.analytic`` (closed-form truth), ``scorebed.toy`` (problems, properties, checks,
studies, the command) and ``scorebed.gpu`` (everything that needs torch). Names and rooms are loaded when they are asked for: importing this
package costs nothing, and nobody pays for torch or matplotlib who does not use them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scorebed import analytic, gpu, solvers, toy
    from scorebed.analytic import GaussianMixture, RotatedProduct, from_data
    from scorebed.solvers import EDM, GRIDS, SOLVERS, VE, VP, Cosine, Plan, RectifiedFlow, SubVP, denoiser, grid, sample, solver, trace
    from scorebed.toy.check import check_solver, solver_test, solver_tests
    from scorebed.toy.check.cache import check_cache
    from scorebed.toy.check.discrete import check_discrete
    from scorebed.toy.check.guided import check_guided
    from scorebed.toy.check.likelihood import check_likelihood
    from scorebed.toy.check.loss import check_loss
    from scorebed.toy.check.maps import check_map
    from scorebed.toy.check.plugin import property
    from scorebed.toy.check.posterior import check_posterior
    from scorebed.toy.check.rollout import check_rollout
    from scorebed.toy.check.sde import check_sde_solver
    from scorebed.toy.check.space import check_space
    from scorebed.toy.conform.grid import check_grid
    from scorebed.toy.properties import strategies
    from scorebed.toy.tuning.advise import advise
    from scorebed.toy.tuning.tune import tune
    from scorebed.toy.tuning.universal import universal

_HOME = {
    "solvers": (
        *("EDM", "GRIDS", "SOLVERS", "VE", "VP", "Cosine", "Plan", "RectifiedFlow", "SubVP"),
        *("denoiser", "grid", "sample", "solver", "trace"),
    ),
    "analytic": ("GaussianMixture", "RotatedProduct", "from_data"),
    "toy.check": ("check_solver", "solver_test", "solver_tests"),
    "toy.check.cache": ("check_cache",),
    "toy.check.guided": ("check_guided",),
    "toy.check.discrete": ("check_discrete",),
    "toy.check.likelihood": ("check_likelihood",),
    "toy.check.loss": ("check_loss",),
    "toy.check.maps": ("check_map",),
    "toy.check.plugin": ("property",),
    "toy.check.posterior": ("check_posterior",),
    "toy.check.rollout": ("check_rollout",),
    "toy.check.sde": ("check_sde_solver",),
    "toy.check.space": ("check_space",),
    "toy.conform.grid": ("check_grid",),
    "toy.tuning.advise": ("advise",),
    "toy.tuning.tune": ("tune",),
    "toy.tuning.universal": ("universal",),
}
_ROOMS = ("analytic", "gpu", "solvers", "toy")
_WHERE = {name: room for room, names in _HOME.items() for name in names}

__all__ = [
    "EDM",
    "GRIDS",
    "SOLVERS",
    "VE",
    "VP",
    "Cosine",
    "GaussianMixture",
    "Plan",
    "RectifiedFlow",
    "RotatedProduct",
    "SubVP",
    "advise",
    "analytic",
    "check_cache",
    "check_discrete",
    "check_grid",
    "check_guided",
    "check_likelihood",
    "check_loss",
    "check_map",
    "check_posterior",
    "check_rollout",
    "check_sde_solver",
    "check_solver",
    "check_space",
    "denoiser",
    "from_data",
    "gpu",
    "grid",
    "property",
    "sample",
    "solver",
    "solver_test",
    "solver_tests",
    "solvers",
    "strategies",
    "toy",
    "trace",
    "tune",
    "universal",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"scorebed.{name}")
    if name == "strategies":  # of hypothesis, for other people's tests
        return import_module("scorebed.toy.properties.strategies")
    if name in _WHERE:
        value = getattr(import_module(f"scorebed.{_WHERE[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'scorebed' has no attribute {name!r}; it offers {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
