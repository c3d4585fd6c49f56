r"""Reversible methods: what they return determines where they came from, to round-off.

They move a pair. One of the two is x, the other travels in the carry, and each step is a sequence of maps that move one of the two by a
function of the other, so that it can be undone whatever the denoiser. ``keep`` runs a method and gives back both; ``invert`` goes back,

    end, carry = keep(belm, denoise, x, grid);      x, _ = invert(belm, denoise, end, carry, grid)

on grids of either direction. The end alone does not do, nor does a pair from another grid. Without a pair, ``ddim_inversion`` goes back
approximately, with an error of order one.

Round-off in the difference of the pair grows on the way back by what that difference shrinks on the way out. ``amplification`` says by how
much on a constant path of the method's own variable, where the denoiser takes no part; for N steps from node 0 to node N, of lengths
h_1 … h_N in rho, about

    edict   (alpha_0/alpha_N) p^{-2N}               the pair is mixed with weights p and 1 - p
    bdia    (alpha_N/alpha_1) gamma^{-(N-1)}        the second root of the two-step formula is -gamma alpha_r/alpha_t
    belm    (alpha_0/alpha_{N-1}) (h_1/h_N)²        it is -(h_n/h_{n-1})², whose product telescopes
    rex     (sigma_0/sigma_N) zeta^{-N}             the difference shrinks by zeta in x/sigma, and in alpha x/sigma² in ``rex_sde``

A round trip is right to machine precision times the greater of this and of what the flow amplifies; edict's coupling adds a factor of some
hundreds. On a mixture in VP belm and rex go back over 500 steps to 1e-10 or better, edict over 100 to 1e-5, bdia with gamma = 1/2 over 20
to 1e-9 and over 50 hardly at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from scorebed.solvers import grid as grids
from scorebed.solvers.base import Carry, Solver, remade, solver
from scorebed.solvers.memory import own
from scorebed.solvers.methods.dpm_solver import ddim
from scorebed.solvers.methods.dpmpp import dpmpp_2s
from scorebed.solvers.methods.edm import heun, rk4
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.ranges import demand, within
from scorebed.solvers.sample import Watched, WatchedNoise, check_run, check_step, loop, sample
from scorebed.solvers.schedule import Node
from scorebed.solvers.state import check_like, check_state
from scorebed.solvers.weights.exponential import eps_of, flow_by_eps

Back = Callable[[Denoiser, Array, Node | None, Node, Node, Carry, Noise], tuple[Array, Carry]]
"""``back(denoise, x_t, r, s, t, carry, noise) -> (x_s, carry)`` undoes the step from s to t; r is the node before s, None where s is the
first, and ``noise`` that of the way out."""

BEHIND = "evaluates the moved half of its pair a step behind that half's noise level"
"""Why a method does not follow a constant denoiser exactly, nor asks about states that have the law of their node."""

_BACK: dict[str, Callable[..., Back]] = {}  # by the method's name, a function of its options
_AMPLIFICATION: dict[str, Callable[..., float]] = {}  # so too; of the nodes and the options


def _eps(denoise: Denoiser, x: Array, node: Node) -> Array:
    return eps_of(x, denoise(x, node), node)


@solver(
    order=1,
    reference="arXiv:2211.12446, the coupled denoising step",
    inexact=BEHIND,
)
@within(p="(0, 1]")
def edict(
    denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, p: float = 0.93, alternate: bool = False
) -> tuple[Array, Carry]:
    r"""x' = a x + b ε(y, s),  y' = a y + b ε(x', s),  x_t = p x' + (1 − p) y',  y_t = p y' + (1 − p) x_t,

    with a = α_t/α_s and b = −σ_t (e^h − 1) those of DDIM; x = y at the start. x' belongs to t and is evaluated at s, so that a constant
    denoiser is not followed; evaluated at t instead, the first-order errors of the two would all but cancel. The mixing, by 1 − p a step
    however small the step, holds the pair together. What round-off puts between x and y grows by about a in a step, so that few steps want
    float32: on VP from t = 1 to 0.01 a run in float16 is off by 0.35 at 10 steps, by 0.002 at 100. With ``alternate`` every second step
    moves y before x, which the paper does in practice to treat the two alike.

    Returns:
        (x_t, ((y_t, whose turn is next),)).
    """
    if s.lam == t.lam:  # mixing would still bring the two nearer
        return x, carry
    ((y, late),) = carry or ((x, 0),)
    x, y = (y, x) if alternate and late else (x, y)
    x = flow_by_eps(x, _eps(denoise, y, s), s, t)
    y = flow_by_eps(y, _eps(denoise, x, s), s, t)
    x, y = (y, x) if alternate and late else (x, y)
    x_t = p * x + (1.0 - p) * y
    return x_t, ((p * y + (1.0 - p) * x_t, 1 - late),)


def _edict_back(p: float, alternate: bool) -> Back:
    def back(denoise: Denoiser, x: Array, r: Node | None, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        y, late = carry[0][0], 1 - carry[0][1]
        y = (1.0 / p) * (y - (1.0 - p) * x)
        x = (1.0 / p) * (x - (1.0 - p) * y)
        x, y = (y, x) if alternate and late else (x, y)
        y = (s.alpha / t.alpha) * (y - flow_by_eps(0.0 * y, _eps(denoise, x, s), s, t))
        x = (s.alpha / t.alpha) * (x - flow_by_eps(0.0 * x, _eps(denoise, y, s), s, t))
        x, y = (y, x) if alternate and late else (x, y)
        return x, ((y, late),)

    return back


@solver(order=1, reference="arXiv:2307.10829, BDIA-DDIM")
@within(gamma="(0, inf)")
def bdia(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, gamma: float = 0.5) -> tuple[Array, Carry]:
    r"""x_t = Φ_{s→t}(x) + γ (x_r − Φ_{s→r}(x)),  Φ the DDIM step, r the node before s; both with the one ε(x, s). The first step is DDIM.

    The error is about (1 − γ)/(1 + γ) times that of DDIM. γ = 1 is the leapfrog: order 2 on smooth grids, 1 on others. Its inverse is
    itself with 1/γ, from the other side.

    Returns:
        (x_t, ((s, x),): the state before).
    """
    if s.lam == t.lam:  # x_r is not where DDIM would go back to
        return x, carry
    eps = _eps(denoise, x, s)
    x_t = flow_by_eps(x, eps, s, t)
    if carry:
        ((r, x_r),) = carry
        x_t = x_t + gamma * (x_r - flow_by_eps(x, eps, s, r))
    return x_t, ((s, x),)


@solver(order=2, reference="arXiv:2410.07273, O-BELM", start=heun, starts=1)
def belm(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
    r"""y_t = q² y_r + (1 − q²) y + h (1 + q) ε(x, s),  h = ρ_t − ρ_s,  q = h/(ρ_s − ρ_r),  y = x/α: the leapfrog for steps of any length.

    Its inverse is itself from the other side. The second root −q² has the product (h_N/h_1)² over the run: small towards data, large
    towards noise.

    Returns:
        (x_t, ((s, x),): the state before).
    """
    h, eps = t.rho - s.rho, _eps(denoise, x, s)
    if not carry:
        return flow_by_eps(x, eps, s, t), ((s, x),)
    ((r, x_r),) = carry
    q = h / (s.rho - r.rho)
    y = (q * q / r.alpha) * x_r + ((1.0 - q) * (1.0 + q) / s.alpha) * x + h * (1.0 + q) * eps
    return t.alpha * y, ((s, x),)


def _two_step_back(method: Solver) -> Back:
    """Back by a two-step method from the other side: from x_t and x_s to x_r."""

    def back(denoise: Denoiser, x: Array, r: Node | None, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        ((_, x_s),) = carry
        if r is None:
            return x_s, None
        x_r, _ = method.step(denoise, x_s, s, r, ((t, x),), _silent)
        return x_s, ((r, x_r),)

    return back


def rex(base: Solver, zeta: float = 0.999, *, register: bool = False) -> Solver:
    r"""A reversible method of the order of ``base``, by the construction of McCallum & Foster in x/σ; it has the option ``zeta``.

    x_t = Φ_{s→t}(x̂) + ζ (σ_t/σ_s)(x − x̂),   x̂_t = x_t + (σ_t/σ_s)(x̂ − Φ_{t→s}(x_t)),   Φ the step of ``base``; x̂ = x at the start.

    For a base of odd order the errors of the two halves have opposite signs and nearly cancel, up to some 1/(1 − ζ) steps: there the error
    is smaller than that of ``base``, and falls faster.

    Returns:
        the reversible Solver; its carry holds x̂.

    Raises:
        TypeError: ``base`` is not a solver.
        ValueError: ``zeta`` out of its range, or ``base`` keeps a memory of its own, or draws noise.
    """
    if not isinstance(base, Solver):
        raise TypeError(f"base = {base!r} is not a Solver")
    if base.start is not None or base.weak is not None:
        raise ValueError(f"base = {base.name} keeps a memory or draws noise: give a deterministic one-step method")
    demand(zeta, "zeta", "(0, 1]")
    initial = zeta

    def flow(denoise: Denoiser, x: Array, s: Node, t: Node) -> Array:
        x_t, memory = base.step(denoise, x, s, t, None, _silent)
        if memory is not None:
            raise ValueError(f"base = {base.name} keeps a memory: give a one-step method")
        return x_t

    @within(zeta="(0, 1]")
    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise, *, zeta: float = initial) -> tuple[Array, Carry]:
        if s.lam == t.lam:
            return x, carry
        (hat,) = carry or (x,)
        x_t = flow(denoise, hat, s, t) + (zeta * t.sigma / s.sigma) * (x - hat)
        return x_t, (x_t + (t.sigma / s.sigma) * (hat - flow(denoise, x_t, t, s)),)

    def back_with(zeta: float) -> Back:
        def back(denoise: Denoiser, x: Array, r: Node | None, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
            hat = flow(denoise, x, t, s) + (s.sigma / t.sigma) * (carry[0] - x)
            return hat + (s.sigma / (zeta * t.sigma)) * (x - flow(denoise, hat, s, t)), (hat,)

        return back

    step.__name__ = name = f"rex_{base.name}"
    step.__doc__ = f"``{base.name}`` made reversible: see ``rex``."
    made = solver(
        order=base.order,
        reference=f"arXiv:2502.08834, the ODE scheme, after McCallum & Foster, arXiv:2410.11648, on {base.name}",
        nonlinear=base.nonlinear,
        inexact=base.inexact,
        register=register,
    )(remade(step, rex, base, initial))
    _BACK[name] = back_with
    _AMPLIFICATION[name] = lambda nodes, zeta: nodes[0].sigma / nodes[-1].sigma * _inverse_power(zeta, len(nodes) - 1)
    return made


def _silent(s: Node, t: Node) -> Array:
    raise AssertionError("a deterministic method has drawn noise")


def _inverse_power(base: float, n: int) -> float:
    """base^{-n}, infinite where it overflows."""
    return base**-n if -n * math.log(base) < 700.0 else math.inf


def _leapfrog_growth(nodes: Sequence[Node]) -> float:
    first, last = nodes[1].rho - nodes[0].rho, nodes[-1].rho - nodes[-2].rho
    return nodes[0].alpha / nodes[-2].alpha * (first / last) ** 2


_BACK |= {
    "edict": _edict_back,
    "bdia": lambda gamma: _two_step_back(bdia(gamma=1.0 / gamma)),
    "belm": lambda: _two_step_back(belm),
}
_AMPLIFICATION |= {
    "edict": lambda nodes, p, alternate: nodes[0].alpha / nodes[-1].alpha * _inverse_power(p, 2 * (len(nodes) - 1)),
    "bdia": lambda nodes, gamma: nodes[-1].alpha / nodes[1].alpha * _inverse_power(gamma, len(nodes) - 2),
    "belm": _leapfrog_growth,
}

rex_dpmpp_2s = rex(dpmpp_2s, register=True)
rex_rk4 = rex(rk4, register=True)


def _known(method: Solver, table: dict[str, Any]) -> Any:
    """What the table has on this method."""
    name = method.name.split("(")[0] if isinstance(method, Solver) else repr(method)
    if name not in table:
        raise ValueError(f"{name} is not reversible: give one of {', '.join(table)}, or a one-step method made so by rex(...)")
    return table[name]


def is_reversible(method: Solver) -> bool:
    """Whether ``invert`` knows the way back of this method."""
    return method.name.split("(")[0] in _BACK


def amplification(method: Solver, grid: Sequence[Node]) -> float:
    """By how much an error in the carry at the last node of ``grid`` grows on the way back to the first; see the top of this file."""
    nodes = check_run(method, grid, "none")
    return _known(method, _AMPLIFICATION)(nodes, **method.options)


def keep(method: Solver, denoise: Denoiser, x: Array, grid: Sequence[Node], noise: Noise | int | None = None) -> tuple[Array, Carry]:
    """Run a method as ``sample`` with ``terminal="none"`` does, and give back the state at the end with the carry.

    Returns:
        (x at the last node, carry that ``invert`` needs).

    Raises:
        ValueError: a stochastic method without a seed or ``Noise``, which ``invert`` has to be given too.
    """
    nodes = check_run(method, grid, "none")
    check_state(x)
    x, drawn = own(x), _drawn(method, noise, x, nodes[0])
    memory = None

    def after(i: int, x_t: Array, carry: Carry) -> tuple[Array, Carry]:
        nonlocal memory
        check_step(x_t, i, method.name, nodes)
        memory = carry if method.start is None else carry[1]
        return x_t, carry

    return loop(method, Watched(denoise, nodes[0]), x, nodes, drawn, "none", after), memory


def invert(
    method: Solver, denoise: Denoiser, x: Array, carry: Carry, grid: Sequence[Node], noise: Noise | int | None = None
) -> tuple[Array, Carry]:
    """Undo ``keep`` on the same grid: from the state and the carry at its last node to those at its first. A stochastic method needs the
    noise of the way out, the same seed or ``Noise``.

    Returns:
        (x, carry) at the first node of the grid.

    Raises:
        ValueError: the method is not reversible, or the carry is none that it leaves.
        NonFinite: round-off has grown beyond all bounds, or the denoiser returned nan or inf.
    """
    nodes = check_run(method, grid, "none")
    check_state(x)
    back, watched = _known(method, _BACK)(**method.options), Watched(denoise, nodes[0])
    x, drawn = own(x), _drawn(method, noise, x, nodes[0])
    if not (isinstance(carry, tuple) and len(carry) == 1):
        raise ValueError(f"carry = {carry!r}: give the one that keep({method.name}, ...) returned with the state")
    for i in reversed(range(len(nodes) - 1)):
        x_s, carry = back(watched, x, nodes[i - 1] if i else None, nodes[i], nodes[i + 1], carry, drawn)
        check_like(x_s, x, f"the state before step {i} of {method.name}")
        check_step(x_s, i, f"the inverse of {method.name}", nodes)
        x = x_s
    return x, carry


def _drawn(method: Solver, noise: Noise | int | None, x: Array, start: Node) -> Noise:
    if method.weak is None:
        return _silent
    if noise is None:
        raise ValueError(f"{method.name} draws noise, and the way back needs the same: give keep and invert one seed, or one Noise")
    return WatchedNoise(noise, x, start)


def ddim_inversion(denoise: Denoiser, x: Array, grid: Sequence[Node]) -> Array:
    """DDIM from the last node of ``grid`` to its first: back along the samples' way, but only approximately, with an error of order one.

    x_s = (α_s/α_t) x_t − σ_s (e^{−h} − 1) ε(x_t, t), where the step that it undoes had ε(x_s, s). (arXiv:2010.02502, section 4.3.)

    Returns:
        x at the first node of ``grid``, of the shape of x.
    """
    return sample(ddim, denoise, x, list(reversed(grids.check(grid))), terminal="none")
