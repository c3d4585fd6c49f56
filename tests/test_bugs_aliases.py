"""Names of methods: two names for one method are one method and an alias, and a name that is none is told what it may have meant."""

from __future__ import annotations

import pickle
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import (
    EDM,
    SOLVERS,
    VP,
    Plan,
    RectifiedFlow,
    Solver,
    UnknownSolver,
    alias,
    distinct,
    methods_on,
    predicts,
    sample,
    trace,
)
from scorebed.solvers.grid import karras, uniform, uniform_lam
from scorebed.solvers.process.bridge import BrownianBridge
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.studies.catalogue import catalogue

ALIASES = [s for s in SOLVERS.values() if s.alias_of is not None]
GRIDS = [uniform_lam(VP(), 7, 0.9, 0.1), karras(EDM(), 6), uniform(RectifiedFlow(), 6, 0.95, 0.05)]
AT_DEFAULTS = {("ddpm", "euler_ancestral")}
"""Families of several methods, equal to another one at the defaults of their options only."""


def same(a: Plan, b: Plan) -> bool:
    if len(a.nodes) != len(b.nodes) or a.noises != b.noises or a.output.shape != b.output.shape:
        return False
    places = zip(a.nodes, b.nodes, strict=True)
    return bool(
        all(abs(p.lam - q.lam) < 1e-12 for p, q in places)
        and np.allclose(a.output, b.output, rtol=1e-10, atol=1e-11)
        and np.allclose(a.inputs, b.inputs, rtol=1e-10, atol=1e-11)
    )


def model(x: np.ndarray, node: Any) -> np.ndarray:
    return np.tanh(x) if x.dtype.kind == "f" else np.broadcast_to([0.2, 0.3, 0.5], (*x.shape, 3))


@pytest.mark.parametrize("method", ALIASES, ids=lambda s: s.name)
def test_an_alias_is_its_method(method: Solver) -> None:
    assert method.alias_of is not None
    first = SOLVERS[method.alias_of]
    assert first.alias_of is None
    assert (method.order, method.weak, method.strong, method.inexact) == (first.order, first.weak, first.strong, first.inexact)
    if method.on == ("jump",):
        grids, x = [uniform(JumpProcess(3), 6)], np.full((9, 4), 3)
    elif method.on == ("bridge",):
        grids, x = [uniform(BrownianBridge(), 6, 0.9, 0.1)], np.random.default_rng(0).standard_normal((3, 2))
    else:
        grids, x = GRIDS, np.random.default_rng(0).standard_normal((3, 2))
    few = method.takes != "denoised"
    for grid in grids:
        given = (lambda x, node: (np.tanh(x), x)) if method.on == ("bridge",) else model
        given = predicts(method.takes)(lambda x, *nodes: np.tanh(x)) if few else given
        one, two = (sample(s, given, x, grid, noise=1, terminal="none" if few else "denoise") for s in (method, first))
        np.testing.assert_array_equal(one, two)
    assert f"Equal to ``{first.name}``" in (method.step.__doc__ or "")
    assert pickle.loads(pickle.dumps(method)) is method


def test_no_two_methods_are_one() -> None:
    """At the defaults of their options, on three schedules."""
    plans = {s.name: [trace(s, grid) for grid in GRIDS] for s in methods_on(aliases=False).values() if s.nonlinear is None}
    twins = {(a, b) for a, b in combinations(plans, 2) if all(map(same, plans[a], plans[b]))}
    assert twins == AT_DEFAULTS
    assert len(distinct()) + len(ALIASES) == len(SOLVERS)
    assert len([s for s in ALIASES if "gaussian" in s.on]) == 18


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dpmpp2m", "dpmpp_2m"),
        ("DPM++2M", "dpmpp_2m"),
        ("unipc", "unipc_1"),
        ("dormandprince", "dormand_prince"),
        ("huen", "heun"),
        ("dpm-solver-3", "dpm_solver_3"),
    ],
)
def test_a_name_that_is_none_is_told_what_it_may_mean(name: str, meant: str) -> None:
    with pytest.raises(KeyError, match="did you mean") as caught:
        SOLVERS[name]
    assert isinstance(caught.value, UnknownSolver)
    assert meant in caught.value.close
    assert str(caught.value).startswith(f"{name!r} is no solver: did you mean ")


def test_nothing_is_guessed_from_nonsense() -> None:
    with pytest.raises(KeyError, match="'qqqq' is no solver: `scorebed solvers --claims` lists all"):
        SOLVERS["qqqq"]
    assert SOLVERS.get("dpmpp2m") is None
    assert "dpmpp2m" not in SOLVERS
    with pytest.raises(ValueError, match="registered already"):
        alias("heun", SOLVERS["ddim"], reference="no source", formula="x")


def test_a_method_is_measured_once_and_shown_under_every_name() -> None:
    told: list[str] = []
    lines = catalogue(["lms_2", "ipndm_2", "deis_rhoab1"], True, lambda done, of, name: told.append(name))
    assert told == ["lms_2"]
    assert [(e.name, e.alias_of) for e in lines] == [("lms_2", None), ("ipndm_2", "lms_2"), ("deis_rhoab1", "lms_2")]
    assert len({str(e.measured) for e in lines}) == 1
    assert len({e.reference for e in lines}) == 3
