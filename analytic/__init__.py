"""Closed-form truth: laws, scores, exact flow maps, exact distances, exact moments of a solver's output."""

from scorebed.analytic.gaussian.covariance import LowRank
from scorebed.analytic.gaussian.mixture import GaussianMixture, from_data
from scorebed.analytic.gaussian.posterior import Posterior
from scorebed.analytic.gaussian.product import RotatedProduct
from scorebed.analytic.gaussian.rotated import Rotated

__all__ = ["GaussianMixture", "LowRank", "Posterior", "Rotated", "RotatedProduct", "from_data"]
