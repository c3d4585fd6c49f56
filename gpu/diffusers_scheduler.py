"""The scheduler by its old place, ``scorebed.gpu.diffusers.scheduler``."""

from scorebed.gpu.diffusers.scheduler import ScorebedOutput as ScorebedOutput
from scorebed.gpu.diffusers.scheduler import ScorebedScheduler as ScorebedScheduler
