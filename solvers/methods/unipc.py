r"""UniPC: exponential Adams predictor-correctors of the denoised form (Zhao et al., arXiv:2302.04867).

UniP-p integrates e^lam times the polynomial in lam through the last p evaluations. UniC-p adds the evaluation at the predicted x_t to them,
which raises the order to p + 1. That evaluation also serves the next step, so the corrector is free: one evaluation per step, and one more
in all.

The paper writes the update with increments, a_m B(h)/r_m (D_m - D_s), B₁ = h or B₂ = e^h - 1 (of -h here), and R_p(h) a B(h) = φ_p(h).
Where that system is solved, B cancels, and what is left are the weights of ``lam_weights``. Only where the paper takes a₁ = 1/2 instead of
solving, in UniC-1 and UniP-2, does B matter. UniP-2 with B₂ is DPM-Solver++(2M), UniP-3 is DPM-Solver++(3M).
"""

from __future__ import annotations

from typing import Literal

from scorebed.solvers.base import Carry, Solver, advance, remade, solver
from scorebed.solvers.grid import uniform_lam
from scorebed.solvers.methods.deis import deis_tab2
from scorebed.solvers.methods.dpm_solver import ddim
from scorebed.solvers.methods.dpmpp import dpmpp_2m, dpmpp_2s, dpmpp_3s
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.plan import Evaluate
from scorebed.solvers.plan.tape import trace
from scorebed.solvers.schedule import VP, Node
from scorebed.solvers.weights.exponential import flow_by_denoised, phi
from scorebed.solvers.weights.multistep import Past, lam_weights, mix

B = Literal["B1", "B2"]


def _half(other: Node, s: Node, t: Node, b: B) -> list[float]:
    """The weights of D_s and of D at ``other`` for a₁ = 1/2: w = B(−h)/(2 r (e^{−h} − 1)),  r = (λ − λ_s)/h."""
    h = t.lam - s.lam
    if h == 0.0:
        return [1.0, 0.0]
    w = 0.5 * h / (other.lam - s.lam) / (phi(1, -h) if b == "B1" else 1.0)
    return [1.0 - w, w]


def _predicted(past: Past, x: Array, s: Node, t: Node, b: B) -> Array:
    """UniP: x_t of order p from the last p evaluations."""
    weights = _half(past[1][0], s, t, b) if len(past) == 2 else lam_weights([node for node, _ in past], s, t)
    return flow_by_denoised(x, mix(weights, past), s, t)


def _corrected(new: Array, past: Past, x: Array, s: Node, t: Node, b: B | None = None) -> tuple[Array, Past]:
    """UniC: x_t of order p + 1 from ``new`` = D at the predicted x_t and the last p evaluations; a₁ = 1/2 if p = 1 and B is given."""
    known = (past[0], (t, new), *past[1:])
    weights = _half(t, s, t, b) if b and len(past) == 1 else lam_weights([node for node, _ in known], s, t)
    return flow_by_denoised(x, mix(weights, known), s, t), (known[1], known[0], *known[2:])


def _evaluated(denoise: Denoiser, x: Array, s: Node, past: Past) -> Past:
    """The evaluations with one at s among them, made now unless the corrector of the step before made it."""
    return past if past and past[0][0] == s else ((s, denoise(x, s)), *past)


def _step(denoise: Denoiser, x: Array, s: Node, t: Node, past: Past, b: B) -> tuple[Array, Past]:
    u = _predicted(past, x, s, t, b)
    return _corrected(denoise(u, t), past, x, s, t, b)


