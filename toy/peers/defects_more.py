"""Defects of torchdiffeq and skrample."""

from __future__ import annotations

from dataclasses import replace

from scorebed.toy.peers import reproductions_more as show
from scorebed.toy.peers.defect import EVEN, GENTLE, ORDER, Defect, Trial
from scorebed.toy.peers.entry import Peer
from scorebed.toy.peers.mend import mended

_T = "torchdiffeq._impl.fixed_adams"
_S, _F = "skrample.sampling.structured", "skrample.sampling.functional"
_C2 = "c2 = ((exp2 - hh) / hh**2 - 0.5) / exp2"
_LAST = "                round(step.amount() - position),  # lower for final is the default\n"
_FIXED = "common.bashforth(effective_order),"
_STAGES = "S0, S1, *fractions = schedule.ipoints([*step, *(step[0] + f[0] * (step[1] - step[0]) for f in nodes)])"
_CLASS = "@dataclass(frozen=True)\nclass Adams("
_HELPER = (
    "from scorebed.solvers.weights.multistep import adams_weights\n\n\n"
    "def _weights(packed, previous, schedule, order):\n"
    "    deltas = [packed.delta_point(schedule), *(p.delta_point(schedule) for p in reversed(previous))][:order]\n"
    "    kappa = [d.point_from.alpha / d.point_from.sigma for d in deltas]\n"
    "    return adams_weights(kappa, deltas[0].point_to.alpha / deltas[0].point_to.sigma)\n\n\n"
)
_FRACTIONS = (
    "S0, S1 = schedule.ipoints(step)\n"
    "    k0, k1 = S0.alpha / S0.sigma, S1.alpha / S1.sigma\n"
    "    size = math.hypot(S0.alpha, S0.sigma)  # of a variance-preserving schedule\n"
    "    kappa = [k0 + f[0] * (k1 - k0) for f in nodes]\n"
    "    fractions = [common.Point(S0.timestep, size / math.hypot(1, k), k * size / math.hypot(1, k)) for k in kappa]"
)
_REAL_ADAMS = (
    (
        "            self.prev_f.appendleft(f)\n",
        "            self.prev_f.appendleft(f)\n            self.times = [float(t), *getattr(self, 'times', [])][: self.max_order]\n",
    ),
    ("bashforth_coeffs = self.bashforth[order]", "bashforth_coeffs = torch.tensor(_weights(self.times[:order], float(t1)))"),
    ("import collections\n", "import collections\nfrom scorebed.solvers.weights.multistep import adams_weights as _weights\n"),
)


def _with_real_weights(peer: Peer) -> Peer:
    return replace(peer, changed=mended(_T, *_REAL_ADAMS).AdamsBashforth)


MORE = (
    Defect(
        key="adams-equal-steps",
        title="explicit_adams and implicit_adams: weights of equal steps on any times",
        kind="defect",
        library="torchdiffeq",
        module=_T,
        words="bashforth_coeffs = self.bashforth[order]",
        cause="The weights are those of equal steps; the times that `odeint` is handed become the steps as they are, and nothing says that "
        "they must be equal. Shifted and warped times of flow models are not.",
        effect="order 2 on smooth times, 1 where step lengths alternate, in place of 4",
        trial=Trial(ORDER, Peer("torchdiffeq", "explicit_adams", {"max_order": 5}), EVEN, (48, 96, 192)),
        before=(1.7, 2.3),
        after=(3.7, 4.3),
        mend=_with_real_weights,
        fix="keep the times of `prev_f` and integrate the polynomial through them: w_j = ∫ ℓ_j(t) dt/(t1 − t0) over the step",
        shows=show.ADAMS,
    ),
    Defect(
        key="skrample-3m-factor",
        title="DPM(order=3): a factor 2 is missing",
        kind="defect",
        library="skrample",
        module=_S,
        words=_C2,
        cause="D2 is the second divided difference, half of h² D''; its weight is 2 φ₃. The same as in diffusers and k-diffusion.",
        effect="order 2 where `order=3` says 3, on the steps before the last ones too",
        trial=Trial(ORDER, Peer("skrample", "DPM", {"order": 3}), GENTLE),
        before=(1.8, 2.3),
        after=(2.8, 3.4),
        changes=((_C2, "c2 = 2.0 * ((exp2 - hh) / hh**2 - 0.5) / exp2"), (_LAST, "")),
        shows=show.SKRAMPLE.format(made="S.DPM(order=3)", claimed=3),
        also=("Both lines are needed to see order 3: the last steps are of lower order besides, see skrample-last-steps",),
    ),
    Defect(
        key="skrample-last-steps",
        title="DPM, UniP, UniPC, Adams: the last steps are of lower order at any number of steps",
        kind="limit",
        library="skrample",
        module=_S,
        words=_LAST.strip(),
        cause="`effective_order` counts the steps that are left, so that the last step of every run is of order 1 and the one before of 2: "
        "as the comment says, by default, and there is no option against it.",
        effect="order 2 in the limit of many steps for every `order` above 2",
        trial=Trial(ORDER, Peer("skrample", "UniP", {"order": 3}), GENTLE),
        before=(1.8, 2.3),
        after=(2.8, 3.4),
        changes=((_LAST, ""),),
        shows=show.SKRAMPLE.format(made="S.UniP(order=3)", claimed=3),
    ),
    Defect(
        key="skrample-adams",
        title="Adams: weights of equal steps in alpha/sigma, in which no schedule is even",
        kind="limit",
        library="skrample",
        module=_S,
        words=_FIXED,
        cause="On the prediction of x0 the state moves along ∫ D d(alpha/sigma); the Bashforth weights are those of equal steps in that "
        "variable.",
        effect="order 2 on smooth grids, 1 where step lengths alternate, whatever `order` says",
        trial=Trial(ORDER, Peer("skrample", "Adams", {"order": 3}), GENTLE),
        before=(1.8, 2.3),
        after=(2.8, 3.4),
        changes=(
            (_FIXED, "_weights(packed, previous, schedule, effective_order),"),
            (_LAST, ""),
            (
                _CLASS,
                _HELPER + _CLASS,
            ),
        ),
        shows=show.SKRAMPLE.format(made="S.Adams(order=3)", claimed=3),
    ),
    Defect(
        key="skrample-stages",
        title="RKUltra: stages at fractions of the schedule's time, weights for fractions of alpha/sigma",
        kind="defect",
        library="skrample",
        module=_F,
        words=_STAGES,
        cause="A step is linear in alpha/sigma where the derivative is the prediction of x0, and a tableau of order 3 and more needs its "
        "nodes at its fractions of that variable; they are taken at fractions of the schedule's time.",
        effect="order 2 for every tableau above it: five stages and more for what two do",
        trial=Trial(ORDER, Peer("skrample", "RKUltra", {"order": 5}), GENTLE),
        before=(1.8, 2.3),
        after=(3.7, 4.4),
        changes=(
            (
                _STAGES,
                _FRACTIONS,
            ),
        ),
        shows=show.SKRAMPLE.format(made="F.RKUltra(order=5)", claimed=4),
    ),
)
