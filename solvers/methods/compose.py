r"""Composition: for every step its own method, the search space of USF (arXiv:2312.07243).

Step i is made by the i-th method of a list, and all steps beyond its end by the last one. A method keeps its memory as long as the steps
are its own. Where another takes over, the memory is dropped and the newcomer begins as at the start of a run: a multistep method by its
``start``, or by the lower order that its body has. So ``compose([a])`` is ``a``, and no method reads what another one has left behind.

The methods before the last make a fixed number of steps, however fine the grid. Each adds its local error, of order q_i + 1, once, so that
the whole has the order min(q_last, 1 + min q_i).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from scorebed.solvers.base import Carry, Solver, advance, remade, solver
from scorebed.solvers.methods.dpmpp import dpmpp_2m
from scorebed.solvers.methods.edm import heun
from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.noise import Noise
from scorebed.solvers.schedule import Node
from scorebed.solvers.weights.exponential import eps_of, flow_by_denoised, flow_by_eps
from scorebed.solvers.weights.multistep import lam_weights, mix, rho_weights


def compose(solvers: Sequence[Solver], name: str | None = None, *, register: bool = False) -> Solver:
    """The method whose i-th step is that of ``solvers[i]``, the last one repeated.

    Two neighbours that are equal, options included, are one method and share its memory. Claims are those of the rule above; with a method
    that draws noise anywhere the whole is stochastic, with the least weak order, and with a strong one if all methods claim one.

    Returns:
        the Solver of the chain; its carry holds place and memory.

    Raises:
        TypeError: something that is not a solver.
        ValueError: an empty list.
    """
    chain = tuple(solvers)
    if not chain:
        raise ValueError("solvers is empty: give at least one")
    for i, one in enumerate(chain):
        if not isinstance(one, Solver):
            raise TypeError(f"solvers[{i}] = {one!r} is not a Solver")

    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        i, memory = carry or (0, None)
        method = chain[i]
        x_t, memory = advance(method, denoise, x, s, t, memory, noise)
        following = min(i + 1, len(chain) - 1)
        return x_t, (following, memory if chain[following] == method else None)

    step.__name__ = name or "_then_".join(one.name for one in chain)
    step.__doc__ = f"{', then '.join(one.name for one in chain)}: see ``compose``."
    noisy = [one for one in chain if one.weak is not None]
    return solver(
        order=int(_whole([one.order for one in chain])),
        weak=_whole([one.order if one.weak is None else one.weak for one in chain]) if noisy else None,
        strong=_least([one.strong for one in chain]) if noisy else None,
        reference=f"arXiv:2312.07243, a choice of methods per step: {', '.join(one.name for one in chain)}",
        nonlinear=_first(chain, lambda one: one.nonlinear),
        inexact=_first(chain, lambda one: one.inexact),
        register=register,
    )(remade(step, compose, chain, name))


def _whole(orders: Sequence[float]) -> float:
    """min(q_last, 1 + min q_i) over the methods before the last."""
    return min([orders[-1], *(1 + q for q in orders[:-1])])


def _least(orders: Sequence[float | None]) -> float | None:
    known = [math.inf if q is None else q for q in orders]
    return None if math.inf in known else min(known)


def _first(chain: Sequence[Solver], why: Callable[[Solver], str | None]) -> str | None:
    """The first reason that a method gives."""
    return next((f"{one.name}: {reason}" for one in chain if (reason := why(one)) is not None), None)


CHOICES = ("d1", "d2", "d3", "e1", "e2", "e3")
"""Of one step: the form, D in lam or eps in rho, and how many evaluations it reads."""


def usf(choices: Sequence[str], name: str | None = None) -> Solver:
    """One evaluation a step, and for every step its own exponential Adams formula, from one memory: x_t by D in lam ("d1" to "d3", as
    DPM-Solver++) or by eps in rho ("e1" to "e3", as DEIS), from so many of the last evaluations (arXiv:2312.07243, without correctors).

    Steps beyond the list repeat its last choice; a step early in the run reads the evaluations that there are. The first step has an error
    of O(h²) once, so that the order is at most 2.

    Returns:
        the Solver with one evaluation a step; its order is at most 2.

    Raises:
        ValueError: an empty list, or a choice that is none of ``CHOICES``.
    """
    chosen = tuple(choices)
    if not chosen or any(one not in CHOICES for one in chosen):
        raise ValueError(f"choices = {list(choices)!r}: give at least one of {', '.join(CHOICES)}")

    def step(denoise: Denoiser, x: Array, s: Node, t: Node, carry: Carry, noise: Noise) -> tuple[Array, Carry]:
        i, past, past_eps = carry or (0, (), ())
        value = denoise(x, s)
        past, past_eps = ((s, value), *past)[:3], ((s, eps_of(x, value, s)), *past_eps)[:3]
        form, count = chosen[i][0], int(chosen[i][1])
        nodes = [node for node, _ in past[:count]]
        if form == "d":
            x_t = flow_by_denoised(x, mix(lam_weights(nodes, s, t), past[:count]), s, t)
        else:
            x_t = flow_by_eps(x, mix(rho_weights(nodes, s, t), past_eps[:count]), s, t)
        return x_t, (min(i + 1, len(chosen) - 1), past, past_eps)

    step.__name__ = name or f"usf_{'_'.join(chosen)}"
    step.__doc__ = f"{', then '.join(chosen)}: see ``usf``."
    last = min(int(chosen[-1][1]), 1 + min(int(one[1]) for one in chosen[:-1]) if chosen[:-1] else 3)
    made = solver(order=min(last, 2), reference="arXiv:2312.07243, per-step choice of form and order", register=False)
    return made(remade(step, usf, chosen, name))


usf_heun_dpmpp_2m = compose([heun, heun, dpmpp_2m], "usf_heun_dpmpp_2m", register=True)
