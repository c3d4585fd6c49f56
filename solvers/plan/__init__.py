"""Plans: a solver unrolled on one grid, and what is read off it.

``base`` is the Plan and its walk, over the operations of ``ops``; ``tape`` writes one down, by running the loop on linear forms (``form``).
``transitions`` are its exact conditional laws, with draws that are not known yet in ``pending``; ``file`` keeps it as JSON.
"""

from scorebed.solvers.plan.base import Combine, Draw, Evaluate, NotLinear, Op, Plan, Registers, Walk, total

__all__ = ["Combine", "Draw", "Evaluate", "NotLinear", "Op", "Plan", "Registers", "Walk", "total"]
