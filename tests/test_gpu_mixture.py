"""Large mixtures on torch agree with ``analytic`` at every noise level, in bounded memory, near-duplicates included."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.covariance import LowRank
from scorebed.solvers import EDM, SOLVERS, VP, Node, sample
from scorebed.solvers.grid import uniform_lam

KINDS = ("points", "common", "isotropic", "diagonal", "low rank")
LEVELS = (3e-3, 0.03, 0.3, 3.0, 50.0)


def single(a: np.ndarray) -> np.ndarray:
    """Numbers that float32 holds, so that both sides have the same mixture."""
    return a.astype(np.float32).astype(np.float64)


@cache
def exact(kind: str, k: int = 120, d: int = 12) -> GaussianMixture:
    """Random means off the origin, two of them near-duplicates; every number is one of float32."""
    rng = np.random.default_rng(len(kind))
    means = rng.standard_normal((k, d)) + 2.0
    means[1] = means[0] + 1e-3 * rng.standard_normal(d)
    weights = rng.random(k)
    covariances: Any = {
        "points": 0.0,
        "common": 0.0625,
        "isotropic": single(0.01 + 0.1 * rng.random(k)),
        "diagonal": single(0.01 + 0.1 * rng.random((k, d))),
        "low rank": LowRank(single(0.3 * rng.standard_normal((k, d, 2))), single(0.01 + 0.1 * rng.random((k, d)))),
    }[kind]
    return GaussianMixture(
        weights / weights.sum(), single(means), float(np.float32(covariances)) if isinstance(covariances, float) else covariances
    )


@pytest.mark.parametrize("schedule", [EDM(), VP()], ids=["EDM", "VP"])
@pytest.mark.parametrize(("dtype", "unit"), [(torch.float32, 2.0**-24), (torch.float64, 2.0**-53)])
@pytest.mark.parametrize("kind", KINDS)
def test_agreement_with_the_exact_mixture(kind: str, dtype: torch.dtype, unit: float, schedule: Any) -> None:
    """A log-weight of size q has a round-off of some q units whatever is done, and no more than 2e-5 (1e-12) beyond: see ``roundoff``."""
    truth = exact(kind)
    made = gpu.GaussianMixture.from_exact(truth, dtype=dtype, memory=1 << 20)
    bound = (2e-5 if dtype == torch.float32 else 1e-12) + 100.0 * unit
    for level in LEVELS:
        node = schedule.at_lam(-math.log(level))
        x = torch.tensor(truth.sample(60, 3, node)).to(dtype)
        for name in ("denoised", "score", "eps", "log_prob"):
            want = getattr(truth, name)(x.double().numpy(), node)
            found = getattr(made, name)(x, node)
            assert found.dtype == dtype
            assert np.abs(found.double().numpy() - want).max() < bound * np.abs(want).max(), (name, level)


def test_near_duplicates_keep_their_weights() -> None:
    """Two data 2e-3 apart at sigma 1e-3 in 784 dimensions: products alone lose the weights, the guard keeps them."""
    rng = np.random.default_rng(0)
    data = single(rng.standard_normal((50, 784)))
    data[1] = single(data[0] + 2e-3 * rng.standard_normal(784) / 28.0)
    truth = GaussianMixture(np.full(50, 0.02), data, 0.0)
    node = EDM().node(1e-3)
    x = torch.tensor(data[:1] + 1e-3 * rng.standard_normal((20, 784)), dtype=torch.float32)
    want = truth.denoised(x.double().numpy(), node)
    made = gpu.GaussianMixture.from_data(data, 0.0)
    apart = (data[1] - data[0]) / np.square(data[1] - data[0]).sum()
    weight = {  # of the second datum, read off along the line between them
        name: (found.double().numpy() - data[0]) @ apart
        for name, found in (("guarded", made.denoised(x, node)), ("products", made._products(x, node, "denoised", 50)))
    }
    truth_weight = (want - data[0]) @ apart
    assert 0.1 < truth_weight.mean() < 0.9
    assert np.abs(weight["guarded"] - truth_weight).max() < 3e-4
    assert np.abs(weight["products"] - truth_weight).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_crowded_states_go_another_way_to_the_same_result(kind: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = exact(kind)
    node = EDM().node(0.3)
    x = torch.tensor(truth.sample(10, 3, node)).to(dtype)
    made = gpu.GaussianMixture.from_exact(truth, dtype=dtype)
    monkeypatch.setitem(gpu.mixture._HARMLESS, dtype, 0.0)  # guarded whatever the node
    listed = {name: getattr(made, name)(x, node) for name in ("denoised", "score", "log_prob")}
    monkeypatch.setattr(gpu.mixture, "_MOST", 0)
    for name, found in listed.items():
        want = getattr(truth, name)(x.double().numpy(), node)
        bound = (1e-6 if dtype == torch.float32 else 1e-13) * (1.0 + np.abs(want).max())
        assert np.abs(found.double().numpy() - want).max() < bound
        assert np.abs(getattr(made, name)(x, node).double().numpy() - want).max() < bound


@pytest.mark.parametrize("kind", KINDS)
def test_runs_of_components_do_not_show(kind: str) -> None:
    """The softmax is corrected from run to run: 1, 7 or all components at once, in the product form."""
    truth = exact(kind)
    made = gpu.GaussianMixture.from_exact(truth, dtype=torch.float64)
    for level in (1.0, 10.0):
        node = EDM().node(level)
        x = torch.tensor(truth.sample(9, 1, node))
        for name in ("denoised", "score", "log_prob"):
            whole = made._products(x, node, name, 120)
            for run in (1, 7):
                assert torch.allclose(made._products(x, node, name, run), whole, rtol=1e-11, atol=1e-11), (name, run)


class Peak(TorchDispatchMode):
    """The largest tensor that an operation makes, in bytes, and how often a value was read on the host."""

    most = waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.waits += func is torch.ops.aten._local_scalar_dense.default
        for t in tree_leaves(out):
            if isinstance(t, torch.Tensor):
                self.most = max(self.most, t.untyped_storage().nbytes())
        return out


@pytest.mark.parametrize("kind", KINDS)
def test_products_wait_for_nothing(kind: str) -> None:
    """What serves at large sigma reads no value on the host: it can be captured in a graph."""
    truth = exact(kind)
    made = gpu.GaussianMixture.from_exact(truth, dtype=torch.float64)
    node = EDM().node(20.0)
    x = torch.tensor(truth.sample(5, 3, node))
    for name in ("denoised", "score", "log_prob"):
        with Peak() as peak:
            getattr(made, name)(x, node)
        assert peak.waits == 0


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded(kind: str) -> None:
    """No table of states by components, let alone by dimensions: 2,000 × 300 × 16 in tensors of at most 2 MiB."""
    truth = exact(kind, 300, 16)
    made = gpu.GaussianMixture.from_exact(truth, memory=1 << 20)
    for level in (0.05, 5.0):
        node = EDM().node(level)
        x = torch.tensor(truth.sample(2000, 3, node), dtype=torch.float32)
        with Peak() as peak:
            made.denoised(x, node)
        assert peak.most <= 2 << 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_does_not_depend_on_its_batch_nor_on_its_shape(kind: str) -> None:
    truth = exact(kind)
    made = gpu.GaussianMixture.from_exact(truth, dtype=torch.float64)
    for level in (0.1, 2.0):
        node = EDM().node(level)
        x = torch.tensor(truth.sample(12, 3, node))
        whole = made.denoised(x, node)
        assert torch.allclose(made.denoised(x[5:7], node), whole[5:7], rtol=1e-12, atol=1e-12)
        assert torch.equal(made.denoised(x.view(3, 4, 12), node), whole.view(3, 4, 12))
        assert torch.allclose(made.images((3, 4))(x.view(12, 3, 4), node).view(12, 12), whole, rtol=1e-12, atol=1e-12)
        assert made.denoised(x.bfloat16(), node).dtype == torch.bfloat16


def test_solvers_run_on_it_as_on_the_exact_one() -> None:
    truth = exact("common")
    made = gpu.GaussianMixture.from_exact(truth, dtype=torch.float64)
    grid = uniform_lam(VP(), 10)
    x = truth.sample(8, 2, grid[0])
    for name in ("dpmpp_2m", "ddpm"):
        want = sample(SOLVERS[name], truth.denoised, x, grid, noise=1)
        found = gpu.run(SOLVERS[name], made.denoised, torch.tensor(x), grid, noise=1)
        assert np.abs(found.numpy() - want).max() < 1e-9


def test_data_sets_of_any_shape() -> None:
    data = torch.arange(24.0).view(4, 2, 3)
    made = gpu.GaussianMixture.from_data(data, 0.5)
    assert (made.k, made.d) == (4, 6)
    x = data.view(4, 6) + 0.01
    assert torch.allclose(made.denoised(x, EDM().node(1e-3)), x, atol=1e-3)
    assert torch.equal(made.denoised(x, Node(0.0, 1.0, 0.0, math.inf)), x)


def test_bad_mixtures_and_states_are_refused() -> None:
    ones, points = np.full(2, 0.5), np.zeros((2, 3))
    for weights, means, covariances, match in (
        ([0.5, 0.6], points, 1.0, "sum"),
        ([1.5, -0.5], points, 1.0, "weights"),
        ([1.0], points, 1.0, "means"),
        (ones, points * np.nan, 1.0, "nan"),
        (ones, points, -1.0, "negative"),
        (ones, points, np.nan, "nan"),
        (ones, points, np.ones((2, 3, 3)), "LowRank"),
        (ones, points, np.ones((3, 2)), "covariances"),
        (ones, points, LowRank(np.ones((2, 2, 1)), np.ones((2, 3))), "LowRank"),
    ):
        with pytest.raises(ValueError, match=match):
            gpu.GaussianMixture(weights, means, covariances)
    with pytest.raises(ValueError, match="float32 or"):
        gpu.GaussianMixture(ones, points, 1.0, dtype=torch.float16)
    with pytest.raises(ValueError, match="memory"):
        gpu.GaussianMixture(ones, points, 1.0, memory=10)
    with pytest.raises(ValueError, match="bandwidth"):
        gpu.GaussianMixture.from_data(points, -1.0)
    made = gpu.GaussianMixture(ones, points, 0.0)
    with pytest.raises(ValueError, match="shape"):
        made.denoised(torch.zeros(2, 4), EDM().node(1.0))
    with pytest.raises(ValueError, match="no density"):
        made.log_prob(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="elements"):
        made.images((2, 2))


@pytest.mark.parametrize("kind", ["isotropic", "common", "diagonal"])
@pytest.mark.parametrize("what", ["denoised", "score", "eps", "log_prob"])
@pytest.mark.parametrize("sigma", [3.0, 0.4, 0.02])
def test_gradients_are_exact(kind: str, what: str, sigma: float) -> None:
    """Against automatic differentiation of the formula in float64, in runs of components and states."""
    rng, k, d = torch.Generator().manual_seed(3), 9, 4
    means, weights = torch.randn(k, d, generator=rng, dtype=torch.float64), torch.rand(k, generator=rng, dtype=torch.float64)
    weights /= weights.sum()
    variance = {
        "common": torch.tensor(0.1),
        "isotropic": torch.rand(k, generator=rng) + 0.05,
        "diagonal": torch.rand(k, d, generator=rng) + 0.05,
    }
    mixture = gpu.GaussianMixture(weights, means, variance[kind], dtype=torch.float64)
    node = VP().at_lam(-math.log(sigma))
    x = (node.alpha * means[[0, 3, 5, 5, 7]] + 0.7 * node.sigma * torch.randn(5, d, generator=rng, dtype=torch.float64)).requires_grad_()
    v = torch.randn(5, d, generator=rng, dtype=torch.float64)

    def value(function: Any) -> torch.Tensor:
        out = function(x)
        return (out if what == "log_prob" else out * v).sum()

    held = variance[kind].double().reshape(-1, 1) if kind != "diagonal" else variance[kind].double()
    c = (node.alpha**2 * held + node.sigma**2).expand(k, d)

    def formula(y: torch.Tensor) -> torch.Tensor:
        r = y[:, None] - node.alpha * means
        return torch.logsumexp(weights.log() - 0.5 * (r.square() / c + c.log() + math.log(2 * math.pi)).sum(-1), 1)

    def exact(y: torch.Tensor) -> torch.Tensor:
        if what == "log_prob":
            return formula(y)
        (score,) = torch.autograd.grad(formula(y).sum(), y, create_graph=True)
        return {"score": score, "eps": -node.sigma * score, "denoised": (y + node.sigma**2 * score) / node.alpha}[what]

    (wanted,) = torch.autograd.grad(value(exact), x)
    (found,) = torch.autograd.grad(value(lambda y: getattr(mixture, what)(y, node)), x)
    scale = float(wanted.abs().max())
    assert torch.allclose(found, wanted, rtol=1e-7, atol=1e-8 * scale)
    single = gpu.GaussianMixture(weights, means, variance[kind])  # parameters in float32
    (narrow,) = torch.autograd.grad(value(lambda y: getattr(single, what)(y, node)), x)
    assert torch.allclose(narrow, wanted, rtol=1e-4, atol=1e-4 * scale)
    mixture.memory = 1 << 9  # one state and one component at a time
    (small,) = torch.autograd.grad(value(lambda y: getattr(mixture, what)(y, node)), x)
    assert torch.allclose(small, wanted, rtol=1e-7, atol=1e-8 * scale)


def test_gradients_that_are_not_there_are_refused_at_the_call() -> None:
    mixture = gpu.GaussianMixture([1.0], [[0.0, 0.0]], LowRank(torch.ones(1, 2, 1), torch.ones(1, 2)))
    x = torch.ones(3, 2)
    mixture.denoised(x, VP().node(0.5))
    with pytest.raises(ValueError, match=r"LowRank.*x\.detach\(\)"):
        mixture.denoised(x.requires_grad_(), VP().node(0.5))
    with torch.no_grad():
        mixture.denoised(x, VP().node(0.5))
    single = gpu.GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 0.0]], 0.1)
    assert single.denoised(x, VP().node(0.5)).requires_grad


def test_a_device_without_float64_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scorebed.gpu.mixture.widest", lambda device: torch.float32)
    with pytest.raises(ValueError, match="device = cpu: it has no float64, in which residuals are formed"):
        gpu.GaussianMixture([1.0], [[0.0]], [1.0])
