"""Laws of noise schedules: closed forms against 50-digit arithmetic, f and g² against derivatives, at_lam as the inverse of node."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scorebed.solvers import EDM, SCHEDULES, VE, VP, Cosine, Node, RectifiedFlow, Schedule, SubVP
from scorebed.toy.properties.strategies import mixtures, nodes, schedules

mp = mpmath.mp.clone()
mp.dps = 80  # 50 digits must remain where alpha is 1 - 1e-12 and sigma² is its complement
Pair = Callable[[Any], tuple[Any, Any]]


def exact(schedule: Schedule) -> Pair:
    """(alpha, sigma) as functions of t in mpmath, written from the papers and not from the code."""
    if isinstance(schedule, VP):
        b0, b1 = mp.mpf(schedule.beta_min), mp.mpf(schedule.beta_max)
        power = 1 if isinstance(schedule, SubVP) else mp.mpf(1) / 2

        def vp(t: Any) -> tuple[Any, Any]:
            b = b0 * t + (b1 - b0) * t**2 / 2
            return mp.exp(-b / 2), (1 - mp.exp(-b)) ** power

        return vp
    if isinstance(schedule, Cosine):
        s = mp.mpf(schedule.s)

        def cosine(t: Any) -> tuple[Any, Any]:
            alpha = mp.cos(mp.pi / 2 * (t + s) / (1 + s)) / mp.cos(mp.pi / 2 * s / (1 + s))
            return alpha, mp.sqrt(1 - alpha**2)

        return cosine
    if isinstance(schedule, VE):
        low, high = mp.mpf(schedule.sigma_min), mp.mpf(schedule.sigma_max)
        return lambda t: (mp.mpf(1), low * (high / low) ** t)
    return {EDM: lambda t: (mp.mpf(1), t), RectifiedFlow: lambda t: (1 - t, t)}[type(schedule)]


def ends(schedule: Schedule) -> tuple[float, float]:
    """The whole range on which a schedule has a finite lam, not only the default range of its grids."""
    if isinstance(schedule, VE):
        return 0.0, schedule.t_max
    if isinstance(schedule, EDM):
        return 1e-300, 1e300
    return 1e-12, schedule.t_max if isinstance(schedule, VP) else 1.0 - 1e-12


@st.composite
def anywhere(draw: st.DrawFn, kinds: tuple[str, ...] = tuple(SCHEDULES)) -> tuple[Schedule, float]:
    """A schedule and a time in its whole range: uniform, near 0 on a log scale, or near 1 on a log scale."""
    schedule = draw(schedules(*kinds))
    low, high = ends(schedule)
    how = draw(st.sampled_from(("log", "uniform", "near the end")))
    if how == "log" and low > 0.0:
        t = 10.0 ** draw(st.floats(math.log10(low), math.log10(high)))
    elif how == "near the end" and high <= 1.0:
        t = 1.0 - 10.0 ** draw(st.floats(-12.0, -1.0))
    else:
        t = draw(st.floats(low, high))
    return schedule, min(max(t, low), high)


def relative(found: float, truth: Any) -> float:
    return float(abs(mp.mpf(found) - truth) / abs(truth))


@given(anywhere())
@example((VP(), 1.0))
@example((EDM(), 1e-3))
@example((EDM(), 1e3))
def test_node_agrees_with_50_digits(case: tuple[Schedule, float]) -> None:
    schedule, t = case
    node = schedule.node(t)
    alpha, sigma = exact(schedule)(mp.mpf(t))
    lam = mp.log(alpha / sigma)
    assert relative(node.alpha, alpha) < 1e-14
    assert relative(node.sigma, sigma) < 1e-14
    assert abs(mp.mpf(node.lam) - lam) < 1e-14 * max(1, abs(lam))
    assert relative(node.rho, sigma / alpha) < 2e-14
    assert node.t == t
    assert node.schedule is schedule


@given(anywhere())
@example((Cosine(s=0.0), 1e-10))
@example((VE(), 0.0))
@example((VE(), 5e-288))
@example((EDM(), 1e-3))
@example((EDM(), 1e3))
def test_drift_and_diffusion_are_the_derivatives(case: tuple[Schedule, float]) -> None:
    """f = d log(alpha)/dt and g² = d sigma²/dt - 2 f sigma², by mpmath's differences of the independent formulas."""
    schedule, t = case
    pair, at = exact(schedule), mp.mpf(t)
    # with 80 digits: truncation 1e-30 at least, round-off 1e-35; EDM is a power of t, the others are smooth at 0
    h = mp.mpf(10) ** -30 * (at if isinstance(schedule, EDM) else max(at, mp.mpf(10) ** -15))
    f = mp.diff(lambda u: mp.log(pair(u)[0]), at, h=h)
    rate = mp.diff(lambda u: pair(u)[1] ** 2, at, h=h)
    g2 = rate - 2 * f * pair(at)[1] ** 2
    assert abs(mp.mpf(schedule.f(t)) - f) <= 1e-13 * abs(f) + mp.mpf(10) ** -25
    assert relative(schedule.g2(t), g2) < 1e-13


