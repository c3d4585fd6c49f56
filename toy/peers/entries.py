"""What is on the scoreboard: every sampler of the libraries with the options that change its formula, and what it claims.

``order`` is the nominal order of the deterministic method, ``weak`` that of the law of a stochastic one, each with its source: the
library's own words, or the paper that the library names. Samplers that are no solvers of the flow or of the reverse SDE are listed in
``APART``, with the reason; a test holds that nothing is missing from the two lists.
"""

from __future__ import annotations

from scorebed.toy.peers.entries_diffusers import diffusers_entries
from scorebed.toy.peers.entries_more import MORE
from scorebed.toy.peers.entries_others import azula_entries, kdiffusion_entries
from scorebed.toy.peers.entry import Entry

APART: dict[str, str] = {
    "AmusedScheduler": "discrete tokens",
    "BlockRefinementScheduler": "discrete tokens",
    "DiscreteDDIMScheduler": "discrete tokens",
    "EntropyBoundScheduler": "discrete tokens",
    "VQDiffusionScheduler": "discrete tokens",
    "CMStochasticIterativeScheduler": "consistency model: renews noise by design, no solver of the flow",
    "ConsistencyDecoderScheduler": "consistency model, internal to one decoder",
    "LCMScheduler": "latent consistency model: renews noise by design, no solver of the flow",
    "FlowMatchLCMScheduler": "latent consistency model: renews noise by design",
    "TCDScheduler": "trajectory consistency distillation: jumps by a distilled map, no solver of the flow",
    "SCMScheduler": "consistency model on the trigonometric flow: renews noise by design",
    "PiflowScheduler": "the network returns a policy on a grid, not a denoiser",
    "HeliosScheduler": "a pyramid of resolutions; at one stage a copy of Euler and UniPC",
    "HeliosDMDScheduler": "distilled pyramid of resolutions: renews noise by design",
    "RePaintScheduler": "inpainting: needs an image and a mask; without them DDIM and DDPM steps",
    "RFD4ProteinaScheduler": "protein coordinates: anneals score and noise by design, so its law is not the target's",
    "ScoreSdeVeScheduler": "predictor-corrector whose step size is drawn from norms of the batch: not affine, and of no stated order",
    "DPMSolverMultistepInverseScheduler": "inversion; its third-order formulas are the multistep DPM-Solver's, with the same two defects",
    "DDIMInverseScheduler": "inversion: evaluates the network one level ahead of the state by design",
    "log_likelihood": "a likelihood, no sampler",
    "SPC": "skrample: blends the predicted state with a corrected one by weights of the noise level, and states no order",
    "DynasauRK": "skrample: changes its tableau with the number of steps, and states no order",
    "RKMoire": "skrample: chooses its steps by a tolerance",
    "SDESolver": "flow-matching has none; its solvers of discrete and Riemannian flows are checked by check_discrete and check_space",
}
"""Left off the scoreboard, and why."""


def entries(library: str | None = None) -> list[Entry]:
    """All entries, or those of one library."""
    every = {"diffusers": diffusers_entries, "k-diffusion": kdiffusion_entries, "azula": azula_entries, **MORE}
    return [e for name, make in every.items() if library in (None, name) for e in make()]
