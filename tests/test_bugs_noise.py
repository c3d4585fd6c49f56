"""The noise of an interval does not hang on the last bits of lam; on torch the same."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.gpu.noise import Brownian
from scorebed.solvers import EDM, GRIDS, SCHEDULES, SOLVERS, VP, BrownianNoise, grid, sample
from scorebed.solvers.noise import interval_key
from scorebed.solvers.space import Polytope

LAW = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.05, 0.1])


@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_a_grid_made_again_from_its_times_has_the_same_samples(name: str) -> None:
    made = SCHEDULES[name]
    schedule = made() if isinstance(made, type) else made
    for kind in ("uniform_lam", "karras", "uniform"):
        one = GRIDS[kind](schedule, 12)
        two = grid.from_times(schedule, [node.t for node in one])
        x = LAW.sample(20, np.random.default_rng(0), one[0])
        first, second = (sample(SOLVERS["ddpm"], LAW.denoised, x, nodes, noise=1) for nodes in (one, two))
        np.testing.assert_allclose(first, second, rtol=0.0, atol=1e-6, err_msg=f"{name}, {kind}")
        assert np.abs(first - sample(SOLVERS["ddpm"], LAW.denoised, x, one, noise=2)).max() > 0.1


def test_the_last_bits_of_lam_do_not_matter_on_numpy_and_torch() -> None:
    s, t = EDM().at_lam(-1.3), EDM().at_lam(0.7)
    near_s, near_t = EDM().at_lam(math.nextafter(-1.3, 0.0)), EDM().at_lam(0.7 + 4e-16)
    noise, there = BrownianNoise(3, (4, 5)), Brownian(3, (4, 5), like=torch.zeros(4, 5, dtype=torch.float64))
    np.testing.assert_array_equal(noise(s, t), noise(near_t, near_s))
    assert torch.equal(there(s, t), there(near_s, near_t))
    np.testing.assert_allclose(there(s, t).numpy(), noise(s, t), rtol=0.0, atol=1e-14)
    runs = [
        gpu.run(SOLVERS["ddpm"], lambda x, node: 0.5 * x, torch.zeros(4, 5, dtype=torch.float64), nodes, noise=3)
        for nodes in ([s, t], [near_s, near_t])
    ]
    np.testing.assert_allclose(runs[0], runs[1], atol=1e-12)


def test_the_key_is_as_laid_down() -> None:
    assert interval_key(5, -0.5, 2.0) == (5).to_bytes(8, "little") + (-(2**29)).to_bytes(8, "little", signed=True) + (2**31).to_bytes(
        8, "little"
    )


def test_nodes_too_close_to_tell_apart_are_refused() -> None:
    s, t = VP().at_lam(0.5), VP().at_lam(0.5 + 1e-10)
    for noise in (BrownianNoise(0, (2, 2)), Brownian(0, (2, 2), like=torch.zeros(2, 2))):
        with pytest.raises(ValueError, match=r"noise reads lam to 2\^-30 and cannot tell"):
            noise(s, t)


def test_a_corrector_of_one_long_step_stays_a_corrector() -> None:
    triangle = Polytope([[1.0, 2.0], [-1.0, 0.0], [0.0, -1.0]], [1.0, 0.0, 0.0])
    x = np.array([[0.2, 0.2], [0.1, 0.3]])
    for top in (1.0, 50.0, 80.0):
        end = sample(SOLVERS["reflected_pc"](space=triangle), lambda z, node: 0.2 + 0.0 * z, x, grid.karras(EDM(), 1, top, 0.002), noise=1)
        np.testing.assert_allclose(end, 0.2, atol=0.02)


def test_a_generator_is_a_grid_once_and_a_list_of_nodes_in_all_faces() -> None:
    """A grid given as a generator is walked to its end by one check; seeds of NumPy are seeds."""
    nodes = grid.uniform_lam(VP(), 4)
    x = np.ones((2, 2))
    np.testing.assert_array_equal(
        sample(SOLVERS["ddpm"], LAW.denoised, x, (node for node in nodes), noise=np.int64(3)),
        sample(SOLVERS["ddpm"], LAW.denoised, x, nodes, noise=3),
    )
    y = torch.ones(2, 2, dtype=torch.float64)
    for name, chunk in itertools.product(("ddpm", "dormand_prince"), (None, 1)):

        def run(given: Any, seed: Any, name: str = name, chunk: int | None = chunk) -> torch.Tensor:
            return gpu.run(SOLVERS[name], lambda z, node: 0.5 * z, y, given, noise=seed, chunk=chunk)

        assert torch.equal(run((node for node in nodes), np.int64(3)), run(nodes, 3))
