r"""skrample's samplers as functions ``(denoise, x, nodes)``.

A structured sampler gets state, prediction and step and keeps no memory of its own; a functional one runs the whole sampling. Both ask a
schedule for the points at fractions of the run: ours says the nodes of the grid, and between two of them, where Runge-Kutta stages are,
log sigma/alpha is linear in the fraction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from scorebed.solvers import Node


def schedule_of(nodes: Sequence[Node]) -> Any:
    """A schedule of skrample that walks the nodes: at the fraction i/n of a run it is at the i-th, a point (t, sigma, alpha)."""
    base: Any = import_module("skrample.scheduling").SkrampleSchedule
    space = import_module("skrample.scheduling").VariancePreserving()
    kept = np.array([[node.lam, node.t, np.hypot(node.alpha, node.sigma)] for node in nodes])

    class Walk(base):
        @property
        def space(self) -> Any:
            return space

        def _points(self, t: Any) -> Any:
            lam, time, size = (np.interp((1.0 - t) * (len(kept) - 1), np.arange(len(kept)), column) for column in kept.T)
            sigma = size / np.sqrt(1.0 + np.exp(2.0 * lam))
            return np.stack([time, sigma, sigma * np.exp(lam)], axis=-1)

    return Walk()


def skrample_sampler(sampler: Any) -> Callable[..., Any]:
    """A sampler of skrample as ``(denoise, x, nodes, rng)``, on the prediction of x0.

    Args:
        sampler: a structured or a functional sampler, ``DPM(order=2)``, ``RKUltra(order=4)``; or an adapter of it.

    Returns:
        function (denoise, x, nodes, rng) -> x at the last node.
    """
    models = import_module("skrample.sampling.models")
    if not hasattr(sampler, "sample_model"):
        sampler = import_module("skrample.sampling.interface").StructuredFunctionalAdapter(sampler)

    def run(denoise: Any, x: Any, nodes: Sequence[Node], rng: Any) -> Any:
        def model(y: Any, timestep: float, sigma: float, alpha: float) -> Any:
            lam = float(np.log(alpha / sigma))
            return denoise(y, Node(timestep, float(alpha), float(sigma), lam, nodes[0].schedule))

        def draw(_: Any) -> Any:
            return rng.standard_normal(x.shape).astype(x.dtype)

        steps = len(nodes) - 1
        return sampler.sample_model(x, model, models.DataModel(), schedule_of(nodes), steps, rng=draw)

    run.__name__ = type(getattr(sampler, "sampler", sampler)).__name__
    return run
