"""What a step size for every sample costs and saves, against torchdiffeq's one for the batch, at the same error.

Two things count (torchode, arXiv:2210.12375, section 4): what a step costs outside the model, and how many evaluations a sample pays for
steps that others need. Half of the batch begins between two far components, where its paths bend late; the others are easy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scorebed import analytic
from scorebed.gpu.bench.rows import Row, clock_of
from scorebed.gpu.mixture import GaussianMixture
from scorebed.gpu.network.blackbox import TORCHDIFFEQ
from scorebed.gpu.plan.execute import run
from scorebed.solvers import SOLVERS, VP, Node, Solver
from scorebed.solvers.grid import uniform_lam


class Counted:
    """A denoiser that counts its calls, the samples in them and the seconds inside."""

    def __init__(self, law: GaussianMixture) -> None:
        self.law, self.calls, self.samples, self.inside = law, 0, 0, 0.0
        self.clock = clock_of(law.device)

    def __call__(self, x: Tensor, node: Node) -> Tensor:
        began = self.clock()
        value = self.law.denoised(x, node)
        if x.is_cuda:
            torch.cuda.synchronize()
        self.calls, self.samples, self.inside = self.calls + 1, self.samples + len(x), self.inside + self.clock() - began
        return value

    def take(self, rows: Any) -> Counted:
        """The same for some of the samples: nothing in it belongs to one."""
        return self


def adaptive(device: torch.device, repeats: int, batch: int = 64) -> list[Row]:
    """dormand_prince with a step size for each sample against dopri5 with one, whose tolerance is halved until its error is no larger."""
    exact = analytic.GaussianMixture([0.5, 0.5], [[-4.0, 0.0], [4.0, 0.0]], 0.01)
    law = GaussianMixture.from_exact(exact, device=device, dtype=torch.float64)
    nodes = uniform_lam(VP(), 1, start=0.99, end=0.001)
    spread = torch.linspace(0.0, 1.0, batch, dtype=torch.float64, device=device)[:, None]
    easy, hard = torch.tensor([[1.5, 1.0]], device=device), torch.tensor([[1e-4, 1.0]], device=device)
    x = torch.where(spread < 0.5, easy.double(), hard.double()) * (0.5 + spread)
    fine = run(SOLVERS["dormand_prince"](rtol=1e-11, atol=1e-11), law.denoised, x, nodes, terminal="none")

    def error(method: Solver) -> float:
        return float((run(method, law.denoised, x, nodes, terminal="none") - fine).square().mean().sqrt())

    own, tolerance = SOLVERS["dormand_prince"](rtol=1e-5, atol=1e-5), 1e-4
    aim, joint = error(own), TORCHDIFFEQ["dopri5"](rtol=tolerance, atol=tolerance)
    while error(joint) > aim and tolerance > 1e-10:
        tolerance *= 0.5
        joint = TORCHDIFFEQ["dopri5"](rtol=tolerance, atol=tolerance)
    found = []
    for method in (own, joint):
        model = Counted(law)
        began = model.clock()
        for _ in range(repeats):
            run(method, model, x, nodes, terminal="none")
        outside = model.clock() - began - model.inside
        found.append((model.samples / repeats / batch, model.calls / repeats, outside / model.calls))
    (mine, calls, outside), (theirs, shared, beside) = found
    return [
        Row("adaptive", "evaluations of a sample: own steps / one for the batch", mine / theirs),
        Row("adaptive", "calls of the model: own steps / one for the batch", calls / shared),
        Row("adaptive", "outside the model, a call: own steps / torchdiffeq", outside / beside, ours=outside, other=beside),
    ]
