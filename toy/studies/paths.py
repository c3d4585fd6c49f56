r"""Paths: the states of a run at every node, with the denoised states there and the exact flow beside them.

``follow`` records those of any solver with any denoiser; ``flat`` makes a network on tensors of any shape a denoiser of rows. The exact
flow is closed, integrated from node to node, or for a network that of a run in finer steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic import RotatedProduct
from scorebed.solvers import Denoiser, Node, Solver, sample
from scorebed.toy.problems.problem import Problem
from scorebed.toy.problems.reference import integrate
from scorebed.toy.studies.sensitivity import flow_jacobians, largest

Floats = NDArray[np.float64]
EXACT = "exact flow"
"""The name under which the exact paths stand in the tables."""
COORDINATES = ("x", "data", "unit")
"""What the geometry is that of: x_t; x_t/α_t; x_t/(α_t² + σ_t²)^{1/2}."""


@dataclass(frozen=True)
class Paths:
    """Paths of one solver: states ``x`` and denoised states, both (nodes, paths, d); ``exact`` likewise where it is known, with its RMS
    ``error``; ``nfe`` evaluations of the run, those that only look at D along the path not counted."""

    solver: str
    nodes: list[Node]
    x: Floats
    denoised: Floats
    nfe: int
    exact: Floats | None = None
    error: float = 0.0

    def states(self, coordinates: str = "x") -> Floats:
        """The states in one of ``COORDINATES``."""
        return self.x * factors(self.nodes, coordinates)[:, None, None]


def factors(nodes: Sequence[Node], coordinates: str) -> Floats:
    """What x_t is multiplied with at every node, shape (nodes,), to be in one of ``COORDINATES``.

    Returns:
        (nodes,) factors of x_t.

    Raises:
        ValueError: unknown coordinates.
    """
    if coordinates not in COORDINATES:
        raise ValueError(f"coordinates = {coordinates!r} is not known: give one of {', '.join(COORDINATES)}")
    scale = {"x": lambda n: 1.0, "data": lambda n: 1.0 / n.alpha, "unit": lambda n: 1.0 / math.hypot(n.alpha, n.sigma)}[coordinates]
    return np.array([scale(n) for n in nodes])


def follow(
    solver: Solver,
    denoise: Denoiser,
    x: Floats,
    nodes: Sequence[Node],
    *,
    noise: int = 0,
    exact: Floats | None = None,
    error: float = 0.0,
) -> Paths:
    """Run a solver from ``x`` (paths, d) and look at D(x_i, node_i) at every node.

    Returns:
        the Paths: states and denoised means at every node, and evaluations.

    Raises:
        ValueError: x of another shape; whatever ``sample`` refuses.
        NonFinite: the solver diverged.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}: give (paths, d); see flat() for networks on tensors")
    run = sample(solver, denoise, x, nodes, noise=noise, terminal="none", record=True)
    seen = np.stack([np.asarray(denoise(u, node)) for u, node in zip(run.xs, run.nodes, strict=True)])
    return Paths(solver.name, list(run.nodes), np.stack(run.xs), seen, run.nfe, exact, error)


def flat(denoise: Denoiser, shape: Sequence[int]) -> Denoiser:
    """A denoiser of torch tensors (n, *shape) as one of float64 rows (n, d); the network works in single precision."""
    import torch

    def rows(x: Any, node: Node) -> Any:
        with torch.no_grad():
            value = denoise(torch.from_numpy(np.ascontiguousarray(x)).float().reshape(-1, *shape), node)
        return value.reshape(len(x), -1).double().numpy()

    return rows


@dataclass(frozen=True)
class Named:
    """A pretrained network on float64 rows, by its name: what another process loads for itself, and a store knows again.

    Args:
        name: of the network, as in ``gpu.models.load``.
        package: the package of its weights, with its version.
    """

    name: str
    package: str

    def __call__(self, x: Any, node: Node) -> Any:
        return _rows(self.name)(x, node)


@cache
def _rows(name: str) -> Denoiser:
    from scorebed.gpu.models import load

    network = load(name)
    return flat(network.denoise, network.shape)


def exact_paths(problem: Problem, x: Floats, nodes: Sequence[Node]) -> tuple[Floats, float]:
    """The exact flow through ``x`` at every node, and its RMS error: closed, or integrated from node to node."""
    if problem.closed:
        states = np.stack([np.asarray(problem.target.flow(x, nodes[0], node)) for node in nodes])
        return states, 1e-13 * float(np.sqrt(np.mean(states**2)))
    walked, error = [x], 0.0
    for s, t in pairwise(nodes):
        result = integrate(problem.target.denoised, walked[-1], s, t, 1e-9)
        walked.append(result.x)
        error += result.error
    return np.stack(walked), error


def refined_paths(solver: Solver, denoise: Denoiser, x: Floats, problem: Problem, steps: int, times: int) -> tuple[Floats, float]:
    """Paths on a grid ``times`` finer, at the nodes of the coarse one, and their RMS distance to those of half as many steps."""
    fine, half = (sample(solver, denoise, x, problem.nodes(steps * k), terminal="none", record=True).xs[::k] for k in (times, times // 2))
    return np.stack(fine), float(np.sqrt(np.mean(np.square(np.stack(fine) - np.stack(half)))))


def exact_sensitivity(target: Any, states: Floats, nodes: Sequence[Node]) -> Floats:
    """The largest singular value of the exact flow's Jacobian from the first node to each, (nodes, paths), along exact ``states``.

    One coordinate keeps its distribution function, F_t(y_t) = F_s(y_s), so that ∂y_t/∂y_s = p_s(y_s)/p_t(y_t); a ``RotatedProduct`` has d
    of them. Other laws with a closed flow: central differences.

    Returns:
        (nodes, paths) largest singular values.
    """
    if isinstance(target, RotatedProduct):
        y = states @ target.rotation
        return np.max([exact_sensitivity(f, y[..., i : i + 1], nodes) for i, f in enumerate(target.factors)], axis=0)
    if target.d > 1:
        return largest(flow_jacobians(target.flow, states[0], nodes))
    logs = np.stack([np.asarray(target.log_prob(u, node)) for u, node in zip(states, nodes, strict=True)])
    return np.exp(logs[0] - logs)


def principal(covariance: Floats) -> tuple[Floats, Floats]:
    """Variances, descending, and unit directions as rows (k, d) of a covariance."""
    values, vectors = np.linalg.eigh(covariance)
    return np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1].T)


class Learned:
    """A law of which only a denoiser is known: mean and principal directions are those of states where paths end."""

    def __init__(self, denoise: Denoiser, ends: Floats) -> None:
        self.denoised, self.d = denoise, ends.shape[1]
        self._mean = ends.mean(axis=0)
        _, values, self.directions = np.linalg.svd(ends - self._mean, full_matrices=False)
        rank = int(np.sum(values > 1e-9 * max(values[0], 1e-300)))
        self.variances, self.directions = values[:rank] ** 2 / len(ends), self.directions[:rank]

    def mean(self) -> Floats:
        """The mean of the ends."""
        return self._mean

    def covariance(self) -> Floats:
        """The covariance of the ends, (d, d)."""
        return np.asarray((self.directions.T * self.variances) @ self.directions)


def axes_of(target: Any) -> tuple[Floats, Floats, Floats]:
    """Mean (d,), variances, descending, and unit directions (k, d) of the data."""
    if isinstance(target, Learned):
        return target.mean(), target.variances, target.directions
    return np.asarray(target.mean()), *principal(np.asarray(target.covariance()))
