"""Samplers of flow models as other libraries write them: ComfyUI's on a flow, and solvers of dx/dt = v(x, t)."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from scorebed import check_solver


def euler(model: Any, x: Any, sigmas: Any) -> Any:
    for a, b in pairwise(sigmas):
        x = x + (b - a) * (x - model(x, a)) / a
    return x


def ancestral(model: Any, x: Any, sigmas: Any, rng: Any, flow: bool = True) -> Any:
    """An ancestral step; that of k-diffusion adds noise to a state of alpha = 1, which a flow's is not."""
    for a, b in pairwise(sigmas):
        denoised = model(x, a)
        if flow:
            down, up = b * b / a, 1.0
            mean = (down / a) * x + (1.0 - down / a) * denoised
            scale = (1.0 - b) / (1.0 - down)
            x = scale * mean + math.sqrt(max(b * b - (scale * down) ** 2, 0.0)) * up * rng.standard_normal(x.shape)
        else:
            up = math.sqrt(b * b * (a * a - b * b)) / a
            down = math.sqrt(b * b - up * up)
            x = x + (down - a) * (x - denoised) / a + up * rng.standard_normal(x.shape)
    return x


def test_samplers_of_comfyui_on_a_flow() -> None:
    report = check_solver(euler, order=1, kind="comfy-flow", library="numpy", quick=True)
    assert report.passed, report
    how: dict[str, Any] = {"weak": 1, "library": "numpy", "quick": True}
    right = check_solver(lambda model, x, sigmas, rng: ancestral(model, x, sigmas, rng), kind="comfy-flow", **how)
    assert right.passed, right

    def usual(model: Any, x: Any, sigmas: Any, rng: Any) -> Any:
        return ancestral(model, x, sigmas, rng, flow=False)

    assert not check_solver(usual, kind="comfy-flow", **how).passed
    ours = check_solver(usual, kind="k-diffusion", **how)
    assert ours.passed, ours  # on alpha = 1 it is right


def midpoint(velocity: Any, x: Any, times: Any, sign: float = 1.0) -> Any:
    for s, t in pairwise(times):
        h = t - s
        x = x + sign * h * velocity(x + 0.5 * sign * h * velocity(x, s), s + 0.5 * h)
    return x


def test_solvers_of_flow_matching() -> None:
    report = check_solver(midpoint, order=2, kind="velocity", quick=True)
    assert report.passed, report
    wrong = check_solver(lambda velocity, x, times: midpoint(velocity, x, times, -1.0), order=2, kind="velocity", quick=True)
    assert not wrong.passed


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_torchdiffeq(method: str, order: int) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")

    def solve(velocity: Any, x: Any, times: Any) -> Any:
        return torchdiffeq.odeint(lambda t, y: velocity(y, t), x, times, method=method)[-1]

    report = check_solver(solve, order=order, kind="velocity", library="torch", quick=True, only=("order", "dtype", "batch"))
    assert report.passed, report
