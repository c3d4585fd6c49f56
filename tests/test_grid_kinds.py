"""Grids by name in studies: every kind, with the parameters that suit the target."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.solvers import EDM, GRIDS
from scorebed.solvers.spacing import SPACINGS, align_gaussian, lipschitz
from scorebed.toy.problems.euclidean import PROBLEMS
from scorebed.toy.problems.grids import KINDS, fitted, nodes
from scorebed.toy.properties.cases import ellipsoid
from scorebed.toy.studies.study import run_study


def test_every_kind_has_a_name() -> None:
    assert set(KINDS) == set(GRIDS) | set(SPACINGS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_every_kind_walks_every_problem(kind: str, problem: object) -> None:
    made = nodes(problem, 5, kind)  # type: ignore[arg-type]
    assert len(made) == 6
    assert (made[0], made[-1]) == problem.ends  # type: ignore[attr-defined]


def test_parameters_are_those_of_the_target() -> None:
    kinds = fitted(ellipsoid())
    c = math.sqrt((0.04 + 1.0 + 4.0) / 3.0)
    assert kinds["align_gaussian"](EDM(), 7) == align_gaussian(EDM(), 7, c=c)
    found = np.array([node.lam for node in kinds["simple_diffusion"](EDM(), 7)])
    np.testing.assert_allclose(found, [node.lam for node in align_gaussian(EDM(), 7, c=c)], rtol=1e-12)
    np.testing.assert_allclose(
        [node.t for node in kinds["lipschitz"](EDM(), 7)], [node.t for node in lipschitz(EDM(), 7, variances=[0.04, 1.0, 4.0])], rtol=1e-9
    )


def test_a_study_takes_them_by_name() -> None:
    table = run_study(["mixture1d"], ["ddim"], ["align_gaussian", "tangent", "uniform_lam"], nfe=[5])
    assert set(table["grid"]) == {"align_gaussian", "tangent", "uniform_lam"}
    assert (table["status"] == "ok").all()
    few = table[table["nfe"] == 5].set_index("grid")["error"]
    assert few["align_gaussian"] < few["uniform_lam"]


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="grid = 'linear' is not known: give one of uniform, quadratic"):
        nodes(PROBLEMS["mixture1d"], 5, "linear")
    with pytest.raises(ValueError, match="grid 'linear' not known; known: all, uniform"):
        run_study(["mixture1d"], ["ddim"], ["linear"])
