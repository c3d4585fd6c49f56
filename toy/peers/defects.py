"""The registry of defects: each with a measurement as shipped and one with the defect mended at run time."""

from __future__ import annotations

from scorebed.toy.peers.defect import Defect
from scorebed.toy.peers.defects_grids import GRIDS
from scorebed.toy.peers.defects_more import MORE
from scorebed.toy.peers.defects_multistep import MULTISTEP
from scorebed.toy.peers.defects_others import OTHERS

DEFECTS: dict[str, Defect] = {d.key: d for d in (*MULTISTEP, *GRIDS, *OTHERS, *MORE)}
"""Every defect by its key, in the order of the report."""
