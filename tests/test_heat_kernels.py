"""Heat kernels: mass one, heat equation, semigroup, clock, hand-overs, 50-digit arithmetic; each law bites on a broken copy."""

from __future__ import annotations

import math
from functools import cache

import mpmath as mp
import numpy as np
import pytest
from scipy.special import eval_legendre

from scorebed.analytic.heat import hyperbolic, rotation, sphere, sphere3, wrapped
from scorebed.analytic.heat.hyperbolic import log_sinhc
from scorebed.analytic.heat.radial import radial_of
from scorebed.solvers.space import SO3, Box, Hyperbolic, Sphere, Torus

PI = math.pi
SPACES = {f"S{d}": ("Sphere", d) for d in (1, 2, 3, 4, 5)} | {"SO3": ("SO3", 3)} | {f"H{d}": ("Hyperbolic", d) for d in (1, 2, 3, 4, 5, 7)}
COMPACT = [name for name in SPACES if name[0] == "S"]


def kernel(name):
    """(r, t) -> (log K, slope)."""
    family, d = SPACES[name]
    return {
        "Sphere": lambda r, t: sphere.kernel(r, t, d),
        "SO3": rotation.kernel,
        "Hyperbolic": lambda r, t: hyperbolic.kernel(r, t, d),
    }[family]


def log_area(name, r):
    """log of the volume of the geodesic sphere of radius r, and its derivative."""
    family, d = SPACES[name]
    base = math.log(2.0) if d == 1 else sphere.log_area(d - 1)
    if family == "SO3":
        return math.log(16 * PI) + 2 * np.log(np.sin(r / 2)), 1 / np.tan(r / 2)
    if family == "Sphere":
        return base + (d - 1) * np.log(np.sin(r)), (d - 1) / np.tan(r)
    return base + (d - 1) * (log_sinhc(r) + np.log(r)), (d - 1) / np.tanh(r)


def gap(name):
    """The first rate of the radial modes with the clock of ½Δ; on H^d the bottom of the spectrum."""
    family, d = SPACES[name]
    return {"Sphere": d / 2, "SO3": 1.0, "Hyperbolic": (d - 1) ** 2 / 8}[family]


def gauss(a, b, panels, order=24):
    u, w = np.polynomial.legendre.leggauss(order)
    edges = np.linspace(a, b, panels + 1)
    half = 0.5 * np.diff(edges)[:, None]
    return (edges[:-1, None] + half * (1 + u)).reshape(-1), (half * w).reshape(-1)


def end_of(name, t):
    family, d = SPACES[name]
    return PI if family != "Hyperbolic" else 10 * math.sqrt(t) + (d - 1) * t


def mass_error(name, log_kernel, t):
    r, w = gauss(0.0, end_of(name, t), 60)
    return abs((np.exp(log_kernel(r, t)[0] + log_area(name, r)[0]) * w).sum() - 1)


_STENCIL = np.array([1 / 280, -4 / 105, 1 / 5, -4 / 5, 0, 4 / 5, -1 / 5, 4 / 105, -1 / 280])


def equation_error(name, log_kernel, t):
    """(log K)_t = ½ ((log K)_rr + (log K)_r² + (A'/A) (log K)_r), by differences of eighth order, relative to the terms."""
    r = np.linspace(0.15, 3.0 if SPACES[name][0] != "Hyperbolic" else 4.0, 23)
    shift = np.arange(-4, 5)
    h, k = 0.012 * min(1.0, t), 0.01 * t
    rate = sum(c * log_kernel(r, t + j * k)[0] for c, j in zip(_STENCIL, shift, strict=True)) / k
    slope = log_kernel(r, t)[1]
    bend = sum(c * log_kernel(r + j * h, t)[1] for c, j in zip(_STENCIL, shift, strict=True)) / h
    terms = 0.5 * bend, 0.5 * slope**2, 0.5 * log_area(name, r)[1] * slope
    return (np.abs(rate - sum(terms)) / (np.abs(rate) + sum(map(np.abs, terms)))).max()


