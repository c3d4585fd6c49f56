"""Properties of convergence, for every registered solver."""

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, BrownianNoise, Solver, sample
from scorebed.toy.measure.convergence import order_of, rms
from scorebed.toy.properties import PROPERTIES
from scorebed.toy.properties.cases import jagged, modes


def test_order(solver: Solver) -> None:
    PROPERTIES["order"](solver)


def test_order_towards_noise(solver: Solver) -> None:
    PROPERTIES["order_towards_noise"](solver)


def test_weak_order(solver: Solver) -> None:
    PROPERTIES["weak_order"](solver)


def test_weak_order_on_a_mixture(solver: Solver) -> None:
    PROPERTIES["weak_order_on_a_mixture"](solver)


def test_local_order(solver: Solver) -> None:
    PROPERTIES["local_order"](solver)


def test_local_weak_order(solver: Solver) -> None:
    PROPERTIES["local_weak_order"](solver)


def test_in_place(solver: Solver) -> None:
    PROPERTIES["in_place"](solver)


def test_strong_order(solver: Solver) -> None:
    PROPERTIES["strong_order"](solver)


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m_sde"])
def test_strong_order_on_a_mixture(name: str) -> None:
    """Path by path under refinement-consistent noise, against a grid eight times finer; the law has Gaussians, where no path is drawn."""
    target, grids = modes(), [jagged(VP(), n, 0.9, 0.1) for n in (16, 32, 64, 512)]
    noise = BrownianNoise(7, (256, 1), refine=True)
    x = target.sample(256, np.random.default_rng(7), grids[0][0])
    *ends, truth = [sample(SOLVERS[name], target.denoised, x, grid, noise=noise, terminal="none") for grid in grids]
    strong = SOLVERS[name].strong
    assert strong is not None
    found = order_of((16, 32, 64), [rms(end - truth) for end in ends])
    assert found.inside(strong), found
