r"""Claims 52, 200, 239: students of guided teachers, and students that begin at a lower resolution."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.optimize import root

from scorebed.analytic import GaussianMixture
from scorebed.analytic.distance.gaussian import gaussian_kl, gaussian_w2
from scorebed.solvers import SOLVERS, VP, Node, grid, sample
from scorebed.solvers.guide import guided
from scorebed.solvers.model import Denoiser
from scorebed.toy.claims.common import states
from scorebed.toy.claims.registry import Row, above, below, claim, near
from scorebed.toy.measure.convergence import rms

_GIVEN, _NULL = (GaussianMixture([1.0], [[m]], [v]) for m, v in ((0.6, 0.25), (0.0, 1.0)))
_Z, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def _vsd(m: float, s: float, levels: list[Node], w: float, clipped: bool) -> np.ndarray:
    """The gradient in (m, s) of variational score distillation of x0 = m + s z: E[σ² (s_fake − s_teacher) ∂x_t], the fake score that of
    the generator's own law, the teacher's of the guided denoiser.

    Returns:
        (2,) gradient in m and s.
    """
    fake, total = GaussianMixture([1.0], [[m]], [s * s]), np.zeros(2)
    for node in levels:
        z, eps = (a.ravel() for a in np.meshgrid(_Z, _Z, indexing="ij"))
        x = (node.alpha * (m + s * z) + node.sigma * eps)[:, None]
        teacher = np.asarray(guided(_GIVEN.denoised, _NULL.denoised, w)(x, node))
        if clipped:
            teacher = teacher.clip(-1.0, 1.0)
        gap = node.alpha * (np.asarray(fake.denoised(x, node)) - teacher)[:, 0] * np.outer(_WEIGHTS, _WEIGHTS).ravel()
        total += node.alpha * np.array([gap.sum(), (gap * z).sum()])
    return total


@claim(
    52,
    paper="SNOOPI (random guidance scales)",
    reference="arXiv:2412.02687",
    statement="The gradient of variational score distillation is linear in the scale of its teacher: with a random w it is that of E "
    "w, and a generator that is not told w ends where that of E w does, though its fake score moves with it. That is not "
    "the tilt p_c^w p_u^{1 − w}, and a generator that is told w spreads otherwise on average.",
    control="the guided prediction is clipped to [−1, 1]",
)
def random_scales(broken: bool) -> list[Row]:
    """Gaussians N(.6, ¼) and N(0, 1), a generator m + s z, 6 levels, w of 1.5, 2 and 4; by quadrature."""
    levels, scales = grid.uniform_lam(VP(), 5, start=0.8, end=0.1), (1.5, 2.0, 4.0)

    def mean(m: float, s: float) -> np.ndarray:
        return np.asarray(np.mean([_vsd(m, s, levels, w, broken) for w in scales], 0))

    def end(gradient: Callable[[float, float], np.ndarray]) -> np.ndarray:
        found = root(lambda p: gradient(*p), [0.8, 0.4], tol=1e-12)
        return np.abs(found.x)

    average = float(np.mean(scales))
    blind, at_mean = end(mean), end(lambda m, s: _vsd(m, s, levels, average, broken))
    told = [end(lambda m, s, w=w: _vsd(m, s, levels, w, False)) for w in scales]  # type: ignore[misc]
    plain = end(lambda m, s: _vsd(m, s, levels, average, False))
    tilt = (average / 0.25 + (1.0 - average) / 1.0) ** -0.5
    return [
        below(
            "mean gradient less that of the mean scale",
            float(np.abs(mean(0.9, 0.5) - _vsd(0.9, 0.5, levels, average, broken)).max()),
            1e-12,
        ),
        below("end with random scales less that with their mean", float(np.abs(blind - at_mean).max()), 1e-7),
        above("its std over that of the tilt, less 1", abs(plain[1] / tilt - 1.0), 0.02, kept=True),
        above("mean std of generators told w less that of the mean w", float(np.mean([p[1] for p in told]) - plain[1]), 0.01, kept=True),
    ]


@claim(
    239,
    paper="SnapFusion",
    reference="arXiv:2306.00980",
    statement="A student whose guided output is matched to two guided steps of its teacher makes them in one; a share p of this loss "
    "beside the plain one moves the student from the conditional two steps to the guided ones by p w²/(p w² + 1 − p).",
    control="the guided loss compares the student's conditional output alone",
)
def guided_steps(broken: bool) -> list[Row]:
    """DDIM on two Gaussians, w = 3: the student's conditional denoiser is affine, its other one the teacher's."""
    w = 3.0
    s, t = grid.uniform_lam(VP(), 1, start=0.8, end=0.5)
    middle = grid.uniform_lam(VP(), 2, start=0.8, end=0.5)
    x = states(_GIVEN, s)

    def jump(model: Denoiser) -> np.ndarray:
        """What D must be for one step of DDIM to go where two of the teacher's go."""
        end = np.asarray(sample(SOLVERS["ddim"], model, x, middle, terminal="none"))
        return np.asarray((end - t.sigma / s.sigma * x) / (-t.alpha * math.expm1(s.lam - t.lam)))

    wanted, plain = jump(guided(_GIVEN.denoised, _NULL.denoised, w)), jump(_GIVEN.denoised)
    null, basis = np.asarray(_NULL.denoised(x, s)), np.hstack([x, np.ones_like(x)])

    def student(p: float) -> np.ndarray:
        """The affine conditional D that minimises p |w D − (w − 1) D_null − wanted|² + (1 − p) |D − plain|², on the states."""
        factor, goal = (1.0, wanted) if broken else (w, wanted + (w - 1.0) * null)
        rows = np.vstack([math.sqrt(p) * factor * basis, math.sqrt(1.0 - p) * basis])
        return np.asarray(basis @ np.linalg.lstsq(rows, np.vstack([math.sqrt(p) * goal, math.sqrt(1.0 - p) * plain]), rcond=None)[0])

    def out(p: float) -> np.ndarray:
        one = guided(lambda y, node: student(p), lambda y, node: null, w)
        return np.asarray(sample(SOLVERS["ddim"], one, x, [s, t], terminal="none"))

    two = np.asarray(sample(SOLVERS["ddim"], guided(_GIVEN.denoised, _NULL.denoised, w), x, middle, terminal="none"))
    p, unaware, whole = 0.2, out(0.0), (wanted + (w - 1.0) * null) / w
    moved = float(((student(p) - plain) * (whole - plain)).sum() / ((whole - plain) ** 2).sum())
    return [
        below("one guided step less two of the teacher's", rms(out(1.0) - two), 1e-12),
        near("part of the way at p = .2", moved, p * w**2 / (p * w**2 + 1.0 - p), within=1e-10),
        above("the same of a student that never saw guidance", rms(unaware - two), 1e-3, kept=True),
    ]


