r"""One guider of diffusers, called without a pipeline, beside our rule of the same paper: the same numbers, the same law, or why not.

``numbers`` is the largest difference of the guided answers over ten steps on random ones, relative to their size; ``laws`` the distance of
what DDIM samples by them, and by our rule, from the exact models of a class in the plane, and that of theirs to p_c^w p_u^{1−w}.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np

from scorebed.solvers import SOLVERS, RectifiedFlow, convert, grid, predicts, sample
from scorebed.toy.measure.guided_plane import apart
from scorebed.toy.peers.mend import line_of, mended
from scorebed.toy.problems.guided import GUIDED, GuidedPlane

STEPS, POINTS, W = 10, 256, 3.0
Join = Callable[..., Any]
"""(given, null, weak, x, node) -> the guided E[x0 | x]."""
Changes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Guider:
    """One guider of diffusers with options.

    Attributes:
        module, name, options: of ``diffusers.guiders``.
        ours: nodes -> our rule of the paper.
        words: which it is.
        prediction: what the guider is handed.
        third: the name of its third answer, of a perturbed network.
        why: the difference, in words.
        changes, other: what mends it: words of the source, options or the prediction.
        pictures: whether it takes pictures only.
    """

    module: str
    name: str
    options: Mapping[str, Any]
    ours: Callable[[Sequence[Any]], Join]
    words: str
    prediction: str = "denoised"
    third: str = ""
    why: str = ""
    changes: Changes = ()
    other: Mapping[str, Any] = field(default_factory=dict)
    pictures: bool = False

    @property
    def label(self) -> str:
        """Name and options."""
        return f"{self.name} ({', '.join(f'{k}={v}' for k, v in self.options.items())})"

    @property
    def path(self) -> str:
        """The module."""
        return f"diffusers.guiders.{self.module}"

    @property
    def where(self) -> str:
        """File and line of what is changed, or none."""
        return f"guiders/{self.module}.py:{line_of(self.path, self.changes[0][0].strip())}" if self.changes else ""

    def mend(self) -> Guider:
        """The same, mended."""
        return replace(self, **{**self.other, "options": {**self.options, **self.other.get("options", {})}})

    def made(self, mend: bool = False) -> Any:
        """The guider."""
        module = mended(self.path, *self.changes) if mend and self.changes else import_module(self.path)
        return getattr(_with_pyramid(module) if self.pictures else module, self.name)(**self.options)


def numbers(guider: Guider, mend: bool = False) -> float:
    """The largest relative difference from our rule over the steps; nan where it raises."""
    import torch

    nodes = grid.uniform_lam(RectifiedFlow(), STEPS, 0.99, 0.01)
    theirs, ours, worst = _Theirs(guider, nodes, mend), guider.ours(nodes), 0.0
    source = torch.Generator().manual_seed(3)
    for node in nodes[1:-1]:
        x, c, u, p = (torch.randn(4, 3, 8, 8, generator=source, dtype=torch.float64) for _ in range(4))
        try:
            found = theirs(c, u, p, x, node)
        except Exception:  # whatever a peer raises is a result
            return math.nan
        wanted = ours(c, u, p, x, node)
        worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
    return worst


def laws(guider: Guider, mend: bool = False) -> tuple[float, float]:
    """How far what is sampled is from what our rule samples, and from what was meant; nan where it takes pictures only or raises."""
    if guider.pictures:
        return math.nan, math.nan
    plane = GUIDED["plane"]
    assert isinstance(plane, GuidedPlane)
    place = replace(plane, schedule=RectifiedFlow(), start=0.99)
    nodes, x = place.nodes(STEPS), place.start_states(POINTS)
    weak = _wider(place)
    out = []
    for join in (_Theirs(guider, nodes, mend), guider.ours(nodes)):

        @predicts("denoised")
        def model(y: Any, node: Any, join: Any = join) -> Any:
            import torch

            state, c, u, p = (
                torch.from_numpy(np.asarray(v)).view(-1, 1, 1, 2)
                for v in (y, *(m(y, node) for m in (place.given.denoised, place.null.denoised, weak)))
            )
            return join(c, u, p, state, node).view(-1, 2).numpy()

        try:
            out.append(np.asarray(sample(SOLVERS["ddim"], model, x, nodes, terminal="none")))
        except RuntimeError:
            return math.nan, math.nan
    return apart(*out), apart(out[0], place.meant_states(W, POINTS))


def _wider(place: GuidedPlane) -> Any:
    """A weak model: the class with twice the covariance."""
    from scorebed.analytic import GaussianMixture

    return GaussianMixture([1.0], place.given.means, 2.0 * place.given.covariance()[None]).denoised


class _Theirs:
    """A guider as a join of answers, told its step by the node."""

    def __init__(self, guider: Guider, nodes: Sequence[Any], mend: bool) -> None:
        self.entry = guider.mend() if mend else guider
        self.guider, self.nodes = self.entry.made(mend), [node.clock for node in nodes]

    def __call__(self, c: Any, u: Any, p: Any, x: Any, node: Any) -> Any:
        import torch

        guider, step = self.guider, self.nodes.index(node.clock)
        guider.set_state(step=step, num_inference_steps=len(self.nodes) - 1, timestep=torch.tensor(500.0))
        if getattr(guider, "momentum_buffer", 0) is None and guider.adaptive_projected_guidance_momentum is not None:
            from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer  # made where a pipeline prepares its first step

            guider.momentum_buffer = MomentumBuffer(guider.adaptive_projected_guidance_momentum)
        kind = self.entry.prediction
        answers = {"pred_cond": c, "pred_uncond": u} | ({self.entry.third: p} if self.entry.third else {})
        handed = {name: convert(value, x, node, "denoised", kind) for name, value in answers.items()}
        return convert(guider.forward(**handed).pred, x, node, kind, "denoised")


def down(x: Any) -> Any:
    """Means of 2 × 2."""
    import torch

    return torch.nn.functional.avg_pool2d(x, 2)


def up(x: Any) -> Any:
    """Each entry in 2 × 2."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def _with_pyramid(module: Any) -> Any:
    """A copy of the module with the pyramid of means in the place of kornia's, which it asks for."""
    without = ("_CAN_USE_KORNIA = is", "_CAN_USE_KORNIA = False and is")
    copy: Any = module if "_mended_" in module.__name__ else mended(module.__name__, without)
    copy._CAN_USE_KORNIA = True
    copy.build_laplacian_pyramid_func = lambda x, levels: [x - up(down(x)), down(x)]
    copy.upsample_and_blur_func = up
    return copy
