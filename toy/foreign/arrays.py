r"""Functions of other array libraries, JAX's first of all, as functions of NumPy arrays, so that these can be measured.

State and levels go in as its arrays; what the function asks the model comes out by ``__array__`` or dlpack, the answer goes back in.
Under ``jax.jit`` the model is asked by ``pure_callback``. Double precision is on for the time of a call whose state is double. A parameter
``key`` is handed a key of the run's seed, and ``jax.random.normal`` gives our draws, one for each key, alike in every precision: who uses a
key twice draws the same twice. Meanwhile nothing is compiled, for what is compiled keeps the draws of its first run.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any
from unittest import mock

import numpy as np

from scorebed.toy.foreign.candidate import parameters

Function = Callable[..., Any]


@dataclass(frozen=True)
class Arrays:
    """How an array library is spoken to.

    Attributes:
        put: NumPy → its array, of the same dtype.
        traced: whether a value is a symbol of a compiled function.
        ask: (function of NumPy arrays, its arrays) → its array of the same shape and dtype as the first, where these are symbols.
        double: a context in which its arrays may be float64.
        drawing: a context in which its standard normals are those of a NumPy generator.
        key: a seed → what its functions take as ``key``.
    """

    put: Function
    traced: Function
    ask: Function
    double: Function
    drawing: Function
    key: Function

    @staticmethod
    def take(value: Any) -> np.ndarray:
        """One of its arrays as NumPy's: through ``__array__``, or dlpack."""
        return np.array(value) if hasattr(value, "__array__") or not hasattr(value, "__dlpack__") else np.array(np.from_dlpack(value))


def bridged(function: Function, of: Arrays) -> Function:
    """The function with NumPy arrays at its outside.

    Args:
        function: (model or velocity, x, levels, …) of the library's arrays; ``key`` where it draws noise.
        of: how its library is spoken to.

    Returns:
        the function, which takes and gives NumPy arrays.
    """
    places = parameters(function)

    def run(model: Any, x: Any, nodes: Any, *more: Any, rng: Any = None, **options: Any) -> Any:
        def asked(y: Any, *where: Any) -> Any:
            def plain(y: Any, *where: Any) -> np.ndarray:
                y = of.take(y)
                return np.asarray(model(y, *(w if _ours(w) else of.take(w) for w in where))).astype(y.dtype)

            symbols = of.traced(y) or any(of.traced(w) for w in where)
            return of.ask(plain, y, *where) if symbols else of.put(plain(y, *where))

        with ExitStack() as stack:
            if x.dtype == np.float64:
                stack.enter_context(of.double())
            if rng is not None and "key" in places:
                stack.enter_context(of.drawing(rng))
                options["key"] = of.key(int(rng.integers(2**31)))
            levels = of.put(nodes) if isinstance(nodes, np.ndarray) else nodes
            return of.take(function(asked, of.put(x), levels, *more, **options))

    run.__name__ = str(getattr(function, "__name__", type(function).__name__))
    run.__wrapped__ = function  # type: ignore[attr-defined]
    taken = ["rng" if name == "key" else name for name in places]
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in taken]
    )
    return run


def _ours(value: Any) -> bool:
    """A node, or a plain number."""
    return hasattr(value, "alpha") or isinstance(value, float | int)


def arrays(name: str) -> Arrays:
    """How a library is spoken to by its name; "jax".

    Returns:
        how arrays go to the library and come back.

    Raises:
        ValueError: an unknown name.
    """
    if name != "jax":
        raise ValueError(f"library = {name!r} is not known: give 'numpy', 'torch' or 'jax'")
    jax = import_module("jax")

    def ask(plain: Function, y: Any, *where: Any) -> Any:
        return jax.pure_callback(plain, jax.ShapeDtypeStruct(y.shape, y.dtype), y, *where)

    @contextmanager
    def double() -> Iterator[None]:
        before = jax.config.jax_enable_x64
        jax.config.update("jax_enable_x64", True)
        try:
            yield
        finally:
            jax.config.update("jax_enable_x64", before)

    @contextmanager
    def drawing(rng: Any) -> Iterator[None]:
        drawn: dict[Any, Any] = {}

        def normal(key: Any, shape: Any = (), dtype: Any = float, **_: Any) -> Any:
            address = (np.asarray(jax.random.key_data(key)).tobytes(), tuple(shape))
            if address not in drawn:
                drawn[address] = rng.standard_normal(tuple(shape))
            return jax.numpy.asarray(drawn[address], dtype=dtype)

        with jax.disable_jit(), mock.patch.object(jax.random, "normal", normal):
            yield

    return Arrays(
        put=jax.numpy.asarray,
        traced=lambda value: isinstance(value, jax.core.Tracer),
        ask=ask,
        double=double,
        drawing=drawing,
        key=jax.random.key,
    )
