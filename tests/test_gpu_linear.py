"""Laws of linear processes on torch: NumPy's answers, gradients, and whole runs in phase space through the fused passes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.analytic.process.phase import PhaseLaw
from scorebed.solvers import GRIDS, SOLVERS, sample
from scorebed.solvers.process.langevin import CLD

PROCESS = CLD()
LAW = PhaseLaw(GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.5]], [0.1, 0.15]), PROCESS)
NODES = GRIDS["uniform"](PROCESS, 6)


def states(node, n=20):
    return LAW.sample(n, np.random.default_rng(0), node)


@pytest.mark.parametrize("which", [0, 3, -2])
def test_the_answers_are_those_of_numpy(which):
    node = NODES[which]
    z = states(node)
    for dtype, bound in ((torch.float64, 1e-11), (torch.float32, 1e-4)):
        made = gpu.LinearLaw(LAW, dtype=dtype)
        there = tuple(torch.tensor(part, dtype=dtype) for part in z)
        for kind in ("denoised", "score"):
            for ours, theirs in zip(getattr(made, kind)(there, node), getattr(LAW, kind)(z, node), strict=True):
                assert np.abs(ours.double().numpy() - theirs).max() < bound * max(1.0, np.abs(theirs).max())
        assert np.abs(made.log_prob(there, node).double().numpy() - LAW.log_prob(z, node)).max() < bound * 10.0


def test_the_score_is_the_gradient_of_log_prob():
    node, made = NODES[2], gpu.LinearLaw(LAW, dtype=torch.float64)
    there = tuple(torch.tensor(part, requires_grad=True) for part in states(node))
    made.log_prob(there, node).sum().backward()
    for part, score in zip(there, made.score(there, node), strict=True):
        torch.testing.assert_close(part.grad, score.detach())


@pytest.mark.parametrize("name", ["ddim", "ddpm", "exp_adams_2"])
def test_a_run_in_phase_space(name):
    z = states(NODES[0], 5)
    ours = sample(SOLVERS[name], LAW.denoised, z, NODES, noise=3)
    made = gpu.LinearLaw(LAW, dtype=torch.float64)
    theirs = gpu.run(SOLVERS[name], made.denoised, tuple(map(torch.tensor, z)), NODES, noise=3)
    for a, b in zip(theirs, ours, strict=True):
        assert np.abs(a.numpy() - b).max() < 1e-9


def test_refusals():
    with pytest.raises(TypeError, match="law is a GaussianMixture"):
        gpu.LinearLaw(LAW.data)
    with pytest.raises(ValueError, match="1 components, the process 2"):
        gpu.LinearLaw(LAW).score(torch.zeros(3, 2), NODES[1])
    with pytest.raises(ValueError, match=r"give equal floating tensors \(\.\.\., 2\)"):
        gpu.LinearLaw(LAW).score((torch.zeros(3, 3), torch.zeros(3, 3)), NODES[1])
