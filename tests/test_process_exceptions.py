"""The exceptions of linear processes, each by its own truth: Student's kernel, nonlinear forward maps, particles and their mean field."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp
from scipy.linalg import solve_continuous_lyapunov
from scipy.stats import multivariate_t

from scorebed.analytic import GaussianMixture
from scorebed.analytic.process import Encoded, MeanField, MonotonePath, Populations, StudentMixture
from scorebed.solvers import EDM, SOLVERS, VP, RectifiedFlow, grid, sample
from scorebed.solvers.process.particles import Particles
from scorebed.toy.measure.convergence import order_of
from scorebed.toy.measure.runs import order_on
from scorebed.toy.problems.euclidean import EuclideanProblem
from scorebed.toy.problems.lines import modes
from scorebed.toy.problems.uneven import jagged

CHARGES, WEIGHTS = np.array([[-1.2], [-0.4], [0.1], [0.9], [1.5]]), np.array([0.3, 0.1, 0.2, 0.25, 0.15])
PLANE = StudentMixture([0.6, 0.4], [[0.5, -1.0], [-0.7, 0.2]], 3.0)
X = np.linspace(-2.5, 2.5, 11)[:, None]


def electric(degrees: float = 4.0) -> StudentMixture:
    return StudentMixture(WEIGHTS, CHARGES, degrees)


# Student's kernel


def test_the_kernel_is_students_and_score_and_model_are_of_its_density() -> None:
    node = EDM().node(0.7)
    x = np.array([[0.1, 0.4], [2.0, -1.0]])
    kernels = [multivariate_t(y, 0.49 * np.eye(2), df=3.0).pdf(x) for y in PLANE.points]
    np.testing.assert_allclose(np.exp(PLANE.log_prob(x, node)), 0.6 * kernels[0] + 0.4 * kernels[1], rtol=1e-12)
    shares = np.stack([0.6 * kernels[0], 0.4 * kernels[1]], -1)
    shares /= shares.sum(-1, keepdims=True)
    np.testing.assert_allclose(PLANE.posterior(x, node), shares, rtol=1e-12)
    np.testing.assert_allclose(PLANE.denoised(x, node), shares @ PLANE.points, rtol=1e-12)
    for i in range(2):
        h = 1e-5 * np.eye(2)[i]
        slope = (PLANE.log_prob(x + h, node) - PLANE.log_prob(x - h, node)) / 2e-5
        np.testing.assert_allclose(PLANE.score(x, node)[:, i], slope, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("process", [EDM(), VP()], ids=["EDM", "VP"])
def test_the_flow_is_that_of_its_denoiser(process: Any) -> None:
    """dx = α' D + σ' (x − α D)/σ: between two nodes by integration in ρ, where x/α moves by (x − α D)/σ."""
    law, s, t = electric(), process.node(0.8), process.node(0.1)

    def slope(rho: float, y: np.ndarray) -> np.ndarray:
        node = process.at_lam(-math.log(rho))
        x = (node.alpha * y)[:, None]
        return np.asarray(((x - node.alpha * law.denoised(x, node)) / node.sigma)[:, 0])

    done = solve_ivp(slope, (s.rho, t.rho), X[:, 0] / s.alpha, method="DOP853", rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(law.flow(X, s, t)[:, 0], t.alpha * done.y[:, -1], rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(law.cdf(law.flow(X, s, t)[:, 0], t), law.cdf(X[:, 0], s), rtol=1e-9)
    np.testing.assert_allclose(law.flow(law.flow(X, s, t), t, s), X, rtol=1e-9, atol=1e-12)


def test_the_electric_field_has_its_lines_and_no_divergence() -> None:
    """dx/dr = E_x/E_r is (x − D)/r, and ∂_x E_x + r^{1−D} ∂_r (r^{D−1} E_r) = 0; with the exponent of one dimension more it is not."""
    for law, x in ((electric(), X), (PLANE, np.array([[0.3, 0.8], [-2.0, 0.1]]))):
        r = 0.9
        across, out = law.field(x, r)
        node = EDM().at_lam(-math.log(r / math.sqrt(law.degrees)))
        np.testing.assert_allclose(across / out[:, None], (x - law.denoised(x, node)) / r, rtol=1e-10)

    def divergence(law: StudentMixture, degrees: float) -> float:
        h, r, x = 1e-4, 0.7, X
        along = (law.field(x + h, r)[0] - law.field(x - h, r)[0])[:, 0] / (2 * h)
        up, down = ((r + sign * h) ** (degrees - 1) * law.field(x, r + sign * h)[1] for sign in (1, -1))
        return float(np.abs(along + (up - down) / (2 * h) * r ** (1 - degrees)).max() / np.abs(along).max())

    assert divergence(electric(3.0), 3.0) < 1e-6
    assert divergence(electric(3.0), 4.0) > 1e-2


def test_it_tends_to_the_gaussian_kernel_as_one_over_the_degrees() -> None:
    plain, node, counts = GaussianMixture(WEIGHTS, CHARGES, 0.0), EDM().at_lam(-math.log(0.6)), (32, 128, 512, 2048)
    errors = [float(np.abs(electric(d).denoised(X, node) - plain.denoised(X, node)).max()) for d in counts]
    assert order_of(counts, errors).slope == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["ddim", "heun", "dpmpp_2m", "dpm_solver_3", "unipc_3", "rk4_t"])
def test_methods_for_the_flow_keep_their_orders_on_it(name: str) -> None:
    problem = EuclideanProblem(name="electric", make=electric, process=EDM(), grid=jagged, start=3.0, end=0.3)
    result = order_on(problem, SOLVERS[name], steps=(32, 64, 128), finer=(256, 512))
    assert result.inside(SOLVERS[name].order), str(result)


def test_draws_have_its_law() -> None:
    node = EDM().node(0.5)
    x = electric().sample(20_000, 0, node)[:, 0]
    ranks = electric().cdf(np.sort(x), node)
    assert np.abs(ranks - (np.arange(20_000) + 0.5) / 20_000).max() < 1.6 / math.sqrt(20_000)
    assert set(electric().sample(50, 1)[:, 0]) <= set(CHARGES[:, 0])


# nonlinear forward maps


def test_a_law_is_sampled_through_its_code() -> None:
    """x = F^{-1}(z): with a Gaussian code one Euler step in λ of a linear denoiser carries every rank where it belongs."""
    law = Encoded(modes(), GaussianMixture([1.0], [[0.3]], 0.6))
    x = np.asarray(modes().quantile(np.array([1e-9, 0.1, 0.35, 0.7, 1.0 - 1e-9])))[:, None]
    np.testing.assert_allclose(law.decode(law.encode(x)), x, rtol=1e-9)
    np.testing.assert_allclose(law.code.cdf(law.encode(x)), modes().cdf(x), rtol=1e-9)
    s, t = VP().node(0.9), VP().node(1e-3)
    z = law.code.sample(7, 0, s)
    np.testing.assert_allclose(law.flow(z, s, t), law.code.flow(z, s, t))
    node, at = VP().node(0.4), np.array([[0.2], [-1.1]])
    for found, y in zip(law.clean(at, node)[:, 0], at[:, 0], strict=True):

        def weight(u: float, y: float = y) -> float:
            return math.exp(-0.5 * (u - 0.3) ** 2 / 0.6 - 0.5 * ((y - node.alpha * u) / node.sigma) ** 2)

        top = quad(lambda u: weight(u) * float(law.decode(np.array([[u]]))[0, 0]), -6.0, 6.0, epsabs=1e-10, limit=400)[0]
        assert found == pytest.approx(top / quad(weight, -6.0, 6.0)[0], abs=1e-6)


@pytest.mark.parametrize("process", [RectifiedFlow(1e-3, 0.999), VP()], ids=["rectified flow", "VP"])
def test_one_step_along_monotone_paths_is_exact(process: Any) -> None:
    law = MonotonePath(modes(), GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [0.3, 0.6]))
    s, t = process.node(0.9), process.node(0.05)
    z = law.quantile(np.array([1e-6, 0.02, 0.3, 0.62, 0.99]), s)[:, None]
    x0, noise = law.ends(z, s)
    np.testing.assert_allclose(s.alpha * x0 + s.sigma * noise, z, rtol=1e-12)
    np.testing.assert_allclose(law.data.cdf(x0), law.noise.cdf(noise), rtol=1e-9)
    end = sample(SOLVERS["ddim"], law.denoised, z, [s, t], terminal="none")
    np.testing.assert_allclose(end, law.flow(z, s, t), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(end[:, 0], law.quantile(np.array([1e-6, 0.02, 0.3, 0.62, 0.99]), t), rtol=1e-8)
    plain = sample(SOLVERS["ddim"], modes().denoised, z, [s, t], terminal="none")
    assert np.abs(plain - end).max() > 0.1, "the flow of independent pairs bends"


# particles and their mean field


def test_particles_obey_their_equation_and_come_to_rest() -> None:
    """dΣ/dt = F Σ + Σ Fᵀ + g², with F = −(a + b) + b J, and Lyapunov's equation in the end; not with the interaction left out."""
    process = Particles(5, 0.8, 1.3, 0.7, t_max=30.0)
    force = -2.1 * np.eye(5) + 1.3 / 5
    for broken, holds in ((force, True), (-0.8 * np.eye(5), False)):
        h, t = 1e-5, 0.6
        (up, spread_up), (down, spread_down), (here, spread) = (
            tuple(np.array(m) for m in process.forward(process.node(u))) for u in (t + h, t - h, t)
        )
        slope = (spread_up - spread_down) / (2 * h) - (broken @ spread + spread @ broken.T + 0.49 * np.eye(5))
        assert bool(np.abs(slope).max() < 1e-8) is holds
        assert bool(np.abs((up - down) / (2 * h) - broken @ here).max() < 1e-8) is holds
    np.testing.assert_allclose(process.forward(process.node(30.0))[1], solve_continuous_lyapunov(force, -0.49 * np.eye(5)), atol=1e-12)


