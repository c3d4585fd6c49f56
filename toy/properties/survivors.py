"""The mutants that no property notices, with the reason of each."""

from __future__ import annotations

from scorebed.solvers.process import LINEAR

_FIRST = "an evaluation 1 % of the step away leaves a method of order 1 at order 1"
_SECOND = "an evaluation 1 % of the step away adds an error of order 1 that is smaller than that of order 2 at these steps"
_TWO = ("ab2", "pec_t", "exp_adams_2", "heun_t", "ralston_t", "exp_line_2")
_WITHIN = "what comes into x of the noise or the prediction of v within one step is too little to show"
EXPLAINED = {
    "dpmpp_3m_sde": (8, "third-order terms of the drift do not show in the weak order 2 that it claims"),
    "seeds_3": (5, "third-order terms of the drift do not show in the weak order 2 that it claims"),
    "hb_dpmpp_2m": (4, "the second-order correction of D does not matter to a method of order 1"),
    "stork_2": (6, "the weight of the second derivative does not matter to a method of order 2"),
    "srk_2": (1, "the smallest of a stage's noise weights is below what weak order 2 shows at these steps"),
    "pc_langevin": (2, "the corrector's first noise is forgotten before the next evaluation on a point mass"),
    "langevin_gibbs": (1, "the first sweep's noise is forgotten before the next evaluation on a point mass"),
    "euler_maruyama": (1, _FIRST),
    "exp_euler_maruyama": (2, _FIRST),
    "ghvb_3": (4, "1 % of the highest difference, averaged besides, is too little to show in the order at these steps"),
    "ghvb_4": (6, "1 % of the highest difference, averaged besides, is too little to show in the order at these steps"),
    "edict": (6, _FIRST),
    "bdia": (4, "gamma itself off by 1 % is another BDIA of the same order"),
    "rex_stochastic_heun": (8, "the weight zeta and what brings back the pair's difference do not enter the order"),
    "rex_dpmpp_2s": (4, "the weight zeta of the pair's difference does not enter the order"),
    "rex_rk4": (8, "the weight zeta of the pair's difference does not enter the order"),
    **{f"{name} on {kind}": (1, _FIRST) for name in ("ddim", "ddpm", "euler_t", "euler_maruyama") for kind in LINEAR[1:]},
    **{f"gddim on {kind}": (2, _FIRST) for kind in LINEAR[1:]},  # with the default eta and with another
    "flow_sde": (2, _FIRST),  # with the default a and with another
    **{f"{name} on phase": (2, _FIRST) for name in ("oba", "bao", "roba", "rvv")},
    "baoab on phase": (4, _FIRST),
    "nvv on phase": (3, _FIRST),
    "sscs on phase": (3, _WITHIN),
    "sscs_2 on phase": (3, _WITHIN),
    "conjugate on phase": (6, _WITHIN),
    "dbim_1 on bridge": (1, _FIRST),
    "midpoint_t on phase": (4, _SECOND),
    **{
        f"{name} on {kind}": (2, _SECOND)
        for name in ("ab2", "pec_t", "exp_adams_2", "heun_t", "ralston_t", "exp_line_2")
        for kind in LINEAR[1:]
    },
}
"""How many mutants of a solver (on a kind of process, where that is no schedule) survive the properties, and why. Tests of their families,
with identities and formulas, see each of them."""
