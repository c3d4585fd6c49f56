"""One seed for each sample: sample i has the noise that it would have alone, as the first of its seed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers.model import Array
from scorebed.solvers.noise.base import BrownianNoise, fresh_seed
from scorebed.solvers.process import Point
from scorebed.solvers.state import alike


class NoiseBySample:
    """A ``Noise`` of B seeds: row i is ``BrownianNoise(seeds[i], (1, ...))``.

    Args:
        seeds: B integers, 0 <= seed < 2^64; equal ones give equal noise.
        shape: the state's shape (B, ...).
        like, refine: as for ``BrownianNoise``.

    Raises:
        TypeError: seeds that are no integers.
        ValueError: another number of seeds than samples, or a seed out of range.
    """

    def __init__(self, seeds: Iterable[int], shape: Sequence[int], *, like: Array = None, refine: bool = False) -> None:
        self.seeds, self.shape = tuple(seeds), tuple(shape)
        if len(self.seeds) != self.shape[0]:
            raise ValueError(f"{len(self.seeds)} seeds for {self.shape[0]} samples: give one for each")
        self.refine, self._like = refine, like
        self._each = [BrownianNoise(seed, (1, *self.shape[1:]), refine=refine) for seed in self.seeds]

    def __call__(self, s: Point, t: Point, part: int = 0) -> Array:
        """The unit normals of the interval between ``s`` and ``t``, in either direction; arguments and errors as ``BrownianNoise``."""
        values = np.concatenate([one(s, t, part) for one in self._each])
        return values if self._like is None else alike(values, self._like)

    def uniforms(self, s: Point, t: Point, n: int, ask: int = 0) -> NDArray[np.float64]:
        """Uniform numbers, as ``BrownianNoise.uniforms``."""
        return np.concatenate([one.uniforms(s, t, n, ask) for one in self._each])

    def take(self, rows: Sequence[int] | NDArray[Any] | slice) -> NoiseBySample:
        """The noise of the samples at these positions of the batch."""
        seeds = np.array(self.seeds, dtype=object)[rows]
        return NoiseBySample(seeds.tolist(), (len(seeds), *self.shape[1:]), like=self._like, refine=self.refine)


def many_seeds(noise: Any) -> TypeGuard[Sequence[int]]:
    """Whether these are to be the seeds of several samples."""
    return isinstance(noise, list | tuple) or (isinstance(noise, np.ndarray) and noise.ndim == 1 and noise.dtype.kind in "iu")


def noise_from(noise: Any, x: Array) -> Any:
    """What a caller gives as noise for the state x, as a ``Noise``: a seed, one for each sample, None for a fresh one, or a ``Noise``.

    Returns:
        the Noise: the given one, a BrownianNoise or a NoiseBySample.

    Raises:
        TypeError: none of these, or seeds that are no integers.
        ValueError: another number of seeds than samples, or a seed out of range.
    """
    like = x if (x.is_floating_point() if hasattr(x, "is_floating_point") else x.dtype.kind == "f") else None
    if noise is None or (isinstance(noise, Integral) and not isinstance(noise, bool)):
        return BrownianNoise(fresh_seed() if noise is None else int(noise), tuple(x.shape), like=like)
    if many_seeds(noise):
        return NoiseBySample(noise, tuple(x.shape), like=like)
    if not callable(noise):
        raise TypeError(f"noise = {noise!r} is neither a seed nor a function of (s, t)")
    return noise
