"""Paths of discrete flow matching and steps of D3PM: kernels against their rates, rates against their path, methods with their orders."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from scipy.linalg import expm

from scorebed.analytic.finite import TableLaw
from scorebed.analytic.finite.elbo import masked_bound, score_entropy_bound, step_bound
from scorebed.analytic.finite.parallel import step_correlation
from scorebed.solvers import SOLVERS, grid
from scorebed.solvers.process import Process
from scorebed.solvers.process.generators import embedding_rates, gaussian_rates
from scorebed.solvers.process.jump import JumpProcess
from scorebed.solvers.process.paths import MetricPath, MixturePath
from scorebed.solvers.process.share import SHARES, Cubic, Power
from scorebed.solvers.process.steps import (
    StepProcess,
    absorbing_steps,
    banded_steps,
    cosine_betas,
    embedded_steps,
    even_betas,
    gaussian_steps,
    linear_betas,
    uniform_steps,
)
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.jump import JumpProblem, random_table

LEVELS = np.abs(np.arange(3)[:, None] - np.arange(3)) ** 2.0
PATHS = {
    "cubic masks": MixturePath(3, share=Cubic(2.0, 0.5)),
    "unigram source": MixturePath(3, (0.5, 0.3, 0.2), Power(2.0)),
    "masks and noise": MixturePath(3, (0.1, 0.1, 0.1, 0.7)),
    "third law": MixturePath(3, "absorbing", "cosine", height=0.3),
    "third, kinetic": MixturePath(3, "uniform", "linear", (0.7, 0.3, 0.0), 0.5, "kinetic"),
    "third, reversed": MixturePath(3, height=0.2, velocity="reverse"),
    "metric": MetricPath(LEVELS, 1.0, 1.5),
}
STEPS = {
    "uniform": uniform_steps(3, cosine_betas(12)),
    "absorbing": absorbing_steps(3, even_betas(12)),
    "gaussian": gaussian_steps(3, linear_betas(12, 0.1, 0.8)),
    "banded": banded_steps(3, linear_betas(12, 0.1, 0.8)),
    "embedded": embedded_steps(embedding_rates([[0.0], [1.0], [1.5]]), linear_betas(12, 0.1, 1.0)),
}


@pytest.mark.parametrize("name", PATHS)
def test_rates_carry_their_path(name: str) -> None:
    """−∂_t K(k, y) = Σ_x K(k, x) u(x, k, y) − K(k, y) Σ_z u(y, k, z) for every set of rates; the slope by central differences."""
    process, h = PATHS[name], 1e-5
    assert isinstance(process, Process)
    for t in (0.25, 0.5, 0.8):
        node = process.node(t)
        k = process.forward(node)
        np.testing.assert_allclose(k.sum(1), 1.0, atol=1e-14)
        slope = (process.forward(process.node(t - h)) - process.forward(process.node(t + h))) / (2 * h)
        for u, sign in ((process.velocities(node), 1), (process.flow(node), 1), (process.returns(node), -1)):
            assert u.min() >= 0.0
            assert u.max() > 0.01
            assert (u[range(len(u)), :, range(len(u))] == 0.0).all()
            carried = np.einsum("kx,xky->ky", k, u) - k * u.sum(-1).T
            np.testing.assert_allclose(carried, sign * slope, atol=1e-7)
        assert process.at(node.clock).t == pytest.approx(t, abs=1e-9)
    np.testing.assert_array_equal(process.forward(process.node(0.0)), np.eye(3, process.alphabet))


def test_known_paths_are_special_cases() -> None:
    """A path without a third law is a ``JumpProcess``; its kinetic velocity is the flow's (arXiv:2412.03487, sec. 5)."""
    for kernel in ("absorbing", "uniform"):
        plain, path = JumpProcess(3, kernel, "cosine"), MixturePath(3, kernel, "cosine")
        s, t = path.node(0.7), path.node(0.3)
        np.testing.assert_allclose(path.forward(s), plain.forward(plain.node(0.7)), atol=1e-15)
        np.testing.assert_allclose(path.between(t, s), plain.between(plain.node(0.3), plain.node(0.7)), atol=1e-14)
        for what in ("flow", "returns"):
            found, wanted = getattr(path, what)(s), getattr(plain, what)(plain.node(0.7))
            some = plain.forward(plain.node(0.7)).T > 0.0  # states that data lead to
            np.testing.assert_allclose(found[some], wanted[some], atol=1e-12)
        kinetic = MixturePath(3, kernel, "cosine", velocity="kinetic").velocities(s)
        np.testing.assert_allclose(kinetic[some], plain.flow(plain.node(0.7))[some], atol=1e-12)
        back = MixturePath(3, kernel, "cosine", velocity="reverse").velocities(s)
        np.testing.assert_allclose(back[some], plain.velocities(plain.node(0.7))[some], atol=1e-12)


