"""Defects of diffusers: grids, timesteps, round-off, start, and the remaining schedulers."""

from __future__ import annotations

from scorebed.toy.peers import reproductions as show
from scorebed.toy.peers.defect import (
    ERROR,
    EVEN,
    FINE,
    GENTLE,
    IDEAL,
    ORDER,
    OWN,
    SHIPPED,
    WEAK,
    WORKS,
    Defect,
    Trial,
    subclass,
    with_options,
)
from scorebed.toy.peers.entry import diffusers, kdiffusion
from scorebed.toy.peers.remedies import adams_in_rho, churns_on_the_flow, clean_first_step, honest_timesteps, spends_every_evaluation

_M = "diffusers.schedulers.scheduling_"
_INT = "self.timesteps = torch.from_numpy(timesteps).to(device=device, dtype=torch.int64)"
_MULTI = "DPMSolverMultistepScheduler"

GRIDS = (
    Defect(
        key="truncated-timesteps",
        title="Exponential, beta and flow sigmas: timesteps cut to integers",
        kind="defect",
        library="diffusers",
        module=f"{_M}dpmsolver_multistep",
        words=_INT,
        cause="Sigmas are real, but the timesteps that belong to them are cut off, not even rounded, by the conversion to int64, so "
        "the network is asked "
        "at other noise levels than the update uses. With Karras sigmas and Lu's lambdas they are rounded first, which costs "
        "half as much. The same "
        "line in DEIS, DPMSolverSinglestep, SASolver and UniPC.",
        effect="the error stalls near 1e-3: a floor no number of steps removes",
        trial=Trial(ERROR, diffusers(_MULTI, {"use_exponential_sigmas": True}), SHIPPED, (256,)),
        before=(8e-4, 3e-3),
        after=(0.0, 2e-4),
        changes=((_INT, _INT.replace("int64", "float64")),),
        shows=show.TIMESTEPS.format(name=_MULTI, options="use_exponential_sigmas=True", steps=20),
    ),
    Defect(
        key="log-linear-timesteps",
        title="Euler with `interpolation_type='log_linear'`: sigmas and timesteps do not belong together",
        kind="defect",
        library="diffusers",
        module=f"{_M}euler_discrete",
        words="sigmas = torch.linspace(np.log(sigmas[-1]), np.log(sigmas[0]), num_inference_steps + 1).exp().numpy()",
        cause="The sigmas are replaced by n + 1 others, the timesteps stay those of the linear grid; the last sigma, 0, is never reached.",
        effect="the error does not fall: 0.4 on a target of size 1",
        trial=Trial(ORDER, diffusers("EulerDiscreteScheduler", {"interpolation_type": "log_linear"}), SHIPPED, (16, 32, 64)),
        fix="`self.timesteps = torch.tensor([self._sigma_to_t(s, log_sigmas) for s in sigmas[:-1]])` after the sigmas are interpolated",
        before=(-0.3, 0.3),
        after=(0.8, 1.2),
        mend=subclass(honest_timesteps),
        shows=show.TIMESTEPS.format(name="EulerDiscreteScheduler", options='interpolation_type="log_linear"', steps=20),
    ),
    Defect(
        key="float32-coefficients",
        title="DEIS of order 3 and SA-Solver of order 4: weights lost to cancellation in float32",
        kind="defect",
        library="diffusers",
        module=f"{_M}deis_multistep",
        words="def ind_fn(t, b, c, d):",
        cause="Weights are differences of primitives that agree in most digits, computed in float32; their error grows like 1/h³. "
        "SA-Solver takes its "
        "Lagrange coefficients the same way.",
        effect="beyond some 150 steps the error grows with the number of steps: 1e-2 to 1e-1 at 900, more than the first-order method's",
        trial=Trial(ERROR, diffusers("DEISMultistepScheduler", {"solver_order": 3}), SHIPPED, (512,)),
        fix="compute the weights in float64: `sigmas.to(torch.float64)` before the logarithms and the linear solve",
        before=(3e-3, 1.0),
        after=(0.0, 1e-4),
        mend=lambda peer: peer,
        mended_setting=IDEAL,
        shows=show.FLOAT32.format(name="DEISMultistepScheduler", options="solver_order=3"),
    ),
    Defect(
        key="empty-last-step-deis",
        title="DEIS with Karras, exponential, beta or flow sigmas: the last step has no length",
        kind="limit",
        library="diffusers",
        module=f"{_M}deis_multistep",
        words="sigmas = np.concatenate([sigmas, sigmas[-1:]]).astype(np.float32)",
        cause="The last sigma is appended twice: n evaluations of the network make n − 1 steps, and the last changes nothing.",
        effect="one evaluation wasted; the sample stays at sigma_min",
        trial=Trial(ERROR, diffusers("DEISMultistepScheduler", {"use_karras_sigmas": True}), SHIPPED, (32,)),
        fix="make n + 1 sigmas for n steps and leave the last, repeated, one out",
        before=(7.6e-3, 7.75e-3),
        after=(7.3e-3, 7.55e-3),
        mend=subclass(spends_every_evaluation),
    ),
    Defect(
        key="last-step",
        title="The last step to sigma = 0 is a first-order step from a sigma that stays",
        kind="limit",
        library="diffusers",
        module=f"{_M}heun_discrete",
        words="sigmas = np.concatenate([sigmas, [0.0]]).astype(np.float32)",
        cause="With Karras and exponential sigmas the last sigma before 0 is that of the table, 0.03, for every n; with the others "
        "it shrinks with n, but slowly. "
        "As in EDM (arXiv:2206.00364). Alike in all schedulers that end at 0.",
        effect="a floor of about sigma_min²: 1e-3 for Stable Diffusion's table, 0.05 for CosineDPMSolverMultistep (sigma_min = 0.3)",
        trial=Trial(ORDER, diffusers("HeunDiscreteScheduler", {"use_karras_sigmas": True}), SHIPPED, (64, 128, 256)),
        fix="end at a smaller last sigma, or make the last step by the method's own formula; it is the price of sigma = 0",
        before=(-0.5, 0.5),
        after=(1.9, 2.2),
        mend=lambda peer: peer,
        mended_setting=OWN,
    ),
    Defect(
        key="start-up",
        title="Multistep methods of order 3 and more start with first order",
        kind="limit",
        library="k-diffusion",
        module="k_diffusion.sampling",
        words="cur_order = min(i + 1, order)",
        cause="The memory is filled by one step of order 1 and one of order 2, as in the papers; the first leaves an error of order "
        "h². In LMS (diffusers, "
        "k-diffusion), DEIS and azula's Adams methods alike.",
        effect="global order 2 in the limit of many steps, though with a small constant: the measured order falls from above. Two "
        "very short first "
        "steps restore the order",
        trial=Trial(ORDER, kdiffusion("sample_lms"), EVEN, (128, 256, 512)),
        fix="start with a one-step method of sufficient order, or with very short first steps",
        before=(1.9, 2.6),
        after=(3.6, 4.3),
        mend=lambda peer: peer,
        mended_setting=GENTLE,
    ),
    Defect(
        key="pndm-weights",
        title="PNDM: classical Adams-Bashforth weights where steps are not equal",
        kind="limit",
        library="diffusers",
        module=f"{_M}pndm",
        words="model_output = (1 / 24) * (55 * self.ets[-1]",
        cause="The weights of equal steps are used in t, but the DDIM transfer is a straight line in rho = sigma/alpha, in which "
        "the steps are not equal. So "
        "in the paper (arXiv:2202.09778).",
        effect="order 2, where `pndm_order = 4` is stated. With the weights of the steps in rho it is 4",
        trial=Trial(ORDER, diffusers("PNDMScheduler", {}), FINE, (128, 256, 512)),
        fix="weights of Adams-Bashforth for the real steps in sigma/alpha in place of 55, −59, 37, −9",
        before=(1.9, 2.3),
        after=(3.5, 4.2),
        mend=subclass(adams_in_rho),
        shows=show.PNDM,
    ),
    Defect(
        key="prk-few-steps",
        title="PNDM with Runge-Kutta steps: fails below 4 steps",
        kind="defect",
        library="diffusers",
        module=f"{_M}pndm",
        words="prk_timesteps = np.array(self._timesteps[-self.pndm_order :]).repeat(2) + np.tile(",
        cause="The tile of half steps has a fixed length of 8.",
        effect="ValueError about shapes at 1, 2 and 3 steps, which names nothing the user gave",
        trial=Trial(WORKS, diffusers("PNDMScheduler", {}), SHIPPED, (3,)),
        fix="`skip_prk_steps=True`, or a clear error below 4 steps",
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        mend=with_options(skip_prk_steps=True),
        shows=show.RAISES.format(name="PNDMScheduler", options="", steps=3),
    ),
    Defect(
        key="ipndm-first-step",
        title="iPNDM: the first step forgets the mean",
        kind="defect",
        library="diffusers",
        module=f"{_M}ipndm",
        words="pred = (sample - sigma * ets) / max(alpha, 1e-8)",
        cause="At alpha = 0 the noise is the sample, so x0 = (x − sigma eps)/alpha is 0/1e-8 = 0 whatever the network "
        "says; its v holds E[x0] = "
        "alpha x − sigma v.",
        effect="order 1 for every target whose mean is not zero, where fourth order is stated. With the first step mended the error "
        "is twenty times smaller "
        "at 16 steps and a hundred times at 512; what is left are the classical weights and the start, as in pndm-weights",
        trial=Trial(ERROR, diffusers("IPNDMScheduler", {}), IDEAL, (128,)),
        fix="in the first step take D = α x − σ v from the network's v in place of (x − σ ε)/α at α = 0",
        before=(5e-4, 5e-3),
        after=(0.0, 5e-5),
        mend=subclass(clean_first_step),
        shows=show.IPNDM,
    ),
    Defect(
        key="unclip-one-step",
        title="UnCLIP: division by zero at one step",
        kind="defect",
        library="diffusers",
        module=f"{_M}unclip",
        words="step_ratio = (self.config.num_train_timesteps - 1) / (self.num_inference_steps - 1)",
        cause="n − 1 steps are divided by.",
        effect="ZeroDivisionError at `set_timesteps(1)`",
        trial=Trial(WORKS, diffusers("UnCLIPScheduler", {"clip_sample": False}), SHIPPED, (1,)),
        before=(0.0, 0.0),
        after=(1.0, 1.0),
        changes=(("(self.num_inference_steps - 1)\n", "max(self.num_inference_steps - 1, 1)\n"),),
        shows=show.RAISES.format(name="UnCLIPScheduler", options="", steps=1),
    ),
    Defect(
        key="flow-heun-churn",
        title="FlowMatchHeun with `s_churn`: noise that leaves the flow",
        kind="defect",
        library="diffusers",
        module=f"{_M}flow_match_heun_discrete",
        words="sample = sample + eps * (sigma_hat**2 - sigma**2) ** 0.5",
        cause="The churn of EDM, made for alpha = 1, is added to a state with alpha = 1 − sigma: the state at sigma_hat keeps the "
        "mean of sigma. The noise "
        "of the second stage is drawn and dropped.",
        effect="the law does not converge: its error stays at 0.3",
        trial=Trial(WEAK, diffusers("FlowMatchHeunDiscreteScheduler", {}, {"s_churn": 4.0}), OWN, (49, 97, 193)),
        fix="scale before the noise: with r = (1 − σ̂)/(1 − σ), `sample = r * sample + (sigma_hat**2 - (r * sigma)**2) ** 0.5 * noise`",
        before=(-0.3, 0.3),
        after=(1.7, 2.3),
        mend=subclass(churns_on_the_flow),
        shows=show.CHURN,
    ),
)
