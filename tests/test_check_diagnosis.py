"""Deliberately broken copies: each is caught, and the diagnosis names what was broken. The copies that are right pass."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import SOLVERS, Node, Solver, solver
from scorebed.toy.check import Report, check_solver


def midpoint(x_weight=None, d_weight=1.0, correction=1.0, kind=float, place=lambda node: node, stage=None) -> Solver:
    """The exponential midpoint, x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1)(D_s + (D_i − D_s)), with one thing broken at a time."""

    def step(denoise, x, s, t, carry, noise):
        s, t = place(s), place(t)
        i, h = place(s.toward(t, 0.5)), t.lam - s.lam
        d = denoise(x, s)
        u = kind(i.sigma / s.sigma if stage is None else stage(s, i, t)) * x - kind(i.alpha * math.expm1(s.lam - i.lam)) * d
        middle = d + correction * (denoise(u, i) - d)
        a = t.sigma / s.sigma if x_weight is None else x_weight(s, t)
        return kind(a) * x - kind(d_weight * t.alpha * math.expm1(-h)) * middle, carry

    return solver(order=2, reference="a copy", register=False)(step)


def multistep(factor: float, place=lambda node: node) -> Solver:
    """DPM-Solver++(2M), D = D_s + factor h/(2h₋) (D_s − D₋)."""

    def step(denoise, x, s, t, carry, noise):
        s, t = place(s), place(t)
        h, d = t.lam - s.lam, denoise(x, s)
        mixed = d
        if carry:
            r, before = carry[0]
            mixed = d + (factor * 0.5 * h / (s.lam - r.lam)) * (d - before)
        return (t.sigma / s.sigma) * x - (t.alpha * math.expm1(-h)) * mixed, ((s, d),)

    return solver(order=2, reference="a copy", start=SOLVERS["dpmpp_2s"], starts=1, register=False)(step)


def stochastic(factor: float = 1.0, independent: bool = False, amplitude: float = 1.0) -> Solver:
    """dpmpp_sde, with the correction, the noise of the stage or the amplitude of the noise broken."""

    def step(denoise, x, s, t, carry, noise):
        i, h = s.toward(t, 0.5), t.lam - s.lam
        n_i = i.rho * math.sqrt(-math.expm1(-h)) * noise(s, i)
        n_t = math.exp(-h) * n_i + t.rho * math.sqrt(-math.expm1(-h)) * noise(i, t)
        if independent:
            n_t = t.rho * math.sqrt(-math.expm1(-2.0 * h)) * noise(s, t)
        d = denoise(x, s)
        u = (i.sigma / s.sigma * math.exp(-0.5 * h)) * x - (i.alpha * math.expm1(-h)) * d + i.alpha * n_i
        middle = d + factor * (denoise(u, i) - d)
        return (t.sigma / s.sigma * math.exp(-h)) * x - (t.alpha * math.expm1(-2.0 * h)) * middle + (amplitude * t.alpha) * n_t, carry

    return solver(order=2, weak=2, reference="a copy", register=False)(step)


def on_table(node: Node) -> Node:
    """The node at the nearest of a thousand timesteps."""
    return node.schedule.node(max(1, round(1000.0 * node.t)) / 1000.0)


def walk(denoise: Any, x: Any, nodes: list[Node], crude_start: bool = False, crude_end: bool = False) -> Any:
    """A newcomer's third-order sampler in one function: Newton interpolation of D through three nodes, Runge-Kutta steps to begin with."""
    past: list[tuple[Node, Any]] = []
    for k, (s, t) in enumerate(pairwise(nodes)):
        d = denoise(x, s)
        past = [(s, d), *past][:3]
        crude = (crude_start and k < 2) or (crude_end and k == len(nodes) - 2)
        if crude:
            x = (t.sigma / s.sigma) * x - (t.alpha * math.expm1(s.lam - t.lam)) * d
        elif len(past) < 3:
            x, _ = SOLVERS["dpmpp_3s"].step(denoise, x, s, t, None, None)
        else:
            x, _ = SOLVERS["dpmpp_3m"].step(lambda y, node, d=d: d, x, s, t, tuple(past[1:]), None)
    return x


def half_noise(denoise: Any, x: Any, nodes: list[Node], rng: np.random.Generator, independent: bool = True) -> Any:
    """dpmpp_sde as a function with a generator, whose stage draws for itself."""
    for s, t in pairwise(nodes):
        i, h = s.toward(t, 0.5), t.lam - s.lam
        xi = rng.standard_normal(x.shape)
        other = rng.standard_normal(x.shape)
        n_i = i.rho * math.sqrt(-math.expm1(-h)) * xi
        if independent:
            n_t = t.rho * math.sqrt(-math.expm1(-2.0 * h)) * other
        else:
            n_t = math.exp(-h) * n_i + t.rho * math.sqrt(-math.expm1(-h)) * other
        d = denoise(x, s)
        u = (i.sigma / s.sigma * math.exp(-0.5 * h)) * x - (i.alpha * math.expm1(-h)) * d + i.alpha * n_i
        x = (t.sigma / s.sigma * math.exp(-h)) * x - (t.alpha * math.expm1(-2.0 * h)) * denoise(u, i) + t.alpha * n_t
    return x


