"""Keyed noise: normals and uniforms that are pure functions of (seed, sample, interval).

``base`` is a source for a batch and its Brownian path, ``by_sample`` one with a seed for each sample, ``philox`` the generator.
"""

from scorebed.solvers.noise.base import BrownianNoise, Noise, fresh_seed, interval_key, kind_of

__all__ = ["BrownianNoise", "Noise", "fresh_seed", "interval_key", "kind_of"]
