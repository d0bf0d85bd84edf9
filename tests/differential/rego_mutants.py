"""Mistakes made in our Rego on purpose, and whether its tests notice: one change a mutant, from the parsed policy.

A comparison the other way or off by one, a `not` gone, a union made an intersection, a difference not taken, a number
one greater, a truth turned, a member of a set gone, a condition gone, a clause gone. What does not compile is no
mutant. The tests of the mutant's own package are tried first, then all of them.

    for mutant in mutants(path, text):
        mutant.text
"""

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from policy import gate
from policy.bundle import Bundle, home
from policy.engines.environment import opa_environment

seconds_max: Final = 300.0

# How `opa test` ends where what it was given does not compile, and where a test fails.
_BROKEN, _FAILED = 1, 2

_FLIPPED: Final = {"Eq": "!=", "Ne": "==", "Lt": "<=", "Le": "<", "Gt": ">=", "Ge": ">"}
_SET: Final = {"Union": "&", "Intersection": "|"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one policy."""

    path: str
    line: int
    change: str
    text: bytes

    def name(self, original: bytes) -> tuple[str, str, str]:
        """How a list names it: by the file, the words of its line as it was, and the change."""
        return (self.path, original.decode().splitlines()[self.line - 1].strip(), self.change)


def mutants(path: str, text: bytes) -> Iterator[Mutant]:
    """Every mutant of a policy, in the order of its lines."""
    found = sorted(_edits(gate.parsed_rules(path, text), text), key=lambda edit: edit[:2])
    for start, end, instead, change in found:
        line = text.count(b"\n", 0, start) + 1
        yield Mutant(path=path, line=line, change=change, text=text[:start] + instead + text[end:])


class Trial:
    """Our rules, tests and data in a folder, where one policy at a time is another one."""

    def __init__(self, opa: Path) -> None:
        self._opa = opa
        self._home = tempfile.TemporaryDirectory(prefix="carnet-mutants-")
        folder = Path(self._home.name)
        self._rego = folder / "rego"
        bundle = Bundle.load()
        bundle.write(folder / "bundle")
        (folder / "data.json").write_bytes((folder / "bundle" / "data.json").read_bytes())
        for source in (home / "rego").rglob("*.rego"):
            target = self._rego / source.relative_to(home / "rego")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())

    def close(self) -> None:
        """Remove the folder."""
        self._home.cleanup()

    def noticed(self, mutant: Mutant) -> bool | None:
        """Whether a test fails; None where the mutant does not compile."""
        place = self._rego / mutant.path
        before = place.read_bytes()
        place.write_bytes(mutant.text)
        try:
            package = "data." + ".".join(Path(mutant.path).parent.parts)
            ended = self._run("--run", package) or self._run()
            # Killed, say, is no answer: nothing was noticed then, and nothing passed.
            assert ended in {0, _BROKEN, _FAILED}, f"opa test ended with {ended}"
            return None if ended == _BROKEN else ended == _FAILED
        finally:
            place.write_bytes(before)

    def _run(self, *arguments: str) -> int:
        # OPA's own limit, five seconds a test, would be a mistake noticed by nobody but a busy machine.
        limit = ("--timeout", f"{seconds_max:.0f}s")
        command = [self._opa, "test", self._rego, Path(self._home.name) / "data.json", *limit, *arguments]
        try:
            env = opa_environment(Path(self._home.name))
            return subprocess.run(command, env=env, capture_output=True, check=False, timeout=seconds_max).returncode
        except subprocess.TimeoutExpired:
            return _FAILED


Edit = tuple[int, int, bytes, str]


def _edits(rules: list[gate.Node], text: bytes) -> Iterator[Edit]:
    names = [gate.rule_name(rule) for rule in rules]
    for rule, name in zip(rules, names, strict=True):
        span = gate.span_of(rule)
        if names.count(name) > 1 and "Default" not in rule:
            yield span["start"], span["end"], b"", f"clause of {name} gone"
        for kind, node in gate.nodes(rule):
            yield from _expression(kind, node, text)
        for query in _queries(rule):
            yield from _conditions(query, text)


def _expression(kind: str, node: gate.Node, text: bytes) -> Iterator[Edit]:
    span = node.get("span", {})
    if kind in {"BoolExpr", "BinExpr", "ArithExpr"}:
        (_, left), (right, end) = _place(node["lhs"], text), _place(node["rhs"], text)
        sign = {**_FLIPPED, **_SET}.get(node["op"])
        if sign is None:
            yield left, end, b"", f"{node['op']} not taken"
        else:
            yield left, right, f" {sign} ".encode(), f"{node['op']} to {sign}"
    elif kind == "NotExpr":
        yield span["start"], _place(node["expr"], text)[0], b"", "not gone"
    elif kind == "Number":
        yield span["start"], span["end"], str(node["value"] + 1).encode(), f"{node['value']} to {node['value'] + 1}"
    elif kind == "Bool":
        yield span["start"], span["end"], str(not node["value"]).lower().encode(), f"{node['value']} turned"
    elif kind == "Set" and len(node.get("items", ())) > 1:
        items = [_place(item, text) for item in node["items"]]
        for i, (start, end) in enumerate(items):
            change = f"member {text[start:end].decode()} gone"
            yield (start, items[1][0], b"", change) if i == 0 else (items[i - 1][1], end, b"", change)


def _queries(tree: Any) -> Iterator[list[gate.Node]]:
    if isinstance(tree, list):
        for item in tree:
            yield from _queries(item)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == "stmts":
                yield value
            if key not in {"span", "field"}:
                yield from _queries(value)


def _conditions(statements: list[gate.Node], text: bytes) -> Iterator[Edit]:
    for statement in statements:
        [(kind, _)] = statement["literal"].items()
        start, end = _place(statement, text)
        if kind in {"Expr", "NotExpr", "Every"} and "AssignExpr" not in statement["literal"].get("Expr", {}).get(
            "expr", {}
        ):
            yield start, end, b"true", f"condition {' '.join(text[start:end].decode().split())[:60]} gone"


def _place(node: gate.Node, text: bytes) -> tuple[int, int]:
    # The parser's places leave the quotes of a string out, at its start and where an expression ends with one.
    span = gate.span_of(node)
    start = span["start"] - ("String" in node)
    return start, span["end"] + text.count(b'"', start, span["end"]) % 2