@solver(order=2, reference="arXiv:2302.04867, UniP-2 with a_1 = 1/2", start=dpmpp_2s, starts=1)
def unip_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, b: B = "B1") -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s − α_t (B(h)/2r)(D_r − D_s),  r = (λ_r − λ_s)/h.  With B₂ equal to ``dpmpp_2m``."""
    past = ((s, denoise(x, s)), *(carry or ()))
    return _predicted(past, x, s, t, b), past[:1]


@solver(order=2, reference="arXiv:2302.04867, UniPC-p with p = 1")
def unipc_1(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, b: B = "B2") -> tuple[Array, Carry]:
    r"""u = (σ_t/σ_s) x − α_t (e^{−h} − 1) D_s,  x_t = u − α_t (B(h)/2)(D(u, t) − D_s)."""
    x_t, past = _step(denoise, x, s, t, _evaluated(denoise, x, s, carry or ()), b)
    return x_t, past[:1]


@solver(order=3, reference="arXiv:2302.04867, UniPC-p with p = 2")
def unipc_2(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, b: B = "B2") -> tuple[Array, Carry]:
    r"""UniP-2 by ``unip_2``, then x_t = (σ_t/σ_s) x + σ_t ∫ e^λ P(λ) dλ, P the parabola through D(u, t), D_s, D_r.

    The first step is UniPC-1's, whose local order suffices.

    Returns:
        (x_t, the last two (node, D), newest first).
    """
    x_t, past = _step(denoise, x, s, t, _evaluated(denoise, x, s, carry or ()), b)
    return x_t, past[:2]


@solver(order=3, reference="arXiv:2302.04867, UniPC-p with p = 3, orders 1, 2 and 3 in the first steps", register=False)
def unipc_3_published(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, b: B = "B2") -> tuple[Array, Carry]:
    r"""``unipc_3`` begun by UniPC-1, whose local error is O(h³), and UniPC-2."""
    x_t, past = _step(denoise, x, s, t, _evaluated(denoise, x, s, carry or ()), b)
    return x_t, past[:3]


@solver(order=4, reference="arXiv:2302.04867, UniPC-p with p = 3", start=dpmpp_3s, starts=1, published=unipc_3_published)
def unipc_3(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, b: B = "B2") -> tuple[Array, Carry]:
    r"""x_t = (σ_t/σ_s) x + σ_t ∫ e^λ P(λ) dλ, P the parabola through D_s, D_r, D_q for the predictor, the cubic through D(u, t) too for the
    corrector.

    The first step is the start's, the second UniPC-2's: B acts in its predictor alone.

    Returns:
        (x_t, the last three (node, D), newest first).
    """
    past = _evaluated(denoise, x, s, carry or ())
    if not carry:
        return x, past  # the start moves x
    x_t, past = _step(denoise, x, s, t, past, b)
    return x_t, past[:3]


_STEEP = 16.0
"""Weights of D above this many times their sum are those of a difference quotient: the registered methods have up to 5, Taylor's 66."""


def cannot_be_corrected(base: Solver) -> str | None:
    """Why UniC cannot hand ``base`` the evaluation that the corrector made at s, which is O(h^{p+1}) off D(x, s); None where it can."""
    if base.nonlinear is not None:
        return f"the base has no fixed steps ({base.nonlinear})"
    if "gaussian" not in base.on:
        return f"the base is made for {', '.join(base.on)} processes"
    nodes = uniform_lam(VP(), 16, 0.9, 0.1)
    plan = trace(base, nodes)
    first = 0
    for s, state, last in zip(nodes, plan.states, plan.ends, strict=False):
        asked = [op.source for op in plan.ops[first:last] if isinstance(op, Evaluate) and op.node == s]
        if len(asked) > 1 or any(source != state for source in asked):
            return "the base evaluates D at s elsewhere than at the state"
        first = last
    weights = plan.output[1 : 1 + plan.nfe]
    if abs(weights).sum() > _STEEP * abs(weights.sum()):
        return "the base divides differences of D by less than a step, in which the O(h^{p+1}) of the corrector's evaluation would show"
    return None


def unic(base: Solver, register: bool = False) -> Solver:
    r"""``base`` of order p followed by UniC-p: order p + 1 with no more evaluations per step.

    The base's own evaluation at s is the one that the corrector made there. The corrector acts as soon as it has p evaluations besides
    the new one; before that the base, or its start, must itself be of order p, as one-step bases and those with a start of order p are.

    Returns:
        the Solver of order p + 1, ``base`` with the corrector.

    Raises:
        TypeError: the base is not a solver.
        ValueError: the base is stochastic, or ``cannot_be_corrected``.
    """
    if not isinstance(base, Solver):
        raise TypeError(f"base = {base!r} is not a Solver")
    if base.weak is not None:
        raise ValueError(f"unic({base.name}): the base draws noise; UniC corrects deterministic methods")
    if (why := cannot_be_corrected(base)) is not None:
        raise ValueError(f"unic({base.name}): {why}; give a method that evaluates D once at each node, at the state")
    p = base.order

    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        past, memory = carry or ((), None)
        past = _evaluated(denoise, x, s, past)

        def given(y: Array, node: Node) -> Array:
            return past[0][1] if node == s else denoise(y, node)

        u, memory = advance(base, given, x, s, t, memory, noise)
        x_t, now = _corrected(denoise(u, t), past, x, s, t)
        return (x_t if len(past) == p else u), (now[:p], memory)

    step.__name__ = f"unic_{base.name}"
    step.__doc__ = f"``{base.name}``, then x_t = (σ_t/σ_s) x + σ_t ∫ e^λ P(λ) dλ with P through D(u, t) and the last {p} evaluations."
    reference = f"arXiv:2302.04867, UniC, on {base.name} ({base.reference})"
    order = p + 1 if base.begins == "own" else 2
    return solver(order=order, reference=reference, nonlinear=base.nonlinear, register=register)(remade(step, unic, base))


unic_ddim = unic(ddim, register=True)
unic_dpmpp_2s = unic(dpmpp_2s, register=True)
unic_dpmpp_2m = unic(dpmpp_2m, register=True)
unic_deis_tab2 = unic(deis_tab2, register=True)
