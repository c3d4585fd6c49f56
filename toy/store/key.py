"""A digest of everything that determines a row: values, objects by what they hold, functions by what they do.

A function or class of this house counts with the source of its file and of all that the file uses (``code``). Any other function counts by
its compiled body, its defaults, what it has closed over, and the globals that it names. So a method that is changed has other rows, and a
comment changes nothing.
"""

from __future__ import annotations

import enum
import hashlib
import pickle
import secrets
import sys
import sysconfig
import types
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from scorebed.toy.store import code

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def key(**parts: Any) -> str:
    """The key of what ``parts`` determine: 32 hexadecimal digits.

    Returns:
        the key, 32 hexadecimal digits.

    Raises:
        TypeError: a part of which nothing can be told but its address.
    """
    return _Digest().add(parts).text()


def keyed(study: str, **parts: Any) -> tuple[str, str]:
    """The key of what ``parts`` determine and the study to keep it under; where there is none, one of its own, and no study."""
    try:
        return key(**parts), study
    except TypeError:
        return f"once {secrets.token_hex(16)}", ""


class _Digest:
    """A running hash of nested values."""

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self.seen: dict[int, int] = {}
        self.held: list[Any] = []  # what was seen stays alive, or another object could take its address

    def text(self) -> str:
        return self.hash.hexdigest()[:32]

    def write(self, *words: str) -> None:
        for word in words:
            data = word.encode()
            self.hash.update(f"{len(data)}:".encode() + data)

    def add(self, value: Any) -> _Digest:
        """Take in a value."""
        if value is None or isinstance(value, bool | str | bytes | complex | Path | types.EllipsisType):
            self.write(type(value).__name__, str(value) if isinstance(value, Path) else repr(value))
        elif isinstance(value, enum.Enum):
            self.write("enum", f"{type(value).__qualname__}.{value.name}")
        elif isinstance(value, int | np.integer):
            self.write("int", str(int(value)))
        elif isinstance(value, float) and type(value) is float:
            self.write("float", value.hex())
        elif id(value) in self.seen:
            self.write("again", str(self.seen[id(value)]))
        else:
            self.seen[id(value)] = len(self.seen)
            self.held.append(value)
            self._compound(value)
        return self

    def _compound(self, value: Any) -> None:
        if isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value))
        elif isinstance(value, tuple | list):
            self.write(type(value).__name__, str(len(value)))
            for item in value:
                self.add(item)
        elif isinstance(value, Mapping):
            self.write("mapping", str(len(value)))
            for name, item in sorted(value.items(), key=lambda pair: repr(pair[0])):
                self.add(name).add(item)
        elif isinstance(value, Set):
            self.write("set", *sorted(key(item=item) for item in value))
        elif isinstance(value, partial):
            self.write("partial")
            self.add(value.func).add(value.args).add(value.keywords)
        elif isinstance(value, types.MethodType):
            self.write("method")
            self.add(value.__func__).add(value.__self__)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.ModuleType | types.BuiltinFunctionType | np.ufunc):
            self.write("named", getattr(value, "__module__", None) or "", getattr(value, "__qualname__", value.__name__))
        elif isinstance(value, type):
            self._type(value)
        else:
            self._object(value)

    def _array(self, array: np.ndarray) -> None:
        self.write("array", array.dtype.str, str(array.shape))
        if array.dtype.hasobject:
            self.add(array.tolist())
        else:
            self.hash.update(np.ascontiguousarray(array).tobytes())

    def _of_the_house(self, module: str | None) -> bool:
        """Take in the code of a module of this house; False where it is none."""
        if module is None or module.split(".")[0] != code.HOUSE or code.module(module) is None:
            return False
        self.write("code", code.digest(module))
        return True

    def _installed(self, module: str | None) -> bool:
        """Take in the version of a module that was installed, or is Python's own; False where it is the user's."""
        top = sys.modules.get((module or "").split(".")[0])
        file = getattr(top, "__file__", None)
        if top is None or top.__name__ == "__main__" or not (file is None or file.startswith(_INSTALLED)):
            return False
        self.write("installed", module or "", str(getattr(top, "__version__", "")))
        return True

    def _function(self, function: types.FunctionType) -> None:
        self.write("function", function.__qualname__)
        house = self._of_the_house(function.__module__)
        named = "<locals>" not in function.__qualname__ and "<lambda>" not in function.__qualname__
        if named and (house or self._installed(function.__module__)):
            return
        body = function.__code__
        self.hash.update(code.computes(body))
        self.add(function.__defaults__).add(function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not yet filled
                self.write("empty")
        if not house:
            for name in sorted(_names(body) & function.__globals__.keys()):
                self.write(name)
                self.add(function.__globals__[name])

    def _type(self, kind: type) -> None:
        self.write("type", kind.__module__, kind.__qualname__)
        if not self._of_the_house(kind.__module__) and not self._installed(kind.__module__):
            for name, item in sorted(vars(kind).items()):
                if isinstance(item, types.FunctionType):
                    self.write(name)
                    self.add(item)

    def _object(self, value: Any) -> None:
        kind = type(value)
        self.add(kind)
        if is_dataclass(value):
            for field in fields(value):
                self.write(field.name)
                self.add(getattr(value, field.name))
            return
        if _plain(kind):
            cached = {name for base in kind.__mro__ for name, item in vars(base).items() if isinstance(item, cached_property)}
            self.add({name: item for name, item in vars(value).items() if name not in cached})
            return
        try:
            self.hash.update(pickle.dumps(value, protocol=4))
        except Exception as refused:
            raise TypeError(f"{value!r} is of a kind that has no key: give it as a dataclass, an array or a function") from refused


def _plain(kind: type) -> bool:
    """Whether an object of this class is what its ``__dict__`` says: a Python class that pickles in the usual way."""
    own = {"__reduce__", "__reduce_ex__"} & {name for base in kind.__mro__ if base is not object for name in vars(base)}
    return not own and all(base is object or ("__dict__" in dir(base) and _python(base)) for base in kind.__mro__)


def _python(kind: type) -> bool:
    return bool(kind.__flags__ & 1 << 9)  # made at run time by ``class``, not by a compiled module


def _names(body: types.CodeType) -> set[str]:
    """The globals that a body and the bodies in it name."""
    inner = [c for c in body.co_consts if isinstance(c, types.CodeType)]
    return set(body.co_names).union(*map(_names, inner))
