"""Heat-kernel mixtures on torch: the NumPy answers, gradients that are finite and right everywhere, whole runs on spaces."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.analytic.heat import HeatMixture, HeatProduct
from scorebed.solvers import EDM, SOLVERS, VP, sample
from scorebed.solvers.space import SO3, SU2, Euclidean, Hyperbolic, Product, Sphere, Torus
from scorebed.toy.problems import spaces

RNG = np.random.default_rng(0)
LAWS = {
    "sphere": spaces.sphere(),
    "so3": spaces.so3(),
    "torus": spaces.torus(),
    "box": spaces.box(),
    "s3": HeatMixture(Sphere(3), [0.4, 0.6], Sphere(3).uniform(2, RNG), [0.1, 0.4]),
    "su2": HeatMixture(SU2(), [0.4, 0.6], SU2().uniform(2, RNG), [0.1, 0.4]),
    "frames": HeatProduct(
        [HeatMixture(SO3(), [0.5, 0.5], SO3().uniform(2, RNG), [0.2, 0.3]), HeatMixture(Euclidean(3), [1.0], [[0.1, 0.0, -0.2]], [0.3])]
    ),
    "together": HeatMixture(Product(Sphere(2), Torus(1)), [0.3, 0.7], np.array([[1.0, 0.0, 0.0, 0.5], [0.0, 1.0, 0.0, -2.0]]), [0.1, 0.2]),
}


def at(sigma):
    return EDM().at_lam(-math.log(sigma))


def points(law):
    """Draws, and the places where formulas may divide by 0."""
    x = law.sample(40, np.random.default_rng(1))
    more = [law.means] if hasattr(law, "means") else []
    return np.concatenate([x, law.space.edges(), *more])


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
@pytest.mark.parametrize("name", LAWS)
def test_the_answers_are_those_of_numpy(name, sigma):
    law, node = LAWS[name], at(sigma)
    x = points(law)
    for dtype, bound in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        made = gpu.HeatMixture(law, dtype=dtype)
        state = torch.tensor(x, dtype=dtype)
        for kind in ("score", "denoised", "log_prob"):
            expected, found = np.asarray(getattr(law, kind)(x, node)), getattr(made, kind)(state, node)
            assert found.dtype == dtype
            assert np.abs(found.double().numpy() - expected).max() < bound * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("name", LAWS)
def test_gradients_are_finite_and_right(name):
    """Along geodesics from the states, against central differences; at means and cut loci they are finite."""
    law, node = LAWS[name], at(0.3)
    space, made = law.space, gpu.HeatMixture(law, dtype=torch.float64)
    x = torch.tensor(points(law))
    generator = torch.Generator().manual_seed(0)
    v = space.tangent(x, torch.randn(x.shape, dtype=x.dtype, generator=generator))
    v = 0.1 * v
    w = torch.randn(x.shape, dtype=x.dtype, generator=generator)
    state = x.clone().requires_grad_()
    (made.score(state, node) * w).sum().backward()
    assert torch.isfinite(state.grad).all()
    axes = tuple(range(1, x.ndim))
    few = slice(0, 40)
    along = (state.grad * v).sum(axes)[few]
    h = 1e-5
    ends = [(made.score(space.exp(x, s * h * v), node) * w).sum(axes)[few] for s in (1.0, -1.0)]
    slope = (ends[0] - ends[1]) / (2.0 * h)
    assert float((along - slope).abs().max()) < 1e-6 * max(1.0, float(slope.abs().max()))


@pytest.mark.parametrize(("problem", "method"), [("sphere", "geodesic_heun"), ("so3", "cf_3"), ("torus", "geodesic_euler_maruyama")])
def test_a_run_on_a_space_is_that_of_numpy(problem, method):
    from scorebed.toy.problems.registry import PROBLEMS

    place = PROBLEMS[problem]
    law, solver, nodes = LAWS[problem], SOLVERS[method](space=LAWS[problem].space), place.nodes(6)
    x = law.sample(8, np.random.default_rng(3), nodes[0])
    ours = sample(solver, law.denoised, x, nodes, noise=2, terminal="none")
    theirs = sample(solver, gpu.HeatMixture(law, dtype=torch.float64).denoised, torch.tensor(x), nodes, noise=2, terminal="none")
    assert np.abs(theirs.numpy() - ours).max() < 1e-9


def test_a_conditioned_mixture_on_a_device():
    """Full covariances of a posterior as factors: score and denoised of ``law.given`` to round-off."""
    law = GaussianMixture([0.4, 0.6], [[-1.0, 0.5, 0.0], [1.0, -0.5, 0.3]], [0.1, 0.15])
    posterior = law.given(np.array([[1.0, 0.4, -0.2]]), np.array([0.3]), 0.05)
    made = gpu.GaussianMixture.from_exact(posterior, dtype=torch.float64)
    x = np.random.default_rng(0).normal(size=(50, 3))
    for node in (VP().node(0.9), VP().node(0.01)):
        for kind in ("score", "denoised", "log_prob"):
            expected = np.asarray(getattr(posterior, kind)(x, node))
            found = getattr(made, kind)(torch.tensor(x), node).numpy()
            assert np.abs(found - expected).max() < 1e-10 * max(1.0, np.abs(expected).max())


def test_refusals():
    with pytest.raises(TypeError, match="has no kernel on a device"):
        gpu.HeatMixture(HeatMixture(Hyperbolic(2), [1.0], [Hyperbolic(2).origin], [0.2]))
    with pytest.raises(TypeError, match="law is a GaussianMixture"):
        gpu.HeatMixture(GaussianMixture([1.0], [[0.0]], 1.0))
    with pytest.raises(ValueError, match=r"give a floating-point tensor \(\.\.\., 3\)"):
        gpu.HeatMixture(LAWS["sphere"]).score(torch.zeros(2, 2), at(0.5))
    sharp = gpu.HeatMixture(HeatMixture(Sphere(2), [1.0], [[1.0, 0.0, 0.0]], [0.0]))
    with pytest.raises(ValueError, match="needs a table of"):
        sharp.score(torch.tensor([[1.0, 0.0, 0.0]]), at(1e-3))
    with pytest.raises(ValueError, match="point mass"):
        sharp.log_prob(torch.tensor([[1.0, 0.0, 0.0]]))
