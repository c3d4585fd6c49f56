"""k-diffusion's ``sample_*`` and azula's samplers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scorebed.toy.peers.entry import AZ, DDIM, DDPM, DPM, DPMPP, EDM, Entry, azula, kdiffusion, label

_BIAS = (
    "by design: the corrector has a bias that grows with delta and that no number of steps removes, 2e-2 at delta = 0.3; at the "
    "default 0.01 it lies below the predictor's error"
)
_TOLERANCE = "chooses its steps by a tolerance, so no order in n is measured"


def kdiffusion_entries() -> Iterator[Entry]:
    """k-diffusion's ``sample_*``."""

    def k(
        name: str, order: int | None, weak: int | None, source: str, defects: tuple[str, ...] = (), note: str = "", /, **options: Any
    ) -> Entry:
        shown = f" ({label(options)})" if options else ""
        return Entry(name + shown, kdiffusion(name, **options), order, weak, source, defects, note)

    churn: dict[str, Any] = {"s_churn": 4.0}
    yield k("sample_euler", 1, None, f"{EDM}, Alg. 2 without its second half")
    yield k("sample_euler", None, 1, f"{EDM}, Alg. 2", **churn)
    yield k("sample_euler_ancestral", None, 1, "docstring: Euler steps")
    yield k("sample_heun", 2, None, f"{EDM}, Alg. 2")
    yield k("sample_heun", None, 2, f"{EDM}, Alg. 2", **churn)
    yield k("sample_dpm_2", 2, None, f"docstring: DPM-Solver-2; {DPM}")
    yield k("sample_dpm_2", None, 2, f"docstring: DPM-Solver-2; {DPM}", **churn)
    yield k("sample_dpm_2_ancestral", None, 2, "docstring: second-order steps")
    yield k("sample_lms", 4, None, "`order=4`", ("start-up",))
    for order in (1, 2, 3):
        yield k("sample_lms", order, None, "`order`", ("start-up",) if order == 3 else (), order=order)
    yield k("sample_dpm_fast", 3, None, f"{DPM}, DPM-Solver-fast", ("dpm-fast-end",))
    yield k("sample_dpm_fast", None, 1, f"{DPM}", eta=1.0)
    yield k("sample_dpm_adaptive", None, None, f"{DPM}, DPM-Solver-12 and 23; steps chosen by tolerance", ("adaptive-hang",), _TOLERANCE)
    yield k("sample_dpmpp_2s_ancestral", None, 2, "docstring: second-order steps")
    yield k("sample_dpmpp_2s_ancestral", 2, None, f"{DPMPP}, 2S", eta=0.0)
    yield k("sample_dpmpp_sde", None, 2, "stage and step on one Brownian path")
    yield k("sample_dpmpp_sde", 2, None, f"{DPMPP}, 2S", eta=0.0)
    yield k("sample_dpmpp_2m", 2, None, f"{DPMPP}, 2M")
    for solver in ("midpoint", "heun"):
        yield k("sample_dpmpp_2m_sde", None, 2, f"{DPMPP}, SDE 2M", ("sde-one-step",), solver_type=solver)
        yield k("sample_dpmpp_2m_sde", 2, None, f"{DPMPP}, 2M", ("sde-one-step",), solver_type=solver, eta=0.0)
    yield k("sample_dpmpp_3m_sde", None, 2, "docstring: 3M", ("3m-factor-kd", "sde-one-step"))
    yield k("sample_dpmpp_3m_sde", 3, None, "docstring: 3M", ("3m-factor-kd", "sde-one-step"), eta=0.0)


def azula_entries() -> Iterator[Entry]:
    """azula's samplers."""

    def a(
        name: str, order: int | None, weak: int | None, source: str, defects: tuple[str, ...] = (), note: str = "", /, **options: Any
    ) -> Entry:
        shown = f" ({label(options)})" if options else ""
        return Entry(name + shown, azula(name, **options), order, weak, source, defects, note)

    yield a("DDPMSampler", None, 1, DDPM)
    yield a("DDIMSampler", 1, None, DDIM)
    yield a("DDIMSampler", None, 1, f"{DDIM}; eta enters as eta, not eta²", eta=0.5)
    yield a("EulerSampler", 1, None, f"{AZ}: 1st order")
    yield a("HeunSampler", 2, None, f"{AZ}: 2nd order")
    yield a(
        "ItoSampler", None, 1, f"{AZ}; left-point rule", (), "from t = 1 with few steps it overshoots: the left-point rule on alpha = 1e-3"
    )
    yield a("ItoSampler", 1, None, f"{AZ}; eta = 0", eta=0.0)
    for name in ("zABSampler", "vABSampler", "zEABSampler", "xEABSampler", "REABSampler"):
        for order in (1, 2, 3):
            see = (("reab-swapped-sigma",) if name == "REABSampler" else ()) + (("start-up",) if order == 3 else ())
            yield a(name, order, None, f"{AZ}: `order`", see, order=order)
    yield a("PCSampler", None, 0, "none stated", (), _BIAS)
