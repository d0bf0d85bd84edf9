"""Mutants: one source file with one small mistake in it, for each mistake that a person could make there.

- `mutants(module, source)` lists them in the order of the file; `Mutant.code()` compiles one. Nothing is written.
- A mutant is named by the module, the text of its line and the change; the name outlives edits of other lines. The
  second of the same name ends in `#2`.
- Left alone: annotations, decorators, base classes, docstrings, imports, asserts (they speak to the type checker), type
  aliases, `__all__`, and what a `raise` says. The `raise` itself is removed.

    for mutant in mutants("lease", source): exec(mutant.code(), namespace)
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from tests.mutation.operators import OPERATORS

_SKIPPED: dict[type[ast.AST], set[str]] = {
    ast.FunctionDef: {"decorator_list", "returns", "name"},
    ast.ClassDef: {"decorator_list", "bases", "keywords"},
    ast.AnnAssign: {"annotation", "target"},
    ast.arg: {"annotation"},
    ast.Raise: {"exc", "cause"},
    ast.Assert: {"test", "msg"},
    ast.ExceptHandler: {"type"},
    ast.JoinedStr: {"values"},
    ast.MatchValue: {"value"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One mistake: which module, the stripped text of its line, and `operator: before -> after`."""

    module: str
    number: int
    line: str
    change: str
    tree: ast.Module
    parent: ast.AST
    field: str
    index: int | None
    replacement: ast.AST

    @property
    def name(self) -> tuple[str, str, str]:
        """What it is known by."""
        return self.module, self.line, self.change

    def code(self, path: Path) -> CodeType:
        """The whole module with this mistake, compiled as if it stood at `path`."""
        before = self._put(self.replacement)
        try:
            return compile(ast.fix_missing_locations(self.tree), str(path), "exec")
        finally:
            self._put(before)

    def _put(self, node: ast.AST) -> ast.AST:
        if self.index is None:
            before: ast.AST = getattr(self.parent, self.field)
            setattr(self.parent, self.field, node)
            return before
        siblings: list[ast.AST] = getattr(self.parent, self.field)
        before, siblings[self.index] = siblings[self.index], node
        return before


def mutants(module: str, source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    lines = source.splitlines()
    seen: Counter[tuple[str, str]] = Counter()
    found = []
    for parent, field, index, node in sorted(_sites(tree, top=True), key=lambda site: _place(site[3])):
        for operator, change in OPERATORS.items():
            for replacement in change(node, parent, field):
                number = _place(node)[0]
                text = lines[number - 1].strip()
                says = f"{operator}: {_short(node)} -> {_short(replacement)}"
                seen[text, says] += 1
                if seen[text, says] > 1:
                    says += f" #{seen[text, says]}"
                ast.copy_location(replacement, node)
                found.append(
                    Mutant(
                        module=module,
                        number=number,
                        line=text,
                        change=says,
                        tree=tree,
                        parent=parent,
                        field=field,
                        index=index,
                        replacement=replacement,
                    )
                )
    return found


def _sites(parent: ast.AST, *, top: bool = False) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    for field, value in ast.iter_fields(parent):
        if field in _SKIPPED.get(type(parent), ()):
            continue
        children = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
        for index, node in children:
            if not isinstance(node, ast.AST) or _is_declaration(node, top):
                continue
            yield parent, field, index, node
            yield from _sites(node)


def _is_declaration(node: ast.AST, top: bool) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Import | ast.ImportFrom):
        return True
    if not top or not isinstance(node, ast.Assign):
        return False
    called = node.value.func if isinstance(node.value, ast.Call) else None
    named = isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    is_type = isinstance(called, ast.Name) and called.id == "TypeVar"
    return named or is_type or _is_alias(node.value)


def _is_alias(value: ast.expr) -> bool:
    if isinstance(value, ast.Subscript):
        return True
    return isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


def _short(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 90 else f"{text[:60]} ... {text[-25:]}"
