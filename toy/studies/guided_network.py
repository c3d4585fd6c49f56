r"""Guidance on a network, beside guidance by the exact scores of its data: bias and discretisation, and what search with a proxy does.

The data are handwritten digits, each the centre of a Gaussian, so that p_c, p_u and P(class | x0) are exact. With a network that was told
classes, trained here, the same three laws stand as on the line,

    meant, p_c^w p_u^{1−w} ∝ p_c P(c | x0)^{w−1}   ── bias ──   limit of small steps   ── discretisation ──   N steps,

the first one sampled exactly (draws of p_c, kept with probability P(c | x0)^{w−1}); the bias of the network is that of guidance and of what
it has learnt. Distances are means of W1 along the principal axes of the data; ``floor`` is that of two sets of exact draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scorebed.analytic import GaussianMixture, from_data
from scorebed.analytic.distance.sliced import sliced_wasserstein
from scorebed.solvers import SOLVERS, VP, Solver, grid, sample
from scorebed.solvers.guide import guided
from scorebed.toy.measure.guided_law import Split
from scorebed.toy.measure.guided_plane import Compared
from scorebed.toy.problems.digits import handwritten
from scorebed.toy.studies.hacking import COUNTS, best_of_means

Floats = np.ndarray
BANDWIDTH, AXES, FINE = 0.25, 8, 60


@dataclass(frozen=True)
class Digits:
    """The data, a class of them, and their exact laws.

    Attributes:
        data, labels: 1,797 of 64 numbers in [−1, 1].
        which: the class.
        given, null: p_c and p_u.
        axes: principal axes of the data, (8, 64).
    """

    data: Floats
    labels: np.ndarray
    which: int
    given: GaussianMixture
    null: GaussianMixture
    axes: Floats

    def class_probability(self, x: Floats) -> Floats:
        """P(class | x0), exactly."""
        share = float(np.mean(self.labels == self.which))
        return np.asarray(share * np.exp(np.asarray(self.given.log_prob(x)) - np.asarray(self.null.log_prob(x))))

    def meant(self, scale: float, n: int, seed: int = 0) -> Floats:
        """Draws of p_c^w p_u^{1−w}, by rejection: w ≥ 1."""
        rng, kept = np.random.default_rng(seed), list[Floats]()
        while sum(map(len, kept)) < n:
            x = np.asarray(self.given.sample(n, rng))
            kept.append(x[rng.random(n) < np.minimum(1.0, self.class_probability(x)) ** (scale - 1.0)])
        return np.concatenate(kept)[:n]

    def apart(self, a: Floats, b: Floats) -> float:
        """Mean of W1 along the principal axes."""
        return sliced_wasserstein(np.asarray(a, float), np.asarray(b, float), self.axes, p=1)


def digits(which: int = 0, bandwidth: float = BANDWIDTH) -> Digits:
    """A class of scikit-learn's digits in all of them; at the bandwidth of the study P(class | x0) is 1 or 0 to many digits, so that every
    scale means the class itself.

    Returns:
        the Digits: data, labels, the class, its law, the law of all, and axes.
    """
    pixels, labels = handwritten()
    data = pixels / 8.0 - 1.0
    axes = np.linalg.svd(data - data.mean(0), full_matrices=False)[2][:AXES]
    return Digits(data, labels, which, from_data(data[labels == which], bandwidth), from_data(data, bandwidth), axes)


def models(place: Digits, network: Any = None) -> dict[str, Callable[[float], Any]]:
    """w -> the guided model, by exact scores and by a network that is trained here, on tensors.

    Args:
        place: the data.
        network: a trained one; one of 700 steps is trained by default.

    Returns:
        maps from w to a guided model, by name of the model.
    """
    from scorebed.gpu import GaussianMixture as OnTensors
    from scorebed.gpu.network.labelled import train_labelled

    own = place.data[place.labels == place.which]
    given, null = (OnTensors.from_data(part, BANDWIDTH) for part in (own, place.data))
    network = network or train_labelled(place.data, place.labels, VP(), bandwidth=BANDWIDTH)
    return {
        "exact scores": lambda w: guided(given.denoised, null.denoised, w),
        "network": lambda w: network.model(VP(), place.which, w),
    }


def carried(model: Any, solver: Solver, steps: int, n: int) -> Floats:
    """x0 of n starts after so many steps, (n, 64)."""
    import torch

    x = torch.randn(n, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = sample(solver, model, x, grid.uniform_lam(VP(), steps, 1.0, 0.02), noise=0)
    return np.asarray(out.double().numpy())


def table(
    scale: Sequence[float] = (1.0, 2.0, 4.0),
    steps: Sequence[int] = (5, 10, 20),
    *,
    solver: str | Solver = "ddim",
    n: int = 256,
    network: Any = None,
    report: Callable[[int, int, str], None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bias and discretisation, one row for each run, as of ``studies.guided.table`` with the model as ``rule`` and the mean of log p_c
    of the output beside it; and best of N of the unguided runs by a proxy, the ink, with log p_c, what was wanted.

    Args:
        scale, steps: w ≥ 1 and N.
        solver: the method; its limit is that of ``dpmpp_2m`` for a deterministic one.
        n: samples of each run.
        network: as of ``models``.
        report: told of each model and scale.

    Returns:
        (runs with bias and discretisation, best of N of unguided runs).

    Raises:
        ValueError: a scale below 1, which rejection cannot sample.
    """
    if min(scale) < 1.0:
        raise ValueError(f"scale = {min(scale):g} on digits: give scales from 1 on")
    place = digits()
    made, rows, curves = models(place, network), list[dict[str, Any]](), list[pd.DataFrame]()
    least = place.apart(place.meant(1.0, n, 1), place.meant(1.0, n, 2))
    by = SOLVERS[solver] if isinstance(solver, str) else solver
    fine = by if by.weak is not None else SOLVERS["dpmpp_2m"]
    for done, (name, make) in enumerate(made.items()):
        for i, w in enumerate(sorted(set(scale))):
            if report is not None:
                report(done * len(set(scale)) + i, len(made) * len(set(scale)), f"{name}, w = {w:g}")
            model, meant = make(w), place.meant(w, n)
            end = carried(model, fine, FINE, n)
            for k in sorted(set(steps)):
                out = carried(model, by, k, n)
                parts: Split = Compared(place.apart(meant, end), place.apart(end, out), place.apart(meant, out), least)
                told = {"problem": "digits", "rule": name, "solver": by.name, "scale": w, "steps": k, **vars(parts)}
                rows.append(told | {"log_density": float(np.mean(place.given.log_prob(out)))})
            if w == 1.0:
                ink, wanted = end.sum(1), np.asarray(place.given.log_prob(end))
                curves.append(best_of_means(ink, wanted, [k for k in COUNTS if k <= n]).assign(method=f"best of N, {name}"))
    return pd.DataFrame(rows), pd.concat(curves, ignore_index=True) if curves else pd.DataFrame()
