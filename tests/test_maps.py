"""Few-step methods: their properties, their mutants, and that a map never passes for a posterior mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.analytic import GaussianMixture, RotatedProduct
from scorebed.analytic.gaussian.draw import posterior_draws
from scorebed.analytic.process.maps import FlowMap
from scorebed.solvers import SOLVERS, VP, Solver, convert, denoiser, grid, methods_on, predicts, sample, solver, trace
from scorebed.solvers.methods.few_step import ctm, flow_map, long_reverse, multistep_consistency
from scorebed.toy.measure.output_law import law
from scorebed.toy.problems.lines import modes
from scorebed.toy.properties import PROPERTIES, Broken
from scorebed.toy.properties.maps import problems, step_law_error
from scorebed.toy.properties.mutants import Mutant, killer, tampered

GRID = grid.uniform_lam(VP(), 4, 0.9, 0.1)
X = np.linspace(-1.0, 1.0, 6)[:, None]
MAPS = FlowMap(modes())


def test_map_path(solver: Solver) -> None:
    PROPERTIES["map_path"](solver)


def test_map_law(solver: Solver) -> None:
    PROPERTIES["map_law"](solver)


def test_map_law_on_a_mixture(solver: Solver) -> None:
    PROPERTIES["map_law_on_a_mixture"](solver)


def test_map_empty_step(solver: Solver) -> None:
    PROPERTIES["map_empty_step"](solver)


def test_map_replay(solver: Solver) -> None:
    PROPERTIES["map_replay"](solver)


def test_draw_law(solver: Solver) -> None:
    PROPERTIES["draw_law"](solver)


# mutants


@pytest.mark.parametrize("spoil", ["noise", "way"])
def test_the_law_on_a_mixture_notices_too(spoil: str) -> None:
    wrong = quiet(multistep_consistency) if spoil == "noise" else long(multistep_consistency)
    problem = problems("endpoint")[1]
    assert step_law_error(multistep_consistency, problem, *problem.ends) < 1e-12
    assert step_law_error(wrong, problem, *problem.ends) > 1e-3


def quiet(method: Solver) -> Solver:
    """Nine tenths of the noise."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return method.step(denoise, x, s, t, carry, lambda a, b: 0.9 * noise(a, b))

    return replace(method, name="quiet", step=step)


def long(method: Solver) -> Solver:
    """Eleven tenths of where the map goes."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return method.step(lambda y, *nodes: 1.1 * denoise(y, *nodes), x, s, t, carry, noise)

    return replace(method, name="long", step=step)


@pytest.mark.parametrize(
    ("wrong", "method", "by"),
    [
        (quiet(multistep_consistency), multistep_consistency, "map_law"),
        (long(multistep_consistency), multistep_consistency, "map_law"),
        (long(flow_map), flow_map, "map_path"),
        *((tampered(multistep_consistency, k), multistep_consistency, "map_law") for k in range(3)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_what_spoils_the_noise_or_the_way_is_noticed(wrong: Solver, method: Solver, by: str) -> None:
    assert killer(Mutant(wrong.name, wrong, method)) == by


def test_a_posterior_mean_in_the_place_of_the_map_is_noticed_by_the_law() -> None:
    """What the marks are there to prevent: E[x0 | x] of a mixture, marked as an endpoint, breaks the law on the mixture."""
    law, nodes = modes(), grid.uniform_lam(VP(), 1, 0.9, 0.05)
    x = law.sample(4000, np.random.default_rng(0), nodes[0])
    right, wrong = (
        sample(multistep_consistency, model, x, nodes, noise=1, terminal="none").var()
        for model in (FlowMap(law).endpoint, predicts("endpoint")(lambda y, s: law.denoised(y, s)))
    )
    assert abs(right / law.marginal(nodes[-1]).covariance()[0, 0] - 1.0) < 0.1
    assert wrong < 0.3 * right


def test_a_posterior_mean_in_the_place_of_the_draw_is_noticed() -> None:
    """DDPM's long steps: E[x0 | x] for a draw of p(x0 | x)."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return long_reverse.step(lambda y, n, xi: modes().denoised(y, n) + 0.0 * xi, x, s, t, carry, noise)

    with pytest.raises(Broken, match="distribution function is off by"):
        PROPERTIES["draw_law"](replace(long_reverse, step=step))


