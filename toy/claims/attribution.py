r"""Claims 188, 223, 260: who made this sample (influence of data on exact denoisers), and a forward process that changes nothing."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import spearmanr

from scorebed.analytic import GaussianMixture, from_data
from scorebed.solvers import EDM
from scorebed.toy.claims.registry import Row, above, below, claim


@claim(
    260,
    paper="DMin (influence estimation)",
    reference="arXiv:2412.08637",
    statement="On the denoiser of a data set the influence of a datum is exact: the derivative in its weight is its responsibility times "
    "x_i − D, leaving it "
    "out gives (D − w_i x_i)/(1 − w_i); random projections of the gradients keep the ranking, the better the more numbers they keep.",
    control="responsibilities of another noise level; two numbers kept",
)
def influence(broken: bool) -> list[Row]:
    """60 points in 16 dimensions at sigma = 1.5; gradients of a linear model of 512 features projected to 128."""
    rng = np.random.default_rng(0)
    data, node = rng.standard_normal((60, 16)), EDM().node(1.5)
    x = data[:1] + 1.5 * rng.standard_normal((1, 16))
    law = from_data(data, 0.0)
    d = law.denoised(x, node)[0]
    w = np.asarray(law.posterior(x, EDM().node(1.0) if broken else node).weights)[0]
    i = int(np.argsort(w)[-2])
    rest = from_data(np.delete(data, i, 0), 0.0)
    left_out = float(np.abs((d - w[i] * data[i]) / (1.0 - w[i]) - rest.denoised(x, node)[0]).max())
    more = np.full(60, 1.0)
    more[i] += 1e-5
    moved = GaussianMixture(more / more.sum(), data, np.zeros(60)).denoised(x, node)[0]
    slope = (moved - d) / 1e-5 - w[i] * (data[i] - d)
    features = np.tanh(data @ rng.standard_normal((16, 512)))
    query = features[0]
    kept = 2 if broken else 128
    lens = rng.standard_normal((512, kept)) / math.sqrt(kept)
    exact, found = features @ query, (features @ lens) @ (query @ lens)
    top = set(np.argsort(exact)[-10:]) & set(np.argsort(found)[-10:])
    return [
        below("leaving one out against its closed form", left_out, 1e-10),
        below("derivative in the weight against its closed form", float(np.abs(slope).max()), 1e-3),
        above("recall of the ten largest from 128 numbers of 512", len(top) / 10.0, 0.6),
    ]


@claim(
    188,
    paper="D-TRAK data attribution",
    reference="arXiv:2311.00500",
    statement="Where the model is linear in its parameters, attributions by its features predict the change of any output under "
    "retraining on subsets (a linear "
    "datamodeling score near 1 for the output itself); in this convex case an output that is not the loss, |D|², ranks no better than D.",
    control="features of a model that was not trained",
)
def attribution(broken: bool) -> list[Row]:
    """Ridge regression of x0 on 40 random features of x_t, 100 data, 60 retrainings on halves; rank correlation of sums with outputs."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((100, 3)) @ np.diag([1.0, 0.5, 0.2])
    noisy = data + 0.5 * rng.standard_normal(data.shape)
    weights, phase = rng.standard_normal((3, 40)), 6.0 * rng.random(40)
    phi = np.cos(noisy @ weights + phase)
    query = np.cos(rng.standard_normal((1, 3)) @ weights + phase)[0]

    def fit(rows: np.ndarray) -> np.ndarray:
        a = phi[rows]
        return np.asarray(np.linalg.solve(a.T @ a + 5.0 * np.eye(40), a.T @ data[rows]))

    full = fit(np.arange(100))
    used = rng.standard_normal((100, 40)) if broken else phi
    kernel = np.linalg.solve(used.T @ used + 5.0 * np.eye(40), query)
    each = (used @ kernel)[:, None] * (data - phi @ full)  # change of the output by each datum, to first order
    subsets = [rng.permutation(100)[:50] for _ in range(60)]
    outputs = np.array([query @ fit(s) for s in subsets])
    plain = np.array([each[s].sum(0) for s in subsets])
    score = float(np.mean([spearmanr(plain[:, j], outputs[:, j])[0] for j in range(3)]))
    norm = float(spearmanr(plain @ (2.0 * query @ full), (outputs**2).sum(1))[0])
    return [
        above("linear datamodeling score of the output", score, 0.6),
        above("that less the score of |D|²", score - norm, -0.15, kept=True),
    ]


@claim(
    223,
    paper="Fast Diffusion Model (momentum forward process)",
    reference="arXiv:2306.06991",
    statement="The mean coefficient (1 + B) e^{−B} solves m'' + 2m' + m = 0: critically damped, monotone and without overshoot, where "
    "less damping overshoots "
    "and more is slower; in x/alpha the flow is EDM's to the last bit.",
    control="a damping of .4",
)
def momentum_forward(broken: bool) -> list[Row]:
    """The oscillator m'' + 2ζ m' + m = 0 from 1 at rest, B in [0, 20]; D of a scaled state."""
    b = np.linspace(0.0, 20.0, 4001)

    def oscillator(zeta: float) -> np.ndarray:
        if zeta == 1.0:
            return np.asarray((1.0 + b) * np.exp(-b))
        root = np.sqrt(complex(zeta**2 - 1.0))
        p, q = -zeta + root, -zeta - root
        return np.asarray(((q * np.exp(p * b) - p * np.exp(q * b)) / (q - p)).real)

    m = oscillator(0.4 if broken else 1.0)
    h = b[1] - b[0]
    residual = (m[2:] - 2.0 * m[1:-1] + m[:-2]) / h**2 + (m[2:] - m[:-2]) / h + m[1:-1]
    late = [float(np.abs(oscillator(z)[-1])) for z in (1.0, 2.0)]
    law, s = GaussianMixture([0.3, 0.7], [-1.0, 1.0], [0.1, 0.2]), 0.7
    node = EDM().node(0.5)
    scaled = type(node)(t=0.5, alpha=s, sigma=s * 0.5, lam=node.lam)
    x = np.linspace(-2.0, 2.0, 9)[:, None]
    same = float(np.abs(law.denoised(s * x, scaled) - law.denoised(x, node)).max())
    return [
        below("residual of m'' + 2m' + m", float(np.abs(residual).max()), 1e-4),
        above("least value: no overshoot", float(m.min()), 0.0),
        below("left at B = 20 over what damping 2 leaves", late[0] / late[1], 1e-3, kept=True),
        below("D at s x against EDM's at x", same, 1e-12, kept=True),
    ]
