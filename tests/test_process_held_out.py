"""Every method on processes that no property enrols: a short step is right there, its local order as claimed, the global one for a few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scorebed.analytic.process import LinearLaw
from scorebed.solvers import VP, Cosine, RectifiedFlow, methods_on
from scorebed.solvers.methods.centred import ResidualShift
from scorebed.solvers.process.bridge import I2SB, DiffusionBridge, Interpolant, Relay, Restoration
from scorebed.solvers.process.consecutive import Consecutive
from scorebed.solvers.process.frames import Levels, Rolling
from scorebed.solvers.process.momentum_bridge import MomentumBridge
from scorebed.solvers.process.particles import Particles
from scorebed.solvers.process.recipe import Recipe, from_recipe, psld, third_order
from scorebed.toy.problems.linear import LinearProblem
from scorebed.toy.problems.uneven import jagged
from scorebed.toy.properties import linear, local

D, Q = ((0.4, 0.1), (0.1, 1.2)), ((0.0, -1.5), (1.5, 0.0))
PROCESSES: dict[str, Any] = {
    "PSLD": psld(0.2, 4.2),
    "third order": third_order(),
    "any D and Q": from_recipe(D, Q, gamma=(0.3,), t_max=1.0),
    "AGM": MomentumBridge(),
    "VP bridge": DiffusionBridge(VP()),
    "I2SB": I2SB(),
    "ResShift": Restoration(ResidualShift(1.0)),
    "relay": Relay(VP(), t_max=0.9),
    "consecutive": Consecutive(0.7, (0.9,)),
    "interpolant": Interpolant("trigonometric", 0.7),
    "levels": Levels(Cosine(), (0.6, 0.0, -0.4)),
    "particles": Particles(3, 0.8, 1.3),
    "rolling": Rolling(RectifiedFlow(1e-3, 0.99), 2, 0.2),
}
DEAR = ("exp_line_2", "exp_line_3")  # on recipes each of their weights is a quadrature of quadratures
PAIRS = [
    (name, method)
    for name, process in PROCESSES.items()
    for method in methods_on(process.kind, aliases=False)
    if not (isinstance(process, Recipe) and method in DEAR)
]


def problem(name: str) -> LinearProblem:
    """A Gaussian with a random covariance of all that a model gives."""
    process = PROCESSES[name]
    n = len(process.gives)

    def make() -> LinearLaw:
        rng = np.random.default_rng(len(name))
        root = rng.standard_normal((n, n))
        return LinearLaw(process, [1.0], rng.standard_normal((1, n)), (0.2 * root @ root.T + 0.1 * np.eye(n))[None])

    return LinearProblem(name=name, make=make, process=process, grid=jagged, start=0.8, end=0.3, closed=False)


@pytest.mark.parametrize(("name", "method"), PAIRS, ids=[f"{method} on {name}" for name, method in PAIRS])
def test_a_short_step_and_its_order(name: str, method: str) -> None:
    here, solver = problem(name), methods_on(PROCESSES[name].kind)[method]
    if name == "AGM" and method in ("sscs", "sscs_2", "oba", "bao", "roba", "baoab", "conjugate"):
        with pytest.raises(ValueError, match="splittings are for CLD, PSLD"):
            linear.consistent(solver, [here])
        return
    linear.consistent(solver, [here])
    if isinstance(here.process, Recipe) and (solver.weak is not None or linear.keeps_memory(solver, here)):
        return  # dear there, as all that takes many steps
    (local.order_of_a_step if solver.weak is None else local.weak_order_of_a_step)(solver, [here])
    local.asked_in_place(solver, [here])


@pytest.mark.parametrize("name", ["VP bridge", "interpolant", "levels"])
def test_global_orders(name: str) -> None:
    for method in ("ddim", "heun_t", "exp_adams_3"):
        linear.keeps_order(methods_on(PROCESSES[name].kind)[method], [problem(name)])


@pytest.mark.parametrize(
    ("name", "method"), [("any D and Q", "euler_maruyama"), ("AGM", "euler_maruyama"), ("I2SB", "gddim_2"), ("rolling", "ddpm")]
)
def test_global_weak_orders(name: str, method: str) -> None:
    linear.keeps_weak_order(methods_on(PROCESSES[name].kind)[method], [problem(name)])
