r"""Spline students on the line, where the data have modes: their minimiser is found level by level, as a linear system of its gradients.

f(x, s_i) = Σ_j θ_ij B_j(x) at the nodes s_0 > … > s_n of a grid, f(x, s_n) = x/α there. A loss that compares f at s_i with what is held at
s_{i+1} has a gradient that is affine in θ_i, so that its zero is one solve, from the cleanest level up. What it must be is known: the exact
flow for a teacher's targets, a recursion of posterior means for those of one sample (``toy.measure.distil``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from scipy.interpolate import BSpline
from scipy.stats import qmc
from torch import Tensor, nn

from scorebed.analytic import GaussianMixture
from scorebed.gpu.losses.world import Batch, GaussianWorld


class LineWorld(GaussianWorld):
    """A mixture on the line as the teacher: exact values at states, without gradients in them."""

    def __init__(self, process: Any, law: GaussianMixture) -> None:
        super().__init__(process, law.mean().copy(), np.diag(law.covariance()).copy())
        self.law = law

    def _node(self, time: Any) -> Any:
        return self.process.node(float(torch.as_tensor(time).ravel()[0]))

    def flow(self, x: Tensor, s: Any, t: Any) -> Tensor:
        return torch.as_tensor(self.law.flow(x.detach().numpy(), self._node(s), self._node(t)))

    def denoised(self, x: Tensor, s: Any) -> Tensor:
        return torch.as_tensor(self.law.denoised(x.detach().numpy(), self._node(s)))

    def score(self, x: Tensor, s: Any) -> Tensor:
        return torch.as_tensor(self.law.score(x.detach().numpy(), self._node(s)))


class SplineStudent(nn.Module):
    """f(x, s) at the nodes of a grid, (B, 1) from (B, 1); ``count`` cubic B-splines at each, over ``reach`` on either side of 0."""

    def __init__(self, nodes: Sequence[Any], reach: float, count: int) -> None:
        super().__init__()
        self.times, self.last = [n.t for n in nodes], nodes[-1]
        inner = np.linspace(-reach, reach, count - 2)
        self.knots = np.concatenate([[-reach] * 3, inner, [reach] * 3])
        self.theta = nn.Parameter(torch.zeros(len(nodes) - 1, count, dtype=torch.float64))

    def forward(self, x: Tensor, s: Any) -> Tensor:
        i = int(np.argmin(np.abs(np.array(self.times) - float(torch.as_tensor(s).ravel()[0]))))
        if i == len(self.times) - 1:
            return x / self.last.alpha
        inside = np.clip(x.detach().numpy()[:, 0], self.knots[0], self.knots[-1])
        basis = torch.as_tensor(BSpline.design_matrix(inside, self.knots, 3).toarray())
        return (basis @ self.theta[i])[:, None]


def spline_minimiser(
    loss: Callable[..., Any], law: GaussianMixture, nodes: Sequence[Any], *, samples: int = 4096, count: int = 26, reach: float = 4.5
) -> SplineStudent:
    """The student at which the gradient of a consistency loss vanishes, on a mixture on the line.

    Args:
        loss: ``loss(student, batch)``, which compares f at the batch's s with what it holds at its t.
        law: the data.
        nodes: of a process, noise to data.
        samples: evenly spread pairs of data and noise at each level.
        count, reach: of the splines.
    """
    world, student = LineWorld(nodes[0].schedule, law), SplineStudent(nodes, reach, count)
    u = qmc.Sobol(2, seed=0).random(samples)
    x0, normals = law.quantile(u[:, :1]), GaussianMixture([1.0], [0.0], 1.0).quantile(u[:, 1:])
    x0, eps = (torch.as_tensor(np.asarray(a)) for a in (x0, normals))
    one = torch.ones(samples, 1, dtype=torch.float64)
    for i in range(len(nodes) - 2, -1, -1):
        b = Batch(x0, eps, nodes[i].t * one, nodes[i + 1].t * one, one, world, eps)

        def slope(row: np.ndarray, i: int = i, b: Batch = b) -> np.ndarray:
            with torch.no_grad():
                student.theta[i] = torch.as_tensor(row)
            (g,) = torch.autograd.grad(loss(student, b).mean(), student.theta)
            return np.asarray(g[i])

        zero = slope(np.zeros(count))
        matrix = np.stack([slope(e) - zero for e in np.eye(count)], 1)
        best = np.linalg.lstsq(matrix, -zero, rcond=1e-9)[0]
        with torch.no_grad():
            student.theta[i] = torch.as_tensor(best)
    return student