def start_crudely(denoise: Any, x: Any, nodes: list[Node]) -> Any:
    return walk(denoise, x, nodes, crude_start=True)


def end_crudely(denoise: Any, x: Any, nodes: list[Node]) -> Any:
    return walk(denoise, x, nodes, crude_end=True)


def without_ratio(denoise, x, s, t, carry, noise):
    """Adams-Bashforth weights 3/2 and −1/2 on steps of any length."""
    d = denoise(x, s)
    mixed = d if not carry else 1.5 * d - 0.5 * carry[0]
    return (t.sigma / s.sigma) * x - (t.alpha * math.expm1(s.lam - t.lam)) * mixed, (d,)


def correlated(denoise: Any, x: Any, nodes: list[Node], rng: np.random.Generator) -> Any:
    return half_noise(denoise, x, nodes, rng, independent=False)


BROKEN: dict[str, tuple[Any, dict[str, float], str]] = {
    "wrong coefficient": (midpoint(d_weight=1.01), {}, "wrong coefficient"),
    "swapped sigma": (midpoint(x_weight=lambda s, t: s.sigma / t.sigma), {}, "swapped sigma"),
    "wrong coefficient in a stage": (midpoint(stage=lambda s, i, t: 0.97 * i.sigma / s.sigma), {}, "wrong coefficient"),
    "wrong sigma in a stage": (midpoint(stage=lambda s, i, t: t.sigma / s.sigma), {}, "wrong sigma"),
    "alpha for sigma": (midpoint(x_weight=lambda s, t: t.alpha / s.alpha), {}, "wrong sigma"),
    "missing factor": (multistep(2.0), {}, "missing factor"),
    "factor too many": (multistep(0.5), {}, "missing factor"),
    "correction left out": (multistep(0.0), {}, "missing factor"),
    "wrong sign": (multistep(-1.0), {}, "wrong sign"),
    "wrong sign in a stage's term": (midpoint(correction=-1.0), {}, "wrong sign"),
    "equal steps assumed": (
        solver(order=2, reference="a copy", start=SOLVERS["dpmpp_2s"], starts=1, register=False)(without_ratio),
        {},
        "wrong coefficient",
    ),
    "float32 coefficients": (midpoint(kind=lambda c: np.float32(c)), {}, "float32 coefficients"),
    "rounded timesteps": (midpoint(place=on_table), {}, "timestep rounding"),
    "rounded timesteps, multistep": (multistep(1.0, place=on_table), {}, "timestep rounding"),
    "first-order start": (replace(SOLVERS["dpmpp_3m"], start=SOLVERS["ddim"], name="first-order start"), {}, "start-up"),
    "first-order start, a function": (start_crudely, {"order": 3}, "start-up"),
    "first-order last step, a function": (end_crudely, {"order": 3}, "last step"),
    "independent stage noise": (stochastic(independent=True), {}, "stage noise"),
    "independent stage noise, a function": (half_noise, {"weak": 2}, "stage noise"),
    "stochastic, wrong sign": (stochastic(factor=-1.0), {}, "wrong sign"),
    "stochastic, missing factor": (stochastic(factor=0.5), {}, "missing factor"),
    "stochastic, too much noise": (stochastic(amplitude=math.sqrt(2.0)), {}, "missing factor"),
}
ORDERS = ("order", "weak order", "precision")
"""What these copies are broken in."""


@cache
def report(name: str) -> Report:
    candidate, claims, _ = BROKEN[name]
    return check_solver(candidate, name=name if callable(candidate) else None, quick=True, only=ORDERS, **claims)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_copy_is_caught(name: str) -> None:
    assert not report(name).passed, str(report(name))


@pytest.mark.parametrize("name", BROKEN)
def test_diagnosis_names_the_cause(name: str) -> None:
    found = report(name)
    assert found.cause == BROKEN[name][2], f"{found.cause!r} instead of {BROKEN[name][2]!r}\n{found}"


@pytest.mark.parametrize(
    ("candidate", "claims"),
    [(midpoint(), {}), (multistep(1.0), {}), (stochastic(), {}), (walk, {"order": 3}), (correlated, {"weak": 2})],
    ids=["midpoint", "multistep", "stochastic", "walk", "correlated"],
)
def test_right_copies_pass(candidate: Any, claims: dict[str, float]) -> None:
    found = check_solver(candidate, quick=True, only=ORDERS, **claims)
    assert found.passed, str(found)
    assert found.cause is None
