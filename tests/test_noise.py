"""Noise: published words, exact normals, independence of the batch, and one Brownian path under every grid."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from scorebed.solvers.noise import BrownianNoise, philox_compiled
from scorebed.solvers.noise.philox import normals, philox
from scorebed.solvers.schedule import EDM, SCHEDULES, VP, Node

SHAPES = [(7, 1), (6, 2), (5, 3), (9, 4), (4, 3, 5), (3, 40000)]


def at(lam: float) -> Node:
    return EDM().at_lam(lam)


def span(s: Node, t: Node) -> float:
    """tau_s - tau_t without cancellation, by another formula than the one under test: 2 e^{-(a+b)} sinh(b - a)."""
    return 2.0 * math.exp(-(s.lam + t.lam)) * math.sinh(t.lam - s.lam)


# Random123's kat_vectors, philox4x32 10: counter, key -> words
@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0,) * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_known_answers(counter: tuple[int, ...], key: tuple[int, int], words: str) -> None:
    c0, c1, c2, c3 = counter
    even, odd = np.array([[c0] * 3, [c2] * 3], np.uint64), np.array([[c3] * 3, [c1] * 3], np.uint64)
    philox(even, odd, key)
    for lane in range(3):
        assert " ".join(f"{int(w):08x}" for w in (even[0, lane], odd[1, lane], even[1, lane], odd[0, lane])) == words


def test_compiled_loops_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    index, key, stream = np.array([5, (9 << 32) + 7, 2**63 - 1], np.uint64), (0xFFFFFFF1, 12), 0xFFFFFFFD
    monkeypatch.setattr(philox_compiled, "ENOUGH", math.inf)
    widths = (1, 2, 3, 5, 4096, 70001)
    plain = [normals(index, n, key, stream) for n in widths]
    monkeypatch.setattr(philox_compiled, "ENOUGH", 0)
    assert philox_compiled.loops(1, (1.0, 1.0)) is not None
    for n, z in zip(widths, plain, strict=True):
        np.testing.assert_array_equal(normals(index, n, key, stream), z)


def test_normals_address() -> None:
    """Element j of row i is normal j % 4 of the counter (j // 4, index low, index high, stream): the mapping the module states."""
    index, key, stream = np.array([5, (9 << 32) + 7], np.uint64), (11, 12), 13
    z = normals(index, 40001, key, stream)
    for (i, row), j in itertools.product(enumerate(index.tolist()), [*range(10), *range(19990, 20010), 39999, 40000]):
        even, odd = np.array([[j // 4], [row >> 32]], np.uint64), np.array([[stream], [row & 0xFFFFFFFF]], np.uint64)
        philox(even, odd, key)
        u, v = [(even[0, 0], odd[1, 0]), (even[1, 0], odd[0, 0])][j % 4 // 2]
        r, phi = math.sqrt(-2.0 * math.log((int(u) + 0.5) / 2**32)), 2.0 * math.pi * (int(v) + 0.5) / 2**32 - math.pi
        assert z[i, j] == pytest.approx(r * (math.sin(phi) if j % 2 else math.cos(phi)), rel=0.0, abs=4e-15)


def test_normals_at_extreme_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def extreme(even: Any, odd: Any, *_: Any) -> None:
        even[:], odd[:] = [[0], [0xFFFFFFFF]], [[0], [0xFFFFFFFF]]

    monkeypatch.setattr("scorebed.solvers.noise.philox.philox", extreme)
    z = normals(np.arange(3, dtype=np.uint64), 4, (0, 0), 0)
    assert np.isfinite(z).all()
    assert (np.abs(z[:, 0] + 6.7637) < 1e-4).all()  # the largest radius, at word 0, and the angle next to -pi
    assert (np.abs(z[:, 1]) < 1e-8).all()
    assert (np.abs(z[:, 2:]) < 2e-5).all()


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_split_order_subset(shape: tuple[int, ...], refine: bool) -> None:
    s, t = at(-0.37), at(0.81)
    whole = BrownianNoise(4, shape, refine=refine)
    z = whole(s, t)
    assert z.shape == shape
    rest = shape[1:]
    for cut in {1, shape[0] // 2, shape[0] - 1}:
        parts = [BrownianNoise(4, (len(i), *rest), i, refine=refine)(s, t) for i in (range(cut), range(cut, shape[0]))]
        assert np.array_equal(np.concatenate(parts), z)
    order = np.random.default_rng(0).permutation(shape[0])
    assert np.array_equal(BrownianNoise(4, shape, order, refine=refine)(s, t), z[order])
    assert np.array_equal(whole.take(order[:2])(s, t), z[order[:2]])
    assert np.array_equal(whole.take(order).take([1, 0])(s, t), z[order[[1, 0]]])
    assert np.array_equal(
        BrownianNoise(4, (1, *rest), [2**40 + 3], refine=refine)(s, t)[0],
        BrownianNoise(4, (2, *rest), [1, 2**40 + 3], refine=refine)(s, t)[1],
    )


@pytest.mark.parametrize("refine", [False, True])
def test_same_interval_same_values(refine: bool) -> None:
    nodes = [at(lam) for lam in (-3.0, -1.1, -1.1 + 1e-9, 0.3, 0.4, 2.0)]
    pairs = list(itertools.combinations(nodes, 2))
    first, second = BrownianNoise(1, (3, 5), refine=refine), BrownianNoise(1, (3, 5), refine=refine)
    asked = [first(s, t) for s, t in pairs]
    for z, (s, t) in reversed(list(zip(asked, pairs, strict=True))):  # other order, other direction, other state of the memory
        assert np.array_equal(second(t, s), z)
        assert np.array_equal(first(s, t), z)
    asked[0][:] = 0.0  # the caller's array is the caller's
    assert np.array_equal(first(*pairs[0]), second(*pairs[0]))


def test_clock_is_lam_alone() -> None:
    """Nodes of different schedules at one lam are one point of the clock, and 0.0 is -0.0."""
    a, b = VP().at_lam(-1.5), VP().at_lam(0.25)
    assert np.array_equal(BrownianNoise(0, (4, 3))(a, b), BrownianNoise(0, (4, 3))(at(-1.5), at(0.25)))
    assert np.array_equal(BrownianNoise(0, (4, 3))(a, at(0.0)), BrownianNoise(0, (4, 3))(a, at(-0.0)))


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("ends", [(-0.3, 0.2), (-9.0, 11.0), (1.0, 1.0 + 2.0**-52), (-60.0, 60.0), (0.7, 0.7 + 1e-7)])
def test_law_is_the_normal(ends: tuple[float, float], refine: bool) -> None:
    ends = ends if refine else (ends[0], max(ends[1], ends[0] + 2.0**-29))  # the closest that names tell apart
    z = BrownianNoise(2, (2000, 6), refine=refine)(at(ends[0]), at(ends[1])).ravel()
    n = z.size
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0), (6, 15.0)):
        spread = math.sqrt(math.prod(range(1, 2 * power, 2)) - moment**2)
        assert abs((z**power).mean() - moment) < 4.5 * spread / math.sqrt(n)
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_tails_of_the_normal() -> None:
    z = np.abs(BrownianNoise(5, (500, 4000))(at(-1.0), at(1.0)).ravel())
    for level in (2.0, 3.0, 4.0, 4.5):
        expected = z.size * 2.0 * stats.norm.sf(level)
        assert abs((z > level).sum() - expected) < 4.5 * math.sqrt(expected)


@pytest.mark.parametrize("refine", [False, True])
def test_all_addresses_uncorrelated(refine: bool) -> None:
    """Seeds, samples (2^32 apart too), elements, disjoint intervals: no two streams are correlated, nor are their squares."""
    n, lams = 4000, [-1.0, -0.5, -0.25, 1.0]
    streams = []
    for seed in (0, 1, 2**63):
        for base in (0, 2**32, 2**33):
            noise = BrownianNoise(seed, (n, 3), np.arange(n) + base, refine=refine)
            streams += [z for s, t in itertools.pairwise(lams) for z in noise(at(s), at(t)).T]
    streams += [streams[0][np.roll(np.arange(n), k)] for k in (1, 2)]  # neighbouring samples
    z = np.array(streams)
    for values in (z, z**2):
        off = np.corrcoef(values)[np.triu_indices(len(z), 1)]
        assert np.abs(off).max() < 5.2 / math.sqrt(n)


def test_overlapping_intervals_are_independent_without_refinement() -> None:
    noise = BrownianNoise(0, (4000, 1))
    z = np.array([noise(at(-1.0), at(lam)).ravel() for lam in (1.0, 1.0 + 2**-29, 0.5)])
    assert np.abs(np.corrcoef(z) - np.eye(3)).max() < 4.5 / math.sqrt(4000)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    name=st.sampled_from(sorted(SCHEDULES)),
    where=st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3, unique=True),
    width=st.sampled_from([1.0, 1e-2, 1e-5, 1e-9]),
    seed=st.integers(0, 2**64 - 1),
    ask=st.permutations(range(3)),
)
def test_halves_make_the_whole(name: str, where: list[float], width: float, seed: int, ask: list[int]) -> None:
    schedule = SCHEDULES[name]()
    low, high = schedule.node(schedule.t_max).lam, schedule.node(schedule.t_min).lam
    lams = sorted({low + (high - low) * (0.3 + 0.7 * width * w) if width < 1.0 else low + (high - low) * w for w in where})
    if len(lams) < 3:
        lams = [low, 0.5 * (low + high), high]
    a, b, c = (schedule.at_lam(lam) for lam in lams)
    noise, intervals = BrownianNoise(seed, (2, 3), refine=True), ((a, b), (b, c), (a, c))
    z = {k: noise(*intervals[k]) for k in ask}
    halves = math.sqrt(span(a, b)) * z[0] + math.sqrt(span(b, c)) * z[1]
    assert np.abs(halves / math.sqrt(span(a, c)) - z[2]).max() < 1e-12


class Probe(BrownianNoise):
    """Every keyed normal replaced by a basis vector of its own, so that the noise becomes the list of its coefficients."""

    def __init__(self, size: int) -> None:
        super().__init__(0, (1, size), refine=True)
        self.seen: dict[bytes, int] = {}

    def _draw(self, kind: bytes, what: bytes) -> Any:
        unit = np.zeros((1, self.shape[1]))
        unit[0, self.seen.setdefault(kind + what, len(self.seen))] = 1.0
        return unit


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    centre=st.floats(-57.0, 57.0),
    offsets=st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=4, unique=True),
    width=st.sampled_from([4.0, 0.3, 1e-3, 1e-6, 1e-10]),
)
def test_covariance_is_exactly_brownian(centre: float, offsets: list[int], width: float) -> None:
    """Coefficients of all increments between the nodes: their inner products are the overlaps of the intervals, 1 and 0 among them."""
    nodes = [at(lam) for lam in sorted({centre + width * 1e-6 * r for r in offsets} | {centre + 1.5 * width})]
    intervals = list(itertools.combinations(nodes, 2))
    probe = Probe(1000)
    rows = np.array([probe(s, t)[0] for s, t in intervals])
    for (i, (s, t)), (j, (u, v)) in itertools.product(enumerate(intervals), repeat=2):
        start, end = max(s, u, key=lambda n: n.lam), min(t, v, key=lambda n: n.lam)
        overlap = span(start, end) / math.sqrt(span(s, t)) / math.sqrt(span(u, v)) if start.lam < end.lam else 0.0
        assert abs(rows[i] @ rows[j] - overlap) < 1e-12


