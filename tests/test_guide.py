"""Guides: each rule is its formula, in NumPy and in torch, by halves of a batch, alone and inside every solver."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, RectifiedFlow, convert, grid, predicts, sample
from scorebed.solvers.guide import CFG, Rule, guided, interval, mix
from scorebed.solvers.methods.steering.rules import APG, CFGZero, MagnitudeAware, Rescaled, Tangential, cfg_pp
from scorebed.toy.problems.euclidean import diagonal

GIVEN = GaussianMixture([0.4, 0.6], [[1.0, 0.0, -0.5], [0.6, 0.8, 0.2]], 0.1)
NULL = diagonal([0.0, 0.1, 0.0], [1.0, 0.5, 0.8])
NODES = grid.uniform_lam(VP(), 6)
RNG = np.random.default_rng(5)
X = RNG.standard_normal((6, 3))
RULES: dict[str, Rule] = {
    "cfg": CFG(3.0),
    "interval": interval(3.0, 0.1, 2.0),
    "cfg_pp": cfg_pp(0.6, NODES),
    "rescaled": Rescaled(3.0, 0.7),
    "apg": APG(4.0, 0.2, 0.8),
    "cfg_zero": CFGZero(3.0),
    "tangential": Tangential(3.0),
    "magnitude": MagnitudeAware(3.0, 0.5),
}


def answers(node: Any, x: np.ndarray = X) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(GIVEN.denoised(x, node)), np.asarray(NULL.denoised(x, node))


@pytest.mark.parametrize("name", RULES)
def test_numpy_and_torch_and_any_split_agree(name: str) -> None:
    rule, node = RULES[name], NODES[3]
    c, u = answers(node)
    whole = rule(c, u, X, node)
    parts = np.concatenate([rule(c[i], u[i], X[i], node) for i in (slice(0, 1), slice(1, 6))])
    np.testing.assert_array_equal(parts, whole)
    with_torch = rule(*(torch.from_numpy(a) for a in (c, u, X)), node)
    np.testing.assert_allclose(with_torch.numpy(), whole, rtol=0, atol=1e-14)
    single = rule(*(torch.from_numpy(a).float() for a in (c, u, X)), node)
    assert single.dtype == torch.float32
    assert rule(*(a.astype("f4") for a in (c, u, X)), node).dtype == np.float32


@pytest.mark.parametrize("name", RULES)
def test_every_rule_at_scale_one_or_equal_models(name: str) -> None:
    """Where the two models agree there is nothing to guide (CFG-Zero* included: then s = 1)."""
    node = NODES[3]
    c, _ = answers(node)
    np.testing.assert_allclose(RULES[name](c, c, X, node), c, atol=1e-13)


@pytest.mark.parametrize("rule", [CFG(1.0), APG(1.0), interval(7.0, 1e3, 1e4)])
def test_scale_one_is_the_given_model(rule: Rule) -> None:
    c, u = answers(NODES[3])
    np.testing.assert_allclose(rule(c, u, X, NODES[3]), c, atol=1e-14)


def test_formulas() -> None:
    """Each rule against its equation, written with norms and projections of each sample."""
    node = NODES[3]
    c, u = answers(node)
    np.testing.assert_allclose(Rescaled(3.0, 1.0)(c, u, X, node).std(1), c.std(1), rtol=1e-12)
    whole = APG(4.0, 0.2, 0.05)(c, u, X, node) - c
    for i in range(len(X)):
        gap = (c[i] - u[i]) * min(1.0, 0.05 / np.linalg.norm(c[i] - u[i]))
        e = c[i] / np.linalg.norm(c[i])
        np.testing.assert_allclose(whole[i], 3.0 * (gap - e * (gap @ e) + 0.2 * e * (gap @ e)), atol=1e-13)
    v, w = (convert(a, X, node, "denoised", "flow") for a in (c, u))
    s = (v * w).sum(1, keepdims=True) / (w * w).sum(1, keepdims=True)
    found = convert(CFGZero(3.0)(c, u, X, node), X, node, "denoised", "flow")
    np.testing.assert_allclose(found, s * w + 3.0 * (v - s * w), atol=1e-12)
    for i in range(len(X)):
        first = np.linalg.svd(np.stack([c[i], u[i]]))[2][0]
        part = (u[i] @ first) * first
        np.testing.assert_allclose(Tangential(3.0)(c, u, X, node)[i], part + 3.0 * (c[i] - part), atol=1e-12)
        scale = 1.0 + 2.0 * math.exp(-0.5 * np.linalg.norm(c[i] - u[i]) / np.linalg.norm(u[i]))
        np.testing.assert_allclose(MagnitudeAware(3.0, 0.5)(c, u, X, node)[i], u[i] + scale * (c[i] - u[i]), atol=1e-12)
    still = CFGZero(3.0, zero=0.0)(c, u, X, node)
    np.testing.assert_allclose(convert(still, X, node, "denoised", "flow"), 0.0, atol=1e-13)


def test_apg_remembers_a_run_and_forgets_it() -> None:
    rule = APG(3.0, momentum=-0.5)
    model = guided(GIVEN.denoised, NULL.denoised, rule)
    first = sample(SOLVERS["ddim"], model, X, NODES)
    np.testing.assert_array_equal(sample(SOLVERS["ddim"], model, X, NODES), first)
    assert np.abs(first - sample(SOLVERS["ddim"], guided(GIVEN.denoised, NULL.denoised, APG(3.0)), X, NODES)).max() > 1e-3


def test_cfg_pp_renoises_by_the_unconditional_model() -> None:
    """A run with DDIM is Algorithm 1 of the paper; and λ/(1 − rho_t/rho_s) grows like 1/h."""
    lam, x = 0.6, X
    for s, t in pairwise(NODES):
        c, u = answers(s, x)
        x = t.alpha * (u + lam * (c - u)) + t.sigma * (x - s.alpha * u) / s.sigma
    found = sample(SOLVERS["ddim"], guided(GIVEN.denoised, NULL.denoised, cfg_pp(lam, NODES)), X, NODES, terminal="none")
    np.testing.assert_allclose(found, x, atol=1e-12)
    for n in (10, 100):
        nodes = grid.uniform_lam(VP(), n)
        assert cfg_pp(lam, nodes).at(nodes[3]) == pytest.approx(lam / -math.expm1(nodes[3].lam - nodes[4].lam))


@pytest.mark.parametrize("name", ["ddim", "dpmpp_2m", "unipc_3", "heun", "ddpm", "dpmpp_2m_sde", "rk4"])
def test_guided_models_run_with_solvers(name: str) -> None:
    """On two Gaussians guidance is linear: the model is that of the slopes, whatever the method."""
    narrow, wide = diagonal([0.0] * 3, [0.1, 0.2, 0.3]), diagonal([0.0] * 3, [1.0] * 3)
    model = guided(narrow.denoised, wide.denoised, 2.0)
    found = sample(SOLVERS[name], model, X, NODES, noise=1)

    def slopes(x: np.ndarray, n: Any) -> np.ndarray:
        a, b = (n.alpha * v / (n.alpha**2 * v + n.sigma**2) for v in (np.array([0.1, 0.2, 0.3]), 1.0))
        return x * (b + 2.0 * (a - b))

    np.testing.assert_allclose(found, sample(SOLVERS[name], slopes, X, NODES, noise=1), atol=1e-11)


def test_a_scale_for_each_sample_and_rows() -> None:
    w = np.array([0.0, 1.0, 2.0, -1.5, 7.5, 0.5])
    c, u = answers(NODES[3])
    whole = CFG(w)(c, u, X, NODES[3])
    np.testing.assert_allclose(whole, u + w[:, None] * (c - u))
    np.testing.assert_array_equal(CFG(w).take(slice(2, 5))(c[2:5], u[2:5], X[2:5], NODES[3]), whole[2:5])
    with pytest.raises(ValueError, match="6 scales for a batch of 2"):
        CFG(w)(c[:2], u[:2], X[:2], NODES[3])


def test_one_half_is_asked_where_one_is_enough() -> None:
    calls = {"given": 0, "null": 0}

    def counted(name: str, model: Callable[..., Any]) -> Callable[..., Any]:
        def ask(x: Any, node: Any) -> Any:
            calls[name] += 1
            return model(x, node)

        return ask

    models = counted("given", GIVEN.denoised), counted("null", NULL.denoised)
    for rule in (1.0, 0.0, interval(3.0, 1e3, 1e4)):
        guided(*models, rule)(X, NODES[2])
    assert calls == {"given": 2, "null": 1}


@pytest.mark.parametrize("prediction", ["eps", "v", "flow", "score", "denoised"])
@pytest.mark.parametrize("name", ["cfg", "rescaled", "apg", "cfg_zero"])
def test_networks_are_guided_by_the_same_rules(name: str, prediction: str) -> None:
    """One batched call of a network, whatever it predicts, is the rule on the two posterior means; also in a fused run."""
    weights = torch.from_numpy(RNG.standard_normal((3, 3))) * 0.3

    def network(x: torch.Tensor, time: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ weights + label)

    rows = {"label": torch.linspace(-1.0, 1.0, 18, dtype=torch.float64).view(6, 3)}
    without = {"label": torch.zeros(1, 3, dtype=torch.float64)}
    x, schedule = torch.from_numpy(X), RectifiedFlow()
    nodes = grid.uniform_lam(schedule, 4)
    kinds = {"dtype": torch.float64}
    both = gpu.wrap(network, schedule, prediction, per_sample=rows, null=without, guidance=RULES[name], **kinds)
    plain = guided(
        gpu.wrap(network, schedule, prediction, per_sample=rows, **kinds),
        gpu.wrap(network, schedule, prediction, per_sample=without, **kinds),
        RULES[name],
    )
    torch.testing.assert_close(both(x, nodes[1]), plain(x, nodes[1]), rtol=0, atol=1e-12)
    torch.testing.assert_close(gpu.run(SOLVERS["ddim"], both, x, nodes), sample(SOLVERS["ddim"], plain, x, nodes), rtol=0, atol=1e-11)

    @predicts(prediction)
    def direct(y: torch.Tensor, node: Any, label: torch.Tensor) -> torch.Tensor:
        return network(y, torch.tensor(0.0), label)

    again = gpu.guided(direct, rows["label"], without["label"], RULES[name])
    from scorebed.solvers import denoiser

    torch.testing.assert_close(denoiser(again, prediction)(x, nodes[1]), plain(x, nodes[1]), rtol=0, atol=1e-12)


def test_guided_models_travel() -> None:
    model = pickle.loads(pickle.dumps(guided(GIVEN.denoised, NULL.denoised, 2.0)))
    c, u = answers(NODES[2])
    np.testing.assert_allclose(model(X, NODES[2]), mix(c, u, 2.0), atol=1e-14)


def test_wrong_use_is_told() -> None:
    with pytest.raises(TypeError, match="null = None is not callable"):
        guided(GIVEN.denoised, None, 2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="given predicts 'eps'"):
        guided(predicts("eps")(lambda x, n: x), NULL.denoised, 2.0)
    for bad, error in (("big", TypeError), (math.nan, ValueError), ([[1.0]], TypeError), ([1.0, math.inf], ValueError)):
        with pytest.raises(error, match="guidance"):
            CFG(bad)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        cfg_pp(1.5, NODES)
    with pytest.raises(ValueError, match="needs null"):
        gpu.wrap(lambda x, t: x, VP(), guidance=Rescaled(2.0))
