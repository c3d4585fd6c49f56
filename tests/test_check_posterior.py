"""check_posterior: ten samplers with a fault each, found and named unaided, and their ten mended twins, which pass."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest

import scorebed
from scorebed.solvers.inverse import METHODS, Linear
from scorebed.toy.check.posterior import check_posterior
from scorebed.toy.problems.inverse import INVERSE

QUICK: dict[str, int] = {"steps": 30, "samples": 2500, "joint": 0}


def normal(shape):
    return np.random.standard_normal(shape)  # noqa: NPY002


def flow(x, d, s, t):
    return t.sigma / s.sigma * x + (t.alpha - t.sigma / s.sigma * s.alpha) * d


def ancestral(x, d, s, t):
    h = t.lam - s.lam
    mean = t.sigma / s.sigma * math.exp(-h) * x + t.alpha * (1 - math.exp(-2 * h)) * d
    return mean + t.sigma * math.sqrt(1 - math.exp(-2 * h)) * normal(x.shape)


def covariance(model, x, n, a):
    """A Cov[x0 | x_t], row by row, (n, m, d)."""
    return n.sigma**2 / n.alpha * np.stack([model.vjp(x, n, np.broadcast_to(row, x.shape)) for row in a], 1)


def moment_matched(factor=1.0, variance=None, jacobian=True, spread=True, weight=lambda n: 1.0):
    """E[x0 | x_t, y] with the covariance that the model's Jacobian gives."""

    def denoise(model, op, y, x, n):
        d = model(x, n)
        rows = covariance(model, x, n, op.matrix)
        r2 = op.variance if variance is None else variance(op.variance)
        inner = r2 * np.eye(op.m) + (rows @ op.matrix.T if spread else 0.0)
        u = np.linalg.solve(inner, (y - d @ op.matrix.T)[..., None])[..., 0]
        change = np.einsum("nmd,nm->nd", rows, u) if jacobian else n.sigma**2 / n.alpha * (u @ op.matrix)
        return d + factor * weight(n) * change

    return denoise


def pseudo_inverse(variance=None, most=math.inf):
    """ΠGDM on data N(0, I)."""

    def denoise(model, op, y, x, n):
        d = model(x, n)
        r2 = op.variance if variance is None else variance(op.variance)
        w = n.sigma**2 / (n.alpha**2 + n.sigma**2)
        u = np.linalg.solve(w * op.matrix @ op.matrix.T + r2 * np.eye(op.m), (y - d @ op.matrix.T).T).T
        g = model.vjp(x, n, u @ op.matrix)
        size = np.linalg.norm(g, axis=1, keepdims=True)
        return d + n.sigma**2 / n.alpha * g * np.minimum(1.0, most / size)

    return denoise


def walk(step, denoise):
    def sampler(model, operator, y, x, nodes):
        for s, t in pairwise(nodes):
            x = step(x, denoise(model, operator, y, x, s), s, t)
        return denoise(model, operator, y, x, nodes[-1])

    return sampler


def heun(denoise):
    def sampler(model, operator, y, x, nodes):
        for s, t in pairwise(nodes):
            d = denoise(model, operator, y, x, s)
            u = flow(x, d, s, t)
            x = u + 0.5 * t.alpha * math.expm1(t.lam - s.lam) * (denoise(model, operator, y, u, t) - d)
        return denoise(model, operator, y, x, nodes[-1])

    return sampler


