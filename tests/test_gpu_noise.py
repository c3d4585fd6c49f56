"""The noise on torch is that of ``solvers.noise``: the words bit for bit, the normals to rounding, whatever the batch or its split."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scorebed import gpu
from scorebed.gpu.noise import Normals, Philox, address, round_keys
from scorebed.solvers import VP, BrownianNoise
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.noise.philox import philox

GRID = uniform_lam(VP(), 4)
WORD = st.integers(0, 2**32 - 1)
INDEX = st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True)


def host_words(index: list[int], first: int, cols: int, where: tuple[int, int, int]) -> np.ndarray:
    """(4, len(index) cols) words by NumPy."""
    block = np.tile(np.arange(first, first + cols, dtype=np.uint64), len(index))
    name = np.repeat(np.asarray(index, np.uint64), cols)
    even = np.array([block, name >> np.uint64(32)])
    odd = np.array([np.full_like(block, where[2]), name & np.uint64(0xFFFFFFFF)])
    philox(even, odd, where[:2])
    return np.array([even[0], odd[1], even[1], odd[0]])


@settings(max_examples=30)
@given(INDEX, st.integers(0, 1000), st.integers(1, 9), st.tuples(WORD, WORD, WORD))
def test_words_are_the_same_bit_for_bit(index: list[int], first: int, cols: int, where: tuple[int, int, int]) -> None:
    generator = Philox(64, "cpu")
    even, odd = generator.words(torch.tensor(index), first, cols, round_keys(where))
    found = np.array([even[0].numpy(), odd[1].numpy(), even[1].numpy(), odd[0].numpy()])
    np.testing.assert_array_equal(found.astype(np.uint64), host_words(index, first, cols, where))


def test_known_answer_of_philox() -> None:
    """Counter and key all zero, and all one (the generator's published test vectors)."""
    generator = Philox(4, "cpu")
    even, odd = generator.words(torch.tensor([0]), 0, 1, round_keys((0, 0, 0)))
    assert [int(v) for v in (even[0], odd[1], even[1], odd[0])] == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize("host", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 3), (5, 4), (3, 2, 9), (2, 40_001), (300, 130)])
def test_normals_are_those_of_the_host(shape: tuple[int, ...], host: bool) -> None:
    noise = BrownianNoise(12, shape, index=np.arange(shape[0]) * 2**35 + 3)
    truth = noise(GRID[1], GRID[2]).reshape(shape[0], -1)
    for compute, bound in ((torch.float64, 4e-15), (torch.float32, 2e-6)):
        source = Normals(noise.index, math.prod(shape[1:]), torch.device("cpu"), compute, host=host)
        found = np.full(truth.shape, np.nan)
        (key,) = source.keys([address(12, GRID[2], GRID[1])])
        for i, (rows, columns) in enumerate(source.pieces):
            found[rows, columns] = source.piece(i, key).numpy()
        assert np.abs(found - truth).max() <= (bound if not host else 0.0)


def test_float32_normals_are_accurate_near_zero_too() -> None:
    """A radius r = sqrt(-2 log u) with u next to 1 keeps its digits: relative, not only absolute, accuracy of the pair's length."""
    lanes = 1 << 16
    where = address(1, GRID[0], GRID[1])
    wide, narrow = Philox(lanes, "cpu"), Philox(lanes, "cpu", torch.float32)
    names = torch.arange(1)
    truth = wide.normals(names, 0, lanes, round_keys(where)).view(-1, 2).norm(dim=1)
    found = narrow.normals(names, 0, lanes, round_keys(where)).double().view(-1, 2).norm(dim=1)
    assert float(truth.min()) < 0.01
    assert float(((found - truth) / truth).abs().max()) < 5e-7


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_brownian_is_brownian_noise(refine: bool, dtype: torch.dtype) -> None:
    shape, index = (4, 3, 5), [7, 0, 2**40, 9]
    like = torch.empty(0, dtype=dtype)
    host = BrownianNoise(3, shape, index, refine=refine)
    found = gpu.Brownian(3, shape, index, like=like, refine=refine)
    for s, t in ((0, 1), (1, 3), (3, 1)):
        made = found(GRID[s], GRID[t])
        assert made.dtype == dtype
        truth = torch.tensor(host(GRID[s], GRID[t]))
        assert torch.allclose(made.double(), truth.to(dtype).double(), rtol=torch.finfo(dtype).eps, atol=1e-13)
        part = found.take([2, 0])(GRID[s], GRID[t])
        assert torch.equal(part, made[[2, 0]])


def test_brownian_refuses_what_the_host_refuses() -> None:
    like = torch.empty(0)
    for bad, error in (
        ({"seed": -1}, ValueError),
        ({"seed": 0.5}, TypeError),
        ({"shape": ()}, ValueError),
        ({"like": torch.empty(0).long()}, TypeError),
    ):
        options: dict[str, Any] = {"seed": 0, "shape": (2, 2), "like": like, **bad}
        with pytest.raises(error):
            gpu.Brownian(options["seed"], options["shape"], like=options["like"])
    with pytest.raises(ValueError, match="different lam"):
        gpu.Brownian(0, (2, 2), like=like)(GRID[0], GRID[0])
    with pytest.raises(ValueError, match="finite lam"):
        gpu.Brownian(0, (2, 2), like=like)(GRID[0], VP().node(0.0))
    with pytest.raises(ValueError, match="float64"):
        Philox(4, "cpu", torch.float16)


def test_start_states_go_by_index_and_have_the_law() -> None:
    like = torch.empty(0, dtype=torch.float64)
    x = gpu.start(GRID[0], (4000, 3), 5, like=like, mean=2.0)
    part = gpu.start(GRID[0], (2, 3), 5, like=like, mean=2.0, index=[17, 3999])
    assert torch.equal(part, x[[17, 3999]])
    z = (x - 2.0 * GRID[0].alpha) / GRID[0].sigma
    assert abs(float(z.mean())) < 4.0 / math.sqrt(12_000)
    assert abs(float(z.var()) - 1.0) < 4.0 * math.sqrt(2.0 / 12_000)
    other = gpu.Brownian(5, (4000, 3), like=like)(GRID[0], GRID[1])
    assert abs(float((z * other).mean())) < 4.0 / math.sqrt(12_000)
