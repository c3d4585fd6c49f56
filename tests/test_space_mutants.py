"""The mutants of the methods on spaces: source literals off by 1 % are noticed, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest

from scorebed.solvers import EDM, SOLVERS, sample
from scorebed.solvers.grid import karras
from scorebed.solvers.space import Sphere
from scorebed.toy.properties.space_cases import target_on
from scorebed.toy.properties.space_mutants import MODULES, killer, mutants, mutated

X = Sphere(2).reference(3, np.random.default_rng(0))


def test_tampering_with_nothing_changes_nothing_and_the_registry_comes_back() -> None:
    before, grid, law = dict(SOLVERS), karras(EDM(), 3, 0.8, 0.2), target_on(Sphere(2), 1)
    plain = {name: sample(SOLVERS[name](space=Sphere(2)), law.denoised, X, grid, noise=1) for name in ("cf_4", "geodesic_heun_maruyama")}
    with mutated("riemannian_rk", -1) as methods:
        assert set(methods) == {name for name, method in before.items() if method.spaces}
        for name, end in plain.items():
            np.testing.assert_array_equal(sample(methods[name](space=Sphere(2)), law.denoised, X, grid, noise=1), end)
    assert before == SOLVERS
    assert list(before) == list(SOLVERS)


def test_every_module_is_listed_in_the_order_of_its_imports() -> None:
    assert {method.step.__module__.removeprefix("scorebed.solvers.methods.") for method in SOLVERS.values() if method.spaces} < set(MODULES)
    found = {module: len(mutants(module)) for module in MODULES}
    assert found["riemannian_rk"] >= 20
    assert found["riemannian_lie"] >= 2


@pytest.mark.parametrize(
    ("module", "literal", "by"),
    [
        ("riemannian_lie", "0.5", "space_order: rkmk_"),
        ("riemannian_rk", "3 / 4", "space_order: cf_3"),
        ("riemannian_rk", "1 / 4", "space_order: cf_4"),
    ],
)
def test_a_mutant_is_killed_by_the_property_of_order(module: str, literal: str, by: str) -> None:
    k = [mutant.literal for mutant in mutants(module)].index(literal)
    with mutated(module, k) as methods:
        own = methods[by.split(": ")[1] + ("4" if by.endswith("_") else "")]
    assert own is not SOLVERS[own.name]
    assert (killer(module, k, [own.name]) or "").startswith(by)
