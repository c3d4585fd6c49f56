"""``check_sde_solver``: right steps have the orders of the textbooks, each planted fault is named, and the answers themselves are right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from scorebed import check_sde_solver
from scorebed.toy.problems.equations import EQUATIONS, SPAN, STARTS, observables

Step = Callable[..., Any]


def euler_maruyama(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
    return x + b(x, t0) * (t1 - t0) + s(x, t0) * dw


def milstein(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
    h = abs(t1 - t0)
    slope = (s(x + s(x, t0) * np.sqrt(h), t0) - s(x, t0)) / np.sqrt(h)
    return euler_maruyama(b, s, x, t0, t1, dw) + 0.5 * slope * (dw * dw - h)


def heun(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
    """Converges to Stratonovich's solution."""
    y = euler_maruyama(b, s, x, t0, t1, dw)
    return x + 0.5 * (t1 - t0) * (b(x, t0) + b(y, t1)) + 0.5 * dw * (s(x, t0) + s(y, t1))


def platen(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
    """Weak order 2: Kloeden & Platen, section 15.1, eq. 1.1."""
    d, h = t1 - t0, abs(t1 - t0)
    r, mean, level = np.sqrt(h), x + b(x, t0) * d, s(x, t0)
    up, down = s(mean + level * r, t1), s(mean - level * r, t1)
    y = mean + level * dw
    return x + 0.5 * (b(y, t1) + b(x, t0)) * d + 0.25 * (up + down + 2.0 * level) * dw + 0.25 * (up - down) * (dw * dw - h) / r


@pytest.mark.parametrize(
    ("step", "options"),
    [
        (euler_maruyama, {"weak": 1.0, "strong": 0.5}),
        (milstein, {"weak": 1.0, "strong": 1.0}),
        (heun, {"weak": 1.0, "strong": 1.0, "calculus": "stratonovich"}),
        (heun, {"weak": 2.0, "noise": "additive"}),
        (platen, {"weak": 2.0, "strong": 0.5}),
    ],
    ids=["euler_maruyama", "milstein", "heun", "heun additive", "platen"],
)
def test_textbook_orders(step: Step, options: dict[str, Any]) -> None:
    result = check_sde_solver(step, **options)
    assert result.passed, result


@pytest.mark.parametrize(
    ("step", "options"),
    [(euler_maruyama, {"weak": 2.0}), (euler_maruyama, {"strong": 1.0}), (milstein, {"weak": 2.0}), (milstein, {"strong": 1.5})],
)
def test_an_order_that_is_not_there_is_refused(step: Step, options: dict[str, Any]) -> None:
    assert not check_sde_solver(step, backward=False, **options).passed


FAULTS: dict[str, Step] = {
    "noise 0.9 times what it should be": lambda b, s, x, t0, t1, dw: euler_maruyama(b, s, x, t0, t1, 0.9 * dw),
    "noise 1.41 times what it should be": lambda b, s, x, t0, t1, dw: euler_maruyama(b, s, x, t0, t1, np.sqrt(2.0) * dw),
    "noise scaled by h in place of sqrt(h)": lambda b, s, x, t0, t1, dw: euler_maruyama(b, s, x, t0, t1, dw * np.sqrt(abs(t1 - t0))),
    "noise not scaled by sqrt(h)": lambda b, s, x, t0, t1, dw: euler_maruyama(b, s, x, t0, t1, dw / np.sqrt(abs(t1 - t0))),
    "noise left out": lambda b, s, x, t0, t1, dw: euler_maruyama(b, s, x, t0, t1, 0.0 * dw),
    "variance taken for standard deviation": lambda b, s, x, t0, t1, dw: x + b(x, t0) * (t1 - t0) + s(x, t0) ** 2 * dw,
    "drift left out": lambda b, s, x, t0, t1, dw: x + s(x, t0) * dw,
    "sign of the drift": lambda b, s, x, t0, t1, dw: x - b(x, t0) * (t1 - t0) + s(x, t0) * dw,
    "sign of the drift, against time": lambda b, s, x, t0, t1, dw: x + b(x, t0) * abs(t1 - t0) + s(x, t0) * dw,
    "drift 0.5 times what it should be": lambda b, s, x, t0, t1, dw: x + 0.5 * b(x, t0) * (t1 - t0) + s(x, t0) * dw,
    "solves the Stratonovich equation": heun,
}


@pytest.mark.parametrize("cause", FAULTS)
def test_a_planted_fault_is_named(cause: str) -> None:
    result = check_sde_solver(FAULTS[cause], weak=1)
    assert not result.passed
    assert result.cause == cause, result


def test_a_step_that_fails_is_told() -> None:
    def broken(b: Any, s: Any, x: Any, t0: float, t1: float, dw: Any) -> Any:
        raise KeyError("boom")

    result = check_sde_solver(broken, weak=1)
    assert not result.passed
    assert "KeyError: 'boom'" in result.failures[0].measured
    assert not check_sde_solver(lambda b, s, x, t0, t1, dw: x[:, 0], weak=1).passed


@pytest.mark.parametrize(
    ("options", "words"),
    [({"noise": "colour"}, "noise = 'colour'"), ({"calculus": "Itô"}, "calculus = 'Itô'"), ({"weak": -1.0}, "weak = -1.0")],
)
def test_wrong_use_is_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_sde_solver(euler_maruyama, **options)
    with pytest.raises(TypeError, match="not callable"):
        check_sde_solver(3)  # type: ignore[arg-type]


def test_the_gaussian_answers() -> None:
    """The mean of the Ornstein-Uhlenbeck process solves its equation, and the lognormal mean is x e^{mu T}."""
    kept = np.exp(-quad(lambda t: 1.0 + 0.5 * np.cos(3.0 * t), 0.0, SPAN)[0])
    equation = EQUATIONS["ou"]
    x, n = STARTS.copy(), 20000
    for i in range(n):
        x = x + equation.drift(x, (i + 0.5) * SPAN / n) * SPAN / n
    np.testing.assert_allclose(x, 0.3 + kept * (STARTS - 0.3), atol=1e-4)
    z, w = np.polynomial.hermite_e.hermegauss(60)
    gbm = EQUATIONS["gbm"].strong
    assert gbm is not None
    np.testing.assert_allclose(gbm(STARTS[:, None], z[None]) @ (w / w.sum()), STARTS * np.exp(0.4), rtol=1e-12)


@pytest.mark.parametrize("name", ["double well", "langevin"])
def test_the_semigroup(name: str) -> None:
    """The collocated semigroup solves its backward equation: finer points agree, and constants and the law at rest are kept."""
    from scorebed.toy.problems.equations import _semigroup

    equation = EQUATIONS[name]
    finer = _semigroup(equation.drift, equation.diffusion, equation.reach, points=220)
    np.testing.assert_allclose(equation.mean(), finer, atol=1e-9)
    assert np.abs(finer - observables(STARTS)).max() > 0.05


def test_a_method_of_torchsde() -> None:
    pytest.importorskip("torchsde")
    from scorebed.toy.foreign.sde import torchsde_step

    result = check_sde_solver(torchsde_step("heun", "stratonovich"), calculus="stratonovich", weak=1, strong=1, backward=False)
    assert result.passed, result
