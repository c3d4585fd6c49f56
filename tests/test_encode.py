"""Encoding and decoding: fixed points under guidance, controlled flows, round trips through diffusers both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, NonFinite, RectifiedFlow, grid, sample
from scorebed.solvers.encode import encode, to_data, to_noise, undo
from scorebed.toy.measure.convergence import order_of

BOTH = GaussianMixture([0.5, 0.5], [[-1.5, -0.45], [1.5, 0.45]], [[0.2, 0.3], [0.2, 0.3]])
ONE = GaussianMixture([1.0], [[1.5, 0.45]], [[0.2, 0.3]])
NODES = grid.uniform_lam(VP(), 30, end=0.02)
X0 = ONE.sample(20, 0)


def guided(w: float) -> Any:
    return lambda x, node: BOTH.denoised(x, node) + w * (ONE.denoised(x, node) - BOTH.denoised(x, node))


@pytest.mark.parametrize("name", ["ddim", "heun", "rf_solver_2"])
@pytest.mark.parametrize("w", [1.0, 3.0])
def test_a_fixed_point_is_undone_by_the_method_itself(name: str, w: float) -> None:
    method, model = SOLVERS[name], guided(w)
    z = encode(method, model, X0, NODES, iterations=200)
    assert np.abs(sample(method, model, z, NODES, terminal="none") - X0).max() < 1e-9


def test_ddim_inversion_is_the_first_iterate_and_drifts_under_guidance() -> None:
    method = SOLVERS["ddim"]
    errors = []
    for n in (1, 3, 60):
        z = encode(method, guided(3.0), X0, NODES, iterations=n, tolerance=0.0)
        errors.append(float(np.abs(sample(method, guided(3.0), z, NODES, terminal="none") - X0).max()))
    assert errors[0] > 1e-3
    assert errors[0] > 2.0 * errors[1] > 10.0 * errors[2]
    averaged = undo(method, guided(1.0), X0, NODES[-2], NODES[-1], iterations=6, tolerance=0.0, mean=3)
    np.testing.assert_allclose(averaged, undo(method, guided(1.0), X0, NODES[-2], NODES[-1]), atol=1e-4)


def test_too_strong_guidance_is_told() -> None:
    with pytest.raises(NonFinite, match="guidance too strong"):
        encode(SOLVERS["ddim"], guided(400.0), X0, grid.uniform_lam(VP(), 5, end=0.02), iterations=200)
    with pytest.raises(ValueError, match="draws noise"):
        encode(SOLVERS["ddpm"], guided(1.0), X0, NODES)
    with pytest.raises(ValueError, match="keeps a memory"):
        undo(SOLVERS["dpmpp_2m"], guided(1.0), X0, NODES[-2], NODES[-1])
    with pytest.raises(ValueError, match="mean = 5"):
        undo(SOLVERS["ddim"], guided(1.0), X0, NODES[-2], NODES[-1], iterations=3, mean=5)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "fireflow"])
def test_controlled_flows_end_where_they_are_drawn_to(name: str) -> None:
    nodes = grid.uniform_lam(RectifiedFlow(), 20, 0.98, 0.02)
    eps = np.random.default_rng(1).standard_normal(X0.shape)
    start = nodes[-1].alpha * X0 + nodes[-1].sigma * eps
    up = sample(SOLVERS[name], to_noise(BOTH.denoised, eps, 1.0), start, nodes[::-1], terminal="none")
    np.testing.assert_allclose(up, nodes[0].alpha * X0 + nodes[0].sigma * eps, atol=1e-8)
    down = sample(SOLVERS[name], to_data(BOTH.denoised, X0, 1.0), nodes[0].sigma * eps, nodes, terminal="denoise")
    np.testing.assert_allclose(down, X0, atol=1e-10)
    free = sample(SOLVERS[name], BOTH.denoised, nodes[0].sigma * eps, nodes, terminal="denoise")
    half = sample(SOLVERS[name], to_data(BOTH.denoised, X0, 0.5), nodes[0].sigma * eps, nodes, terminal="denoise")
    assert np.abs(half - X0).mean() < 0.7 * np.abs(free - X0).mean()


def test_fireflow_has_the_order_of_the_midpoint_rule_at_half_its_price() -> None:
    from scorebed.solvers import trace

    assert trace(SOLVERS["fireflow"], NODES).nfe == len(NODES)
    assert trace(SOLVERS["rf_solver_2"], NODES).nfe == 2 * len(NODES) - 2


MEANS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def velocity(x: Any, sigma: float) -> Any:
    """eps − D of a mixture of three on a rectified flow."""
    alpha = 1.0 - sigma
    total = alpha * alpha * 0.04 + sigma * sigma
    mean = torch.softmax(-((x[:, None] - alpha * MEANS) ** 2).sum(-1) / (2 * total), -1) @ MEANS
    d = mean + alpha * 0.04 / total * (x - alpha * mean)
    return (x - alpha * d) / sigma - d


def through(scheduler: Any, x: Any, n: int, inverted: bool = False) -> Any:
    """A pipeline's loop; an inverted network is told 1000 (1 − sigma) and gives x0 − eps."""
    scheduler.set_timesteps(n)
    for t in scheduler.timesteps:
        told = float(t) / 1000.0
        out = -velocity(x.double(), 1.0 - told) if inverted else velocity(x.double(), told)
        x = scheduler.step(out.to(x.dtype), t, x).prev_sample
    return x


