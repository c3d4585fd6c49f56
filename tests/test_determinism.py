"""What docs/determinism.md calls identical, to the bit, on a model that acts element by element."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, VP, BrownianNoise, grid, sample

METHODS = ("ddim", "heun", "dpmpp_2m", "unipc_3", "deis_tab2", "ddpm", "dpmpp_2m_sde", "euler_maruyama", "er_sde_2")
NODES = grid.uniform_lam(VP(), 9)


def model(x: Any, node: Any) -> Any:
    """A denoiser that is not linear, entry by entry."""
    return node.alpha * np.tanh(x) / (1.0 + node.sigma)


def ends(name: str, x: np.ndarray, first: int = 0, **more: Any) -> Any:
    """The run of rows ``first``, ``first`` + 1, … of one batch of noise."""
    noise = BrownianNoise(3, (12, 2))
    kept = slice(first, first + len(x))
    return sample(SOLVERS[name], model, x, NODES, noise=lambda s, t: noise(s, t)[kept], **more)


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((12, 2))


@pytest.mark.parametrize("name", METHODS)
def test_splitting_a_batch_recording_and_watching_change_no_bit(name: str, states: np.ndarray) -> None:
    whole = ends(name, states)
    parts = [ends(name, states[i : i + 5], i) for i in (0, 5, 10)]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(ends(name, states[7:8], 7)[0], whole[7])
    seen: list[int] = []
    assert np.array_equal(ends(name, states, record=True).x, whole)
    assert np.array_equal(ends(name, states, callback=lambda step: seen.append(step.index)), whole)
    assert seen == list(range(9))


@pytest.mark.parametrize("name", METHODS)
def test_a_seed_is_a_run_and_another_seed_another(name: str, states: np.ndarray) -> None:
    run = lambda seed: sample(SOLVERS[name], model, states, NODES, noise=seed)  # noqa: E731
    assert np.array_equal(run(5), run(5))
    assert np.array_equal(run(5), run(6)) == (SOLVERS[name].weak is None)
