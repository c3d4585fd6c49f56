"""A batch in parts, which bounds the memory: the one meaning of ``chunk`` in ``gpu.run``, ``gpu.wrap`` and ``gpu.guided``."""

from __future__ import annotations

from typing import Any

import numpy as np


def check_chunk(chunk: Any) -> int | None:
    """The most rows in one call, or None for all.

    Returns:
        chunk as an int of at least 1, or None for no limit.

    Raises:
        ValueError: not an integer of at least 1.
    """
    if chunk is None:
        return None
    if isinstance(chunk, bool) or not isinstance(chunk, int | np.integer) or chunk < 1:
        raise ValueError(f"chunk = {chunk!r}: give the most samples at once, an integer of at least 1")
    return int(chunk)


def chunks(n: int, chunk: int | None) -> list[slice]:
    """The rows 0 … n - 1 in runs of at most ``chunk``."""
    most = n if chunk is None else chunk
    return [slice(i, min(i + most, n)) for i in range(0, n, most)]
