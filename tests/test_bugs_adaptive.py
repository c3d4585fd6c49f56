"""Adaptive methods and SciPy's: conditions of each sample, low precision, tolerances below round-off, a denoiser that is never the same,
gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.solvers import EDM, SOLVERS, VP, Node, denoiser, grid, pointwise, sample
from scorebed.solvers.methods.adaptive import ToleranceNotMet
from scorebed.solvers.methods.centred import about
from scorebed.solvers.methods.scipy_integrators import IntegratorFailed
from scorebed.solvers.rows import of_rows

PAIRS = ("bogacki_shampine", "dormand_prince", "dpm_solver_12", "dpm_solver_23")
SCIPY = ("scipy_rk45", "scipy_dop853", "scipy_radau", "scipy_lsoda")
SIDES = [GaussianMixture([1.0], [[m]], [0.05]) for m in (-1.0, 1.0)]
LAW = GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.05, 0.1])
NODES = grid.uniform_lam(VP(), 4)


def labelled(labels: np.ndarray) -> Any:
    """The usual way to condition: the labels of the batch by position."""

    def denoise(x: Any, node: Node) -> Any:
        both = np.stack([side.denoised(x, node) for side in SIDES])
        return both[labels[: len(x)], np.arange(len(x))]

    return denoise


# conditions


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
def test_every_sample_keeps_its_label(name: str) -> None:
    labels = np.arange(6) % 2
    x = np.random.default_rng(0).standard_normal((6, 1)) * NODES[0].sigma
    found = sample(SOLVERS[name], labelled(labels), x, NODES)
    np.testing.assert_array_equal(found[:, 0] > 0.0, labels == 1)
    for side in (0, 1):  # and is what it is alone with its label
        alone = sample(SOLVERS[name], SIDES[side].denoised, x[labels == side], NODES)
        np.testing.assert_allclose(found[labels == side], alone, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize("name", ["dormand_prince", "dpm_solver_12", "scipy_rk45"])
def test_networks_with_conditions_by_sample_run(name: str) -> None:
    def network(z: Any, t: Any, cond: Any) -> Any:
        return 0.1 * z + cond

    z = torch.randn(4, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cond = torch.arange(4.0, dtype=torch.float64)[:, None]
    wrapped = gpu.wrap(network, VP(), "x0", per_sample={"cond": cond})
    together = sample(SOLVERS["heun"], wrapped, z, grid.uniform_lam(VP(), 200))
    guided = gpu.guided(network, cond, 0.0 * cond, 2.0)
    far = sample(SOLVERS["heun"], guided, z, grid.uniform_lam(VP(), 200))
    for denoise, exact in ((wrapped, together), (guided, far)):
        np.testing.assert_allclose(gpu.run(SOLVERS[name], denoise, z, NODES), exact, rtol=0.0, atol=0.02)


def test_a_part_is_asked_for_in_three_ways() -> None:
    seen: list[int] = []

    class Named:
        def __init__(self, names: list[int]) -> None:
            self.names = names

        def take(self, rows: list[int]) -> Named:
            return Named([self.names[i] for i in rows])

        def __call__(self, x: Any, node: Node) -> Any:
            seen.append(len(x))
            return x + np.array(self.names)[:, None]

    def everywhere(x: Any, node: Node) -> Any:
        seen.append(len(x))
        return x + np.arange(4)[:, None]

    y, rows = np.array([[10.0], [20.0]]), [1, 3]
    for denoise in (Named([0, 1, 2, 3]), everywhere, denoiser(everywhere), denoiser(Named([0, 1, 2, 3]))):
        np.testing.assert_array_equal(of_rows(denoise, rows, 4)(y, NODES[0]), [[11.0], [23.0]])
    alike = pointwise(lambda x, node: seen.append(len(x)) or 2.0 * x)
    np.testing.assert_array_equal(of_rows(alike, rows, 4)(y, NODES[0]), 2.0 * y)
    np.testing.assert_array_equal(of_rows(denoiser(alike), rows, 4)(y, NODES[0]), 2.0 * y)
    assert seen == [2, 4, 4, 2, 2, 2]


def test_a_centre_of_each_sample_stays_with_it() -> None:
    centre, x = np.linspace(-3.0, 3.0, 7)[:, None], np.random.default_rng(1).standard_normal((7, 1))
    moved = lambda y, node: 0.3 * (y - centre[: len(y)]) + centre[: len(y)]  # noqa: E731
    found = sample(about(SOLVERS["dormand_prince"], centre), moved, x, NODES, terminal="none")
    alone = [
        sample(about(SOLVERS["dormand_prince"], c), lambda y, node, c=c: 0.3 * (y - c) + c, row, NODES, terminal="none")
        for c, row in zip(centre, x, strict=True)
    ]
    np.testing.assert_allclose(found, np.stack(alone), atol=1e-12)


# precision


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_what_it_can(name: str, dtype: torch.dtype) -> None:
    """At default tolerances: an error of a few units of round-off of the data, in few calls."""
    nodes = grid.karras(EDM(0.01, 20.0), 1)
    x = 20.0 * torch.randn(4, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth, calls = LAW.flow(x.to(dtype).double().numpy(), nodes[0], nodes[-1]), 0

    def denoise(z: torch.Tensor, node: Node) -> torch.Tensor:
        nonlocal calls
        calls += 1
        assert z.dtype == dtype
        return torch.from_numpy(LAW.denoised(z.double().numpy(), node)).to(z.dtype)

    found = sample(SOLVERS[name], pointwise(denoise), x.to(dtype), nodes, terminal="none")
    assert found.dtype == dtype
    assert np.abs(found.double().numpy() - truth).max() < max(4.0 * torch.finfo(dtype).eps, 0.01)  # dpm_solver_12 has tolerance 0.01
    assert calls < 300


def test_scipy_says_why_half_precision_is_refused() -> None:
    for name in SCIPY:
        with pytest.raises(TypeError, match=r"denoiser of torch.bfloat16, which rounds to 0.008: give x.float\(\)"):
            sample(SOLVERS[name], lambda y, node: 0.5 * y, torch.ones(2, 1, dtype=torch.bfloat16), NODES)


@pytest.mark.parametrize("name", [*PAIRS, *SCIPY])
def test_tolerances_below_round_off_are_refused(name: str) -> None:
    for dtype, tol in ((np.float64, 1e-16), (np.float32, 1e-8)):
        x = np.ones((2, 1), dtype)
        with pytest.raises(
            (ToleranceNotMet, ValueError), match=rf"rtol = {tol!r}.* below the round-off of {np.dtype(dtype)}.* give at least"
        ):
            sample(SOLVERS[name](rtol=tol, atol=tol), LAW.denoised, x, NODES)


@pytest.mark.parametrize("name", ["dormand_prince", *SCIPY])
def test_a_denoiser_that_does_not_repeat_itself_ends(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scorebed.solvers.methods import adaptive, scipy_integrators

    monkeypatch.setattr(scipy_integrators, "MOST_CALLS", 2000)
    monkeypatch.setattr(adaptive, "_ATTEMPTS", 300)
    rng, calls = np.random.default_rng(0), 0

    def denoise(z: Any, node: Node) -> Any:
        nonlocal calls
        calls += 1
        return 0.5 * np.tanh(z) + 1e-3 * rng.standard_normal(z.shape)

    method = SOLVERS[name](rtol=1e-8, atol=1e-8)
    with pytest.raises((ToleranceNotMet, IntegratorFailed), match=r"sub-steps|calls on the way .* the same answer twice"):
        sample(method, denoise, rng.standard_normal((2, 1)), grid.uniform_lam(VP(), 1), terminal="none")
    assert calls < 5000


# gradients


def test_scipy_refuses_gradients() -> None:
    x = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    for name in SCIPY:
        for together in (False, True):
            with pytest.raises(ValueError, match="gives no gradient, but x requires one"):
                sample(SOLVERS[name](together=together), lambda y, node: 0.5 * y, x, NODES)
    with torch.no_grad():
        assert not sample(SOLVERS["scipy_rk45"], lambda y, node: 0.5 * y, x, NODES).requires_grad


def test_scipy_refuses_derivatives_of_the_network_and_forward_ones() -> None:
    run = lambda x, slope=0.5: sample(SOLVERS["scipy_rk45"], lambda y, node: slope * y, x, NODES)  # noqa: E731
    x, slope = torch.ones(2, 1, dtype=torch.float64), torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    with pytest.raises(ValueError, match="what the denoiser returns requires one"):
        run(x, slope)
    with torch.no_grad():
        assert torch.equal(run(x, slope), run(x))
    with pytest.raises(ValueError, match="x requires one"):
        torch.func.jvp(run, (x,), (x,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(ValueError, match="x requires one"):
        run(torch.autograd.forward_ad.make_dual(x, x))


@pytest.mark.parametrize("name", PAIRS)
def test_our_own_adaptive_methods_have_the_gradient_of_the_flow(name: str) -> None:
    def bent(y: torch.Tensor, node: Node) -> torch.Tensor:
        return torch.tanh(y) * node.alpha

    x = torch.tensor([[0.3], [-1.2], [2.0]], dtype=torch.float64, requires_grad=True)
    tol = 1e-4 if name == "dpm_solver_12" else 1e-6
    method = SOLVERS[name](rtol=tol, atol=tol)
    out = sample(method, bent, x, NODES, terminal="none")
    (found,) = torch.autograd.grad(out.sum(), x)
    step = 1e-3
    up, down = (sample(method, bent, x.detach() + sign * step, NODES, terminal="none") for sign in (1.0, -1.0))
    np.testing.assert_allclose(found, (up - down) / (2.0 * step), rtol=0.0, atol=2e-3)
