"""Other libraries' posterior samplers through one call: azula's, diffusers' RePaint, and anything called like deepinv's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from scorebed.solvers.inverse import METHODS
from scorebed.toy.check.posterior import check_posterior
from scorebed.toy.check.posterior_torch import in_torch
from scorebed.toy.foreign.posterior import AZULA, azula_posterior, deepinv_posterior, repaint_posterior
from scorebed.toy.peers.posterior import ENTRIES, MASKED
from scorebed.toy.problems.inverse import INVERSE

torch = pytest.importorskip("torch")
QUICK = {"steps": 30, "samples": 2500, "joint": 0}


def found(name):
    (entry,) = (e for e in ENTRIES if e.name == name)
    return check_posterior(entry.make(), problem=entry.problem, library="torch", **QUICK)


@pytest.mark.parametrize("name", ["TMPDenoiser", "MMPSDenoiser", "JFPSDenoiser"])
def test_moment_matching_of_azula_is_exact_on_a_gaussian(name):
    report = found(name)
    assert report.passed, str(report)


@pytest.mark.parametrize(("name", "cause"), [("DPSSampler", "guidance clipped"), ("PGDMSampler", "covariance left out")])
def test_what_is_wrong_is_named(name, cause):
    report = found(name)
    assert not report.passed
    assert report.cause == cause, str(report)


def test_every_method_of_azula_is_on_the_board():
    import azula.guidance as theirs

    posterior = {n for n in dir(theirs) if n.endswith(("Sampler", "Denoiser"))} - {"CFGDenoiser"}
    assert posterior == set(AZULA) == {e.name for e in ENTRIES if e.library == "azula"}


def test_dps_of_azula_depends_on_the_batch(monkeypatch):
    """Its norm is that of all residuals together: without any noise, a sample's end changes with its neighbours."""
    problem = INVERSE["gaussian2d"]
    monkeypatch.setattr(torch, "randn_like", torch.zeros_like)

    def first(n, zeta):
        x = problem.start_states(n, 0)
        x[0] = 0.3
        run = in_torch(azula_posterior("DPSSampler", zeta=zeta), 0)
        return run(problem.model, problem.operator, problem.y, x, problem.nodes(1))[0]

    moved, unguided = (np.abs(first(500, zeta) - first(1, zeta)).max() for zeta in (1.0, 0.0))
    assert unguided < 1e-12 < 1e-3 < moved, (moved, unguided)


class Exactly:
    """A sampler in deepinv's way: ancestral steps on VE levels with the posterior mean of one Gaussian, found from physics alone."""

    def __init__(self, denoiser, steps, noise=1.0):
        self.denoiser, self.noise = denoiser, noise
        self.levels = np.geomspace(40.0, 0.02, steps + 1)

    def forward(self, y, physics, seed=None):
        torch.manual_seed(seed)
        a = physics.A(torch.eye(physics.mask.shape[-1], dtype=y.dtype)).T
        x = self.levels[0] * torch.randn(len(y), a.shape[1], dtype=y.dtype)
        r2 = physics.noise_model.sigma**2
        for s, t in zip(self.levels[:-1], self.levels[1:], strict=True):
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                d = self.denoiser(x, s)
                rows = torch.stack([torch.autograd.grad((d @ row).sum(), x, retain_graph=True)[0] for row in a], 1) * s**2
            inner = rows @ a.T + r2 * torch.eye(len(a), dtype=y.dtype)
            d = d.detach() + (rows.transpose(1, 2) @ torch.linalg.solve(inner, (y - physics.A(d.detach()))[..., None]))[..., 0]
            keep = (t / s) ** 2
            x = d + keep * (x.detach() - d) + self.noise * t * math.sqrt(1.0 - keep) * torch.randn_like(x)
        return x.detach()

    __call__ = forward


def test_deepinv_style():
    good = deepinv_posterior(Exactly)
    assert check_posterior(good, library="torch", **QUICK).passed
    bad = deepinv_posterior(lambda denoiser, steps: Exactly(denoiser, steps, noise=math.sqrt(0.5)))
    report = check_posterior(bad, library="torch", diagnosis=False, **QUICK)
    assert report["covariance, y"].status == "fail"
    assert report["mean, y"].status == "pass"


def test_physics_is_the_operator():
    from scorebed.toy.foreign.posterior import _physics

    problem = INVERSE["isotropic"]
    x = torch.randn(5, problem.d, dtype=torch.float64)
    op = problem.operator.like(x)
    physics = _physics(op, x)
    z = physics.V_adjoint(x)
    torch.testing.assert_close(physics.V(z), x)
    torch.testing.assert_close(physics.U_adjoint(op(x)), physics.mask * z)


def test_refusals():
    with pytest.raises(ValueError, match="name = 'DPS'"):
        azula_posterior("DPS")
    with pytest.raises(ValueError, match="covariance = None"):
        azula_posterior("JFPSDenoiser")
    problem = INVERSE["gaussian2d"]
    from diffusers import RePaintScheduler

    for made in (azula_posterior("RePaintSampler"), repaint_posterior(RePaintScheduler())):
        with pytest.raises(ValueError, match="is not a mask"):
            in_torch(made, 0)(problem.model, problem.operator, problem.y, problem.start_states(3), problem.nodes(3))


def test_repaint_of_diffusers_has_the_bias_of_ours():
    """One pass of replacement: mean and covariance are those of ours, far from the posterior's."""
    from diffusers import RePaintScheduler

    theirs = check_posterior(
        repaint_posterior(RePaintScheduler(clip_sample=False, eta=1.0)), problem=MASKED, library="torch", diagnosis=False, **QUICK
    )
    ours = check_posterior(METHODS["repaint"](resample=1), problem=MASKED, diagnosis=False, **QUICK)
    assert not theirs.passed
    assert not ours.passed
    percent = [float(r["mean, y far off"].measured.split("by ")[1].split("%")[0]) for r in (theirs, ours)]
    assert abs(percent[0] - percent[1]) < 15.0, percent
