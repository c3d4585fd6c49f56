r"""Two-stage methods on jump processes, and correctors.

A step draws all tokens at once from frozen rates, which costs O(h²). Two stages mend that (Ren et al., arXiv:2502.00234): x* is a leap over
θh, and with rates μ_s at (x, s) and μ* at (x*, s − θh),

    θ-trapezoidal   x_t: a leap from x* over (1 − θ)h with (a μ* − (a − 1) μ_s)₊,  a = 1/(2θ(1 − θ)) ≥ 2
    θ-RK2           x_t: a leap from x over h with ((1 − 1/2θ) μ_s + μ*/2θ)₊

where rates are those of setting a token to y, whatever it is. In total variation the first is of order 2 where no rate has to be clipped,
that is where one jump lowers no rate by more than the factor 1 − 1/a, ½ at best; on dependent tokens one does, which costs O(h²) in a step
and leaves order 1 with a smaller constant. The second leaps from x alone and misses what two tokens do one after the other: order 1.
"""

from __future__ import annotations

from typing import Any

from scorebed.solvers.base import alias, solver
from scorebed.solvers.methods.jump import DRAWS, leap
from scorebed.solvers.ranges import within
from scorebed.solvers.state import Array


def _early(s: Any, t: Any, theta: float) -> Any:
    """The node at time s − θ(s − t)."""
    return t if theta == 1.0 or s.t == t.t else s.process.node(s.t - theta * (s.t - t.t))


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, inexact="freezes rates", reference="arXiv:2502.00234, Alg. 2 (theta-trapezoidal)")
@within(theta="(0, 1)")
def theta_trapezoidal(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any, *, theta: float = 0.5) -> tuple[Array, Any]:
    r"""x* = leap(x; μ_s, θh),  x_t = leap(x*; (a μ* − (a − 1) μ_s)₊, (1 − θ)h),  a = 1/(2θ(1 − θ))."""
    process, h, i = s.process, s.t - t.t, _early(s, t, theta)
    draw = noise(s, t)
    first = process.rates(denoise(x, s), x, s)
    y = draw(leap(first, theta * h, x, process))
    a = 1.0 / (2.0 * theta * (1.0 - theta))
    rates = a * process.rates(denoise(y, i), y, i) - (a - 1.0) * _onto(first, x, y, process)
    return draw(leap(rates * (rates > 0.0), (1.0 - theta) * h, y, process)), carry


def _onto(rates: Array, x: Array, y: Array, process: Any) -> Array:
    """Rates frozen at x as rates from y: of setting a token to what it is there is none, and on masks none of leaving a known token."""
    kept = rates * (1.0 - process.onehot(y, rates))
    return kept * (y == process.mask)[..., None] if process.absorbing else kept


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, inexact="freezes rates", reference="arXiv:2502.00234, Alg. 1 (theta-RK-2)")
@within(theta="(0, 1]")
def theta_rk2(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any, *, theta: float = 0.5) -> tuple[Array, Any]:
    r"""x* = leap(x; μ_s, θh),  x_t = leap(x; ((1 − 1/2θ) μ_s + μ*/2θ)₊, h)."""
    process, h, i = s.process, s.t - t.t, _early(s, t, theta)
    draw = noise(s, t)
    first = process.rates(denoise(x, s), x, s)
    y = draw(leap(first, theta * h, x, process))
    b = 0.5 / theta
    second = process.rates(denoise(y, i), y, i)
    rates = (1.0 - b) * first + b * second
    return draw(leap(rates * (rates > 0.0), h, x, process)), carry


alias(
    "jump_midpoint",
    theta_rk2,
    reference="Gillespie's midpoint, J. Chem. Phys. 115 (2001), sec. VI",
    formula="x_t = leap(x; μ*, h) with μ* of a leap over h/2: θ = ½.",
)


@solver(
    order=1, weak=1, on=("jump",), nonlinear=DRAWS, inexact="freezes rates", reference="Campbell et al., arXiv:2205.14987, prop. 4, Alg. 1"
)
@within(rate="[0, inf)", corrections="integer [1, inf)")
def jump_corrector(
    denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any, *, rate: float = 1.0, corrections: int = 1
) -> tuple[Array, Any]:
    r"""τ-LDR: a leap to t, then ``corrections`` leaps at t with the rates R + R̂ of both directions, each over ``rate`` h: they keep p_t."""
    process, h = s.process, s.t - t.t
    draw = noise(s, t)
    y = draw(leap(process.rates(denoise(x, s), x, s), h, x, process))
    if t.clock in (0.0, 1.0):  # no finite rates of both directions there
        return y, carry
    for _ in range(corrections):
        p = denoise(y, t)
        both = process.rates(p, y, t) + process.return_rates(p, y, t)
        y = draw(leap(both, rate * h, y, process))
    return y, carry


@solver(order=1, weak=1, on=("jump",), nonlinear=DRAWS, reference="ReMDM, arXiv:2503.00307, eq. 4; sigma = rate h")
@within(rate="[0, inf)")
def remdm(denoise: Any, x: Array, s: Any, t: Any, carry: None, noise: Any, *, rate: float = 1.0) -> tuple[Array, Any]:
    r"""Known tokens are masked again with probability σ; masked ones become x0 ~ p with (α_t − (1 − σ) α_s)/(1 − α_s): α_t is kept.

    σ = min(rate h, (1 − α_t)/α_s). A cap that does not shrink with the step, as in the paper, refreshes a share of all tokens in every step
    and costs the order: the error falls like h^½ at σ = 0.1, and more slowly at less.

    Returns:
        (tokens x_t of the shape of x, carry as given).

    Raises:
        ValueError: a process without a mask.
    """
    process, p = s.process, denoise(x, s)
    if not process.absorbing:
        raise ValueError("remdm masks tokens again, and this process has no mask: use kernel='absorbing'")
    sigma = min(rate * (s.t - t.t), (1.0 - t.clock) / s.clock if s.clock > 0.0 else 1.0)
    shown = (t.clock - (1.0 - sigma) * s.clock) / (1.0 - s.clock) if s.clock < 1.0 else 0.0
    known = (x != process.mask)[..., None]
    masks = process.onehot(0 * x + process.mask, p)
    return noise(s, t)(
        known * ((1.0 - sigma) * process.onehot(x, p) + sigma * masks) + ~known * (shown * process.widened(p) + (1.0 - shown) * masks)
    ), carry
