"""Who owns memory in ``gpu.run``: networks that re-use a buffer or write on their input do no harm, whoever sees it, and nothing returned
or given is shared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from scorebed import gpu
from scorebed.gpu.plan.owned import owned
from scorebed.solvers import SOLVERS, VP, BrownianNoise, Node, NonFinite, Solver, methods_on, predicts, sample, trace
from scorebed.solvers.grid import uniform_lam

UNROLLED = [s for s in methods_on().values() if s.nonlinear is None]
FEW_STEP = [s for s in SOLVERS.values() if s.takes != "denoised"]
GRID = uniform_lam(VP(), 5, start=0.9, end=0.05)
X = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def smooth(x: Tensor, node: Node) -> Tensor:
    return 0.5 * torch.tanh(node.alpha * x + 0.3 * torch.roll(x, 1, -1)) + 0.2 * torch.sin(x)


class OneBuffer:
    """Gives back one tensor every time; a write through NumPy is not counted by torch, as those of other libraries."""

    def __init__(self, seen: bool = True) -> None:
        self.seen, self.buffer = seen, torch.empty_like(X)

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        value = smooth(x, node)
        if self.buffer.shape != value.shape:
            self.buffer = torch.empty_like(value)
        if self.seen:
            return self.buffer.copy_(value)
        self.buffer.numpy()[...] = value.numpy()
        return self.buffer


class Rotating:
    """Two buffers: the older result is overwritten as scratch, and the newer one returned."""

    def __init__(self) -> None:
        self.both = [torch.empty_like(X), torch.empty_like(X)]

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        self.both.reverse()
        self.both[1].numpy()[...] = np.nan
        self.both[0].numpy()[...] = smooth(x, node).numpy()
        return self.both[0]


def scribbles(x: Tensor, node: Node) -> Tensor:
    value = smooth(x, node)
    x.mul_(0.5)
    return value


def scribbles_unseen(x: Tensor, node: Node) -> Tensor:
    value = smooth(x, node)
    x.numpy()[...] = np.inf
    return value


def in_its_input(x: Tensor, node: Node) -> Tensor:
    return x.copy_(smooth(x, node))


NETWORKS: dict[str, Callable[[], Any]] = {
    "one buffer": OneBuffer,
    "one buffer, unseen": lambda: OneBuffer(False),
    "two buffers in turn": Rotating,
    "writes on its input": lambda: scribbles,
    "writes on its input, unseen": lambda: scribbles_unseen,
    "answers in its input": lambda: in_its_input,
}


@pytest.mark.parametrize("method", UNROLLED, ids=lambda s: s.name)
def test_no_network_can_do_harm(method: Solver) -> None:
    """The samples of a well-behaved network, with or without inference mode; the copies change nothing else either."""
    plan = trace(method, GRID, "denoise")
    truth = gpu.run(plan, smooth, X, noise=5)
    exact = plan.run(lambda x, n: smooth(torch.tensor(x), n).numpy(), X.numpy(), BrownianNoise(5, tuple(X.shape)))
    size = max(1.0, float(np.abs(plan.output).sum()), float(truth.abs().max()))
    assert np.abs(truth.numpy() - exact).max() < 1e-12 * size
    assert owned(plan).nfe == plan.nfe
    for name, make in NETWORKS.items():
        for mode in (nullcontext, torch.inference_mode):
            x = X.clone()
            with mode():
                found = gpu.run(plan, make(), x, noise=5)
            assert torch.equal(found, truth), (name, mode)
            assert torch.equal(x, X), (name, mode)


@pytest.mark.parametrize("method", FEW_STEP, ids=lambda s: s.name)
def test_no_few_step_map_can_do_harm(method: Solver) -> None:
    """Maps to an end or to another node are guarded as denoised means are; a grid for each sample runs them grid by grid."""

    def marked(network: Any) -> Any:
        return predicts(method.takes)(lambda x, node, *to: network(x, node))

    truth = gpu.run(method, marked(smooth), X, GRID, noise=5, terminal="none")
    for name, make in NETWORKS.items():
        x = X.clone()
        assert torch.equal(gpu.run(method, marked(make()), x, GRID, noise=5, terminal="none"), truth), name
        assert torch.equal(x, X), name
    other = uniform_lam(VP(), 5, start=0.7, end=0.1)
    found = gpu.run(method, marked(smooth), X, [GRID, other, GRID, other], noise=5, terminal="none")
    assert torch.allclose(found[::2], truth[::2], rtol=0.0, atol=1e-12)
    assert torch.allclose(found[1::2], gpu.run(method, marked(smooth), X, other, noise=5, terminal="none")[1::2], rtol=0.0, atol=1e-12)


def test_the_copies_are_needed() -> None:
    """Without them the very same networks spoil dpmpp_2m: the test above can fail."""
    from scorebed.gpu.plan import runner

    plan = trace(SOLVERS["dpmpp_2m"], GRID, "denoise")
    truth = gpu.run(plan, smooth, X)
    for name, make in NETWORKS.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner, "owned", lambda plan: plan)
            assert not torch.equal(gpu.run(plan, make(), X.clone(), check="none"), truth), name


@pytest.mark.parametrize("name", ["dpm_solver_12", "bogacki_shampine", "scipy_rk45"])
def test_methods_without_a_plan_are_guarded_too(name: str) -> None:
    truth = gpu.run(SOLVERS[name], smooth, X, GRID)
    for kind, make in NETWORKS.items():
        if kind == "two buffers in turn" or kind.startswith("one"):
            continue  # their buffers have the shape of the whole batch, of which these methods ask for parts
        x = X.clone()
        assert torch.allclose(gpu.run(SOLVERS[name], make(), x, GRID), truth, rtol=0.0, atol=1e-12), kind
        assert torch.equal(x, X), kind


def test_results_are_the_callers_own() -> None:
    """A second run changes no earlier result, whatever the network's memory; states given to callbacks are copies."""
    for make in (OneBuffer, Rotating):
        network = make()
        first = gpu.run(SOLVERS["ddim"], network, X, GRID)
        kept = first.clone()
        gpu.run(SOLVERS["ddim"], network, X + 1.0, GRID)
        assert torch.equal(first, kept)
    seen: list[Any] = []
    gpu.run(SOLVERS["dpmpp_2m"], OneBuffer(), X, GRID, terminal="none", callback=seen.append)
    run = sample(SOLVERS["dpmpp_2m"], lambda x, n: smooth(torch.tensor(x), n).numpy(), X.numpy(), GRID, terminal="none", record=True)
    for done, x, denoised in zip(seen, run.xs[1:], run.denoised, strict=True):
        np.testing.assert_allclose(done.x.numpy(), x, rtol=0.0, atol=1e-12)
        np.testing.assert_allclose(done.denoised.numpy(), denoised, rtol=0.0, atol=1e-12)


