r"""What has to hold on a device, measured there: every method, its noise, its graph and the exact score against the same on the host.

    python -m scorebed.gpu.bench.device [cuda]        prints one line for each check; exit 1 where one is over its bound

``checks`` runs anywhere; on a CPU device it compares the code with itself and with Triton's interpreter, and the tests run it so.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from scorebed import analytic
from scorebed.gpu.mixture import GaussianMixture
from scorebed.gpu.noise import Brownian
from scorebed.gpu.plan.backend import _triton
from scorebed.gpu.plan.execute import run
from scorebed.gpu.plan.graph import Graph
from scorebed.solvers import EDM, SOLVERS, VP, BrownianNoise, Node, grid, trace
from scorebed.solvers.base import methods_on
from scorebed.solvers.space import SO3, Box, Sphere, Torus

MEANS = ((-1.0, 0.5, 0.2), (1.0, -0.5, 0.0), (0.3, 1.5, -1.0))
VARIANCE = 0.2


@dataclass(frozen=True)
class Check:
    """One comparison: ``worst`` is the largest deviation, relative to the size of the answer, and ``bound`` what it may be."""

    name: str
    worst: float
    bound: float

    @property
    def good(self) -> bool:
        return self.worst <= self.bound

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'FAIL'}  {self.name:34} {self.worst:.1e}  (at most {self.bound:.0e})"


def exact(x: Tensor, node: Node) -> Tensor:
    """E[x0 | x] of three Gaussians of variance ``VARIANCE``, on x's device and in its dtype; nothing waits for the host."""
    means = x.new_tensor(MEANS)
    c = node.alpha**2 * VARIANCE + node.sigma**2
    rest = x[:, None, :] - node.alpha * means
    weights = torch.softmax((rest * rest).sum(-1) * (-0.5 / c), 1)
    return (weights[..., None] * (means + (node.alpha * VARIANCE / c) * rest)).sum(1)


def apart(a: Tensor, b: Tensor) -> float:
    """max |a − b| over max |b|, on the host."""
    one, other = a.detach().double().cpu(), b.detach().double().cpu()
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-300))


def methods() -> list[str]:
    """The methods that have a Plan, on scalar processes."""
    return [name for name in methods_on("gaussian", takes="denoised") if SOLVERS[name].nonlinear is None]


def checks(device: str, names: list[str] | None = None, steps: int = 12, batch: int = 64) -> Iterator[Check]:
    """Every comparison, one after the other."""
    at = torch.device(device)
    nodes = grid.uniform_lam(VP(), steps, end=0.01)
    host = torch.from_numpy(nodes[0].sigma * np.random.default_rng(0).standard_normal((batch, 3)))
    for name in methods() if names is None else names:
        expected = run(SOLVERS[name], exact, host, nodes, noise=5)
        for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 2e-3)):
            found = run(SOLVERS[name], exact, host.to(at, dtype), nodes, noise=5)
            yield Check(f"{name}, {str(dtype)[6:]}", apart(found, expected), bound)
    s, t = nodes[2], nodes[3]
    index = np.array([7, 2**40, 3])
    drawn = BrownianNoise(11, (3, 1001), index)(s, t)
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 1e-6)):
        found = Brownian(11, (3, 1001), index, like=torch.empty(1, dtype=dtype, device=at))(s, t)
        yield Check(f"normals, {str(dtype)[6:]}", apart(found, torch.from_numpy(drawn)), bound)
    if at.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1":
        x = host.to(at, torch.float32)
        by = [run(SOLVERS["dpmpp_2m_sde"], exact, x, nodes, noise=5, backend=b) for b in ("triton", "torch") if b == "torch" or _triton()]
        yield Check("passes by Triton, by torch", apart(by[0], by[-1]), 1e-5)
    if at.type == "cuda":
        plan = trace(SOLVERS["dpmpp_2m_sde"], nodes, terminal="denoise")
        x = host.to(at, torch.float32)
        yield Check("captured graph, eager", apart(Graph(plan, exact, x, noise=5)(x), run(plan, exact, x, noise=5)), 1e-6)
    yield from in_spaces(at, batch)
    law = analytic.GaussianMixture(np.full(3, 1 / 3), np.array(MEANS), VARIANCE)
    for i, node in enumerate((nodes[1], nodes[-1])):
        x = host[:32]
        there = GaussianMixture(law.weights, law.means, VARIANCE, device=at, dtype=torch.float32).denoised(x.to(at, torch.float32), node)
        yield Check(f"exact mixture, node {i}", apart(there, torch.from_numpy(np.asarray(law.denoised(x.numpy(), node)))), 1e-4)


def bent(y: Tensor, node: Node) -> Tensor:
    """A smooth field in the place of the exact one, for spaces."""
    return y + 0.5 * torch.sin(2.0 * y + 0.3)


def in_spaces(at: torch.device, batch: int) -> Iterator[Check]:
    """The moves that are one kernel there, against the Space's own operations on the host."""
    nodes = grid.uniform_lam(EDM(), 8, start=2.0, end=0.1)
    for space in (Torus(3), Box(2), Sphere(2), SO3()):
        host = torch.from_numpy(space.uniform(batch, np.random.default_rng(1)))
        method = SOLVERS["geodesic_heun_maruyama"](space=space)
        expected = run(method, bent, host, nodes, noise=5, terminal="none", backend="torch")
        for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
            found = run(method, bent, host.to(at, dtype), nodes, noise=5, terminal="none")
            yield Check(f"moves in {space!r}, {str(dtype)[6:]}", apart(found, expected), bound)


def main(device: str = "cuda", *, say: Callable[[str], object] = print) -> int:
    """Print every check on ``device``; 1 where one fails."""
    failed = 0
    for check in checks(device):
        failed += not check.good
        say(str(check))
    say(f"{failed} checks failed on {torch.cuda.get_device_name() if device == 'cuda' else device}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
