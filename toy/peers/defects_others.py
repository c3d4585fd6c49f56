"""Defects of k-diffusion and azula."""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

from scorebed.toy.peers import reproductions as show
from scorebed.toy.peers.defect import EVEN, GENTLE, ORDER, SHIPPED, WORKS, Defect, Trial
from scorebed.toy.peers.entry import Peer, azula, kdiffusion

_K = "k_diffusion.sampling"
_A = "azula.sample"


def _refuses(peer: Peer) -> Peer:
    """The adaptive sampler with one line that refuses a nan; that it raises is that it works."""
    from scorebed.toy.peers.mend import mended

    line = "            accept = pid.propose_step(error)\n"
    module = mended(_K, (line, '            if error != error: raise ValueError("the error is nan")\n' + line))

    @wraps(module.sample_dpm_adaptive)
    def sampler(model: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            module.sample_dpm_adaptive(model, x, *args, **kwargs)
        except ValueError:
            return x
        raise RuntimeError("a nan went unnoticed")

    return replace(peer, changed=sampler)


OTHERS = (
    Defect(
        key="3m-factor-kd",
        title="sample_dpmpp_3m_sde: a factor 2 is missing",
        kind="defect",
        library="k-diffusion",
        module=_K,
        words="x = x + phi_2 * d1 - phi_3 * d2",
        cause="d2 is the second divided difference, half of h² D''; its weight is 2 φ₃.",
        effect="order 2 with eta = 0 where 3M says 3; with eta > 0 a larger constant of weak order 2",
        trial=Trial(ORDER, kdiffusion("sample_dpmpp_3m_sde", eta=0.0), GENTLE),
        before=(1.85, 2.3),
        after=(2.85, 3.4),
        changes=(("- phi_3 * d2", "- 2 * phi_3 * d2"),),
        shows=show.K_3M,
    ),
    Defect(
        key="sde-one-step",
        title="sample_dpmpp_2m_sde and sample_dpmpp_3m_sde: fail at one step",
        kind="defect",
        library="k-diffusion",
        module=_K,
        words="        h_last = h\n",
        cause="h is assigned only where the next sigma is not 0, and read in every step.",
        effect="UnboundLocalError for sigmas = [s, 0]",
        trial=Trial(WORKS, kdiffusion("sample_dpmpp_2m_sde", eta=0.0), SHIPPED, (1,)),
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        changes=(("    h_last = None\n", "    h_last = h = None\n"),),
        shows=show.K_ONE,
    ),
    Defect(
        key="adaptive-hang",
        title="sample_dpm_adaptive: a nan makes it run for ever",
        kind="defect",
        library="k-diffusion",
        module=_K,
        words="accept = pid.propose_step(error)",
        cause="A nan from the network makes the error nan, the step nan, and no step is ever accepted: `while s < t_end` never ends.",
        effect="hang, without a word",
        trial=Trial(WORKS, kdiffusion("sample_dpm_adaptive"), SHIPPED, (8,), spoilt=True),
        fix="`if error != error: raise ValueError('the error is nan')` before `pid.propose_step(error)`",
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        mend=_refuses,
        shows=show.K_NAN,
    ),
    Defect(
        key="dpm-fast-end",
        title="sample_dpm_fast: the last steps are of lower order",
        kind="limit",
        library="k-diffusion",
        module=_K,
        words="orders = [3] * (m - 2) + [2, 1]",
        cause="As in the paper (arXiv:2206.00927, DPM-Solver-fast), the evaluations that are left over make a last step of order 1 or 2.",
        effect="order 2 in the limit of many steps; 3 with third-order steps alone",
        trial=Trial(ORDER, kdiffusion("sample_dpm_fast"), EVEN, (16, 32, 64)),
        before=(1.8, 2.3),
        after=(2.8, 3.3),
        changes=(("m = math.floor(nfe / 3) + 1", "m = nfe // 3"), ("orders = [3] * (m - 2) + [2, 1]", "orders = [3] * m")),
        shows=show.K_FAST,
    ),
    Defect(
        key="reab-swapped-sigma",
        title="REABSampler: sigma_t where sigma_s belongs",
        kind="defect",
        library="azula",
        module=_A,
        words="torch.sqrt(alpha_s**2 + sigma_t**2) * integral",
        cause="The docstring has sqrt(1 + e^{2s}) before the integral, that is sqrt(alpha_s² + sigma_s²)/alpha_s; the "
        "code mixes the two nodes.",
        effect="order 1 for `order` 2 and 3",
        trial=Trial(ORDER, azula("REABSampler", order=3), GENTLE),
        before=(0.85, 1.2),
        after=(2.8, 3.3),
        changes=(("alpha_s**2 + sigma_t**2) * integral", "alpha_s**2 + sigma_s**2) * integral"),),
        shows=show.REAB,
    ),
)
