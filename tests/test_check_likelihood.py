"""log p along the flow: its parts against quadrature, probes against their exact variance, estimates of others with their faults named."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scorebed import EDM, VP, RectifiedFlow, check_likelihood
from scorebed.analytic.output.likelihood import bits_per_dimension, divergence, hutchinson_variance, likelihood_parts
from scorebed.toy.check.likelihood import ExactModel, _target


@pytest.mark.parametrize(("schedule", "start", "end"), [(VP(), 0.05, 1.0), (EDM(), 0.1, 20.0), (RectifiedFlow(), 0.05, 0.95)])
def test_the_parts_are_the_integrals(schedule: Any, start: float, end: float) -> None:
    """log det of the y-map = ∫ (d − alpha tr ∂D)/rho drho along the exact flow, and the parts add up to log p."""
    law, s, t = _target(), schedule.node(start), schedule.node(end)
    x = law.sample(6, np.random.default_rng(0), s)
    parts = likelihood_parts(law, x, s, t)
    nodes, weights = np.polynomial.legendre.leggauss(80)
    total = np.zeros(len(x))
    for z, w in zip(nodes, weights, strict=True):
        node = s.toward(t, 0.5 * (z + 1.0))
        # d rho/rho = −d lam, and the run goes from s to t
        total += 0.5 * w * (s.lam - t.lam) * (law.d - node.alpha * divergence(law, law.flow(x, s, node), node))
    np.testing.assert_allclose(total, parts.contraction, atol=1e-9)
    end_state = law.flow(x, s, t)
    np.testing.assert_allclose(parts.contraction - parts.expansion + law.log_prob(end_state, t), parts.log_prob, atol=1e-10)
    np.testing.assert_allclose(parts.usual - parts.log_prob, parts.error)
    with pytest.raises(ValueError, match="not noisier"):
        likelihood_parts(law, x, t, s)


def test_the_variance_of_probes() -> None:
    """Over all signs, and over a Gauss rule for normals: exact."""
    a = np.random.default_rng(1).standard_normal((3, 3))
    a = a + a.T
    signs = [np.array(v) @ a @ np.array(v) for v in itertools.product((-1.0, 1.0), repeat=3)]
    assert np.var(signs) == pytest.approx(float(hutchinson_variance(a)), rel=1e-12)
    z, w = np.polynomial.hermite_e.hermegauss(6)
    w = w / w.sum()
    grid = [
        (np.array(p) @ a @ np.array(p), math.prod(q))
        for p, q in zip(itertools.product(z, repeat=3), itertools.product(w, repeat=3), strict=True)
    ]
    mean = sum(value * weight for value, weight in grid)
    variance = sum((value - mean) ** 2 * weight for value, weight in grid)
    assert variance == pytest.approx(float(hutchinson_variance(a, "gaussian")), rel=1e-10)
    with pytest.raises(ValueError, match="probes = 'cauchy'"):
        hutchinson_variance(a, "cauchy")


def test_bits_per_dimension() -> None:
    """A uniform density over 256 levels has 8 bits, whatever the interval."""
    assert bits_per_dimension(-3.0 * math.log(2.0), 3) == pytest.approx(8.0)
    assert bits_per_dimension(0.0, 3, span=1.0) == pytest.approx(8.0)
    with pytest.raises(ValueError, match="d = 0"):
        bits_per_dimension(0.0, 0)


def test_the_model_has_its_jacobian() -> None:
    import torch

    law, node = _target(), VP().node(0.4)
    model, x = ExactModel(law), law.sample(5, np.random.default_rng(2), node)
    v = np.random.default_rng(3).standard_normal(x.shape)
    np.testing.assert_allclose(model(x, node), law.denoised(x, node), atol=1e-12)
    np.testing.assert_allclose(model.vjp(x, node, v), law.vjp(x, node, v), atol=1e-11)
    y = torch.from_numpy(x).requires_grad_()
    (grad,) = torch.autograd.grad((model(y, node) * torch.from_numpy(v)).sum(), y)
    np.testing.assert_allclose(grad.numpy(), law.vjp(x, node, v), atol=1e-11)


def heun(
    *, probes: int = 0, divide: bool = True, sign: float = 1.0, half: float = 1.0, prior: bool = True, variance: float | None = None,
    dims: int | None = None, normalise: bool = True, volume: bool = True, unit: float = 1.0,
) -> Callable[..., Any]:  # fmt: skip
    """log p by Heun's method in rho, with an exact trace or probes of signs; every argument but ``probes`` breaks one line."""
    rng = np.random.default_rng(0)

    def estimate(model: Any, x: Any, nodes: Any) -> Any:
        n, d = x.shape

        def slope(y: Any, node: Any) -> tuple[Any, Any]:
            here = node.alpha * y
            if probes:
                vs = [rng.choice([-1.0, 1.0], size=x.shape) for _ in range(probes)]
                trace = sum(np.sum(v * model.vjp(here, node, v), axis=1) for v in vs) / (probes if divide else 1)
            else:
                trace = sum(model.vjp(here, node, np.tile(e, (n, 1)))[:, i] for i, e in enumerate(np.eye(d)))
            return (y - model(here, node)) / node.rho, (d - node.alpha * trace) / node.rho

        y, log_p = x / nodes[0].alpha, np.zeros(n)
        for s, t in itertools.pairwise(nodes):
            h = t.rho - s.rho
            one, first = slope(y, s)
            two, second = slope(y + h * one, t)
            y, log_p = y + 0.5 * h * (one + two), log_p + 0.5 * sign * half * h * (first + second)
        t, v = nodes[-1], variance or nodes[-1].sigma ** 2
        if prior:
            log_p = log_p - 0.5 * np.sum((t.alpha * y) ** 2, axis=1) / v
            log_p = log_p - (0.5 * (dims or d) * math.log(2.0 * math.pi * v) if normalise else 0.0)
        return unit * (log_p + (d * math.log(t.alpha / nodes[0].alpha) if volume else 0.0))

    return estimate


