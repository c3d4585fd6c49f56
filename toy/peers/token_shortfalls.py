"""What samplers of tokens of other libraries fall short of: measured as shipped, and again with a few words replaced in memory."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np

from scorebed.analytic.finite import TableLaw
from scorebed.solvers.process.jump import JumpProcess
from scorebed.toy.foreign import token_schedulers as theirs
from scorebed.toy.foreign.tokens import Seeded, Source, answered
from scorebed.toy.peers.token_shortfall import DRAWN, MASKED_LEFT, TV, WORKS, Shortfall
from scorebed.toy.peers.tokens import MASKED, UNIFORM, off, vq_law
from scorebed.toy.problems.jump import random_table

_DIFFUSERS = "diffusers.schedulers.scheduling_"
_FM = "flow_matching.solver.discrete_solver"
_BLOCK = "confidence = torch.where(\n                active_block,\n                sampled_probs.to(dtype=torch.float32),"


def _fm(module: Any, **how: Any) -> float:
    """Four steps from all noise, every draw its likeliest: whether it comes to an end."""
    import torch

    import_module("flow_matching.solver")
    law = TableLaw(random_table(2, 2, 1), JumpProcess(2, "uniform"))

    def model(x: Any, t: Any) -> Any:
        return torch.tensor(law.probabilities(x.numpy(), law.process.node(min(1.0 - float(t[0]), 0.99))))

    paths: Any = import_module("flow_matching.path")
    schedulers = import_module("flow_matching.path.scheduler")
    path = paths.MixtureDiscreteProbPath(scheduler=schedulers.CondOTScheduler())
    solver = module.MixtureDiscreteEulerSolver(model, path, 2, torch.tensor([0.5, 0.5]))
    end = solver.sample(x_init=torch.zeros(3, 2, dtype=torch.long), **how)
    return float(end.shape == (3, 2))


class _Largest(Source):
    """The uniform number next to 1 for the first value, ½ for the others, which stand along axis 1."""

    def uniform(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        out = np.full(shape, 0.5, dtype)
        out[:, 0] = 1.0 - (2.0**-24 if np.dtype(dtype).itemsize <= 4 else 2.0**-53)
        return out


def _rare(module: Any) -> float:
    """Whether the draw of one token can give what has probability 1e-9, its uniform number being the largest there is."""
    import torch

    alone = TableLaw(np.array([1e-9, 1.0 - 1e-9]), JumpProcess(2))
    with answered(_Largest()):
        scheduler = module.VQDiffusionScheduler(num_vec_classes=3, num_train_timesteps=2)
        told = torch.tensor(np.log(alone.table))[None, :, None].float()
        return float(int(scheduler.step(told, 0, torch.full((1, 1), 2)).prev_sample) == 0)


def _one_token(module: Any) -> float:
    """The error of two steps on one token."""
    return off(theirs.amused(module=module), TableLaw(np.array([0.3, 0.7]), JumpProcess(2)), 2, samples=4000)


def _masked_after_one(module: Any) -> float:
    """How many of three tokens are masked after the first of three steps."""
    import torch

    scheduler = module.AmusedScheduler(mask_token_id=2, masking_schedule="linear")
    scheduler.set_timesteps(3)
    with answered(Seeded(0)):
        state = scheduler.step(torch.zeros(1, 3, 2), 2, torch.full((1, 3), 2)).prev_sample
    return float((state == 2).sum())


SHORTFALLS = (
    Shortfall(
        key="fm-free-at-start",
        title="MixtureDiscreteEulerSolver: the divergence-free part divides by κ = 0",
        library="flow_matching",
        module=_FM,
        words="if div_free_t > 0:",
        cause="κ̇/(κ(1 − κ)) is infinite at the first node t = 0, where paths begin; the draw that follows is refused.",
        what=WORKS,
        trial=lambda module: _fm(module, step_size=0.25, div_free=1.0),
        changes=(("if div_free_t > 0:", "if div_free_t > 0 and k_t > 0:"),),
        before=(math.nan, math.nan),
        after=(1.0, 1.0),
    ),
    Shortfall(
        key="fm-one-step",
        title="MixtureDiscreteEulerSolver: one step is refused",
        library="flow_matching",
        module=_FM,
        words=") > step_size, f",
        cause="The interval must be longer than step_size, so that step_size = 1 on [0, 1] is an error.",
        what=WORKS,
        trial=lambda module: _fm(module, step_size=1.0),
        changes=((") > step_size, f", ") >= step_size, f"),),
        before=(math.nan, math.nan),
        after=(1.0, 1.0),
    ),
    Shortfall(
        key="ddim-draws-nothing",
        title="DiscreteDDIMScheduler: by default x0 is not drawn, but the likeliest taken",
        library="diffusers",
        module=f"{_DIFFUSERS}discrete_ddim",
        words="temperature: float = 0.0,",
        cause="The posterior of D3PM needs x0 ~ p; at the default temperature 0 it is argmax p, and no number of steps mends that.",
        what=TV,
        trial=lambda module: off(theirs.discrete_ddim(None, module), UNIFORM(4), 4),
        changes=(("temperature: float = 0.0,", "temperature: float = 1.0,"),),
        before=(0.05, 0.5),
        after=(0.0, 0.042),
        kind="limit",
    ),
    Shortfall(
        key="vq-first-steps",
        title="VQDiffusionScheduler: fewer steps than trained are the last ones, from a state that is noisier than they expect",
        library="diffusers",
        module=f"{_DIFFUSERS}vq_diffusion",
        words="timesteps = np.arange(0, self.num_inference_steps)[::-1].copy()",
        cause="set_timesteps(n) takes the n cleanest of the trained steps; at the first of them only a share n/T is masked, and all are.",
        what=TV,
        trial=lambda module: off(theirs.vq_diffusion(2, 16, module), vq_law(16), 4),
        changes=(("timesteps = np.arange(0, self.num_inference_steps)[::-1]", "timesteps = np.arange(0, len(self.log_at))[::-1]"),),
        before=(0.06, 0.5),
        after=(0.0, 0.03),
    ),
    Shortfall(
        key="vq-float32",
        title="VQDiffusionScheduler: Gumbel noise of float32 uniform numbers",
        library="diffusers",
        module=f"{_DIFFUSERS}vq_diffusion",
        words="uniform = torch.rand(logits.shape, device=logits.device, generator=generator)",
        cause="−log(−log u) of the 2^24 numbers of float32 is at most 16.6: what is rarer than 1e-7 of the likeliest is never drawn.",
        what=DRAWN,
        trial=_rare,
        changes=(("device=logits.device, generator=generator)", "device=logits.device, dtype=torch.float64, generator=generator)"),),
        before=(0.0, 0.0),
        after=(1.0, 1.0),
    ),
    Shortfall(
        key="amused-confidence",
        title="AmusedScheduler: the order of showing tokens looks at what was drawn",
        library="diffusers",
        module=f"{_DIFFUSERS}amused",
        words="selected_probs = torch.gather(probs, -1, pred_original_sample[:, :, None])[:, :, 0]",
        cause="As published (MaskGIT): values are drawn, and the likely ones stay. In an order by chance, one at a time, the law is exact.",
        what=TV,
        trial=lambda module: off(theirs.amused(module=module), TableLaw(random_table(2, 4, 5), JumpProcess(2)), 4),
        changes=(("torch.gather(probs, -1, pred_original_sample[:, :, None])[:, :, 0]", "torch.ones_like(probs[..., 0])"),),
        before=(0.1, 0.6),
        after=(0.0, 0.025),
        kind="limit",
    ),
    Shortfall(
        key="amused-floor",
        title="AmusedScheduler: the number of masked tokens is rounded down from 1.9999999",
        library="diffusers",
        module=f"{_DIFFUSERS}amused",
        words="mask_len = (seq_len * mask_ratio).floor()",
        cause="3 (1 − 1/3) is below 2 in float32, so that two of three tokens are shown in the first of three steps.",
        what=MASKED_LEFT,
        trial=_masked_after_one,
        changes=(("mask_len = (seq_len * mask_ratio).floor()", "mask_len = (seq_len * mask_ratio + 1e-4).floor()"),),
        before=(1.0, 1.0),
        after=(2.0, 2.0),
    ),
    Shortfall(
        key="amused-one-token",
        title="AmusedScheduler: one token cannot be sampled in two steps",
        library="diffusers",
        module=f"{_DIFFUSERS}amused",
        words="mask_len = torch.max(torch.tensor([1], device=model_output.device), mask_len)",
        cause="At least one token stays masked, so the first confidence that may be shown is behind the last: an index out of bounds.",
        what=TV,
        trial=_one_token,
        changes=(
            (
                "mask_len = torch.max(torch.tensor([1], device=model_output.device), mask_len)",
                "mask_len = torch.max(torch.tensor([1], device=model_output.device), mask_len).clamp(max=seq_len - 1)",
            ),
        ),
        before=(math.nan, math.nan),
        after=(0.0, 0.03),
    ),
    Shortfall(
        key="block-confidence",
        title="BlockRefinementScheduler: the order of showing tokens looks at what was drawn",
        library="diffusers",
        module=f"{_DIFFUSERS}block_refinement",
        words=_BLOCK,
        cause="As published (LLaDA-type decoding): the most confident of what was drawn stay, and all above the threshold at once.",
        what=TV,
        trial=lambda module: off(theirs.block_refinement(module=module), MASKED(2), 2),
        changes=((_BLOCK, _BLOCK.replace("sampled_probs.to(dtype=torch.float32)", "0.5 * torch.ones_like(sampled_probs)")),),
        before=(0.05, 0.5),
        after=(0.0, 1e-6),
        kind="limit",
    ),
)


def confirm(libraries: Any) -> list[tuple[Shortfall, float, float]]:
    """Each of the libraries', as shipped and mended."""
    return [(fault, *fault.values()) for fault in SHORTFALLS if fault.library in libraries]
