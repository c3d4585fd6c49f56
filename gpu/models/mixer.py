r"""The MLP-Mixer score networks of ``galaxygrad``: galaxies and lensed quasars of five sky surveys.

A picture of p × p patches and a channel filled with t/t1 is embedded by a strided convolution into h channels × n patches, passes blocks

    y ← y + MLP_patch(norm(y))        along the patches, for each channel,
    y ← y + MLP_hidden(norm(yᵀ))ᵀ     along the channels, for each patch,

and is spread out again by the transposed convolution (MLP-Mixer, arXiv:2105.01601). The norms run over both axes. The network returns the
score at time t of dx = −x/2 dt + dW, i.e. alpha = e^{−t/2}, sigma² = 1 − e^{−t}, and was trained on y = log(flux + 1)/0.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from scorebed.gpu.models.pretrained import Pretrained
from scorebed.gpu.models.weights import eqx, installed, licence
from scorebed.gpu.network.wrap import wrap
from scorebed.solvers import VP

PACKAGE = "galaxygrad"
FILES = {
    "galaxy-hsc-32": ("hsc_ScoreNet32", "galaxies of the Hyper Suprime-Cam survey"),
    "galaxy-hsc-64": ("hsc_ScoreNet64", "galaxies of the Hyper Suprime-Cam survey"),
    "galaxy-hsc-log-32": ("hsc_LogNet32", "galaxies of the Hyper Suprime-Cam survey, log network"),
    "galaxy-hsc-log-64": ("hsc_LogNet64", "galaxies of the Hyper Suprime-Cam survey, log network"),
    "galaxy-ztf-32": ("ZTF_ScoreNet32", "galaxies of the Zwicky Transient Facility"),
    "galaxy-ztf-64": ("ZTF_ScoreNet64", "galaxies of the Zwicky Transient Facility"),
    "galaxy-lsst-60": ("lsst_ScoreNet60", "simulated galaxies of the Rubin survey"),
    "galaxy-roman-120": ("roman_Scorenet120", "galaxies of the Roman telescope"),
    "quasar-lens-72": ("quasar_lens72", "lensed quasars"),
}
"""Name of the model: (file ``galaxygrad/eqx_<…>.eqx``, what it draws)."""


class Block(nn.Module):
    """One mixing of patches and one of channels; y has shape (B, hidden, patches)."""

    def __init__(self, patches: int, hidden: int, width_patches: int, width_hidden: int) -> None:
        super().__init__()
        self.patch = nn.Sequential(nn.Linear(patches, width_patches), nn.ReLU(), nn.Linear(width_patches, patches))
        self.hidden = nn.Sequential(nn.Linear(hidden, width_hidden), nn.ReLU(), nn.Linear(width_hidden, hidden))
        self.norm1 = nn.LayerNorm((hidden, patches))
        self.norm2 = nn.LayerNorm((patches, hidden))

    def forward(self, y: Tensor) -> Tensor:
        y = y + self.patch(self.norm1(y))
        y = y.transpose(1, 2)
        y = y + self.hidden(self.norm2(y))
        return y.transpose(1, 2)


class Mixer(nn.Module):
    """(B, c, H, W) and times (B,) to the score (B, c, H, W)."""

    def __init__(self, channels: int, size: int, patch: int, hidden: int, widths: tuple[int, int], blocks: int, t1: float) -> None:
        super().__init__()
        self.t1, self.side = t1, size // patch
        self.embed = nn.Conv2d(channels + 1, hidden, patch, stride=patch)
        self.spread = nn.ConvTranspose2d(hidden, channels, patch, stride=patch)
        self.blocks = nn.ModuleList(Block(self.side**2, hidden, *widths) for _ in range(blocks))
        self.norm = nn.LayerNorm((hidden, self.side**2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        clock = (t.to(x.dtype) / self.t1).reshape(-1, 1, 1, 1).expand(x.shape[0], 1, *x.shape[2:])
        y = self.embed(torch.cat((x, clock), dim=1)).flatten(2)
        for block in self.blocks:
            y = block(y)
        return self.spread(self.norm(y).unflatten(2, (self.side, self.side)))


def _slots(net: Mixer) -> Iterator[nn.Parameter]:
    """The parameters in the order of the file."""
    yield from (net.embed.weight, net.embed.bias, net.spread.weight, net.spread.bias)  # type: ignore[misc]
    for block in net.blocks:
        assert isinstance(block, Block)
        for part in (block.patch, block.hidden, block.norm1, block.norm2):
            yield from part.parameters()
    yield from net.norm.parameters()


def build(arrays: Sequence[NDArray[np.float32]]) -> Mixer:
    """The network that the arrays of an ``.eqx`` file make.

    The transposed convolution's kernel is stored as (out, in, height, width), flipped in space against torch's (in, out, height, width).

    Returns:
        the Mixer network with the arrays as its weights.

    Raises:
        ValueError: the arrays are not those of such a network.
    """
    blocks, left = divmod(len(arrays) - 7, 12)
    if blocks < 1 or left or arrays[0].ndim != 4 or arrays[-1].shape != ():
        raise ValueError(f"{len(arrays)} arrays do not make a mixer: 4 for the convolutions, 12 for each block, 2 for the norm, and t1")
    hidden, channels, patch, _ = arrays[0].shape
    width_patches, patches = arrays[4].shape
    net = Mixer(channels - 1, patch * math.isqrt(patches), patch, hidden, (width_patches, arrays[8].shape[0]), blocks, float(arrays[-1]))
    with torch.no_grad():
        for slot, array in zip(_slots(net), arrays[:-1], strict=True):
            values = torch.from_numpy(array)
            if slot is net.spread.weight:
                values = values.transpose(0, 1).flip(2, 3)
            slot.copy_(values.reshape(slot.shape))
    return net


def load(name: str) -> Pretrained:
    """The galaxy network called ``name``: one of ``FILES``."""
    file, what = FILES[name]
    net = build(eqx(installed(PACKAGE, f"galaxygrad/eqx_{file}.eqx"))).eval().requires_grad_(False)
    schedule = VP(1.0, 1.0, t_min=1e-3, t_max=net.t1)
    size = net.side * net.embed.kernel_size[0]
    return Pretrained(
        name=name,
        what=what,
        package=PACKAGE,
        licence=licence(PACKAGE),
        network=net,
        schedule=schedule,
        prediction="score",
        shape=(net.embed.in_channels - 1, size, size),
        spacing="uniform_lam",
        denoise=wrap(net, schedule, "score"),
    )
