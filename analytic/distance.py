"""Exact distances: between Gaussians, between laws in one dimension, and by kernels and slices in any."""

from analytic.gaussian_distance import gaussian_w2
from analytic.line_distance import cramer, cramer_von_mises, kolmogorov
from analytic.line_wasserstein import wasserstein
from analytic.mmd import mmd2
from analytic.sliced import sliced_cramer, sliced_wasserstein, unit_directions

__all__ = [
    "cramer",
    "cramer_von_mises",
    "gaussian_w2",
    "kolmogorov",
    "mmd2",
    "sliced_cramer",
    "sliced_wasserstein",
    "unit_directions",
    "wasserstein",
]