def semigroup_error(name, log_kernel, s, t):
    """∫ K_s(x, z) K_t(z, y) dz against K_{s+t}(x, y), for y at several distances from x."""
    family, d = SPACES[name]
    if family == "SO3":  # on the quaternions: volume 8, each rotation twice, half angles
        d = 3
    r, wr = gauss(0.0, PI, 2, 28) if family != "Hyperbolic" else gauss(0.0, end_of(name, s + t), 5)
    phi, wp = gauss(0.0, PI, 1, 36) if family != "Hyperbolic" else gauss(0.0, PI, 5)
    ring = (2.0 if d == 2 else math.exp(sphere.log_area(d - 2))) * np.sin(phi) ** (d - 2) * wp
    worst = 0.0
    for apart in (0.4, 2.5):
        # sin² (half angle) and its hyperbolic relative, free of cancellation
        half = np.square(np.sin(0.5 * phi))[None, :]
        if family == "Hyperbolic":
            area = np.sinh(r) ** (d - 1)
            q = np.square(np.sinh(0.5 * (r - apart)))[:, None] + np.sinh(r)[:, None] * np.sinh(apart) * half
            other, fold, unit = 2 * np.arcsinh(np.sqrt(q)), lambda a: a, 1.0
        else:
            area = np.sin(r) ** (d - 1)
            q = np.square(np.sin(0.5 * (r - apart)))[:, None] + np.sin(r)[:, None] * np.sin(apart) * half
            other, fold, unit = 2 * np.arcsin(np.sqrt(np.clip(q, 0, 1))), lambda a: a, 1.0
        if family == "SO3":
            fold, unit = (lambda a: 2 * np.minimum(a, PI - a)), 4.0
        inner = np.exp(log_kernel(fold(other), t)[0]) @ ring
        found = unit * (np.exp(log_kernel(fold(r), s)[0]) * area * inner * wr).sum()
        exact = math.exp(log_kernel(np.array(fold(apart)), s + t)[0])
        worst = max(worst, abs(found / exact - 1))
    return worst


def clock_error(name, log_kernel):
    """The rate at which K - 1/volume decays (compact), or the limit of -d log K/dt, against the spectral gap."""
    if SPACES[name][0] == "Hyperbolic":
        t = 4e4  # log K = -gap t - (3/2 or 1/2) log t + …
        r, k = np.array([0.5]), 4.0
        rate = -(log_kernel(r, t + k)[0] - log_kernel(r, t - k)[0])[0] / (2 * k)
        return abs(rate - (1.5 if SPACES[name][1] > 1 else 0.5) / t - gap(name))
    t, k, r = 12.0 / gap(name), 2.0 / gap(name), np.array([0.5])
    log_volume = -log_kernel(r, 80.0 / gap(name))[0][0]
    rest = [np.expm1(log_kernel(r, time)[0] + log_volume)[0] for time in (t, t + k)]
    return abs(math.log(rest[0] / rest[1]) / k / gap(name) - 1)


@pytest.mark.parametrize("t", [1e-3, 0.05, 0.7, 1.4, 5.0])
@pytest.mark.parametrize("name", SPACES)
def test_mass_is_one(name, t):
    r_end = end_of(name, t)
    if t < 0.01 and SPACES[name][0] != "Hyperbolic":
        r, w = gauss(0.0, 14 * math.sqrt(t), 40)
        assert r[-1] < r_end
        assert abs((np.exp(kernel(name)(r, t)[0] + log_area(name, r)[0]) * w).sum() - 1) < 1e-12
    else:
        assert mass_error(name, kernel(name), t) < 1e-12
    family, d = SPACES[name]
    space = SO3() if family == "SO3" else {"Sphere": Sphere, "Hyperbolic": Hyperbolic}[family](d)
    assert abs(radial_of(space).law(t).mass - 1) < 1e-12


@pytest.mark.parametrize("t", [1e-3, 0.05, 0.7, 5.0])
def test_mass_is_one_on_the_circle_and_on_the_interval(t):
    """An interval is looked at from its lower wall."""
    for space in (Torus(1), Box(1), Box(1, -1.0, 2.0)):
        assert abs(radial_of(space).law(t).mass - 1) < 1e-12
        assert radial_of(type(space)(2)) is None


@pytest.mark.parametrize("t", [0.08, 0.6, 1.6, 4.0])
@pytest.mark.parametrize("name", SPACES)
def test_heat_equation(name, t):
    assert equation_error(name, kernel(name), t) < 1e-8


@pytest.mark.parametrize(("s", "t"), [(0.12, 0.2), (0.3, 1.9)])
@pytest.mark.parametrize("name", ["S2", "S3", "S4", "SO3", "H2", "H3"])
def test_semigroup(name, s, t):
    assert semigroup_error(name, kernel(name), s, t) < 1e-10


@pytest.mark.parametrize("name", SPACES)
def test_clock_by_the_spectral_gap(name):
    assert clock_error(name, kernel(name)) < 1e-6


