"""A tenth more drift or a tenth less noise, in any method that there is, breaks a property that says so.

Two ways to write it: around the step of every registered method, and into the source of the stochastic methods on spaces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, Solver, sample
from scorebed.solvers.process import LINEAR
from scorebed.solvers.space import Sphere
from scorebed.toy.problems.uneven import jagged
from scorebed.toy.properties import PROPERTIES, Broken
from scorebed.toy.properties.cases import modes
from scorebed.toy.properties.sabotage import caught, wrong_drift, wrong_noise
from scorebed.toy.properties.space_laws import bound
from scorebed.toy.properties.space_mutants import with_statement

STOCHASTIC = [name for name, method in SOLVERS.items() if method.weak is not None]
ON_SPACES = [name for name in STOCHASTIC if SOLVERS[name].spaces]
METHODS = {f"{name} on {kind}": replace(method, on=(kind,)) for name, method in SOLVERS.items() for kind in method.on}
BODIES = {"drift": "gone = 1.1 * gone", "noise": "root = 0.9 * root"}
EXACT = {"constant_denoiser", "point_mass", "straight", "close", "map_path", "map_law", "draw_law", "jump_frequencies", "jump_times"}
ORDERS = {"order", "weak_order", "space_order", "space_weak_order", "jump_order"}
LINEARS = {f"{kind}_{name}" for kind in LINEAR[1:] for name in ("point_mass", "short_step", "order", "weak_order")}


def named(by: str, says: str, quantity: str) -> bool:
    """Whether the property that was broken is one about this quantity, and says so."""
    return by in EXACT | ORDERS | LINEARS or (by == "space_increments" and f"the {quantity} of a short step" in says)


@pytest.mark.parametrize("name", METHODS)
def test_more_drift_is_caught(name: str) -> None:
    by, says = caught(wrong_drift(METHODS[name]))
    assert named(by, says, "drift"), (by, says)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.weak is not None])
def test_less_noise_is_caught(name: str) -> None:
    by, says = caught(wrong_noise(METHODS[name]))
    assert named(by, says, "noise"), (by, says)
    assert by != "constant_denoiser"


@pytest.mark.parametrize("name", [name for name in SOLVERS if SOLVERS[name].nonlinear is None][::4] + ON_SPACES)
def test_a_factor_of_one_breaks_nothing(name: str) -> None:
    """The mutants are wrong by their factor, and by nothing that is around it."""
    method = SOLVERS[name]
    wrappers: list[Callable[[Solver, float], Solver]] = [wrong_drift] + ([wrong_noise] if method.weak is not None else [])
    space = Sphere(2) if method.claims(Sphere(2)) else None
    for wrong in wrappers:
        by, _ = caught(wrong(method, 0.9))
        PROPERTIES[by](wrong(method, 1.0))
        assert wrong(method, 1.0).options == method.options
        if space is not None:
            x, grid = space.uniform(5, np.random.default_rng(0)), bound(method)[0][0].nodes(3)
            same, plain = (sample(one(space=space), lambda y, n: 0.9 * y, x, grid, noise=1) for one in (wrong(method, 1.0), method))
            np.testing.assert_allclose(same, plain, atol=1e-12)


def test_the_start_of_a_multistep_method_is_sabotaged_too() -> None:
    method, grid = SOLVERS["unipc_3"], jagged(VP(), 1, 0.9, 0.5)
    x = np.array([[0.3], [-1.2]])
    one, two = (sample(m, modes().denoised, x, grid, terminal="none") for m in (method, wrong_drift(method)))
    assert np.abs(one - two).max() > 1e-2


@pytest.mark.parametrize("quantity", BODIES)
@pytest.mark.parametrize("name", ON_SPACES)
def test_what_is_written_into_a_body_is_caught(name: str, quantity: str) -> None:
    """In the increments of one step, which say what is wrong, and in the weak order of whole runs."""
    module = SOLVERS[name].step.__module__.rsplit(".", 1)[-1]
    with with_statement("reflected" if name == "penalised_euler" else module, BODIES[quantity]) as methods:
        with pytest.raises(Broken, match=f"the {quantity} of a short step"):
            PROPERTIES["space_increments"](methods[name])
        with pytest.raises(Broken, match=r"weak order .*claimed"):
            PROPERTIES["space_weak_order"](methods[name])


def test_with_nothing_written_nothing_is_caught() -> None:
    with with_statement("reflected", "root = 1.0 * root") as methods:
        for name in ("projected_euler", "penalised_euler", "thresholded_euler", "reflected_euler"):
            PROPERTIES["space_increments"](methods[name])
        PROPERTIES["space_weak_order"](methods["reflected_euler"])


def test_a_deterministic_method_has_no_noise_to_take() -> None:
    with pytest.raises(ValueError, match="heun draws no noise"):
        wrong_noise(SOLVERS["heun"])
