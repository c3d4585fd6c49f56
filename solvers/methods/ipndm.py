r"""PNDM and iPNDM: Adams-Bashforth on eps inside the DDIM transfer (Liu et al., arXiv:2202.09778; Zhang & Chen, arXiv:2204.13902).

The transfer moves y = x/alpha by (rho_t - rho_s) eps, so it is linear in rho, and the classical weights are right on equal steps of rho.
The papers take them on equal steps of t, which leaves the error (Δt³/12) ε' ρ'' in every step: order 2, however many evaluations are
combined (PNDM claims no more). Here the weights are those of the steps in rho as they are, of any spacing, and the order is the full one.
So iPNDM-(r+1) is rhoAB-DEIS-r, and differs from it in the start alone.
"""

from __future__ import annotations

from scorebed.solvers.base import alias
from scorebed.solvers.methods.adams import lms_2, lms_3, lms_4
from scorebed.solvers.methods.deis import deis_rhoab3
from scorebed.solvers.methods.dpm_solver import ddim

ipndm_1 = alias("ipndm_1", ddim, reference="arXiv:2204.13902, iPNDM with r = 0", formula="x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε_s.")
ipndm_2 = alias(
    "ipndm_2",
    lms_2,
    reference="arXiv:2204.13902, iPNDM with r = 1, for any spacing",
    formula="x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε,  ε = (3 ε_s − ε_r)/2 on equal steps of ρ.",
)
ipndm_3 = alias(
    "ipndm_3",
    lms_3,
    reference="arXiv:2204.13902, iPNDM with r = 2, for any spacing",
    formula="x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε,  ε = (23 ε_s − 16 ε_r + 5 ε_q)/12 on equal steps of ρ.",
)
ipndm_4 = alias(
    "ipndm_4",
    lms_4,
    reference="arXiv:2204.13902, iPNDM with r = 3, for any spacing",
    formula="x_t = (α_t/α_s) x + α_t (ρ_t − ρ_s) ε,  ε = (55 ε_s − 59 ε_r + 37 ε_q − 9 ε_p)/24 on equal steps of ρ.",
)
pndm = alias(
    "pndm",
    deis_rhoab3,
    reference="arXiv:2202.09778, F-PNDM (eqs. 12-13), for any spacing",
    formula="``ipndm_4`` after three pseudo Runge-Kutta steps, the classical method of order 4 with the DDIM transfer, its middle stage at "
    "the middle of ρ. With the printed middle of t that start, like the multistep part, is of order 2.",
    published=deis_rhoab3,
)
