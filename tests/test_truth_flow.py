"""Probability-flow maps: against a tight integration of the flow's ODE, and their laws: semigroup, inverse, transport of probability."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from scorebed.analytic import GaussianMixture, LowRank, RotatedProduct
from scorebed.solvers.schedule import EDM, VE, VP, Cosine, RectifiedFlow, SubVP

SCHEDULES = {
    "VP": (VP().node(0.02), VP().node(0.9)),
    "SubVP": (SubVP().node(0.1), SubVP().node(0.8)),
    "Cosine": (Cosine().node(0.05), Cosine().node(0.95)),
    "EDM": (EDM().node(0.05), EDM().node(20.0)),
    "VE": (VE().node(0.2), VE().node(0.9)),
    "RectifiedFlow": (RectifiedFlow().node(0.05), RectifiedFlow().node(0.95)),
}


def orthogonal(rng, d):
    return np.linalg.qr(rng.normal(size=(d, d)))[0]


def laws():
    rng = np.random.default_rng(11)
    a = rng.normal(size=(1, 3, 3))
    mu = rng.normal(size=(1, 3))
    line = GaussianMixture([0.3, 0.2, 0.5], [[-1.5], [0.2], [2.0]], [0.3, 0.05, 0.2])
    return {
        "isotropic": GaussianMixture([1.0], mu, 0.3),
        "diagonal": GaussianMixture([1.0], mu, rng.random((1, 3))),
        "low rank": GaussianMixture([1.0], mu, LowRank(rng.normal(size=(1, 3, 1)), rng.random((1, 3)))),
        "full": GaussianMixture([1.0], mu, a @ a.swapaxes(1, 2)),
        "line": line,
        "product": RotatedProduct(orthogonal(rng, 3), [line, GaussianMixture([0.6, 0.4], [[-1.0], [1.0]], 0.1), line]),
    }


LAWS = laws()


def integrate(law, x, s, t):
    """dz/dlog(rho) = z - D with z = x/alpha, by DOP853 at the tightest tolerance it has."""

    def slope(log_rho, z):
        node = EDM().node(float(np.exp(log_rho)))  # the flow of x/alpha is that of alpha = 1, sigma = rho
        z = z.reshape(x.shape)
        return (node.sigma * law.eps(z, node)).reshape(-1)

    done = solve_ivp(slope, (np.log(s.rho), np.log(t.rho)), (x / s.alpha).reshape(-1), method="DOP853", rtol=2.3e-14, atol=1e-15)
    assert done.success
    return t.alpha * done.y[:, -1].reshape(x.shape)


def size(x, t):
    return np.maximum(np.abs(x).max(), np.hypot(t.alpha, t.sigma))


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("law", LAWS)
def test_flow_solves_the_ode(law, schedule):
    law, (clean, noisy) = LAWS[law], SCHEDULES[schedule]
    x = law.sample(3, 1, noisy)
    found, exact = law.flow(x, noisy, clean), integrate(law, x, noisy, clean)
    assert np.abs(found - exact).max() < 1e-12 * size(exact, clean)
    x = law.sample(3, 2, clean)
    found, exact = law.flow(x, clean, noisy), integrate(law, x, clean, noisy)
    assert np.abs(found - exact).max() < 1e-12 * size(exact, noisy)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("law", LAWS)
def test_flow_is_a_semigroup_with_inverse(law, schedule):
    law, (clean, noisy) = LAWS[law], SCHEDULES[schedule]
    middle = clean.toward(noisy, 0.4)
    x = law.sample(50, 3, noisy)
    direct = law.flow(x, noisy, clean)
    assert np.abs(law.flow(law.flow(x, noisy, middle), middle, clean) - direct).max() < 1e-12 * size(direct, clean)
    assert np.abs(law.flow(direct, clean, noisy) - x).max() < 1e-11 * size(x, noisy)
    assert np.array_equal(law.flow(x, noisy, noisy), x)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_flow_carries_probability(schedule):
    law, (clean, noisy) = LAWS["line"], SCHEDULES[schedule]
    before, after = law.marginal(noisy), law.marginal(clean)
    x = np.concatenate([before.quantile(np.linspace(1e-6, 0.999, 300)), [-50.0 * noisy.sigma, 50.0 * noisy.sigma]])
    y = law.flow(x[:, None], noisy, clean)[:, 0]
    assert np.all(np.diff(y[:-2]) > 0.0)
    np.testing.assert_allclose(after.log_cdf(y), before.log_cdf(x), rtol=2e-11)
    np.testing.assert_allclose(after.log_sf(y), before.log_sf(x), rtol=2e-11)


@pytest.mark.parametrize("x", [-1000.0, -40.0, -9.9, -9.0, -6.0, 0.3, 5.5, 7.1, 30.0, 1000.0])
def test_flow_is_exact_in_tails_and_between_modes(x):
    """Against F_t(y) = F_s(x) solved with 500 digits: between the modes F_s is flat to 1e-200 and in the tails 1 - F_s is 1e-100000."""
    law = GaussianMixture([0.3, 0.2, 0.5], [[-10.0], [0.25], [7.0]], [0.25, 2.0**-12, 1.0])
    clean, noisy = EDM().node(2.0**-8), EDM().node(40.0)
    y = law.flow(np.array([x]), clean, noisy)[0]
    with mp.workdps(500):

        def line(node):
            return [
                (mp.mpf(w), mp.mpf(m), mp.sqrt(mp.mpf(v) + mp.mpf(node.sigma) ** 2))
                for w, m, v in zip(law.weights.tolist(), law.means[:, 0].tolist(), law.covariances.tolist(), strict=True)
            ]

        def tail(parts, at, sign):
            return mp.fsum(w * mp.ncdf(sign * (at - m) / s) for w, m, s in parts)

        sign = 1 if x < 0.0 else -1  # the shorter tail
        goal = mp.log(tail(line(clean), mp.mpf(x), sign))
        at = mp.mpf(float(y))
        for _ in range(3):  # Newton from the answer: the step is its error
            now = tail(line(noisy), at, sign)
            slope = sign * mp.fsum(w * mp.npdf(at, m, s) for w, m, s in line(noisy))
            at -= (mp.log(now) - goal) * now / slope
        assert abs((at - mp.mpf(float(y))) / at) < 1e-13


@given(
    st.lists(st.tuples(st.floats(0.05, 1.0), st.floats(-5.0, 5.0), st.floats(1e-3, 4.0)), min_size=2, max_size=5),
    st.floats(1e-3, 0.999),
    st.floats(1e-3, 0.999),
    st.lists(st.floats(-30.0, 30.0), min_size=1, max_size=5),
)
def test_flow_keeps_order_and_probability(components, s, t, points):
    weights, means, variances = map(np.array, zip(*components, strict=True))
    law = GaussianMixture(weights / weights.sum(), means[:, None], variances)
    s, t = RectifiedFlow().node(s), RectifiedFlow().node(t)
    x = np.unique(points)
    y = law.flow(x[:, None], s, t)[:, 0]
    assert np.all(np.diff(y) >= -1e-13 * np.abs(y).max())
    before, after = law.marginal(s), law.marginal(t)
    tail = np.minimum(before.log_cdf(x), before.log_sf(x))
    gap = np.where(before.cdf(x) < 0.5, after.log_cdf(y) - before.log_cdf(x), after.log_sf(y) - before.log_sf(x))
    # what an ulp of x, of y and of the parameters is worth in log F is at most about (1 + |log F|)(1 + |x|/s)
    assert np.abs(gap).max() <= 1e-13 * (1.0 - tail.min()) * 100.0


def test_flow_to_and_from_noise_alone():
    law, end = LAWS["line"], RectifiedFlow().node(1.0)
    start = RectifiedFlow().node(0.1)
    x = law.sample(20, 4, start)
    z = law.flow(x, start, end)
    assert np.abs(law.flow(z, end, start) - x).max() < 1e-11


def test_flow_keeps_dtype_and_shape():
    for law in LAWS.values():
        x = law.sample(12, 5, EDM().node(1.0)).reshape(3, 4, -1)
        assert law.flow(x.astype(np.float32), EDM().node(1.0), EDM().node(0.1)).dtype == np.float32
        assert law.flow(x, EDM().node(1.0), EDM().node(0.1)).shape == x.shape


def test_flow_refuses_what_has_no_closed_form():
    s, t = EDM().node(1.0), EDM().node(0.1)
    with pytest.raises(ValueError, match="no closed form"):
        GaussianMixture([0.5, 0.5], np.zeros((2, 2)), 1.0).flow(np.zeros(2), s, t)
    with pytest.raises(ValueError, match="singular"):
        GaussianMixture([1.0], np.zeros((1, 2)), 0.0).flow(np.zeros(2), EDM().node(0.0), t)
    with pytest.raises(ValueError, match="point mass"):
        GaussianMixture([0.5, 0.5], [[0.0], [1.0]], 0.0).flow(np.zeros(1), EDM().node(0.0), t)


def test_flow_ends_in_the_points_of_a_data_set():
    law = GaussianMixture([0.25, 0.75], [[-1.0], [2.0]], 0.0)
    x = law.sample(200, 6, EDM().node(3.0))
    y = law.flow(x, EDM().node(3.0), EDM().node(0.0))
    assert np.all(np.abs(y[..., None] - [-1.0, 2.0]).min(-1) < 1e-12)
    assert np.array_equal(y[:, 0] > 0.0, law.marginal(EDM().node(3.0)).cdf(x[:, 0]) > 0.25)
