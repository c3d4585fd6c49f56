r"""A diffusers pipeline's network as our ``Denoiser``, with the schedule and grids of its scheduler's config.

    net = from_pipeline(pipe, encoder_hidden_states=embeds)
    x0 = sample(SOLVERS["unipc_3"], net.denoise, net.start(4, seed=0), net.grid(10))

Conditions are named as the network's own forward names them, one row per sample or one for all. Families differ in what the network is
told: most take the timestep; Flux takes t/N, Lumina 1 − t/N and predicts the velocity towards the data; networks that also predict a
variance return twice the channels. ``load`` reads a whole pipeline from a local folder, safetensors only, without any network.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn

from scorebed.gpu.diffusers.levels import Levels
from scorebed.gpu.diffusers.scheduler import ScorebedScheduler
from scorebed.gpu.network.wrap import Wrapped, compute_dtype, first
from scorebed.solvers import BrownianNoise, Denoiser, Node, Schedule
from scorebed.solvers.guide import Rule, Scale

Call = Callable[..., Any]
_START = 0x5C0BED


def _unet(net: nn.Module) -> Call:
    return lambda x, t, **given: net(x, t, **given, return_dict=False)


def _transformer(net: nn.Module) -> Call:
    return lambda x, t, **given: net(hidden_states=x, timestep=t, **given, return_dict=False)


def _towards_data(net: nn.Module) -> Call:
    return lambda x, t, **given: -_half(net(hidden_states=x, timestep=1.0 - t, **given, return_dict=False), x)


def _half(output: Any, x: Tensor) -> Tensor:
    """The prediction without the variance that some networks learn beside it."""
    value = first(output, x)
    return value.chunk(2, dim=1)[0] if value.ndim > 1 and value.shape[1] == 2 * x.shape[1] else value


CALLS: dict[str, tuple[Callable[[nn.Module], Call], bool]] = {
    "UNet2DModel": (_unet, False),
    "UNet2DConditionModel": (_unet, False),
    "FluxTransformer2DModel": (_transformer, True),
    "LuminaNextDiT2DModel": (_towards_data, True),
}
"""Class of network: (how it is called, whether its times are divided by num_train_timesteps). Others are transformers with timesteps."""


@dataclass(frozen=True)
class PipelineNetwork:
    """A pipeline's network with its schedule; ``shape`` is that of one sample as far as the config tells, or None."""

    network: nn.Module
    schedule: Schedule
    scheduler: ScorebedScheduler
    denoise: Denoiser = field(repr=False)
    shape: tuple[int, ...] | None

    def grid(self, n: int, *, mu: float | None = None) -> list[Node]:
        """The noise levels that the pipeline itself would use for n inference steps: n nodes, n − 1 steps."""
        self.scheduler.set_timesteps(n, mu=mu)
        return self.scheduler.grid

    def start(self, n: int, seed: int = 0, shape: tuple[int, ...] | None = None) -> Tensor:
        """``n`` samples of unit normals, float32, on the network's device; sample i is the same whatever n.

        Returns:
            (n, *shape) float32 tensor on the network's device.

        Raises:
            ValueError: the config does not tell the shape of a sample, and none is given.
        """
        one = shape or self.shape
        if one is None:
            raise ValueError(f"{type(self.network).__name__} does not tell the shape of a sample: give shape")
        like = torch.zeros(1, device=next(self.network.parameters()).device)
        top, bottom = self.schedule.node(self.schedule.t_max), self.schedule.node(self.schedule.t_min)
        return BrownianNoise(seed ^ _START, (n, *one), like=like)(top, bottom)


@dataclass(frozen=True)
class Numbers:
    """(c_in, time, a, b) of a pipeline's network at a node of any schedule, as in ``gpu.wrap``."""

    levels: Levels
    divided: bool

    @property
    def integral(self) -> bool:
        """Whether the network is told integers."""
        return not self.divided and getattr(self.levels.schedule, "rounding", "none") == "nearest"

    def __call__(self, node: Node) -> tuple[float, float, float, float]:
        own = node if node.schedule == self.levels.schedule else self.levels.schedule.at_lam(node.lam)
        scale = own.alpha / node.alpha
        a, b = self.levels.linear(own)
        return scale, self.levels.told(own) / (self.levels.total if self.divided else 1), a * scale, b


def network_of(pipe: Any) -> nn.Module:
    """The network of a pipeline.

    Returns:
        the module that the pipeline calls at every step.

    Raises:
        TypeError: it has neither a unet nor a transformer.
    """
    found = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    if not isinstance(found, nn.Module):
        raise TypeError(f"{type(pipe).__name__} has neither a unet nor a transformer; its components: {', '.join(pipe.components)}")
    return found