def test_hybrid_noise_is_a_forward_process_while_its_third_law_is_low() -> None:
    """Markov for h ≤ ¼ with a linear share, by hand: b'/(1 − b) + b/α ≥ 0; above it a step of posteriors is refused."""
    low, high = MixturePath(3, height=0.25), MixturePath(3, height=0.3)
    for a, b, c in ((0.1, 0.5, 0.9), (0.0, 0.6, 1.0)):
        na, nb, nc = (low.node(t) for t in (a, b, c))
        np.testing.assert_allclose(low.between(na, nb) @ low.between(nb, nc), low.between(na, nc), atol=1e-14)
        np.testing.assert_allclose(low.forward(na) @ low.between(na, nb), low.forward(nb), atol=1e-14)
    with pytest.raises(ValueError, match="too high for a forward process"):
        high.between(high.node(0.97), high.node(0.99))
    law, x0 = TableLaw(random_table(3, 2, 5), MixturePath(3, height=0.2)), np.array([1, 2])
    assert score_entropy_bound(law, x0, 0.7) == pytest.approx(-np.log(law.table[1, 2]), abs=1e-10)
    with pytest.raises(ValueError, match="this bound does not hold"):
        score_entropy_bound(TableLaw(law.table, MetricPath(LEVELS)), x0, 0.7)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("method", ["jump_euler", "flow_euler", "flow_leaping", "flow_leaping, free", "jump_corrector"])
def test_methods_have_order_one_on_paths(name: str, method: str) -> None:
    """In total variation, two tokens of three values."""
    solver = SOLVERS["flow_leaping"](free=1.0) if "free" in method else SOLVERS[method]
    process = PATHS[name]
    problem = JumpProblem(name=name, make=lambda: TableLaw(random_table(3, 2, 2), process), process=process, start=0.9, end=0.2)
    steps = (16, 32, 64) if method == "jump_corrector" else (32, 64, 128)
    assert order_on(problem, solver, law=True, steps=steps).inside(1.0), method


def test_from_all_noise_to_the_data() -> None:
    """The whole way, ends included, where rates are infinite at the data: one token is exact in a step of posteriors."""
    for name, process in PATHS.items():
        law = TableLaw(random_table(3, 2, 2), process)
        begin = 1.0 if name != "third, reversed" else 0.98
        problem = JumpProblem(name=name, make=lambda law=law: law, process=process, start=begin, end=0.0)
        errors = [problem.law_error(SOLVERS["flow_leaping"], problem.nodes(n)).error for n in (16, 64)]
        assert errors[1] < 0.45 * errors[0], (name, errors)
        if name == "masks and noise":
            alone = TableLaw(np.array([0.2, 0.5, 0.3]), process)
            one = JumpProblem(name=name, make=lambda alone=alone: alone, process=process)
            assert one.law_error(SOLVERS["jump_ancestral"], one.nodes(3)).error < 1e-14


@pytest.mark.parametrize("share", [Power(1.0), Power(3.0), Cubic(), Cubic(3.0, 0.0), Cubic(0.7, 1.9)])
def test_shares_fall_from_one_to_zero(share: Any) -> None:
    assert (share.alpha(0.0), share.alpha(1.0)) == (1.0, 0.0)
    t = np.linspace(0.05, 0.95, 19)
    alpha, falls = np.array([share.alpha(v) for v in t]), np.array([share.falls(v) for v in t])
    assert (falls >= 0.0).all()
    np.testing.assert_allclose([(share.alpha(v - 1e-6) - share.alpha(v + 1e-6)) / 2e-6 for v in t], falls, atol=1e-8)
    np.testing.assert_allclose([share.time(a) for a in alpha], t, atol=1e-9)
    if isinstance(share, Cubic):
        assert share.falls(1.0) == pytest.approx(share.a)
        assert share.falls(0.0) == pytest.approx(share.b)
    assert JumpProcess(2, share=share).node(0.4).clock == share.alpha(0.4)
    assert Power(1.0).alpha(0.3) == SHARES["linear"].alpha(0.3)


