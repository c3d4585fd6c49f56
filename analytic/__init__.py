"""Closed-form truth: laws, scores, exact flow maps, exact distances, exact moments of a solver's output."""

from analytic.covariance import LowRank
from analytic.mixture import GaussianMixture, from_data
from analytic.posterior import Posterior
from analytic.product import RotatedProduct

__all__ = ["GaussianMixture", "LowRank", "Posterior", "RotatedProduct", "from_data"]
