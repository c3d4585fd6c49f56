"""Processes: the clock of a point, the kinds that methods are made for, and what a grid of another kind gets."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

from scorebed.solvers import SCHEDULES, SOLVERS, VP, Node, Solver, ddim, heun, methods_on, sample, solver
from scorebed.solvers.grid import uniform
from scorebed.solvers.process import KINDS, Instant


def still(denoise: Any, x: Any, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Any, Any]:
    return x, None


@pytest.mark.parametrize("schedule", [c() for c in SCHEDULES.values()], ids=list(SCHEDULES))
def test_a_schedule_is_a_gaussian_process_with_the_clock_lam(schedule: Any) -> None:
    node = schedule.node(0.5 * schedule.t_max)
    assert (schedule.kind, schedule.gives) == ("gaussian", ("denoised",))
    assert (node.clock, node.process) == (node.lam, schedule)
    assert schedule.at(node.clock).t == pytest.approx(node.t, rel=1e-12)


def test_instants_are_values_that_know_their_way() -> None:
    class Doubling:
        kind = "phase"

        def at(self, clock: float) -> Instant:
            return Instant(0.5 * clock, clock, self)

    s, t = Doubling().at(1.0), Doubling().at(3.0)
    assert s.toward(t, 0.25) == Instant(0.75, 1.5)
    assert s.toward(t, 0.0) is s
    assert s.toward(t, 1.0) is t
    assert pickle.loads(pickle.dumps(Instant(0.5, 1.0))) == Instant(0.5, 1.0)
    with pytest.raises(AttributeError):
        s.t = 2.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="process=None"):
        Instant(0.5, 1.0).toward(Instant(0.6, 2.0), 0.5)


def test_a_bare_schedule_of_the_users_own_is_gaussian() -> None:
    assert Node(0.5, 0.8, 0.6, float(np.log(0.8 / 0.6))).process.kind == "gaussian"
    assert VP().node(0.5).process == VP()


def test_methods_on_a_kind_are_those_that_name_it() -> None:
    assert methods_on() == {name: s for name, s in SOLVERS.items() if "gaussian" in s.on and s.takes == "denoised"}
    assert methods_on()["ddim"] is ddim
    assert {kind for s in SOLVERS.values() for kind in s.on} <= set(KINDS)


def test_a_grid_of_another_kind_is_refused_by_name() -> None:
    made = solver(order=1, reference="here", on=("phase",), register=False)(still)
    with pytest.raises(ValueError, match="still is made for phase processes, but this grid lies on a gaussian process"):
        sample(made, lambda x, node: x, np.ones((1, 2)), uniform(VP(), 2))


@pytest.mark.parametrize("on", [(), "gaussian", ("fluid",), ["gaussian"]])
def test_on_must_be_kinds_that_exist(on: Any) -> None:
    with pytest.raises(ValueError, match=r"on = .* must be a tuple of kinds of process"):
        solver(order=1, reference="here", on=on, register=False)(still)


def test_a_start_must_be_on_all_that_the_method_is_on() -> None:
    with pytest.raises(ValueError, match="start = ddim is on"):
        solver(order=2, reference="here", on=("gaussian", "jump"), start=ddim, starts=1, register=False)(still)


def test_properties_of_a_kind_speak_of_the_methods_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from scorebed.toy.properties import registry

    monkeypatch.setattr(registry, "PROPERTIES", {})

    @registry.prop(kind="phase")
    def moves(method: Solver) -> None:
        raise registry.Broken(method.name)

    made = solver(order=1, reference="here", on=("phase",), register=False)(still)
    assert moves.exempt(heun) == "not on phase processes"
    assert moves.exempt(made) is None
    with pytest.raises(registry.Broken, match="still"):
        moves(made)