@given(anywhere())
@example((EDM(), 1e-300))
@example((EDM(), 1e300))
@example((VE(), 1.0))
@example((VP(), 1.0))
@example((VP(beta_min=20.0, beta_max=20.0), 1.0))
@example((VP(beta_min=20.0, beta_max=0.1), 1.0))
def test_at_lam_inverts_node(case: tuple[Schedule, float]) -> None:
    schedule, t = case
    node = schedule.node(t)
    back = schedule.at_lam(node.lam)
    assert back.lam == node.lam
    assert back.schedule is schedule
    # t hangs on lam by dt = t dlam dlog(t)/dlam; lam itself is rounded, which EDM's range of 600 decades shows
    slack = 1e-12 * max(1.0, abs(node.lam) / 100.0)
    assert math.isclose(back.t, node.t, rel_tol=slack, abs_tol=1e-14)
    assert math.isclose(back.alpha, node.alpha, rel_tol=slack)
    assert math.isclose(back.sigma, node.sigma, rel_tol=slack)


@given(anywhere(("VP", "SubVP", "Cosine", "RectifiedFlow", "EDM")))
def test_at_lam_keeps_relative_accuracy_at_tiny_times(case: tuple[Schedule, float]) -> None:
    schedule, t = case
    if t < 0.5:
        assert math.isclose(schedule.at_lam(schedule.node(t).lam).t, t, rel_tol=1e-12)


@given(anywhere(("VP", "Cosine")))
def test_variance_is_preserved(case: tuple[Schedule, float]) -> None:
    schedule, t = case
    for node in (schedule.node(t), schedule.at_lam(schedule.node(t).lam)):
        assert abs(math.fsum((node.alpha**2, node.sigma**2, -1.0))) < 1e-15


@given(schedules(), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6, unique=True))
def test_noise_grows_with_time(schedule: Schedule, shares: list[float]) -> None:
    times = sorted(schedule.t_min + u * (schedule.t_max - schedule.t_min) for u in shares)
    found = [schedule.node(t) for t in times]
    for s, t in pairwise(found):
        if t.t - s.t > 1e-9 * schedule.t_max:
            assert s.lam > t.lam
            assert s.sigma < t.sigma
            assert s.rho < t.rho
            assert s.alpha >= t.alpha


# VP and EDM variables


@given(nodes(schedules("VP", "SubVP", "Cosine", "RectifiedFlow", "VE")))
def test_equal_lam_is_equal_rho_on_every_schedule(node: Node) -> None:
    edm = EDM().at_lam(node.lam)
    assert edm.alpha == 1.0
    assert math.isclose(edm.sigma, node.rho, rel_tol=1e-13)
    if -4.5 < node.lam < 3.0:
        back = VP().at_lam(edm.lam)
        assert math.isclose(back.rho, edm.rho, rel_tol=1e-13)


