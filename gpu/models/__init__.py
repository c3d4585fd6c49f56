"""Pretrained networks that install as ordinary packages, read from their files: ``load(name)``, ``MODELS``, ``names()``."""

from gpu.models.pretrained import Pretrained
from gpu.models.registry import MODELS, load, names
from gpu.models.weights import Missing

__all__ = ["MODELS", "Missing", "Pretrained", "load", "names"]