BROKEN = {
    "the clock of Δ": lambda k: lambda r, t: k(r, 2 * t),
    "an angle 1 % off": lambda k: lambda r, t: k(1.01 * np.asarray(r), t),
    "a factor 1 % off": lambda k: lambda r, t: (k(r, t)[0] + 0.01, k(r, t)[1]),
    "a rate 1 % off": lambda k: lambda r, t: (k(r, t)[0] + 0.01 * t, k(r, t)[1]),
    "a slope 1 % off": lambda k: lambda r, t: (k(r, t)[0], 1.01 * k(r, t)[1]),
}


@pytest.mark.parametrize("name", ["S3", "H3"])
@pytest.mark.parametrize("fault", BROKEN)
def test_the_laws_bite(name, fault):
    broken = BROKEN[fault](kernel(name))
    noticed = {
        "mass": mass_error(name, broken, 0.3) > 1e-12,
        "equation": equation_error(name, broken, 0.6) > 1e-8,
        "semigroup": semigroup_error(name, broken, 0.12, 0.2) > 1e-10,
        "clock": clock_error(name, broken) > 1e-6,
    }
    expected = {
        "the clock of Δ": {"equation", "clock"},
        "an angle 1 % off": {"mass", "equation", "semigroup"},
        "a factor 1 % off": {"mass", "semigroup"},
        "a rate 1 % off": {"mass", "equation"},
        "a slope 1 % off": {"equation"},
    }[fault]
    assert expected <= {law for law, seen in noticed.items() if seen}


# hand-overs -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [2.0, 5.0, 2 * PI, 8.0, 20.0])
def test_circle_hand_over(t):
    u = np.linspace(-PI, PI, 201)
    image, series = wrapped.wrapped_images(u, t), wrapped.wrapped_series(u, t)
    assert np.abs(image[0] - series[0]).max() < 1e-12
    assert np.abs(image[1] - series[1]).max() < 1e-12


@pytest.mark.parametrize("t", [0.1, 0.4, 0.6366, 1.0, 3.0])
def test_box_cosine_series(t):
    x, y = (a.reshape(-1) for a in np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21)))
    n = np.arange(1, 40)
    series = 1 + 2 * (np.cos(PI * np.outer(x, n)) * np.cos(PI * np.outer(y, n))) @ np.exp(-0.5 * (PI * n) ** 2 * t)
    direct = sum(np.exp(-0.5 * (x + sign * y + 2 * m) ** 2 / t) for m in range(-12, 13) for sign in (-1, 1)) / math.sqrt(2 * PI * t)
    found = np.exp(wrapped.reflected(x, y, t)[0])
    size = 1 + 2 * np.exp(-0.5 * PI**2 * t)
    assert np.abs(found - series).max() < 1e-12 * size
    assert np.abs(found / direct - 1).max() < 1e-12


@pytest.mark.parametrize("factor", [0.6, 0.8, 1.0, 1.3, 1.8])
@pytest.mark.parametrize("d", [2, 3, 4, 5, 6, 7, 10, 15])
def test_sphere_hand_over(d, factor):
    t = factor * sphere.hand_over(d)
    theta = np.concatenate([[0.0, 1e-9, 1e-4], np.linspace(0.05, PI, 60)])
    assert np.abs(sphere._exact(theta, t, d) - sphere._series(theta, t, d)).max() < 1e-12


@pytest.mark.parametrize("t", [0.5, 1.0, 3.0, 5.0, 12.0])
def test_rotations_by_characters(t):
    omega = np.concatenate([[0.0, 1e-6], np.linspace(0.01, PI, 60)])
    found = np.exp(rotation.kernel(omega, t)[0])
    assert np.abs(found - rotation.characters(omega, t)).max() < 1e-12 * found.max()
    k = np.arange(60.0)
    psi = np.linspace(0.01, 3.13, 60)
    series = (np.sin(np.outer(psi, k + 1)) / np.sin(psi)[:, None]) @ ((k + 1) * np.exp(-0.5 * k * (k + 2) * t)) / (2 * PI**2)
    found = np.exp(rotation.su2(psi, t)[0])
    assert np.abs(found - series).max() < 1e-12 * found.max()


@pytest.mark.parametrize("t", [1e-6, 0.02, 0.5, 1.2, 2.0])
def test_three_sphere_in_closed_form(t):
    """The pairs of images against the contour integral, which S⁵ and higher use."""
    theta = np.concatenate([[0.0, 1e-300, 1e-9], np.linspace(0.01, 3.14, 90), [PI - 1e-9, PI]])
    log, slope = sphere3.relative(theta, t)
    other = sphere._exact(theta, t, 3)
    tilt = -2 * PI * np.sin(theta) * np.exp(sphere._exact(theta, t, 5) - other - 1.5 * t)
    assert np.abs(log - other).max() < 1e-12
    assert (np.abs(slope - tilt) / (1 + np.abs(tilt))).max() < 1e-12


