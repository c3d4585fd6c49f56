r"""Claims 7, 44, 48, 61, 168: transforms, filters, tiles and patches on stationary Gaussian fields, all of it linear and exact.

A deterministic step with a linear denoiser D = A x is a matrix, and so is a run; a choice at random makes a covariance a mean of M C Mᵀ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from scorebed.analytic import GaussianMixture
from scorebed.analytic.gaussian.field import StationaryField, dct, haar, pool, tiles
from scorebed.analytic.output.moments import moments
from scorebed.solvers import SOLVERS, VP, Node, sample, trace
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.weights.exponential import flow_by_denoised
from scorebed.toy.claims.registry import Row, above, below, claim, near, order
from scorebed.toy.measure.convergence import order_of

RING = StationaryField.power_law(16, 2.0)


def ddim_matrix(a: np.ndarray, s: Node, t: Node) -> np.ndarray:
    """One DDIM step as a matrix, for D = a x."""
    return flow_by_denoised(np.eye(len(a)), a, s, t)


def wiener(field: StationaryField, node: Node) -> np.ndarray:
    """The exact denoiser as a matrix."""
    c = field.covariance()
    return np.asarray(node.alpha * np.linalg.solve(node.alpha**2 * c + node.sigma**2 * np.eye(field.d), c))


def _law(c: np.ndarray) -> GaussianMixture:
    return GaussianMixture([1.0], np.zeros((1, len(c))), (0.5 * (c + c.T))[None])


def _through(basis: np.ndarray, nodes: Sequence[Node]) -> float:
    """How far sampling in coordinates Bᵀ x is from sampling x, from the same start, relative."""
    x = RING.sample(5, 0) * nodes[0].alpha + nodes[0].sigma * np.random.default_rng(1).standard_normal((5, 16))
    there = sample(SOLVERS["dpmpp_2m"], _law(np.linalg.pinv(basis) @ RING.covariance() @ np.linalg.pinv(basis).T).denoised,
                   x @ np.linalg.pinv(basis).T, nodes, terminal="none")  # fmt: skip
    here = sample(SOLVERS["dpmpp_2m"], _law(RING.covariance()).denoised, x, nodes, terminal="none")
    return float(np.abs(there @ basis.T - here).max() / np.abs(here).max())


@claim(
    7,
    paper="Wavelet Diffusion Neural Operator",
    reference="arXiv:2412.04833",
    statement="Sampling in orthonormal Haar coordinates is sampling in pixels, state by state; the coarse band of a field has exactly "
    "the law of the coarse problem, and the fine band given it is a Gaussian; bands rescaled make another process, with anisotropic "
    "noise.",
    control="the Haar basis is not normalised",
)
def wavelets(broken: bool) -> list[Row]:
    """A ring of 16 pixels with a power-law spectrum."""
    nodes, basis = uniform_lam(VP(), 8), haar(16)
    used = basis * np.linspace(0.7, 1.6, 16) if broken else basis
    scaled = np.kron(np.diag([1.0, 2.0]), np.eye(8))
    coarse = RING.cross(used[:, :8].T)
    means = math.sqrt(2.0) * pool((16,), 2)
    mixing = basis[:, :8].T @ means.T  # coarse Haar coefficients of the pooled field: the same space, another basis
    gain, left = RING.given(basis[:, 8:].T, used[:, :8].T)
    rebuilt = gain @ coarse @ gain.T + left
    return [
        below("sampling in Haar coordinates against pixels, largest difference", _through(used, nodes), 1e-9, "relative"),
        below("covariance of the coarse band against that of the pooled field", _gap(coarse, mixing @ RING.cross(means) @ mixing.T), 1e-9),
        below("fine given coarse, put together again, against the fine band", _gap(rebuilt, RING.cross(basis[:, 8:].T)), 1e-9, kept=True),
        above("rescaled bands against pixels, largest difference", _through(used @ scaled, nodes), 0.01, "relative", kept=True),
    ]


def _gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@claim(
    44,
    paper="Any-Size-Diffusion (FSTD)",
    reference="arXiv:2308.16582",
    statement="Tiles denoised by themselves lose the covariance across their edges; a random offset of all tiles at every step makes the "
    "expected law translation invariant, and its error at the seams smaller than that of fixed tiles.",
    control="the offset is drawn once and kept",
)
def seams(broken: bool) -> list[Row]:
    """DDIM with 12 steps on a ring of 16 in four tiles; covariances by their exact recursion over the offsets."""
    nodes = uniform_lam(VP(), 12)
    start = nodes[0].alpha ** 2 * RING.covariance() + nodes[0].sigma ** 2 * np.eye(16)

    def output(offsets: Sequence[int]) -> np.ndarray:
        c = start
        for s, t in pairwise(nodes):
            moves = [ddim_matrix(RING.patched(tiles((16,), (4,), (o,)))(s)[0], s, t) for o in offsets]
            c = sum((m @ c @ m.T for m in moves), np.zeros((16, 16))) / len(moves)
        return np.asarray(c)

    c = start
    for s, t in pairwise(nodes):
        m = ddim_matrix(wiener(RING, s), s, t)
        c = m @ c @ m.T
    fixed, moving = output([0]), output([0] if broken else [0, 1, 2, 3])
    seam = [(i, (i + 1) % 16) for i in range(3, 16, 4)]
    error = [np.mean([abs(out[i, j] - c[i, j]) for i, j in seam]) for out in (fixed, moving)]
    shifted = np.roll(moving, (1, 1), (0, 1))
    return [
        below("change of the covariance under a shift by one pixel", _gap(shifted, moving), 1e-10, "relative"),
        below("covariance error at the seams, moving over fixed tiles", float(error[1] / error[0]), 0.8),
        above("covariance lost at fixed seams, of that across them", float(error[0] / abs(c[3, 4])), 0.1, kept=True),
    ]


@claim(
    48,
    paper="Partially conditioned patch parallelism (PCPP)",
    reference="arXiv:2412.02962",
    statement="A patch that sees its neighbours as they were one step ago errs by O(h), a run of first order; neighbours that it does "
    "not see at all leave a bias that no number of steps removes, set by the covariance across.",
    control="what is seen of the neighbours is never renewed",
)
def stale(broken: bool) -> list[Row]:
    """DDIM on a ring of 16 in two halves, as matrices, against the run with fresh neighbours."""

    def run(n: int, see: Callable[[int, np.ndarray, list[np.ndarray]], np.ndarray]) -> np.ndarray:
        nodes = uniform_lam(VP(), n, 0.6, 0.05)
        x, past = np.eye(16), [np.eye(16)]
        for k, (s, t) in enumerate(pairwise(nodes)):
            a, parts = wiener(RING, s), []
            for half in (slice(0, 8), slice(8, 16)):
                seen = see(k, x, past)
                seen = seen.copy()
                seen[half] = x[half]
                parts.append(a[half] @ seen)
            x = flow_by_denoised(x, np.vstack(parts), s, t)
            past.append(x)
        return x

    counts = (32, 64, 128)
    fresh = [run(n, lambda k, x, past: x) for n in counts]
    old = [run(n, lambda k, x, past: past[0] if broken else past[max(k - 1, 0)]) for n in counts]
    gaps = [float(np.abs(a - b).max()) for a, b in zip(old, fresh, strict=True)]
    blind = []
    for n in counts[1:]:
        nodes, x = uniform_lam(VP(), n, 0.6, 0.05), np.eye(16)
        for s, t in pairwise(nodes):
            x = ddim_matrix(RING.patched(tiles((16,), (8,)))(s)[0], s, t) @ x
        blind.append(float(np.abs(x - fresh[counts.index(n)]).max()))
    return [
        order("order of the difference that stale neighbours make", order_of(counts, gaps).slope, 1),
        near("bias without neighbours, 128 over 64 steps", blind[1] / blind[0], 1.0, 0.05, kept=True),
        above("bias without neighbours over the staleness at 128 steps", blind[1] / gaps[2], 50.0),
    ]


@claim(
    61,
    paper="Learned representations for large images (patches given a grid of embeddings)",
    reference="arXiv:2312.07330",
    statement="Patches drawn each by itself, given embeddings e of all, are exact where patches are independent given e; else what is "
    "left of the covariance between them is exactly Cov(E[x|e]).",
    control="the embeddings of the patches are drawn independently of each other",
)
def embeddings(broken: bool) -> list[Row]:
    """Two patches of a ring of 16; e is their means, their two halves' means, or all pixels."""
    a, b = np.eye(16)[:8], np.eye(16)[8:]
    true, plan = RING.cross(a, b), trace(SOLVERS["dpmpp_2m"], uniform_lam(VP(), 12))

    def between(size: int) -> np.ndarray:
        e = pool((16,), size)
        gain, _ = RING.given(np.eye(16), e)
        law = RING.cross(e)
        if broken:
            half = len(e) // 2
            law[:half, half:] = law[half:, :half] = 0.0
        return np.asarray(_drawn(gain[:8], size, slice(0, 8)) @ law @ _drawn(gain[8:], size, slice(8, 16)).T)

    def _drawn(gain: np.ndarray, size: int, patch: slice) -> np.ndarray:
        """E[sampled patch | e] as a matrix: DDIM with the exact conditional denoiser, from its own marginal."""
        left = RING.given(np.eye(16)[patch], pool((16,), size))[1]
        begin = np.eye(gain.shape[1])
        columns = [moments(plan, GaussianMixture([1.0], (gain @ e)[None], (left + 1e-9 * np.eye(8))[None]))[0] for e in begin]
        return np.stack(columns, axis=1)

    explained = [RING.given(np.eye(16), pool((16,), size))[0] for size in (8, 4)]
    exact = [(g @ RING.cross(pool((16,), size)) @ g.T)[:8, 8:] for g, size in zip(explained, (8, 4), strict=True)]
    lost = [float(np.abs(between(size) - true).max() / np.abs(true).max()) for size in (8, 4, 2, 1)]
    return [
        below("covariance between patches against Cov(E[x|e]), e their means", _gap(between(8), exact[0]), 5e-3),
        below("the same, e two means each", _gap(between(4), exact[1]), 5e-3),
        below("covariance lost where e is everything", lost[3], 5e-3),
        above("covariance lost with one mean each over that with two", lost[0] / lost[1], 1.2, kept=True),
    ]


