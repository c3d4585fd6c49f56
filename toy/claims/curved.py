r"""Claims 63, 85, 114, 144, 165, 240, 251, 290: heat on curved, walled and closed spaces, and what is read off it."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from scipy.special import iv, ive

from scorebed.analytic.heat import hyperbolic, sphere
from scorebed.analytic.heat.jacobi import Jacobi
from scorebed.analytic.heat.wrapped import reflected, wrapped
from scorebed.solvers.space import Sphere
from scorebed.toy.claims.registry import Row, above, below, claim, near


@claim(
    63,
    paper="Heat geodesic embedding",
    reference="arXiv:2305.19043",
    statement="−2t log p_t tends to the squared distance on circle, sphere and hyperbolic space (clock ½Δ; −4t belongs to Δ), with a "
    "correction by "
    "volume and normalisation that is known; the heat kernel of a graph does not follow below its grid.",
    control="the factor −4t",
)
def varadhan_distance(broken: bool) -> list[Row]:
    """Distances .5, 1, 2; t = 1e-3, with and without the corrections; a ring of 64 cells."""
    r, t = np.array([0.5, 1.0, 2.0]), 1e-3
    factor = -4.0 * t if broken else -2.0 * t
    logs = {
        "circle": wrapped(r, t)[0] + 0.5 * math.log(2.0 * math.pi * t),
        "sphere": sphere.kernel(r, t, 2)[0] + math.log(2.0 * math.pi * t) - 0.5 * np.log(r / np.sin(r)),
        "hyperbolic space": hyperbolic.kernel(r, t, 3)[0] + 1.5 * math.log(2.0 * math.pi * t) - np.log(r / np.sinh(r)),
    }
    rows = [
        below(f"{name}: corrected, against d², relative", float(np.abs(factor * v / r**2 - 1.0).max()), 2e-2) for name, v in logs.items()
    ]
    plain = factor * wrapped(r, t)[0] / r**2
    h = 2.0 * math.pi / 64
    modes = np.arange(64)
    rates = (1.0 - np.cos(2.0 * math.pi * modes / 64)) / h**2
    short = 1e-4 * h**2
    ring = float(np.mean(np.exp(-rates * short) * np.cos(2.0 * math.pi * modes * 3 / 64)))
    return [
        *rows,
        above("circle, plain: bias at d = .5", float(abs(plain[0] - 1.0)), 0.01, kept=True),
        below("ring below its grid: −2t log p over d²", float(-2.0 * short * math.log(max(ring, 1e-300)) / (3.0 * h) ** 2), 0.5, kept=True),
    ]


@claim(
    85,
    paper="RDLM (statistical-manifold diffusion)",
    reference="arXiv:2502.11564",
    statement="p ↦ √p maps the simplex with the Fisher metric to the sphere of radius two; ⟨X, e⟩ of a Brownian motion obeys a closed "
    "equation whose term "
    "−(d/2)⟨X, e⟩ makes its mean e^{−dt/2}, as random walks do; a log bridge ends in its vertex; the normal law of the tangent space is "
    "not the heat "
    "kernel.",
    control="the term −(d/2)⟨X, e⟩ is left out; the factor 2",
)
def statistical_manifold(broken: bool) -> list[Row]:
    """Three categories (d = 2): metric by differences, 20,000 geodesic walks of 40 steps, bridges of 60 steps."""
    rng, space = np.random.default_rng(0), Sphere(2)
    p, dp = np.array([0.2, 0.3, 0.5]), np.array([0.3, -0.1, -0.2])
    h = 1e-5
    fisher = float((dp**2 / p).sum())
    speed = (1.0 if broken else 2.0) * float(np.linalg.norm(np.sqrt(p + h * dp) - np.sqrt(p - h * dp))) / (2.0 * h)
    t, n = 0.5, 40
    x = np.tile(space.origin, (20000, 1))
    for _ in range(n):
        x = space.exp(x, math.sqrt(t / n) * space.noise(x, rng.standard_normal(x.shape)))
    closed = 1.0 if broken else math.exp(-t)
    y, goal = np.tile(np.array([0.0, 1.0, 0.0]), (500, 1)), np.tile(space.origin, (500, 1))
    for k in range(60):
        step = 1.0 / 60.0
        noise = math.sqrt(step * max(0.0, 1.0 - (k + 1) * step) / (1.0 - k * step)) * space.noise(y, rng.standard_normal(y.shape))
        y = space.exp(y, step / (1.0 - k * step) * space.log(y, goal) + noise)
    z, w = np.polynomial.legendre.leggauss(200)
    r = 0.5 * math.pi * (z + 1.0)
    normal = np.exp(-0.5 * r**2 / t) * r
    tangent = float(w @ (normal * np.cos(r)) / (w @ normal))
    return [
        near("Fisher speed over that of √p on a sphere of radius 2", speed / math.sqrt(fisher), 1.0, 1e-8),
        near("E⟨X, e⟩ of the walks at t = ½ over the closed one", float(x[:, 0].mean()) / closed, 1.0, 0.02),
        below("largest distance of a bridge's end from its vertex", float(space.distance(y, goal).max()), 1e-6, kept=True),
        above("E⟨X, e⟩ of the tangent normal less e^{−t}", abs(tangent - math.exp(-t)), 0.005, kept=True),
    ]


@claim(
    114,
    paper="Dirichlet diffusion score model",
    reference="arXiv:2305.10699",
    statement="The Jacobi diffusion is stationary at Beta(a, b), its kernel has the rates n (n − 1 + a + b)/2 and mass one; its reverse "
    "needs the derivative "
    "of the state-dependent diffusion beside the score; from it, sticks near 0 and 1 are recovered with their weights.",
    control="the derivative of the diffusion is left out",
)
def jacobi_reverse(broken: bool) -> list[Row]:
    """a = 1.2, b = 1.8: the drift at stationarity, the kernel by Gauss sums, 1500 reverse paths of 22 steps to .05 and .95."""
    law, rng = Jacobi(1.2, 1.8), np.random.default_rng(0)
    y = np.linspace(0.01, 0.99, 99)
    forward, square, slope = 0.5 * (1.2 * (1.0 - y) - 1.8 * y), y * (1.0 - y), 0.0 if broken else 1.0
    score = 0.2 / y - 0.8 / (1.0 - y)
    reverse = -forward + slope * (1.0 - 2.0 * y) + square * score
    z, w = np.polynomial.legendre.leggauss(120)
    u, w = 0.5 * (z + 1.0), 0.5 * w
    mass = float(w @ np.exp(law.kernel(np.full_like(u, 0.3), u, 0.4)[0]))
    mean = float(w @ (u * np.exp(law.kernel(np.full_like(u, 0.3), u, 0.4)[0])))
    rate = -math.log((mean - 0.4) / (0.3 - 0.4)) / 0.4
    x = law.sample(np.where(rng.random(1500) < 0.3, 0.05, 0.95), 1.5, rng)
    levels = np.concatenate([np.linspace(1.5, 0.1, 12), np.geomspace(0.1, 0.01, 12)[1:]])
    table = 0.5 - 0.5 * np.cos(math.pi * (np.arange(32) + 0.5) / 32)
    for s, t in pairwise(levels.tolist()):
        parts = [law.kernel(np.full_like(table, m), table, s) for m in (0.05, 0.95)]
        weights = np.stack([math.log(c) + part[0] for c, part in zip((0.3, 0.7), parts, strict=True)])
        weights = np.exp(weights - weights.max(0))
        weights /= weights.sum(0)
        slope_log = table * (1.0 - table) * (weights[0] * parts[0][1] + weights[1] * parts[1][1])
        drift = -0.5 * (1.2 * (1.0 - x) - 1.8 * x) + slope * (1.0 - 2.0 * x) + np.interp(x, table, slope_log)
        x = x + drift * (s - t) + np.sqrt(x * (1.0 - x) * (s - t)) * rng.standard_normal(x.shape)
        x = np.clip(x, 1e-4, 1.0 - 1e-4)
    off = float(np.minimum(np.abs(x - 0.05), np.abs(x - 0.95)).mean())
    return [
        below("reverse drift at stationarity against the forward one", float(np.abs(reverse - forward).max()), 1e-12),
        below("mass of the kernel less one", abs(mass - 1.0), 1e-5, kept=True),
        near("rate of the mean, n = 1: (a + b)/2", rate, 1.5, 1e-6, kept=True),
        near("share that ends at .95", float((x > 0.5).mean()), 0.7, 0.05, kept=True),
        below("mean distance of the ends from .05 and .95", off, 0.03),
    ]


@claim(
    144,
    paper="Neural FIM",
    reference="arXiv:2306.06062",
    statement="The Fisher metric of x ↦ p_t(x, ·) is (1/t)(1 − ½ t Ric + O(t²)) times the Riemannian one: −½ on the sphere, +½ on the "
    "hyperbolic plane.",
    control="the metric of flat space",
)
def fisher_metric(broken: bool) -> list[Row]:
    """E (∂_r log p)²/2 by quadrature over the radius at t = .02, whose excess over 1/t is the coefficient."""
    t = 0.02
    z, w = np.polynomial.legendre.leggauss(400)
    r, w = 0.6 * (z + 1.0), 0.6 * w
    found = []
    for (log, slope), area in ((sphere.kernel(r, t, 2), np.sin(r)), (hyperbolic.kernel(r, t, 2), np.sinh(r))):
        found.append(0.5 * float(w @ (2.0 * math.pi * area * np.exp(log) * slope**2)))
    if broken:
        found = [1.0 / t, 1.0 / t]
    return [
        near("sphere: (t I − 1)/t, −½ Ric", (t * found[0] - 1.0) / t, -0.5, 0.01),
        near("hyperbolic plane: (t I − 1)/t", (t * found[1] - 1.0) / t, 0.5, 0.01),
    ]


@claim(
    165,
    paper="HypDiff",
    reference="arXiv:2405.03188",
    statement="The normal law of a tangent space, wrapped on the hyperbolic plane, is not its heat kernel: their divergence grows like "
    "t²; noise that is "
    "weaker across the radius than along it keeps angular clusters longer.",
    control="the heat kernel of a shifted time; isotropic noise",
)
def wrapped_normal(broken: bool) -> list[Row]:
    """KL by quadrature over the radius; angular spread e^{−a² t/2 r²} of a cluster at r = 2 under noise of share a across."""
    z, w = np.polynomial.legendre.leggauss(300)

    def divergence(t: float) -> float:
        end = 9.0 * math.sqrt(t) + t
        r, weights = 0.5 * end * (z + 1.0), 0.5 * end * w
        area = 2.0 * math.pi * np.sinh(r)
        normal = -0.5 * r**2 / t - math.log(2.0 * math.pi * t) - np.log(np.sinh(r) / r)
        heat = hyperbolic.kernel(r, 1.3 * t if broken else t, 2)[0]
        return float(weights @ (area * np.exp(normal) * (normal - heat)))

    times = [0.05, 0.1, 0.2]
    values = [divergence(t) for t in times]
    share = 1.0 if broken else 0.3
    kept = math.exp(-0.5 * share**2 * 1.0 / 4.0) / math.exp(-0.5 / 4.0)
    return [
        near("order in t of KL(wrapped normal ‖ heat kernel)", float(np.polyfit(np.log(times), np.log(values), 1)[0]), 2.0, 0.15),
        below("KL at t = .05, nats", values[0], 1e-3),
        above("mean resultant of a cluster at t = 1, weak across over isotropic", kept, 1.05),
    ]


@claim(
    240,
    paper="Reflected Schrödinger bridge",
    reference="arXiv:2401.03228",
    statement="Iterative proportional fitting with the reflected heat kernel converges linearly, at Hilbert's rate at most; the "
    "potentials have no slope at the "
    "walls and no mass leaves the interval.",
    control="the kernel of the whole line",
)
def reflected_bridge(broken: bool) -> list[Row]:
    """Two densities on [0, 1], 101 points, t = .2: the contraction of the marginal, row sums, slopes of the potential at the walls."""
    x = (np.arange(200) + 0.5) / 200
    t = 0.2
    if broken:
        kernel = np.exp(-0.5 * (x[:, None] - x) ** 2 / t) / math.sqrt(2.0 * math.pi * t) / 200
    else:
        kernel = np.exp(reflected(x[:, None], np.broadcast_to(x, (200, 200)), t)[0]) / 200
    a = np.exp(-0.5 * ((x - 0.3) / 0.1) ** 2)
    b = np.exp(-0.5 * ((x - 0.8) / 0.08) ** 2) + 0.5 * np.exp(-0.5 * ((x - 0.2) / 0.1) ** 2)
    a, b = a / a.sum(), b / b.sum()
    g, errors = np.ones(200), []
    for _ in range(30):
        f = a / (kernel @ g)
        g = b / (kernel.T @ f)
        errors.append(float(np.abs(f * (kernel @ g) - a).sum()))
    rate = (errors[6] / errors[2]) ** 0.25
    cross = np.log(kernel.max() / kernel.min()) * 2.0
    backward = kernel @ g
    wall = abs(math.log(backward[1] / backward[0])) / (x[1] - x[0])
    return [
        below("error of the first marginal after 30 rounds", errors[-1], 1e-10, kept=True),
        below("rate of contraction over Hilbert's bound", rate / math.tanh(0.25 * cross) ** 2, 1.0, kept=True),
        below("mass that leaves the interval, worst point", float(np.abs(kernel.sum(1) - 1.0).max()), 1e-4),
        below("slope of the potential's logarithm at the wall", wall, 0.05),
    ]


@claim(
    251,
    paper="Diffusion spectral entropy",
    reference="arXiv:2312.04823",
    statement="The entropy of the spectrum of the heat operator is log Z + t E λ, ½ log(2π/t) + ½ on the circle, with the slope −d/2 in "
    "log t; the spectrum of n "
    "points' normalised kernel gives it while their spacing is below √t.",
    control="the spectrum of a surface",
)
def spectral_entropy(broken: bool) -> list[Row]:
    """Eigenvalues k²/2 of the circle at t = .01 and .04; 400 random points."""

    def entropy(t: float) -> float:
        k = np.arange(-300, 301)
        rates = 0.5 * (k[:, None] ** 2 + k**2).ravel() if broken else 0.5 * k**2
        p = np.exp(-t * rates)
        z = p.sum()
        return float(math.log(z) + t * (p @ rates) / z)

    rng = np.random.default_rng(0)
    angles = 2.0 * math.pi * rng.random(400)
    t = 0.04
    kernel = np.exp(wrapped(angles[:, None] - angles, t)[0])
    density = kernel.sum(1)
    kernel = kernel / np.sqrt(density[:, None] * density)  # alpha = ½ of diffusion maps, then row sums
    values = np.linalg.eigvalsh(kernel / np.sqrt(kernel.sum(1)[:, None] * kernel.sum(1)))
    p = np.maximum(values, 0.0) / np.maximum(values, 0.0).sum()
    found = -float((p[p > 0.0] * np.log(p[p > 0.0])).sum())
    return [
        near("entropy at t = .01 less ½ log(2π/t) − ½", entropy(0.01) - 0.5 * math.log(2.0 * math.pi / 0.01) - 0.5, 0.0, 1e-6),
        near("slope in log t", (entropy(0.04) - entropy(0.01)) / math.log(4.0), -0.5, 1e-6),
        near("400 points at t = .04, less the closed one", found - 0.5 * math.log(2.0 * math.pi / t) - 0.5, 0.0, 0.2, kept=True),
    ]


@claim(
    290,
    paper="CrysBFN (periodic Bayesian flow)",
    reference="arXiv:2502.02016",
    statement="The posterior of an angle under von Mises observations is von Mises, with parameters that add as vectors; so accuracy "
    "does not add up, entropy "
    "may rise along a flow, and KL between receiver and sender is a ratio of Bessel functions.",
    control="accuracies are added as numbers",
)
def periodic_flow(broken: bool) -> list[Row]:
    """A flat prior, 12 observations of accuracy .8; the posterior by quadrature; 3000 flows."""
    rng = np.random.default_rng(0)
    y = rng.vonmises(0.7, 0.8, 12)
    resultant = 0.8 * np.exp(1j * y).sum()
    c, m = (0.8 * 12 if broken else abs(resultant)), float(np.angle(resultant))
    theta = 2.0 * math.pi * np.arange(2000) / 2000
    product = np.exp(0.8 * np.cos(y[:, None] - theta).sum(0))
    closed = np.exp(c * np.cos(theta - m))
    off = float(np.abs(product / product.sum() - closed / closed.sum()).sum())
    flows = np.cumsum(0.8 * np.exp(1j * rng.vonmises(0.0, 0.8, (3000, 12))), axis=1)
    accuracy = 0.8 * np.arange(1, 13) * np.ones((3000, 1)) if broken else np.abs(flows)
    falls = float((np.diff(accuracy, axis=1) < 0.0).any(1).mean())
    p, q = np.exp(2.0 * np.cos(theta)) / iv(0, 2.0), np.exp(0.5 * np.cos(theta - 0.4)) / iv(0, 0.5)
    numeric = float((p * np.log(p / q)).mean())
    ratio = ive(1, 2.0) / ive(0, 2.0)
    formula = math.log(iv(0, 0.5) / iv(0, 2.0)) + ratio * (2.0 - 0.5 * math.cos(0.4))
    return [
        below("posterior by quadrature against von Mises with the added vector", off, 1e-10),
        above("share of flows whose accuracy falls at some step", falls, 0.3),
        below("mean accuracy after 12 steps over the sum of accuracies", float(accuracy[:, -1].mean()) / 9.6, 0.6),
        below("KL by quadrature against its Bessel form", abs(numeric - formula), 1e-12, kept=True),
    ]
