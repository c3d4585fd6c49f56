"""Laws about grids, dtypes and array libraries, for every registered solver."""

import numpy as np
import torch

from scorebed.solvers import VP, BrownianNoise, Solver, sample
from scorebed.toy.properties import PROPERTIES
from scorebed.toy.properties.cases import jagged, modes


def test_finite(solver: Solver) -> None:
    PROPERTIES["finite"](solver)


def test_keeps_dtype(solver: Solver) -> None:
    PROPERTIES["keeps_dtype"](solver)


def test_torch_states(solver: Solver) -> None:
    grid, x = jagged(VP(), 12, 0.9, 0.05), np.linspace(-2.0, 2.0, 8)[:, None]
    plain = sample(solver, modes().denoised, x, grid, noise=2)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 2e-4)):
        state = torch.tensor(x, dtype=dtype)
        found = sample(solver, modes().denoised, state, grid, noise=BrownianNoise(2, x.shape, like=state))
        assert isinstance(found, torch.Tensor)
        assert found.dtype == dtype
        assert np.abs(found.numpy() - plain).max() < tolerance
