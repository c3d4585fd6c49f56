"""Which source files a result depends on: the modules that a module imports, directly or not, within this distribution.

``from package import name`` counts as the file that defines the name, so that a package which gathers many files does not make each of them
depend on all. What a file says in comments, docstrings and layout is not code.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

HOUSE = "scorebed"


@dataclass(frozen=True)
class Module:
    """A source file of the house.

    Attributes:
        uses: modules that its imports name; of ``from package import name`` the pair (package, name).
        raw, digest: hashes of its bytes, and of what of it computes.
    """

    name: str
    path: Path
    package: bool
    uses: tuple[tuple[str, str], ...]
    raw: str
    digest: str


@cache
def module(name: str) -> Module | None:
    """The module of that name as it stood when this process first asked; None where there is none, or it is not Python source."""
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        return None
    path = Path(found.origin)
    raw = path.read_bytes()
    tree = ast.parse(raw)
    uses = tuple(dict.fromkeys(_imports(tree)))
    return Module(name, path, path.name == "__init__.py", uses, _hash(raw), _hash(computes(compile(tree, name, "exec", optimize=2))))


def _hash(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:20]


def computes(code: CodeType) -> bytes:
    """What a code object does, without the lines it stands on; ``optimize=2`` has dropped the docstrings."""
    constants = [computes(c) if isinstance(c, CodeType) else repr(c).encode() for c in code.co_consts if not isinstance(c, frozenset)]
    constants += [repr(sorted(map(repr, c))).encode() for c in code.co_consts if isinstance(c, frozenset)]
    names = repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars, code.co_argcount, code.co_kwonlyargcount))
    return b"\0".join([code.co_code, code.co_exceptiontable, names.encode(), *constants])


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """(module, name) of every import that is run; the name is empty where the module itself is meant."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        for branch in tree.orelse:
            yield from _imports(branch)
        return
    if isinstance(tree, ast.Import):
        yield from ((alias.name, "") for alias in tree.names if alias.name.split(".")[0] == HOUSE)
    elif isinstance(tree, ast.ImportFrom) and tree.module is not None and tree.module.split(".")[0] == HOUSE:
        yield from ((tree.module, alias.name) for alias in tree.names)
    elif not isinstance(tree, ast.expr):
        for node in ast.iter_child_nodes(tree):
            yield from _imports(node)


@cache
def home(package: str, name: str) -> str:
    """The module that ``from package import name`` leads to: a file of the package, or where the package has the name from."""
    if module(f"{package}.{name}") is not None:
        return f"{package}.{name}"
    held = module(package)
    if held is None or not held.package:
        return package
    tree = ast.parse(held.path.read_bytes())
    for part in ast.walk(tree):
        if isinstance(part, ast.ImportFrom) and part.module is not None and part.module.split(".")[0] == HOUSE:
            for alias in part.names:
                if (alias.asname or alias.name) == name:
                    return home(part.module, alias.name)
    return package


@cache
def closure(*names: str) -> tuple[Module, ...]:
    """The modules of these names and all that they use, by name; of a package that is named, every file.

    Returns:
        the Modules, sorted by name.

    Raises:
        ValueError: a name that is no module of Python source.
    """
    todo, found = [], {}
    for name in names:
        held = module(name)
        if held is None:
            raise ValueError(f"{name!r} is no module with source: give names such as 'scorebed.toy.studies.study'")
        todo += [f"{name}.{path.stem}" for path in sorted(held.path.parent.glob("[!_]*.py"))] if held.package else [name]
    while todo:
        held = module(todo.pop())
        if held is None or held.name in found:
            continue
        found[held.name] = held
        todo += [home(used, what) if what else used for used, what in held.uses]
    return tuple(found[name] for name in sorted(found))


@cache
def digest(*names: str) -> str:
    """A digest of what computes in these modules and in all that they use."""
    return _hash("".join(f"{m.name} {m.digest}\n" for m in closure(*names)).encode())


def modules(*things: Any) -> tuple[str, ...]:
    """The modules of this house in which functions, or the classes of objects, are defined."""
    found = []
    for thing in things:
        while isinstance(thing, partial):
            thing = thing.func
        name = getattr(thing if isinstance(thing, FunctionType | type) else type(thing), "__module__", None)
        if name is not None and name.split(".")[0] == HOUSE and module(name) is not None:
            found.append(name)
    return tuple(dict.fromkeys(found))


def sources(*names: str) -> dict[str, str]:
    """The hash of the bytes of each of those files, to tell whether another process has the same."""
    return {m.name: m.raw for m in closure(*names)}
