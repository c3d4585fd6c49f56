"""Mutants of the methods that move in a Space: every coefficient in their source off by 1 %, one at a time, and tested.

``mutants`` tampers with arrays, which the geometry of a space does not admit. Here it is the source: every literal number that is not 0 in
the body of a function (an exact fraction counts as one) is multiplied by 1.01, and so is every product that has none, which is a
coefficient times a vector mostly; the modules of the family are executed again with it, in memory and outside the registry. A mutant is
killed when a property breaks for a method that it changes.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

from scorebed import solvers
from scorebed.solvers import SOLVERS, NonFinite, Solver
from scorebed.toy.properties import PROPERTIES

MODULES = ("riemannian", "riemannian_sde", "riemannian_lie", "riemannian_rk", "riemannian_retraction", "reflected", "reflected_second")
"""In the order in which they import each other."""
ASKED = (
    "space_increments",
    "space_local_order",
    "space_order",
    "space_transition_order",
    "space_weak_order",
    "space_stays",
    "space_batch",
    "space_flat",
    "space_options",
)
_OFF = 1.01


@dataclass(frozen=True)
class SourceMutant:
    """One literal or product of one module, scaled."""

    module: str
    function: str
    line: int
    literal: str


class _Scale(ast.NodeTransformer):
    """Counts the literals and products of function bodies and scales the ``wrong``-th."""

    def __init__(self, wrong: int) -> None:
        self.wrong, self.found, self.inside = wrong, list[tuple[str, int, str]](), list[str]()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.inside.append(node.name)
        node.body = [self.visit(statement) for statement in node.body]  # not its decorators and defaults, which are claims and options
        self.inside.pop()
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return node  # what is refused, and how

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node

    def _scaled(self, node: ast.expr) -> ast.AST:
        self.found.append((self.inside[0], node.lineno, ast.unparse(node)))
        if len(self.found) - 1 != self.wrong:
            return node
        return ast.copy_location(ast.BinOp(node, ast.Mult(), ast.Constant(_OFF)), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left = node.left.operand if isinstance(node.left, ast.UnaryOp) else node.left
        fraction = isinstance(node.op, ast.Div) and isinstance(left, ast.Constant) and isinstance(node.right, ast.Constant)
        if self.inside and fraction:
            return self._scaled(node)
        plain = isinstance(node.op, ast.Mult | ast.Div) and not any(map(_literal, (node.left, node.right)))
        done = self.generic_visit(node)
        return self._scaled(node) if self.inside and plain else done

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self._scaled(node) if self.inside and type(node.value) is float and node.value != 0.0 else node


def _literal(node: ast.expr) -> bool:
    """Whether the factor is a number, or begins with one, so that its literal stands for the product."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        node = node.left
    return isinstance(node.operand if isinstance(node, ast.UnaryOp) else node, ast.Constant)


class _AfterClock(ast.NodeTransformer):
    """Writes a statement behind every ``gone, root = clock(s, t)``."""

    def __init__(self, statement: str) -> None:
        self.statement, self.written = statement, 0

    def visit_Assign(self, node: ast.Assign) -> ast.AST | list[ast.AST]:
        if ast.unparse(node) != "gone, root = clock(s, t)":
            return node
        self.written += 1
        return [node, *ast.parse(self.statement).body]


def _tree(module: str) -> ast.Module:
    return ast.parse((Path(solvers.__file__).parent / "methods" / f"{module}.py").read_text(encoding="utf-8"))


def mutants(module: str) -> list[SourceMutant]:
    """The literals and products of a module's functions."""
    scale = _Scale(-1)
    scale.visit(_tree(module))
    return [SourceMutant(module, *place) for place in scale.found]


def mutated(module: str, k: int) -> AbstractContextManager[dict[str, Solver]]:
    """The methods of the family with the k-th literal or product of ``module`` scaled."""
    return rewritten(module, _Scale(k))


