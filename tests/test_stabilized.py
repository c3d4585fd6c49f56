"""Stabilised methods: stability polynomials, intervals, quadrature, what STORK's virtual evaluations are; the stability meter itself."""

import numpy as np
import pytest
from numpy.polynomial import Chebyshev

from scorebed.solvers import EDM, SOLVERS, VP, Node, sample, trace
from scorebed.solvers.methods.stabilized import chebyshev, gegenbauer, stork_2, stork_moment
from scorebed.toy.figures.stability import regions
from scorebed.toy.measure.runs import order_on
from scorebed.toy.properties.cases import cases, jagged, modes
from scorebed.toy.studies.stability import amplification, real_interval, recurrence_length, roots

X = np.linspace(-2.0, 2.0, 9)[:, None]
STAGES = pytest.mark.parametrize("s", [2, 3, 4, 7, 12])


@STAGES
def test_the_stability_polynomial_of_rkc2(s: int) -> None:
    """R(z) = 1 − b T_s(w_0) + b T_s(w_0 + w_1 z), b = T_s''/T_s'² at w_0 = 1 + (2/13)/s²."""
    w0, t = 1.0 + 2.0 / 13.0 / s**2, Chebyshev.basis(s)
    b, w1 = t.deriv(2)(w0) / t.deriv(1)(w0) ** 2, t.deriv(1)(w0) / t.deriv(2)(w0)
    z = np.array([-0.3, -1.7 + 0.4j, 0.2j, -0.5 * s**2])
    np.testing.assert_allclose(roots(SOLVERS["rkc2"](stages=s), z)[:, 0], 1.0 - b * t(w0) + b * t(w0 + w1 * z), rtol=1e-9, atol=1e-9)


@STAGES
def test_stages_end_where_the_step_does(s: int) -> None:
    for recurrence in (chebyshev(s), gegenbauer(s)):
        assert recurrence.c[-1] == pytest.approx(1.0, abs=1e-13)
        assert all(0.0 < c < 1.0 for c in recurrence.c[:-1]) or s == 2


@pytest.mark.parametrize("s", [5, 10, 20])
def test_the_interval_grows_as_the_square_of_the_stages(s: int) -> None:
    assert real_interval(SOLVERS["rkc2"](stages=s)) == pytest.approx(0.653 * s**2, rel=0.03)
    assert (s + 4) * (s - 1) / 3 - 1e-6 <= real_interval(SOLVERS["rkg2"](stages=s)) <= 1.06 * (s + 4) * (s - 1) / 3


def test_rkc2_is_damped_inside_its_interval() -> None:
    z = -np.linspace(1.5, 0.6 * 100, 300)
    assert amplification(SOLVERS["rkc2"](stages=10), z).max() < 0.97
    assert amplification(SOLVERS["rkg2"](stages=10), z[z > -41]).max() < 0.97


def test_two_gegenbauer_stages_are_heun() -> None:
    nodes = jagged(VP(), 6, 0.9, 0.05)
    one, two = (sample(m, modes().denoised, X, nodes, terminal="none") for m in (SOLVERS["rkg2"](stages=2), SOLVERS["heun"]))
    np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("s", [2, 3, 10, 50])
def test_stork_is_no_more_stable_than_a_multistep_method(s: int) -> None:
    """2/(3 + 2q), q = Σ b_j c_j², below 0.6 for any number of stages: evaluations in time alone do not see the state."""
    assert real_interval(stork_2(stages=s)) == pytest.approx(2.0 / (3.0 + 2.0 * stork_moment(s)), rel=1e-6)
    assert real_interval(stork_2(stages=s)) < 0.6


def test_stork_takes_one_evaluation_per_step_and_two_of_memory() -> None:
    few, many = (trace(stork_2, jagged(VP(), n, 0.9, 0.05)) for n in (20, 40))
    assert many.nfe - few.nfe == 20
    assert many.history == 2


@pytest.mark.parametrize("s", [3, 50])
def test_stork_is_of_second_order(s: int) -> None:
    """Its error constant, (q − 1/3)/2, is so small that the third-order term hides it below some 500 steps."""
    result = order_on(cases()[0].reversed(), stork_2(stages=s), steps=(512, 1024, 2048))
    assert result.inside(2.0), result


