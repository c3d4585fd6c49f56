"""What ``unic`` and ``heavy_ball`` can be put on: other bases are refused where they are made, and those taken keep the claim."""

from __future__ import annotations

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.solvers import SOLVERS, VP, grid, sample
from scorebed.solvers.methods.centred import about
from scorebed.solvers.methods.compose import compose
from scorebed.solvers.methods.momentum import heavy_ball
from scorebed.solvers.methods.reversible import rex
from scorebed.solvers.methods.unipc import cannot_be_corrected, unic

LAW = GaussianMixture([0.4, 0.6], [[-1.0], [1.0]], [0.05, 0.1])
X = LAW.sample(16, np.random.default_rng(0), VP().node(1.0))
REFUSED = ("taylor_2", "dpm_solver_12", "dpm_solver_23", "scipy_rk45", "edict", "rex_rk4", "rex_dpmpp_2s", "geodesic_heun")


@pytest.mark.parametrize("name", REFUSED)
def test_unic_names_the_base_that_it_cannot_correct(name: str) -> None:
    with pytest.raises(ValueError, match=rf"unic\({name}\): the base .*; give a method that evaluates D once"):
        unic(SOLVERS[name])


def test_unic_refuses_what_is_built_on_them_too() -> None:
    for base in (rex(SOLVERS["heun"]), about(SOLVERS["heun"], np.ones(1)), compose([SOLVERS["heun"], SOLVERS["taylor_2"]])):
        with pytest.raises(ValueError, match="the base"):
            unic(base)
    with pytest.raises(TypeError, match="base = 'heun' is not a Solver"):
        unic("heun")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws noise"):
        unic(SOLVERS["ddpm"])


def test_the_others_are_taken() -> None:
    deterministic = [s for s in SOLVERS.values() if s.weak is None and "gaussian" in s.on and s.nonlinear is None]
    refused = [s.name for s in deterministic if cannot_be_corrected(s) is not None]
    assert refused == ["edict", "rex_dpmpp_2s", "rex_rk4", "taylor_2"]


@pytest.mark.parametrize(
    "name", ["euler_t", "heun", "ab3", "lms_3", "dpmpp_3m", "dpm_solver_v3_3", "deis_tab1", "exp_rk_2", "ghvb_2", "rkc2"]
)
def test_those_taken_gain_an_order(name: str) -> None:
    smooth = GaussianMixture([0.5, 0.5], [[-0.6], [0.7]], [0.5, 0.6])
    grids = [grid.uniform_lam(VP(), n, 0.9, 0.05) for n in (96, 192)]
    exact = smooth.flow(X, grids[0][0], grids[0][-1])
    errors = [float(np.abs(sample(unic(SOLVERS[name]), smooth.denoised, X, g, terminal="none") - exact).max()) for g in grids]
    assert np.log2(errors[0] / errors[1]) > SOLVERS[name].order + 1 - 0.35


@pytest.mark.parametrize("name", ["edict", "bdia", "belm", "rex_rk4"])
def test_momentum_is_not_put_on_reversible_methods(name: str) -> None:
    for nesterov in (False, True):
        with pytest.raises(ValueError, match=rf"base = {name} is reversible and remembers states"):
            heavy_ball(SOLVERS[name], nesterov=nesterov)
    with pytest.raises(ValueError, match="is reversible"):
        heavy_ball(rex(SOLVERS["heun"])(zeta=0.9))
