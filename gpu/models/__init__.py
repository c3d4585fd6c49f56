"""Pretrained networks that install as ordinary packages, read from their files: ``load(name)``, ``MODELS``, ``names()``."""

from scorebed.gpu.models.pretrained import Pretrained
from scorebed.gpu.models.registry import MODELS, load, names
from scorebed.gpu.models.weights import Missing

__all__ = ["MODELS", "Missing", "Pretrained", "load", "names"]