def test_path_is_brownian() -> None:
    """cov(W(tau_i), W(tau_j)) = min(tau_i, tau_j) by samples, with W measured from a node so clean that its clock is nothing."""
    noise, clean = BrownianNoise(9, (20000, 1), refine=True), at(30.0)
    nodes = [at(lam) for lam in (-2.0, -0.7, -0.65, 0.1, 1.3)]
    w = np.array([math.sqrt(span(n, clean)) * noise(n, clean).ravel() for n in nodes])
    tau = np.array([n.rho**2 for n in nodes])
    error = (w @ w.T / w.shape[1] - np.minimum.outer(tau, tau)) / np.sqrt(np.outer(tau, tau))
    assert np.abs(error).max() < 4.5 * math.sqrt(2.0 / w.shape[1])


def test_end_at_every_kind_of_cell() -> None:
    """Ends on the root, on midpoints and on the rim of the range."""
    noise = BrownianNoise(0, (2, 3), refine=True)
    lams = [-64.0, -32.0, 0.0, 2.0**-120, 1.0, 32.0, 64.0]
    for a, b, c in itertools.combinations([at(lam) for lam in lams], 3):
        halves = math.sqrt(span(a, b) / span(a, c)) * noise(a, b) + math.sqrt(span(b, c) / span(a, c)) * noise(b, c)
        assert np.abs(halves - noise(a, c)).max() < 1e-12


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, torch.float32, torch.float64, torch.bfloat16])
def test_type_of_the_state(dtype: Any, refine: bool) -> None:
    s, t = at(-0.5), at(0.5)
    like: Any = np.zeros(3, dtype) if isinstance(dtype, type) else torch.zeros(3, dtype=dtype)
    noise = BrownianNoise(3, (4, 5), like=like, refine=refine)
    exact = BrownianNoise(3, (4, 5), refine=refine)(s, t)
    for z, expected in ((noise(s, t), exact), (noise.take([2, 0])(s, t), exact[[2, 0]])):
        assert type(z) is type(like)
        assert z.dtype == dtype
        assert tuple(z.shape) == expected.shape
        given_back = expected.astype(dtype) if isinstance(z, np.ndarray) else torch.tensor(expected).to(dtype)
        assert bool((z == given_back).all())


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"seed": -1}, ValueError, "seed = -1"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed = 1.5"),
        ({"seed": True}, TypeError, "seed"),
        ({"shape": ()}, ValueError, "shape"),
        ({"shape": (3, 0)}, ValueError, "shape"),
        ({"shape": 3}, TypeError, "shape = 3"),
        ({"shape": (3, 2.0)}, TypeError, "shape"),
        ({"index": [0, 1]}, ValueError, "index has shape"),
        ({"index": [0, 1, 1]}, ValueError, "index holds 1 2 times"),
        ({"index": [0, 1, -2]}, ValueError, "index runs from -2"),
        ({"index": [0.0, 1.0, 2.0]}, TypeError, "index has dtype"),
        ({"index": [True, False, True]}, TypeError, "index has dtype"),
        ({"index": np.array([0, 1, 2**63], np.uint64)}, ValueError, "index runs"),
        ({"like": np.zeros(3, int)}, ValueError, "like has dtype int64"),
        ({"like": torch.zeros(3, dtype=torch.int32)}, ValueError, "like has dtype"),
        ({"like": [1.0]}, TypeError, "like is a list"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    complete: dict[str, Any] = {"seed": 0, "shape": (3, 2)} | arguments
    with pytest.raises(error, match=says):
        BrownianNoise(**complete)


@pytest.mark.parametrize("refine", [False, True])
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 0.5])
def test_bad_nodes(bad: float, refine: bool) -> None:
    noise, good, node = BrownianNoise(0, (2, 2), refine=refine), at(0.5), Node(0.0, 1.0, 1.0, bad)
    for s, t in ((good, node), (node, good)):
        with pytest.raises(ValueError, match="different lam" if bad == 0.5 else "finite lam"):
            noise(s, t)


def test_bad_nodes_of_refined_noise() -> None:
    noise = BrownianNoise(0, (2, 2), refine=True)
    with pytest.raises(ValueError, match="64"):
        noise(at(0.0), at(64.5))
    with pytest.raises(ValueError, match="cannot tell"):
        noise(at(1e-40), at(2e-40))


@pytest.mark.parametrize(
    ("rows", "error"), [([3], ValueError), ([-1], ValueError), ([1, 1], ValueError), ([], ValueError), ([0.5], TypeError)]
)
def test_bad_rows(rows: list[Any], error: type[Exception]) -> None:
    with pytest.raises(error, match="rows"):
        BrownianNoise(0, (3, 2)).take(rows)
