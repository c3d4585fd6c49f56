"""diffusers' guiders that can be called without a pipeline, each with our rule of its paper and what mends it where they differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scorebed.solvers.guide import CFG
from scorebed.solvers.methods.steering.composition import banded
from scorebed.solvers.methods.steering.rules import APG, CFGZero, MagnitudeAware, Rescaled, Tangential
from scorebed.toy.peers.guider import Changes, Guider, Join, W, down, up


def _rule(rule: Any) -> Callable[[Sequence[Any]], Join]:
    return lambda nodes: lambda c, u, p, x, node: rule(c, u, x, node)


def _by_steps(start: float, stop: float) -> Callable[[Sequence[Any]], Join]:
    """CFG at the steps from start to stop, parts of their number."""

    def at(nodes: Sequence[Any]) -> Join:
        n = len(nodes) - 1
        inside = {node.clock for i, node in enumerate(nodes) if int(start * n) <= i < int(stop * n)}
        rule = CFG(lambda node: W if node.clock in inside else 1.0)
        return lambda c, u, p, x, node: rule(c, u, x, node)

    return at


def _perturbed(s: float, w: float = W) -> Callable[[Sequence[Any]], Join]:
    """D_u + w (D_c − D_u) + s (D_c − D_weak)."""
    return lambda nodes: lambda c, u, p, x, node: CFG(w)(c, u, x, node) + s * (c - p)


def _bands(high: float, low: float) -> Callable[[Sequence[Any]], Join]:
    return lambda nodes: lambda c, u, p, x, node: banded(lambda *_: c, lambda *_: u, low, high, lambda gap: up(down(gap)))(x, node)


_CFG, _ZERO, _APG = "classifier_free_guidance", "classifier_free_zero_star_guidance", "adaptive_projected_guidance"
_MIX, _SKIP, _PAG, _SEG = (
    "adaptive_projected_guidance_mix",
    "skip_layer_guidance",
    "perturbed_attention_guidance",
    "smoothed_energy_guidance",
)
_PAPER: Changes = (
    (
        "    pred = pred_cond if use_original_formulation else pred_uncond\n    pred = pred + guidance_scale * normalized_update",
        "    pred = pred_cond + (guidance_scale - 1.0) * normalized_update",
    ),
)
_HALF = "the default form keeps D_u and drops (1 − η) of the difference along D_c, w times; the paper's keeps D_c, and drops it w − 1 times"
_ALONE = "without CFG it guides away from the perturbed answer by s − 1, with CFG, however little, by s: a jump at w → 1"


def _from_cond(name: str) -> Changes:
    return ((f"pred = pred_cond if self.use_original_formulation else {name}\n", "pred = pred_cond\n"),)


def guiders() -> list[Guider]:
    """All that can be called without a pipeline."""
    apg = {"eta": 0.2, "adaptive_projected_guidance_rescale": 2.5}
    paper = APG(W, 0.2, 2.5)
    alone: dict[str, Any] = {"guidance_scale": 1.0, "start": 0.0, "stop": 1.0}
    skip: dict[str, Any] = {"skip_layer_guidance_layers": [0], "skip_layer_guidance_scale": 2.0}
    skip |= {"skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0}
    pag: dict[str, Any] = {"perturbed_guidance_layers": [0], "perturbed_guidance_scale": 2.0}
    pag |= {"perturbed_guidance_start": 0.0, "perturbed_guidance_stop": 1.0}
    seg: dict[str, Any] = {"seg_guidance_layers": [0], "seg_guidance_scale": 2.0}

    def g(module: str, name: str, options: Mapping[str, Any], ours: Any, words: str, **more: Any) -> Guider:
        return Guider(module, name, {"guidance_scale": W, **options}, ours, words, **more)

    return [
        g(_CFG, "ClassifierFreeGuidance", {}, _rule(CFG(W)), "CFG", prediction="flow"),
        g(
            *(_CFG, "ClassifierFreeGuidance", {"use_original_formulation": True}, _rule(CFG(W)), "CFG"),
            why="the scale is w − 1 of ours, as documented",
            other={"options": {"guidance_scale": W - 1.0}},
        ),
        g(
            *(_CFG, "ClassifierFreeGuidance", {"start": 0.2, "stop": 0.8}, _by_steps(0.2, 0.8), "CFG at these steps"),
            why="an interval of steps: that of noise in the paper (arXiv:2404.07724) only on one grid",
        ),
        g(_CFG, "ClassifierFreeGuidance", {"guidance_rescale": 0.7}, _rule(Rescaled(W, 0.7)), "Rescaled, of D"),
        g(
            *(_CFG, "ClassifierFreeGuidance", {"guidance_rescale": 0.7}, _rule(Rescaled(W, 0.7)), "Rescaled, of D"),
            prediction="eps",
            why="the spread is that of whatever it is handed, here eps",
            other={"prediction": "denoised"},
        ),
        g(
            *(_ZERO, "ClassifierFreeZeroStarGuidance", {"zero_init_steps": 0}, _rule(CFGZero(W)), "CFG-Zero*"),
            prediction="flow",
            why="its scale s is computed in float32",
            changes=(("    cond = cond.float()\n    uncond = uncond.float()\n", ""), ("eps: float = 1e-8", "eps: float = 1e-30")),
        ),
        g(_APG, "AdaptiveProjectedGuidance", {**apg, "use_original_formulation": True, "guidance_scale": W - 1.0}, _rule(paper), "APG"),
        g(_APG, "AdaptiveProjectedGuidance", apg, _rule(paper), "APG", why=_HALF, changes=_PAPER),
        g(
            *(_APG, "AdaptiveProjectedGuidance"),
            {**apg, "use_original_formulation": True, "guidance_scale": W - 1.0, "adaptive_projected_guidance_momentum": -0.5},
            lambda nodes: _rule(APG(W, 0.2, 2.5, -0.5))(nodes),
            "APG with momentum",
        ),
        g(
            *(_MIX, "AdaptiveProjectedMixGuidance"),
            {**apg, "adaptive_projected_guidance_scale": W, "adaptive_projected_guidance_momentum": None}
            | {"adaptive_projected_guidance_start_step": -1},
            _rule(paper),
            "APG",
            why=_HALF,
            changes=_PAPER,
        ),
        g(
            *("auto_guidance", "AutoGuidance", {"auto_guidance_layers": [0], "dropout": 1.0}, _rule(CFG(W)), "CFG, the weak model as null"),
        ),
        g(
            *(_SKIP, "SkipLayerGuidance", {**skip, "start": 0.0, "stop": 1.0}, _perturbed(2.0), "D_u + w Δ + s Δ_weak"),
            third="pred_cond_skip",
            why="the first step is never perturbed: start < step",
        ),
        g(
            *(_SKIP, "SkipLayerGuidance", {**skip, **alone}, _perturbed(2.0, 1.0), "D_c + s Δ_weak"),
            third="pred_cond_skip",
            why=_ALONE,
            changes=_from_cond("pred_cond_skip"),
        ),
        g(
            *(_PAG, "PerturbedAttentionGuidance", {**pag, **alone}, _perturbed(2.0, 1.0), "D_c + s Δ_weak"),
            third="pred_cond_skip",
            why=f"{_ALONE}; in the paper (arXiv:2403.17377) it is s",
            changes=_from_cond("pred_cond_skip"),
        ),
        g(
            *(_SEG, "SmoothedEnergyGuidance", {**seg, **alone}, _perturbed(2.0, 1.0), "D_c + s Δ_weak"),
            third="pred_cond_seg",
            why=_ALONE,
            changes=_from_cond("pred_cond_seg"),
        ),
        g(
            *("magnitude_aware_guidance", "MagnitudeAwareGuidance", {"alpha": 2.0}, _rule(MagnitudeAware(W, 2.0)), "MagnitudeAware"),
            why="torch.norm takes one or two dimensions, so that pictures, of three, raise; sequences do not",
            changes=(("torch.norm(", "torch.linalg.vector_norm("),),
        ),
        g(
            *("tangential_classifier_free_guidance", "TangentialClassifierFreeGuidance", {}, _rule(Tangential(W)), "Tangential"),
            why="its singular vectors are computed in float32",
            changes=((", dim=1).float()", ", dim=1)"), ("-1).float()", "-1)")),
        ),
        g(
            *("ltx2_guidance", "LTX2Guidance", {"stg_scale": 2.0}, _perturbed(2.0), "D_u + w Δ + s Δ_weak"),
            third="pred_cond_stg",
        ),
        Guider(
            *("frequency_decoupled_guidance", "FrequencyDecoupledGuidance", {"guidance_scales": [5.0, 2.0]}, _bands(5.0, 2.0), "banded"),
            pictures=True,
        ),
        Guider(
            *("frequency_decoupled_guidance", "FrequencyDecoupledGuidance", {"guidance_scales": [5.0, 1.0]}, _bands(5.0, 1.0), "banded"),
            pictures=True,
            why="a band of scale 1 takes the answer of the band before it, of another size, or of none",
            changes=(("pred_guided_pyramid.append(pred_cond_freq)", "pred_guided_pyramid.append(pred_cond_pyramid[level])"),),
        ),
    ]
