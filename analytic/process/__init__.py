"""Laws of linear processes other than schedules, phase space and bridges, and of the exceptions with a truth of their own."""

from scorebed.analytic.process.bridge import PinnedBridge
from scorebed.analytic.process.joint import Joint, transition
from scorebed.analytic.process.linear import LinearLaw
from scorebed.analytic.process.mean_field import MeanField, Populations
from scorebed.analytic.process.monotone import Encoded, MonotonePath
from scorebed.analytic.process.phase import PhaseLaw
from scorebed.analytic.process.student import StudentMixture

__all__ = [
    "Encoded",
    "Joint",
    "LinearLaw",
    "MeanField",
    "MonotonePath",
    "PhaseLaw",
    "PinnedBridge",
    "Populations",
    "StudentMixture",
    "transition",
]
