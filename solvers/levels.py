"""Noise levels of each sample: a grid for every sample of the batch, as for images that begin at noise of different strength.

The coefficients of a step are numbers, one for all samples at its node. So samples on equal grids go together and the others by themselves,
each with its own noise and, by ``solvers.rows``, with its own conditions: a sample is what it is alone, by any method.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from scorebed.solvers.memory import own
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import BrownianNoise
from scorebed.solvers.noise.by_sample import NoiseBySample, noise_from
from scorebed.solvers.process import Point
from scorebed.solvers.rows import of_rows


def by_sample(grid: Any) -> bool:
    """Whether a grid is one for each sample: a list of lists of points."""
    return isinstance(grid, list | tuple) and bool(grid) and all(isinstance(one, list | tuple) for one in grid)


def on_own_grids(run: Callable[..., Any], denoise: Denoiser, x: Array, grids: Sequence[Sequence[Point]], noise: Any) -> Array:
    """The samples, each from the first node of its own grid to the last. ``run(denoise, x, grid, noise)`` makes those of one grid.

    Returns:
        samples (B, …), each at the last node of its grid.

    Raises:
        TypeError: a state of several components.
        ValueError: not one grid for each sample, or a noise that cannot be asked for some of the samples.
    """
    if not hasattr(x, "shape"):
        raise TypeError(f"x is a {type(x).__name__}: grids of each sample are for states of one array")
    count = x.shape[0]
    if len(grids) != count:
        raise ValueError(f"grid holds {len(grids)} grids for a batch of {count}: give one for each sample, or one list of nodes for all")
    drawn = noise_from(noise, x)
    if not isinstance(drawn, BrownianNoise | NoiseBySample):
        raise ValueError("grids of each sample need a seed, a list of seeds or a BrownianNoise: another noise cannot be asked for a part")
    together: dict[tuple[Point, ...], list[int]] = {}
    for i, one in enumerate(grids):
        together.setdefault(tuple(one), []).append(i)
    out = own(x)
    for nodes, rows in together.items():
        out[rows] = run(of_rows(denoise, rows, count), x[rows], list(nodes), drawn.take(rows))
    return out
