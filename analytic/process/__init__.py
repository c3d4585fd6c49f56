"""Laws of linear processes other than schedules: phase space and bridges."""

from scorebed.analytic.process.bridge import PinnedBridge
from scorebed.analytic.process.linear import LinearLaw
from scorebed.analytic.process.phase import PhaseLaw

__all__ = ["LinearLaw", "PhaseLaw", "PinnedBridge"]