def with_statement(module: str, statement: str) -> AbstractContextManager[dict[str, Solver]]:
    """The methods of the family with a statement written into the bodies of ``module``, where they have h/σ² and √h: ``gone``, ``root``."""
    return rewritten(module, _AfterClock(statement))


@contextmanager
def rewritten(module: str, change: ast.NodeTransformer) -> Iterator[dict[str, Solver]]:
    """The methods of the family with the source of ``module`` changed; the registry and the modules are put back afterwards."""
    names = [f"scorebed.solvers.methods.{name}" for name in MODULES]
    registry, kept = dict(SOLVERS), {name: sys.modules[name] for name in names}
    try:
        for name in [name for name, method in SOLVERS.items() if method.spaces]:
            del SOLVERS[name]
        for short, name in zip(MODULES, names, strict=True):
            tree = _tree(short)
            if short == module:
                tree = ast.fix_missing_locations(change.visit(tree))
            sys.modules[name] = made = ModuleType(name)
            exec(compile(tree, f"<{name}, changed>", "exec"), made.__dict__)
        yield {name: method for name, method in SOLVERS.items() if method.spaces}
    finally:
        sys.modules.update(kept)
        SOLVERS.clear()
        SOLVERS.update(registry)


def killer(module: str, k: int, names: list[str] | None = None) -> str | None:
    """The first property that a method of the mutant breaks, of these if ``names`` are given, as ``property: method``, or None.

    Methods of the mutant's own module are asked everything, then the others, which may use its functions, what costs little.

    Returns:
        ``property: method`` of the first broken property, or None.
    """
    with mutated(module, k) as methods:
        asked = {name: method for name, method in methods.items() if names is None or name in names}
        own = {name: method for name, method in asked.items() if method.step.__module__ == f"scorebed.solvers.methods.{module}"}
        others = {name: method for name, method in asked.items() if name not in own}
        for group, questions in ((own, ASKED), (others, ASKED[:3])):
            for question, (name, method) in product(questions, group.items()):
                if PROPERTIES[question].exempt(method) is None:
                    try:
                        PROPERTIES[question](method)
                    except (AssertionError, NonFinite, ValueError, RuntimeWarning):
                        return f"{question}: {name}"
    return None


_ROTATION = "two independent normals, turned by any angle, are two independent normals"
EXPLAINED = {
    ("riemannian", "carrying"): (1, "the normal score, which is carried back through a wall, is almost 0 there"),
    ("riemannian_lie", "dexpinv"): (1, "1 % of the double bracket is too little to show in the order at these steps"),
    ("reflected", "penalised_euler"): (1, "a strength 1 % larger is another penalised method"),
    ("reflected_second", "reflected_pc"): (3, "a corrector's step of another length, with noise to match, is another corrector"),
    ("reflected_second", "_pair"): (4, _ROTATION),
}
"""How many mutants of a function survive the properties, and why."""


def main(modules: list[str] | None = None, show: Callable[..., Any] | None = None) -> int:
    """Print what kills each mutant, show a table by function; the exit status is 1 if more of a function survive than are explained."""
    from rich.console import Console
    from rich.table import Table

    total, survivors, counts = 0, Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for module in modules or MODULES:
        for k, mutant in enumerate(mutants(module)):
            by, total = killer(module, k), total + 1
            survivors[module, mutant.function] += by is None
            counts[module, mutant.function] += 1
            print(f"{module}:{mutant.line} {mutant.function}  {mutant.literal}  {by or 'SURVIVES'}", flush=True)
    table = Table("module", "function", "mutants", "killed", box=None)
    for place, n in counts.items():
        table.add_row(*place, str(n), str(n - survivors[place]))
    (show or Console().print)(table)
    for place, n in (+survivors).items():
        most, why = EXPLAINED.get(place, (0, "NOT EXPLAINED"))
        print(f"{'.'.join(place)}: {n} survivors, {most} explained: {why}")
    print(f"{total - survivors.total()} of {total} mutants killed")
    return int(any(n > EXPLAINED.get(place, (0, ""))[0] for place, n in survivors.items()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