def test_stork_with_moment_one_third_is_adams_bashforth(monkeypatch: pytest.MonkeyPatch) -> None:
    """With any quadrature of order three or more, ROCK4's say, Taylor polynomials of degree two give lms_3."""
    monkeypatch.setattr("scorebed.solvers.methods.stabilized.stork_moment", lambda stages: 1.0 / 3.0)
    nodes = jagged(VP(), 9, 0.9, 0.05)
    one, two = (sample(m, modes().denoised, X, nodes, terminal="none") for m in (stork_2, SOLVERS["lms_3"]))
    np.testing.assert_allclose(one, two, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("stages", [1, 0, 2.5, True])
def test_stages_must_be_a_number_of_stages(stages: object) -> None:
    for method in (SOLVERS["rkc2"], SOLVERS["rkg2"], stork_2):
        with pytest.raises(ValueError, match="stages = "):
            sample(method(stages=stages), modes().denoised, X, jagged(VP(), 5, 0.9, 0.05))


@pytest.mark.parametrize(("name", "polynomial"), [("euler", [1, 1]), ("heun", [1 / 2, 1, 1]), ("rk4", [1 / 24, 1 / 6, 1 / 2, 1, 1])])
def test_the_meter_finds_the_stability_function_of_one_step_methods(name: str, polynomial: list[float]) -> None:
    z = np.array([[-0.4, -2.0 + 1.0j], [0.3j, -7.0]])
    assert recurrence_length(SOLVERS[name]) == 1
    np.testing.assert_allclose(roots(SOLVERS[name], z)[..., 0], np.polyval(polynomial, z), rtol=1e-11)


def test_the_meter_finds_the_roots_of_adams_bashforth() -> None:
    """r² − (1 + 3z/2) r + z/2 = 0 for order two (arXiv:2307.11118, eq. 20)."""
    for z in (-0.4, -0.9 + 0.3j, 0.2j):
        found, exact = np.sort_complex(roots(SOLVERS["lms_2"], z)), np.sort_complex(np.roots([1.0, -(1.0 + 1.5 * z), 0.5 * z]))
        np.testing.assert_allclose(found, exact, rtol=1e-10)


@pytest.mark.parametrize("r", [1, 2, 3, 4])
def test_the_meter_finds_the_length_of_a_memory(r: int) -> None:
    assert recurrence_length(SOLVERS[f"lms_{r}"]) == r
    assert recurrence_length(SOLVERS[f"ghvb_{r}"]) == max(r, 2)


def test_the_meter_refuses_what_has_no_region() -> None:
    with pytest.raises(ValueError, match="not autonomous in rho"):
        real_interval(SOLVERS["dpm_solver_2"])
    with pytest.raises(ValueError, match="draws noise"):
        amplification(SOLVERS["ddpm"], -0.1)


def test_euler_really_diverges_beyond_its_interval_and_not_within() -> None:
    """The meter against a plain run of dy/drho = λ y on equal steps."""
    nodes = [EDM().node(float(60 - i)) for i in range(41)]
    for name in ("euler", "lms_3", "ghvb_2"):
        length = real_interval(SOLVERS[name])
        for factor, grows in ((0.97, False), (1.03, True)):
            z = -factor * length

            def denoise(x: np.ndarray, node: Node, z: float = z) -> np.ndarray:
                return x + node.rho * z * x

            ends = [sample(SOLVERS[name], denoise, X, nodes[:k], terminal="none") for k in (21, 41)]
            assert (np.abs(ends[1]).max() > np.abs(ends[0]).max()) == grows, (name, factor)


def test_the_figure_has_a_panel_for_each_group() -> None:
    figure = regions({"Euler": {"euler": SOLVERS["euler"]}, "two": {r: SOLVERS[r] for r in ("lms_2", "heun")}}, points=21)
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["Euler", "two"]
    labels = [text.get_text() for axis in figure.axes if (legend := axis.get_legend()) for text in legend.get_texts()]
    assert labels == ["euler:  2", "lms_2:  1", "heun:  2"]
