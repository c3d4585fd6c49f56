"""Mutants of the methods that move in a Space: every coefficient in their source off by 1 %, one at a time, and tested.

``mutants`` tampers with arrays, which the geometry of a space does not admit. Here it is the source: every literal number that is not 0 in
the body of a function (an exact fraction counts as one) is multiplied by 1.01, and the modules of the family are executed again with it, in
memory and outside the registry. A mutant is killed when a property breaks for a method that it changes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from scorebed import solvers
from scorebed.solvers import SOLVERS, NonFinite, Solver
from scorebed.toy.properties import PROPERTIES

MODULES = ("riemannian", "riemannian_sde", "riemannian_lie", "riemannian_rk", "riemannian_retraction", "reflected", "reflected_second")
"""In the order in which they import each other."""
ASKED = ("space_order", "space_transition_order", "space_weak_order", "space_stays", "space_batch", "space_flat", "space_options")
_OFF = 1.01


@dataclass(frozen=True)
class SourceMutant:
    """One literal of one module, scaled."""

    module: str
    line: int
    literal: str


class _Scale(ast.NodeTransformer):
    """Counts the literals of function bodies and scales the ``wrong``-th."""

    def __init__(self, wrong: int) -> None:
        self.wrong, self.found, self.inside = wrong, list[tuple[int, str]](), 0

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.inside += 1
        node.body = [self.visit(statement) for statement in node.body]  # not its decorators and defaults, which are claims and options
        self.inside -= 1
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST:
        return node  # what is refused, and how

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        return node

    def _scaled(self, node: ast.expr) -> ast.AST:
        self.found.append((node.lineno, ast.unparse(node)))
        if len(self.found) - 1 != self.wrong:
            return node
        return ast.copy_location(ast.BinOp(node, ast.Mult(), ast.Constant(_OFF)), node)

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        left = node.left.operand if isinstance(node.left, ast.UnaryOp) else node.left
        fraction = isinstance(node.op, ast.Div) and isinstance(left, ast.Constant) and isinstance(node.right, ast.Constant)
        return self._scaled(node) if self.inside and fraction else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self._scaled(node) if self.inside and type(node.value) is float and node.value != 0.0 else node


def _tree(module: str) -> ast.Module:
    return ast.parse((Path(solvers.__file__).parent / "methods" / f"{module}.py").read_text(encoding="utf-8"))


def mutants(module: str) -> list[SourceMutant]:
    """The literals of a module's functions."""
    scale = _Scale(-1)
    scale.visit(_tree(module))
    return [SourceMutant(module, line, literal) for line, literal in scale.found]


@contextmanager
def mutated(module: str, k: int) -> Iterator[dict[str, Solver]]:
    """The methods of the family with the k-th literal of ``module`` scaled; the registry and the modules are put back afterwards."""
    names = [f"scorebed.solvers.methods.{name}" for name in MODULES]
    registry, kept = dict(SOLVERS), {name: sys.modules[name] for name in names}
    try:
        for name in [name for name, method in SOLVERS.items() if method.spaces]:
            del SOLVERS[name]
        for short, name in zip(MODULES, names, strict=True):
            tree = _tree(short)
            if short == module:
                tree = ast.fix_missing_locations(_Scale(k).visit(tree))
            sys.modules[name] = made = ModuleType(name)
            exec(compile(tree, f"<{name}, literal {k} off>", "exec"), made.__dict__)
        yield {name: method for name, method in SOLVERS.items() if method.spaces}
    finally:
        sys.modules.update(kept)
        SOLVERS.clear()
        SOLVERS.update(registry)


def killer(module: str, k: int, names: list[str] | None = None) -> str | None:
    """The first property that a method of the mutant breaks, of these if ``names`` are given, as ``property: method``, or None."""
    with mutated(module, k) as methods:
        own = {
            name: method for name, method in methods.items() if method.step.__module__ == f"scorebed.solvers.methods.{module}"
        } or methods
        own = {name: method for name, method in own.items() if names is None or name in names}
        for asked in ASKED:
            for name, method in own.items():
                if PROPERTIES[asked].exempt(method) is None:
                    try:
                        PROPERTIES[asked](method)
                    except (AssertionError, NonFinite, ValueError, RuntimeWarning):
                        return f"{asked}: {name}"
    return None


def main(modules: list[str] | None = None) -> int:
    """Print what kills each mutant; the exit status is the number of survivors."""
    survivors = 0
    for module in modules or MODULES:
        for k, mutant in enumerate(mutants(module)):
            by = killer(module, k)
            survivors += by is None
            print(f"{module}:{mutant.line}  {mutant.literal:<8} {by or 'SURVIVES'}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