def test_pairs_of_particles_tend_to_the_mean_field_as_one_over_their_number() -> None:
    """For a ≠ 0 and ever: W2 ~ 1/N, KL ~ 1/N²; without interaction there is nothing to tend to."""
    counts = (16, 64, 256)
    for t in (0.3, 2.0):
        found = [MeanField(p, 0.4, 0.3).chaos(2, p.node(t)) for p in (Particles(n, 0.8, 1.3) for n in counts)]
        assert order_of(counts, [c.w2 for c in found]).slope == pytest.approx(1.0, abs=0.05)
        assert order_of(counts, [c.kl for c in found]).slope == pytest.approx(2.0, abs=0.1)
    alone = Particles(16, 0.8, 0.0)
    assert MeanField(alone, 0.4, 0.3).chaos(3, alone.node(0.5)) == (pytest.approx(0.0, abs=1e-7), pytest.approx(0.0, abs=1e-14))


def test_the_limit_is_the_mckean_vlasov_equation() -> None:
    process = Particles(3, 0.8, 1.3, 0.7)

    def rates(t: float, y: np.ndarray) -> list[float]:
        return [-0.8 * y[0], -2.0 * 2.1 * y[1] + 0.49]

    mean, spread = solve_ivp(rates, (0.0, 0.9), [0.4, 0.3], rtol=1e-11, atol=1e-13).y[:, -1]
    limit = MeanField(process, 0.4, 0.3).limit(process.node(0.9))
    assert (float(limit.mean()[0]), float(limit.covariance()[0, 0])) == (pytest.approx(mean), pytest.approx(spread))


