r"""The log-density of what a deterministic solver makes, as a function of its Plan: exact determinants, and the solver's own quadrature.

A Plan on a grid from s to t is a map x_t = Φ(x_s). With A_i = ∂D/∂x at its evaluations it is walked on dual numbers, which gives
∂Φ exactly, whatever the method. So with data at s and the prior at t, and the other way round for samples,

    log q(x_s) = log prior(Φ(x_s)) + log|det ∂Φ|,        log q(x_t) = log prior(x_s) − log|det ∂Φ|.

What implementations do instead is to integrate the divergence along. The exact flow has

    log|det ∂x_t/∂x_s| = d log(sigma_t/sigma_s) − ∫_{lam_t}^{lam_s} alpha tr A dlam.

A Plan whose output is a x + Σ b_i D_i integrates any function of the clock at the nodes of its evaluations, with the weights
w_i = sigma_i b_i/sigma_t: carrying log p as one more coordinate of the state is, to the last bit of algebra,

    log|det| ≈ d log(sigma_t/sigma_s) + Σ_i w_i tr A_i.

Both are of the order of the solver. With Hutchinson's probes in place of the trace the variance of the second is that of the one matrix
Σ w_i A_i where the probe is kept along the run (arXiv:1810.01367, section 3.1), and Σ w_i² var_i where it is drawn anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from scorebed.analytic.output.likelihood import hutchinson_variance
from scorebed.analytic.output.moments import Program
from scorebed.solvers.schedule import Node

Floats = NDArray[np.float64]
Model = Callable[[Any, Node], Any]


class Deterministic(Program, Protocol):
    """The part of a Plan that is used."""

    @property
    def nodes(self) -> tuple[Any, ...]: ...
    @property
    def output(self) -> np.ndarray: ...
    @property
    def stochastic(self) -> bool: ...


@dataclass(frozen=True)
class Pushed:
    """A Plan walked with its Jacobian.

    Attributes:
        end: Φ(x), (n, d).
        jacobian: ∂Φ/∂x, (n, d, d).
        log_det: log|det ∂Φ|, (n,), exact for the map that the solver is.
        quadrature: the same by the solver's own quadrature of the divergence, (n,).
        weights: w_i of each evaluation, (nfe,).
        along: A_i = ∂D/∂x at each evaluation, (nfe, n, d, d).
    """

    end: Floats
    jacobian: Floats
    log_det: Floats
    quadrature: Floats
    weights: Floats
    along: Floats

    def probe_variance(self, probes: str = "rademacher", *, kept: bool = True) -> Floats:
        """The variance of ``quadrature`` with one Hutchinson probe in place of each trace, (n,); m probes divide it by m.

        Args:
            probes: "rademacher" or "gaussian".
            kept: one probe along the whole run, or a fresh one at each evaluation.

        Returns:
            (n,) variances of the one-probe estimate.
        """
        if kept:
            return hutchinson_variance(np.einsum("i,inab->nab", self.weights, self.along), probes)
        return np.asarray(np.einsum("i,in->n", self.weights**2, hutchinson_variance(self.along, probes)))


def quadrature_weights(plan: Deterministic) -> Floats:
    """w_i = sigma_i b_i/sigma_t with the output a x + Σ b_i D_i: ∫_{lam_s}^{lam_t} alpha tr A dlam ≈ Σ w_i tr A_i.

    Returns:
        (evaluations,) weights w_i of the traces.

    Raises:
        ValueError: the Plan draws noise, or evaluates its model at sigma = 0.
    """
    if plan.stochastic:
        raise ValueError("plan draws noise: the map of a stochastic method is no function of its state; see analytic.output.bound")
    sigmas = np.array([node.sigma for node in plan.nodes])
    last = plan.grid[-1].sigma
    if last == 0.0 or not sigmas.all():
        raise ValueError("plan ends or evaluates at sigma = 0, where the density is not defined: trace it with terminal='none'")
    return np.asarray(sigmas * plan.output[1:] / last)


def pushed(plan: Deterministic, denoise: Model, jacobian: Model, x: Any) -> Pushed:
    """Walk a deterministic Plan with its Jacobian.

    Args:
        plan: ``solvers.trace(solver, nodes)`` of a deterministic method, in either direction, without a terminal rule.
        denoise: (x, node) -> E[x0 | x] or what stands for it, (n, d).
        jacobian: (x, node) -> ∂D/∂x, (n, d, d); ``exact_jacobian(law)`` is that of a law.
        x: states at the first node, (n, d).

    Returns:
        ``Pushed``.

    Raises:
        ValueError: a stochastic Plan, or x that is not (n, d).
    """
    weights = quadrature_weights(plan)
    x = np.asarray(x, dtype=float)
    if x.ndim != 2:
        raise ValueError(f"x has shape {x.shape}: give (n, d)")
    n, d = x.shape
    along: list[Floats] = []

    def evaluate(z: Floats, node: Node) -> Floats:
        a = np.asarray(jacobian(z[:, 0], node))
        along.append(a)
        return np.concatenate([np.asarray(denoise(z[:, 0], node))[:, None], z[:, 1:] @ np.swapaxes(a, -1, -2)], axis=1)

    def total(terms: list[tuple[float, Floats]]) -> Floats:
        return sum((c * z for c, z in terms), np.zeros((n, 1 + d, d)))

    def draw(s: Node, t: Node) -> Floats:
        raise ValueError("plan draws noise")

    start = np.concatenate([x[:, None], np.broadcast_to(np.eye(d), (n, d, d))], axis=1)
    out = plan.fold(start, evaluate, draw, total)
    first, last = plan.grid[0], plan.grid[-1]
    turned = np.swapaxes(out[:, 1:], -1, -2)
    traces = np.stack([np.trace(a, axis1=-2, axis2=-1) for a in along]) if along else np.zeros((0, n))
    return Pushed(
        end=out[:, 0],
        jacobian=turned,
        log_det=np.linalg.slogdet(turned)[1],
        quadrature=d * math.log(last.sigma / first.sigma) + weights @ traces,
        weights=weights,
        along=np.array(along),
    )


def exact_jacobian(law: Any) -> Model:
    """∂D/∂x = (alpha/sigma²) Cov[x0 | x] of a law."""
    return lambda x, node: node.alpha / node.sigma**2 * np.asarray(law.posterior_covariance(x, node))


def normal_log_prob(x: Any, variance: float) -> Floats:
    """log N(x; 0, variance I), (n,)."""
    x = np.asarray(x, dtype=float)
    return np.asarray(-0.5 * np.sum(x * x, axis=-1) / variance - 0.5 * x.shape[-1] * math.log(2.0 * math.pi * variance))


def solver_log_prob(plan: Deterministic, law: Any, x: Any, *, prior: str = "exact", by: str = "determinant", model: Any = None) -> Floats:
    """log p(x) as a solver has it that runs from the data, plan.grid[0], to the noise, plan.grid[-1].

    Args:
        plan: of a deterministic method, from data to noise.
        law: with denoised, posterior_covariance and log_prob.
        x: data at the first node, (n, d).
        prior: "exact", the law at the last node, or "normal", N(0, sigma² I).
        by: "determinant" or "quadrature".
        model: (denoise, jacobian) in the place of the exact ones.

    Returns:
        (n,) log-densities, in nats.

    Raises:
        ValueError: an unknown prior or way, or a Plan that runs from noise to data.
    """
    for name, value, known in (("prior", prior, ("exact", "normal")), ("by", by, ("determinant", "quadrature"))):
        if value not in known:
            raise ValueError(f"{name} = {value!r} is not known: give one of {', '.join(known)}")
    if plan.grid[-1].lam > plan.grid[0].lam:
        raise ValueError("plan runs from noise to data: a likelihood runs from the data to the noise, so trace the reversed grid")
    denoise, jacobian = model or (law.denoised, exact_jacobian(law))
    run = pushed(plan, denoise, jacobian, x)
    last = plan.grid[-1]
    log_prior = np.asarray(law.log_prob(run.end, last)) if prior == "exact" else normal_log_prob(run.end, last.sigma**2)
    return log_prior + (run.log_det if by == "determinant" else run.quadrature)
