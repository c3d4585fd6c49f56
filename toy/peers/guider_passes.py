"""diffusers' guiders that perturb the inside of a network, run on a small one as a pipeline runs them: whether anything is perturbed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from scorebed.toy.peers.guider import Changes
from scorebed.toy.peers.mend import line_of, mended

_SKIP, _PAG, _SEG = "skip_layer_guidance", "perturbed_attention_guidance", "smoothed_energy_guidance"


@dataclass(frozen=True)
class Pass:
    """Whether a guider that perturbs a network does: as shipped, and mended."""

    module: str
    name: str
    options: Mapping[str, Any]
    why: str
    changes: Changes

    @property
    def where(self) -> str:
        """File and line."""
        return f"guiders/{self.module}.py:{line_of(f'diffusers.guiders.{self.module}', self.changes[0][0].strip())}"

    def works(self, mend: bool = False) -> bool:
        """Whether the last pass of a step, as a pipeline makes them, is another than the first, and ``is_conditional`` can be asked."""
        import torch
        from diffusers.models.attention import BasicTransformerBlock

        path = f"diffusers.guiders.{self.module}"
        guider = getattr(mended(path, *self.changes) if mend else import_module(path), self.name)(**self.options)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = torch.nn.Module()
            network.transformer_blocks = torch.nn.ModuleList([BasicTransformerBlock(8, 1, 8)])
            x = torch.randn(1, 4, 8)
        guider.set_state(step=5, num_inference_steps=10, timestep=torch.tensor(500.0))
        passes = []
        try:
            for _ in range(guider.num_conditions):
                guider.prepare_models(network)
                bool(guider.is_conditional)
                with torch.no_grad():
                    passes.append(network.transformer_blocks[0](x))
                guider.cleanup_models(network)
        except (AttributeError, TypeError):
            return False
        return "Tangential" in self.name or float((passes[-1] - passes[0]).abs().max()) > 1e-6


_TWO = "is_conditional is False at the second of two passes, so that the perturbed pass is never perturbed where CFG is off"
_INT = "the list of layers becomes configurations of one number where a list is asked for: TypeError at the first perturbed pass"
_ON = ".is_conditional and self._count_prepared > 1:"


def _listed(config: str) -> Changes:
    return ((f"{config}(layer, ", f"{config}([layer], "),)


def passes() -> list[Pass]:
    """The guiders of a network's inside that do not do it."""
    span: dict[str, Any] = {"guidance_scale": 1.0}
    slg: dict[str, Any] = {"skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0, "start": 0.0, "stop": 1.0}
    pag = {"perturbed_guidance_layers": [0], "perturbed_guidance_start": 0.0, "perturbed_guidance_stop": 1.0}
    last = ((f" self{_ON}", " self._count_prepared == self.num_conditions:"),)
    asked, more = "        if self._is_seg_enabled() and self.is_cond", "        self._count_prepared += 1\n"
    clean = "    def cleanup_models(self, denoiser: torch.nn.Module):\n"
    counted = ((asked, more + asked), (clean + more, clean))
    seg = {"start": 0.0, "stop": 1.0}
    uncounted = "prepare_models counts no pass, so that none is ever perturbed"
    return [
        Pass(_SKIP, "SkipLayerGuidance", {**slg, "skip_layer_guidance_layers": [0]}, _INT, _listed("LayerSkipConfig")),
        Pass("auto_guidance", "AutoGuidance", {"auto_guidance_layers": [0], "dropout": 1.0}, _INT, _listed("LayerSkipConfig")),
        Pass(_SKIP, "SkipLayerGuidance", {**slg, **span, "skip_layer_config": {"indices": [0]}}, _TWO, last),
        Pass(_PAG, "PerturbedAttentionGuidance", {**pag, **span}, _TWO, last),
        Pass(_SEG, "SmoothedEnergyGuidance", {**seg, "seg_guidance_config": {"indices": [0]}}, uncounted, counted),
        Pass(
            *(_SEG, "SmoothedEnergyGuidance", {**seg, "seg_guidance_layers": [0]}, f"{uncounted}; and {_INT}"),
            (*counted, *_listed("SmoothedEnergyGuidanceConfig")),
        ),
        Pass(
            *("tangential_classifier_free_guidance", "TangentialClassifierFreeGuidance", {}),
            "is_conditional reads _num_outputs_prepared, which does not exist: AttributeError",
            (("self._num_outputs_prepared == 1", "self._count_prepared == 1"),),
        ),
    ]
