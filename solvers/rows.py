"""A part of the batch: what the denoiser of some samples is, for methods in which every sample moves by steps of its own.

A network may be conditioned sample by sample, by a list of labels in the order of the batch for instance. Handed a part of the batch it
would give the first labels to whoever comes first. So a part is asked for in one of three ways:

    ``denoise.take(rows)``   the denoiser of these samples, where there is one (``gpu.wrap``, ``gpu.guided``)
    ``model.pointwise``      a mark that says that D(x, node) of a sample does not depend on its place in the batch: just the part
    else                     a call on the whole batch, in which samples that are not asked for repeat one that is
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scorebed.solvers.model import Array, Denoiser
from scorebed.solvers.schedule import Node


def of_rows(denoise: Denoiser, rows: Sequence[int], count: int) -> Denoiser:
    """The denoiser of the samples ``rows``, in increasing order, of a batch of ``count``; it takes and gives those samples only."""
    if len(rows) == count:
        return denoise
    if hasattr(denoise, "take"):
        part: Denoiser = denoise.take(list(rows))
        return part
    if getattr(denoise, "pointwise", False):
        return denoise
    place = np.zeros(count, dtype=int)
    place[list(rows)] = np.arange(len(rows))
    everywhere, asked = place.tolist(), list(rows)

    def of_the_whole(y: Array, node: Node) -> Array:
        return denoise(y[everywhere], node)[asked]

    return of_the_whole
