r"""Path planning: which tokens are known after a step, those of now included (Peng et al., arXiv:2502.03540, Alg. 1).

Every step draws a value for each masked token, scores all tokens, and keeps the best: a masked one of them is shown, a known one stays,
and all others are masked. The planner gets z, the tokens with the values just drawn, and the state x, and gives one of two things:

    P(z^i | z), (B, L, S)    what known tokens are worth, as a network of whole sentences says; masked ones are worth p of their values
    a score, (B, L)          what each token is worth, masked or known, as a trained planner says

A known token is worth its score to the power η. η = 0 never masks again, which with the first kind is ``confidence``; a large η doubts what
is known. With the exact model for its own planner nothing is doubted, since it is sure of what it sees: a planner must not see the token
that it judges (``guide_tokens.leave_one_out``). A score of places, whatever the values, keeps the law of the data where one token is shown
in a step, however often one is masked again; but a step that masks m and is to know c more shows c + m at once, which costs their
conditional total correlation. A score of values keeps those that it likes: the law is another, whatever η.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.decode import decoder
from scorebed.solvers.draws import Draw, onehot
from scorebed.solvers.methods.decoding import probability
from scorebed.solvers.state import Array


@decoder(exact=False, reference="P2, arXiv:2502.03540, Alg. 1", plans=True)
def p2(
    p: Array,
    hidden: Array,
    count: int,
    draw: Draw,
    *,
    x: Array,
    node: Any,
    planner: Any = None,
    eta: float = 1.0,
    fixed: Array | None = None,
) -> tuple[Array, Array, Array]:
    """The best of all tokens, as many as are known and ``count`` more; ``fixed`` (B, L) of 0 and 1 marks tokens that stay, as a prompt.

    Returns:
        (places to show, drawn values, known places to mask again), each (B, L).

    Raises:
        ValueError: a negative eta.
    """
    if not eta >= 0.0:
        raise ValueError(f"eta = {eta!r}: give a number of at least 0")
    value, n = draw(p), int(hidden.shape[-1])
    z = x + hidden * (value - x)
    judged = p if planner is None else planner(z, x, node)
    worth = probability(judged, z) if len(judged.shape) > len(z.shape) else judged
    score = hidden * (probability(p, value) if worth is not judged else worth) + (1 - hidden) * worth**eta
    score = score if fixed is None else score + 1e9 * fixed
    best, left, among = 0 * hidden, 1 - 0 * hidden, (1 - hidden).sum(-1) + count
    for i in range(n):
        place = onehot((score * left - 1e30 * (1 - left)).argmax(-1), n, p) * (i < among)[..., None]
        best, left = best + place, left * (place < 0.5)
    return best * hidden, value, (1 - hidden) * (best < 0.5)