@settings(max_examples=40)
@given(nodes(schedules("VP", "SubVP", "Cosine", "RectifiedFlow")), mixtures(d=2), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_denoiser_is_the_same_in_vp_and_edm_variables(node: Node, mixture: Any, a: float, b: float) -> None:
    """E[x0 | x] depends on x and the schedule through x/alpha and rho only."""
    x = math.hypot(node.alpha, node.sigma) * np.array([a, b])
    edm = EDM().at_lam(node.lam)
    np.testing.assert_allclose(mixture.denoised(x, node), mixture.denoised(x / node.alpha, edm), rtol=1e-9, atol=1e-10)


# toward


@given(schedules(), st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.lists(st.floats(0.01, 0.99), min_size=2, max_size=5, unique=True))
def test_toward_walks_in_lam(schedule: Schedule, u: float, w: float, shares: list[float]) -> None:
    s, t = (schedule.node(schedule.t_min + r * (schedule.t_max - schedule.t_min)) for r in (u, w))
    assert s.toward(t, 0.0) is s
    assert s.toward(t, 1.0) is t
    between = [s.toward(t, r) for r in sorted(shares)]
    for r, node in zip(sorted(shares), between, strict=True):
        assert math.isclose(node.lam, (1.0 - r) * s.lam + r * t.lam, rel_tol=1e-12, abs_tol=1e-12)
        assert node.schedule is schedule
    if abs(t.lam - s.lam) > 1e-6:
        lams = [s.lam, *(n.lam for n in between), t.lam]
        gaps = np.diff(lams) * math.copysign(1.0, t.lam - s.lam)
        assert np.all(gaps[np.diff([0.0, *sorted(shares), 1.0]) > 1e-9] > 0.0)


def test_toward_refuses_what_it_cannot_reach() -> None:
    made = VP().node(0.5)
    with pytest.raises(ValueError, match="schedule=None"):
        Node(0.5, made.alpha, made.sigma, made.lam).toward(made, 0.5)
    with pytest.raises(ValueError, match="finite clock"):
        made.toward(VP().node(0.0), 0.5)
    with pytest.raises(ValueError, match="nan"):
        made.toward(VP().node(0.1), math.nan)


# limits and refusals


def test_clean_and_noisy_ends() -> None:
    for schedule in (VP(), SubVP(), Cosine(), EDM(), RectifiedFlow()):
        clean = schedule.node(0.0)
        assert (clean.sigma, clean.lam, clean.rho) == (0.0, math.inf, 0.0)
        assert math.isclose(clean.alpha, 1.0, rel_tol=1e-15)
        assert schedule.at_lam(math.inf).t == 0.0
    for schedule in (Cosine(), RectifiedFlow()):
        noise = schedule.node(1.0)
        assert (noise.alpha, noise.lam, noise.rho) == (0.0, -math.inf, math.inf)
        assert math.isclose(noise.sigma, 1.0, rel_tol=1e-15)
        assert schedule.f(1.0) == -math.inf
        assert math.isclose(schedule.at_lam(-math.inf).t, 1.0, rel_tol=1e-15)


@pytest.mark.parametrize("t", [-1e-6, -1.0, 1.0 + 1e-6, 7.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("schedule", [VP(), SubVP(), Cosine(), VE(), RectifiedFlow()], ids=lambda s: type(s).__name__)
def test_times_out_of_range_are_refused(schedule: Schedule, t: float) -> None:
    for ask in (schedule.node, schedule.f, schedule.g2):
        with pytest.raises(ValueError, match=f"outside {type(schedule).__name__}"):
            ask(t)


@pytest.mark.parametrize("t", [-1e-6, math.nan, math.inf])
def test_edm_refuses_negative_and_infinite_sigma(t: float) -> None:
    for ask in (EDM().node, EDM().f, EDM().g2):
        with pytest.raises(ValueError, match="outside EDM"):
            ask(t)


@pytest.mark.parametrize(
    ("schedule", "lam"),
    [
        (VP(), -5.1),
        (SubVP(), -5.1),
        (VE(), -4.0),
        (VE(), 5.0),
        (EDM(), -700.0),
        (VP(), -math.inf),
        (SubVP(), -math.inf),
        (EDM(), -math.inf),
    ],
)
def test_lam_out_of_range_is_refused(schedule: Schedule, lam: float) -> None:
    with pytest.raises(ValueError, match=f"outside {type(schedule).__name__}"):
        schedule.at_lam(lam)


@pytest.mark.parametrize("schedule", [c() for c in SCHEDULES.values()], ids=list(SCHEDULES))
def test_nan_lam_is_refused(schedule: Schedule) -> None:
    with pytest.raises(ValueError, match="lam is nan"):
        schedule.at_lam(math.nan)


@pytest.mark.parametrize("schedule", [c() for c in SCHEDULES.values()], ids=list(SCHEDULES))
def test_round_off_at_the_ends_is_forgiven(schedule: Schedule) -> None:
    for t in (schedule.t_max, schedule.t_min):
        for nudge in (-4e-16, 4e-16):
            assert math.isclose(schedule.node(t * (1.0 + nudge)).t, t, rel_tol=1e-15)
        assert math.isclose(schedule.at_lam(schedule.node(t).lam).t, t, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("make", "culprit"),
    [
        (lambda: VP(beta_min=-1.0), "beta_min = -1.0"),
        (lambda: VP(beta_min=math.nan), "beta_min = nan"),
        (lambda: VP(beta_max=math.inf), "beta_max = inf"),
        (lambda: VP(t_min=0.0), "t_min = 0.0"),
        (lambda: VP(t_min=1.0), "t_min = 1.0"),
        (lambda: VP(t_max=-1.0), "t_max = -1.0"),
        (lambda: SubVP(beta_min=0.0), "beta_min = 0.0"),
        (lambda: Cosine(s=-0.1), "s = -0.1"),
        (lambda: Cosine(t_max=1.5), "t_max = 1.5"),
        (lambda: Cosine(t_min=0.999), "t_min = 0.999"),
        (lambda: VE(sigma_min=60.0), "sigma_min = 60.0"),
        (lambda: VE(sigma_min=0.0), "sigma_min = 0.0"),
        (lambda: VE(t_min=-0.5), "t_min = -0.5"),
        (lambda: EDM(sigma_min=100.0), "sigma_min = 100.0"),
        (lambda: EDM(sigma_max=math.nan), "sigma_max = nan"),
        (lambda: RectifiedFlow(t_max=2.0), "t_max = 2.0"),
        (lambda: RectifiedFlow(t_min=-0.1), "t_min = -0.1"),
    ],
)
def test_bad_constants_are_refused(make: Callable[[], Schedule], culprit: str) -> None:
    with pytest.raises(ValueError, match=culprit):
        make()


# Node as a value


@pytest.mark.parametrize("schedule", [c() for c in SCHEDULES.values()], ids=list(SCHEDULES))
def test_nodes_are_immutable_hashable_values(schedule: Schedule) -> None:
    node = schedule.node(schedule.t_max)
    assert tuple(node) == (node.t, node.alpha, node.sigma, node.lam)
    node = schedule.node(0.25)
    for field in dataclasses.fields(Node):
        with pytest.raises(AttributeError):
            setattr(node, field.name, 0.0)
    assert {node: 1}[schedule.node(0.25)] == 1
    assert node == schedule.node(0.25)
    assert node != schedule.node(0.26)
    assert hash(schedule) == hash(copy.deepcopy(schedule))
    for twin in (pickle.loads(pickle.dumps(node)), copy.deepcopy(node)):
        assert twin == node
        assert twin.schedule == node.schedule


def plain(node: Node) -> bool:
    return all(type(v) is float for v in (node.t, node.alpha, node.sigma, node.lam, node.rho))


@pytest.mark.parametrize(
    "number", [np.float64, np.float32, np.array, float, lambda v: mp.mpf(v)], ids=["f64", "f32", "0-d", "float", "mpf"]
)
@pytest.mark.parametrize("kind", list(SCHEDULES.values()), ids=list(SCHEDULES))
def test_everything_comes_out_as_python_floats(kind: Any, number: Any) -> None:
    """A numpy scalar in a coefficient would turn float32 states into float64, so none may pass, from times, lam or constants."""
    plain_kind = kind()
    fields = {f.name: number(getattr(plain_kind, f.name)) for f in dataclasses.fields(kind)}
    schedule = kind(**fields)
    for made in (plain_kind, schedule):
        node = made.node(number(0.25))
        assert plain(node)
        assert plain(made.at_lam(number(0.5)))
        assert plain(node.toward(made.node(0.5), number(0.5)))
        assert plain(made.node(made.t_max))
        assert plain(made.node(made.t_max * (1.0 + 5e-13)))
        assert all(type(v) is float for v in (made.f(number(0.25)), made.g2(number(0.25)), made.t_min, made.t_max))
    assert hash(schedule) is not None
    a, b = VP().node(0.3), VP().node(0.3)
    assert plain(Node(*(number(v) for v in (a.t, a.alpha, a.sigma, a.lam))))
    assert a == b


def test_integers_come_out_as_floats() -> None:
    assert plain(VP(beta_min=1, beta_max=20, t_max=1).node(1))
    assert plain(EDM(sigma_max=80).node(80))
    assert plain(VE(sigma_max=50, t_min=0, t_max=1).node(0))
    assert plain(RectifiedFlow().at_lam(0))
