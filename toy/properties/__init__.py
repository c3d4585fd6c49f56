"""The properties of every registered solver, as functions.

The tests enrol every solver in every property, and the mutants are held against them. ``PROPERTIES`` maps names to properties.
"""

from scorebed.toy.properties import (
    adaptive,
    bridge,
    exact,
    jump,
    likelihood,
    local,
    maps,
    mixtures,
    order,
    paths,
    phase,
    robust,
    sequence,
    space_laws,
    spaces,
    straight,
)
from scorebed.toy.properties.registry import PROPERTIES, Broken, Property, prop

__all__ = [
    "PROPERTIES",
    "Broken",
    "Property",
    "adaptive",
    "bridge",
    "exact",
    "jump",
    "likelihood",
    "local",
    "maps",
    "mixtures",
    "order",
    "paths",
    "phase",
    "prop",
    "robust",
    "sequence",
    "space_laws",
    "spaces",
    "straight",
]
