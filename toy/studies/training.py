r"""Memorisation, generalisation and collapse, with exact minimisers in the place of trained networks.

``memorisation`` fits splines of a given capacity to n data, with all of their noise (60 quantiles of it), and holds them against the law
that the data are from: the gap of the two risks is what was memorised. ``collapse`` fits a Gaussian to n draws of the Gaussian fitted
before, again and again: with the biased variance E v_k = (1 − 1/n)^k v, and with a share f of fresh data the variance has a floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.information import mmse, points
from scorebed.analytic.gaussian.minimiser import hats
from scorebed.solvers import EDM


def memorisation(
    law: GaussianMixture,
    sizes: Sequence[int] = (10, 40, 160),
    sigmas: Sequence[float] = (0.1, 0.3, 1.0),
    capacities: Sequence[int] = (4, 12, 36),
    repeats: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Risks of fitted splines: columns n, sigma, knots, train, test, best (the mmse of the law), gap = test − train.

    Args:
        law: on the line.
        sizes: numbers of data.
        sigmas: noise levels.
        capacities: numbers of knots, evenly over the law's range.
        repeats: data sets that the mean is over.
        seed: of the data.

    Returns:
        one row for each n, sigma and knots, with train, test, best and gap.
    """
    rng, noise = np.random.default_rng(seed), ndtri((np.arange(60) + 0.5) / 60)
    mean, std = float(law.mean()[0]), float(law.covariance()[0, 0]) ** 0.5
    rows = []
    for n in sizes:
        sets = [np.asarray(law.sample(n, rng)) for _ in range(repeats)]
        for sigma in sigmas:
            node = EDM().node(sigma)
            best = mmse(law, node)
            z, w = points(law, node=node)
            mass, exact = w * np.exp(law.log_prob(z, node)), np.asarray(law.denoised(z, node))[:, 0]
            for count in capacities:
                knots = np.linspace(mean - 2.5 * std - sigma, mean + 2.5 * std + sigma, count)
                train, test = [], []
                for data in sets:
                    x0 = np.repeat(data[:, 0], len(noise))
                    phi = hats(x0 + sigma * np.tile(noise, n), knots)
                    c = np.linalg.lstsq(phi, x0, rcond=1e-10)[0]
                    train.append(float(np.mean((phi @ c - x0) ** 2)))
                    test.append(best + float(mass @ (hats(z[:, 0], knots) @ c - exact) ** 2))
                rows.append((n, sigma, count, float(np.mean(train)), float(np.mean(test)), best, float(np.mean(test) - np.mean(train))))
    return pd.DataFrame(rows, columns=["n", "sigma", "knots", "train", "test", "best", "gap"])


def collapse(n: int = 50, generations: int = 40, fresh: float = 0.0, chains: int = 400, seed: int = 0) -> pd.DataFrame:
    """Variance of the k-th Gaussian fitted to its predecessor's draws: columns generation, measured, error, closed.

    Args:
        n: draws that each fit sees.
        generations: how many fits.
        fresh: the share of them that comes from the first law, N(0, 1), instead.
        chains: independent repetitions; the error is a standard error over them.
        seed: of the draws.

    Returns:
        one row for each generation: measured and closed variance, standard error.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0.0 <= fresh <= 1.0:
        raise ValueError(f"fresh = {fresh}: give a share in [0, 1]")
    rng, own = np.random.default_rng(seed), round(n * (1.0 - fresh))
    mean, variance, closed, wander = np.zeros(chains), np.ones(chains), 1.0, 0.0
    share = own / n
    rows = [(0, 1.0, 0.0, 1.0)]
    for k in range(1, generations + 1):
        x = rng.standard_normal((chains, n))
        x[:, :own] = mean[:, None] + np.sqrt(variance)[:, None] * x[:, :own]
        mean, variance = x.mean(1), x.var(1)
        # E of the biased variance of a pooled sample: (1 − 1/n) of the mean variance, and the spread of the two means
        pooled = share * closed + (1.0 - share)
        after = (1.0 - 1.0 / n) * pooled + share * (1.0 - share) * wander
        wander = share**2 * wander + pooled / n
        closed = after
        rows.append((k, float(variance.mean()), float(variance.std(ddof=1) / chains**0.5), closed))
    return pd.DataFrame(rows, columns=["generation", "measured", "error", "closed"])
