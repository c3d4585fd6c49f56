r"""Particles: proposals that look at y, and weights that put right what they do wrong. Exact as their number grows, up to the steps.

Each of the n samples is a population of ``particles`` states of its own, so that samples stay independent; one of them is given back.

    FPS   a noisy observation at each level, y_t = alpha_t (y + A w_t) with w the path of the forward noise, so that y_t | x_t is
          N(A x_t, alpha_t² r²); the proposal is p(x_t | x_s) p(y_t | x_t), Gaussian, and the weight N(y_t; A m, ς² A A^T + alpha_t² r²)
    TDS   the twist p̃_t(y | x) = N(y; A D, r_t² A A^T + r²); the proposal is DDPM with its score added, the weight
          p(x_t | x_s) p̃_t(y | x_t) / (q(x_t | x_s) p̃_s(y | x_s)), and p(y | x0) at the end
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.special import ndtr

from scorebed.solvers.inverse import Conditioned, Draws, sampler
from scorebed.solvers.methods.posterior.scores import spread
from scorebed.solvers.model import Array
from scorebed.solvers.operator import Linear
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import drift_by_denoised


class Population:
    """n groups of P particles each, kept as (n P, d).

    Resampling is systematic, on the host, by one uniform of each group: Φ of the first normal of a fresh draw.
    """

    def __init__(self, c: Conditioned, x: Array, particles: int, noise: Draws) -> None:
        self.n, self.p, self.noise = len(x), particles, noise
        self.c = replace(c, y=c.y if len(c.y.shape) == 1 else self.many(c.y))

    def many(self, a: Array) -> Array:
        """Rows (n, …) repeated for the particles of each group."""
        return a[[i for i in range(self.n) for _ in range(self.p)]]

    def fresh(self) -> Array:
        """Unit normals for every particle, (n P, d)."""
        draws = [self.noise.next() for _ in range(self.p)]
        out = self.many(draws[0])
        for j, one in enumerate(draws):
            out[j :: self.p] = one
        return out

    def resample(self, logs: Array) -> list[int]:
        """The rows that take the particles' places, drawn in each group with weights ∝ exp(logs), logs (n P,)."""
        given = _host(logs).reshape(self.n, self.p)
        weights = np.exp(given - given.max(1, keepdims=True))
        total = np.cumsum(weights / weights.sum(1, keepdims=True), axis=1)
        points = (np.arange(self.p) + ndtr(_host(self.noise.next()[:, 0]))[:, None]) / self.p
        pick = np.minimum((total[:, :, None] < points[:, None, :]).sum(1), self.p - 1)
        return (pick + self.p * np.arange(self.n)[:, None]).ravel().tolist()

    def one(self, logs: Array) -> list[int]:
        """The row of one particle of each group, with weights ∝ exp(logs)."""
        rows, chosen = self.resample(logs), ndtr(_host(self.noise.next()[:, 0])) * self.p
        return [rows[i * self.p + min(self.p - 1, int(u))] for i, u in enumerate(chosen)]


def _host(a: Array) -> np.ndarray:
    return np.asarray(a.detach().cpu() if hasattr(a, "detach") else a, dtype=np.float64)


def log_normal(op: Linear, e: Array, weight: float) -> Array:
    """log N(e; 0, weight A A^T + r² I)."""
    inside = e @ op.u
    spectrum = weight * op.s * op.s + op.variance
    logdet = sum(math.log(float(v)) for v in spectrum) + (op.m - len(spectrum)) * math.log(op.variance)
    rest = (e * e).sum(-1) - (inside * inside).sum(-1)
    return -0.5 * ((inside * inside / spectrum).sum(-1) + (1.0 / op.variance) * rest + logdet)


@sampler(reference="Dou & Song (ICLR 2024), Alg. 1 (FPS-SMC)", particles=True)
def fps(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, particles: int = 8) -> Array:
    r"""x_t ~ N(x; m, ς²) N(y_t; A x, α_t² r²) from DDPM's m and ς², resampled by N(y_t; A m, ς² A A^T + α_t² r²)."""
    p = Population(c, x, particles, noise)
    c, op = p.c, p.c.operator
    z = nodes[0].sigma * p.fresh()
    for (s, t), w in zip(pairwise(nodes), _path(p, nodes), strict=True):
        m, var = _ddpm(z, c.denoised(z, s), s, t)
        seen, known = t.alpha * (c.y + op(w)), op.with_variance(t.alpha**2 * op.variance)
        rows = p.resample(log_normal(known, seen - op(m), var))
        z = known.draw(m[rows], seen, var, p.fresh())
    d = c.denoised(z, nodes[-1])
    return d[p.one(0.0 * d[:, 0])]


def _path(p: Population, nodes: Sequence[Node]) -> list[Array]:
    """A Brownian path in ρ² at nodes[1:], made from the cleanest up; one for each group."""
    out: list[Array] = []
    low = 0.0
    for t in reversed(nodes[1:]):
        step = math.sqrt(t.rho**2 - low) * p.many(p.noise.next())
        out.append(out[-1] + step if out else step)
        low = t.rho**2
    return out[::-1]


def _ddpm(x: Array, d: Array, s: Node, t: Node) -> tuple[Array, float]:
    """Mean and variance of DDPM's step."""
    return drift_by_denoised(x, d, s, t, 1.0), -(t.sigma**2) * math.expm1(2.0 * (s.lam - t.lam))


@sampler(reference="arXiv:2306.17775, Alg. 1", exact="every law, as particles and steps grow", particles=True)
def tds(c: Conditioned, x: Array, nodes: Sequence[Node], noise: Draws, *, particles: int = 8, std: float = 1.0) -> Array:
    r"""Twisted proposals: DDPM with D̃ = D + (σ²/α) ∇ log p̃, p̃ = N(y; A D, r_t² A A^T + r²) as in ΠGDM."""
    p = Population(c, x, particles, noise)
    c = p.c
    z = nodes[0].sigma * p.fresh()
    d, twist, pull = _twist(c, z, nodes[0], std)
    logs = twist
    for s, t in pairwise(nodes):
        rows = p.resample(logs)
        z, d, twist, pull = z[rows], d[rows], twist[rows], pull[rows]
        m, var = _ddpm(z, d, s, t)
        xi = p.fresh()
        z = _ddpm(z, d + pull, s, t)[0] + math.sqrt(var) * xi
        ratio = 0.5 * (xi * xi).sum(-1) - (0.5 / var) * ((z - m) * (z - m)).sum(-1)
        d, new, pull = _twist(c, z, t, std)
        logs, twist = ratio + new - twist, new
    final = log_normal(c.operator, c.residual(d), 0.0)
    return d[p.one(logs + final - twist)]


def _twist(c: Conditioned, x: Array, node: Node, std: float) -> tuple[Array, Array, Array]:
    """D, log p̃, and (σ²/α) ∇ log p̃."""
    d = c.denoised(x, node)
    e, w = c.residual(d), spread(node, std)
    pull = (node.sigma**2 / node.alpha) * c.vjp(x, node, c.operator.adjoint(c.operator.solve(e, w)))
    return d, log_normal(c.operator, e, w), pull
