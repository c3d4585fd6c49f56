"""Properties of methods on linear processes that are no schedules, enrolled for every method on phase space and on bridges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from scorebed import gpu
from scorebed.solvers import SOLVERS, Solver, methods_on, sample
from scorebed.solvers.methods.runge_kutta import at_time
from scorebed.solvers.process import LINEAR
from scorebed.solvers.state import bare, parts
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.properties import PROPERTIES, Broken, bridge, phase, sequence
from scorebed.toy.properties.linear_paths import path_errors
from scorebed.toy.properties.mutants import Mutant, judge, killer


def test_phase_order(solver: Solver) -> None:
    PROPERTIES["phase_order"](solver)


def test_phase_weak_order(solver: Solver) -> None:
    PROPERTIES["phase_weak_order"](solver)


def test_phase_strong_order(solver: Solver) -> None:
    PROPERTIES["phase_strong_order"](solver)


def test_phase_short_step(solver: Solver) -> None:
    PROPERTIES["phase_short_step"](solver)


def test_phase_local_order(solver: Solver) -> None:
    PROPERTIES["phase_local_order"](solver)


def test_phase_local_weak_order(solver: Solver) -> None:
    PROPERTIES["phase_local_weak_order"](solver)


def test_phase_in_place(solver: Solver) -> None:
    PROPERTIES["phase_in_place"](solver)


def test_phase_point_mass(solver: Solver) -> None:
    PROPERTIES["phase_point_mass"](solver)


def test_phase_empty_step(solver: Solver) -> None:
    PROPERTIES["phase_empty_step"](solver)


def test_phase_equivariance(solver: Solver) -> None:
    PROPERTIES["phase_equivariance"](solver)


def test_phase_replay(solver: Solver) -> None:
    PROPERTIES["phase_replay"](solver)


def test_bridge_order(solver: Solver) -> None:
    PROPERTIES["bridge_order"](solver)


def test_bridge_weak_order(solver: Solver) -> None:
    PROPERTIES["bridge_weak_order"](solver)


def test_bridge_strong_order(solver: Solver) -> None:
    PROPERTIES["bridge_strong_order"](solver)


def test_bridge_short_step(solver: Solver) -> None:
    PROPERTIES["bridge_short_step"](solver)


def test_bridge_local_order(solver: Solver) -> None:
    PROPERTIES["bridge_local_order"](solver)


def test_bridge_local_weak_order(solver: Solver) -> None:
    PROPERTIES["bridge_local_weak_order"](solver)


def test_bridge_in_place(solver: Solver) -> None:
    PROPERTIES["bridge_in_place"](solver)


def test_bridge_point_mass(solver: Solver) -> None:
    PROPERTIES["bridge_point_mass"](solver)


def test_bridge_empty_step(solver: Solver) -> None:
    PROPERTIES["bridge_empty_step"](solver)


def test_bridge_equivariance(solver: Solver) -> None:
    PROPERTIES["bridge_equivariance"](solver)


def test_bridge_replay(solver: Solver) -> None:
    PROPERTIES["bridge_replay"](solver)


def test_sequence_order(solver: Solver) -> None:
    PROPERTIES["sequence_order"](solver)


def test_sequence_weak_order(solver: Solver) -> None:
    PROPERTIES["sequence_weak_order"](solver)


def test_sequence_strong_order(solver: Solver) -> None:
    PROPERTIES["sequence_strong_order"](solver)


def test_sequence_short_step(solver: Solver) -> None:
    PROPERTIES["sequence_short_step"](solver)


def test_sequence_local_order(solver: Solver) -> None:
    PROPERTIES["sequence_local_order"](solver)


def test_sequence_local_weak_order(solver: Solver) -> None:
    PROPERTIES["sequence_local_weak_order"](solver)


def test_sequence_in_place(solver: Solver) -> None:
    PROPERTIES["sequence_in_place"](solver)


def test_sequence_point_mass(solver: Solver) -> None:
    PROPERTIES["sequence_point_mass"](solver)


def test_sequence_empty_step(solver: Solver) -> None:
    PROPERTIES["sequence_empty_step"](solver)


def test_sequence_equivariance(solver: Solver) -> None:
    PROPERTIES["sequence_equivariance"](solver)


def test_sequence_replay(solver: Solver) -> None:
    PROPERTIES["sequence_replay"](solver)


def test_bridge_weak_order_on_a_mixture(solver: Solver) -> None:
    PROPERTIES["bridge_weak_order_on_a_mixture"](solver)


def test_noise_of_a_part_of_each_step_follows_no_path() -> None:
    """Euler-Maruyama with the normals of the first third of its steps has the same law and strong order 0."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return s.process.euler(s, t)(x, denoise(x, s), noise(s, at_time(s, t, 0.33))), None

    method = replace(methods_on("bridge")["euler_maruyama"], name="elsewhere", step=step)
    PROPERTIES["bridge_weak_order"](method)
    with pytest.raises(Broken, match=r"strong order 0\.0"):
        PROPERTIES["bridge_strong_order"](method)


