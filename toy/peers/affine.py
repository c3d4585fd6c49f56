r"""Exact mean and variance of what a sampler returns on a Gaussian, without Monte Carlo.

With an affine denoiser a sampler's output is affine in its initial state and in every normal z_j it draws,

    x_end = A x_init + Σ_j B_j z_j + c.

One run on a batch whose row 0 has x = 0 and no noise, row 1 x = 1 and no noise, and row j + 2 only z_j = 1 reads off c, A and all B_j. Then
mean = A m + c and variance = A² v + Σ B_j². Brownian paths, asked for on overlapping intervals, are written in elementary increments.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

SPARE = 4


class Draws:
    """Unit normals as unit vectors of the batch: the j-th draw is 1 in row j + 2 and 0 elsewhere."""

    def __init__(self, rows: int) -> None:
        self.rows, self.count = rows, 0

    def column(self) -> int:
        """The row of the next independent normal."""
        self.count += 1
        if self.count + 2 > self.rows:
            raise RuntimeError(f"more than {self.rows - 2} draws of noise: give the run more rows")
        return self.count + 1

    def __call__(self, shape: Any, dtype: Any) -> Any:
        """The next normal, of the shape of the batch."""
        import torch

        out = torch.zeros(tuple(shape), dtype=dtype)
        out[self.column()] = 1.0
        return out


class Path:
    """A Brownian path in elementary increments, for samplers that take a noise sampler of (sigma, sigma_next).

    ``clock`` maps sigma to the time in which the path has independent increments; the identity is k-diffusion's default.
    """

    def __init__(self, draws: Draws, like: Any, clock: Any = lambda sigma: sigma) -> None:
        self.draws, self.like, self.clock = draws, like, clock
        self.edges: list[float] = []
        self.columns: dict[tuple[float, float], int] = {}

    def _edge(self, t: float) -> None:
        for known in self.edges:
            if abs(known - t) <= 1e-6 * max(abs(known), abs(t)):
                return
        inside = [(a, b) for a, b in self.columns if a < t < b]
        if inside:
            raise RuntimeError(f"the path was asked inside the interval {inside[0]}, at {t}: record it on a finer grid")
        self.edges = sorted([*self.edges, t])

    def _named(self, t: float) -> float:
        return min(self.edges, key=lambda known: abs(known - t))

    def __call__(self, sigma: Any, sigma_next: Any) -> Any:
        """The increment over the interval, divided by the root of its length."""
        import torch

        a, b = sorted((float(self.clock(float(sigma))), float(self.clock(float(sigma_next)))))
        self._edge(a)
        self._edge(b)
        a, b = self._named(a), self._named(b)
        inner = [t for t in self.edges if a <= t <= b]
        out = torch.zeros_like(self.like)
        for low, high in pairwise(inner):
            if (low, high) not in self.columns:
                self.columns[low, high] = self.draws.column()
            out[self.columns[low, high]] = ((high - low) / (b - a)) ** 0.5
        return out


def basis(rows: int, shape: tuple[int, ...]) -> np.ndarray:
    """The initial batch: zeros, ones, zeros."""
    x = np.zeros((rows, *shape))
    x[1] = 1.0
    return x


def moments(out: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the output, from the final batch and the moments of the initial state."""
    c = out[0]
    a, b = out[1] - c, out[2:] - c
    return a * mean + c, a * a * variance + (b * b).sum(0)
