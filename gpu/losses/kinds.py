"""The losses by name: what each trains, by which formula, which faults are known of it, and what its minimiser is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scorebed.gpu.losses import ctm as c
from scorebed.gpu.losses import generator as g
from scorebed.gpu.losses import trajectory as m

Loss = Callable[..., Any]


@dataclass(frozen=True)
class Kind:
    """A kind of loss.

    Attributes:
        name: what it is called.
        loss: ``loss(student, batch, fault="")``, (B,).
        ideal: whose gradient is the right one: the same with the teacher in place of one sample, where that differs; else the loss.
        gives: what the student is: "endpoint", "map", "velocity" or "generator".
        faults: what may be planted.
        exact: whether the minimiser is the map, or makes the law of the data.
        why: what it is, where it is not.
        optimum: its closed optimum: "exact", the map or the data; "trained", the map of its own minimiser; "point", the data's mean.
        pooled: whether it is one number of a batch at one pair of times, not a mean over samples.
    """

    name: str
    loss: Loss
    ideal: Loss
    gives: str
    faults: tuple[str, ...]
    exact: bool = True
    why: str = ""
    optimum: str = "exact"
    pooled: bool = False


_MAP = (m.STOP, m.PREDICTION, m.WEIGHT, m.UNWEIGHTED)
_JVP = (m.SIGN, m.TOTAL, m.NO_TIME, m.NO_STATE, m.VELOCITY)
_GENERATOR = (g.EXCHANGED, m.WEIGHT, m.UNWEIGHTED)
_PULLED = (*_GENERATOR, m.STOP, g.NO_FAKE, g.NO_REAL)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("consistency_distillation", m.consistency_distillation, m.consistency_distillation, "endpoint", (*_MAP, m.TIME)),
        Kind(
            "consistency_training",
            m.consistency_training,
            m.consistency_distillation,
            "endpoint",
            (*_MAP, m.TIME, m.FRESH),
            optimum="trained",
        ),
        Kind(
            "consistency_continuous",
            m.consistency_continuous,
            m.consistency_continuous,
            "endpoint",
            (m.STOP, m.WEIGHT, m.UNWEIGHTED, *_JVP),
        ),
        Kind("ctm", c.trajectory, c.trajectory, "map", (*_MAP, m.TIME, c.SWAPPED, c.OUTER)),
        Kind("ctm_local", c.local, c.local, "map", (*_MAP, m.TIME, c.SWAPPED)),
        Kind("ctm_whole", c.whole, c.whole, "map", (m.STOP, m.PREDICTION, m.TIME, c.NO_DSM, c.NO_GAN, m.WEIGHT, m.UNWEIGHTED)),
        Kind("mean_flow", m.mean_flow, m.mean_flow, "velocity", (*_MAP, *_JVP)),
        Kind("shortcut", m.shortcut, m.shortcut, "velocity", (*_MAP, m.TIME, m.VELOCITY)),
        Kind("imm", m.inductive_moments, m.inductive_moments, "map", (*_MAP, m.TIME, m.DETACHED), pooled=True),
        Kind("dmd", g.distribution_matching, g.distribution_matching, "generator", _PULLED),
        Kind(
            "sds",
            g.score_distillation,
            g.score_distillation,
            "generator",
            (g.EXCHANGED, m.WEIGHT, m.UNWEIGHTED, m.STOP, g.NO_REAL),
            exact=False,
            why="a point: the entropy of what is made has no say",
            optimum="point",
        ),
        Kind("sid", g.score_identity, g.score_identity, "generator", (*_GENERATOR, m.DETACHED)),
        Kind("fisher", g.fisher, g.fisher, "generator", (m.DETACHED, m.WEIGHT, m.UNWEIGHTED)),
        Kind("moment_matching", g.moment_matching, g.moment_matching, "generator", _PULLED),
        Kind("gan", g.adversarial, g.adversarial, "generator", _GENERATOR),
        Kind("gan_nonsaturating", g.adversarial_nonsaturating, g.adversarial_nonsaturating, "generator", _GENERATOR),
        Kind("mmd", g.mmd, g.mmd, "generator", (m.DETACHED, g.HALF, m.WEIGHT, m.UNWEIGHTED), pooled=True),
    )
}
"""Every kind by name."""
