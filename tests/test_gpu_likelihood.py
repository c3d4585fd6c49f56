"""log p of networks: exact mixtures through autograd are what NumPy has, probes scatter as they say, check_likelihood passes it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import check_likelihood
from scorebed.analytic.output.density import exact_jacobian, pushed
from scorebed.gpu.models import load
from scorebed.gpu.network.likelihood import log_prob
from scorebed.gpu.network.wrap import wrap
from scorebed.solvers import SOLVERS, VP, grid, trace
from scorebed.toy.check.likelihood import ExactModel, _target

LAW, NODES = _target(), grid.uniform_lam(VP(), 12, end=0.05)[::-1]
X = LAW.sample(5, np.random.default_rng(0), NODES[0])


@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_the_exact_trace_is_that_of_numpy(name: str) -> None:
    run = pushed(trace(SOLVERS[name], NODES), LAW.denoised, exact_jacobian(LAW), X)
    found = log_prob(ExactModel(LAW), torch.from_numpy(X), NODES, solver=name, exact=True)
    np.testing.assert_allclose(found.volume.numpy(), run.quadrature, atol=1e-10)
    np.testing.assert_allclose(found.end.numpy(), run.end, atol=1e-12)
    assert found.nfe == trace(SOLVERS[name], NODES).nfe
    np.testing.assert_allclose(found.bits(), -found.log_prob.numpy() / (3 * math.log(2.0)) + 7.0)


def test_probes_scatter_as_their_formula_says() -> None:
    run = pushed(trace(SOLVERS["heun"], NODES), LAW.denoised, exact_jacobian(LAW), X)
    found = log_prob(ExactModel(LAW), torch.from_numpy(X), NODES, probes=64, seed=1)
    expected = np.sqrt(run.probe_variance() / 64)
    np.testing.assert_allclose(found.error.numpy(), expected, rtol=0.45)
    assert (np.abs(found.volume.numpy() - run.quadrature) < 4.5 * expected).all()
    again = log_prob(ExactModel(LAW), torch.from_numpy(X), NODES, probes=64, seed=1)
    assert torch.equal(again.log_prob, found.log_prob)


def test_the_check_passes_it() -> None:
    def estimate(model: Any, x: Any, nodes: Any) -> Any:
        return log_prob(model, x, nodes, exact=True).log_prob

    assert check_likelihood(estimate, library="torch", steps=(16, 48)).passed


def test_a_real_network_has_a_log_p_and_its_own_samples_are_likelier_than_noise() -> None:
    network = load("galaxy-hsc-32")
    denoise = wrap(network.network, network.schedule, network.prediction, grad=True)
    nodes = network.grid(6)[:-1][::-1] if network.grid(6)[-1].sigma == 0.0 else network.grid(6)[::-1]
    from scorebed.solvers import sample

    x = sample(SOLVERS["ddim"], network.denoise, network.start(2, 0), nodes[::-1], terminal="none")
    found = log_prob(denoise, x, nodes, solver="ddim", probes=2)
    noise = log_prob(denoise, torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x), nodes, solver="ddim", probes=2)
    assert torch.isfinite(found.log_prob).all()
    assert (found.log_prob > noise.log_prob).all()
    assert (found.error > 0.0).all()
    with pytest.raises(ValueError, match="grad=True"):
        log_prob(network.denoise, x, nodes)


def test_wrong_use_is_told() -> None:
    x = torch.from_numpy(X)
    for options, words in (({"probes": 0}, "probes = 0"), ({"solver": "ddpm"}, "stochastic")):
        with pytest.raises(ValueError, match=words):
            log_prob(ExactModel(LAW), x, NODES, **options)
    with pytest.raises(ValueError, match="reverse them"):
        log_prob(ExactModel(LAW), x, NODES[::-1])
