r"""Log-densities by stochastic paths: variational bounds, Itô's formula, Girsanov's, and what dequantisation costs.

A stochastic solver whose steps are Gaussian (``Plan.transitions``) is a hidden-variable model of its output. With a path drawn forwards,

    log p(x_N) ≥ E_q[ log p(x_0) + Σ log p(x_{i+1}|x_i) − log q(x_0 … x_{N−1} | x_N) ],

which for the ancestral step is the bound of Ho et al. (arXiv:2006.11239) and Kingma et al. (arXiv:2107.00630): each term is
½ (SNR_s − SNR_t) |x0 − D(x_t)|². The price of a wrong score s̃ on the path space is Girsanov's ½ ∫ E|s − s̃|² d(rho²) for the clock rho².

Along a path of the reverse SDE dy = s du + dW, in y = x/alpha with u running down from rho_T², Itô's formula and the heat equation give

    d log p = s·dy − ½ |s|² du                                               (arXiv:2412.17762, Theorem 1 in this clock),

so that the density along a *stochastic* path needs no divergence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic.gaussian.information import expect
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.analytic.output.density import normal_log_prob
from scorebed.solvers.schedule import Node

Floats = NDArray[np.float64]


def forward_path(x: Any, nodes: Sequence[Node], rng: np.random.Generator | int) -> tuple[list[Floats], Floats]:
    """States x_0 … x_N at ``nodes``, noise to data, drawn forwards from x at the last node, and log q of all but x given x, (n,).

    Returns:
        ([x_0, …, x_N], log q): states (n, d) at each node, noise to data, and log q (n,).

    Raises:
        ValueError: nodes that do not run from noise to data.
    """
    rng = np.random.default_rng(rng)
    x = np.asarray(x, dtype=float)
    states, log_q = [x], np.zeros(len(x))
    for s, t in pairwise(reversed(list(nodes))):
        ratio = t.alpha / s.alpha
        variance = t.sigma**2 - (ratio * s.sigma) ** 2
        if variance <= 0.0:
            raise ValueError(f"nodes do not run from noise to data: {t} is not noisier than {s}")
        noise = math.sqrt(variance) * rng.standard_normal(x.shape)
        log_q = log_q + normal_log_prob(noise, variance)
        x = ratio * x + noise
        states.append(x)
    return states[::-1], log_q


def path_bound(transitions: Any, x: Any, rng: np.random.Generator | int, draws: int = 1) -> Floats:
    """log p(x) bounded from below by a stochastic solver as a hidden-variable model, (draws, n); its mean is the bound.

    Args:
        transitions: ``plan.transitions(model)`` of a stochastic Plan whose every step has a density.
        x: data at the last node of the Plan, (n, d).
        rng: of the forward paths, or its seed.
        draws: how many of them.

    Returns:
        (draws, n) lower bounds of log p(x), in nats.

    Raises:
        ValueError: a step without a density.
    """
    rng = np.random.default_rng(rng)
    out = []
    for _ in range(draws):
        states, log_q = forward_path(x, transitions.plan.grid, rng)
        total = normal_log_prob(states[0], transitions.plan.grid[0].sigma ** 2) - log_q
        for step in transitions.score(states):
            if step.log_prob is None:
                raise ValueError(f"{transitions.plan.solver}: the step from {step.s} to {step.t} has no density, so that it bounds nothing")
            total = total + step.log_prob
        out.append(total)
    return np.stack(out)


def mean_bound(law: GaussianMixture, nodes: Sequence[Node], model: Any = None) -> float:
    """E of ``path_bound`` for ancestral steps on a law on the line, by quadrature, where no path is drawn:

        E log N(x_0; 0, sigma_0²) + log(sigma_0/sigma_N) − ½ Σ (SNR_s − SNR_t) E|x0 − D(x_t)|²,

    which the I-MMSE relation makes E log p(x_N) as the steps vanish, up to the KL of the prior.

    Args:
        law: on the line.
        nodes: from noise to data.
        model: (x, node) -> another estimate of x0 in the place of the exact one.

    Returns:
        the mean bound over the law, in nats.
    """
    first, last = nodes[0], nodes[-1]

    def second(node: Node) -> float:
        def error(x: Floats) -> Floats:
            exact = np.asarray(law.denoised(x, node))[:, 0]
            given = exact if model is None else np.asarray(model(x, node))[:, 0]
            return np.asarray(law.posterior_covariance(x, node))[:, 0, 0] + (exact - given) ** 2

        return expect(law, error, node)

    total = expect(law, lambda x: normal_log_prob(x, first.sigma**2), first) + math.log(first.sigma / last.sigma)
    for t, s in pairwise(nodes):
        total -= 0.5 * ((s.alpha / s.sigma) ** 2 - (t.alpha / t.sigma) ** 2) * second(t)
    return total


def girsanov(law: GaussianMixture, wrong: Callable[[Any, Node], Any], nodes: Sequence[Node]) -> float:
    """½ ∫ E|s − s̃|² d(rho²): KL of the exact reverse path law from that of a wrong denoiser, on the line; Simpson's rule on ``nodes``.

    In y = x/alpha the score error is (D − D̃)/rho², so that the integrand is E|D − D̃|²/rho⁴.

    Returns:
        KL of the path laws in nats, 0 or more.

    Raises:
        ValueError: an odd number of intervals.
    """
    if len(nodes) % 2 == 0:
        raise ValueError(f"nodes has {len(nodes) - 1} intervals: give an even number")

    def rate(node: Node) -> float:
        def gap(x: Floats) -> Floats:
            return np.asarray(((np.asarray(law.denoised(x, node)) - np.asarray(wrong(x, node))) ** 2)[:, 0])

        rho2 = (node.sigma / node.alpha) ** 2
        return expect(law, gap, node) / rho2  # d(rho²) = −2 rho² dlam

    lams = np.array([node.lam for node in nodes])
    values = np.array([rate(node) for node in nodes])
    total = 0.0
    for i in range(0, len(nodes) - 2, 2):  # on three unequal points: the parabola's integral
        a, b, c = lams[i : i + 3]
        weights = np.linalg.solve(np.vander([a, b, c], 3, increasing=True).T, [c - a, (c**2 - a**2) / 2.0, (c**3 - a**3) / 3.0])
        total += float(weights @ values[i : i + 3])
    return abs(total)


def ito_log_prob(score: Callable[[Any, Node], Any], states: Sequence[Any], nodes: Sequence[Node], log_prior: Any) -> Floats:
    """log p at the last state of a reverse path: log_prior + Σ s·Δy − ½|s|² Δu in y = x/alpha, less d log alpha; (n,).

    Args:
        score: (x, node) -> ∇ log p_t(x).
        states, nodes: a path from noise to data, as ``sample(..., record=True).xs`` has it.
        log_prior: log p of the first state, (n,).

    Returns:
        (n,) log-densities at the last state, in nats.
    """
    first, last, d = nodes[0], nodes[-1], np.shape(states[0])[-1]
    total = np.asarray(log_prior) + d * math.log(first.alpha)
    for (x, s), (z, t) in pairwise(zip(states, nodes, strict=True)):
        g = s.alpha * np.asarray(score(x, s))  # ∇ in y
        du = (s.sigma / s.alpha) ** 2 - (t.sigma / t.alpha) ** 2
        total = total + np.sum(g * (np.asarray(z) / t.alpha - np.asarray(x) / s.alpha), axis=-1) - 0.5 * np.sum(g * g, axis=-1) * du
    return np.asarray(total - d * math.log(last.alpha))


def dequantised(law: GaussianMixture, centres: Any, width: float, nodes: int = 24) -> tuple[Floats, Floats]:
    """Exact log P(bin) of a law on the line, and E_u log p(c + width u) + log width with u uniform on [−½, ½]: never above it.

    Uniform dequantisation bounds the discrete log-likelihood from below (arXiv:1511.01844, eq. 11); the gap is the price.

    Args:
        centres: of the bins, (m,).
        width: of each.
        nodes: of the Gauss-Legendre rule in u.

    Returns:
        (exact log P(bin), its lower bound), both (m,), in nats.

    Raises:
        ValueError: a width that is not positive.
    """
    if not width > 0.0:
        raise ValueError(f"width = {width!r} must be positive")
    c = np.asarray(centres, dtype=float)
    z, w = np.polynomial.legendre.leggauss(nodes)
    inner = np.asarray(law.log_prob((c[:, None] + 0.5 * width * z)[..., None]))
    low, high = c - 0.5 * width, c + 0.5 * width
    left = c < float(law.mean()[0])
    mass = np.where(left, law.cdf(high) - law.cdf(low), law.sf(low) - law.sf(high))
    return np.log(mass), inner @ (0.5 * w) + math.log(width)
