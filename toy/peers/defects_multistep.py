"""Defects of diffusers' DPM-Solvers and UniPC: formulas and empty steps."""

from __future__ import annotations

from scorebed.toy.peers import reproductions as show
from scorebed.toy.peers.defect import EVEN, GENTLE, ORDER, SHIPPED, WEAK, WORKS, Defect, Trial, subclass
from scorebed.toy.peers.entry import diffusers
from scorebed.toy.peers.remedies import one_path, skips_empty_steps

_M = "diffusers.schedulers.scheduling_"
_DATA = "- (alpha_t * ((torch.exp(-h) - 1.0 + h) / h**2 - 0.5)) * D2"
_NOISE = "- (sigma_t * ((torch.exp(h) - 1.0 - h) / h**2 - 0.5)) * D2"
_SDE3 = "+ (alpha_t * ((1.0 - torch.exp(-2.0 * h) - 2.0 * h) / (2.0 * h) ** 2 - 0.5)) * D2"
_SDE3S = "((1.0 - torch.exp(-2.0 * h) + (-2.0 * h)) / (-2.0 * h) ** 2 - 0.5)"
_MULTI, _SINGLE, _EDM, _UNIPC = (
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EDMDPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
)
_BRANCH = """        return x_t

    # Copied from diffusers.schedulers.scheduling_dpmsolver_multistep.DPMSolverMultistepScheduler.index_for_timestep"""
_THIRD_SDE = """        elif self.config.algorithm_type == "sde-dpmsolver++":
            x_t = (
                (sigma_t / sigma_s0 * torch.exp(-h)) * sample
                + (alpha_t * (1.0 - torch.exp(-2.0 * h))) * D0
                + (alpha_t * ((1.0 - torch.exp(-2.0 * h)) / (-2.0 * h) + 1.0)) * D1
                + 2.0 * (alpha_t * ((1.0 - torch.exp(-2.0 * h) - 2.0 * h) / (2.0 * h) ** 2 + 0.5)) * D2
                + sigma_t * torch.sqrt(1.0 - torch.exp(-2 * h)) * self._noise
            )

"""

