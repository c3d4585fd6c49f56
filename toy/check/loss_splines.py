"""Students on the line that are linear in their parameters, on three modes, where the map is curved: what a loss makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from scorebed.solvers import RectifiedFlow, grid
from scorebed.toy.check.finding import Finding
from scorebed.toy.problems.lines import modes

if TYPE_CHECKING:
    from scorebed.gpu.losses import Kind

Loss = Callable[..., Any]
_SMOOTH = ("consistency_continuous", "mean_flow")
_STEEP = ("dmd", "sid", "gan", "gan_nonsaturating")
"""Losses of generators that see the fine directions of a spline; moments, kernels and Fisher's divergence of noisy levels hardly do."""
_UNFIT = {
    "imm": "a kernel of one width sees too few of the directions of a spline: the zero of its gradient is not determined",
    "ctm_whole": "a row has no slope in its end, which DSM asks for: see ctm, and the gradients of the parts",
}


def spline_finding(loss: Loss, kind: Kind) -> Finding:
    """What a loss makes of a student of splines; a loss that cannot be run with one fails, and says why."""
    try:
        return _found(loss, kind)
    except Exception as raised:
        detail = "called as loss(student, batch), states of shape (B, 1), all of a batch at one pair of times where the student asks for it"
        return Finding("spline student", "fail", "splines, three modes", f"{type(raised).__name__}: {raised}", "a zero", detail)


def _found(loss: Loss, kind: Kind) -> Finding:
    """How far the zero of the gradient of a loss is from the exact map, RMS over the states of the noisiest level, or from the data's own
    generator; between what a spline can follow (0.03) and another map (0.3).

    Returns:
        one finding, passed, failed or a note.
    """
    if kind.name in _UNFIT:
        return Finding("spline student", "skip", "splines, three modes", "not tried", "", _UNFIT[kind.name])
    from scorebed.gpu.losses.line import LineWorld
    from scorebed.gpu.losses.spline_generator import generator_minimiser
    from scorebed.gpu.losses.splines import rows_minimiser, smooth_minimiser

    process, law = RectifiedFlow(), modes()
    world = LineWorld.of(process, law)
    if kind.gives == "generator":
        _, off, best = generator_minimiser(loss, world, [process.node(t) for t in (0.4, 0.15)], pooled=kind.pooled)
        status = "note" if kind.name not in _STEEP else "pass" if off < 0.15 else "fail"
        said = f"its zero misses the data's generator by {off:.2g}, the best spline by {best:.2g}"
        return Finding("spline student", status, "a spline of z, three modes, two levels", said, "< 0.15" if status != "note" else "")
    if kind.name in _SMOOTH:
        nodes = [process.node(0.8), process.node(0.15)]
        student: Any = smooth_minimiser(loss, kind.gives, world, (nodes[0], nodes[1]))
        words = "splines of state and time, three modes"
    else:
        nodes = list(grid.uniform_lam(process, 4, 0.8, 0.15)) if kind.gives == "endpoint" else [process.node(t) for t in (0.8, 0.5, 0.2)]
        student = rows_minimiser(loss, kind.gives, world, nodes, curved=kind.name == "ctm")
        words = f"splines at {len(nodes)} levels, three modes"
    off = miss(student, kind.gives, law, nodes[0], nodes[-1])
    status = "pass" if off < 0.05 else "note" if kind.ideal is not kind.loss else "fail"
    return Finding("spline student", status, words, f"its zero misses the flow by {off:.2g}", "< 0.05")


def miss(student: Any, gives: str, law: Any, s: Any, t: Any) -> float:
    """RMS distance of a student of torch from the exact map, from s to t, over even quantiles of x_s."""
    import torch

    x = np.asarray(law.marginal(s).quantile(np.linspace(0.03, 0.97, 41)))[:, None]
    state, exact = torch.as_tensor(x), np.asarray(law.flow(x, s, t))
    with torch.no_grad():
        value = (student(state, s.t) if gives == "endpoint" else student(state, s.t, t.t)).numpy()
    if gives == "velocity":
        value = x + (t.t - s.t) * value
    return float(np.sqrt(np.mean((value - (exact / t.alpha if gives == "endpoint" else exact)) ** 2)))
