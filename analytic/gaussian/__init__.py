"""Gaussian mixtures: densities, scores, posteriors, exact flow maps, in every covariance structure."""
