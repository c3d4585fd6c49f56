"""Exact heat kernels, one space per file, and mixtures of them."""

from scorebed.analytic.heat.jacobi import Jacobi
from scorebed.analytic.heat.mixture import HeatMixture, heat_flow
from scorebed.analytic.heat.product import HeatProduct
from scorebed.analytic.heat.simplex import JacobiMixture

__all__ = ["HeatMixture", "HeatProduct", "Jacobi", "JacobiMixture", "heat_flow"]
