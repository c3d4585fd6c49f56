"""Algebraic properties, for every registered solver."""

from scorebed.solvers import Solver
from scorebed.toy.properties import PROPERTIES


def test_constant_denoiser(solver: Solver) -> None:
    PROPERTIES["constant_denoiser"](solver)


def test_point_mass(solver: Solver) -> None:
    PROPERTIES["point_mass"](solver)


def test_empty_step(solver: Solver) -> None:
    PROPERTIES["empty_step"](solver)


def test_shift(solver: Solver) -> None:
    PROPERTIES["shift"](solver)


def test_equivariance(solver: Solver) -> None:
    PROPERTIES["equivariance"](solver)


def test_replay(solver: Solver) -> None:
    PROPERTIES["replay"](solver)


def test_options(solver: Solver) -> None:
    PROPERTIES["options"](solver)
