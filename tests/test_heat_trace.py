"""Heat traces against spectra and curvature, the conventions of IGSO(3), and kernels of SE(3)^N."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.analytic.heat import HeatMixture
from scorebed.analytic.heat.igso3 import igso3
from scorebed.analytic.heat.kernels import kernel_of
from scorebed.analytic.heat.trace import log_trace, log_volume, spectral_entropy
from scorebed.solvers import EDM
from scorebed.solvers.space import SO3, SU2, Box, Euclidean, Product, Sphere, Torus


@pytest.mark.parametrize(
    ("space", "spectrum"),
    [
        (Torus(1), lambda k: (1.0 + (k > 0), 0.5 * k**2)),
        (Sphere(2), lambda k: (2.0 * k + 1.0, 0.5 * k * (k + 1.0))),
        (SO3(), lambda k: ((2.0 * k + 1.0) ** 2, 0.5 * k * (k + 1.0))),
        (SU2(), lambda k: ((k + 1.0) ** 2, 0.5 * k * (k + 2.0))),
    ],
    ids=["torus", "sphere", "SO3", "SU2"],
)
def test_the_trace_is_the_sum_over_the_spectrum(space, spectrum) -> None:
    k = np.arange(400.0)
    many, rates = spectrum(k)
    for t in (0.05, 0.5, 3.0):
        weights = many * np.exp(-rates * t)
        assert log_trace(space, t) == pytest.approx(math.log(weights.sum()), abs=1e-10)
        entropy = math.log(weights.sum()) + t * float(weights @ rates) / float(weights.sum())
        assert spectral_entropy(space, t) == pytest.approx(entropy, abs=1e-7)


@pytest.mark.parametrize(("space", "curvature"), [(Torus(2), 0.0), (Sphere(2), 2.0), (Sphere(3), 6.0), (SO3(), 1.5)], ids=str)
def test_at_short_times_it_tells_dimension_volume_and_curvature(space, curvature) -> None:
    t = 1e-3
    rest = log_trace(space, t) - log_volume(space) + 0.5 * space.dim * math.log(2.0 * math.pi * t)
    assert rest / t == pytest.approx(curvature / 12.0, abs=2e-3)


def test_a_product_is_a_product() -> None:
    pair = Product(SO3(), Torus(2))
    assert log_trace(pair, 0.4) == pytest.approx(log_trace(SO3(), 0.4) + log_trace(Torus(2), 0.4), abs=1e-12)
    with pytest.raises(TypeError, match="homogeneous"):
        log_trace(Box(1), 0.1)
    with pytest.raises(ValueError, match="t = 0"):
        log_trace(SO3(), 0.0)


def test_the_conventions_of_igso3_are_one_law() -> None:
    z, w = np.polynomial.legendre.leggauss(200)
    omega, w = 0.5 * math.pi * (z + 1.0), 0.5 * math.pi * w
    l = np.arange(60)
    for sigma in (0.3, 1.2):
        usual = (
            (2 * l + 1) * np.exp(-l * (l + 1) * sigma**2 / 2.0) * np.sin((2 * l + 1) * omega[:, None] / 2.0) / np.sin(omega[:, None] / 2.0)
        )
        np.testing.assert_allclose(np.exp(igso3(omega, sigma)[0]), usual.sum(1), atol=1e-8 * usual.sum(1).max())
        np.testing.assert_allclose(igso3(omega, sigma / math.sqrt(2.0), clock="whole")[0], igso3(omega, sigma)[0], rtol=1e-12)
        angle, slope = igso3(omega, sigma, measure="angle")
        assert float(w @ np.exp(angle)) == pytest.approx(1.0, abs=1e-9)
        assert float(w @ (np.exp(igso3(omega, sigma)[0]) * (1.0 - np.cos(omega)) / math.pi)) == pytest.approx(1.0, abs=1e-9)
        h = 1e-6
        numeric = (igso3(omega + h, sigma, measure="angle")[0] - igso3(omega - h, sigma, measure="angle")[0]) / (2.0 * h)
        np.testing.assert_allclose(slope[5:-5], numeric[5:-5], rtol=1e-5, atol=1e-5)
    for options, words in (({"clock": "third"}, "clock"), ({"measure": "flat"}, "measure"), ({"sigma": -1.0}, "sigma")):
        with pytest.raises(ValueError, match=words):
            igso3(omega, **{"sigma": 1.0, **options})


def test_se3_to_the_n_has_kernels_scores_and_draws() -> None:
    """N rigid bodies are Product(SO3, R³)^N: log-densities are sums of parts, and scores have the size of the Fisher information."""
    body = Product(SO3(), Euclidean(3), SO3(), Euclidean(3))
    law, node = HeatMixture(body, [1.0], body.origin[None], 0.3), EDM().node(0.4)
    x = law.sample(2000, 0, node)
    body.check(x)
    parts = body.split(x)
    single = [kernel_of(space) for space in body.spaces]
    t = 0.3 + node.sigma**2
    total = sum(k.at(np.asarray(p), space.origin[None], t)[0][0] for k, p, space in zip(single, parts, body.spaces, strict=True))
    np.testing.assert_allclose(law.log_prob(x, node), total, atol=1e-10)
    lengths = np.asarray(body.inner(x, law.score(x, node), law.score(x, node)))
    assert 6.0 / t < float(np.mean(lengths)) < 12.5 / t  # 3/t for each R³, and a little less for each SO(3)
