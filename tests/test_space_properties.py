"""The properties of methods that move in a Space, enrolled for every method of which they speak."""

from __future__ import annotations

from scorebed.solvers import Solver
from scorebed.toy.properties import PROPERTIES


def test_space_order(solver: Solver) -> None:
    PROPERTIES["space_order"](solver)


def test_space_weak_order(solver: Solver) -> None:
    PROPERTIES["space_weak_order"](solver)


def test_space_transition_order(solver: Solver) -> None:
    PROPERTIES["space_transition_order"](solver)


def test_space_local_order(solver: Solver) -> None:
    PROPERTIES["space_local_order"](solver)


def test_space_increments(solver: Solver) -> None:
    PROPERTIES["space_increments"](solver)


def test_space_stays(solver: Solver) -> None:
    PROPERTIES["space_stays"](solver)


def test_space_edges(solver: Solver) -> None:
    PROPERTIES["space_edges"](solver)


def test_space_batch(solver: Solver) -> None:
    PROPERTIES["space_batch"](solver)


def test_space_flat(solver: Solver) -> None:
    PROPERTIES["space_flat"](solver)


def test_space_options(solver: Solver) -> None:
    PROPERTIES["space_options"](solver)
