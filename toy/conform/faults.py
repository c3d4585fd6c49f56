"""Samplers as people write them down in other languages, and what they get wrong: the known-bad twins of the vectors.

``sampler(method, fault)`` is a function (denoise, x, nodes, noises) -> x at the last node. Without a fault it is the method of the
catalogue, started by DDIM where it has a memory; the tests hold that. A fault is a line that is written wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from scorebed.solvers.schedule import Node

Floats = NDArray[np.float64]
Denoise = Callable[[Floats, Node], Floats]
Sampler = Callable[[Denoise, Floats, Sequence[Node], Sequence[Floats]], Floats]

FAULTS: dict[str, dict[str, str]] = {
    "ddim": {
        "alpha of the old node": "alpha_s stands where alpha_t belongs",
        "last step left out": "the loop ends one step early",
        "sign of h": "e^h − 1 with the sign of the other form",
        "sigma ratio inverted": "sigma_s/sigma_t in place of sigma_t/sigma_s",
    },
    "heun": {
        "second slope at the old node": "the corrector's slope is divided by the old level",
        "slopes not averaged": "the second slope alone moves the state",
        "last step left out": "the loop ends one step early",
    },
    "dpmpp_2m": {
        "missing factor 1/2": "h/h₋ in place of h/(2 h₋)",
        "step ratio inverted": "h₋/(2h) in place of h/(2 h₋)",
        "sign of the correction": "minus the difference of the denoised",
        "weights of equal steps": "h₋ = h, whatever the grid",
        "memory one step late": "the denoised of two steps ago is used",
        "no memory": "every step is the first one",
        "last step left out": "the loop ends one step early",
    },
    "ddpm": {
        "standard deviation for variance": "the noise is multiplied by the variance",
        "noise left out": "the mean alone",
        "deterministic drift": "the drift of the flow under the noise of the SDE",
        "last step left out": "the loop ends one step early",
    },
}
"""For each method the faults that are known, and what was written."""


def sampler(method: str, fault: str | None = None) -> Sampler:
    """The sampler, with the fault in it.

    Returns:
        the Sampler, a function that gives the last states x.

    Raises:
        ValueError: an unknown method or fault.
    """
    if method not in FAULTS:
        raise ValueError(f"method = {method!r} is not in the vectors: give one of {', '.join(FAULTS)}")
    if fault is not None and fault not in FAULTS[method]:
        raise ValueError(f"fault = {fault!r} is not known of {method}: give one of {', '.join(FAULTS[method])}")
    step = {"ddim": _ddim, "heun": _heun, "dpmpp_2m": _dpmpp_2m, "ddpm": _ddpm}[method]

    def sample(denoise: Denoise, x: Floats, nodes: Sequence[Node], noises: Sequence[Floats]) -> Floats:
        past: list[tuple[Node, Floats]] = []
        for i in range(len(nodes) - 1 - (fault == "last step left out")):
            x = step(denoise, x, nodes[i], nodes[i + 1], past, noises[i] if len(noises) else 0.0 * x, fault)
        return x

    return sample


def _flow(x: Floats, denoised: Floats, s: Node, t: Node) -> Floats:
    return (t.sigma / s.sigma) * x - t.alpha * math.expm1(s.lam - t.lam) * denoised


def _ddim(denoise: Denoise, x: Floats, s: Node, t: Node, past: list[tuple[Node, Floats]], xi: Floats, fault: str | None) -> Floats:
    """x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D."""
    h, alpha, ratio = t.lam - s.lam, t.alpha, t.sigma / s.sigma
    if fault == "alpha of the old node":
        alpha = s.alpha
    if fault == "sign of h":
        h = -h
    if fault == "sigma ratio inverted":
        ratio = 1.0 / ratio
    return ratio * x - alpha * math.expm1(-h) * denoise(x, s)


def _heun(denoise: Denoise, x: Floats, s: Node, t: Node, past: list[tuple[Node, Floats]], xi: Floats, fault: str | None) -> Floats:
    """y_t = y + (ρ_t − ρ_s)(d_s + d_t)/2 with y = x/α, d = (y − D)/ρ."""
    y, step = x / s.alpha, t.rho - s.rho
    first = (y - denoise(x, s)) / s.rho
    u = y + step * first
    second = (u - denoise(t.alpha * u, t)) / (s.rho if fault == "second slope at the old node" else t.rho)
    weights = (0.0, 1.0) if fault == "slopes not averaged" else (0.5, 0.5)
    return t.alpha * (y + step * (weights[0] * first + weights[1] * second))


def _dpmpp_2m(denoise: Denoise, x: Floats, s: Node, t: Node, past: list[tuple[Node, Floats]], xi: Floats, fault: str | None) -> Floats:
    """x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1)(D_s + h/(2h₋)(D_s − D_r))."""
    denoised = mixed = denoise(x, s)
    late = fault == "memory one step late"
    if len(past) > late and fault != "no memory":
        _, old = past[-1 - late]
        h, before = t.lam - s.lam, s.lam - past[-1][0].lam
        weight = 0.5 * h / before
        if fault == "weights of equal steps":
            weight = 0.5
        if fault == "missing factor 1/2":
            weight = h / before
        if fault == "step ratio inverted":
            weight = 0.5 * before / h
        if fault == "sign of the correction":
            weight = -weight
        mixed = denoised + weight * (denoised - old)
    past.append((s, denoised))
    return _flow(x, mixed, s, t)


def _ddpm(denoise: Denoise, x: Floats, s: Node, t: Node, past: list[tuple[Node, Floats]], xi: Floats, fault: str | None) -> Floats:
    """x_t = (σ_t/σ_s) e^{−h} x + α_t (1 − e^{−2h}) D + σ_t sqrt(1 − e^{−2h}) ξ."""
    h = t.lam - s.lam
    variance = -t.sigma * t.sigma * math.expm1(-2.0 * h)
    scale = {"standard deviation for variance": variance, "noise left out": 0.0}.get(fault or "", math.sqrt(variance))
    denoised = denoise(x, s)
    if fault == "deterministic drift":
        return _flow(x, denoised, s, t) + scale * xi
    return (t.sigma / s.sigma) * math.exp(-h) * x - t.alpha * math.expm1(-2.0 * h) * denoised + scale * xi
