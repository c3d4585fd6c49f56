"""Exact heat kernels, one space per file, and mixtures of them."""

from analytic.heat.flow import heat_flow
from analytic.heat.jacobi import Jacobi
from analytic.heat.mixture import HeatMixture
from analytic.heat.product import HeatProduct
from analytic.heat.simplex import JacobiMixture

__all__ = ["HeatMixture", "HeatProduct", "Jacobi", "JacobiMixture", "heat_flow"]
