"""Losses of few-step models in torch, on a world in which their gradients and minimisers are known.

``world`` and ``students`` are closed forms, ``trajectory`` and ``ctm`` train maps of the flow, ``generator`` one-step generators; ``kinds``
names all.
"""

from scorebed.gpu.losses.kinds import KINDS, Kind
from scorebed.gpu.losses.students import Generator, MapStudent, Network
from scorebed.gpu.losses.world import Batch, GaussianWorld

__all__ = ["KINDS", "Batch", "GaussianWorld", "Generator", "Kind", "MapStudent", "Network"]
