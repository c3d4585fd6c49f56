r"""The exact law of what a posterior sampler returns where it is affine in its start and its draws: no Monte Carlo.

On one Gaussian most samplers are. One batch is run whose rows differ by one unit in one number that the sampler starts from or draws,

    out = b + M x_T + Σ_j N_j ξ_j,     mean b + M m_T,     covariance M C_T M^T + Σ_j N_j N_j^T,

and a further row, with everything at random, tells whether that is true. The sampler itself runs, whatever its loop is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scorebed.analytic.distance.gaussian import gaussian_w2
from scorebed.solvers import Node
from scorebed.solvers.inverse import Conditioned, Method, posterior

_SLACK = 1e-7


class NotAffine(ValueError):
    """The output is no affine function of the start and the draws."""


@dataclass(frozen=True)
class AffineLaw:
    """out = offset + start x_T + noise ξ: (d,), (d, d), (d, d · draws); with the mean and covariance that follow from x_T ~ N(0, σ_T²)."""

    offset: np.ndarray
    start: np.ndarray
    noise: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def w2(self, mean: np.ndarray, covariance: np.ndarray) -> float:
        """W2 to N(mean, covariance)."""
        return gaussian_w2(self.mean, self.covariance, mean, covariance)


class Probe:
    """Draws of given values: the j-th fresh array asked for is ``values[j]``, a pair of nodes asked for again gives the same."""

    def __init__(self, make: Callable[[int], np.ndarray]) -> None:
        self.make, self.count, self.known = make, 0, dict[tuple[float, float], np.ndarray]()

    def next(self) -> np.ndarray:
        self.count += 1
        return self.make(self.count - 1)

    def __call__(self, s: Node, t: Node) -> np.ndarray:
        key = (s.lam, t.lam)
        if key not in self.known:
            self.known[key] = self.next()
        return self.known[key]


def affine_law(method: Method | str | Callable[..., Any], c: Conditioned, nodes: Sequence[Node], d: int) -> AffineLaw:
    """The law of the output of ``method`` for one y, from N(0, sigma²) at the first node.

    Args:
        method: a posterior sampler, or a function of (conditioned, x, nodes, draws).

    Returns:
        the AffineLaw: offset, gains of start and noise, mean and covariance of the output.

    Raises:
        NotAffine: it is not affine there: the model, the operator or the method is not.
    """

    def run(x: np.ndarray, probe: Probe) -> np.ndarray:
        done = method(c, x, nodes, probe) if callable(method) and not isinstance(method, Method) else posterior(method, c, x, nodes, probe)
        return np.asarray(done)

    silent = Probe(lambda j: np.zeros((1, d)))
    run(np.zeros((1, d)), silent)
    draws, rng = silent.count, np.random.default_rng(0)
    width = d * (1 + draws)
    unit = np.zeros((width + 2, width))
    unit[1:-1] = np.eye(width)
    unit[-1] = rng.standard_normal(width)
    parts = unit.reshape(width + 2, 1 + draws, d)
    out = run(np.ascontiguousarray(parts[:, 0]), Probe(lambda j: np.ascontiguousarray(parts[:, 1 + j])))
    offset, linear = out[0], (out[1:-1] - out[0]).T
    size = np.abs(out).max()
    if not np.abs(offset + linear @ unit[-1] - out[-1]).max() <= _SLACK * size:
        raise NotAffine("the output is no affine function of the start and the draws: give one Gaussian, and a method of fixed steps")
    start, noise = linear[:, :d], linear[:, d:]
    covariance = nodes[0].sigma ** 2 * start @ start.T + noise @ noise.T
    return AffineLaw(offset, start, noise, offset, 0.5 * (covariance + covariance.T))
