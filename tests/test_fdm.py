"""The Fast Diffusion Model: its momentum is a critically damped oscillator, and in scaled variables it is EDM to round-off."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from scorebed.solvers import EDM, SOLVERS, Solver, methods_on, sample, trace
from scorebed.solvers.fdm import FDM
from scorebed.solvers.grid import karras
from scorebed.solvers.methods.adaptive import ADAPTIVE
from scorebed.solvers.methods.runge_kutta import DISCRETISED
from scorebed.solvers.spacing import transfer
from scorebed.toy.properties.cases import modes

X = np.linspace(-2.0, 2.0, 9)[:, None]
IN_X = {
    "resshift": "its factor is a property of the schedule's own process in x",
    "exp_euler_maruyama": "freezes the score, which the state moves",
    "edict": "mixes states of two levels in x",
    "bdia": "mixes states of two levels in x",
}
"""Methods that are not made in x/alpha and lam, beside those that discretise the schedule."""

FLAT = [s for s in methods_on().values() if s.nonlinear in (None, ADAPTIVE)]
OF_RATIO = ("flow_sde", "flow_dance")
"""Methods that discretise, but in x/(alpha + sigma) and sigma/alpha."""
SCALED = [s for s in FLAT if (s.inexact != DISCRETISED or s.name in OF_RATIO) and s.name not in IN_X]


def runs(solver: Solver, n: int) -> tuple[np.ndarray, np.ndarray]:
    """End states in y = x/s, on EDM and on FDM."""
    plain = karras(EDM(), n)
    scaled = transfer(plain, FDM())
    one, two = (sample(solver, modes().denoised, grid[0].sigma * X, grid, noise=3, terminal="none") for grid in (plain, scaled))
    return one, two / scaled[-1].alpha


@pytest.mark.parametrize("made", SCALED, ids=lambda s: s.name)
def test_in_scaled_variables_fdm_is_edm(made: Solver) -> None:
    for n in (1, 6):
        one, two = runs(made, n)
        np.testing.assert_allclose(two, one, rtol=0.0, atol=1e-10 * np.abs(one).max())


def test_methods_on_x_itself_see_the_scaling() -> None:
    others = [s for s in FLAT if s not in SCALED]
    assert {s.name for s in others} >= {"euler_t", "rk4_t", *IN_X}
    for solver in others:
        one, two = runs(solver, 6)
        assert np.abs(one - two).max() > 1e-4 * np.abs(one).max(), solver.name


def test_the_authors_sampler_is_heun_of_edm() -> None:
    """One evaluation at each end of a step, with slopes (y - D)/t."""
    plain = karras(EDM(), 5)
    y = plain[0].sigma * X
    for s, t in pairwise(plain):
        slope = (y - modes().denoised(y, s)) / s.t
        ahead = y + (t.t - s.t) * slope
        y = y + (t.t - s.t) * 0.5 * (slope + (ahead - modes().denoised(ahead, t)) / t.t)
    np.testing.assert_allclose(runs(SOLVERS["heun"], 5)[1], y, rtol=1e-10)
    assert trace(SOLVERS["heun"], transfer(plain, FDM())).nfe == 10


def test_alpha_is_the_critically_damped_oscillator() -> None:
    made = FDM()
    clocks = np.linspace(0.0, made.clock(80.0)[0], 40)
    found = solve_ivp(lambda b, m: [m[1], -2.0 * m[1] - m[0]], (0.0, clocks[-1]), [1.0, 0.0], t_eval=clocks, rtol=1e-11, atol=1e-13).y[0]
    # u from B: the positive root of the quadratic
    u = (-0.1 + np.sqrt(0.01 + 2.0 * 19.9 * clocks)) / 19.9
    alphas = [made.node(0.002 + float(v) * (80.0 - 0.002)).alpha for v in u]
    np.testing.assert_allclose(alphas, found, rtol=1e-8, atol=1e-10)


def test_drift_and_diffusion_belong_to_alpha_and_sigma() -> None:
    made = FDM()
    for a, b in ((0.01, 3.0), (1.0, 70.0)):
        assert quad(made.f, a, b)[0] == pytest.approx(math.log(made.node(b).alpha / made.node(a).alpha), rel=1e-9)
        gained = quad(lambda t: made.g2(t) / made.node(t).alpha ** 2, a, b)[0]
        assert gained == pytest.approx(made.node(b).rho ** 2 - made.node(a).rho ** 2, rel=1e-9)
    for lam in (-4.0, 0.0, 6.0):
        node = made.at_lam(lam)
        assert made.node(node.t).alpha == pytest.approx(node.alpha, rel=1e-12)
        assert math.log(node.alpha / node.sigma) == pytest.approx(lam, abs=1e-12)


def test_without_momentum_it_is_edm() -> None:
    assert FDM(multiplier=0.0).node(3.0) == EDM().node(3.0)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"FDM: multiplier = -1\.0 must be finite and not negative"):
        FDM(multiplier=-1.0)
    with pytest.raises(ValueError, match=r"beta_min = 3\.0 must lie below beta_max = 2\.0"):
        FDM(beta_min=3.0, beta_max=2.0)
    with pytest.raises(ValueError, match="outside EDM"):
        FDM().node(-1.0)