MULTISTEP = (
    Defect(
        key="3m-factor",
        title="Third-order multistep DPM-Solver and DPM-Solver++: a factor 2 is missing",
        kind="defect",
        library="diffusers",
        module=f"{_M}dpmsolver_multistep",
        words=_DATA,
        cause="D2 is the second divided difference, half the second derivative times h², so φ₃ h² D'' is 2 φ₃ D2; the code has φ₃ "
        "D2. The same in "
        "the `dpmsolver` branch, in DPMSolverMultistepInverse and in EDMDPMSolverMultistep.",
        effect="`solver_order=3` is of order 2, on equal steps too",
        trial=Trial(ORDER, diffusers(_MULTI, {"solver_order": 3}), GENTLE),
        before=(1.85, 2.3),
        after=(2.85, 3.4),
        changes=((_DATA, "- 2.0 " + _DATA[2:].replace("(", "* (", 1)), (_NOISE, "- 2.0 " + _NOISE[2:].replace("(", "* (", 1))),
        shows=show.MULTISTEP.format(name=_MULTI, options="solver_order=3", claimed=3),
    ),
    Defect(
        key="edm-3m-factor",
        title="The same formula copied into the EDM scheduler",
        kind="defect",
        library="diffusers",
        module=f"{_M}edm_dpmsolver_multistep",
        words=_DATA,
        cause="As 3m-factor.",
        effect="`solver_order=3` is of order 2",
        trial=Trial(ORDER, diffusers(_EDM, {"solver_order": 3}), GENTLE),
        before=(1.85, 2.3),
        after=(2.85, 3.4),
        changes=((_DATA, "- 2.0 " + _DATA[2:].replace("(", "* (", 1)),),
        shows=show.EDM.format(name=_EDM),
    ),
    Defect(
        key="sde-3m-sign",
        title="Third-order SDE-DPM-Solver++, multistep: a sign",
        kind="defect",
        library="diffusers",
        module=f"{_M}dpmsolver_multistep",
        words=_SDE3,
        cause="∫₀^h 2 e^{−2(h−u)} u²/2 du = h² ((1 − e^{−2h} − 2h)/(2h)² + ½); the code subtracts ½ and lacks the factor 2 of D2, "
        "so the weight of D2 "
        "tends to −1 instead of 0. The same in DPMSolverMultistepInverse.",
        effect="weak order 1, worse than `solver_order=2`; diverges where steps grow abruptly",
        trial=Trial(WEAK, diffusers(_MULTI, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}), EVEN, (49, 97, 193)),
        before=(0.8, 1.3),
        after=(1.85, 2.4),
        changes=((_SDE3, "+ 2.0 * (alpha_t * ((1.0 - torch.exp(-2.0 * h) - 2.0 * h) / (2.0 * h) ** 2 + 0.5)) * D2"),),
        shows=show.SDE.format(
            name=_MULTI, options='solver_order=3, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True', first=20, second=40
        ),
    ),
    Defect(
        key="no-third-order-sde",
        title="Third order with an SDE: no formula, and no error that says so",
        kind="defect",
        library="diffusers",
        module=f"{_M}edm_dpmsolver_multistep",
        words="def multistep_dpm_solver_third_order_update(",
        cause="The third-order update has no branch for `sde-dpmsolver++` (DPMSolverMultistep: for `sde-dpmsolver`), "
        "and the option is accepted.",
        effect="UnboundLocalError: x_t, at the third step of every run",
        trial=Trial(WORKS, diffusers(_EDM, {"solver_order": 3, "algorithm_type": "sde-dpmsolver++"}), SHIPPED, (8,)),
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        changes=(
            (_BRANCH, _THIRD_SDE + _BRANCH),
            (
                "        if self.config.solver_order == 1 or self.lower",
                "        self._noise = noise\n        if self.config.solver_order == 1 or self.lower",
            ),
        ),
        shows=show.RAISES.format(name=_EDM, options='solver_order=3, algorithm_type="sde-dpmsolver++"', steps=8),
    ),
    Defect(
        key="sde-3s-sign",
        title="Third-order SDE-DPM-Solver++, single step, `heun`: the same sign",
        kind="defect",
        library="diffusers",
        module=f"{_M}dpmsolver_singlestep",
        words=_SDE3S,
        cause="As sde-3m-sign; here D2 has its factor 2, so the weight tends to −1 of the whole.",
        effect="does not converge: errors of 10 and more on a target of size 1. Mended it has the weak order 1 of independent-noise",
        trial=Trial(
            WEAK, diffusers(_SINGLE, {"solver_order": 3, "solver_type": "heun", "algorithm_type": "sde-dpmsolver++"}), EVEN, (49, 97, 193)
        ),
        before=(-0.6, 0.3),
        after=(0.7, 1.2),
        changes=((_SDE3S, _SDE3S.replace("- 0.5", "+ 0.5")),),
        shows=show.SDE.format(
            name=_SINGLE,
            options='solver_order=3, solver_type="heun", algorithm_type="sde-dpmsolver++", use_karras_sigmas=True',
            first=40,
            second=80,
        ),
    ),
    Defect(
        key="independent-noise",
        title="SDE-DPM-Solver++, single step: stage and step draw independent normals",
        kind="defect",
        library="diffusers",
        module=f"{_M}dpmsolver_singlestep",
        words='if self.config.algorithm_type == "sde-dpmsolver++":\n            noise = randn_tensor(',
        cause="The noise of the stage is not part of the noise of the step, though both belong to one Brownian path "
        "over overlapping intervals.",
        effect="weak order 1 for `solver_order` 2 and 3",
        trial=Trial(WEAK, diffusers(_SINGLE, {"solver_order": 2, "algorithm_type": "sde-dpmsolver++"}), EVEN, (49, 97, 193)),
        fix="draw one Brownian increment for the step and take the stage's as its first part: with a² = (e^{2 h₀} − 1)/(e^{2 h} − 1) "
        "the step's normal is `a * noise_stage + (1 - a**2) ** 0.5 * noise`",
        before=(0.75, 1.15),
        after=(1.8, 2.3),
        mend=subclass(one_path),
        shows=show.SDE.format(
            name=_SINGLE, options='solver_order=2, algorithm_type="sde-dpmsolver++", use_karras_sigmas=True', first=41, second=81
        ),
    ),
    Defect(
        key="unipc-bh1-nan",
        title="UniPC with `bh1`: nan with the default last sigma",
        kind="defect",
        library="diffusers",
        module=f"{_M}unipc_multistep",
        words="x_t = x_t_ - alpha_t * B_h * pred_res",
        cause="In the last step, to sigma = 0, B(h) = h is infinite and the sum it multiplies is 0: inf · 0.",
        effect="every run ends in nan, at every number of steps",
        trial=Trial(WORKS, diffusers(_UNIPC, {"solver_type": "bh1"}), SHIPPED, (1, 8, 20)),
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        changes=(("x_t = x_t_ - alpha_t * B_h * pred_res", "x_t = x_t_ - alpha_t * B_h * pred_res if D1s is not None else x_t_"),),
        shows=show.LAST_STEP.format(name=_UNIPC, options='solver_type="bh1"', steps=10),
        also=("HeliosScheduler carries the same line",),
    ),
    Defect(
        key="empty-last-step",
        title="Karras sigmas with `final_sigmas_type='sigma_min'`: a last step of no length",
        kind="defect",
        library="diffusers",
        module=f"{_M}dpmsolver_multistep",
        words='elif self.config.final_sigmas_type == "zero":',
        cause="The last Karras sigma is sigma_min already and is appended once more, so h = 0 in the last step and (e^{−h} − 1)/h is 0/0.",
        effect="nan with `solver_type='heun'` and with `solver_order=3`, for most numbers of steps (round-off saves the "
        "others); otherwise one "
        "evaluation wasted",
        trial=Trial(
            WORKS,
            diffusers(_MULTI, {"solver_type": "heun", "use_karras_sigmas": True, "final_sigmas_type": "sigma_min"}),
            SHIPPED,
            (16, 32, 64),
        ),
        fix="return the state where `self.sigmas[self.step_index] == self.sigmas[self.step_index + 1]`, or leave the repeated sigma "
        "out of the list",
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        mend=subclass(skips_empty_steps),
        shows=show.LAST_STEP.format(
            name=_MULTI, options='solver_type="heun", use_karras_sigmas=True, final_sigmas_type="sigma_min"', steps=16
        ),
    ),
    Defect(
        key="lower-order-final",
        title="UniPC: `lower_order_final` at any number of steps",
        kind="defect",
        library="diffusers",
        module=f"{_M}unipc_multistep",
        words="this_order = min(self.config.solver_order, len(self.timesteps) - self.step_index)",
        cause="The docstring says `Only valid for < 15 inference steps`; the code lowers the order of the last steps of every run. "
        "SA-Solver does the "
        "same, and its docstring does not say otherwise.",
        effect="`solver_order=3` is of order 3 before its first-order last step, and not 4",
        trial=Trial(ORDER, diffusers(_UNIPC, {"solver_order": 3}), GENTLE, (49, 97, 193)),
        before=(2.8, 3.3),
        after=(3.7, 4.3),
        changes=(("if self.config.lower_order_final:", "if self.config.lower_order_final and len(self.timesteps) < 15:"),),
        shows=show.MULTISTEP.format(name=_UNIPC, options="solver_order=3", claimed=4),
    ),
)