@pytest.mark.parametrize("gamma", [0.2, 0.7, 0.95])
def test_ctm_is_exact_for_every_gamma_and_between_the_map_and_the_chain_that_draws_anew(gamma: float) -> None:
    problem, method = problems("map")[1], ctm(gamma=gamma)
    assert step_law_error(method, problem, *problem.ends) < 1e-9
    assert step_law_error(quiet(method), problem, *problem.ends) > 1e-4
    little = sample(ctm(gamma=1e-7), MAPS.map, X, GRID, noise=1, terminal="none")
    np.testing.assert_allclose(little, sample(flow_map, MAPS.map, X, GRID, terminal="none"), atol=1e-6)
    whole = sample(ctm(gamma=1.0 - 1e-12), MAPS.map, X, GRID, noise=1, terminal="none")
    np.testing.assert_allclose(whole, sample(multistep_consistency, MAPS.endpoint, X, GRID, noise=1, terminal="none"), atol=1e-4)


PLANE = GaussianMixture([0.3, 0.7], [[0.0, 1.0], [1.0, -1.0]], [[[0.3, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.5]]])


@pytest.mark.parametrize("law", [PLANE, modes()])
def test_draws_are_those_of_the_posterior_and_the_same_for_the_same_normals(law: GaussianMixture) -> None:
    node, rng = VP().node(0.4), np.random.default_rng(0)
    x = np.repeat(law.sample(1, 1, node), 20_000, axis=0)
    xi = rng.standard_normal(x.shape)
    y = posterior_draws(law)(x, node, xi)
    np.testing.assert_array_equal(y[:5], posterior_draws(law)(x[:5], node, xi[:5]))
    spread = law.posterior_covariance(x[:1], node)[0]
    np.testing.assert_allclose(y.mean(0), law.denoised(x[:1], node)[0], atol=4 * float(np.sqrt(spread.max() / 20_000)))
    np.testing.assert_allclose(np.cov(y.T), spread, atol=0.05 * float(spread.max()))
    product = RotatedProduct(np.array([[0.6, -0.8], [0.8, 0.6]]), [modes(), modes()])
    z = product.sample(2000, 2, node)
    both = product.mixture()
    one, two = (posterior_draws(p)(z, node, rng.standard_normal(z.shape)) for p in (product, both))
    np.testing.assert_allclose(np.cov(one.T), np.cov(two.T), atol=0.15)
    with pytest.raises(ValueError, match="one normal for each number"):
        posterior_draws(law)(x[:3], node, xi[:2])


def test_the_law_of_a_chain_with_any_map_is_known_by_the_transfer_operator() -> None:
    """Re-noise chains of an exact map keep the marginal; of a map with a fixed error they do what sampling says."""
    nodes = grid.uniform_lam(VP(), 3, 0.9, 0.1)
    q = modes().marginal(nodes[-1]).quantile(np.linspace(0.02, 0.98, 25))
    exact = law(multistep_consistency, modes(), nodes, model=MAPS.endpoint, refine=32)
    assert np.abs(exact.cdf(q) - modes().marginal(nodes[-1]).cdf(q)).max() < 1e-9
    off = predicts("endpoint")(lambda x, s: MAPS.endpoint(x, s) + 0.1 * np.sin(3.0 * x))
    known = law(multistep_consistency, modes(), nodes, model=off, refine=32)
    start = modes().sample(40_000, 0, nodes[0])
    drawn = sample(multistep_consistency, off, start, nodes, noise=1, terminal="none")[:, 0]
    found = np.searchsorted(np.sort(drawn), q) / len(drawn)
    assert np.abs(found - known.cdf(q)).max() < 4 * 0.5 / np.sqrt(40_000)
    assert np.abs(known.cdf(q) - modes().marginal(nodes[-1]).cdf(q)).max() > 0.01
    with pytest.raises(ValueError, match="takes a few-step map"):
        law(multistep_consistency, modes(), nodes)


def test_chains_of_any_gamma_sample_the_law_that_the_transfer_operator_says() -> None:
    """CTM at γ = 0.6 with a map that is off by 0.1 sin 3f, in three steps."""
    nodes, method = grid.uniform_lam(VP(), 3, 0.9, 0.1), ctm(gamma=0.6)
    off = predicts("map")(lambda x, s, t: MAPS.map(x, s, t) + 0.1 * np.sin(3.0 * MAPS.map(x, s, t)))
    known = law(method, modes(), nodes, model=off, refine=24)
    drawn = np.sort(sample(method, off, modes().sample(30_000, 0, nodes[0]), nodes, noise=1, terminal="none")[:, 0])
    q = modes().marginal(nodes[-1]).quantile(np.linspace(0.02, 0.98, 25))
    assert np.abs(np.searchsorted(drawn, q) / len(drawn) - known.cdf(q)).max() < 4 * 0.5 / np.sqrt(30_000)
    assert np.abs(known.cdf(q) - modes().marginal(nodes[-1]).cdf(q)).max() > 0.01


