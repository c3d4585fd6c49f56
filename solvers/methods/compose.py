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


def compose(solvers: Sequence[Solver], name: str | None = None, *, register: bool = False) -> Solver:
    """The method whose i-th step is that of ``solvers[i]``, the last one repeated.

    Two neighbours that are equal, options included, are one method and share its memory. Claims are those of the rule above; with a method
    that draws noise anywhere the whole is stochastic, with the least weak order, and with a strong one if all methods claim one.

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


usf_heun_dpmpp_2m = compose([heun, heun, dpmpp_2m], "usf_heun_dpmpp_2m", register=True)
