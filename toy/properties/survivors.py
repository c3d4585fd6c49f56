"""The mutants that no property notices, with the reason of each."""

from __future__ import annotations

from scorebed.solvers.process import LINEAR

_FIRST = "a splitting asks about states of no node's law; an evaluation 1 % of the step away moves its step by O(h²), order 1 stays"
_UNREAD = "x does not depend on the prediction: nothing reads what is asked for it"
_SMALL = (
    "what comes into x of it within one step is of the order of h times the rest: its 1 % moves the step by the claimed order's O(h^{p+1})"
)
_ZETA = "the weight zeta of the pair's difference moves the step by one power of h more than its order needs"
EXPLAINED = {
    "dpmpp_3m_sde": (8, "third-order terms of the drift move the law of a step by O(h³): weak order 2 stays"),
    "seeds_3": (5, "third-order terms of the drift do not show in the weak order 2 that it claims"),
    "hb_dpmpp_2m": (4, "the second-order correction of D moves the step by O(h²): order 1 stays"),
    "stork_2": (6, "the weight of the second derivative moves the step by O(h³): order 2 stays"),
    "edict": (3, "it asks about the moved half of its pair a step behind; 1 % of the step moves its step by O(h²), order 1 stays"),
    "bdia": (4, "gamma itself off by 1 % is another BDIA of the same order"),
    "rex_stochastic_heun": (8, "the weights of the pair's difference move the law of a step by O(h⁴): weak order 2 stays"),
    "rex_dpmpp_2s": (4, _ZETA),
    "rex_rk4": (8, _ZETA),
    **{f"pec_t on {kind}": (1, "only the first step asks twice: 1 % there adds O(h²) once, which order 2 allows") for kind in LINEAR[1:]},
    "exp_line_2 on phase": (2, _SMALL),  # the weight of v0 in x of the stage: O(h³), measured
    "exp_line_3 on phase": (1, _SMALL),  # of x0 in x of the first stage: O(h⁴)
    "conjugate on phase": (4, _SMALL),  # of both predictions in x: O(h²)
    "sscs on phase": (3, f"{_SMALL}; {_FIRST}"),  # the noise in x, and the evaluation in the middle: O(h²)
    "sscs_2 on phase": (1, "the prediction of the midpoint's stage enters with h²: an evaluation 1 % away moves the step by O(h³)"),
    **{f"{name} on phase": (1, _FIRST) for name in ("roba", "rvv")},
    "bao on phase": (1, _UNREAD),
    "oba on phase": (2, f"{_FIRST}; {_UNREAD}"),
    "nvv on phase": (2, f"{_FIRST}; {_UNREAD}"),
    "baoab on phase": (3, f"{_FIRST}; {_UNREAD}"),  # one, and two of A
}
"""How many mutants of a solver (on a kind of process, where that is no schedule) survive the properties, and why. By how much each of them
moves one step, ``local.moves_a_step`` measures. Tests of their families, with identities and formulas, see each of them."""
