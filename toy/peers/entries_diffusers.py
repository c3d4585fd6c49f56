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
    options: Mapping[str, Any],
    order: int | None,
    weak: int | None,
    source: str,
    defects: tuple[str, ...] = (),
    note: str = "",
    step: Mapping[str, Any] | None = None,
    hide: tuple[str, ...] = ("clip_sample", "clip_denoised"),
) -> Entry:
    shown = {k: v for k, v in {**options, **(step or {})}.items() if k not in hide}
    title = name.removesuffix("Scheduler") + (f" ({label(shown)})" if shown else "")
    return Entry(title, diffusers(name, options, step), order, weak, source, defects, note)


def _multistep(name: str, three: str, edm: bool = False) -> Iterator[Entry]:
    """The multistep DPM-Solvers, whose formulas are copied from file to file."""
    source = f"`solver_order`; {DPMPP}"
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun") if order == 2 else ("midpoint",):
            o: dict[str, Any] = {"solver_order": order} | ({"solver_type": solver} if order == 2 else {})
            found = (three,) if order == 3 else ()
            yield _diffusers(name, o, order, None, source, found)
            if edm and order == 1:
                continue
            old = {**o, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
            if not edm:
                yield _diffusers(name, old, order, None, f"`solver_order`; {DPM}", found, "deprecated algorithm_type")
            sde = {**o, "algorithm_type": "sde-dpmsolver++"}
            yield _diffusers(
                name,
                sde,
                None,
                1 if order == 1 else 2,
                f"{DPMPP}, SDE-DPM-Solver++",
                ("no-third-order-sde" if edm else "sde-3m-sign",) if order == 3 else (),
            )
            if not edm:
                both = {**old, "algorithm_type": "sde-dpmsolver"}
                yield _diffusers(
                    name,
                    both,
                    None,
                    min(order, 2),
                    f"{DPMPP}, SDE-DPM-Solver",
                    ("no-third-order-sde",) if order == 3 else (),
                    "deprecated algorithm_type",
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
        found: tuple[str, ...] = (
            ("truncated-timesteps",) if set(extra) & {"use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas"} else ()
        )
        found = ("truncated-timesteps",) if "use_karras_sigmas" in extra or "use_lu_lambdas" in extra else found
        yield d(name, {"solver_order": 2, **extra}, 2, None, f"`solver_order`; {DPMPP}", found)
    yield d(
        name,
        {"solver_order": 2, "solver_type": "heun", "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
        2,
        None,
        f"`solver_order`; {DPMPP}",
        ("empty-last-step",),
    )
    yield d(
        name,
        {"solver_order": 3, "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"},
        3,
        None,
        f"`solver_order`; {DPMPP}",
        ("3m-factor", "empty-last-step"),
    )
    single = "DPMSolverSinglestepScheduler"
    for order in (1, 2, 3):
        for solver in ("midpoint", "heun") if order > 1 else ("midpoint",):
            o = {"solver_order": order} | ({"solver_type": solver} if order > 1 else {})
            yield d(single, o, order, None, f"`solver_order`; {DPM}, Alg. 5")
            if order > 1:
                old = {**o, "algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}
                yield d(single, old, order, None, f"`solver_order`; {DPM}, Alg. 5", (), "deprecated algorithm_type")
            found = ("sde-3s-sign", "independent-noise") if order == 3 and solver == "heun" else ("independent-noise",) if order > 1 else ()
            yield d(single, {**o, "algorithm_type": "sde-dpmsolver++"}, None, min(order, 2), f"{DPMPP}, SDE-DPM-Solver++", found)
    yield d(single, {"solver_order": 2, "use_karras_sigmas": True}, 2, None, f"`solver_order`; {DPMPP}", ("truncated-timesteps",))
    yield from _multistep("EDMDPMSolverMultistepScheduler", "edm-3m-factor", edm=True)
    yield d("EDMEulerScheduler", {}, 1, None, EDM)
    yield d("EDMEulerScheduler", {}, None, 1, EDM, (), "", {"s_churn": 4.0})
    for solver in ("midpoint", "heun"):
        yield d("CosineDPMSolverMultistepScheduler", {"solver_type": solver}, None, 2, f"{DPMPP}, SDE-DPM-Solver++")
    for order in (1, 2, 3):
        for solver in ("bh1", "bh2"):
            o = {"solver_order": order, "solver_type": solver}
            yield d(
                "UniPCMultistepScheduler",
                o,
                order + 1,
                None,
                f"docstring: `solver_order` + 1 with UniC; {UNIPC}",
                (("unipc-bh1-nan",) if solver == "bh1" else ()) + (("lower-order-final", "start-up") if order == 3 else ()),
            )
    yield d(
        "UniPCMultistepScheduler",
        {"solver_order": 2, "predict_x0": False, "final_sigmas_type": "sigma_min"},
        3,
        None,
        f"docstring; {UNIPC}",
    )
    yield d(
        "UniPCMultistepScheduler",
        {"solver_order": 2, "use_karras_sigmas": True},
        3,
        None,
        f"docstring; {UNIPC}",
        ("truncated-timesteps",),
    )
    yield d(
        "UniPCMultistepScheduler",
        {"solver_order": 2, "use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        3,
        None,
        f"docstring; {UNIPC}",
        ("truncated-timesteps",),
    )
    for order in (1, 2, 3):
        yield d(
            "DEISMultistepScheduler",
            {"solver_order": order},
            order,
            None,
            f"`solver_order`; {DEIS}",
            ("float32-coefficients", "start-up") if order == 3 else (),
        )
    yield d(
        "DEISMultistepScheduler",
        {"solver_order": 2, "use_karras_sigmas": True},
        2,
        None,
        f"`solver_order`; {DEIS}",
        ("empty-last-step-deis",),
    )
    for p, c in ((1, 1), (2, 2), (3, 3), (3, 4)):
        o = {"predictor_order": p, "corrector_order": c}
        yield d(
            "SASolverScheduler",
            {**o, "tau_func": off},
            max(p, c),
            None,
            f"`predictor_order`, `corrector_order`; {SA}",
            ("float32-coefficients", "lower-order-final", "start-up") if c == 4 else (),
        )
        yield d("SASolverScheduler", {**o, "tau_func": on}, None, min(2, max(p, c)), f"{SA}, tau = 1", (), _SLOW if c == 1 else "")
    yield d("SASolverScheduler", {"algorithm_type": "noise_prediction", "tau_func": off}, 2, None, SA)
    ve = (
        ("EulerDiscreteScheduler", 1, EDM),
        ("HeunDiscreteScheduler", 2, f"{EDM}, Alg. 1"),
        ("KDPM2DiscreteScheduler", 2, f"{KD}, sample_dpm_2"),
        ("LMSDiscreteScheduler", 4, f"`step(order=4)`; {KD}, sample_lms"),
    )
    for name, order, source in ve:
        late = ("start-up",) if order == 4 else ()
        yield d(name, {}, order, None, source, late)
        yield d(name, {"use_karras_sigmas": True}, order, None, source, late)
        if order < 4:  # a run of LMS takes minutes: it integrates its weights anew in every step
            yield d(name, {"use_exponential_sigmas": True}, order, None, source)
            yield d(name, {"prediction_type": "v_prediction"}, order, None, source)
    for spacing in ("leading", "trailing"):
        yield d("EulerDiscreteScheduler", {"timestep_spacing": spacing}, 1, None, EDM)
        yield d("HeunDiscreteScheduler", {"timestep_spacing": spacing}, 2, None, EDM)
    yield d("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}, 1, None, EDM, ("log-linear-timesteps",))
    yield d("EulerDiscreteScheduler", {"use_beta_sigmas": True}, 1, None, EDM)
    yield d("EulerDiscreteScheduler", {}, None, 1, EDM, (), "", {"s_churn": 4.0})
    yield d("EulerAncestralDiscreteScheduler", {}, None, 1, f"{KD}, sample_euler_ancestral")
    yield d("KDPM2AncestralDiscreteScheduler", {}, None, 2, f"{KD}, sample_dpm_2_ancestral")
    yield d("KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}, None, 2, f"{KD}, sample_dpm_2_ancestral")
    yield d("DPMSolverSDEScheduler", {}, None, 2, f"{KD}, sample_dpmpp_sde")
    yield d("DPMSolverSDEScheduler", {"use_karras_sigmas": True}, None, 2, f"{KD}, sample_dpmpp_sde")
    plain = {"clip_sample": False}
    for name in ("DDIMScheduler", "DDIMParallelScheduler"):
        yield d(name, plain, 1, None, DDIM)
        yield d(name, plain, None, 1, DDIM, (), "", {"eta": 1.0})
    yield d("DDIMScheduler", {**plain, "timestep_spacing": "trailing"}, 1, None, DDIM)
    yield d("DDIMScheduler", {**plain, "prediction_type": "v_prediction"}, 1, None, DDIM)
    yield d(
        "DDIMScheduler",
        {**plain, "timestep_spacing": "trailing", "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
        1,
        None,
        DDIM,
    )
    yield d("CogVideoXDDIMScheduler", plain, 1, None, DDIM)
    yield d("CogVideoXDPMScheduler", plain, None, 2, f"{DPMPP}, SDE-DPM-Solver++(2M)")
    for name in ("DDPMScheduler", "DDPMParallelScheduler"):
        for kind in ("fixed_small", "fixed_large"):
            yield d(name, {**plain, "variance_type": kind}, None, 1, DDPM)
    yield d("UnCLIPScheduler", plain, None, 1, DDPM, ("unclip-one-step",))
    for skip in (False, True):
        yield d(
            "PNDMScheduler",
            {"skip_prk_steps": True} if skip else {},
            4,
            None,
            f"`pndm_order = 4`; {PNDM}",
            ("pndm-weights",) if skip else ("pndm-weights", "prk-few-steps"),
        )
    yield d("IPNDMScheduler", {}, 4, None, f"docstring: fourth-order; {PNDM}", ("ipndm-first-step",))
    flow = "Euler on the flow, arXiv:2209.03003"
    yield d("FlowMatchEulerDiscreteScheduler", {}, 1, None, flow)
    yield d("FlowMatchEulerDiscreteScheduler", {"shift": 3.0}, 1, None, flow)
    yield d("FlowMatchEulerDiscreteScheduler", {"use_karras_sigmas": True}, 1, None, flow)
    yield d(
        "FlowMatchEulerDiscreteScheduler",
        {"stochastic_sampling": True},
        None,
        0,
        "none stated",
        (),
        "by design: renews all noise in every step, so the law does not converge to the target's; meant for distilled models",
    )
    yield d("FlowMatchHeunDiscreteScheduler", {}, 2, None, "Heun on the flow")
    yield d("FlowMatchHeunDiscreteScheduler", {"shift": 3.0}, 2, None, "Heun on the flow")
    yield d("FlowMatchHeunDiscreteScheduler", {}, None, 1, f"{EDM}, Alg. 2", ("flow-heun-churn",), "", {"s_churn": 4.0})
    yield d(
        "FlowMapEulerDiscreteScheduler",
        {},
        1,
        None,
        flow,
        (),
        "with a flow-map model every step is exact; here it is given the velocity",
    )
    yield d("LTXEulerAncestralRFScheduler", {}, None, 1, "docstring: Euler-Ancestral RF")
    yield d("LTXEulerAncestralRFScheduler", {"eta": 0.0}, 1, None, flow)
    yield d("MiniMaxH3Scheduler", {}, 1, None, flow)
    yield d("DDPMWuerstchenScheduler", {}, None, 1, DDPM)
