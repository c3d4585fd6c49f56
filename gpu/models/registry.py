"""The pretrained networks by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from scorebed.gpu.models import crystals, mixer, spectra
from scorebed.gpu.models.pretrained import Pretrained

MODELS: dict[str, tuple[str, Callable[..., Pretrained]]] = {
    **{name: (what, partial(mixer.load, name)) for name, (_, what) in mixer.FILES.items()},
    crystals.NAME: (crystals.WHAT, crystals.load),
    spectra.NAME: (spectra.WHAT, spectra.load),
}
"""Name: (what it draws, loader)."""


def names() -> list[str]:
    """The names that ``load`` takes."""
    return list(MODELS)


def load(name: str, **options: Any) -> Pretrained:
    """The pretrained network called ``name``, in evaluation mode on the CPU.

    Args:
        options: ``condition`` of ``21cm``, ``together`` of ``crystals`` (see their files); the others have none.

    Returns:
        the Pretrained network, in evaluation mode on the CPU.

    Raises:
        ValueError: unknown name, or a condition of the wrong shape.
        TypeError: an option that the model does not have.
        Missing: the package or archive with its weights is not installed; the message says what brings it.
    """
    if name not in MODELS:
        raise ValueError(f"model = {name!r} is not known: give one of {', '.join(MODELS)}")
    loader = MODELS[name][1]
    known = inspect.signature(loader).parameters
    if unknown := options.keys() - known.keys():
        raise TypeError(f"{name} has no option {', '.join(sorted(unknown))}; its options: {', '.join(known) or 'none'}")
    return loader(**options)
