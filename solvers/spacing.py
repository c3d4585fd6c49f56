r"""More grids: shifted ones, ones that are optimal for Gaussian data in closed form, and the same grid on another schedule.

With rho = sigma/alpha = e^{-lam} and, for data of standard deviation c, the angle theta = arctan(rho/c), the nodes are uniform in

    cosine             arccos of t mapped to [-1, 1]                  Chebyshev-Lobatto points, dense at both ends
    exponential        log(rho), which is uniform_lam
    flow_shift         tau / (s - (s - 1) tau),  tau = rho/(1 + rho)  arXiv:2403.03206, eq. 23, solved for the time before the shift
    simple_diffusion   arctan(64 rho/d), pictures of d x d            arXiv:2301.11093: the cosine schedule, log-SNR shifted by 2 log(64/d)
    align_gaussian     arctan(rho/c)                                  arXiv:2404.14507, the optimum of DDIM on N(m, c² I)
    align_klub         log(1 + c²/rho²)                               arXiv:2404.14507, the optimum of its bound for SDE solvers

DDIM is Euler's method in rho on u = x/alpha, and on N(0, c²) one step multiplies u by

    (c² + rho rho')/(c² + rho²) = cos(theta - theta') cos(theta)/cos(theta'),      exactly: cos(theta)/cos(theta').

So the end has exactly Π cos(Δtheta_i) of its true standard deviation, and since log cos is concave, the best grid has equal Δtheta. A
last evaluation (``terminal="denoise"``) is one more step, to theta = 0.

For data of several standard deviations see ``solvers.equidistribution``. ``grid.make(…, variances=)`` fits these grids to the data: c is
the root mean square of the standard deviations, and the resolution 64 c means the same shift. Without options c = 0.5, which is sigma_data
of arXiv:2206.00364 for pictures in [-1, 1], and the resolution is 64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scorebed.solvers.grid import GRIDS, _interior, _made, _mix, check, spacing, uniform_lam
from scorebed.solvers.schedule import Node, Schedule

exponential = uniform_lam  # sigma/alpha in geometric progression is lam in arithmetic progression: one grid, two names
GRIDS["exponential"] = exponential


def _deviation(variances: Sequence[float]) -> float:
    """c, the root mean square of the standard deviations."""
    return math.sqrt(sum(variances) / len(variances))


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} = {value!r} must be positive and finite")


@spacing()
def cosine(schedule: Schedule, n: int, start: float | None = None, end: float | None = None) -> list[Node]:
    """t_i = t_0 + (t_n - t_0) (1 - cos(pi i/n))/2: short at both ends. For the cosine schedule's own time, see ``simple_diffusion``."""
    return _interior(schedule, n, start, end, lambda a, b, r: schedule.node(_mix(a.t, b.t, math.sin(0.5 * math.pi * r) ** 2)))


@spacing()
def flow_shift(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, shift: float = 3.0) -> list[Node]:
    """Uniform flow times moved by tau -> s tau/(1 + (s - 1) tau), that is rho -> s rho (SD3, arXiv:2403.03206, eq. 23).

    tau = sigma/(alpha + sigma), the time of ``RectifiedFlow``, on any schedule. The ends stay, so what is uniform is the time before the
    shift, between those of the ends. shift > 1 spends more steps on noise; shift = 1 is uniform in tau.

    Returns:
        n + 1 nodes from ``start`` to ``end``.
    """
    _positive(shift=shift)

    def between(a: Node, b: Node, r: float) -> Node:
        noise = _mix(a.rho / (shift + a.rho), b.rho / (shift + b.rho), r)  # tau before the shift, and 1 - tau: neither cancels
        data = _mix(shift / (shift + a.rho), shift / (shift + b.rho), r)
        return schedule.at_lam(math.log(data / noise) - math.log(shift))

    return _interior(schedule, n, start, end, between)


@spacing(lambda variances: {"c": _deviation(variances)})
def align_gaussian(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, c: float = 0.5) -> list[Node]:
    """Uniform in theta = arctan(sigma/(c alpha)): of all grids with these ends the one on which DDIM errs least on N(m, c² I), for every n.

    For ``terminal="denoise"`` the best end is itself one step from theta = 0: rho_end = c tan(theta_start/(n + 1)).
    Source: arXiv:2404.14507; the proof is in the head of this file.

    Returns:
        n + 1 nodes from ``start`` to ``end``.
    """
    _positive(c=c)

    def between(a: Node, b: Node, r: float) -> Node:
        theta = _mix(math.atan(a.rho / c), math.atan(b.rho / c), r)
        rest = _mix(math.atan(c / a.rho), math.atan(c / b.rho), r)  # pi/2 - theta, accurate where theta is near pi/2
        return schedule.at_lam((-math.log(math.tan(theta)) if theta < rest else math.log(math.tan(rest))) - math.log(c))

    return _interior(schedule, n, start, end, between)


@spacing(lambda variances: {"resolution": 64.0 * _deviation(variances)})
def simple_diffusion(
    schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, resolution: float = 64.0, base: float = 64.0
) -> list[Node]:
    """Uniform in the time of the cosine schedule whose log-SNR is shifted by 2 log(base/resolution), on any schedule.

    There t = (2/pi) arctan(rho base/resolution), so this is ``align_gaussian`` with c = resolution/base: the shift takes the standard
    deviation of the data, in units of the noise, to grow with the side of the picture. Source: arXiv:2301.11093.

    Returns:
        n + 1 nodes from ``start`` to ``end``.
    """
    _positive(resolution=resolution, base=base)
    return align_gaussian(schedule, n, start, end, c=resolution / base)


@spacing(lambda variances: {"c": _deviation(variances)})
def align_klub(schedule: Schedule, n: int, start: float | None = None, end: float | None = None, *, c: float = 0.5) -> list[Node]:
    """Uniform in log(1 + c²/rho²): the least KL upper bound of a first-order SDE solver on N(m, c² I), for many small steps.

    The bound is Σ_i ∫ rho^{-3} E|D(x_rho) - D(x_{rho_i})|² drho over each step, and E|…|² = V(rho_i) - V(rho) with the posterior variance
    V = c² rho²/(c² + rho²); so the density is sqrt(V'/rho³) ∝ 1/(rho (c² + rho²)). Source: arXiv:2404.14507.

    Returns:
        n + 1 nodes from ``start`` to ``end``.
    """
    _positive(c=c)

    def between(a: Node, b: Node, r: float) -> Node:
        v = _mix(float(np.logaddexp(0.0, 2.0 * (a.lam + math.log(c)))), float(np.logaddexp(0.0, 2.0 * (b.lam + math.log(c)))), r)
        return schedule.at_lam(0.5 * (v + math.log(-math.expm1(-v))) - math.log(c))

    return _interior(schedule, n, start, end, between)


def transfer(nodes: Sequence[Node], schedule: Schedule) -> list[Node]:
    """The nodes with the same lam on another schedule. Solvers that work in lam, rho or theta then give the same x/alpha, started alike.

    Returns:
        as many nodes, of equal lam, on the other schedule.

    Raises:
        ValueError: ``nodes`` are no grid, or the other schedule does not reach their lam.
    """
    _made(schedule)
    return check([schedule.at_lam(node.lam) for node in check(nodes)])
