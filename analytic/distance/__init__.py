"""Exact distances: between Gaussians, between laws in one dimension, and by kernels and slices in any."""

from scorebed.analytic.distance.divergence import divergence
from scorebed.analytic.distance.gaussian import gaussian_kl, gaussian_w2
from scorebed.analytic.distance.line import cramer, cramer_von_mises, kolmogorov
from scorebed.analytic.distance.mmd import mmd2
from scorebed.analytic.distance.sliced import sliced_cramer, sliced_wasserstein, unit_directions
from scorebed.analytic.distance.wasserstein import wasserstein

__all__ = [
    "cramer",
    "cramer_von_mises",
    "divergence",
    "gaussian_kl",
    "gaussian_w2",
    "kolmogorov",
    "mmd2",
    "sliced_cramer",
    "sliced_wasserstein",
    "unit_directions",
    "wasserstein",
]
