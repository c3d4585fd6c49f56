r"""Claims 265 and 293: many particles that see each other through their mean."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import solve_ivp

from scorebed.analytic.process import MeanField, Populations
from scorebed.solvers.process.particles import Particles
from scorebed.toy.claims.registry import Row, above, below, claim, near


@claim(
    265,
    paper="Mean-field chaos diffusion models",
    reference="arXiv:2406.05396",
    statement="In a linear system of N particles that attract each other through their mean, the law of two of them differs from the "
    "product of mean-field laws by W2 = O(1/N) and KL = O(1/N²), and no less: 1/√N is the rate of the empirical measure.",
    control="the particles do not see each other",
)
def chaos(broken: bool) -> list[Row]:
    """Pairs of 16 to 256 particles with b = 1, come to rest, where the mean-field law is N(0, 1/4)."""
    counts, w2, kl = (16, 64, 256), [], []
    for n in counts:
        process = Particles(n, interaction=0.0 if broken else 1.0, t_max=20.0)
        chaos = MeanField(process).chaos(2, process.node(20.0))
        w2.append(max(chaos.w2, 1e-12))
        kl.append(max(chaos.kl, 1e-24))
    rates = [-math.log(v[-1] / v[0]) / math.log(counts[-1] / counts[0]) for v in (w2, kl)]
    return [
        near("rate of W2 in 1/N", rates[0], 1.0, 0.02),
        near("rate of KL in 1/N", rates[1], 2.0, 0.03),
        near("N W2 at N = 256", counts[-1] * w2[-1], 0.5, 0.01),
        near("N² KL at N = 256", counts[-1] ** 2 * kl[-1], 1.0, 0.02),
    ]


@claim(
    293,
    paper="Meta flow matching",
    reference="arXiv:2408.14608",
    statement="A velocity that is told the population's statistics carries populations it has never seen; one that is not told "
    "averages over the populations it was made from, with an error in closed form, although it carries their mixture "
    "exactly.",
    control="the statistics of another population are told",
)
def populations(broken: bool) -> list[Row]:
    """Populations N(m, s²) with m ~ N(0, τ²) of ẋ = −a (x − m(t)) + b m(t); an unseen one with m = 1.6."""
    law, m = Populations(rate=0.9, pull=0.6, spread=0.7, width=1.1), 1.6
    told = m + (0.5 if broken else 0.0)

    def centre(mean: float | None) -> float:
        """Where the middle of the unseen population is carried to: half of what two of its particles are, by integration."""
        x = m + law.spread * np.array([1.0, -1.0])
        done = solve_ivp(lambda t, y: law.velocity(y, t, mean), (0.0, 1.0), x, method="DOP853", rtol=1e-11, atol=1e-12)
        return float(done.y[:, -1].mean())

    exact, blind = m * math.exp(law.pull), float(law.carried(np.array([m]), 1.0)[0])
    whole = math.hypot(law.width * math.exp(law.pull), law.spread * math.exp(-law.rate)) / math.hypot(law.width, law.spread)
    return [
        below("mean of the unseen population, told its statistics", abs(centre(told) - exact), 1e-8),
        below("the error of the blind velocity against its closed form", abs(centre(None) - blind), 1e-8, kept=True),
        above("that error", abs(blind - exact), 0.2, kept=True),
        below("the blind velocity on the mixture of populations: its gain", abs(centre(None) / m - whole), 1e-8, kept=True),
    ]
