"""The laws of methods that move in a Space, enrolled for every method of which they speak."""

from __future__ import annotations

from scorebed.solvers import Solver
from scorebed.toy.properties import LAWS


def test_space_order(solver: Solver) -> None:
    LAWS["space_order"](solver)


def test_space_weak_order(solver: Solver) -> None:
    LAWS["space_weak_order"](solver)


def test_space_transition_order(solver: Solver) -> None:
    LAWS["space_transition_order"](solver)


def test_space_stays(solver: Solver) -> None:
    LAWS["space_stays"](solver)


def test_space_edges(solver: Solver) -> None:
    LAWS["space_edges"](solver)


def test_space_batch(solver: Solver) -> None:
    LAWS["space_batch"](solver)


def test_space_flat(solver: Solver) -> None:
    LAWS["space_flat"](solver)


def test_space_options(solver: Solver) -> None:
    LAWS["space_options"](solver)
