"""The registry of defects: each with a measurement as shipped and one with the defect mended at run time."""

from __future__ import annotations

from toy.peers.defect import Defect
from toy.peers.defects_grids import GRIDS
from toy.peers.defects_multistep import MULTISTEP
from toy.peers.defects_others import OTHERS

DEFECTS: dict[str, Defect] = {d.key: d for d in (*MULTISTEP, *GRIDS, *OTHERS)}
"""Every defect by its key, in the order of the report."""