def test_legendre_series_of_the_two_sphere():
    theta, t = np.linspace(0, PI, 50), 1.5
    series = sum((2 * l + 1) * math.exp(-0.5 * l * (l + 1) * t) * eval_legendre(l, np.cos(theta)) for l in range(30)) / (4 * PI)
    assert np.abs(np.exp(sphere.kernel(theta, t, 2)[0]) - series).max() < 1e-13


# fifty digits ---------------------------------------------------------------------------------------------------------------------------


def _wrapped_jet(theta, t, m):
    """(d/d cos θ)^m of Σ N(θ + 2πn), by mpmath's differentiation in cos θ."""
    span = range(-2 - int(mp.sqrt(30 * t)), 3 + int(mp.sqrt(30 * t)))

    def gaussian(a):
        return mp.fsum(mp.exp(-((a + 2 * mp.pi * n) ** 2) / (2 * t)) for n in span) / mp.sqrt(2 * mp.pi * t)

    return mp.re(mp.diff(lambda c: gaussian(mp.acos(c)), mp.cos(theta), m, h=mp.mpf(10) ** -40)) if m else gaussian(theta)


@cache
def sphere_digits(d, theta, t):
    """log K and its slope on S^d, in 50 digits: odd d by images and differentiation, even d by the Gegenbauer series in 600 digits."""
    theta, t = mp.mpf(theta), mp.mpf(t)
    if d % 2:
        value = {}
        with mp.workdps(260):
            for dim in (d, d + 2):
                m = dim // 2
                value[dim] = mp.exp(mp.mpf(m * m) * t / 2) / (2 * mp.pi) ** m * _wrapped_jet(theta, t, m)
    else:
        value = {}
        with mp.workdps(60 + int(5.5 / float(t))):
            for dim in (d, d + 2):
                lam, before, here, total = mp.mpf(dim - 1) / 2, mp.mpf(0), mp.mpf(1), mp.mpf(0)
                for l in range(40 + int(math.sqrt(2 * (150 + 13 / float(t)) / float(t)))):
                    total += (2 * l + dim - 1) / mp.mpf(dim - 1) * here * mp.exp(-mp.mpf(l * (l + dim - 1)) * t / 2)
                    before, here = here, (2 * (l + lam) * mp.cos(theta) * here - (l + 2 * lam - 1) * before) / (l + 1)
                value[dim] = total * mp.gamma(lam + 1) / (2 * mp.pi ** (lam + 1))
    slope = -2 * mp.pi * mp.sin(theta) * mp.exp(-mp.mpf(d) * t / 2) * value[d + 2] / value[d]
    return mp.log(value[d]), slope


@pytest.mark.parametrize("t", [0.03, 0.2, 1.0])
@pytest.mark.parametrize("d", [2, 3, 4, 5])
def test_sphere_against_digits(d, t):
    theta = np.array([1e-6, 0.03, 2.4, 3.14])
    log, slope = sphere.kernel(theta, t, d)
    for i, a in enumerate(theta):
        exact_log, exact_slope = sphere_digits(d, float(a), t)
        assert abs(mp.mpf(float(log[i])) - exact_log) < 1e-13 * (10 + abs(exact_log))
        # the slope's own condition: near the cut locus it turns over within t/π
        assert abs(mp.mpf(float(slope[i])) - exact_slope) < 1e-13 * (10 + abs(exact_slope) + 1e-2 / t**2)


@pytest.mark.parametrize("t", [1e-3, 1e-5, 1e-7])
def test_short_times_on_the_sphere(t):
    """Log-densities of -1e3 to -1e7 and their slopes, S³ against its image sum in 50 digits, the cut locus included."""
    cases = np.array([1e-8, math.sqrt(t), 0.5, 2.0, PI - 3 * t, PI - 0.2 * t])
    log, slope = sphere.kernel(cases, t, 3)
    with mp.workdps(50):
        for a, found, tilt in zip(cases, log, slope, strict=True):
            a, time = mp.mpf(float(a)), mp.mpf(t)

            def f(x, time=time):
                return mp.log(
                    mp.fsum((x + 2 * mp.pi * n) / mp.sin(x) * mp.exp(-((x + 2 * mp.pi * n) ** 2 - x * x) / (2 * time)) for n in (-1, 0, 1))
                )

            exact = f(a) - a * a / (2 * time) + time / 2 - mp.mpf(1.5) * mp.log(2 * mp.pi * time)
            exact_slope = mp.diff(f, a, h=mp.mpf(10) ** -25) - a / time
            assert abs(mp.mpf(float(found)) - exact) < 4e-16 * abs(exact) + 1e-13
            assert abs(mp.mpf(float(tilt)) - exact_slope) < 1e-12 * abs(exact_slope) + 1e-13 / t