def test_a_noise_may_re_use_its_buffer() -> None:
    """Draws that live on (seeds_2 reads one in two passes) are kept from the next one."""
    buffer, source = torch.empty_like(X), gpu.Brownian(3, X.shape, like=X)

    def one(s: Node, t: Node) -> Tensor:
        return buffer.copy_(source(s, t))

    for name in ("seeds_2", "seeds_3", "sa_solver", "dpmpp_2m_sde"):
        truth = gpu.run(SOLVERS[name], smooth, X, GRID, noise=lambda s, t: source(s, t))
        assert torch.equal(gpu.run(SOLVERS[name], smooth, X, GRID, noise=one), truth), name


def test_a_runner_of_inference_mode_works_outside() -> None:
    """Buffers are ordinary tensors wherever they are made, and so are those of the mixture."""
    plan, mixture = trace(SOLVERS["ddpm"], GRID, "denoise"), gpu.GaussianMixture([0.4, 0.6], [[-1.0] * 3, [1.0] * 3], 0.1, dtype=X.dtype)
    with torch.inference_mode():
        runner = gpu.Runner(plan, X, noise=2)
        inside = runner(mixture.denoised, X)
    assert torch.equal(runner(mixture.denoised, X), inside)
    with torch.inference_mode():
        assert torch.equal(runner(mixture.denoised, X), inside)


# divergence that the network hides


class Bounded:
    """Answers that alternate near the largest number, so that a method's differences overflow, then bounded ones of whatever state."""

    def __init__(self, wild: int) -> None:
        self.wild, self.calls = wild, 0

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        self.calls += 1
        return torch.full_like(x, (-1.0) ** self.calls * 1.7e308) if self.calls <= self.wild else torch.tanh(x).nan_to_num(0.5)


def outcome(call: Callable[[], Any]) -> str:
    try:
        return "finite" if bool(torch.isfinite(call()).all()) else "nan or inf"
    except NonFinite:
        return "refused"


def test_a_bounded_network_hides_no_divergence() -> None:
    """The result is a D that is bounded, the states that it was made from are not finite: one look at the end sees what a look at every
    step sees, and the replay of the Plan too, as far as its sums overflow in another order."""
    hidden, apart = 0, 0
    for method in UNROLLED:
        for wild in (2, 3):
            plan = trace(method, GRID, "denoise")
            found = {c: outcome(lambda p=plan, w=wild, c=c: gpu.run(p, Bounded(w), X, noise=1, check=c)) for c in ("end", "step", "none")}
            with torch.inference_mode():
                assert outcome(lambda p=plan, w=wild: gpu.run(p, Bounded(w), X, noise=1)) == found["end"]
            assert found["end"] == found["step"], (method.name, wild)
            hidden += found["end"] == "refused" and found["none"] == "finite"
            apart += found["end"] != outcome(lambda p=plan, w=wild: p.run(Bounded(w), X, 1))
    assert hidden > 20
    assert apart < 10