@claim(
    168,
    paper="DCTdiff",
    reference="arXiv:2412.15032",
    statement="Sampling orthonormal DCT coefficients is sampling pixels, state by state; with S(f) ~ f^-a the frequencies come out one "
    "after the other, coarse first, f at the level where alpha² S(f) = sigma²; dividing them by bounds shifts their log-SNR.",
    control="the DCT is the unnormalised one",
)
def cosines(broken: bool) -> list[Row]:
    """A ring of 16 pixels; the level at which each coefficient has half of its variance, on the exact flow."""
    nodes = uniform_lam(VP(), 8)
    basis = dct(16) * np.where(np.arange(16) == 0, math.sqrt(16.0), math.sqrt(8.0)) if broken else dct(16)
    variances = np.diag(RING.cross(np.linalg.pinv(basis)))
    f = np.arange(2, 14, dtype=float)
    smooth = StationaryField.power_law(4096, 2.0)
    s = smooth.spectrum[1:1000]
    levels = 0.5 * np.log(s)  # lam at which alpha² S = sigma² is −½ log S
    slope = float(np.polyfit(np.log(np.arange(1, 1000.0)[50:]), -levels[50:], 1)[0])
    bound = 3.0
    shifted = 0.5 * math.log(variances[3] / bound**2) - 0.5 * math.log(variances[3])
    return [
        below("sampling in DCT coordinates against pixels, largest difference", _through(basis, nodes), 1e-9, "relative"),
        near("energy of the coefficients over that of the pixels", float(variances.sum() / 16.0), 1.0, 1e-9),
        near("slope of the level of a frequency against log f", slope, 1.0, 0.02, kept=True),
        near("shift of the half log-SNR by dividing by a bound of 3", shifted, -math.log(bound), 1e-12, kept=True),
        below("frequencies that come out before a coarser one", float(np.sum(np.diff(variances[f.astype(int)]) > 0.0)), 0.0, kept=True),
    ]