FAULTS: dict[str, dict[str, Any]] = {
    "sum over probes not divided": {"probes": 4, "divide": False},
    "sign of the divergence": {"sign": -1.0},
    "divergence left out": {"sign": 0.0},
    "prior term left out": {"prior": False},
    "factor ½ of g² left out": {"half": 2.0},
    "prior of unit variance": {"variance": 1.0},
    "normaliser of one dimension": {"dims": 1},
    "normaliser of the prior left out": {"normalise": False},
    "change of variables left out": {"volume": False},
    "bits for nats": {"unit": 1.0 / math.log(2.0)},
    "sign of log p": {"unit": -1.0},
    "divided by the dimension": {"unit": 1.0 / 3.0},
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_planted_fault_is_named(cause: str) -> None:
    result = check_likelihood(heun(**FAULTS[cause]))
    assert not result.passed
    assert result.causes == [cause], result


@pytest.mark.parametrize("probes", [1, 3])
def test_probes_of_a_fixed_seed_are_seen_as_probes(probes: int) -> None:
    """The same numbers at every call: the scatter shows between copies of the samples in one batch."""
    assert check_likelihood(lambda model, x, nodes: heun(probes=probes)(model, x, nodes), steps=(16, 64)).passed
    if probes > 1:
        wrong = check_likelihood(lambda model, x, nodes: heun(probes=probes, divide=False)(model, x, nodes), steps=(16, 64))
        assert wrong.causes == ["sum over probes not divided"], wrong


def test_two_probes_not_divided_are_not_the_factor_of_two() -> None:
    assert check_likelihood(heun(probes=2, divide=False)).causes == ["sum over probes not divided"]


@pytest.mark.parametrize("probes", [0, 2])
def test_a_right_estimate_passes(probes: int) -> None:
    result = check_likelihood(heun(probes=probes))
    assert result.passed, result


def test_bits_are_a_unit() -> None:
    assert check_likelihood(heun(unit=-1.0 / (3.0 * math.log(2.0))), unit="bpd").passed
    assert check_likelihood(heun(), unit="bpd").causes == ["nats for bits per dimension"]


def test_a_torch_estimate_by_automatic_differentiation() -> None:
    import torch

    def estimate(model: Any, x: Any, nodes: Any, sign: float = 1.0) -> Any:
        d, log_p, y = x.shape[1], 0.0, x / nodes[0].alpha
        for s, t in itertools.pairwise(nodes):
            m = s.toward(t, 0.5)
            for node, h in ((s, m.rho - s.rho), (t, t.rho - m.rho)):
                z = (node.alpha * y).requires_grad_()
                out = model(z, node)
                trace = sum(torch.autograd.grad(out[:, i].sum(), z, retain_graph=True)[0][:, i] for i in range(d))
                y = (y + h * (y - out) / node.rho).detach()
                log_p = log_p + sign * h * (d - node.alpha * trace) / node.rho
        t = nodes[-1]
        return (
            log_p
            - 0.5 * ((t.alpha * y) ** 2).sum(1) / t.sigma**2
            - 0.5 * d * math.log(2 * math.pi * t.sigma**2)
            + d * math.log(t.alpha / nodes[0].alpha)
        )

    assert check_likelihood(estimate, library="torch", steps=(32, 128)).passed
    wrong = check_likelihood(lambda model, x, nodes: estimate(model, x, nodes, -1.0), library="torch")
    assert wrong.cause == "sign of the divergence"


@pytest.mark.parametrize(("options", "words"), [({"unit": "bits"}, "unit = 'bits'"), ({"library": "jax"}, "library = 'jax'")])
def test_wrong_use_is_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_likelihood(heun(), **options)
    with pytest.raises(TypeError, match="not callable"):
        check_likelihood(None)  # type: ignore[arg-type]
    broken = check_likelihood(lambda model, x, nodes: np.zeros(3))
    assert not broken.passed
    assert "one number for each" in broken.failures[0].measured
    assert check_likelihood(lambda model, x, nodes: np.full(len(x), np.nan)).causes == ["not finite"]