_N = 32
_FREQUENCIES = np.minimum(np.arange(_N), _N - np.arange(_N))
_SPECTRUM = 1.0 / (1.0 + _FREQUENCIES) ** 2.5
_FIELD = np.real(np.fft.ifft(np.fft.fft(np.eye(_N), axis=0) * _SPECTRUM[:, None], axis=0))
"""The covariance of a field on a ring whose power falls as f^−2.5."""
_POOL = np.kron(np.eye(_N // 2), np.full((1, 2), 0.5))
_UP = np.kron(np.eye(_N // 2), np.ones((2, 1)))


@claim(
    200,
    paper="SwD (scale-wise distillation)",
    reference="arXiv:2503.16397",
    statement="A prediction at half the resolution, upsampled and noised to a level where the frequencies that it lacks have little "
    "signal, is almost a state of the full field, and the run from there ends near it. What is upsampled with its noise has "
    "noise that is not white.",
    control="the noisy state is upsampled, without new noise",
)
def by_scales(broken: bool) -> list[Row]:
    """A ring of 32 with a power law, pooled to 16; fine DDIM as a matrix on both; one switch at lam = −1.2."""
    law, low = (GaussianMixture([1.0], [np.zeros(len(c))], [c]) for c in (_FIELD, _POOL @ _FIELD @ _POOL.T))
    nodes = grid.uniform_lam(VP(), 200, start=1.0, end=0.02)

    def switched(at: float) -> tuple[np.ndarray, Node, float]:
        """Covariance of the upsampled state at a level, and W2 of the end from the run that is whole."""
        k = int(np.argmin([abs(node.lam - at) for node in nodes]))
        node = nodes[k]

        def matrix(of: GaussianMixture, path: list[Node]) -> np.ndarray:
            return np.asarray(sample(SOLVERS["ddim"], of.denoised, np.eye(of.d), path, terminal="none")).T

        first = matrix(low, nodes[: k + 1])
        if broken:
            state = _UP @ first @ first.T @ _UP.T + 1e-6 * np.eye(_N)
        else:
            clean = matrix(low, nodes)  # the low-resolution run to its end: its prediction of x0
            state = node.alpha**2 * _UP @ clean @ clean.T @ _UP.T + node.sigma**2 * np.eye(_N)
        rest, whole = matrix(law, nodes[k:]), matrix(law, nodes)
        zero = np.zeros(_N)
        return state, node, gaussian_w2(zero, rest @ state @ rest.T, zero, whole @ whole.T)

    def kl(state: np.ndarray, node: Node) -> float:
        """Of the upsampled state from that of the whole field."""
        zero = np.zeros(_N)
        return gaussian_kl(zero, state, zero, node.alpha**2 * _FIELD + node.sigma**2 * np.eye(_N))

    state, node, w2 = switched(-1.2)
    late, at, far = switched(1.5)
    snr = (node.alpha / node.sigma) ** 2 * _SPECTRUM[_FREQUENCIES == _N // 4][0]
    near_white = kl(state, node)
    return [
        below("KL of the upsampled state where SNR at the cut is below .01", near_white, 1e-4, "nats"),
        below("W2 of the end to the whole run, per point", w2 / math.sqrt(_N), 0.001),
        below("SNR at the cut", float(snr), 0.01, kept=True),
        above("KL at lam = 1.5 to that", kl(late, at) / near_white, 100.0),
        above("its W2 to that", far / w2, 2.0),
    ]
