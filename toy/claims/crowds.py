r"""Claims 265 and 293: many particles that see each other through their mean."""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import solve_continuous_lyapunov

from scorebed.analytic.distance.gaussian import gaussian_kl, gaussian_w2
from scorebed.toy.claims.registry import Row, above, below, claim, near


def pair(n: int, interaction: float) -> np.ndarray:
    """The stationary covariance of two of n particles dx_i = −x_i dt + b (x̄ − x_i) dt + dW_i, from the whole system's Lyapunov equation."""
    drift = -(1.0 + interaction) * np.eye(n) + interaction / n
    return np.asarray(solve_continuous_lyapunov(drift, -np.eye(n)))[:2, :2]


@claim(
    265,
    paper="Mean-field chaos diffusion models",
    reference="arXiv:2406.05396",
    statement="In a linear system of N particles that attract each other through their mean, the law of two of them differs from the "
    "product of mean-field laws by W2 = O(1/N) and KL = O(1/N²), and no less: 1/√N is the rate of the empirical measure.",
    control="the particles do not see each other",
)
def chaos(broken: bool) -> list[Row]:
    """Stationary pairs of 16 to 256 particles with b = 1, exact by the Lyapunov equation; the mean-field law is N(0, 1/4)."""
    interaction, counts = (0.0 if broken else 1.0), (16, 64, 256)
    field = 0.5 / (1.0 + interaction) * np.eye(2)
    w2, kl = [], []
    for n in counts:
        c = pair(n, interaction)
        w2.append(max(gaussian_w2(np.zeros(2), c, np.zeros(2), field), 1e-12))
        kl.append(max(gaussian_kl(np.zeros(2), c, np.zeros(2), field), 1e-24))
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
    a, b, s, tau, m = 0.9, 0.6, 0.7, 1.1, 1.6
    told = m + (0.5 if broken else 0.0)

    def carried(blind: bool, x: float) -> float:
        def velocity(t: float, y: np.ndarray) -> np.ndarray:
            spread, width = (s * math.exp(-a * t)) ** 2, (tau * math.exp(b * t)) ** 2
            seen = width / (width + spread) * y if blind else told * math.exp(b * t)
            return -a * (y - seen) + b * seen

        return float(solve_ivp(velocity, (0.0, 1.0), [x], method="DOP853", rtol=1e-11, atol=1e-12).y[0, -1])

    exact = m * math.exp(b)
    ends = [carried(False, m + s), carried(False, m - s)]
    gain = math.exp(-a) * math.sqrt((math.exp(2 * (a + b)) + (s / tau) ** 2) / (1.0 + (s / tau) ** 2))
    blind = [carried(True, m + s), carried(True, m - s)]
    whole = math.hypot(tau * math.exp(b), s * math.exp(-a)) / math.hypot(tau, s)
    return [
        below("mean of the unseen population, told its statistics", abs(0.5 * sum(ends) - exact), 1e-8),
        below("the error of the blind velocity against its closed form", abs(0.5 * sum(blind) - gain * m), 1e-8, kept=True),
        above("that error", abs(gain * m - exact), 0.2, kept=True),
        below("the blind velocity on the mixture of populations: its gain", abs(gain - whole), 1e-12, kept=True),
    ]