@pytest.mark.parametrize("t", [0.02, 0.8, 9.0])
@pytest.mark.parametrize("d", [3, 5, 7, 9])
def test_odd_hyperbolic_against_digits(d, t):
    r = np.array([1e-5, 0.2, 1.7, 9.0])
    log, slope = hyperbolic.kernel(r, t, d)
    with mp.workdps(100):

        def bell(z):
            return mp.exp(-mp.re(mp.acosh(z) ** 2) / (2 * mp.mpf(t)))

        for i, a in enumerate(r):
            a, value = mp.mpf(float(a)), {}
            for m in (d // 2, d // 2 + 1):
                derivative = (-1) ** m * mp.diff(bell, mp.cosh(a), m, h=mp.mpf(10) ** -18)
                value[m] = derivative * mp.exp(-mp.mpf(m * m) * t / 2) / (2 * mp.pi) ** m / mp.sqrt(2 * mp.pi * mp.mpf(t))
            exact = mp.log(value[d // 2])
            exact_slope = -2 * mp.pi * mp.sinh(a) * mp.exp(mp.mpf(d) * t / 2) * value[d // 2 + 1] / value[d // 2]
            assert abs(mp.mpf(float(log[i])) - exact) < 1e-15 * abs(exact) + 3e-14
            assert abs(mp.mpf(float(slope[i])) - exact_slope) < 1e-13 * abs(exact_slope)


@pytest.mark.parametrize("t", [0.05, 1.0, 12.0])
def test_hyperbolic_plane_against_mckean(t):
    r = np.array([0.05, 2.0])
    log, slope = hyperbolic.kernel(r, t, 2)
    with mp.workdps(30):
        time = mp.mpf(t)

        def mckean(a):  # s = a + p² takes the root away
            def g(p):
                return (
                    2
                    * (a + p * p)
                    * mp.exp(-((a + p * p) ** 2) / (2 * time))
                    / mp.sqrt(2 * mp.sinh(a + p * p / 2) * mp.sinh(p * p / 2) / (p * p))
                )

            end = mp.sqrt(mp.sqrt(a * a + 200 * time) - a)
            total = mp.quad(g, [end * i / 8 for i in range(9)])
            return mp.sqrt(2) * mp.exp(-time / 8) / (2 * mp.pi * time) ** mp.mpf(1.5) * total

        for i, a in enumerate(r):
            value = mckean(mp.mpf(float(a)))
            exact_slope = mp.diff(mckean, mp.mpf(float(a)), h=mp.mpf(10) ** -9) / value
            assert abs(mp.mpf(float(log[i])) - mp.log(value)) < 1e-13
            assert abs(mp.mpf(float(slope[i])) - exact_slope) < 1e-12 * (1 + abs(exact_slope))


# ends -----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [1e-12, 1e-6, 1e-2, 1.0, 100.0, 6400.0])
@pytest.mark.parametrize("name", SPACES)
def test_finite_at_the_ends(name, t):
    compact = name in COMPACT
    r = np.array([0.0, 1e-300, 1e-12, 1.0, PI - 1e-12, PI] if compact else [0.0, 1e-300, 1e-12, 1.0, 50.0, 800.0, 1e5])
    log, slope = kernel(name)(r, t)
    assert np.isfinite(log).all()
    assert np.isfinite(slope).all()
    assert abs(slope[0]) < 1e-15
    assert (np.diff(log) <= 1e-9 * (1 + np.abs(log[:-1]))).all()
    if compact:
        assert abs(slope[-1]) < 1.3e-16 * (1 + PI / t) ** 2 + 1e-15  # math.pi is 1.2e-16 short of π
    if compact and t >= 100:
        assert np.ptp(log) < 1e-13
    else:
        assert abs(slope[2] / slope[3] * 1e12) < 50 if t > 1e-2 else slope[2] != 0.0


def test_no_direction_of_time_is_special_at_hand_over():
    """Kernels are continuous across the hand-over, to round-off."""
    theta = np.linspace(0, PI, 40)
    for d in (2, 3, 6):
        t = sphere.hand_over(d)
        below, above = (np.array(sphere.kernel(theta, t * (1 + e), d)) for e in (-1e-13, 1e-13))
        assert np.abs(below - above).max() < 1e-11
