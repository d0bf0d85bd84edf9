"""Overlay: an organisation's own rules. It can only add: blocks, warnings, duties and runner rules of its own.

- It is files: `overlay.rego`, more Rego, tests (`*_test.rego`), `messages.json`, `citations.json`, `cases.json`. Its
  package is `carnet.org.NAME` or below; what it exports stands in `carnet.org.NAME`.
- It exports `blocked`, `warned`, `obliged`, `passed` and `explained`, each under a rule's id that is written out, and
  `dates` and `rows`. A rule's id starts with `NAME-`, a message's with `NAME.`, a citation's with `C-NAME-`; each
  exported rule has METADATA as ours have, and explains itself. So it can not speak for a rule that is not its own.
- It reads its own rules, ours and the tables, and nothing of another overlay.
- `Overlay.read` needs no engine and none of our rules; `Bundle.with_overlays` checks the rest, beside ours.

    overlay = Overlay.read("klinikum", files)
    bundle = Bundle.load().with_overlays([overlay])
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carnet.core import limits
from carnet.core.document import Json, parse
from carnet.core.errors import FieldInvalid
from carnet.core.overlay import overlay_digest
from policy import gate, metadata
from policy.catalogue import place_of, row_of

files_max: Final = 64
file_bytes_max: Final = 256 * limits.KIB
overlay_bytes_max: Final = 1 * limits.MIB

BY_ID: Final = ("blocked", "warned", "obliged", "passed", "explained")
SETS: Final = ("dates", "rows")

_NAME: Final = re.compile(r"[a-z][a-z0-9]{2,30}")
_PATH: Final = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)*\.rego|messages\.json|citations\.json|cases\.json")
_MAIN: Final = "overlay.rego"
# The tables that hold rows of every overlay. What of them is an overlay's own, its rules have in the catalogue.
_SHARED: Final = frozenset({"rules", "messages", "citations"})
# What stage 2 adds to the parameters of a reason, and what the renderer does.
_GIVEN: Final = frozenset(
    {"places", "jurisdiction", "operator", "operator_country", "parent_country", "evidence", "isolation"}
)

Rows = dict[str, dict[str, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """One overlay that was read: its files, and the rows of rules, messages and citations that they make."""

    name: str
    files: dict[str, bytes]
    rules: Rows
    messages: Rows
    citations: Rows

    @classmethod
    def read(cls, name: str, files: Mapping[str, bytes]) -> "Overlay":
        """Check the files (path below the overlay's folder -> bytes). Raises `FieldInvalid` with a fault's path."""
        if _NAME.fullmatch(name) is None:
            raise FieldInvalid("an overlay has a name of 3 to 31 small letters and digits", metadata={"field": "name"})
        _check_files(files)
        modules = [_Module.read(name, path, text) for path, text in sorted(files.items()) if _is_policy(path)]
        for path in sorted(files):
            if path.endswith("_test.rego"):
                _check_package(name, path, gate.package_of(path, files[path]), is_test=True)
        found = cls(
            name=name,
            files=dict(sorted(files.items())),
            rules=_rules(modules),
            messages=_table(files, "messages.json", re.compile(rf"{name}(\.[a-z0-9_]+)+")),
            citations=_table(files, "citations.json", re.compile(rf"C-{name.upper()}(-[A-Z0-9]+)+")),
        )
        _check_words(found, modules)
        _check_citations(found)
        return found

    @classmethod
    def load(cls, folder: Path) -> "Overlay":
        """Read a folder; the name is that of the package of its `overlay.rego`. Raises `FieldInvalid`."""
        try:
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths[: files_max + 1]}
        except OSError as error:
            raise FieldInvalid(f"{folder} can not be read", metadata={"field": str(folder)}) from error
        if _MAIN not in files:
            raise FieldInvalid(f"there is no {_MAIN} in {folder}", metadata={"field": _MAIN})
        return cls.read(gate.package_of(_MAIN, files[_MAIN])[-1], files)

    @property
    def digest(self) -> bytes:
        """SHA-256 over the name and a listing of the files, 32 bytes: the name of the revision."""
        return overlay_digest(self.name, self.files)

    @property
    def policies(self) -> dict[str, bytes]:
        """Its Rego but the tests, by its path in a bundle."""
        return {f"carnet/org/{self.name}/{path}": text for path, text in self.files.items() if _is_policy(path)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Module:
    """One policy of an overlay: its package, and its rules by name as the parser gives them."""

    path: str
    text: str
    package: tuple[str, ...]
    rules: list[gate.Node]

    @classmethod
    def read(cls, name: str, path: str, text: bytes) -> "_Module":
        rules = gate.parsed_rules(path, text)
        package = gate.package_of(path, text)
        _check_package(name, path, package, is_test=False)
        for table in sorted(gate.tables_read(path, text) & _SHARED):
            why = f"{path} reads {table}, which may hold what is another organisation's"
            raise FieldInvalid(why, metadata={"field": path})
        return cls(path=path, text=text.decode(), package=package, rules=rules)

    @property
    def is_root(self) -> bool:
        return len(self.package) == 3

    def named(self) -> Iterator[tuple[tuple[str, ...], gate.Node]]:
        """Each rule's name in parts, and the rule."""
        yield from ((tuple(gate.rule_name(rule).split(".")), rule) for rule in self.rules)

    def refuse(self, why: str, line: int = 1) -> FieldInvalid:
        return FieldInvalid(f"{self.path}:{line}: {why}", metadata={"field": self.path})


def _check_files(files: Mapping[str, bytes]) -> None:
    if not 1 <= len(files) <= files_max:
        raise FieldInvalid(f"an overlay has 1 to {files_max} files", metadata={"field": "files"})
    for path, data in files.items():
        if _PATH.fullmatch(path) is None:
            shown = path if path.isprintable() and len(path) <= 100 else "a file"
            raise FieldInvalid(f"{shown} has no place in an overlay", metadata={"field": shown})
        if len(data) > file_bytes_max:
            raise FieldInvalid(f"{path} has more than {file_bytes_max} bytes", metadata={"field": path})
    if sum(map(len, files.values())) > overlay_bytes_max:
        raise FieldInvalid(f"an overlay has at most {overlay_bytes_max} bytes", metadata={"field": "files"})
    if _MAIN not in files:
        raise FieldInvalid(f"there is no {_MAIN}", metadata={"field": _MAIN})


def _is_policy(path: str) -> bool:
    return path.endswith(".rego") and not path.endswith("_test.rego")


def _check_package(name: str, path: str, package: tuple[str, ...], *, is_test: bool) -> None:
    below = package[:3] == ("carnet", "org", name)
    beside = is_test and package == ("carnet", "org", f"{name}_test")
    if not (below or beside) or (path == _MAIN and len(package) != 3):
        why = f"its package is {'.'.join(package)}, and an overlay's is carnet.org.{name} or below"
        raise FieldInvalid(f"{path}: {why}", metadata={"field": path})


def _rules(modules: list[_Module]) -> Rows:
    rows: Rows = {}
    for module in modules:
        statements = {gate.span_of(rule)["line"]: name for name, rule in module.named()}
        for block in metadata.blocks(module.path, module.text):
            if block.scope == "package":
                continue
            name = statements.get(block.line)
            if name is None or not module.is_root:
                raise module.refuse("METADATA stands right above an exported rule", block.line)
            try:
                rule, row = row_of({"title": block.title, "custom": block.custom}, [*module.package, *name])
            except FieldInvalid as error:
                raise module.refuse(error.text, block.line) from error
            _check_row(module, block.line, rule, row, rows)
            rows[rule] = row
    for module in modules:
        _check_exports(module, rows)
    _check_whole(modules, rows)
    return rows


def _check_row(module: _Module, line: int, rule: str, row: dict[str, Json], rows: Rows) -> None:
    if rule in rows:
        raise module.refuse(f"the rule {rule} has METADATA twice", line)
    if re.fullmatch(rf"{module.package[2].upper()}(-[A-Z0-9]+)+", rule) is None:
        raise module.refuse(f"the rule {rule} is not the overlay's own: its rules start with its name", line)
    if row["effective_from"] is None and row["status"] != "draft":
        raise module.refuse(f"the rule {rule} has no first day, and is no draft", line)


def _check_exports(module: _Module, rows: Rows) -> None:
    for name, rule in module.named() if module.is_root else ():
        line = gate.span_of(rule).get("line", 1)
        if name[0] in BY_ID and (len(name) != 2 or name[1] not in rows):
            raise module.refuse(f"{name[0]} is written for one of the overlay's own rules at a time, by its id", line)
        if name[0] in BY_ID and name[0] not in {"explained", place_of(rows[name[1]])}:
            raise module.refuse(f"{name[1]} stands under {name[0]}, where its METADATA does not put it", line)
        if name[0] in SETS and len(name) != 1:
            raise module.refuse(f"{name[0]} is one set", line)


def _check_whole(modules: list[_Module], rows: Rows) -> None:
    main = next(module for module in modules if module.path == _MAIN)
    if not rows:
        raise main.refuse("there is no rule")
    names = {name for module in modules if module.is_root for name, _ in module.named()}
    for rule in rows:
        if ("explained", rule) not in names:
            raise main.refuse(f"the rule {rule} does not explain itself")
    # A package below and a rule of the same name would be one place with two contents.
    below = {module.package[3] for module in modules if not module.is_root}
    for name in sorted(below & {name[0] for name in names}):
        raise main.refuse(f"{name} is a rule and a package")


def _table(files: Mapping[str, bytes], path: str, own: re.Pattern[str]) -> Rows:
    if path not in files:
        return {}
    try:
        parse(files[path], bytes_max=file_bytes_max)
    except FieldInvalid as error:
        raise FieldInvalid(f"{path}: {error.text}", metadata={"field": path}) from error
    table = json.loads(files[path])
    rows = table.get("rows")
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        raise FieldInvalid(f"{path} has no rows", metadata={"field": path})
    for name in rows:
        if own.fullmatch(name) is None:
            raise FieldInvalid(
                f"{path} names what is not the overlay's own", metadata={"field": f"{path}: {name[:100]}"}
            )
    return rows


def _check_words(overlay: Overlay, modules: list[_Module]) -> None:
    texts = {module.path: set(_texts(module.rules)) for module in modules}
    own = re.compile(rf"{overlay.name}(\.[a-z0-9_]+)+")
    for path, found in texts.items():
        for name in sorted(found):
            if own.fullmatch(name) and name not in overlay.messages:
                raise FieldInvalid(f"{path} names a message that is not there: {name}", metadata={"field": path})
    given = _GIVEN.union(*texts.values())
    for name, row in overlay.messages.items():
        asked = [set(re.findall(r"\{(\w+)\}", str(row.get(language)))) for language in ("en", "fr")]
        if asked[0] != asked[1] or not asked[0] <= given or (".fix." in name and asked[0]):
            why = "asks for other parameters in French, for one that no rule gives, or for one in a fix"
            raise FieldInvalid(f"messages.json: {name} {why}", metadata={"field": f"messages.json: {name}"})


def _texts(tree: list[gate.Node]) -> Iterator[str]:
    yield from (str(node["value"]) for kind, node in gate.nodes(tree) if kind in {"String", "RawString"})


def _check_citations(overlay: Overlay) -> None:
    for rule, row in overlay.rules.items():
        cited = row["citations"] if isinstance(row["citations"], list) else []
        for name in map(str, cited):
            if name.startswith(f"C-{overlay.name.upper()}-") and name not in overlay.citations:
                raise FieldInvalid(f"{rule} cites {name}, which is not there", metadata={"field": "citations.json"})
