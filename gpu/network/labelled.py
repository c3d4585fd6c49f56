r"""A small network that is told a class, trained in seconds on a data set whose exact scores are known for every class.

x0 of (x, time, label), a perceptron of two hidden layers; the label one past the classes stands for none, and a fifth of the samples are
told none (arXiv:2207.12598, Alg. 1). Least squares on x0 at noised data: the best it could be is E[x0 | x, label].
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scorebed.gpu.network.wrap import wrap
from scorebed.solvers.guide import Rule
from scorebed.solvers.schedule import Schedule

_WAVES = (1.0, 2.0, 4.0, 8.0)


class Labelled(nn.Module):
    """x0 of noised data, told time and class.

    Args:
        d: dimensions.
        classes: how many; label ``classes`` is none.
        width: of the hidden layers.
    """

    def __init__(self, d: int, classes: int, width: int = 256) -> None:
        super().__init__()
        self.classes = classes
        self.label = nn.Embedding(classes + 1, 32)
        sizes = (d + 32 + 2 * len(_WAVES), width, width)
        hidden = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.body = nn.Sequential(*hidden, nn.Linear(width, d))

    def forward(self, x: Tensor, time: Tensor, label: Tensor) -> Tensor:
        """x0, (n, d), of x (n, d), time and label (n,)."""
        waves = torch.cat([f(k * time.view(-1, 1).to(x)) for k in _WAVES for f in (torch.sin, torch.cos)], 1)
        return torch.as_tensor(self.body(torch.cat([x, self.label(label), waves], 1)))

    def model(self, schedule: Schedule, label: int, rule: Rule | float = 1.0) -> Any:
        """E[x0 | x, label] as the network has it; guided away from no class by another rule than 1, both halves in one call.

        Args:
            schedule: that it was trained on.
            label: the class, or ``classes`` for none.
            rule: a scale, or a rule of ``solvers.guide``.

        Returns:
            the Wrapped denoiser (x, node) -> E[x0 | x, label].
        """
        none = {"label": torch.full((1,), self.classes)}
        told = {"label": torch.full((1,), label)}
        plain = isinstance(rule, int | float) and rule == 1.0
        return wrap(self, schedule, "x0", per_sample=told, null=None if plain else none, guidance=rule)


def train_labelled(
    data: np.ndarray, labels: np.ndarray, schedule: Schedule, *, bandwidth: float = 0.0, steps: int = 700, batch: int = 128, seed: int = 0
) -> Labelled:
    """A trained network, in ``eval`` mode.

    Args:
        data, labels: (n, d) and (n,), classes from 0 on.
        schedule: its times from 0.02 to 1 are drawn evenly.
        bandwidth: std of the noise that makes a mixture of the data.
        steps, batch: of Adam.
        seed: of weights, noise and levels; PyTorch's own generator is left as it was.

    Returns:
        the Labelled network, in ``eval`` mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        x0, y = torch.from_numpy(data).float(), torch.from_numpy(labels).long()
        network = Labelled(data.shape[1], int(labels.max()) + 1)
        optimiser = torch.optim.Adam(network.parameters(), 2e-3)
        table = torch.tensor([(n.t, n.alpha, n.sigma) for n in (schedule.node(float(t)) for t in np.linspace(0.02, 1.0, 200))])
        for _ in range(steps):
            pick = torch.randint(len(x0), (batch,))
            t, alpha, sigma = table[torch.randint(len(table), (batch,))].T
            clean = x0[pick] + bandwidth * torch.randn(batch, x0.shape[1])
            told = torch.where(torch.rand(batch) < 0.2, network.classes, y[pick])
            noised = alpha[:, None] * clean + sigma[:, None] * torch.randn(clean.shape)
            loss = (network(noised, t, told) - clean).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return network.eval()
