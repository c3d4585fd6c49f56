"""Guidance is the formula, in one call of the network, for every prediction and any split of the batch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from scorebed import gpu
from scorebed.solvers import PREDICTIONS, SOLVERS, VP, Node, denoiser, predicts, trace
from scorebed.solvers.grid import uniform_lam

GRID = uniform_lam(VP(), 4)
LABELS, NONE = torch.arange(6.0)[:, None], torch.full((6, 1), -1.0)
X = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def network(x: torch.Tensor, node: Node, condition: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x + 0.1 * condition.to(x.dtype)) * node.alpha


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 7.5, -1.0])
def test_one_call_is_the_formula(scale: float) -> None:
    calls: list[int] = []

    def counted(x: torch.Tensor, node: Node, condition: torch.Tensor) -> torch.Tensor:
        calls.append(len(x))
        return network(x, node, condition)

    found = gpu.guided(counted, LABELS, NONE, scale)(X, GRID[1])
    with_, without = network(X, GRID[1], LABELS), network(X, GRID[1], NONE)
    assert torch.allclose(found, without + scale * (with_ - without), rtol=0.0, atol=1e-14)
    assert calls == [6 if scale in (0.0, 1.0) else 12]


def test_a_scale_on_an_interval() -> None:
    guide = gpu.guided(network, LABELS, NONE, lambda node: 3.0 if node == GRID[1] else 1.0)
    assert torch.equal(guide(X, GRID[2]), network(X, GRID[2], LABELS))
    assert not torch.allclose(guide(X, GRID[1]), network(X, GRID[1], LABELS))


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_guided_predictions_give_the_guided_mean(prediction: str) -> None:
    """Guiding eps, v, score or flow is guiding the denoised mean."""
    from scorebed.solvers import convert

    @predicts(prediction)
    def predict(x: torch.Tensor, node: Node, condition: torch.Tensor) -> torch.Tensor:
        return convert(network(x, node, condition), x, node, "denoised", prediction)

    guide = gpu.guided(predict, LABELS, NONE, 4.0)
    assert guide.prediction == prediction
    found = denoiser(guide, prediction)(X, GRID[2])
    assert torch.allclose(found, gpu.guided(network, LABELS, NONE, 4.0)(X, GRID[2]), rtol=0.0, atol=1e-12)


def test_conditions_may_be_nested() -> None:
    def nested(x: torch.Tensor, node: Node, condition: Any) -> torch.Tensor:
        assert condition["kind"] == "text"
        return network(x, node, condition["labels"][0])

    guide = gpu.guided(nested, {"labels": (LABELS,), "kind": "text"}, {"labels": (NONE,), "kind": "none"}, 2.0)
    assert torch.equal(guide(X, GRID[1]), gpu.guided(network, LABELS, NONE, 2.0)(X, GRID[1]))


def test_chunks_and_runs_give_the_same_samples() -> None:
    guide = gpu.guided(network, LABELS, NONE, 2.0)
    sizes: list[int] = []

    def counted(x: torch.Tensor, node: Node, condition: torch.Tensor) -> torch.Tensor:
        sizes.append(len(x))
        return network(x, node, condition)

    small = gpu.guided(counted, LABELS, NONE, 2.0, chunk=5)
    assert torch.allclose(small(X, GRID[1]), guide(X, GRID[1]), rtol=0.0, atol=1e-14)
    assert sizes == [5, 5, 2]
    whole = gpu.run(SOLVERS["ddpm"], guide, X, GRID, noise=3)
    assert torch.allclose(gpu.run(SOLVERS["ddpm"], guide, X, GRID, noise=3, chunk=4), whole, rtol=0.0, atol=1e-13)


def test_a_scale_for_each_sample() -> None:
    """w by sample is each sample's own run; also from a function of the node, with ``take`` and with gradients."""
    w = torch.tensor([0.0, 1.0, 2.0, -1.5, 7.5, 0.5])
    whole = gpu.guided(network, LABELS, NONE, w)(X, GRID[1])
    alone = [gpu.guided(network, LABELS[i : i + 1], NONE[i : i + 1], float(w[i]))(X[i : i + 1], GRID[1]) for i in range(6)]
    assert torch.allclose(whole, torch.cat(alone), rtol=0.0, atol=1e-14)
    assert torch.equal(gpu.guided(network, LABELS, NONE, lambda node: w)(X, GRID[1]), whole)
    assert torch.equal(gpu.guided(network, LABELS, NONE, w).take(slice(2, 5))(X[2:5], GRID[1]), whole[2:5])
    one = gpu.run(SOLVERS["ddpm"], gpu.guided(network, LABELS, NONE, w), X, GRID, noise=3)
    assert torch.allclose(gpu.run(SOLVERS["ddpm"], gpu.guided(network, LABELS, NONE, w), X, GRID, noise=3, chunk=4), one, atol=1e-13)
    for bad, error in ((w[:, None], TypeError), (w[:2], ValueError), (w / 0, ValueError), ("big", TypeError)):
        with pytest.raises(error, match="guidance"):
            gpu.guided(network, LABELS, NONE, bad)(X, GRID[1])


def test_gradients_go_through_guidance() -> None:
    """d/dx of u + w (c - u) is that of the formula, also after a call under inference mode."""
    guide = gpu.guided(network, LABELS, NONE, 3.0)
    with torch.inference_mode():
        guide(X, GRID[1])
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    guide(x, GRID[1]).square().sum().backward()
    (3.0 * network(y, GRID[1], LABELS) - 2.0 * network(y, GRID[1], NONE)).square().sum().backward()
    assert x.grad is not None
    assert torch.allclose(x.grad, y.grad, rtol=1e-12)


def test_threads_may_share_a_guide() -> None:
    """Four threads, one guided denoiser and one Runner: every run is that thread's own."""
    guide = gpu.guided(lambda x, node, c: 0.5 * x + c, LABELS.double(), NONE.double(), 2.0)
    plan = trace(SOLVERS["dpmpp_2m"], GRID, "denoise")
    runner = gpu.Runner(plan, X)
    xs = [X + k for k in range(4)]
    runs = (lambda x: gpu.run(SOLVERS["ddim"], guide, x, GRID), lambda x: runner(lambda y, node: 0.5 * y + 0.01 * torch.sin(y), x))
    for run in runs:
        good = [run(x) for x in xs]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda k, run=run: run(xs[k % 4]), range(200)))
        assert all(torch.equal(one, good[k % 4]) for k, one in enumerate(found))


def test_bad_guidance_is_refused() -> None:
    with pytest.raises(TypeError, match="callable"):
        gpu.guided(None, LABELS, NONE, 1.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="finite"):
        gpu.guided(network, LABELS, NONE, float("nan"))
    with pytest.raises(ValueError, match="chunk"):
        gpu.guided(network, LABELS, NONE, 2.0, chunk=0)
    for other in ([NONE], None):
        with pytest.raises(TypeError, match="structure"):
            gpu.guided(network, LABELS, other, 2.0)
    with pytest.raises(TypeError, match="keys"):
        gpu.guided(network, {"a": LABELS}, {"b": NONE}, 2.0)
    with pytest.raises(TypeError, match="length"):
        gpu.guided(network, [LABELS], [NONE, NONE], 2.0)
    with pytest.raises(ValueError, match="6 samples"):
        gpu.guided(network, LABELS, NONE, 1.0)(X[:2], GRID[1])
    with pytest.raises(ValueError, match="6 samples for a batch of 2"):
        gpu.guided(network, LABELS, NONE, 2.0)(X[:2], GRID[1])