@pytest.mark.parametrize(("eta", "order"), [(0.3, 0.15), (0.5, 0.25), (1.0, 1.0)])
def test_from_the_pin_a_share_of_the_noise_is_followed_with_half_its_order(eta: float, order: float) -> None:
    """δ before the pin the path has the weight δ^{(η − 1)/2} in the end, so that what the first step makes of it errs by h^{η/2}."""
    errors = path_errors(methods_on("bridge")["gddim"](eta=eta), bridge.pinned()[0], (32, 64, 128))
    assert order_of((32, 64, 128), errors).slope == pytest.approx(order, abs=0.1)


# mutants


def scaled(value: Any, factor: float) -> Any:
    return bare(tuple(factor * part for part in parts(value)))


def quiet(method: Solver) -> Solver:
    """The method with nine tenths of its noise."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        return method.step(denoise, x, s, t, carry, lambda a, b: scaled(noise(a, b), 0.9))

    return replace(method, name=f"quiet {method.name}", step=step)


def hasty(method: Solver) -> Solver:
    """The method that goes eleven tenths of its way."""

    def step(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> Any:
        still = bare(tuple(0.0 * parts(x)[0] for _ in range(s.process.draws)))
        there, _ = method.step(denoise, x, s, t, carry, lambda a, b: still)
        x_t, carry = method.step(denoise, x, s, t, carry, noise)
        return bare(tuple(a + 0.1 * (b - c) for a, b, c in zip(parts(x_t), parts(there), parts(x), strict=True))), carry

    return replace(method, name=f"hasty {method.name}", step=step)


PAIRS = [(kind, name) for kind in LINEAR[1:] for name in methods_on(kind, aliases=False)]


@pytest.mark.parametrize(("kind", "name"), PAIRS, ids=[f"{name} on {kind}" for kind, name in PAIRS])
def test_less_noise_and_more_drift_are_noticed(kind: str, name: str) -> None:
    """By a property of the order or of the law, which is what they spoil."""
    method = replace(methods_on(kind)[name], on=(kind,))
    for wrong in [hasty(method)] + [quiet(method)] * (method.weak is not None):
        by = killer(Mutant(wrong.name, wrong, method))
        assert by in {
            f"{kind}_{what}" for what in ("order", "weak_order", "local_order", "local_weak_order", "short_step", "point_mass")
        }, f"{wrong.name}: {by}"


@pytest.mark.parametrize(
    ("name", "kind"), [("ddim", "bridge"), ("euler_maruyama", "phase"), ("ddbm_hybrid", "bridge"), ("rk4_t", "sequence"), ("ab4", "bridge")]
)
def test_coefficients_one_percent_off_are_noticed(name: str, kind: str) -> None:
    found = judge(SOLVERS[name], kind)
    assert [row["what"] for row in found if row["by"] is None] == []
    assert len(found) >= 6


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize(("kind", "name"), PAIRS, ids=[f"{name} on {kind}" for kind, name in PAIRS])
def test_fused_passes_carry_every_component(kind: str, name: str, chunk: int | None) -> None:
    """The same samples as the loop, from the same seed, on tensors in fused passes."""
    problem = {"phase": phase, "bridge": bridge, "sequence": sequence}[kind].problems()[0]
    nodes, x = problem.nodes(5), problem.draw(5, seed=4)
    model, method = problem.model, methods_on(kind)[name]

    def network(z: Any, node: Any) -> Any:
        return bare(tuple(map(torch.as_tensor, parts(model(bare(tuple(part.numpy() for part in parts(z))), node)))))

    found = gpu.run(method, network, bare(tuple(map(torch.as_tensor, parts(x)))), nodes, noise=6, terminal="denoise", chunk=chunk)
    expected = sample(method, model, x, nodes, noise=6, terminal="denoise")
    for a, b in zip(parts(found), parts(expected), strict=True):
        np.testing.assert_allclose(a.numpy(), b, rtol=1e-11, atol=1e-11)