def ours(**options: Any) -> Any:
    from scorebed.gpu.diffusers.scheduler import ScorebedScheduler

    return ScorebedScheduler(prediction_type="flow_prediction", shift=2.0, final_sigmas_type="sigma_min", **options)


@pytest.mark.parametrize("name", ["ddim", "heun", "rf_solver_2", "fireflow", "dpmpp_2m"])
def test_round_trips_through_the_adapter_both_ways(name: str) -> None:
    """Data to noise (``inverse=True``) and back: the error falls with the order of the method, at least the first."""
    x0 = MEANS[torch.arange(12) % 3] + 0.2 * torch.randn(12, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    errors = []
    for n in (40, 80, 160):
        z = through(ours(solver=name, inverse=True), x0, n)
        errors.append(float((through(ours(solver=name), z, n) - x0).abs().max()))
    assert order_of((40, 80, 160), errors).slope > (0.8 if name == "ddim" else 1.4), errors


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m"])
def test_an_inverted_clock_changes_nothing(name: str) -> None:
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    plain, turned = ours(solver=name), ours(solver=name, invert_sigmas=True)
    torch.testing.assert_close(through(turned, x, 12, inverted=True), through(plain, x, 12), rtol=0.0, atol=1e-5)
    torch.testing.assert_close(turned.timesteps, 1000.0 - plain.timesteps, rtol=0.0, atol=1e-3)
    torch.testing.assert_close(turned.sigmas, 1.0 - plain.sigmas, rtol=0.0, atol=1e-6)
    z = through(ours(solver=name, invert_sigmas=True, inverse=True), x, 12, inverted=True)
    torch.testing.assert_close(z, through(ours(solver=name, inverse=True), x, 12), rtol=0.0, atol=1e-5)
    noised = turned.add_noise(x, x.flip(0), turned.timesteps[3:4])
    torch.testing.assert_close(noised, plain.add_noise(x, x.flip(0), plain.timesteps[3:4]), rtol=0.0, atol=1e-6)


def test_an_inverted_config_of_diffusers_is_adopted_and_reproduced() -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    from scorebed.gpu.diffusers.scheduler import ScorebedScheduler

    theirs = FlowMatchEulerDiscreteScheduler(shift=3.0, invert_sigmas=True)
    own = ScorebedScheduler.from_config(theirs.config, solver="ddim")
    assert own.config.invert_sigmas
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    one, two = through(theirs, x, 10, inverted=True), through(own, x, 10, inverted=True)
    torch.testing.assert_close(own.timesteps, theirs.timesteps, rtol=0.0, atol=1e-2)
    torch.testing.assert_close(two, one, rtol=0.0, atol=2e-3)
