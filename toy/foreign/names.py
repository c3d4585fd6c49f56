"""What our methods are called elsewhere: in diffusers, k-diffusion, ComfyUI and the web UI of Stable Diffusion (A1111).

ComfyUI and A1111 call the functions of k-diffusion by names of their own. Where a library is installed, the tests read the coefficients of
its samplers from outside and hold that they are those of the method they stand beside, but for names in ``LIKE``: the same method by the
library's intention, with other coefficients in the first or last steps, or with a defect of the scoreboard.
"""

from __future__ import annotations

NAMES: dict[str, dict[str, str]] = {
    "ddim": {
        "diffusers": "EulerDiscreteScheduler, DDIMScheduler, FlowMatchEulerDiscreteScheduler",
        "k-diffusion": "sample_euler",
        "ComfyUI": "euler, ddim",
        "A1111": "Euler, DDIM",
    },
    "heun": {"diffusers": "HeunDiscreteScheduler", "k-diffusion": "sample_heun", "ComfyUI": "heun", "A1111": "Heun"},
    "heun_t": {"diffusers": "FlowMatchHeunDiscreteScheduler"},
    "dpm_solver_2": {"diffusers": "KDPM2DiscreteScheduler", "k-diffusion": "sample_dpm_2", "ComfyUI": "dpm_2", "A1111": "DPM2"},
    "lms_4": {"diffusers": "LMSDiscreteScheduler", "k-diffusion": "sample_lms", "ComfyUI": "lms", "A1111": "LMS"},
    "euler_ancestral": {
        "diffusers": "EulerAncestralDiscreteScheduler",
        "k-diffusion": "sample_euler_ancestral",
        "ComfyUI": "euler_ancestral",
        "A1111": "Euler a",
    },
    "ddpm": {"diffusers": "DDPMScheduler", "ComfyUI": "ddpm"},
    "dpmpp_2s": {"diffusers": "DPMSolverSinglestepScheduler"},
    "dpmpp_2s_ancestral": {"k-diffusion": "sample_dpmpp_2s_ancestral", "ComfyUI": "dpmpp_2s_ancestral", "A1111": "DPM++ 2S a"},
    "dpmpp_2m": {"diffusers": "DPMSolverMultistepScheduler", "k-diffusion": "sample_dpmpp_2m", "ComfyUI": "dpmpp_2m", "A1111": "DPM++ 2M"},
    "exp_adams_2": {"diffusers": "DPMSolverMultistepScheduler(solver_type=heun)"},
    "dpmpp_3m": {"diffusers": "DPMSolverMultistepScheduler(solver_order=3)"},
    "dpmpp_sde": {
        "diffusers": "DPMSolverSDEScheduler",
        "k-diffusion": "sample_dpmpp_sde",
        "ComfyUI": "dpmpp_sde",
        "A1111": "DPM++ SDE",
    },
    "dpmpp_2m_sde": {
        "diffusers": "DPMSolverMultistepScheduler(algorithm_type=sde-dpmsolver++)",
        "k-diffusion": "sample_dpmpp_2m_sde",
        "ComfyUI": "dpmpp_2m_sde",
        "A1111": "DPM++ 2M SDE",
    },
    "dpmpp_3m_sde": {"k-diffusion": "sample_dpmpp_3m_sde", "ComfyUI": "dpmpp_3m_sde", "A1111": "DPM++ 3M SDE"},
    "sde_dpm_solver_2": {"diffusers": "DPMSolverMultistepScheduler(algorithm_type=sde-dpmsolver)"},
    "deis_tab3": {"diffusers": "DEISMultistepScheduler", "ComfyUI": "deis"},
    "unipc_2": {"diffusers": "UniPCMultistepScheduler", "ComfyUI": "uni_pc_bh2", "A1111": "UniPC"},
    "pndm": {"diffusers": "PNDMScheduler", "A1111": "PLMS"},
    "ipndm_4": {"diffusers": "IPNDMScheduler", "ComfyUI": "ipndm"},
    "sa_solver": {"diffusers": "SASolverScheduler", "ComfyUI": "sa_solver"},
    "restart": {"A1111": "Restart"},
    "er_sde_3": {"ComfyUI": "er_sde"},
    "seeds_2": {"ComfyUI": "seeds_2"},
    "seeds_3": {"ComfyUI": "seeds_3"},
    "multistep_consistency": {"diffusers": "LCMScheduler", "ComfyUI": "lcm", "A1111": "LCM"},
    "churn": {"k-diffusion": "sample_heun(s_churn=…)"},
    "dpm_solver_23": {"k-diffusion": "sample_dpm_adaptive", "ComfyUI": "dpm_adaptive", "A1111": "DPM adaptive"},
}
"""Names by library, for each method of ours that has any."""
LIKE: dict[str, str] = {
    "DDPMScheduler": "its timesteps are whole numbers",
    "DDIMScheduler": "its timesteps are whole numbers",
    "DPMSolverSinglestepScheduler": "steps are pairs of levels",
    "DPMSolverMultistepScheduler(solver_order=3)": "lacks a factor 2: toy/PEERS.md#3m-factor",
    "sample_dpmpp_3m_sde": "lacks a factor 2: toy/PEERS.md#3m-factor-kd",
    "DPMSolverSDEScheduler": "its noise is a tree of its own",
    "sample_dpmpp_sde": "stage and step draw from a tree of its own",
    "DEISMultistepScheduler": "second order by default, weights in single precision",
    "UniPCMultistepScheduler": "lowers the order of the last steps",
    "PNDMScheduler": "weights of equal steps: toy/PEERS.md#pndm-weights",
    "IPNDMScheduler": "the first step forgets the mean: toy/PEERS.md#ipndm-first-step",
    "SASolverScheduler": "lowers the order of the last steps",
    "LCMScheduler": "for distilled networks; its timesteps are whole numbers",
    "sample_dpm_adaptive": "chooses its steps by a controller of its own",
    "sample_heun(s_churn=…)": "how much noise is an option",
}
"""Names that are not the same to the last coefficient, and why."""
LIBRARIES = ("diffusers", "k-diffusion", "ComfyUI", "A1111")


def called(name: str) -> str | None:
    """The method of ours that somebody else calls so: case, spaces and a word for the grid ("Karras") do not matter."""

    def plain(text: str) -> str:
        text = text.lower().removesuffix(" karras").removesuffix(" exponential").removesuffix("scheduler").removeprefix("sample_")
        return "".join(c for c in text if c.isalnum() or c == "+")

    for ours, names in NAMES.items():
        if any(plain(one) == plain(name) for text in names.values() for one in text.split(", ")):
            return ours
    return None
