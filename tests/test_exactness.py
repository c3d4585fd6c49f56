"""Algebraic laws, for every registered solver."""

from scorebed.solvers import Solver
from scorebed.toy.properties import LAWS


def test_constant_denoiser(solver: Solver) -> None:
    LAWS["constant_denoiser"](solver)


def test_point_mass(solver: Solver) -> None:
    LAWS["point_mass"](solver)


def test_empty_step(solver: Solver) -> None:
    LAWS["empty_step"](solver)


def test_shift(solver: Solver) -> None:
    LAWS["shift"](solver)


def test_equivariance(solver: Solver) -> None:
    LAWS["equivariance"](solver)


def test_replay(solver: Solver) -> None:
    LAWS["replay"](solver)


def test_options(solver: Solver) -> None:
    LAWS["options"](solver)
