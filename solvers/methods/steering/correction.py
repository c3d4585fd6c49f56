r"""The predictor-corrector that classifier-free guidance is in the limit (arXiv:2408.09000, Theorem 3).

Predict by DDIM on the class, correct by Langevin at the new level on p_u^{1−γ} p_c^γ. In y = x/α, with the Langevin time of the step,

    dy = −½ s_c dτ   −½ s_γ dτ + dW       against       dy = −s_w dτ + dW,      s_γ = s_u + γ (s_c − s_u):

the SDE of guidance of scale w, for 1 + γ = 2 w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from scorebed.solvers.guide import mix
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.weights.exponential import flow_by_denoised


def predictor_corrector(
    given: Denoiser, null: Denoiser, gamma: float, x: Array, nodes: Sequence[Any], noise: Noise, *, corrections: int = 1, pace: float = 1.0
) -> Array:
    """PCG (arXiv:2408.09000, Alg. 1): the state at the last node.

    Args:
        given, null: the models, E[x0 | x].
        x: states at the first of ``nodes``, (n, d).
        gamma: γ of the corrector; with ``corrections`` = ``pace`` = 1 the limit is guidance of scale (1 + γ)/2 by the SDE.
        corrections: Langevin steps at each node, each with noise of its own where there are several.
        pace: Langevin time of each, in units of the step in rho².

    Returns:
        states at the last node, (n, d).

    Raises:
        ValueError: no corrections, or a pace that is not positive.
    """
    if corrections < 1 or not pace > 0.0:
        raise ValueError(f"corrections = {corrections!r}, pace = {pace!r}: give at least one correction, of a positive length")
    for s, t in pairwise(nodes):
        x = flow_by_denoised(x, given(x, s), s, t)
        span = pace * (s.rho**2 - t.rho**2) * t.alpha**2
        for k in range(corrections):
            d = mix(given(x, t), null(x, t), gamma)
            score = (t.alpha / t.sigma**2) * d - (1.0 / t.sigma**2) * x
            x = x + (0.5 * span) * score + math.sqrt(span) * (noise(s, t) if k == 0 else noise(s.toward(t, 1.0 / (k + 1)), t))
    return x
