"""What ``module:name`` and ``file.py:name`` stand for, in every command that takes somebody's own sampler or model."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def load(place: str, known: Mapping[str, Any] | None = None, what: str = "the name of a solver of ours") -> Any:
    """The object at a place, or that of a name in ``known``.

    Args:
        place: ``module:name`` with the working folder on the path, ``file.py:name`` with the file's neighbours on it, or a name.
        known, what: names that stand for themselves, and what they are called.

    Returns:
        the object at the place, or ``known[place]``.

    Raises:
        ValueError: nothing is there; the message says what was looked for and what there is.
    """
    module, colon, name = place.rpartition(":")
    if not colon:
        if known is not None and place in known:
            return known[place]
        raise ValueError(f"{place!r} is neither module:callable nor {what}: give e.g. mysampler:sample")
    try:
        if module.endswith(".py"):
            path = Path(module).resolve()
            spec = importlib.util.spec_from_file_location(path.stem, path)
            if spec is None or spec.loader is None or not path.exists():
                raise ValueError(f"there is no file {module}")
            made = importlib.util.module_from_spec(spec)
            sys.modules.setdefault(path.stem, made)
            sys.path.insert(0, str(path.parent))
            spec.loader.exec_module(made)
            _by_value(made)
        else:
            sys.path.insert(0, str(Path.cwd()))
            made = importlib.import_module(module)
    except ImportError as problem:
        raise ValueError(f"{module!r} cannot be imported: {problem}") from None
    thing: Any = made
    for part in name.split("."):
        if not hasattr(thing, part):
            callables = ", ".join(n for n in vars(made) if callable(getattr(made, n)) and not n.startswith("_"))
            raise ValueError(f"{module!r} has no {name!r}; it has {callables or 'nothing that can be called'}")
        thing = getattr(thing, part)
    return thing


def _by_value(module: Any) -> None:
    """What a file defines goes to other processes whole: they do not have the file on their path."""
    import cloudpickle

    if sys.modules.get(module.__name__) is module:
        cloudpickle.register_pickle_by_value(module)
