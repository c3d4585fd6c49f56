"""Configs of other schedulers: what they say about noise levels, predictions and directions is honoured, or refused by name.

A config of diffusers names its class, and some of its meaning is in that name alone: a flow without a ``shift``, an inverse scheduler, EDM
preconditioning. What only chooses a method of its own is left out: here the method is ``solver``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers.scheduling_utils import SchedulerMixin

TABLE = """DDPMScheduler DDIMScheduler PNDMScheduler LMSDiscreteScheduler EulerDiscreteScheduler HeunDiscreteScheduler
EulerAncestralDiscreteScheduler DPMSolverMultistepScheduler DPMSolverSinglestepScheduler KDPM2DiscreteScheduler
KDPM2AncestralDiscreteScheduler DEISMultistepScheduler UniPCMultistepScheduler DPMSolverSDEScheduler SASolverScheduler
DDIMParallelScheduler DDPMParallelScheduler CogVideoXDDIMScheduler CogVideoXDPMScheduler""".split()
FLOW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "LTXEulerAncestralRFScheduler")
EDM = ("EDMEulerScheduler", "EDMDPMSolverMultistepScheduler", "CosineDPMSolverMultistepScheduler")
INVERSE = ("DDIMInverseScheduler", "DPMSolverMultistepInverseScheduler")
FIRST_OF_ONE_MORE = """DPMSolverMultistepScheduler DPMSolverSinglestepScheduler DEISMultistepScheduler UniPCMultistepScheduler
SASolverScheduler DPMSolverMultistepInverseScheduler""".split()
"""They space N + 1 timesteps of the table and leave out the last."""

REFUSED = {
    "AmusedScheduler": "it moves tokens",
    "BlockRefinementScheduler": "it moves tokens",
    "DiscreteDDIMScheduler": "it moves tokens",
    "EntropyBoundScheduler": "it moves tokens",
    "VQDiffusionScheduler": "it moves tokens",
    "CMStochasticIterativeScheduler": "its network is a consistency model: it gives the end of a trajectory, not a posterior mean",
    "FlowMatchLCMScheduler": "its network is a consistency model: it gives the end of a trajectory, not a posterior mean",
    "LCMScheduler": "its network is a consistency model: it gives the end of a trajectory, not a posterior mean",
    "SCMScheduler": "its network is a consistency model: it gives the end of a trajectory, not a posterior mean",
    "TCDScheduler": "its network is a consistency model: it gives the end of a trajectory, not a posterior mean",
    "FlowMapEulerDiscreteScheduler": "its network is a flow map, a function of two times",
    "PiflowScheduler": "its network gives a policy, not a prediction",
    "HeliosScheduler": "it changes the resolution between stages",
    "HeliosDMDScheduler": "it changes the resolution between stages",
    "DDPMWuerstchenScheduler": "its continuous times have no table: give a table of betas, or gpu.wrap with a schedule of your own",
    "IPNDMScheduler": "its times atan(sigma/alpha) have no table: give gpu.wrap with a schedule of your own",
    "KarrasVeScheduler": "its states are not scaled: give gpu.wrap(network, EDM())",
    "ScoreSdeVeScheduler": "its states are not scaled and its network gives a score: give gpu.wrap(network, VE(), 'score')",
    "ScoreSdeVpScheduler": "its continuous times have no table: give gpu.wrap(network, VP(), 'score')",
    "RePaintScheduler": "it goes back and forth between noise levels",
    "UnCLIPScheduler": "its steps belong to a prior with a variance of its own",
}
"""Classes that cannot be served, and why."""

CHOICES = frozenset(
    """algorithm_type corrector_order disable_corrector dynamic_thresholding_ratio eta euler_at_final lower_order_final noise_sampler_seed
    predict_x0 predictor_order s_noise set_alpha_to_one skip_prk_steps solver_order solver_p solver_type tau_func
    variance_type""".split()
)
"""Keys that choose a method, its noise or its last step, which ``solver``, ``solver_options`` and ``final_sigmas_type`` say here."""


def adopted(config: Mapping[str, Any], known: set[str], own: str, kwargs: dict[str, Any]) -> dict[str, Any]:
    """What a scheduler is made from: the config as it is meant, keys of others kept; ``kwargs``, which win, get what the class alone says.

    Args:
        config: of any scheduler, or a plain dict.
        known: the keys of the constructor.
        own: the name of our class.

    Returns:
        dict of the scheduler's config by key.

    Raises:
        ValueError: a class or a key that cannot be honoured.
    """
    held = dict(config)
    ours = "solver" in held  # it was ours, perhaps on its way through another class
    name = held.get("_class_name") or (own if ours or not isinstance(config, FrozenDict) else _class_of(set(held), own))
    if name != own and not ours:
        _by_class(str(name), held, kwargs)
    flow = "shift" in held and "beta_start" not in held
    if (flow or held.get("use_flow_sigmas")) and not ours:
        kwargs.setdefault("prediction_type", "flow_prediction")
        kwargs.setdefault("shift", held.get("flow_shift", held.get("shift", 1.0)))
        if held.get("use_flow_sigmas") and name != own:
            kwargs.setdefault("flow_levels", "unipc" if name == "UniPCMultistepScheduler" else "dpm")
    if held.get("use_flow_sigmas"):
        for key in ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas"):
            if held.get(key):
                raise ValueError(f"the config has use_flow_sigmas and {key}, of which one can be: from_config(…, {key}=False)")
    if held.get("interpolation_type") == "log_linear":
        raise ValueError("interpolation_type = 'log_linear' takes levels that are not its timesteps': give use_exponential_sigmas=True")
    for key, value in held.items():
        if key in known or key in CHOICES or key.startswith("_") or key in ("interpolation_type", "use_flow_sigmas", "flow_shift"):
            continue
        if value not in (None, False) and key not in kwargs and not ours:
            raise ValueError(
                f"the config of {name} has {key} = {value!r}, which is not known here: drop it if it sets no noise level, prediction or "
                f"direction, from_config({{k: v for k, v in config.items() if k != {key!r}}})"
            )
    if not ours:
        held.pop("_use_default_values", None)  # the other class's defaults are what the config says
    if "solver" in kwargs and kwargs["solver"] != held.get("solver"):
        held.pop("solver_options", None)  # they belong to the other solver
    return held


def _class_of(keys: set[str], own: str) -> str:
    """The class of a config that does not name it, which those of schedulers just made do not: by its keys."""
    named = [getattr(diffusers, name) for name in dir(diffusers) if name.endswith("Scheduler")]
    kinds = [kind for kind in named if isinstance(kind, type) and issubclass(kind, SchedulerMixin)]
    found = {kind.__name__: set(inspect.signature(kind.__init__).parameters) - {"self", "args", "kwargs"} for kind in kinds}
    inside = {name: wanted for name, wanted in found.items() if wanted and wanted <= keys}
    served = (*TABLE, *FLOW, *EDM, *INVERSE)  # of two with the same keys the one that is served: FlowMatchHeun, not a flow map
    return max(inside, key=lambda name: (len(inside[name]), name in served), default=own)


def _by_class(name: str, held: dict[str, Any], kwargs: dict[str, Any]) -> None:
    """What the name of a class says by itself."""
    if name in REFUSED:
        raise ValueError(f"a {name} cannot be replaced: {REFUSED[name]}")
    if name in FLOW:
        kwargs.setdefault("prediction_type", "flow_prediction")
    elif name in EDM:
        kwargs.setdefault("noise_label", "atan" if name.startswith("Cosine") else "log")
        held["timestep_type"] = "edm"
    elif name in INVERSE:
        kwargs.setdefault("inverse", True)
    elif name not in TABLE:
        raise ValueError(f"{name} is no scheduler that is known here: give one of {', '.join((*TABLE, *FLOW, *EDM, *INVERSE))}, or a dict")
    if name in FIRST_OF_ONE_MORE:
        kwargs.setdefault("table_levels", "dpm")
    if name == "EulerDiscreteScheduler" and held.get("timestep_type") == "continuous" and held.get("prediction_type") != "v_prediction":
        held["timestep_type"] = "discrete"  # which is how it reads it
