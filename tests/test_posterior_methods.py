"""Posterior samplers: each against its paper's recursion on the line, exact where theory says so, and what each of them looks at."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.regression import ExactModel, Regression
from scorebed.solvers import SOLVERS, VP, grid
from scorebed.solvers.inverse import METHODS, Conditioned, Linear, Sequential, guide, posterior, sampler
from scorebed.solvers.operator import check_adjoint
from scorebed.toy.measure.affine_law import NotAffine, affine_law
from scorebed.toy.measure.convergence import order_of

MEAN, VAR, A, R2, Y = 0.3, 0.7, 0.8, 0.05, 1.1
LAW = GaussianMixture([1.0], [[MEAN]], VAR)
SEEN = Conditioned(ExactModel(LAW), Linear([[A]], R2), np.array([Y]))
NODES = grid.uniform_lam(VP(), 12, end=0.01)


class Line:
    """x = p x_T + q + N(0, w): the law of a state, moved by affine steps."""

    def __init__(self, p=1.0, q=0.0, w=0.0):
        self.p, self.q, self.w = p, q, w

    def to(self, slope, shift, noise=0.0):
        return Line(slope * self.p, slope * self.q + shift, slope**2 * self.w + noise)


def gain(n):
    return n.alpha * VAR / (n.alpha**2 * VAR + n.sigma**2)


def denoised(n):
    """Slope and shift of D."""
    return gain(n), MEAN * n.sigma**2 / (n.alpha**2 * VAR + n.sigma**2)


def corrected(n, c):
    """D + c (y − a D)."""
    g, k = denoised(n)
    return g * (1 - c * A), k * (1 - c * A) + c * Y


def ddpm(x, s, t, field):
    g, k = field(s)
    h = t.lam - s.lam
    a = t.alpha * (1 - math.exp(-2 * h))
    return x.to(t.sigma / s.sigma * math.exp(-h) + a * g, a * k, t.sigma**2 * (1 - math.exp(-2 * h)))


def ddim_eta(x, s, t, field, eta=0.5):
    g, k = field(s)
    up = eta**2 * t.sigma**2 * (1 - math.exp(-2 * (t.lam - s.lam)))
    rest = math.sqrt(t.sigma**2 - up) / s.sigma
    return x.to(rest + (t.alpha - rest * s.alpha) * g, (t.alpha - rest * s.alpha) * k, up)


def ddim(x, s, t, field):
    return ddim_eta(x, s, t, field, 0.0)


def run(step, field):
    x = Line()
    for s, t in pairwise(NODES):
        x = step(x, s, t, field)
    return x.to(*field(NODES[-1]))


def guided(weight, step=ddpm):
    return lambda: run(step, lambda n: corrected(n, weight(n)))


def dps(n):
    return n.sigma**2 / n.alpha * gain(n) * A / R2


def pigdm(n):
    spread = n.rho**2 / (1 + n.rho**2)
    return n.sigma**2 / n.alpha * gain(n) * A / (A * A * spread + R2)


def tmpd(n):
    c = n.sigma**2 / n.alpha * gain(n)
    return c * A / (A * A * c + R2)


def prox(w):
    return w * A / (w * A * A + R2)


def drawn(x, w):
    """A draw of N(z; x, w) N(y; a z, r²) from x."""
    c = prox(w)
    return x.to(1 - c * A, c * Y, w * R2 / (w * A * A + R2))


def ddrm():
    x, b, bar = Line(), math.sqrt(R2) / A, Y / A
    first = NODES[0]
    if first.rho > b:
        x = x.to(first.alpha * math.sqrt(first.rho**2 - b * b) / first.sigma, first.alpha * bar)
    for s, t in pairwise(NODES):
        g, k = denoised(s)
        if t.rho < b:
            c = math.sqrt(1 - 0.85**2) * t.rho / b
            x = x.to((1 - c) * g, (1 - c) * k + c * bar, (0.85 * t.rho) ** 2)
        else:
            x = x.to(0.0, bar, t.rho**2 - b * b)
        x = x.to(t.alpha, 0.0)
    return x.to(*denoised(NODES[-1]))


def ddnm_plus():
    x = Line()
    for s, t in pairwise(NODES):
        fresh = t.sigma**2 * (1 - math.exp(-2 * (t.lam - s.lam)))
        n2 = (t.alpha * (1 - math.exp(-2 * (t.lam - s.lam)))) ** 2 * R2 / A**2
        c = min(1.0, math.sqrt(fresh / n2)) / A
        moved = ddpm(x, s, t, lambda n, c=c: corrected(n, c))
        moved.w += max(0.0, fresh - n2) - fresh
        x = moved
    return x.to(*denoised(NODES[-1]))


def resample():
    x = Line()
    for i, (s, t) in enumerate(pairwise(NODES)):
        x = ddpm(x, s, t, denoised)
        if i % 2:
            own = 40.0 * t.sigma**2 / s.alpha**2 * (1 - s.alpha**2 / t.alpha**2)
            total = own + t.sigma**2
            x = x.to(t.sigma**2 / total, own / total * t.alpha * Y / A, own * t.sigma**2 / total)
    return x.to(0.0, Y / A)


def daps():
    x = Line()
    for s, t in pairwise(NODES):
        w, n = s.rho**2, s
        for i in range(2):
            to = n.toward(NODES[-1], 1.0 / (3 - i))
            x = ddim(x, n, to, denoised)
            n = to
        x0 = drawn(x.to(*denoised(n)), w)
        x = x0.to(t.alpha, 0.0, t.sigma**2)
    return x0


def dpnp():
    x = Line().to(*denoised(NODES[0]))
    for s in NODES[1:-1]:
        x = drawn(x, s.rho**2).to(s.alpha, 0.0)
        stops = [s, *(s.toward(NODES[-1], i / 8) for i in range(1, 8)), NODES[-1]]
        for a, b in pairwise(stops):
            x = ddpm(x, a, b, denoised)
        x = x.to(*denoised(NODES[-1]))
    return x


def sdedit():
    s = NODES[6]
    x = Line(0.0, s.alpha * Y / A, s.sigma**2)
    for a, b in pairwise(NODES[6:]):
        x = ddpm(x, a, b, denoised)
    return x.to(*denoised(NODES[-1]))


def cow():
    top = NODES[6]
    x = Line(0.0, top.alpha * Y / A, top.sigma**2)
    for a, b in pairwise(NODES[6:]):
        x = ddpm(x, a, b, denoised)
    return x.to(*denoised(NODES[-1]))


def red_diff():
    x = Line(0.0, Y / A)
    for s in NODES[:-1]:
        g, k = denoised(s)
        pull, rate = 0.25 * s.rho, 0.02
        for _ in range(10):
            # ε̂ − ξ = (α μ + σ ξ − α D)/σ − ξ = (α/σ)(μ − D), D at α μ + σ ξ
            slope = pull * s.alpha / s.sigma * (1 - g * s.alpha) + A * A
            noise = pull * s.alpha / s.sigma * g * s.sigma
            x = x.to(1 - rate * slope, rate * (pull * s.alpha / s.sigma * k + A * Y), (rate * noise) ** 2)
    return x


RECURSIONS = {
    "exact": guided(tmpd),
    "dps": guided(dps),
    "pigdm": guided(pigdm),
    "tmpd": guided(tmpd),
    "mmps": guided(tmpd),
    "stsl": guided(dps),
    "steered": guided(lambda n: 0.5 / A, ddim),
    "ddnm": guided(lambda n: 1 / A),
    "diffpir": guided(lambda n: prox(n.rho**2), ddim_eta),
    "ddrm": ddrm,
    "ddnm_plus": ddnm_plus,
    "repaint": lambda: Line(0.0, Y / A),
    "replacement": lambda: Line(0.0, Y / A),
    "cow": cow,
    "resample": resample,
    "daps": daps,
    "dpnp": dpnp,
    "sdedit": sdedit,
    "red_diff": red_diff,
}
OTHER = {
    "pnp_dm": "dpnp with a method that remembers a step, whose own properties hold it",
    "mcg": "its step is divided by |y − A D|, which no affine law follows: see the descent below",
    "dps_step": "likewise",
    "fps": "particles: see the large populations below",
    "tds": "likewise",
}


def method(name):
    return METHODS[name](optimiser="sgd", rate=0.02) if name == "red_diff" else METHODS[name]


def test_every_method_has_a_recursion_or_a_reason():
    assert set(RECURSIONS) | set(OTHER) == set(METHODS)
    assert all(m.reference for m in METHODS.values())


@pytest.mark.parametrize("name", RECURSIONS)
def test_the_output_has_the_law_of_the_papers_recursion(name):
    found, exact = affine_law(method(name), SEEN, NODES, 1), RECURSIONS[name]()
    assert found.start[0, 0] == pytest.approx(exact.p, abs=1e-8)
    assert found.mean[0] == pytest.approx(exact.q, rel=1e-8)
    assert float(found.noise[0] @ found.noise[0]) == pytest.approx(exact.w, rel=1e-7, abs=1e-12)


class Bent:
    """A model, or an operator, with one ingredient off by a tenth."""

    def __init__(self, whole, **bent):
        self.whole, self.bent = whole, bent

    def __getattr__(self, name):
        return self.bent.get(name, getattr(self.whole, name))

    def __call__(self, *a):
        return self.bent.get("call", 1.0) * self.whole(*a)


BENDS = {
    "model": lambda c: replace(c, model=Bent(c.model, call=1.1, given=lambda *a: lambda x, n: 1.1 * c.model.given(*a)(x, n))),
    "jacobian": lambda c: replace(c, model=Bent(c.model, vjp=lambda *a: 1.1 * c.model.vjp(*a))),
    "noise of y": lambda c: replace(c, operator=c.operator.with_variance(1.1 * R2)),
    "y": lambda c: replace(c, y=1.1 * c.y),
}
BLIND = {
    "jacobian": {"exact", "steered", "ddnm", "diffpir", "ddrm", "ddnm_plus", "repaint", "replacement", "cow", "resample", "daps", "dpnp"}
    | {"sdedit", "red_diff"},
    "noise of y": {"steered", "ddnm", "repaint", "replacement", "cow", "resample", "sdedit", "red_diff"},
    "model": {"ddnm", "repaint", "replacement", "resample"},
    "y": set(),
}


@pytest.mark.parametrize("bend", BENDS)
@pytest.mark.parametrize("name", RECURSIONS)
def test_a_mutant_in_any_ingredient_changes_the_law_unless_the_method_is_blind_to_it(name, bend):
    """On the line everything is seen: methods that overwrite what is seen forget the model there."""
    found, exact = affine_law(method(name), BENDS[bend](SEEN), NODES, 1), RECURSIONS[name]()
    gap = abs(found.mean[0] - exact.q) + abs(float(found.noise[0] @ found.noise[0]) - exact.w)
    assert (gap > 1e-4) == (name not in BLIND[bend]), gap


@pytest.mark.parametrize("name", RECURSIONS)
def test_noise_off_by_a_tenth_changes_the_law_of_every_method_that_draws(name):
    def weak(c, x, nodes, draws):
        class Weak:
            def next(self):
                return 0.9 * draws.next()

            def __call__(self, s, t):
                return 0.9 * draws(s, t)

        return method(name).run(c, x, nodes, Weak())

    problem, d = (OBLIQUE, 2) if name in BLIND["model"] else (SEEN, 1)  # those end on the line at y/a, whatever they draw
    right, wrong = affine_law(method(name), problem, NODES, d), affine_law(weak, problem, NODES, d)
    if right.noise.any():
        assert wrong.covariance[0, 0] < 0.9 * right.covariance[0, 0] - 1e-12 or name == "red_diff"
    else:
        assert name == "steered"


PLANE = GaussianMixture([1.0], [[0.3, -0.2]], [[[1.0, 0.6], [0.6, 0.8]]])
OBLIQUE = Conditioned(ExactModel(PLANE), Linear([[1.0, 0.4]], 0.05), np.array([1.2]))
POSTERIOR = PLANE.given([[1.0, 0.4]], [1.2], 0.05)


class Flat:
    """The same as ``Line`` in the plane, with the projection A^+ A and the point A^+ y of the oblique observation."""

    seen = np.outer([1.0, 0.4], [1.0, 0.4]) / 1.16
    point = np.array([1.0, 0.4]) * 1.2 / 1.16

    def __init__(self):
        self.p, self.q, self.w = np.eye(2), np.zeros(2), np.zeros((2, 2))

    def to(self, slope, shift, noise=0.0):
        self.p, self.q, self.w = slope @ self.p, slope @ self.q + shift, slope @ self.w @ slope.T + noise * np.eye(2)
        return self

    def ddpm(self, s, t, pull=0.0):
        g, k = self.field(s, pull)
        h = t.lam - s.lam
        a = t.alpha * (1 - math.exp(-2 * h))
        return self.to(t.sigma / s.sigma * math.exp(-h) * np.eye(2) + a * g, a * k, t.sigma**2 * (1 - math.exp(-2 * h)))

    def field(self, n, pull=0.0):
        cov = PLANE.covariance()
        g = n.alpha * cov @ np.linalg.inv(n.alpha**2 * cov + n.sigma**2 * np.eye(2))
        keep = np.eye(2) - pull * self.seen
        return keep @ g, keep @ (PLANE.mean() - n.alpha * g @ PLANE.mean()) + pull * self.point

    def overwrite(self, n):
        self.to(np.eye(2) - self.seen, n.alpha * self.point)
        self.w = self.w + n.sigma**2 * self.seen
        return self

    def end(self, pull):
        return self.to(*self.field(NODES[-1], pull))


def flat_repaint(times):
    x = Flat()
    for s, t in pairwise(NODES):
        for again in range(times):
            if again:
                x.to(s.alpha / t.alpha * np.eye(2), 0.0, s.sigma**2 * (1 - math.exp(2 * (s.lam - t.lam))))
            x.ddpm(s, t).overwrite(t)
    return x.end(1.0)


def flat_resample():
    x = Flat()
    for i, (s, t) in enumerate(pairwise(NODES)):
        own = 40.0 * t.sigma**2 / s.alpha**2 * (1 - s.alpha**2 / t.alpha**2)
        total = own + t.sigma**2
        g, k = x.field(s, 1.0)
        if i % 2:
            h = t.lam - s.lam
            a = t.alpha * (1 - math.exp(-2 * h))
            g0, k0 = x.field(s)
            slope = t.sigma / s.sigma * math.exp(-h) * np.eye(2) + a * g0
            x.to(
                t.sigma**2 / total * slope + own / total * t.alpha * g,
                t.sigma**2 / total * a * k0 + own / total * t.alpha * k,
                (t.sigma**2 / total) ** 2 * t.sigma**2 * (1 - math.exp(-2 * h)) + own * t.sigma**2 / total,
            )
        else:
            x.ddpm(s, t)
    return x.end(1.0)


def flat_ddnm():
    x = Flat()
    for s, t in pairwise(NODES):
        x.ddpm(s, t, 1.0)
    return x.end(1.0)


FLAT = {"repaint": lambda: flat_repaint(10), "replacement": lambda: flat_repaint(1), "resample": flat_resample, "ddnm": flat_ddnm}


@pytest.mark.parametrize("name", FLAT)
def test_in_the_plane_the_output_has_the_law_of_the_papers_recursion(name):
    found, exact = affine_law(name, OBLIQUE, NODES, 2), FLAT[name]()
    assert found.start == pytest.approx(exact.p, abs=1e-8)
    assert found.mean == pytest.approx(exact.q, rel=1e-8)
    assert found.noise @ found.noise.T == pytest.approx(exact.w, rel=1e-7, abs=1e-12)


LIMIT = {"exact": True, "tmpd": True, "mmps": True, "dps": False, "pigdm": False, "diffpir": False, "ddnm": False, "steered": False}


@pytest.mark.parametrize("name", LIMIT)
def test_on_one_gaussian_the_limit_of_small_steps_is_the_posterior_where_theory_says_so(name):
    steps = (40, 80, 160, 320)
    errors = [
        affine_law(METHODS[name](solver="ddim"), OBLIQUE, grid.uniform_lam(VP(), n, end=1e-4), 2).w2(
            POSTERIOR.mean(), POSTERIOR.covariance()
        )
        for n in steps
    ]
    if LIMIT[name]:
        assert order_of(list(steps), errors).slope == pytest.approx(1.0, abs=0.2)
        assert errors[-1] < 0.02
    else:
        assert errors[-1] > 0.05
        assert errors[-1] > 0.6 * errors[-2]


@pytest.mark.parametrize("by", ["dpmpp_2m", "unipc_2", "heun"])
def test_the_exact_score_converges_at_the_order_of_the_solver(by):
    """From the exact conditional law at the first node: nothing but discretisation is left."""
    steps, errors = (20, 40, 80, 160), []
    for n in steps:
        nodes = grid.uniform_lam(VP(), n, end=0.02)
        model = OBLIQUE.model.given(OBLIQUE.operator, OBLIQUE.y)

        def unit(c, x, nodes, draws, model=model):
            from scorebed.solvers import sample

            return sample(SOLVERS[by], model, x, nodes, terminal="none")

        found = affine_law(unit, OBLIQUE, nodes, 2)
        first, last = POSTERIOR.marginal(nodes[0]), POSTERIOR.marginal(nodes[-1])
        mean = found.offset + found.start @ first.mean()
        covariance = found.start @ first.covariance() @ found.start.T
        errors.append(np.linalg.norm(mean - last.mean()) + np.linalg.norm(covariance - last.covariance()))
    assert SOLVERS[by].order - 0.15 < order_of(list(steps), errors).slope < SOLVERS[by].order + 0.35


def test_pigdm_is_exact_on_an_isotropic_gaussian_of_its_variance():
    law = GaussianMixture([1.0], [[0.3, -0.2]], 0.49)
    op, y, x = Linear([[1.0, 0.4]], 0.05), np.array([1.2]), np.random.default_rng(0).normal(size=(6, 2))
    c = Conditioned(ExactModel(law), op, y)
    draws, exact = Sequential(0, (6, 2)), law.given(op.matrix, y, op.variance)
    for node in NODES:
        right = METHODS["pigdm"].make(c, draws, std=0.7)(x, node)
        assert right == pytest.approx(exact.denoised(x, node), rel=1e-10)
        assert np.abs(METHODS["pigdm"].make(c, draws, std=1.0)(x, node) - right).max() > 1e-6
        assert METHODS["tmpd"].make(c, draws)(x, node) == pytest.approx(right, rel=1e-10)


MIXTURE = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, -0.5]], [0.1, 0.15])
BOTH = Conditioned(ExactModel(MIXTURE), Linear([[1.0, 0.4]], 0.05), np.array([0.2]))


@pytest.mark.parametrize("name", METHODS)
def test_one_y_for_all_and_one_for_each_are_the_same_run_and_a_batch_may_be_split(name):
    nodes = grid.uniform_lam(VP(), 6, end=0.01)
    x = nodes[0].sigma * np.random.default_rng(1).normal(size=(5, 2))
    whole = posterior(name, BOTH, x, nodes, 3)
    assert whole.shape == x.shape
    assert np.isfinite(whole).all()
    each = posterior(name, replace(BOTH, y=np.tile(BOTH.y, (5, 1))), x, nodes, 3)
    assert each == pytest.approx(whole, rel=1e-8, abs=1e-9)
    part = posterior(name, BOTH, x[3:], nodes, Sequential(3, (2, 2), index=[3, 4]))
    assert part == pytest.approx(whole[3:], rel=1e-9, abs=1e-10)
    assert np.array_equal(posterior(name, BOTH, x, nodes, 3), whole)


@pytest.mark.parametrize("name", METHODS)
def test_every_option_changes_something(name):
    nodes = grid.uniform_lam(VP(), 8, end=0.01)
    x = nodes[0].sigma * np.random.default_rng(1).normal(size=(4, 2))
    whole = posterior(name, BOTH, x, nodes, 3)
    other = {"solver": "dpmpp_2m", "covariance": "rowsum", "optimiser": "sgd", "std": 0.5, "langevin": 5, "iterations": 0}
    for option, value in METHODS[name].options.items():
        if (name, option) == ("ddnm_plus", "length"):
            continue  # what it does, it does together with travel
        if (name, option) == ("daps", "rate"):
            continue  # of the Langevin steps
        new = other[option] if option in other else value * 2 if isinstance(value, int) else value * 0.5
        if option == "covariance":
            c = replace(BOTH, operator=Linear([[1.0, 0.4], [0.3, 1.0]], 0.05), y=np.array([0.2, 0.1]))
            assert not np.array_equal(posterior(METHODS[name](**{option: new}), c, x, nodes, 3), posterior(name, c, x, nodes, 3))
        else:
            assert not np.array_equal(posterior(METHODS[name](**{option: new}), BOTH, x, nodes, 3), whole), option


def test_the_descent_of_dps_and_mcg_is_the_gradient_of_the_norm():
    from scorebed.solvers.methods.posterior.replacement import descend

    x, s, h = np.array([[0.4, -0.1]]), NODES[4], 1e-6

    def norm(x):
        return float(np.linalg.norm(BOTH.residual(BOTH.denoised(x, s))))

    slope = [(norm(x + h * e) ** 2 - norm(x - h * e) ** 2) / (2 * h) for e in np.eye(2)]
    moved = descend(BOTH, x, BOTH.denoised(x, s), 0.0 * x, s, 0.7)
    assert moved[0] == pytest.approx([-0.7 * v / norm(x) for v in slope], rel=1e-6)


@pytest.mark.parametrize("name", ["tds", "fps"])
def test_particles_lower_the_bias_of_their_proposals(name):
    nodes = grid.uniform_lam(VP(), 40, end=0.01)
    x = nodes[0].sigma * np.random.default_rng(1).normal(size=(400, 2))
    exact = MIXTURE.given(BOTH.operator.matrix, BOTH.y, BOTH.operator.variance)
    heavy = exact.weights @ (exact.means[:, 0] > 0)
    few, many = (posterior(METHODS[name](particles=p), BOTH, x, nodes, 3) for p in (1, 16))
    off = [abs((z[:, 0] > 0.3).mean() - heavy) for z in (few, many)]
    assert off[1] < off[0] + 0.02
    assert np.linalg.norm(many.mean(0) - exact.mean()) < np.linalg.norm(few.mean(0) - exact.mean()) + 0.03
    if name == "tds":
        assert np.linalg.norm(many.mean(0) - exact.mean()) < 0.12


def test_regression_is_conditioning_one_by_one():
    rng = np.random.default_rng(0)
    for law in (MIXTURE, GaussianMixture([0.4, 0.6], MIXTURE.means, [[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.5]]])):
        a, r = rng.normal(size=(3, 2)), np.diag([0.1, 0.2, 0.3])
        found, y = Regression(law, a, r), rng.normal(size=(4, 3))
        mean, evidence = found.mean(y), found.evidence(y)
        for i in range(4):
            one = law.given(a, y[i], r)
            assert mean[i] == pytest.approx(one.mean(), rel=1e-10)
            assert evidence[i] == pytest.approx(law.evidence(a, y[i], r), rel=1e-10)
        z = found.sample(np.tile(y[:1], (20_000, 1)), 0)
        one = law.given(a, y[0], r)
        assert z.mean(0) == pytest.approx(one.mean(), abs=0.02)
        assert np.cov(z.T) == pytest.approx(one.covariance(), abs=0.02)


def test_operators_solve_draw_and_invert():
    rng = np.random.default_rng(0)
    op = Linear(rng.normal(size=(3, 5)), 0.2)
    x, y, e, w = rng.normal(size=(2, 5)), rng.normal(size=3), rng.normal(size=(2, 3)), 0.7
    matrix = w * op.matrix @ op.matrix.T + 0.2 * np.eye(3)
    assert op.solve(e, w) == pytest.approx(np.linalg.solve(matrix, e.T).T)
    assert op.pinv(e) == pytest.approx(e @ np.linalg.pinv(op.matrix).T)
    precision = op.matrix.T @ op.matrix / 0.2 + np.eye(5) / w
    assert op.prox(x, y, w) == pytest.approx(np.linalg.solve(precision, (op.matrix.T @ y / 0.2 + x / w).T).T)
    columns = op.draw(0 * x[:1], 0 * y, w, np.eye(5)) - op.draw(0 * x[:1], 0 * y, w, np.zeros((5, 5)))
    assert columns.T @ columns == pytest.approx(np.linalg.inv(precision))
    check_adjoint(op, 5)


class Wrong(Linear):
    def adjoint(self, r):
        return 1.01 * super().adjoint(r)


def test_bad_operators_and_observations_are_refused():
    with pytest.raises(ValueError, match="operator's adjoint is wrong"):
        check_adjoint(Wrong(np.eye(2), 0.1), 2)
    for arguments, words in [
        ((np.ones(2), 0.1), "give A as"),
        (([[math.nan]], 0.1), "nan or inf"),
        (([[1.0]], 0.0), "must be positive"),
        (([[0.0]], 0.1), "nothing is observed"),
    ]:
        with pytest.raises(ValueError, match=words):
            Linear(*arguments)
    model, op = ExactModel(MIXTURE), Linear([[1.0, 0.4]], 0.05)
    with pytest.raises(ValueError, match=r"y has shape \(2,\), but the operator gives 1"):
        Conditioned(model, op, np.zeros(2))
    with pytest.raises(ValueError, match="y holds nan"):
        Conditioned(model, op, np.array([math.nan]))
    with pytest.raises(TypeError, match="is not an operator"):
        Conditioned(model, np.eye(2), np.zeros(2))
    with pytest.raises(TypeError, match="model = 3 is not callable"):
        Conditioned(3, op, np.zeros(1))
    with pytest.raises(ValueError, match="model predicts 'score'"):
        Conditioned(MIXTURE.score, op, np.zeros(1))
    x = np.zeros((1, 2))
    with pytest.raises(TypeError, match="needs the model's vector-Jacobian product"):
        posterior("dps", Conditioned(MIXTURE.denoised, op, np.zeros(1)), x, NODES)
    with pytest.raises(TypeError, match="exact needs a model"):
        posterior("exact", Conditioned(MIXTURE.denoised, op, np.zeros(1)), x, NODES)
    with pytest.raises(ValueError, match="method = 'nothing' is not known"):
        posterior("nothing", BOTH, x, NODES)
    with pytest.raises(TypeError, match="has no option"):
        METHODS["dps"](nothing=1)


def test_a_nonlinear_operator_is_refused_where_a_linear_one_is_needed():
    class Square:
        m, variance = 2, 0.1

        def __call__(self, x):
            return x * x

        def vjp(self, x, r):
            return 2.0 * x * r

    check_adjoint(Square(), 2)
    c = Conditioned(ExactModel(MIXTURE), Square(), np.array([0.5, 0.2]))
    x = NODES[0].sigma * np.random.default_rng(0).normal(size=(4, 2))
    for name, one in METHODS.items():
        if one.linear:
            with pytest.raises(ValueError, match="needs a linear operator"):
                posterior(name, c, x, NODES)
        elif name != "dps":
            assert np.isfinite(posterior(name, c, x, NODES)).all()
    Square.vjp = lambda self, x, r: x * r
    with pytest.raises(ValueError, match="adjoint is wrong"):
        check_adjoint(Square(), 2)


def test_names_are_taken_once_and_an_experiment_may_stay_outside():
    with pytest.raises(ValueError, match="registered already"):

        @guide(reference="")
        def dps(c, noise):
            return c.model

    @sampler(reference="", register=False)
    def mine(c, x, nodes, noise):
        return c.denoised(x, nodes[0])

    assert "mine" not in METHODS
    assert posterior(mine, BOTH, np.ones((1, 2)), NODES).shape == (1, 2)


def test_a_law_that_is_not_affine_is_said_to_be_none():
    with pytest.raises(NotAffine):
        affine_law("exact", BOTH, NODES, 2)
    with pytest.raises(NotAffine):
        affine_law("mcg", OBLIQUE, NODES, 2)