@pytest.mark.parametrize("mean", [1.6, None])
def test_populations_are_carried_by_what_is_known_of_them(mean: float | None) -> None:
    law, x = Populations(0.9, 0.6, 0.7, 1.1), np.array([-0.8, 0.3, 2.0])
    done = solve_ivp(lambda t, y: law.velocity(y, t, mean), (0.0, 1.2), x, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(law.carried(x, 1.2, mean), done.y[:, -1], rtol=1e-8)


# refusals


def test_what_has_no_closed_truth_is_refused() -> None:
    line = modes()
    for refused, message in (
        (lambda: StudentMixture([1.0], [[0.0]], 0.0), "degrees = 0.0 must be positive"),
        (lambda: StudentMixture([1.0, -1.0], [[0.0], [1.0]], 2.0), "must be positive numbers, one for each of 2 points"),
        (lambda: PLANE.flow(np.zeros((1, 2)), EDM().node(0.5), EDM().node(0.2)), "its flow is closed on the line"),
        (lambda: electric().field(X, 0.0), "r = 0.0 must be positive"),
        (lambda: Encoded(line, GaussianMixture([1.0], [[0.0, 0.0]], 1.0)), "a law of 2 dimensions"),
        (lambda: Particles(0), "count = 0 must be an integer of at least 1"),
        (lambda: Particles(3, 1.0, -1.0), "interaction = -1.0 must be finite and above −rate"),
        (lambda: MeanField(Particles(3)).few(4, Particles(3).node(1.0)), "k = 4: give 1 to 3"),
        (lambda: MeanField(Particles(3), 0.0, -1.0), "variance = -1.0 must be finite, the variance at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            refused()


def test_grids_and_methods_of_sequences_run_on_particles() -> None:
    process = Particles(3)
    law = MeanField(process, 0.4, 0.3).all()
    nodes = grid.uniform_lam(process, 400, 2.0, 0.01)
    x = law.sample(4, 0, nodes[0])
    y = sample(SOLVERS["exp_adams_2"], law.denoised, x, nodes, terminal="none")
    assert all(np.isfinite(part).all() for part in y)
