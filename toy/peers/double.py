"""Peers' modules with every float32 in their code read as float64, for the time of a ``with``: separates round-off from the formula.

Installed files are not touched: the module's names ``torch`` and ``np`` are replaced in memory by views that answer ``float64`` where the
code says ``float32``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class _View:
    """A module that answers float64 when asked for float32."""

    def __init__(self, module: Any, wide: Any) -> None:
        self._module, self.float32 = module, wide

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


@contextmanager
def double(*names: str) -> Iterator[None]:
    """The modules of these names compute in float64, and so does torch's default type."""
    import numpy as np
    import torch

    kept: list[tuple[Any, str, Any]] = []
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        for name in names:
            module = sys.modules[name]
            for attribute, plain, wide in (("torch", torch, torch.float64), ("np", np, np.float64)):
                if getattr(module, attribute, None) is plain:
                    kept.append((module, attribute, plain))
                    setattr(module, attribute, _View(plain, wide))
        yield
    finally:
        torch.set_default_dtype(before)
        for module, attribute, plain in kept:
            setattr(module, attribute, plain)
