"""The profile gate: what a policy must not be written with, told from its parsed form, before any engine runs it.

- Both engines answer alike only within the profile (`policy/profile.json`), so the gate is closed by default: a kind
  of expression, an operator or a built-in that the profile does not list is refused, where it stands.
- Refused as well, since engines differ on them or they hide what a rule reads: `with`, floats, integers beyond 64
  bits, an import of anything but packages and the tables, a name that is an import's and another thing's, a reference
  into `data` that is not written out, and recursion.
- Tests (`_test.rego`) are for OPA alone and do not pass here.

    for found in gate.refusals({"acme/overlay.rego": text}):
        print(found)                    # acme/overlay.rego:7:3: http.send is not in the profile
    gate.check(rules)                   # raises FieldInvalid with the first of them
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

import regorus

from carnet.core import limits
from carnet.core.errors import FieldInvalid

policy_bytes_max: Final = 256 * limits.KIB
nesting_max: Final = 32

_PROFILE: Final = json.loads((Path(__file__).parent / "profile.json").read_bytes())
_BUILTINS: Final = frozenset(_PROFILE["builtins"])
_SYNTAX: Final = frozenset(_PROFILE["syntax"])
_REFERENCES: Final = frozenset({"Var", "RefDot", "RefBrack"})
_TABLES: Final = ("data", "carnet", "tables")

Node = dict[str, Any]
Name = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Refusal:
    """What is refused, and where: a path, a line and a column from 1."""

    path: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.text}"


def check(rules: Mapping[str, bytes]) -> None:
    """Pass rules (path -> text) that are loaded together, or raise `FieldInvalid` with the first refusal."""
    for found in refusals(rules):
        raise FieldInvalid(str(found), metadata={"field": found.path})


def refusals(rules: Mapping[str, bytes]) -> tuple[Refusal, ...]:
    """Everything that is refused, by path and line. A file that does not parse is one refusal."""
    modules: list[_Module] = []
    found: set[Refusal] = set()
    for path, text in sorted(rules.items()):
        parsed = _parsed(path, text)
        if isinstance(parsed, Refusal):
            found.add(parsed)
        else:
            modules.append(parsed)
    packages: dict[Name, set[str]] = {}
    for module in modules:
        packages.setdefault(module.package, set()).update(_first(_head(rule)) for rule in module.rules)
    reads: dict[Name, set[Name]] = {}
    for module in modules:
        visit = _Visit(module=module, packages=packages, reads=reads)
        visit.run()
        found |= visit.found
    for module in modules:
        for rule in module.rules:
            name = (*module.package, _first(_head(rule)))
            if name in _reached(reads, name):
                found.add(_refusal(module.path, rule, f"{'.'.join(name)} depends on itself"))
    return tuple(sorted(found))


def without_imports(path: str, text: bytes) -> bytes:
    """The same policy with every imported package named by its whole path, line by line. Raises `FieldInvalid`."""
    module = _parsed(path, text)
    if isinstance(module, Refusal):
        raise FieldInvalid(str(module), metadata={"field": path})
    edits = {(span_of(imported)["start"], span_of(imported)["end"]): b"" for imported in module.imports}
    for node in _variables(module.rules):
        if node["value"] in module.names:
            span = node["span"]
            edits[span["start"], span["end"]] = ".".join(("data", *module.names[node["value"]])).encode()
    for (start, end), instead in sorted(edits.items(), reverse=True):
        text = text[:start] + instead + text[end:]
    return text


def check_compiles(rules: Mapping[str, bytes]) -> None:
    """Have the engine put rules together as it does before an answer. Raises `FieldInvalid` where it does not."""
    try:
        engine = regorus.Engine()
        engine.set_rego_v0(False)
        for path, text in rules.items():
            engine.add_policy(path, without_imports(path, text).decode())
        engine.eval_query_as_json("true")
    except FieldInvalid:
        raise
    except BaseException as error:  # noqa: BLE001  # a panic of the engine is no Exception
        lines = [line.strip() for line in str(error).splitlines()]
        place = next((line.removeprefix("--> ") for line in lines if line.startswith("--> ")), "policy")
        raise FieldInvalid(f"{place}: {_complaint(error)}", metadata={"field": place.split(":")[0]}) from None


def package_of(path: str, text: bytes) -> Name:
    """The package of a policy or of a test, without `data`. Raises `FieldInvalid`."""
    module = _read(path, text)
    if isinstance(module, Refusal):
        raise FieldInvalid(str(module), metadata={"field": path})
    return module.package


def tables_read(path: str, text: bytes) -> set[str]:
    """The tables that a policy names, by whatever name it imports them. Raises `FieldInvalid`."""
    whole = parsed_rules(path, without_imports(path, text))
    named = {_written({kind: node})[:4] for kind, node in nodes(whole) if kind in _REFERENCES}
    return {name[3] for name in named if name[:3] == _TABLES and len(name) == 4}


def parsed_rules(path: str, text: bytes) -> list[Node]:
    """The rules of a policy, parsed. Raises `FieldInvalid`."""
    module = _parsed(path, text)
    if isinstance(module, Refusal):
        raise FieldInvalid(str(module), metadata={"field": path})
    return module.rules


def rule_name(rule: Node) -> str:
    """The name of a rule, with the keys that are written out."""
    return ".".join(_written(_head(rule)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    path: str
    package: Name
    imports: list[Node]
    names: dict[str, Name]  # what imports are called here -> the package
    rules: list[Node]


@dataclass(slots=True, kw_only=True)
class _Visit:
    """A walk over one module: what is refused in it, and which rules each of its rules reads."""

    module: _Module
    packages: dict[Name, set[str]]
    reads: dict[Name, set[Name]]
    found: set[Refusal] = field(default_factory=set)

    def run(self) -> None:
        for imported in self.module.imports:
            name = _written(imported["refr"])
            if name != _TABLES and name[1:] not in self.packages:
                self._refuse(imported, "what is imported is neither a package nor data.carnet.tables")
        for rule in self.module.rules:
            self._rule(rule)

    def _rule(self, rule: Node) -> None:
        bound = {node["value"]: node for node in _bound(rule)}
        if _first(_head(rule)) in self.module.names:
            self._refuse(rule, f"the rule {_first(_head(rule))} bears the name of an import")
        for name in bound.keys() & self.module.names.keys():
            self._refuse(bound[name], f"the variable {name} bears the name of an import")
        reads = self.reads.setdefault((*self.module.package, _first(_head(rule))), set())
        for kind, node in nodes(_inside(rule)):
            if kind not in _REFERENCES and kind != "Call":
                self._expression(kind, node)
                continue
            name = _written(node["fcn"] if kind == "Call" else {kind: node})
            if name and name[0] not in bound:
                rule_read = self._resolved(name)
                reads |= {rule_read} if rule_read else set()
                self._named(name, kind, node, is_rule=rule_read is not None)

    def _named(self, name: Name, kind: str, node: Node, *, is_rule: bool) -> None:
        if kind == "Call" and not is_rule and ".".join(name) not in _BUILTINS:
            self._refuse(node, f"{'.'.join(name)} is not in the profile")
        if kind != "Call" and name[0] == "data" and not is_rule and not (name[:3] == _TABLES and len(name) > 3):
            self._refuse(node, "a reference into data is written out, as far as the table or the rule")

    def _expression(self, kind: str, node: Node) -> None:
        word = f"{kind}.{node['op']}" if "op" in node and kind != "Default" else kind
        if word not in _SYNTAX:
            self._refuse(node, f"{word} is not in the profile")
        if kind == "Membership" and node["key"] is not None:
            self._refuse(node, "a member with its key is not in the profile")
        if kind == "Number" and (type(node["value"]) is not int or not -(2**63) <= node["value"] < 2**63):
            self._refuse(node, "a number is no integer of 64 bits")

    def _resolved(self, name: Name) -> Name | None:
        """The rule that a reference reads, by its whole name; None where it reads none."""
        if name[0] in self.packages[self.module.package]:
            return (*self.module.package, name[0])
        whole = (*self.module.names[name[0]], *name[1:]) if name[0] in self.module.names else name[1:]
        if name[0] != "data" and name[0] not in self.module.names:
            return None
        for length in range(len(whole) - 1, 0, -1):
            if whole[length] in self.packages.get(whole[:length], ()):
                return whole[: length + 1]
        return None

    def _refuse(self, node: Node, text: str) -> None:
        self.found.add(_refusal(self.module.path, node, text))


def _parsed(path: str, text: bytes) -> _Module | Refusal:
    if PurePosixPath(path).name.endswith("_test.rego"):
        return _refusal(path, {}, "a test is no policy")
    return _read(path, text)


def _read(path: str, text: bytes) -> _Module | Refusal:
    nowhere: Node = {}
    if len(text) > policy_bytes_max:
        return _refusal(path, nowhere, f"a policy has at most {policy_bytes_max} bytes")
    if _nesting(text) > nesting_max:
        return _refusal(path, nowhere, f"brackets are nested deeper than {nesting_max}")
    try:
        engine = regorus.Engine()
        engine.set_rego_v0(False)
        engine.add_policy(path, text.decode())
        [parsed] = json.loads(engine.get_ast_as_json())
    except UnicodeDecodeError:
        return _refusal(path, nowhere, "the text is not UTF-8")
    except BaseException as error:  # noqa: BLE001  # a panic of the parser is no Exception
        return _refusal(path, nowhere, f"does not parse: {_complaint(error)}")
    tree = _with_names(parsed["ast"], text)
    names = {}
    for imported in tree["imports"]:
        whole = _written(imported["refr"])
        names[imported["as"]["Var"]["value"] if "as" in imported else whole[-1]] = whole[1:]
    return _Module(
        path=path,
        package=_written(tree["package"]["refr"]),
        imports=tree["imports"],
        names=names,
        rules=tree["rules"],
    )


def _with_names(node: Any, text: bytes) -> Any:
    """The tree with every name a `Var`: the parser gives those of `some x`, `every` and `as` as bare places."""
    if isinstance(node, list):
        return [_with_names(item, text) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"line", "col", "start", "end"}:
        return {"Var": {"value": text[node["start"] : node["end"]].decode(), "span": node}}
    return {key: value if key in {"span", "field"} else _with_names(value, text) for key, value in node.items()}


def nodes(tree: Any) -> Iterator[tuple[str, Node]]:
    """Every expression in a tree as (kind, node); of a reference the whole, not its parts, then its indices."""
    waiting = [tree]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
        elif isinstance(item, dict):
            for key, value in item.items():
                if key in _REFERENCES:
                    yield key, value
                    waiting += [part["index"] for kind, part in _parts({key: value}) if kind == "RefBrack"]
                    waiting += [{kind: part} for kind, part in _parts({key: value}) if kind not in _REFERENCES]
                elif key == "Call":
                    yield key, value
                    waiting.append(value["params"])
                elif key not in {"span", "field"}:
                    if key[:1].isupper():
                        yield key, value
                    if key == "with_mods":
                        yield from (("With", modifier) for modifier in value)
                    waiting.append(value)


def _variables(tree: Any) -> Iterator[Node]:
    """Every name in a tree, also as the root of a longer reference."""
    if isinstance(tree, list):
        for item in tree:
            yield from _variables(item)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == "Var":
                yield value
            elif key not in {"span", "field"}:
                yield from _variables(value)


def _inside(rule: Node) -> Node:
    """A rule without its own name and parameters."""
    [(kind, body)] = rule.items()
    if kind == "Default":
        return {kind: {"op": body["op"], "span": body["span"], "value": body["value"]}}
    [(shape, head)] = body["head"].items()
    kept = {key: value for key, value in head.items() if key not in {"refr", "args"}}
    keys = [part["index"] for part_kind, part in _parts(head["refr"]) if part_kind == "RefBrack"]
    return {kind: {**body, "head": {shape: kept}, "keys": keys}}


def _head(rule: Node) -> Node:
    [(kind, body)] = rule.items()
    head: Node = body if kind == "Default" else next(iter(body["head"].values()))
    found: Node = head["refr"]
    return found


def _bound(rule: Node) -> Iterator[Node]:
    """The variables that a rule brings: parameters, `some`, `every`, and what is assigned."""
    [(kind, body)] = rule.items()
    brought = [body["head"]["Func"]["args"]] if kind == "Spec" and "Func" in body["head"] else []
    for found, node in nodes(_inside(rule)):
        if found in {"SomeIn", "Every"}:
            brought += [node["key"], node["value"]]
        elif found == "SomeVars":
            brought.append(node["vars"])
        elif found == "AssignExpr":
            brought.append(node["lhs"])
    for found, node in nodes(brought):
        if found == "Var":
            yield node


def _parts(expression: Node) -> Iterator[tuple[str, Node]]:
    [(kind, node)] = expression.items()
    while kind in {"RefDot", "RefBrack"}:
        yield kind, node
        [(kind, node)] = node["refr"].items()
    yield kind, node


def _written(expression: Node) -> Name:
    """What of a reference is written out, from its root: nothing where the root is no name."""
    found: list[str] = []
    for kind, node in reversed(list(_parts(expression))):
        if kind == "Var":
            found.append(node["value"])
        elif kind == "RefDot" and found:
            found.append(node["field"][1])
        elif kind == "RefBrack" and found and "String" in node["index"]:
            found.append(node["index"]["String"]["value"])
        else:
            break
    return tuple(found)


def _first(expression: Node) -> str:
    return _written(expression)[0]


def _reached(reads: dict[Name, set[Name]], start: Name) -> set[Name]:
    found: set[Name] = set()
    waiting = list(reads.get(start, ()))
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += reads.get(name, ())
    return found


def _nesting(text: bytes) -> int:
    depth = deepest = 0
    for byte in text:
        depth += (byte in b"([{") - (byte in b")]}")
        deepest = max(deepest, depth)
    return deepest


def _refusal(path: str, node: Node, text: str) -> Refusal:
    span = span_of(node)
    return Refusal(path=path, line=span.get("line", 1), column=span.get("col", 1), text=text)


def span_of(node: Node) -> Node:
    """Where a node stands: `line` and `col` from 1, `start` and `end` in bytes. Nothing for a node without a place."""
    [*_, last] = [node, *(value for value in node.values() if isinstance(value, dict) and "span" in value)]
    found: Node = last.get("span", {})
    return found


def _complaint(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line.startswith("error")), type(error).__name__)
