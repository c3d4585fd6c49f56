r"""The exponential Taylor method of order 2.

Along the flow D(lam) = D_s + (lam - lam_s) D'_s + …, and in front of this line the kernel is integrated exactly (arXiv:2211.01095),

    x_t = (sigma_t/sigma_s) x - alpha_t (e^{-h} - 1) D_s + alpha_t h² φ_2(-h) D'_s,      D' = ∂D/∂lam + (∂D/∂x) dx/dlam.

D' is one Jacobian-vector product, of D as a function of (x, lam), along the flow; GENIE (arXiv:2210.05475) does this in rho with eps. A
step is only given D, so the product is the forward difference in that direction: D at the DDIM-moved state a small part delta of the step
further on. It is a linear combination of evaluations, which a Plan can hold, and costs one of them, about as much as a product by
forward-mode differentiation.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import solver
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import within
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import flow_by_denoised, phi


@solver(order=2, reference="arXiv:2211.01095, Taylor expansion to n = 1 with D' by a difference along the flow")
@within(delta="(0, 1]")
def taylor_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: None, noise: Noise, *, delta: float = 1 / 64) -> tuple[Array, Any]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s + α_t h² φ₂(−h) D',  D' = (D(u) − D_s)/(δ h),  u the DDIM step to λ_s + δ h.

    The difference is D'_s + O(δ h): an error of O(δ h³) per step beside Taylor's own O(h³), while round-off of D is multiplied by h/2δ,
    32 h at the default. For every δ the method is ``exp_rk_2(c2=δ)``, whose limit δ → 0 is the Taylor method.

    Returns:
        (x_t of the shape of x, None for no memory).
    """
    i = s.toward(t, delta)
    denoised = denoise(x, s)
    ahead = denoise(flow_by_denoised(x, denoised, s, i), i)
    h = t.lam - s.lam
    return flow_by_denoised(x, denoised, s, t) + (t.alpha * h * phi(2, -h) / delta) * (ahead - denoised), None
