r"""Methods on jump processes: tokens that jump back, all at once in a step.

With p = p(x0 | x_s) of the model every token has its reverse rates r(y) = ``process.rates(p, x, s)``, to all other values y, and its exact
conditional P(x_t = y | x_s) = ``process.posterior(p, x, s, t)``, the other tokens standing still. Drawing all tokens of a step from these
at once costs O(h²), in every step, so that one-stage methods have order 1 in total variation.
"""

from __future__ import annotations

import math
from typing import Any

from scorebed.solvers.base import alias, solver
from scorebed.solvers.ranges import within
from scorebed.solvers.state import Array

DRAWS = "draws tokens, which is not linear in the state"


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, inexact="clips rates", reference="SEDD, arXiv:2310.16834, Alg. 1 (Euler)")
def jump_euler(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""P(x_t = y) = h r(y),  P(x_t = x) = 1 − h Σ r,  h = s − t; where h Σ r > 1 the jumps share 1."""
    process = s.process
    jumps = (s.t - t.t) * process.rates(denoise(x, s), x, s)
    all_jumps = jumps.sum(-1)[..., None]
    stay = (1.0 - all_jumps) * (all_jumps < 1.0)
    return noise(s, t)(jumps + stay * process.onehot(x, jumps)), carry


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, inexact="freezes rates", reference="Campbell et al., arXiv:2205.14987, sec. 4.3")
def tau_leaping(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""P(x_t = y) = (1 − e^{−hR}) r(y)/R,  P(x_t = x) = e^{−hR},  R = Σ r, h = s − t: the last of jumps at constant rates."""
    return noise(s, t)(leap(s.process.rates(denoise(x, s), x, s), s.t - t.t, x, s.process)), carry


@solver(
    order=1, weak=1, on=("jump",), nonlinear=DRAWS, reference="D3PM, arXiv:2107.03006, eq. 3 and 4; on masks MDLM, arXiv:2406.07524, eq. 7"
)
def jump_ancestral(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""x_t^i ~ Σ_k p_k q(x_t^i | x_s^i, x0^i = k), all tokens at once: exact for one token in any step, for more of them of order 1."""
    return noise(s, t)(s.process.posterior(denoise(x, s), x, s, t)), carry


@solver(
    order=1,
    weak=1,
    on=("jump",),
    nonlinear=DRAWS,
    inexact="clips rates",
    reference="discrete flow matching, arXiv:2407.15595, Alg. 1, eq. 24",
)
def flow_euler(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any) -> tuple[Array, Any]:
    r"""P(x_t = y) = h (−α'/(1 − α)) p_y: the mixture path's velocity, with the marginals of the reverse process and fewer jumps back.

    That is the path of ``JumpProcess`` under masks and uniform noise; other paths have flows of their own (``solvers.process.paths``).

    Returns:
        (tokens x_t of the shape of x, carry as given).

    Raises:
        ValueError: a generator, which has no such path.
    """
    process, p = s.process, denoise(x, s)
    jumps = (s.t - t.t) * process.flow_rates(p, x, s)
    all_jumps = jumps.sum(-1)[..., None]
    stay = (1.0 - all_jumps) * (all_jumps < 1.0)
    return noise(s, t)(jumps + stay * process.onehot(x, jumps)), carry


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, reference="arXiv:2412.06264, Alg. 3; free: arXiv:2407.15595, eq. 19 and 25")
@within(free="[0, inf)")
def flow_leaping(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any, *, free: float = 0.0) -> tuple[Array, Any]:
    r"""x0 ~ p, then a leap with the flow's rates given it: P(x_t = y) = Σ_k p_k (1 − e^{−hR_k}) r_k(y)/R_k,  r_k = (1 + c) u_k + c ǔ_k.

    These are probabilities for every h. A step to the data draws x0. ``free`` is c, the size of a part that goes to and fro and leaves the
    path as it is; there is none at α = 0, where tokens would return at once.

    Returns:
        (tokens x_t of the shape of x, carry as given).
    """
    process, p = s.process, denoise(x, s)
    if t.t == 0.0 and s.t > 0.0:
        return noise(s, t)(process.widened(p)), carry
    return noise(s, t)(process.leaped(p, x, s, s.t - t.t, free if s.clock > 0.0 else 0.0)), carry


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, reference="MDLM, arXiv:2406.07524, sec. 4.1 (caching)")
def cached_ancestral(denoise: Any, x: Array, s: Any, t: Any, carry: Any, noise: Any) -> tuple[Array, Any]:
    r"""``jump_ancestral``, which asks the model only where a token has changed since it was asked: on masks p does not depend on time."""
    known = carry is not None and s.process.absorbing and bool((carry[0] == x).all())
    p = carry[1] if known else denoise(x, s)
    return noise(s, t)(s.process.posterior(p, x, s, t)), (x, p)


alias(
    "tweedie_leaping",
    jump_ancestral,
    reference="SEDD, arXiv:2310.16834, eq. 19 (Tweedie tau-leaping)",
    formula="x_t^i ~ (exp((σ_t − σ_s) Q) s)_y exp((σ_s − σ_t) Q)(x_s, y) with the concrete score s: Bayes, written in ratios.",
)
alias(
    "absorbing_ancestral",
    jump_ancestral,
    reference="MDLM, arXiv:2406.07524, eq. 7",
    formula="A masked token is x0 ~ p with probability (α_t − α_s)/(1 − α_s), and else stays.",
)


def leap(rates: Array, h: float, x: Array, process: Any) -> Array:
    """The law of a token after jumps at constant ``rates`` (…, A) for a time h, of which the last says where it is."""
    total = rates.sum(-1)[..., None]
    stays = math.e ** (-h * total)
    return (1.0 - stays) * rates / (total + (total <= 0.0)) + stays * process.onehot(x, rates)
