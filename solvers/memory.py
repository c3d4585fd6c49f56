"""Who owns memory: the loop owns what it keeps, the network what it is given, the caller what is returned.

A network may give back the same buffer at every call (a captured CUDA graph, TensorRT, ONNX Runtime, a preallocated output), or write on
its input (``x *= ...``). Neither can be seen from outside in general: version counters are blind under ``torch.inference_mode`` and to
writers other than torch. So the loop hands out a copy of the state and keeps a copy of the answer, and neither can do harm; beside a
network a copy costs nothing. Where copies do cost (the fused passes, which allocate nothing), ``version`` sees what torch can see.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def own(value: Any) -> Any:
    """The same values in memory of their own, of the same kind, dtype and device; in torch with the graph of gradients. Tuples by part."""
    if isinstance(value, tuple):
        return tuple(own(part) for part in value)
    if isinstance(value, np.ndarray):
        return np.array(value, copy=True)
    copy = getattr(value, "clone", None) or getattr(value, "copy", None)
    return copy() if callable(copy) else value + 0.0


def plain(value: Any, what: str) -> None:
    """Refuse arrays whose arithmetic is another one.

    Raises:
        TypeError: a masked array, whose masked entries no step would move, or a ``numpy.matrix``, whose ``*`` is the matrix product.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what} is a masked array, and masked entries would stay behind: give a plain one, .filled(value) or .data")
    if isinstance(value, np.matrix):
        raise TypeError(f"{what} is a numpy.matrix, whose * is the matrix product: give a plain array, numpy.asarray of it")


def version(value: Any) -> int | None:
    """How often a tensor's memory was written to; None where torch does not count: under inference_mode, and in NumPy."""
    if not hasattr(value, "is_inference") or value.is_inference():
        return None
    counted: int = value._version
    return counted
