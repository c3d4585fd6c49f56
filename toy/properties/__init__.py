"""The laws that every registered solver obeys, as functions.

The tests enrol every solver in every law, and the mutants are held against them. ``LAWS`` maps names to laws.
"""

from scorebed.toy.properties import adaptive, exact, mixtures, order, paths, robust, spaces, straight
from scorebed.toy.properties.registry import LAWS, Broken, Law, law

__all__ = ["LAWS", "Broken", "Law", "adaptive", "exact", "law", "mixtures", "order", "paths", "robust", "spaces", "straight"]
