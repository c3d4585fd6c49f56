"""Processes: what the state is, how it is noised, and the clock (``base``); those that are linear, with exact transfers (``linear``)."""

from scorebed.solvers.process.base import KINDS, LINEAR, Instant, Point, Process, Stepped
from scorebed.solvers.process.linear import SCALAR, LinearProcess, ScalarProcess, Transfer

__all__ = ["KINDS", "LINEAR", "SCALAR", "Instant", "LinearProcess", "Point", "Process", "ScalarProcess", "Stepped", "Transfer"]
