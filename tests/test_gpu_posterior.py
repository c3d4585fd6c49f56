"""Posterior samplers on torch: the same bits of mathematics as in NumPy, and a real network behind a mask."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel
from scorebed.gpu.models import load
from scorebed.gpu.network.posterior import NetworkModel, reconstruct
from scorebed.gpu.network.wrap import wrap
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.solvers.inverse import METHODS, Conditioned, Linear, posterior

MIXTURE = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.5]], [0.1, 0.15])
OPERATOR = Linear([[1.0, 0.4]], 0.05)
NODES = grid.uniform_lam(VP(), 8, end=0.01)


def in_torch(x, node):
    """The exact denoiser of MIXTURE, in torch and differentiable."""
    means = torch.tensor(MIXTURE.means)
    v = torch.tensor(MIXTURE.covariances)
    c = node.alpha**2 * v + node.sigma**2
    rest = x[:, None, :] - node.alpha * means
    logits = torch.log(torch.tensor(MIXTURE.weights)) - torch.log(c) - 0.5 * (rest**2).sum(-1) / c
    parts = means + (node.alpha * v / c)[:, None] * rest
    return (torch.softmax(logits, 1)[..., None] * parts).sum(1)


@pytest.mark.parametrize("name", [n for n in METHODS if n != "exact"])
def test_torch_and_numpy_give_the_same_samples(name):
    x = NODES[0].sigma * np.random.default_rng(0).normal(size=(4, 2))
    ours = posterior(name, Conditioned(ExactModel(MIXTURE), OPERATOR, np.array([0.2])), x, NODES, 3)
    model = NetworkModel(in_torch, (2,))
    state = torch.tensor(x)
    theirs = posterior(name, Conditioned(model, OPERATOR, state.new_tensor([0.2])), state, NODES, 3)
    assert isinstance(theirs, torch.Tensor)
    size = max(1.0, float(np.abs(ours).max()))
    assert np.abs(theirs.detach().numpy() - ours).max() < 1e-6 * size


@pytest.fixture(scope="module")
def galaxy():
    network = load("galaxy-hsc-32")
    return network, wrap(network.network, network.schedule, network.prediction, grad=True)


def test_the_product_of_a_network_is_that_of_finite_differences(galaxy):
    network, _ = galaxy
    twice = copy.deepcopy(network.network).double()
    model = NetworkModel(wrap(twice, network.schedule, network.prediction, grad=True), network.shape)
    node, draw = network.grid(10)[6], torch.Generator().manual_seed(0)
    x = network.start(1, 0, dtype=torch.float64).reshape(1, -1)
    v, w = (torch.randn(1, model.d, dtype=torch.float64, generator=draw) for _ in range(2))
    h = 1e-6  # the network has kinks: at 1e-5 the quotient is still 2e-3 off
    slope = float((v * (model(x + h * w, node) - model(x - h * w, node)) / (2 * h)).sum())
    assert float((model.vjp(x, node, v) * w).sum()) == pytest.approx(slope, rel=1e-6)
    with pytest.raises(ValueError, match=r"give \(n, 1024\)"):
        model(x[:, :5], node)
    with pytest.raises(ValueError, match="wrap the network with grad=True"):
        NetworkModel(network.denoise, network.shape).vjp(x.float(), node, v.float())


def test_a_galaxy_behind_a_mask_meets_its_data_and_the_cost_is_told(galaxy):
    network, denoise = galaxy
    model, nodes = NetworkModel(denoise, network.shape), network.grid(6)
    clean = sample(SOLVERS["dpmpp_2m"], network.denoise, network.start(1, 1), nodes).reshape(-1)
    seen = np.arange(0, model.d, 8)
    operator = Linear(np.eye(model.d)[seen], 1e-4)
    start = network.start(2, 2).reshape(2, -1)
    found = {name: reconstruct(name, model, operator, clean[seen], start, nodes, 4) for name in ("ddnm", "sdedit", "pigdm")}
    assert found["ddnm"]["residual"] < 1e-2 < found["sdedit"]["residual"]
    assert (found["ddnm"]["nfe"], found["ddnm"]["vjp"]) == (7, 0)
    assert (found["pigdm"]["nfe"], found["pigdm"]["vjp"]) == (7, 7)
    assert torch.isfinite(found["pigdm"]["x0"]).all()
    assert found["pigdm"]["seconds"] > 0.0


@pytest.mark.parametrize("name", ["galaxy-hsc-32", "21cm"])
def test_networks_behind_a_mask_against_a_long_run(name):
    """The study's numbers: split Gibbs is nearest its own long run, DPS at 4 steps is told as what it is, products count."""
    from scorebed.toy.studies.posterior_network import COLUMNS, Masked, reference, rows

    problem = Masked(name, noise=0.05, samples=4)
    truth = reference(problem, levels=4, inner=2)
    assert 0.0 < truth.own < 20.0 * truth.chance
    table = rows(problem, truth, ("ddnm", "dps", "pnp_dm"), (4,))
    assert list(table.columns) == list(COLUMNS)
    found = table.set_index("method")
    assert (found.loc["ddnm", "vjp"], found.loc["ddnm", "nfe"]) == (0, 5)
    assert found.loc["dps", "vjp"] > 0
    assert found.loc["pnp_dm", "mean"] < found.loc["dps", "mean"]
    assert found.loc["ddnm", "residual"] < 1e-3


def test_a_study_of_nothing_is_refused():
    from scorebed.toy.studies.posterior_network import Masked

    with pytest.raises(ValueError, match="every = 1"):
        Masked(every=1)
