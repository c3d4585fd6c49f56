"""Methods without a Plan run batched on torch tensors through the same entry, on R^d and in their spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.solvers import EDM, SOLVERS, VP, Node, Solver, methods_on, sample
from scorebed.solvers.grid import uniform, uniform_lam
from scorebed.solvers.methods.scipy_integrators import BLACK_BOX
from scorebed.solvers.space import Box, Sphere

NONLINEAR = [s for s in methods_on().values() if s.nonlinear is not None]
GRID = uniform_lam(VP(), 3, start=0.8, end=0.1)
CLOCK = uniform(EDM(), 4, start=0.5, end=0.1)


def bent(x: Any, node: Node) -> Any:
    xp = np if isinstance(x, np.ndarray) else torch
    return 0.5 * xp.tanh(node.alpha * x + 0.3 * xp.roll(x, 1, -1)) + 0.2 * xp.sin(x)


@pytest.mark.parametrize("method", NONLINEAR, ids=lambda s: s.name)
def test_they_run_on_tensors_as_on_arrays(method: Solver) -> None:
    x = np.random.default_rng(0).standard_normal((3, 2))
    want = sample(method, bent, x, GRID, noise=4)
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-2 if method.nonlinear == BLACK_BOX or not method.spaces else 1e-4)):
        kept = torch.tensor(x, dtype=dtype)
        found = gpu.run(method, bent, kept.clone(), GRID, noise=4)
        assert found.dtype == dtype
        assert np.abs(found.double().numpy() - want).max() < bound * max(1.0, np.abs(want).max())
    whole = gpu.run(method, bent, torch.tensor(x), GRID, noise=4)
    split = gpu.run(method, bent, torch.tensor(x), GRID, noise=4, chunk=2)
    assert torch.allclose(split, whole, rtol=0.0, atol=1e-10)
    assert torch.allclose(gpu.run(method, bent, torch.tensor(x[2:]), GRID, noise=4, index=[2]), whole[2:], rtol=0.0, atol=1e-10)


@pytest.mark.parametrize("space", [Sphere(2), Box(3)], ids=repr)
def test_they_stay_in_their_space(space: Any) -> None:
    x = space.uniform(4, np.random.default_rng(1))
    tried = 0
    for method in NONLINEAR:
        if not (method.spaces and method.claims(space)):
            continue
        tried += 1
        own = method(space=space)
        want = sample(own, bent, x, CLOCK, noise=4, terminal="none")
        found = gpu.run(own, bent, torch.tensor(x), CLOCK, noise=4, terminal="none")
        assert np.abs(found.numpy() - want).max() < 1e-10, method.name
    assert tried > 3


def test_a_refined_noise_serves_them_too() -> None:
    method = SOLVERS["geodesic_euler_maruyama"]
    x = np.random.default_rng(2).standard_normal((3, 2))
    noise = gpu.Brownian(5, (3, 2), like=torch.empty(0, dtype=torch.float64), refine=True)
    from scorebed.solvers import BrownianNoise

    want = sample(method, bent, x, GRID, noise=BrownianNoise(5, (3, 2), refine=True))
    assert np.abs(gpu.run(method, bent, torch.tensor(x), GRID, noise=noise).numpy() - want).max() < 1e-10
    assert np.abs(gpu.run(method, bent, torch.tensor(x), GRID, noise=BrownianNoise(5, (3, 2), refine=True)).numpy() - want).max() < 1e-10
