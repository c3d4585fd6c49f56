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
    Drive,
    Trial,
    subclass,
    with_options,
)
from scorebed.toy.peers.kdiffusion import Sampler
from scorebed.toy.peers.remedies import adams_in_rho, churns_on_the_flow, clean_first_step, honest_timesteps, spends_every_evaluation

_M = "diffusers.schedulers.scheduling_"
_INT = "self.timesteps = torch.from_numpy(timesteps).to(device=device, dtype=torch.int64)"
_MULTI = "DPMSolverMultistepScheduler"

GRIDS = (
    Defect(
        "truncated-timesteps",
        "Exponential, beta and flow sigmas: timesteps cut to integers",
        "defect",
        "diffusers",
        f"{_M}dpmsolver_multistep",
        _INT,
        "Sigmas are real, but the timesteps that belong to them are cut off, not even rounded, by the conversion to int64, so "
        "the network is asked "
        "at other noise levels than the update uses. With Karras sigmas and Lu's lambdas they are rounded first, which costs "
        "half as much. The same "
        "line in DEIS, DPMSolverSinglestep, SASolver and UniPC.",
        "the error stalls near 1e-3: a floor no number of steps removes",
        Trial(ERROR, Drive(_MULTI, "vp", {"use_exponential_sigmas": True}), SHIPPED, (256,)),
        (8e-4, 3e-3),
        (0.0, 2e-4),
        ((_INT, _INT.replace("int64", "float64")),),
        shows=show.TIMESTEPS.format(name=_MULTI, options="use_exponential_sigmas=True", steps=20),
    ),
    Defect(
        "log-linear-timesteps",
        "Euler with `interpolation_type='log_linear'`: sigmas and timesteps do not belong together",
        "defect",
        "diffusers",
        f"{_M}euler_discrete",
        "sigmas = torch.linspace(np.log(sigmas[-1]), np.log(sigmas[0]), num_inference_steps + 1).exp().numpy()",
        "The sigmas are replaced by n + 1 others, the timesteps stay those of the linear grid; the last sigma, 0, is never reached.",
        "the error does not fall: 0.4 on a target of size 1",
        Trial(ORDER, Drive("EulerDiscreteScheduler", "ve", {"interpolation_type": "log_linear"}), SHIPPED, (16, 32, 64)),
        (-0.3, 0.3),
        (0.8, 1.2),
        mend=subclass(honest_timesteps),
        shows=show.TIMESTEPS.format(name="EulerDiscreteScheduler", options='interpolation_type="log_linear"', steps=20),
    ),
    Defect(
        "float32-coefficients",
        "DEIS of order 3 and SA-Solver of order 4: weights lost to cancellation in float32",
        "defect",
        "diffusers",
        f"{_M}deis_multistep",
        "def ind_fn(t, b, c, d):",
        "Weights are differences of primitives that agree in most digits, computed in float32; their error grows like 1/h³. "
        "SA-Solver takes its "
        "Lagrange coefficients the same way.",
        "beyond some 150 steps the error grows with the number of steps: 1e-2 to 1e-1 at 900, more than the first-order method's",
        Trial(ERROR, Drive("DEISMultistepScheduler", "vp", {"solver_order": 3}), SHIPPED, (512,)),
        (3e-3, 1.0),
        (0.0, 1e-4),
        mend=lambda drive: drive,
        mended_mode=IDEAL,
        shows=show.FLOAT32.format(name="DEISMultistepScheduler", options="solver_order=3"),
    ),
    Defect(
        "empty-last-step-deis",
        "DEIS with Karras, exponential, beta or flow sigmas: the last step has no length",
        "limit",
        "diffusers",
        f"{_M}deis_multistep",
        "sigmas = np.concatenate([sigmas, sigmas[-1:]]).astype(np.float32)",
        "The last sigma is appended twice: n evaluations of the network make n − 1 steps, and the last changes nothing.",
        "one evaluation wasted; the sample stays at sigma_min",
        Trial(ERROR, Drive("DEISMultistepScheduler", "vp", {"use_karras_sigmas": True}, tail=0), SHIPPED, (32,)),
        (7.6e-3, 7.75e-3),
        (7.3e-3, 7.55e-3),
        mend=subclass(spends_every_evaluation),
    ),
    Defect(
        "last-step",
        "The last step to sigma = 0 is a first-order step from a sigma that stays",
        "limit",
        "diffusers",
        f"{_M}heun_discrete",
        "sigmas = np.concatenate([sigmas, [0.0]]).astype(np.float32)",
        "With Karras and exponential sigmas the last sigma before 0 is that of the table, 0.03, for every n; with the others "
        "it shrinks with n, but slowly. "
        "As in EDM (arXiv:2206.00364). Alike in all schedulers that end at 0.",
        "a floor of about sigma_min²: 1e-3 for Stable Diffusion's table, 0.05 for CosineDPMSolverMultistep (sigma_min = 0.3)",
        Trial(ORDER, Drive("HeunDiscreteScheduler", "ve", {"use_karras_sigmas": True}), SHIPPED, (64, 128, 256)),
        (-0.5, 0.5),
        (1.9, 2.2),
        mend=lambda drive: drive,
        mended_mode=OWN,
    ),
    Defect(
        "start-up",
        "Multistep methods of order 3 and more start with first order",
        "limit",
        "k-diffusion",
        "k_diffusion.sampling",
        "cur_order = min(i + 1, order)",
        "The memory is filled by one step of order 1 and one of order 2, as in the papers; the first leaves an error of order "
        "h². In LMS (diffusers, "
        "k-diffusion), DEIS and azula's Adams methods alike.",
        "global order 2 in the limit of many steps, though with a small constant: the measured order falls from above. Two "
        "very short first "
        "steps restore the order",
        Trial(ORDER, Sampler("sample_lms"), EVEN, (128, 256, 512)),
        (1.9, 2.6),
        (3.6, 4.3),
        mend=lambda drive: drive,
        mended_mode=GENTLE,
    ),
    Defect(
        "pndm-weights",
        "PNDM: classical Adams-Bashforth weights where steps are not equal",
        "limit",
        "diffusers",
        f"{_M}pndm",
        "model_output = (1 / 24) * (55 * self.ets[-1]",
        "The weights of equal steps are used in t, but the DDIM transfer is a straight line in rho = sigma/alpha, in which "
        "the steps are not equal. So "
        "in the paper (arXiv:2202.09778).",
        "order 2, where `pndm_order = 4` is stated. With the weights of the steps in rho it is 4",
        Trial(ORDER, Drive("PNDMScheduler", "table", {}), FINE, (128, 256, 512)),
        (1.9, 2.3),
        (3.5, 4.2),
        mend=subclass(adams_in_rho),
        shows=show.PNDM,
    ),
    Defect(
        "prk-few-steps",
        "PNDM with Runge-Kutta steps: fails below 4 steps",
        "defect",
        "diffusers",
        f"{_M}pndm",
        "prk_timesteps = np.array(self._timesteps[-self.pndm_order :]).repeat(2) + np.tile(",
        "The tile of half steps has a fixed length of 8.",
        "ValueError about shapes at 1, 2 and 3 steps, which names nothing the user gave",
        Trial(WORKS, Drive("PNDMScheduler", "table", {}), SHIPPED, (3,)),
        (0.0, 0.0),
        (1.0, 1.0),
        mend=with_options(skip_prk_steps=True),
        shows=show.RAISES.format(name="PNDMScheduler", options="", steps=3),
    ),
    Defect(
        "ipndm-first-step",
        "iPNDM: the first step forgets the mean",
        "defect",
        "diffusers",
        f"{_M}ipndm",
        "pred = (sample - sigma * ets) / max(alpha, 1e-8)",
        "At alpha = 0 the noise is the sample, so x0 = (x − sigma eps)/alpha is 0/1e-8 = 0 whatever the network says; its v holds E[x0] = "
        "alpha x − sigma v.",
        "order 1 for every target whose mean is not zero, where fourth order is stated. With the first step mended the error "
        "is twenty times smaller "
        "at 16 steps and a hundred times at 512; what is left are the classical weights and the start, as in pndm-weights",
        Trial(ERROR, Drive("IPNDMScheduler", "crash", {}), IDEAL, (128,)),
        (5e-4, 5e-3),
        (0.0, 5e-5),
        mend=subclass(clean_first_step),
        shows=show.IPNDM,
    ),
    Defect(
        "unclip-one-step",
        "UnCLIP: division by zero at one step",
        "defect",
        "diffusers",
        f"{_M}unclip",
        "step_ratio = (self.config.num_train_timesteps - 1) / (self.num_inference_steps - 1)",
        "n − 1 steps are divided by.",
        "ZeroDivisionError at `set_timesteps(1)`",
        Trial(WORKS, Drive("UnCLIPScheduler", "table", {"clip_sample": False}), SHIPPED, (1,)),
        (0.0, 0.0),
        (1.0, 1.0),
        (("(self.num_inference_steps - 1)\n", "max(self.num_inference_steps - 1, 1)\n"),),
        shows=show.RAISES.format(name="UnCLIPScheduler", options="", steps=1),
    ),
    Defect(
        "flow-heun-churn",
        "FlowMatchHeun with `s_churn`: noise that leaves the flow",
        "defect",
        "diffusers",
        f"{_M}flow_match_heun_discrete",
        "sample = sample + eps * (sigma_hat**2 - sigma**2) ** 0.5",
        "The churn of EDM, made for alpha = 1, is added to a state with alpha = 1 − sigma: the state at sigma_hat keeps the "
        "mean of sigma. The noise "
        "of the second stage is drawn and dropped.",
        "the law does not converge: its error stays at 0.3",
        Trial(WEAK, Drive("FlowMatchHeunDiscreteScheduler", "flow", {}, {"s_churn": 4.0}), OWN, (49, 97, 193)),
        (-0.3, 0.3),
        (1.7, 2.3),
        mend=subclass(churns_on_the_flow),
        shows=show.CHURN,
    ),
)
