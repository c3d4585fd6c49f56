"""Other people's samplers behind one interface: a plain function, k-diffusion, a scheduler of diffusers, azula, our Solver, a Plan.

``as_candidate(obj)`` finds the adapter that fits; each kind of sampler has a file of its own. Another library is added by a subclass of
``Candidate`` with ``_go``. What is measured of a candidate is in ``toy.measure.sampler``.
"""

from scorebed.toy.foreign.adapt import as_candidate
from scorebed.toy.foreign.candidate import Candidate, Interface, Outcome, Own, Refused

__all__ = ["Candidate", "Interface", "Outcome", "Own", "Refused", "as_candidate"]
