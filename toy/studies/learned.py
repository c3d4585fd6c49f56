r"""What did a network learn wrong? The exact error budget of trained networks on data sets whose score is known.

A data set smoothed by a bandwidth is a mixture, so the score s of its noised law is exact at every point and the error e = s̃ − s of a
network is known pointwise. Reverse chains x_s ~ N(x_t + Δ s̃, v I) with Δ = sigma_t² − sigma_s² bound log p from below, and by Tweedie
E[x_s − x_t − Δ s | x_t] = 0, so that the gap of the bound, in nats, is exactly

    E[log p(x) − bound] =  KL of the prior  +  price of the steps (the gap with s)  +  Σ ½ Δ²/v E|e|²,

and E|e|² = E|∇φ|² + E|r|² with ∇·(p r) = 0 splits into a gradient part, which moves the law, and a solenoidal part, which does not.
The left side is measured by paths with the network, the right side from independent draws: they must agree within their intervals. The
potential φ is sought in a class that is linear in its parameters (Fourier modes on the torus, which are dense there; quadratics, random
waves and log p in R^d): in R^d the gradient part is therefore a lower bound, and what is called solenoidal an upper one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scorebed.toy.problems.data_sets import Domain, domains

Floats = NDArray[np.float64]
Score = Callable[[Floats, float], Floats]
Tell = Callable[[int, int, str], object]
PARTS = ("prior", "discretisation", "score error, gradient", "score error, solenoidal")
__all__ = ["PARTS", "Domain", "apart", "budget", "domains", "network"]


def network(domain: Domain, folder: Path | None, *, steps: int = 4000, width: int = 128, seed: int = 0, report: Tell | None = None) -> Any:
    """A trained network of a domain, from the cache in ``folder`` if it is there, else trained (and cached), ``report`` told of it."""
    from scorebed.gpu.network.small import SmallScore, load, save, train

    path = None if folder is None else folder / f"{domain.name}-{width}-{steps}-{seed}.npz"
    if path is not None and path.exists():
        return load(path)
    rng = np.random.default_rng(seed)
    net = SmallScore(domain.d, periodic=domain.periodic, width=width, spread=domain.spread)
    low, high = domain.sigmas
    tell = None if report is None else lambda done: report(done, steps, f"training on {domain.name}")
    train(net, lambda n: domain.draw(n, rng), (0.8 * low, 1.1 * high), steps=steps, seed=seed, tell=tell)
    if path is not None:
        save(net, path)
    return net


def gap_of_paths(domain: Domain, scores: list[Score], levels: Floats, paths: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """log p(x) − bound along ``paths`` forward paths for each score, (scores, paths), and log p_T − log prior at their ends, (paths,)."""
    x = domain.draw(paths, rng) + levels[-1] * rng.standard_normal((paths, domain.d))
    log_p = domain.log_prob(x, levels[-1])
    log_q = np.zeros(paths)
    log_steps = np.zeros((len(scores), paths))
    for s, t in zip(levels[:0:-1], levels[-2::-1], strict=True):
        delta = t * t - s * s
        noise = math.sqrt(delta) * rng.standard_normal(x.shape)
        y = x + noise
        log_q += domain.log_normal(noise, delta)
        variance = delta * s * s / (t * t)
        for i, score in enumerate(scores):
            log_steps[i] += domain.log_normal(x - y - delta * score(y, t), variance)
        x = y
    prior = domain.log_prob(x, levels[0]) - domain.log_prior(x)
    return log_p - (domain.log_prior(x) + log_steps - log_q), prior


def gradients(domain: Domain, x: Floats, sigma: float, size: int) -> Floats:
    """∇ψ_j of the potentials at x, (features, n, d)."""
    n, d = x.shape
    if domain.periodic:
        k = np.stack(np.meshgrid(*[np.arange(-size, size + 1)] * d, indexing="ij"), -1).reshape(-1, d)
        k = k[len(k) // 2 + 1 :]  # one of each pair ±k
        phase = x @ k.T
        return np.concatenate([np.einsum("nk,kd->knd", np.cos(phase), k), np.einsum("nk,kd->knd", -np.sin(phase), k)])
    rng = np.random.default_rng(1)
    width = math.sqrt(sigma**2 + domain.spread**2)
    constant = np.broadcast_to(np.eye(d)[:, None], (d, n, d))
    axes = np.linalg.eigh(domain.law.covariance())[1][:, ::-1][:, : min(d, 10)]
    z = x @ axes
    pairs = [(i, j) for i in range(z.shape[1]) for j in range(i + 1)]
    squares = np.stack([z[:, [i]] * axes[:, j] + z[:, [j]] * axes[:, i] for i, j in pairs])
    waves = rng.standard_normal((20 * size, d)) / width
    phases = x @ waves.T + 2.0 * math.pi * rng.random(20 * size)
    rippled = np.einsum("nk,kd->knd", -np.sin(phases), waves)
    return np.concatenate([constant, x[None], squares, rippled, domain.score(x, sigma)[None]])


def split_error(domain: Domain, score: Score, sigma: float, n: int, rng: np.random.Generator, size: int = 8) -> tuple[Floats, Floats]:
    """|e|² at a noise level in two parts, each (n,) with the mean that is meant: 2 e·∇φ − |∇φ|² and |e − ∇φ|².

    On the torus φ is fitted, and the means taken, by quadrature over a grid, so that there is nothing to scatter; in R^d φ is fitted on
    other draws than those that come back.

    Returns:
        (gradient part (n,), remaining part (n,)).
    """
    if domain.periodic:
        axis = 2.0 * math.pi * (np.arange(64) / 64 - 0.5)
        x = np.stack(np.meshgrid(*[axis] * domain.d, indexing="ij"), -1).reshape(-1, domain.d)
        weights = np.exp(domain.log_prob(x, sigma))
        fitted = shown = slice(None)
    else:
        x = domain.draw(3 * n, rng) + sigma * rng.standard_normal((3 * n, domain.d))
        weights = np.ones(3 * n)
        fitted, shown = slice(2 * n), slice(2 * n, None)
    weights = weights / weights[fitted].mean()
    e = score(x, sigma) - domain.score(x, sigma)
    fields = gradients(domain, x, sigma, size)
    root = np.sqrt(weights[fitted])[:, None]
    a, b = (fields[:, fitted] * root).reshape(len(fields), -1), (e[fitted] * root).ravel()
    gram = a @ a.T
    found = np.linalg.solve(gram + 1e-8 * np.trace(gram) / len(gram) * np.eye(len(gram)), a @ b)
    part, e, w = np.einsum("k,knd->nd", found, fields[:, shown]), e[shown], weights[shown]
    moving, rest = w * (2.0 * e * part - part**2).sum(1), w * ((e - part) ** 2).sum(1)
    return (np.full(n, moving.mean()), np.full(n, rest.mean())) if domain.periodic else (moving, rest)


def budget(
    domain: Domain,
    score: Score,
    *,
    steps: int = 24,
    paths: int = 400,
    draws: int = 300,
    size: int = 8,
    seed: int = 0,
    report: Tell | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The budget of a network on a domain, and its score error at every level.

    Args:
        score: (x, sigma) -> the network's score.
        steps: of the reverse chain.
        paths: forward paths, for total, prior and discretisation.
        draws: independent draws at each level, for the score error.
        size: of the class of potentials: largest frequency on the torus, a twentieth of the number of waves in R^d.
        seed: of everything.
        report: told of each step.

    Returns:
        Table of part, nats, error (a standard error), with rows ``PARTS``, "sum" and "total"; and table of sigma, gradient, solenoidal
        (nats of that step) and relative, E|e|²/E|s|².
    """
    rng = np.random.default_rng(seed)
    levels = domain.levels(steps)
    gaps, prior = gap_of_paths(domain, [domain.score, score], levels, paths, rng)
    rows: list[tuple[str, float, float]] = [_mean("prior", prior), _mean("discretisation", gaps[0] - prior)]
    by_level = []
    parts, variances = np.zeros(2), np.zeros(2)
    for i, (t, s) in enumerate(pairwise(levels)):
        if report is not None:
            report(i, steps, f"error on {domain.name}")
        weight = 0.5 * (t * t - s * s) * t * t / (s * s)
        pieces = split_error(domain, score, float(t), draws, rng, size)
        x = domain.draw(draws, rng) + t * rng.standard_normal((draws, domain.d))
        whole = float((domain.score(x, float(t)) ** 2).sum(1).mean())
        for k, piece in enumerate(pieces):
            parts[k] += weight * piece.mean()
            variances[k] += weight**2 * piece.var(ddof=1) / draws
        by_level.append((float(t), weight * pieces[0].mean(), weight * pieces[1].mean(), float((pieces[0] + pieces[1]).mean()) / whole))
    rows += [(name, float(v), float(math.sqrt(w))) for name, v, w in zip(PARTS[2:], parts, variances, strict=True)]
    rows.append(("sum", sum(r[1] for r in rows), math.sqrt(sum(r[2] ** 2 for r in rows))))
    rows.append(_mean("total", gaps[1]))
    table = pd.DataFrame(rows, columns=["part", "nats", "error"])
    table.insert(0, "domain", domain.name)
    return table, pd.DataFrame(by_level, columns=["sigma", "gradient", "solenoidal", "relative"])


def apart(table: pd.DataFrame) -> float:
    """|sum − total| in standard errors of the difference, as if independent."""
    rows = table.set_index("part")
    gap = float(rows.nats["sum"] - rows.nats["total"])
    return abs(gap) / math.hypot(float(rows.error["sum"]), float(rows.error["total"]))


def _mean(part: str, values: Floats) -> tuple[str, float, float]:
    return part, float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
