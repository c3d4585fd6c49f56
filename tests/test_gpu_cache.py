"""Blocks of a network that are cached: what is run, what stands for it, and that the network is given back as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scorebed import SOLVERS, VP, gpu, trace  # noqa: E402
from scorebed.solvers import denoiser, sample  # noqa: E402
from scorebed.solvers.grid import uniform_lam  # noqa: E402
from scorebed.solvers.reuse import every, reuse  # noqa: E402

NODES = uniform_lam(VP(), 12)


class Net(torch.nn.Module):
    """An encoder and a decoder that knows the level."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh())
        self.decoder = torch.nn.Linear(17, 3)
        self.asked = 0

    def forward(self, x: Any, lam: Any) -> Any:
        self.asked += 1
        return self.decoder(torch.cat([self.encoder(x), lam.expand(len(x), 1)], 1))


def model(net: Net) -> Any:
    return denoiser(lambda x, node: net(x, torch.tensor([[node.lam / 5.0]])), "eps")


X = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 3))).float()


@pytest.mark.parametrize("order", [1, 2])
def test_the_whole_network_cached_is_the_plan_with_reuse(order: int) -> None:
    net = Net()
    plan = trace(SOLVERS["dpmpp_2m"], NODES)
    with torch.no_grad(), gpu.cached(net, every_nth=2, order=order) as cache:
        out = sample(SOLVERS["dpmpp_2m"], model(net), X, NODES, terminal="none")
    asked = net.asked
    right = reuse(plan, every(2, order), order=order, by="index", what="eps")
    assert asked == right.nfe == sum(cache.made)
    assert cache.calls == plan.nfe
    with torch.no_grad():
        torch.testing.assert_close(out, right.run(model(net), X), rtol=1e-4, atol=1e-5)
        wrong = reuse(plan, every(2, order), order=order, by="index", what="eps", lag=1)
        assert not torch.allclose(out, wrong.run(model(net), X), rtol=1e-3, atol=1e-4)


def test_blocks_are_skipped_and_the_rest_is_not() -> None:
    net, ran = Net(), []
    net.encoder.register_forward_pre_hook(lambda module, inputs: None)
    inner = net.encoder[0]
    inner.register_forward_hook(lambda module, inputs, out: ran.append(1))
    with torch.no_grad(), gpu.cached(net, ["encoder"], 3) as cache:
        held = sample(SOLVERS["ddim"], model(net), X, NODES, terminal="none")
    assert net.asked == 12
    assert len(ran) == sum(cache.made) == 4
    with torch.no_grad():
        plain = sample(SOLVERS["ddim"], model(net), X, NODES, terminal="none")
        assert 1e-4 < float((held - plain).norm() / plain.norm()) < 0.3
        with gpu.cached(net, ["encoder"], 1):
            torch.testing.assert_close(sample(SOLVERS["ddim"], model(net), X, NODES, terminal="none"), plain, rtol=0, atol=0)


def test_the_network_is_given_back_and_a_rule_may_decide() -> None:
    net = Net()
    with torch.no_grad():
        before = net(X, torch.zeros(1, 1))
        with gpu.cached(net, ["encoder", "decoder"], rule=lambda call, inputs: False) as cache:
            first, second = net(X, torch.zeros(1, 1)), net(2 * X, torch.ones(1, 1))
            torch.testing.assert_close(first, second, rtol=0, atol=0)
            cache.fresh()
            assert not torch.equal(net(2 * X, torch.zeros(1, 1)), first)
            assert net(X[:2], torch.zeros(1, 1)).shape == (2, 3)  # another batch is not answered from this one
        torch.testing.assert_close(net(X, torch.zeros(1, 1)), before, rtol=0, atol=0)
    assert "forward" not in net.encoder.__dict__


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: gpu.cached(Net(), ["middle"]), AttributeError, "middle"),
        (lambda: gpu.cached(Net(), []), ValueError, "blocks"),
        (lambda: gpu.cached(Net(), ["encoder", "encoder"]), ValueError, "each once"),
        (lambda: gpu.cached(Net(), order=0), ValueError, "order = 0"),
        (lambda: gpu.cached(Net(), every_nth=0), ValueError, "n = 0"),
    ],
)
def test_wrong_use_is_told(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
