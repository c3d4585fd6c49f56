"""check_solver: one call that tells whether a sampler is right.

from scorebed.toy.check import check_solver
print(check_solver(my_sampler, order=2))

from scorebed.toy.check import solver_test          # in a test file of another project
test_mine = solver_test(my_sampler, order=2)
"""

from scorebed.toy.check.candidate import Candidate, Freedom, Outcome, Own, Refused, as_candidate
from scorebed.toy.check.faces import FunctionCandidate, KDiffusionCandidate, SolverCandidate
from scorebed.toy.check.finding import Finding
from scorebed.toy.check.report import Report
from scorebed.toy.check.solver import check_solver
from scorebed.toy.check.testing import solver_test

__all__ = [
    "Candidate",
    "Finding",
    "Freedom",
    "FunctionCandidate",
    "KDiffusionCandidate",
    "Outcome",
    "Own",
    "Refused",
    "Report",
    "SolverCandidate",
    "as_candidate",
    "check_solver",
    "solver_test",
]
