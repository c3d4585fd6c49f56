r"""What a class of denoisers learns: the exact minimiser of a weighted denoising loss over a class that is linear in its parameters.

    L(c) = Σ_i w_i E |x0 − Σ_k c_k φ_k(x_{t_i})|²,        G c = b,   G_kl = Σ w E φ_k·φ_l,   b_k = Σ w E D(x)·φ_k,

since E[x0 | x_t] = D. On mixtures every moment is closed (affine maps, low rank, polynomials in a graph's precision) or a quadrature on the
line (splines). The risk is mmse + E |D − D̂|², the excess its second term, and the noise of a stochastic gradient at the minimiser has the
covariance 4 E[(|D̂ − D|² + Var[x0|x]) φ φᵀ]: none of it is sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic.gaussian.information import points
from scorebed.analytic.gaussian.mixture import GaussianMixture
from scorebed.solvers.schedule import Node

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Minimiser:
    """The best denoiser of a class.

    Attributes:
        denoised: (x, node) -> its estimate of x0.
        coefficients: its parameters.
        risk: the weighted loss at the minimum.
        gradient_noise: covariance of a stochastic gradient there, (m, m); None where it was not asked for.
    """

    denoised: Callable[[Any, Node], Floats]
    coefficients: Floats
    risk: float
    gradient_noise: Floats | None = None


def _weights(nodes: Node | Sequence[Node], weights: Any) -> tuple[list[Node], Floats]:
    made = [nodes] if isinstance(nodes, Node) else list(nodes)
    w = np.ones(len(made)) if weights is None else np.asarray(weights, dtype=float)
    if w.shape != (len(made),) or not (w >= 0.0).all() or not w.sum() > 0.0:
        raise ValueError(f"weights = {weights!r}: give {len(made)} numbers that are not negative, one for each node")
    return made, w / w.sum()


def affine(law: Any, nodes: Node | Sequence[Node], weights: Any = None, rank: int | None = None) -> Minimiser:
    """The best x ↦ W x + b for all the nodes at once, with W of rank at most ``rank``: reduced-rank regression.

    W = B C⁻¹ with B = Σ w alpha Σ₀ and C the pooled covariance of x_t; of lower rank, U Uᵀ W with U the leading eigenvectors of W C Wᵀ.

    Args:
        law: with mean and covariance: a mixture, in any dimension.
        nodes, weights: of the loss; equal weights by default.
        rank: None for any.

    Returns:
        the Minimiser, with coefficients [W, b] as (d, d + 1) and its risk.

    Raises:
        ValueError: weights that do not fit, or a rank below 1.
    """
    made, w = _weights(nodes, weights)
    mean, cov = np.asarray(law.mean()), np.asarray(law.covariance())
    d = len(mean)
    if rank is not None and not 1 <= rank <= d:
        raise ValueError(f"rank = {rank}: give 1 to {d}, or None")
    alpha = np.array([node.alpha for node in made])
    centre = float(w @ alpha)
    second = sum(wi * (n.alpha**2 * (cov + np.outer(mean, mean)) + n.sigma**2 * np.eye(d)) for wi, n in zip(w, made, strict=True))
    c = np.asarray(second) - centre**2 * np.outer(mean, mean)
    b = centre * cov
    gain = np.linalg.solve(c, b.T).T
    if rank is not None and rank < d:
        u = np.linalg.eigh(gain @ c @ gain.T)[1][:, -rank:]
        gain = u @ u.T @ gain
    offset = mean - centre * gain @ mean
    risk = float(np.trace(cov) - 2.0 * np.trace(gain @ b.T) + np.trace(gain @ c @ gain.T))
    return Minimiser(lambda x, node: np.asarray(x) @ gain.T + offset, np.column_stack([gain, offset]), risk)


def graph_polynomial(covariance: Any, precision: Any, node: Node, degree: int) -> Minimiser:
    """The best Σ_l c_l P^l x for a centred Gaussian field: what ``degree`` linear layers on the graph of P can hold.

    Args:
        covariance: of x0, (d, d).
        precision: P, (d, d), symmetric; the mask of a layer is its pattern.
        node: the noise level.
        degree: L.

    Returns:
        the Minimiser, with coefficients c_l and its risk.

    Raises:
        ValueError: a degree below 0.
    """
    if degree < 0:
        raise ValueError(f"degree = {degree}: give 0 or more")
    cov, p = np.asarray(covariance, dtype=float), np.asarray(precision, dtype=float)
    scaled = p / np.abs(np.linalg.eigvalsh(p)).max()
    powers = [np.eye(len(p))]
    for _ in range(degree):
        powers.append(powers[-1] @ scaled)
    noisy = node.alpha**2 * cov + node.sigma**2 * np.eye(len(p))
    gram = np.array([[np.trace(a @ noisy @ b.T) for b in powers] for a in powers])
    right = np.array([node.alpha * np.trace(a @ cov) for a in powers])
    c = np.linalg.lstsq(gram, right, rcond=1e-14)[0]
    gain = sum(ci * a for ci, a in zip(c, powers, strict=True))
    risk = float(np.trace(cov) - 2.0 * right @ c + c @ gram @ c)
    return Minimiser(lambda x, n: np.asarray(x) @ np.asarray(gain).T, np.asarray(c), risk)


def hats(x: Any, knots: Floats) -> Floats:
    """Functions that are linear between the knots and add up to one, the outer pieces going on in a straight line; (m, knots) at x (m,)."""
    x = np.asarray(x, dtype=float)
    i = np.clip(np.searchsorted(knots, x) - 1, 0, len(knots) - 2)
    share = (x - knots[i]) / (knots[i + 1] - knots[i])
    out = np.zeros((len(x), len(knots)))
    out[np.arange(len(x)), i], out[np.arange(len(x)), i + 1] = 1.0 - share, share
    return out


def spline(law: GaussianMixture, nodes: Node | Sequence[Node], knots: Any, weights: Any = None) -> Minimiser:
    """The best continuous function that is linear between ``knots`` (and beyond them) on the line, with its gradient noise.

    Args:
        law: on the line.
        nodes, weights: of the loss; one function for all of them.
        knots: rising, at least two.

    Returns:
        the Minimiser, with values at the knots, its risk and gradient noise.

    Raises:
        ValueError: knots that do not rise.
    """
    made, w = _weights(nodes, weights)
    k = np.asarray(knots, dtype=float)
    if k.ndim != 1 or len(k) < 2 or not (np.diff(k) > 0.0).all():
        raise ValueError(f"knots = {knots!r}: give at least two rising numbers")

    def features(x: Floats) -> Floats:
        return hats(x, k)

    gram, right, parts = np.zeros((len(k), len(k))), np.zeros(len(k)), []
    for wi, node in zip(w, made, strict=True):
        x, q = points(law, node=node)
        mass = wi * q * np.exp(law.log_prob(x, node))
        d, v = np.asarray(law.denoised(x, node))[:, 0], np.asarray(law.posterior_covariance(x, node))[:, 0, 0]
        phi = features(x[:, 0])
        gram += (phi * mass[:, None]).T @ phi
        right += phi.T @ (mass * d)
        parts.append((phi, mass, d, v))
    c = np.linalg.lstsq(gram, right, rcond=1e-13)[0]
    risk, noise = 0.0, np.zeros_like(gram)
    for phi, mass, d, v in parts:
        error = (phi @ c - d) ** 2 + v
        risk += float(mass @ error)
        noise += 4.0 * (phi * (mass * error)[:, None]).T @ phi

    def denoised(x: Any, node: Node) -> Floats:
        return np.asarray(features(np.asarray(x)[..., 0].reshape(-1)) @ c).reshape(np.shape(x))

    return Minimiser(denoised, np.asarray(c), risk, noise)