def split_gibbs(prior=True):
    def sampler(model, operator, y, x, nodes):
        x0 = model(x, nodes[0]) if prior else x
        for s in nodes[1 : -1 : len(nodes) // 10]:
            for _ in range(2):
                z = operator.draw(x0, y, s.rho**2, normal(x0.shape))
                if not prior:
                    x0 = z
                    continue
                inner = len(nodes) // 4
                grid = [s, *(s.toward(nodes[-1], i / inner) for i in range(1, inner)), nodes[-1]]
                v = s.alpha * z
                for a, b in pairwise(grid):
                    v = ancestral(v, model(v, a), a, b)
                x0 = model(v, nodes[-1])
        return x0

    return sampler


def annealed(extra=0.0):
    """DAPS on data N(0, I), whose x0 given x_t is N(D, r_t²) exactly, along a fine grid."""

    def sampler(model, operator, y, x, nodes):
        for s, t in pairwise(nodes):
            w = s.sigma**2 / (s.alpha**2 + s.sigma**2)
            x0 = operator.draw(model(x, s), y, w, normal(x.shape))
            h = t.lam - s.lam  # x_t given x_s and x0, the bridge of the forward process
            mean = t.sigma / s.sigma * math.exp(-h) * x + t.alpha * (1 - math.exp(-2 * h)) * x0
            x = mean + t.sigma * math.sqrt(1 - math.exp(-2 * h)) * normal(x.shape)
        return x0 + extra * normal(x.shape)

    return sampler


def langevin(sign=1.0):
    """Predictor and corrector on the score of the posterior."""
    guide = moment_matched(sign)

    def sampler(model, operator, y, x, nodes):
        for s, t in pairwise(nodes):
            x = flow(x, guide(model, operator, y, x, s), s, t)
            delta = 0.3 * (t.lam - s.lam)
            d = guide(model, operator, y, x, t)
            x = t.alpha * d + math.exp(-delta) * (x - t.alpha * d) + t.sigma * math.sqrt(1 - math.exp(-2 * delta)) * normal(x.shape)
        return guide(model, operator, y, x, nodes[-1])

    return sampler


def conjugate(jacobian=True):
    """MMPS: the solve by conjugate gradients."""

    def denoise(model, op, y, x, n):
        d, scale = model(x, n), n.sigma**2 / n.alpha
        u = np.zeros((len(x), op.m))
        r = y - d @ op.matrix.T
        p, size = r, (r * r).sum(1, keepdims=True)
        for _ in range(op.m):
            q = op.variance * p + scale * model.vjp(x, n, p @ op.matrix) @ op.matrix.T
            step = size / np.maximum((p * q).sum(1, keepdims=True), 1e-300)
            u, r = u + step * p, r - step * q
            old, size = size, (r * r).sum(1, keepdims=True)
            p = r + size / np.maximum(old, 1e-300) * p
        return d + scale * (model.vjp(x, n, u @ op.matrix) if jacobian else u @ op.matrix)

    return denoise


def unseeing(use=1.0):
    """An ancestral sampler whose conditional model is handed y times ``use``, about the mean of y."""
    guide = moment_matched()

    def sampler(model, operator, y, x, nodes):
        if not use:
            return walk(ancestral, lambda m, o, y, x, n: m(x, n))(model, operator, y, x, nodes)
        return walk(ancestral, guide)(model, operator, y, x, nodes)

    return sampler


PLANTED = {
    "DDIM, moment matched": ("gaussian2d", walk(flow, moment_matched()), walk(flow, moment_matched(0.5)), "missing factor"),
    "DDPM, pseudo-inverse": ("isotropic", walk(ancestral, pseudo_inverse()), walk(ancestral, pseudo_inverse(math.sqrt)), "wrong R"),
    "conjugate gradients": ("gaussian2d", walk(ancestral, conjugate()), walk(ancestral, conjugate(False)), "Jacobian dropped"),
    "Heun, pseudo-inverse": ("isotropic", heun(pseudo_inverse()), heun(pseudo_inverse(most=1.0)), "guidance clipped"),
    "split Gibbs": ("isotropic", split_gibbs(), split_gibbs(False), "prior is ignored"),
    "annealed draws": ("isotropic", annealed(), annealed(0.5), "over-dispersed"),
    "Langevin corrector": ("gaussian2d", langevin(), langevin(-1.0), "wrong sign"),
    "ancestral, moment matched": ("gaussian2d", unseeing(), unseeing(0.0), "y is ignored"),
    "Heun, moment matched": ("gaussian2d", heun(moment_matched()), heun(moment_matched(spread=False)), "covariance left out"),
    "DDPM, moment matched": (
        "gaussian2d",
        walk(ancestral, moment_matched()),
        walk(ancestral, moment_matched(weight=lambda n: n.alpha)),
        "missing factor",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_fault_is_found_and_named(name):
    problem, _, broken, cause = PLANTED[name]
    report = check_posterior(broken, problem=problem, **(QUICK | ({"steps": 60} if name == "Heun, moment matched" else {})), name=name)
    assert not report.passed, str(report)
    assert report.cause == cause, str(report)
    assert cause in str(report)


@pytest.mark.parametrize("name", PLANTED)
def test_the_mended_twin_passes(name):
    problem, mended, _, _ = PLANTED[name]
    report = check_posterior(mended, problem=problem, **QUICK, name=name)
    assert report.passed, str(report)
    assert report.cause is None


def test_methods_of_the_catalogue_by_name_and_what_is_biased_by_design_is_named():
    assert check_posterior("tmpd", **QUICK).passed
    report = check_posterior(METHODS["dps"], **QUICK)
    assert report.cause == "covariance left out"
    assert report["stable"].status == "note"
    noted = check_posterior("dps", **QUICK, exact=False, diagnosis=False)
    assert noted.passed
    assert noted["mean, y far off"].status == "note"
    units = check_posterior("dps_step", **QUICK, diagnosis=False)["units of y"]
    assert units.status == "fail"


def test_a_mixture_is_a_problem_too():
    assert check_posterior("exact", problem="mixture2d", steps=40, samples=2000, joint=0).passed
    assert not check_posterior("ddnm", problem="mixture2d", steps=30, samples=1000, joint=0, diagnosis=False).passed


def test_a_sampler_in_torch_differentiates_the_model_by_autograd():
    torch = pytest.importorskip("torch")

    def dps(model, operator, y, x, nodes):
        for s, t in pairwise(nodes):
            x = x.detach().requires_grad_()
            d = model(x, s)
            loss = ((y - operator(d)) ** 2).sum() / (2 * operator.variance)
            d = (d - s.sigma**2 / s.alpha * torch.autograd.grad(loss, x)[0]).detach()
            h = t.lam - s.lam
            mean = t.sigma / s.sigma * math.exp(-h) * x.detach() + t.alpha * (1 - math.exp(-2 * h)) * d
            x = mean + t.sigma * math.sqrt(1 - math.exp(-2 * h)) * torch.randn_like(mean)
        return d

    report = check_posterior(dps, library="torch", **QUICK)
    assert report.cause == "covariance left out", str(report)
    assert report["runs"].status == "pass"


def test_what_does_not_run_or_diverges_is_said_and_nothing_else_is_tried():
    def crash(model, operator, y, x, nodes):
        raise KeyError("mine")

    report = check_posterior(crash)
    assert not report.passed
    assert "KeyError" in report["runs"].measured
    assert len(report.findings) == 1
    assert not check_posterior(lambda m, o, y, x, nodes: x[:3]).passed
    assert "not finite" in check_posterior(lambda m, o, y, x, nodes: x * math.nan)["runs"].measured
    with pytest.raises(KeyError, match="no finding is called"):
        report["nothing"]


def test_a_sampler_that_changes_its_arguments_is_noted_and_the_report_is_plain_data():
    def careless(model, operator, y, x, nodes):
        out = walk(flow, moment_matched())(model, operator, y, x.copy(), nodes)
        x *= 0.0
        return out

    report = check_posterior(careless, steps=30, samples=500, joint=10, diagnosis=False)
    assert report["arguments"].status == "note"
    assert "of 80%" in report["coverage"].measured
    assert json.loads(json.dumps(report.as_dict()))["problem"] == "gaussian2d"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"sampler": 3}, TypeError, "is not callable"),
        ({"sampler": "nothing"}, ValueError, "sampler = 'nothing' is not known"),
        ({"sampler": "exact", "problem": "nothing"}, ValueError, "problem = 'nothing' is not known"),
        ({"sampler": "exact", "problem": "gain2d"}, ValueError, "nonlinear operator"),
        ({"sampler": "exact", "steps": 1}, ValueError, "at least 2 steps"),
        ({"sampler": len, "library": "jax"}, ValueError, "library = 'jax'"),
    ],
)
def test_bad_input_is_refused(arguments, error, words):
    with pytest.raises(error, match=words):
        check_posterior(**arguments)


def test_it_is_exported():
    assert scorebed.check_posterior is check_posterior
    assert isinstance(INVERSE["isotropic"].operator, Linear)
