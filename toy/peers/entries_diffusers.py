"""diffusers' schedulers with the options that change their formulas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scorebed.toy.peers.entry import DDIM, DDPM, DEIS, DPM, DPMPP, EDM, KD, PNDM, SA, UNIPC, Entry, diffusers, label


class Constant:
    """tau as a function of the timestep that says its value."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self, _: Any) -> int:
        return self.value

    def __repr__(self) -> str:
        return f"{self.value}"


off, on = Constant(0), Constant(1)
_SLOW = "two errors cancel at few steps; the slope still rises and is 0.97 at 769 steps"


def _diffusers(
    name: str,
    source: str,
    options: Mapping[str, Any] | None = None,
    *,
    order: int | None = None,
    weak: int | None = None,
    see: tuple[str, ...] = (),
    note: str = "",
    step: Mapping[str, Any] | None = None,
) -> Entry:
    shown = {k: v for k, v in {**(options or {}), **(step or {})}.items() if k not in ("clip_sample", "clip_denoised")}
    title = name.removesuffix("Scheduler") + (f" ({label(shown)})" if shown else "")
    return Entry(title, diffusers(name, options, step), order, weak, source, see, note)


def _multistep(name: str, three: str, edm: bool = False) -> Iterator[Entry]:
    """The multistep DPM-Solvers, whose formulas are copied from file to file."""
    source = f"`solver_order`; {DPMPP}"
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun") if order == 2 else ("midpoint",):
            o: dict[str, Any] = {"solver_order": order} | ({"solver_type": solver} if order == 2 else {})
            see = (three,) if order == 3 else ()
            yield _diffusers(name, source, o, order=order, see=see)
            if edm and order == 1:
                continue
            old = {**o, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
            if not edm:
                yield _diffusers(name, f"`solver_order`; {DPM}", old, order=order, see=see, note="deprecated algorithm_type")
            sde = {**o, "algorithm_type": "sde-dpmsolver++"}
            yield _diffusers(
                name,
                f"{DPMPP}, SDE-DPM-Solver++",
                sde,
                weak=1 if order == 1 else 2,
                see=("no-third-order-sde" if edm else "sde-3m-sign",) if order == 3 else (),
            )
            if not edm:
                both = {**old, "algorithm_type": "sde-dpmsolver"}
                yield _diffusers(
                    name,
                    f"{DPMPP}, SDE-DPM-Solver",
                    both,
                    weak=min(order, 2),
                    see=("no-third-order-sde",) if order == 3 else (),
                    note="deprecated algorithm_type",
                )


def diffusers_entries() -> Iterator[Entry]:
    """diffusers' schedulers."""
    d = _diffusers
    name = "DPMSolverMultistepScheduler"
    yield from _multistep(name, "3m-factor")
    for extra in (
        {"use_karras_sigmas": True},
        {"use_exponential_sigmas": True},
        {"use_beta_sigmas": True},
        {"use_lu_lambdas": True},
        {"timestep_spacing": "leading"},
        {"timestep_spacing": "trailing"},
        {"final_sigmas_type": "sigma_min"},
        {"euler_at_final": True},
        {"lower_order_final": False},
        {"prediction_type": "v_prediction"},
        {"prediction_type": "sample"},
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
    ):
        see: tuple[str, ...] = (
            ("truncated-timesteps",) if set(extra) & {"use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas"} else ()
        )
        see = ("truncated-timesteps",) if "use_karras_sigmas" in extra or "use_lu_lambdas" in extra else see
        yield d(name, f"`solver_order`; {DPMPP}", {"solver_order": 2, **extra}, order=2, see=see)
    yield d(
        name,
        f"`solver_order`; {DPMPP}",
        {"solver_order": 2, "solver_type": "heun", "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
        order=2,
        see=("empty-last-step",),
    )
    yield d(
        name,
        f"`solver_order`; {DPMPP}",
        {"solver_order": 3, "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
        order=3,
        see=("3m-factor", "empty-last-step"),
    )
    single = "DPMSolverSinglestepScheduler"
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun") if order > 1 else ("midpoint",):
            o = {"solver_order": order} | ({"solver_type": solver} if order > 1 else {})
            yield d(single, f"`solver_order`; {DPM}, Alg. 5", o, order=order)
            if order > 1:
                old = {**o, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
                yield d(single, f"`solver_order`; {DPM}, Alg. 5", old, order=order, note="deprecated algorithm_type")
            see = ("sde-3s-sign", "independent-noise") if order == 3 and solver == "heun" else ("independent-noise",) if order > 1 else ()
            yield d(single, f"{DPMPP}, SDE-DPM-Solver++", {**o, "algorithm_type": "sde-dpmsolver++"}, weak=min(order, 2), see=see)
    yield d(single, f"`solver_order`; {DPMPP}", {"solver_order": 2, "use_karras_sigmas": True}, order=2, see=("truncated-timesteps",))
    yield from _multistep("EDMDPMSolverMultistepScheduler", "edm-3m-factor", edm=True)
    yield d("EDMEulerScheduler", EDM, order=1)
    yield d("EDMEulerScheduler", EDM, weak=1, step={"s_churn": 4.0})
    for solver in ("midpoint", "heun"):
        yield d("CosineDPMSolverMultistepScheduler", f"{DPMPP}, SDE-DPM-Solver++", {"solver_type": solver}, weak=2)
    for order in (1, 2, 3):
        for solver in ("bh1", "bh2"):
            o = {"solver_order": order, "solver_type": solver}
            yield d(
                "UniPCMultistepScheduler",
                f"docstring: `solver_order` + 1 with UniC; {UNIPC}",
                o,
                order=order + 1,
                see=(("unipc-bh1-nan",) if solver == "bh1" else ()) + (("lower-order-final", "start-up") if order == 3 else ()),
            )
    yield d(
        "UniPCMultistepScheduler",
        f"docstring; {UNIPC}",
        {"solver_order": 2, "predict_x0": False, "final_sigmas_type": "sigma_min"},
        order=3,
    )
    yield d(
        "UniPCMultistepScheduler",
        f"docstring; {UNIPC}",
        {"solver_order": 2, "use_karras_sigmas": True},
        order=3,
        see=("truncated-timesteps",),
    )
    yield d(
        "UniPCMultistepScheduler",
        f"docstring; {UNIPC}",
        {"solver_order": 2, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        order=3,
        see=("truncated-timesteps",),
    )
    for order in (1, 2, 3):
        yield d(
            "DEISMultistepScheduler",
            f"`solver_order`; {DEIS}",
            {"solver_order": order},
            order=order,
            see=("float32-coefficients", "start-up") if order == 3 else (),
        )
    yield d(
        "DEISMultistepScheduler",
        f"`solver_order`; {DEIS}",
        {"solver_order": 2, "use_karras_sigmas": True},
        order=2,
        see=("empty-last-step-deis",),
    )
    for p, c in ((1, 1), (2, 2), (3, 3), (3, 4)):
        o = {"predictor_order": p, "corrector_order": c}
        yield d(
            "SASolverScheduler",
            f"`predictor_order`, `corrector_order`; {SA}",
            {**o, "tau_func": off},
            order=max(p, c),
            see=("float32-coefficients", "lower-order-final", "start-up") if c == 4 else (),
        )
        yield d("SASolverScheduler", f"{SA}, tau = 1", {**o, "tau_func": on}, weak=min(2, max(p, c)), note=_SLOW if c == 1 else "")
    yield d("SASolverScheduler", SA, {"algorithm_type": "noise_prediction", "tau_func": off}, order=2)
    ve = (
        ("EulerDiscreteScheduler", 1, EDM),
        ("HeunDiscreteScheduler", 2, f"{EDM}, Alg. 1"),
        ("KDPM2DiscreteScheduler", 2, f"{KD}, sample_dpm_2"),
        ("LMSDiscreteScheduler", 4, f"`step(order=4)`; {KD}, sample_lms"),
    )
    for name, order, source in ve:
        late = ("start-up",) if order == 4 else ()
        yield d(name, source, order=order, see=late)
        yield d(name, source, {"use_karras_sigmas": True}, order=order, see=late)
        if order < 4:  # a run of LMS takes minutes: it integrates its weights anew in every step
            yield d(name, source, {"use_exponential_sigmas": True}, order=order)
            yield d(name, source, {"prediction_type": "v_prediction"}, order=order)
    for spacing in ("leading", "trailing"):
        yield d("EulerDiscreteScheduler", EDM, {"timestep_spacing": spacing}, order=1)
        yield d("HeunDiscreteScheduler", EDM, {"timestep_spacing": spacing}, order=2)
    yield d("EulerDiscreteScheduler", EDM, {"interpolation_type": "log_linear"}, order=1, see=("log-linear-timesteps",))
    yield d("EulerDiscreteScheduler", EDM, {"use_beta_sigmas": True}, order=1)
    yield d("EulerDiscreteScheduler", EDM, weak=1, step={"s_churn": 4.0})
    yield d("EulerAncestralDiscreteScheduler", f"{KD}, sample_euler_ancestral", weak=1)
    yield d("KDPM2AncestralDiscreteScheduler", f"{KD}, sample_dpm_2_ancestral", weak=2)
    yield d("KDPM2AncestralDiscreteScheduler", f"{KD}, sample_dpm_2_ancestral", {"use_karras_sigmas": True}, weak=2)
    yield d("DPMSolverSDEScheduler", f"{KD}, sample_dpmpp_sde", weak=2)
    yield d("DPMSolverSDEScheduler", f"{KD}, sample_dpmpp_sde", {"use_karras_sigmas": True}, weak=2)
    plain = {"clip_sample": False}
    for name in ("DDIMScheduler", "DDIMParallelScheduler"):
        yield d(name, DDIM, plain, order=1)
        yield d(name, DDIM, plain, weak=1, step={"eta": 1.0})
    yield d("DDIMScheduler", DDIM, {**plain, "timestep_spacing": "trailing"}, order=1)
    yield d("DDIMScheduler", DDIM, {**plain, "prediction_type": "v_prediction"}, order=1)
    yield d(
        "DDIMScheduler",
        DDIM,
        {**plain, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        order=1,
    )
    yield d("CogVideoXDDIMScheduler", DDIM, plain, order=1)
    yield d("CogVideoXDPMScheduler", f"{DPMPP}, SDE-DPM-Solver++(2M)", plain, weak=2)
    for name in ("DDPMScheduler", "DDPMParallelScheduler"):
        for kind in ("fixed_small", "fixed_large"):
            yield d(name, DDPM, {**plain, "variance_type": kind}, weak=1)
    yield d("UnCLIPScheduler", DDPM, plain, weak=1, see=("unclip-one-step",))
    for skip in (False, True):
        yield d(
            "PNDMScheduler",
            f"`pndm_order = 4`; {PNDM}",
            {"skip_prk_steps": True} if skip else {},
            order=4,
            see=("pndm-weights",) if skip else ("pndm-weights", "prk-few-steps"),
        )
    yield d("IPNDMScheduler", f"docstring: fourth-order; {PNDM}", order=4, see=("ipndm-first-step",))
    flow = "Euler on the flow, arXiv:2209.03003"
    yield d("FlowMatchEulerDiscreteScheduler", flow, order=1)
    yield d("FlowMatchEulerDiscreteScheduler", flow, {"shift": 3.0}, order=1)
    yield d("FlowMatchEulerDiscreteScheduler", flow, {"use_karras_sigmas": True}, order=1)
    yield d(
        "FlowMatchEulerDiscreteScheduler",
        "none stated",
        {"stochastic_sampling": True},
        weak=0,
        note="by design: renews all noise in every step, so the law does not converge to the target's; meant for distilled models",
    )
    yield d("FlowMatchHeunDiscreteScheduler", "Heun on the flow", order=2)
    yield d("FlowMatchHeunDiscreteScheduler", "Heun on the flow", {"shift": 3.0}, order=2)
    yield d("FlowMatchHeunDiscreteScheduler", f"{EDM}, Alg. 2", weak=1, see=("flow-heun-churn",), step={"s_churn": 4.0})
    yield d("FlowMapEulerDiscreteScheduler", flow, order=1, note="with a flow-map model every step is exact; here it is given the velocity")
    yield d("LTXEulerAncestralRFScheduler", "docstring: Euler-Ancestral RF", weak=1)
    yield d("LTXEulerAncestralRFScheduler", flow, {"eta": 0.0}, order=1)
    yield d("MiniMaxH3Scheduler", flow, order=1)
    yield d("DDPMWuerstchenScheduler", DDPM, weak=1)
