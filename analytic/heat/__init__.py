"""Exact heat kernels, one space per file, and mixtures of them."""