# marks, both ways


@pytest.mark.parametrize("run", [sample, gpu.run], ids=["sample", "gpu"])
@pytest.mark.parametrize(
    ("mark", "method"),
    [("endpoint", multistep_consistency), ("map", flow_map), ("average", SOLVERS["mean_flow"]), ("velocity", SOLVERS["reflow"])],
)
def test_a_map_never_passes_for_a_posterior_mean_nor_a_mean_for_a_map(run: Any, mark: str, method: Solver) -> None:
    x = X if run is sample else torch.as_tensor(X)
    mapped = predicts(mark)(lambda y, *nodes: y)
    with pytest.raises(ValueError, match=r"is a few-step map .* and no posterior mean"):
        run(SOLVERS["ddim"], mapped, x, GRID, terminal="none")
    for mean in (lambda y, *nodes: y, predicts("denoised")(lambda y, *nodes: y), predicts("eps")(lambda y, *nodes: y)):
        with pytest.raises(ValueError, match=r"this method takes a few-step map, but denoise is a '.*' model"):
            run(method, mean, x, GRID, terminal="none")


def test_plans_and_conversions_refuse_maps_as_the_loop_does() -> None:
    with pytest.raises(ValueError, match="is a few-step map"):
        trace(SOLVERS["ddim"], GRID).run(MAPS.endpoint, X)
    with pytest.raises(ValueError, match="takes a few-step map"):
        trace(multistep_consistency, GRID).run(modes().denoised, X)
    for refused in (
        lambda: denoiser(MAPS.endpoint, "endpoint"),
        lambda: convert(X, X, GRID[0], "map", "eps"),
        lambda: denoiser(MAPS.endpoint),
    ):
        with pytest.raises(ValueError, match=r"endpoint|few-step map"):
            refused()
    with pytest.raises(ValueError, match=r"takes a map f.*use terminal='none'"):
        sample(flow_map, MAPS.map, X, GRID)
    with pytest.raises(ValueError, match="takes = 'mean' is not known"):
        solver(order=1, reference="here", takes="mean", register=False)(lambda denoise, x, s, t, carry, noise: (x, None))


def test_few_step_methods_are_asked_for_by_name() -> None:
    few = {
        "endpoint": ["multistep_consistency"],
        "map": ["flow_map", "ctm"],
        "average": ["mean_flow", "shortcut"],
        "velocity": ["reflow"],
        "draw": ["long_reverse"],
    }
    assert {takes: list(methods_on(takes=takes)) for takes in few} == few
    assert all(not set(names) & methods_on().keys() for names in few.values())
    with pytest.raises(ValueError, match=r"takes a model of 'endpoint', but that of .* is one of 'map'"):
        problems("map")[0].bind(multistep_consistency)


# maps


def test_exact_maps_are_the_flow_and_compose() -> None:
    """f(f(x, s, u), u, t) = f(x, s, t), the endpoint is the map to the data, and the map pushes one marginal to the other."""
    s, u, t = GRID[0], GRID[2], GRID[4]
    x = modes().sample(50, np.random.default_rng(1), s)
    np.testing.assert_allclose(MAPS.map(MAPS.map(x, s, u), u, t), MAPS.map(x, s, t), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(MAPS.endpoint(MAPS.map(x, s, t), t), MAPS.endpoint(x, s), rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(modes().cdf(MAPS.endpoint(x, s)), modes().marginal(s).cdf(x), rtol=1e-8, atol=1e-10)
    one = GaussianMixture([1.0], [[0.5, -1.0]], [[[1.0, 0.3], [0.3, 0.2]]])
    a, b = FlowMap(one).affine(s)
    y = np.random.default_rng(2).standard_normal((5, 2))
    np.testing.assert_allclose(FlowMap(one).endpoint(y, s), y @ a.T + b, rtol=1e-11, atol=1e-12)


def test_fused_passes_take_maps_too() -> None:
    for method, model in ((multistep_consistency, MAPS.endpoint), (flow_map, MAPS.map)):
        marked = predicts(method.takes)(lambda y, *nodes, model=model: torch.as_tensor(model(y.numpy(), *nodes)))
        found = gpu.run(method, marked, torch.as_tensor(X), GRID, noise=3, terminal="none")
        np.testing.assert_allclose(found.numpy(), sample(method, model, X, GRID, noise=3, terminal="none"), rtol=1e-11, atol=1e-11)