def from_pipeline(
    pipe: Any,
    *,
    constant: Mapping[str, Any] | None = None,
    null: Mapping[str, Any] | None = None,
    guidance: Rule | Scale = 1.0,
    chunk: int | None = None,
    round_timesteps: bool = False,
    dtype: torch.dtype | None = None,
    **condition: Any,
) -> PipelineNetwork:
    """The network of ``pipe`` as E[x0 | x].

    Args:
        constant: keyword arguments that are the same in every call and are no rows (``img_ids``, ``image_rotary_emb``).
        null, guidance, chunk: as in ``gpu.wrap``.
        round_timesteps: hand over the nearest integer timesteps.
        dtype: what the network computes in, as in ``gpu.wrap``; by default as its parameters or casting hooks tell.
        condition: the network's own keyword arguments, with one row per sample or one for all.

    Returns:
        the PipelineNetwork: E[x0 | x] with its schedule, scheduler and shape.

    Raises:
        TypeError: a pipeline without a unet or transformer.
        ValueError: a scheduler config that cannot be honoured.
    """
    net = network_of(pipe)
    scheduler = ScorebedScheduler.from_config(pipe.scheduler.config, solver="ddim", round_timesteps=round_timesteps)
    call, divided = CALLS.get(type(net).__name__, (_transformer, False))
    denoise = Wrapped(
        call(net.eval()),
        Numbers(scheduler.levels, divided),
        condition=constant,
        per_sample=condition,
        null=null,
        guidance=guidance,
        dtype=compute_dtype(net) if dtype is None else dtype,
        chunk=chunk,
        pick=_half,
    )
    return PipelineNetwork(net, scheduler.schedule, scheduler, denoise, _shape(net))


def _shape(net: nn.Module) -> tuple[int, ...] | None:
    size, channels = (getattr(net.config, key, None) for key in ("sample_size", "in_channels"))
    if size is None or channels is None:
        return None
    sides = (size, size) if isinstance(size, int) else tuple(size)
    return (int(channels), *sides) if math.prod(sides) > 0 else None


def _part_of_diffusers(library: Any) -> bool:
    return isinstance(library, str) and library.isidentifier() and importlib.util.find_spec(f"diffusers.pipelines.{library}") is not None


LIBRARIES = ("diffusers", "transformers", "scorebed.gpu.diffusers.scheduler", "scorebed.gpu.diffusers_scheduler")
"""Whose classes a pipeline may name; and the parts of diffusers' pipelines, as the safety checker of ``stable_diffusion``."""


def _only_known_code(index: Path) -> None:
    """Refuse a pipeline that would run code from its folder. Versions of diffusers differ in what they do then; nothing is left to them.

    Raises:
        ValueError: a pipeline or a component that is none of diffusers', transformers' or ours.
    """
    held = json.loads(index.read_text(encoding="utf-8"))
    if not isinstance(held, dict):
        raise ValueError(f"{index} holds a {type(held).__name__}, not the components of a pipeline")
    name = held.get("_class_name")
    if not isinstance(name, str) or not hasattr(diffusers, name):
        raise ValueError(f"{index}: _class_name = {name!r} is no pipeline of diffusers; code from the folder is not run")
    for component, value in held.items():
        if component.startswith("_") or not isinstance(value, list):
            continue
        library = value[0] if value else None
        if not (library is None or library in LIBRARIES or _part_of_diffusers(library)):
            raise ValueError(f"{index}: {component} = {value!r} is of none of {', '.join(LIBRARIES)}; code from the folder is not run")


def load(folder: str | Path, **options: Any) -> Any:
    """A pipeline from a local folder: safetensors only, no network, no code from the folder.

    Args:
        options: those of ``DiffusionPipeline.from_pretrained`` besides.

    Returns:
        the diffusers pipeline with its networks loaded.

    Raises:
        FileNotFoundError: no such folder, or not a pipeline's.
        ValueError: an option that would undo the above, or a folder that names code of its own.
    """
    path = Path(folder)
    if not (path / "model_index.json").is_file():
        raise FileNotFoundError(f"{path} has no model_index.json: give the folder of a pipeline that save_pretrained wrote")
    if loose := {"use_safetensors", "local_files_only", "trust_remote_code", "custom_pipeline"} & options.keys():
        raise ValueError(f"{', '.join(sorted(loose))} cannot be chosen here: weights are read from safetensors files of this folder only")
    _only_known_code(path / "model_index.json")
    return DiffusionPipeline.from_pretrained(str(path), use_safetensors=True, local_files_only=True, **options)