# steps


def test_matrices_of_d3pm() -> None:
    """By hand, for three levels; Gaussian and banded ones are symmetric, so uniform noise stays."""
    q = np.array(gaussian_steps(3, [0.5]).matrices[0])
    z = 1.0 + 2.0 * np.exp(-2.0) + 2.0 * np.exp(-8.0)
    np.testing.assert_allclose(q[0], [1.0 - (np.exp(-2.0) + np.exp(-8.0)) / z, np.exp(-2.0) / z, np.exp(-8.0) / z], atol=1e-15)
    np.testing.assert_allclose(banded_steps(3, [0.6]).matrices[0], [[0.8, 0.2, 0.0], [0.2, 0.6, 0.2], [0.0, 0.2, 0.8]], atol=1e-15)
    np.testing.assert_allclose(uniform_steps(2, [0.4]).matrices[0], [[0.8, 0.2], [0.2, 0.8]], atol=1e-15)
    r = embedding_rates([[0.0], [1.0], [3.0]])
    np.testing.assert_allclose(embedded_steps(r, [0.7]).matrices[0], expm(0.7 * np.array(r)), atol=1e-14)
    for name in ("gaussian", "banded", "uniform", "embedded"):
        for m in STEPS[name].matrices:
            np.testing.assert_allclose(m, np.transpose(m), atol=1e-14)
    half = STEPS["absorbing"].forward(STEPS["absorbing"].node(0.5))
    np.testing.assert_allclose(half, [[0.5, 0.0, 0.0, 0.5], [0.0, 0.5, 0.0, 0.5], [0.0, 0.0, 0.5, 0.5]], atol=1e-14)
    np.testing.assert_allclose(STEPS["uniform"].forward(STEPS["uniform"].node(1.0)), 1.0 / 3.0, atol=1e-15)
    assert cosine_betas(8)[0] == pytest.approx(1.0 - np.cos((0.125 + 0.008) / 1.008 * np.pi / 2) / np.cos(0.008 / 1.008 * np.pi / 2))


@pytest.mark.parametrize("name", STEPS)
def test_marginals_are_products_and_one_token_is_exact(name: str) -> None:
    process = STEPS[name]
    table = np.array([0.2, 0.5, 0.3])
    law, p = TableLaw(table, process), np.pad(table, (0, process.alphabet - 3))
    for i, q in enumerate(process.matrices, 1):
        p = p @ np.array(q)
        np.testing.assert_allclose(law.marginal(process.node(i / 12)), p, atol=1e-14)
    alone = JumpProblem(name=name, make=lambda: law, process=process)
    for n in (1, 3, 12):
        assert alone.law_error(SOLVERS["jump_ancestral"], alone.nodes(n)).error < 1e-14


@pytest.mark.parametrize("name", STEPS)
def test_the_bound_of_steps_is_the_entropy_and_what_drawing_at_once_costs(name: str) -> None:
    """E L_vb = H(π) + Σ C(s → t) with the exact model, to 1e-12; more with another one."""
    process = STEPS[name]
    law = TableLaw(random_table(3, 2, 4), process)
    for n in (3, 6):
        nodes = [process.node(1.0 - i / n) for i in range(n + 1)]
        data = [np.array(x0) for x0 in product(range(3), repeat=2)]
        mean = sum(law.table[tuple(x0)] * step_bound(law, x0, nodes) for x0 in data)
        lost = sum(step_correlation(law, s, t) for s, t in pairwise(nodes))
        assert mean == pytest.approx(law.entropy() + lost, abs=1e-12)
        assert lost > 1e-3
    wrong = sum(law.table[tuple(x0)] * step_bound(law, x0, nodes, lambda x, s: 0.9 * law.probabilities(x, s) + 0.1 / 3) for x0 in data)
    assert wrong > mean + 1e-3


