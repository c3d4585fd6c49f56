r"""Small networks that are trained in seconds, as scores: what a learner makes of a data set whose exact score is known.

    s(x, sigma) = (D − x)/sigma²,  D = c_skip x + c_out F(c_in x, log sigma)           in R^d        (EDM, arXiv:2206.00364, Table 1)
    s(x, sigma) = F(cos x, sin x, log sigma) exp(−sigma²/2)/sigma                       on the torus

Both are fitted to −eps/sigma at x0 + sigma eps, with eps and sigma drawn anew for every batch: denoising score matching.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class SmallScore(nn.Module):
    """A perceptron of three hidden layers as a score.

    Args:
        d: dimensions.
        periodic: angles in place of coordinates.
        width: of the hidden layers.
        spread: standard deviation of the data, in R^d.
    """

    def __init__(self, d: int, *, periodic: bool = False, width: int = 96, spread: float = 1.0) -> None:
        super().__init__()
        self.d, self.periodic, self.width, self.spread = d, periodic, width, spread
        layers: list[nn.Module] = []
        inputs = (2 * d if periodic else d) + 4
        for _ in range(3):
            layers += [nn.Linear(inputs, width), nn.SiLU()]
            inputs = width
        self.body = nn.Sequential(*layers, nn.Linear(width, d))

    def _raw(self, x: Tensor, sigma: Tensor) -> Tensor:
        log = sigma.log() / 4.0
        clock = torch.cat([log, log * log, torch.sin(3.0 * log), torch.cos(3.0 * log)], -1)
        scale = (sigma**2 + self.spread**2).sqrt()
        seen = torch.cat([x.cos(), x.sin()], -1) if self.periodic else x / scale
        return torch.as_tensor(self.body(torch.cat([seen, clock], -1)))

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        """The score, (n, d), at x (n, d) and sigma (n, 1)."""
        raw = self._raw(x, sigma)
        if self.periodic:
            return raw * torch.exp(-0.5 * sigma**2) / sigma
        total = sigma**2 + self.spread**2
        denoised = self.spread**2 / total * x + sigma * self.spread / total.sqrt() * raw
        return (denoised - x) / sigma**2

    def numpy(self, x: Any, sigma: float) -> np.ndarray:
        """The score as a function of NumPy arrays, float64."""
        with torch.no_grad():
            given = torch.as_tensor(np.asarray(x), dtype=torch.float32)
            out = self(given, torch.full((len(given), 1), float(sigma)))
        return out.double().numpy()


def train(
    network: SmallScore,
    draw: Callable[[int], np.ndarray],
    sigmas: tuple[float, float],
    *,
    steps: int = 2000,
    batch: int = 256,
    rate: float = 3e-3,
    seed: int = 0,
    tell: Callable[[int], object] | None = None,
) -> float:
    """Fit a network to data; returns the mean loss of the last tenth of the steps.

    Args:
        network: changed in place; its weights are made anew from the seed.
        draw: n -> clean data, (n, d).
        sigmas: the least and the largest noise; drawn uniformly in log sigma.
        steps, batch, rate: of Adam, whose rate falls like a cosine to 0.
        seed: of weights, noise and levels.
        tell: told how many steps are done.

    Returns:
        mean loss of the last tenth of the steps.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in network.body:
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.zero_()
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    low, high = np.log(sigmas)
    losses = []
    for i in range(steps):
        if tell is not None:
            tell(i)
        x0 = torch.as_tensor(draw(batch), dtype=torch.float32)
        eps = torch.randn(x0.shape, generator=generator)
        sigma = torch.exp(low + (high - low) * torch.rand(batch, 1, generator=generator))
        weight = sigma**2 if network.periodic else sigma**2 * (sigma**2 + network.spread**2) / network.spread**2
        loss = (weight * (network(x0 + sigma * eps, sigma) + eps / sigma) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses[-max(1, steps // 10) :]))


def save(network: SmallScore, path: Path) -> None:
    """Write the weights and the shape as plain arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    np.savez(path, shape=np.array([network.d, network.periodic, network.width]), spread=np.array(network.spread), **arrays)


def load(path: Path) -> SmallScore:
    """Read what ``save`` wrote; nothing in the file is run."""
    with np.load(path, allow_pickle=False) as stored:
        d, periodic, width = (int(v) for v in stored["shape"])
        network = SmallScore(d, periodic=bool(periodic), width=width, spread=float(stored["spread"]))
        network.load_state_dict({name: torch.from_numpy(stored[name]) for name in stored.files if name not in ("shape", "spread")})
    return network
