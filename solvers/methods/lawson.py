r"""Lawson (integrating-factor) Runge-Kutta methods (Lawson, SIAM J. Numer. Anal. 4 (1967); Krogstad, J. Comput. Phys. 203 (2005)).

The factor e^lam takes the linear part out of dz/dlam = -z + D, z = x/alpha; what is left goes to a classical method with lam as the time:

    w = e^lam z = x/sigma,    dw/dlam = e^lam D,
    x_i = (sigma_i/sigma_s) x + sigma_i h Σ_j a_ij e^{lam_j} D_j,    lam_i = lam_s + c_i h.

Here the kernel e^lam is discretised too: constant D is not followed exactly, and fixed points of the equation are lost. The generalised
method takes out D_s as well, dw/dlam = e^lam (D - D_s) with the part of D_s integrated exactly, which changes the weight of D_s alone:

    x_i = (sigma_i/sigma_s) x - alpha_i (e^{-c_i h} - 1) D_s + sigma_i h Σ_{j≥2} a_ij e^{lam_j} (D_j - D_s).

Which variable is the time matters. With the factor 1/alpha and rho as the time, d(x/alpha)/drho = eps, Lawson's methods are the
Runge-Kutta methods of ``edm.py``: there the factor leaves no kernel behind, and nothing is lost.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights import tableau
from scorebed.solvers.weights.tableau import Tableau


def through(coefficients: Tableau, denoise: Denoiser, x: Array, s: Node, t: Node, generalized: bool) -> Array:
    """x_t by the method of ``coefficients``."""
    h = t.lam - s.lam
    found = [(s, denoise(x, s))]
    for c, row in zip((*coefficients.c[1:], 1.0), (*coefficients.a[1:], coefficients.b), strict=True):
        node = s.toward(t, c)
        weights = [node.sigma * h * a * other.alpha / other.sigma for a, (other, _) in zip(row, found, strict=True)]
        if generalized:
            weights[0] = -node.alpha * math.expm1(-c * h) - math.fsum(weights[1:])
        u = (node.sigma / s.sigma) * x
        for w, (_, value) in zip(weights, found, strict=True):
            if w:
                u = u + w * value
        if len(found) < len(coefficients.c):
            found.append((node, denoise(u, node)))
    return u


@solver(order=2, reference="Lawson, SIAM J. Numer. Anal. 4 (1967); Krogstad, J. Comput. Phys. 203 (2005), with the explicit midpoint rule")
def lawson_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, generalized: bool = True) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + α_t h e^{−h/2} (D_i − D_s),  λ_i = λ_s + h/2;
    without ``generalized``  x_t = (σ_t/σ_s) x + α_t h e^{−h/2} D_i.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return through(tableau.MIDPOINT, denoise, x, s, t, generalized), None


@solver(order=3, reference="Lawson, SIAM J. Numer. Anal. 4 (1967); Krogstad, J. Comput. Phys. 203 (2005), with Kutta's method of order 3")
def lawson_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, generalized: bool = True) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + (α_t h/6)(4 e^{−h/2} (D₂ − D_s) + (D₃ − D_s)),  c = (0, 1/2, 1);
    without ``generalized``  x_t = (σ_t/σ_s) x + (α_t h/6)(e^{−h} D_s + 4 e^{−h/2} D₂ + D₃).

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return through(tableau.KUTTA3, denoise, x, s, t, generalized), None


@solver(order=4, reference="Lawson, SIAM J. Numer. Anal. 4 (1967); Krogstad, J. Comput. Phys. 203 (2005), with the classical method")
def lawson_4(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, generalized: bool = True) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + (α_t h/6)(2 e^{−h/2} (D₂ + D₃ − 2 D_s) + (D₄ − D_s)),  c = (0, 1/2, 1/2, 1);
    without ``generalized``  x_t = (σ_t/σ_s) x + (α_t h/6)(e^{−h} D_s + 2 e^{−h/2} (D₂ + D₃) + D₄).

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    return through(tableau.RK4, denoise, x, s, t, generalized), None
