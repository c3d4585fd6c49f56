"""Guidance on a network that was trained here, in seconds, beside guidance by the exact scores of its data: digits, a class of ten."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from scorebed import SOLVERS, VP, gpu, grid, sample
from scorebed.solvers.guide import CFG, Rule, guided
from scorebed.solvers.methods.steering.rules import APG, CFGZero, Rescaled

BANDWIDTH, CLASS = 0.25, 0


class Small(nn.Module):
    """x0 of a digit of 64 numbers, told time and class; class 10 is none."""

    def __init__(self) -> None:
        super().__init__()
        self.label = nn.Embedding(11, 32)
        self.body = nn.Sequential(nn.Linear(64 + 32 + 8, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, 64))

    def forward(self, x: torch.Tensor, time: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        waves = torch.cat([f(k * time.view(-1, 1).to(x)) for k in (1.0, 2.0, 4.0, 8.0) for f in (torch.sin, torch.cos)], 1)
        out: torch.Tensor = self.body(torch.cat([x, self.label(label), waves], 1))
        return out


@pytest.fixture(scope="module")
def trained() -> tuple[Any, np.ndarray, np.ndarray]:
    torch.manual_seed(0)
    digits = load_digits()
    data, labels = digits.data / 8.0 - 1.0, digits.target
    x0, y = torch.from_numpy(data).float(), torch.from_numpy(labels)
    network, schedule = Small(), VP()
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    nodes = [schedule.node(float(t)) for t in np.linspace(0.02, 1.0, 200)]
    table = torch.tensor([(n.t, n.alpha, n.sigma) for n in nodes])
    for _ in range(700):
        pick = torch.randint(len(x0), (128,))
        t, alpha, sigma = table[torch.randint(len(table), (128,))].T
        noise = torch.randn(128, 64)
        clean = x0[pick] + BANDWIDTH * torch.randn(128, 64)
        told = torch.where(torch.rand(128) < 0.2, 10, y[pick])
        loss = (network(alpha[:, None] * clean + sigma[:, None] * noise, t, told) - clean).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval(), data, labels


def spread(x: np.ndarray) -> float:
    return float(x.var(0).sum())


NODES = grid.uniform_lam(VP(), 14, 1.0, 0.02)
X = torch.randn(200, 64, generator=torch.Generator().manual_seed(1))


def wrapped(network: Any, label: int, null: int | None = None, rule: Rule | float = 1.0) -> Any:
    none = None if null is None else {"label": torch.full((1,), null)}
    return gpu.wrap(network, VP(), "x0", per_sample={"label": torch.full((1,), label)}, null=none, guidance=rule)


@pytest.mark.parametrize("rule", [CFG(3.0), Rescaled(3.0, 0.7), APG(3.0, norm=2.0), CFGZero(3.0)], ids=lambda rule: type(rule).__name__)
def test_one_call_for_both_halves_is_the_rule_on_two_networks(trained: Any, rule: Rule) -> None:
    network = trained[0]
    both = gpu.run(SOLVERS["dpmpp_2m"], wrapped(network, CLASS, 10, rule), X[:16], NODES)
    apart = sample(SOLVERS["dpmpp_2m"], guided(wrapped(network, CLASS), wrapped(network, 10), rule), X[:16], NODES)
    torch.testing.assert_close(both, apart, rtol=0.0, atol=2e-3)


def test_guidance_narrows_a_network_and_the_exact_scores_of_its_data(trained: Any) -> None:
    """At scale 3 samples spread less, by the network and by exact scores; by these they also leave the class's mean, away from the other
    digits. A network of a few seconds is too narrow by itself, which guidance makes worse."""
    network, data, labels = trained
    own = data[labels == CLASS]
    away = own.mean(0) - data.mean(0)

    def beyond(samples: np.ndarray) -> float:
        """1 at the class's mean, 0 at that of all digits."""
        return float((samples.mean(0) - data.mean(0)) @ away / (away @ away))

    given, null = (gpu.GaussianMixture.from_data(part, BANDWIDTH) for part in (own, data))
    plain, strong = (np.asarray(sample(SOLVERS["dpmpp_2m"], guided(given.denoised, null.denoised, w), X, NODES)) for w in (1.0, 3.0))
    assert beyond(plain) == pytest.approx(1.0, abs=0.05)
    assert beyond(strong) > 1.1
    assert spread(strong) < 0.95 * spread(plain)
    of_network = [np.asarray(gpu.run(SOLVERS["dpmpp_2m"], wrapped(network, CLASS, 10, w), X, NODES)) for w in (1.0, 3.0)]
    assert beyond(of_network[0]) == pytest.approx(1.0, abs=0.4)
    assert spread(of_network[1]) < 0.8 * spread(of_network[0])