def test_more_steps_of_masks_approach_the_bound_of_masks() -> None:
    law = TableLaw(random_table(2, 3, 4), JumpProcess(2))
    x0, off = np.array([1, 0, 1]), []
    for n in (16, 32):
        process = absorbing_steps(2, even_betas(n))
        off.append(step_bound(TableLaw(law.table, process), x0, [process.node(1.0 - i / n) for i in range(n + 1)]) - masked_bound(law, x0))
    assert abs(off[1]) < 0.6 * abs(off[0])


@pytest.mark.parametrize("name", STEPS)
def test_ancestral_steps_of_d3pm_converge(name: str) -> None:
    """Total variation falls like 1/n in the number of steps that are taken of 192."""
    betas: Any = {"uniform": lambda: uniform_steps(3, [0.03] * 192), "absorbing": lambda: absorbing_steps(3, even_betas(192))}
    betas |= {"gaussian": lambda: gaussian_steps(3, np.linspace(0.1, 0.25, 192)), "banded": lambda: banded_steps(3, [0.03] * 192)}
    process = betas.get(name, lambda: embedded_steps(gaussian_rates(3), [0.02] * 192))()
    law = TableLaw(random_table(3, 2, 2), process)
    problem = JumpProblem(name=name, make=lambda: law, process=process)
    errors = [problem.law_error(SOLVERS["jump_ancestral"], problem.nodes(n)).error for n in (24, 48, 96)]
    slope = np.log2(np.array(errors[:-1]) / errors[1:])
    assert (abs(slope - 1.0) < 0.3).all(), (errors, slope)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: MixturePath(3, (0.5, 0.6, 0.0)), "source = .* give 'absorbing', 'uniform', or 3 to 3 probabilities"),
        (lambda: MixturePath(3, "uniform", third="absorbing"), "third = 'absorbing'"),
        (lambda: MixturePath(3, height=1.0), r"in \[0, 1\)"),
        (lambda: MixturePath(3, velocity="fast"), "give 'flow', 'kinetic' or 'reverse'"),
        (lambda: MixturePath(3, share="log"), "share = 'log' is not known"),
        (lambda: MixturePath(1), "integer of at least 2"),
        (lambda: MixturePath(3, velocity="reverse").velocities(MixturePath(3).node(1.0)), "infinite where α = 0"),
        (lambda: MixturePath(3).flow(MixturePath(3).node(0.0)), "rates with which it goes are infinite"),
        (lambda: MetricPath(np.ones((3, 3))), "0 on the diagonal"),
        (lambda: MetricPath(LEVELS, power=0.5), "power of at least 1"),
        (lambda: MetricPath(LEVELS).velocities(MetricPath(LEVELS).node(0.0)), "infinite at t = 0"),
        (lambda: MetricPath(LEVELS).between(MetricPath(LEVELS).node(0.1), MetricPath(LEVELS).node(0.2)), "use a method of rates"),
        (lambda: Power(0.5), "at least 1"),
        (lambda: Cubic(4.0), "from 0 to 3"),
        (lambda: STEPS["uniform"].node(0.3), "multiple of 1/12"),
        (lambda: STEPS["uniform"].velocities(STEPS["uniform"].node(0.5)), "use a method of posteriors"),
        (lambda: StepProcess(3, np.ones((2, 3, 3))), "sum to 1"),
        (lambda: StepProcess(3, np.eye(3)), r"give \(T, A, A\)"),
        (lambda: uniform_steps(3, []), "for each step"),
        (lambda: banded_steps(3, [2.0]), "no room on the diagonal"),
    ],
)
def test_what_cannot_be_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_grids_of_steps_lie_on_them() -> None:
    process = STEPS["gaussian"]
    assert [n.t for n in grid.uniform(process, 4)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    times = [n.t * process.steps for n in grid.uniform(process, 5)]
    assert times == [round(t) for t in times] == sorted(set(times), reverse=True)
    assert grid.uniform_lam(process, 5) == grid.uniform(process, 5)
    for off in (lambda: process.node(0.5 + 1e-3), lambda: process.at(0.5 + 1e-3), lambda: process.node(1.0).toward(process.node(0.5), 0.3)):
        with pytest.raises(ValueError, match="is no step of this process"):
            off()
    with pytest.raises(ValueError, match="grid"):
        grid.uniform(process, 2 * process.steps)
