"""Defects of k-diffusion and azula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scorebed.toy.peers import reproductions as show
from scorebed.toy.peers.azula_samplers import Azula
from scorebed.toy.peers.defect import EVEN, GENTLE, ORDER, SHIPPED, WORKS, Defect, Trial
from scorebed.toy.peers.kdiffusion import Sampler

_K = "k_diffusion.sampling"
_A = "azula.sample"


class _Broken(Sampler):
    """A sampler whose network returns nan."""

    def run(self, n: int, initial: Any, denoise: Any, *args: Any, **kwargs: Any) -> Any:
        return super().run(n, initial, lambda x, at: x * float("nan"), *args, **kwargs)


def _refuses(drive: Any) -> Any:
    """The adaptive sampler with one line that refuses a nan; that it raises is that it works."""
    from scorebed.toy.peers.mend import mended

    line = "            accept = pid.propose_step(error)\n"
    module = mended(_K, (line, '            if error != error: raise ValueError("the error is nan")\n' + line))

    def sampler(model: Any, x: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            module.sample_dpm_adaptive(model, x, *args, **kwargs)
        except ValueError:
            return x
        raise RuntimeError("a nan went unnoticed")

    return replace(drive, changed=sampler)


OTHERS = (
    Defect(
        "3m-factor-kd",
        "sample_dpmpp_3m_sde: a factor 2 is missing",
        "defect",
        "k-diffusion",
        _K,
        "x = x + phi_2 * d1 - phi_3 * d2",
        "d2 is the second divided difference, half of h² D''; its weight is 2 φ₃.",
        "order 2 with eta = 0 where 3M says 3; with eta > 0 a larger constant of weak order 2",
        Trial(ORDER, Sampler("sample_dpmpp_3m_sde", {"eta": 0.0}), GENTLE),
        (1.85, 2.3),
        (2.85, 3.4),
        (("- phi_3 * d2", "- 2 * phi_3 * d2"),),
        shows=show.K_3M,
    ),
    Defect(
        "sde-one-step",
        "sample_dpmpp_2m_sde and sample_dpmpp_3m_sde: fail at one step",
        "defect",
        "k-diffusion",
        _K,
        "        h_last = h\n",
        "h is assigned only where the next sigma is not 0, and read in every step.",
        "UnboundLocalError for sigmas = [s, 0]",
        Trial(WORKS, Sampler("sample_dpmpp_2m_sde", {"eta": 0.0}), SHIPPED, (1,)),
        (0.0, 0.0),
        (1.0, 1.0),
        (("    h_last = None\n", "    h_last = h = None\n"),),
        shows=show.K_ONE,
    ),
    Defect(
        "adaptive-hang",
        "sample_dpm_adaptive: a nan makes it run for ever",
        "defect",
        "k-diffusion",
        _K,
        "accept = pid.propose_step(error)",
        "A nan from the network makes the error nan, the step nan, and no step is ever accepted: `while s < t_end` never ends.",
        "hang, without a word",
        Trial(WORKS, _Broken("sample_dpm_adaptive", free="adaptive"), SHIPPED, (8,)),
        (0.0, 0.0),
        (1.0, 1.0),
        mend=_refuses,
        shows=show.K_NAN,
    ),
    Defect(
        "dpm-fast-end",
        "sample_dpm_fast: the last steps are of lower order",
        "limit",
        "k-diffusion",
        _K,
        "orders = [3] * (m - 2) + [2, 1]",
        "As in the paper (arXiv:2206.00927, DPM-Solver-fast), the evaluations that are left over make a last step of order 1 or 2.",
        "order 2 in the limit of many steps; 3 with third-order steps alone",
        Trial(ORDER, Sampler("sample_dpm_fast", free="fast"), EVEN, (16, 32, 64)),
        (1.8, 2.3),
        (2.8, 3.3),
        (("m = math.floor(nfe / 3) + 1", "m = nfe // 3"), ("orders = [3] * (m - 2) + [2, 1]", "orders = [3] * m")),
        shows=show.K_FAST,
    ),
    Defect(
        "reab-swapped-sigma",
        "REABSampler: sigma_t where sigma_s belongs",
        "defect",
        "azula",
        _A,
        "torch.sqrt(alpha_s**2 + sigma_t**2) * integral",
        "The docstring has sqrt(1 + e^{2s}) before the integral, that is sqrt(alpha_s² + sigma_s²)/alpha_s; the code mixes the two nodes.",
        "order 1 for `order` 2 and 3",
        Trial(ORDER, Azula("REABSampler", {"order": 3}), GENTLE),
        (0.85, 1.2),
        (2.8, 3.3),
        (("alpha_s**2 + sigma_t**2) * integral", "alpha_s**2 + sigma_s**2) * integral"),),
        shows=show.REAB,
    ),
)
