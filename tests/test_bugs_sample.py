"""What `sample` offers besides a run: callbacks that replace the state or end the run, a seed and a grid for each sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, BrownianNoise, NonFinite, StepDone, StopSampling, grid, sample, trace
from scorebed.solvers.space import Sphere

LAW = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], [0.05, 0.1])
GRID = grid.uniform_lam(VP(), 6)
X = np.random.default_rng(0).standard_normal((5, 2))
SAME = ("ddim", "heun", "dpmpp_3m", "unipc_3", "pec", "trig_abm_4", "ddpm", "dpmpp_3m_sde", "sa_solver", "edict")


# callbacks


@pytest.mark.parametrize("name", SAME)
def test_a_returned_state_is_where_the_method_goes_on_from(name: str) -> None:
    """As a new run from there with the same noise: nothing that the method remembers of the old state is left."""
    other = np.random.default_rng(1).standard_normal(X.shape)

    def swap(done: StepDone) -> Any:
        return other if done.index == 2 else None

    found = sample(SOLVERS[name], LAW.denoised, X, GRID, noise=3, callback=swap, record=True)
    np.testing.assert_array_equal(found.xs[3], other)
    np.testing.assert_array_equal(found.x, sample(SOLVERS[name], LAW.denoised, other, GRID[3:], noise=3))
    other[:] = 0.0  # the caller's array is the caller's
    assert np.abs(found.xs[3]).max() > 0.0


@pytest.mark.parametrize("terminal", ["denoise", "none"])
def test_a_callback_may_end_the_run(terminal: str) -> None:
    def stop(done: StepDone) -> None:
        if done.index == 3:
            raise StopSampling

    run = sample(SOLVERS["dpmpp_2m"], LAW.denoised, X, GRID, terminal=terminal, callback=stop, record=True)
    whole = sample(SOLVERS["dpmpp_2m"], LAW.denoised, X, GRID, record=True)
    assert run.stopped
    assert not whole.stopped
    assert run.nodes == GRID[:5]
    np.testing.assert_array_equal(run.x, whole.xs[4])
    np.testing.assert_array_equal(sample(SOLVERS["dpmpp_2m"], LAW.denoised, X, GRID, terminal=terminal, callback=stop), run.x)


def test_a_bad_state_from_a_callback_is_named() -> None:
    for bad, error, words in (
        (X[:2], ValueError, r"the state that the callback returned after step 0 has shape \(2, 2\)"),
        (np.nan * X, NonFinite, "the state that the callback returned after step 0 has nan"),
        (3, TypeError, "the state that the callback returned after step 0 is a int"),
        (X.astype(np.float32), TypeError, "returned after step 0 has dtype float32"),
    ):
        with pytest.raises(error, match=words):
            sample(SOLVERS["ddim"], LAW.denoised, X, GRID, callback=lambda done, bad=bad: bad)
    off = np.array([[1.0, 1.0, 0.0]])
    there = off / 2**0.5
    with pytest.raises(ValueError, match="returned after step 0 is not in Sphere"):
        sample(SOLVERS["cf_4"](space=Sphere(2)), lambda x, node: x, there, grid.karras(EDM(0.01, 1.0), 3), callback=lambda done: off)


# seeds of each sample


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_3m_sde", "sa_solver", "langevin_gibbs"])
def test_a_sample_with_a_seed_of_its_own_is_what_it_is_alone(name: str) -> None:
    seeds = [7, 1, 7, 2**63, 0]
    together = sample(SOLVERS[name], LAW.denoised, X, GRID, noise=seeds)
    for i, seed in enumerate(seeds):
        alone = sample(SOLVERS[name], LAW.denoised, X[i : i + 1], GRID, noise=seed)
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=0.0, atol=1e-13)
    np.testing.assert_array_equal(sample(SOLVERS[name], LAW.denoised, X, GRID, noise=np.array([7, 1, 7, 9, 0])[:5])[:3], together[:3])
    np.testing.assert_allclose(trace(SOLVERS[name], GRID, "denoise").run(LAW.denoised, X, seeds), together, rtol=0.0, atol=1e-12)


def test_seeds_are_told_and_bad_ones_refused() -> None:
    run = sample(SOLVERS["ddpm"], LAW.denoised, X, GRID, noise=[1, 2, 3, 4, 5], record=True)
    assert run.seed == (1, 2, 3, 4, 5)
    y = torch.tensor(X)
    assert torch.equal(
        sample(SOLVERS["ddpm"], lambda x, node: 0.5 * x, y, GRID, noise=[1, 2, 3, 4, 5])[1:2],
        sample(SOLVERS["ddpm"], lambda x, node: 0.5 * x, y[1:2], GRID, noise=2),
    )
    for bad, error, words in (
        ([1, 2], ValueError, "2 seeds for 5 samples: give one for each"),
        ([1, 2, 3, 4, 5.0], TypeError, "seed = 5.0 is not an integer"),
        ([1, 2, 3, 4, -5], ValueError, "seed = -5"),
        ([True, 2, 3, 4, 5], TypeError, "seed = True is not an integer"),
    ):
        with pytest.raises(error, match=words):
            sample(SOLVERS["ddpm"], LAW.denoised, X, GRID, noise=bad)


# grids of each sample


@pytest.mark.parametrize("name", [*SAME, "dormand_prince", "scipy_rk45"])
def test_a_sample_with_a_grid_of_its_own_is_what_it_is_alone(name: str) -> None:
    grids = [grid.uniform_lam(VP(), 4, start) for start in (0.9, 0.5, 0.9, 0.3, 0.5)]
    labels = np.array([0.0, 1.0, 2.0, 3.0, 4.0])[:, None]

    def labelled(x: Any, node: Any) -> Any:
        return 0.5 * np.tanh(x) + 0.1 * labels[: len(x)]

    together = sample(SOLVERS[name], labelled, X, grids, noise=3)
    for i, own in enumerate(grids):
        noise = BrownianNoise(3, (1, 2), [i])
        alone = sample(SOLVERS[name], lambda x, node, i=i: 0.5 * np.tanh(x) + 0.1 * labels[i], X[i : i + 1], own, noise=noise)
        np.testing.assert_allclose(together[i : i + 1], alone, rtol=0.0, atol=1e-12)


def test_grids_that_cannot_be_are_refused() -> None:
    for change, words in (
        ({"grid": [GRID] * 3}, "grid holds 3 grids for a batch of 5"),
        ({"grid": [GRID] * 5, "record": True}, "without record, callback and progress"),
        ({"grid": [GRID] * 5, "noise": lambda s, t: X}, "another noise cannot be asked for a part"),
        ({"grid": [GRID] * 4 + [GRID[:1]]}, r"grid has 1 node\(s\)"),
    ):
        with pytest.raises(ValueError, match=words):
            sample(SOLVERS["ddpm"], LAW.denoised, X, **{"noise": 0, **change})


def test_equal_grids_are_one_run() -> None:
    calls = 0

    def counted(x: Any, node: Any) -> Any:
        nonlocal calls
        calls += 1
        return LAW.denoised(x, node)

    found = sample(SOLVERS["heun"], counted, X, [list(GRID)] * 5)
    assert calls == trace(SOLVERS["heun"], GRID, "denoise").nfe
    np.testing.assert_array_equal(found, sample(SOLVERS["heun"], LAW.denoised, X, GRID))
