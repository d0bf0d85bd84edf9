"""Bundle: the rules and the data that an engine runs, and the digests by which they are known.

- Rules are every `.rego` below `policy/rego` but the tests; data is every table in `policy/data`, held to its schema.
  A table that is a folder is in parts, one a regime; no two parts hold the same row.
- `revisions` are SHA-256 over canonical listings (path and digest of each file, sorted): of the rules, and of the
  tables with all schemas. They stand in every decision.
- `revision` names the whole; it is the OPA manifest's revision, so an answer from another bundle is told apart.
- A table whose rows belong to lists by name is written with them too, so that an engine does not look through all rows
  for those of one list. What is read back from an archive must be what would be written.
- Overlays are put in by `with_overlays`: their rules stand below `carnet/org`, their rows in the tables, and what asks
  them is generated. Both revisions cover them.
- A file that is malformed, or a table without a schema, stops the load: there is no half bundle.

    bundle = Bundle.load()
    bundle = bundle.with_overlays([Overlay.read("klinikum", files)])
    bundle.write(folder)          # a bundle directory for `opa run --bundle`
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from carnet.core import limits
from carnet.core.decision import Revisions
from carnet.core.document import Json, canonical, parse
from carnet.core.errors import Bug
from policy import dispatcher, gate, merging
from policy.catalogue import nanoseconds
from policy.overlay import Overlay
from policy.schemas import Schemas

table_bytes_max: Final = 1 * limits.MIB

# The tables whose rows belong to a list by name, `group`.
LISTED: Final = ("codes", "memberships")

home: Final = Path(__file__).parent

Rows = dict[str, dict[str, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule, as its METADATA states it. Times are ns since 1970 UTC; a rule without a first day is a draft."""

    id: str
    title: str
    stage: str
    effect: str
    citations: tuple[str, ...]
    status: str
    review_by: str
    overlay: str
    exemptible: bool
    from_ns: int | None
    until_ns: int | None

    def in_force(self, now_ns: int) -> bool:
        """Whether from <= now < until."""
        if self.from_ns is None or now_ns < self.from_ns:
            return False
        return self.until_ns is None or now_ns < self.until_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Rules by path, tables by name, and what both are called.

    `expires_ns` is the time from which on nothing is answered from it; None for the rules of this very installation.
    """

    rules: dict[str, bytes]
    tables: dict[str, dict[str, Json]]
    schemas: Schemas
    revisions: Revisions
    expires_ns: int | None

    @classmethod
    def load(cls, folder: Path = home) -> "Bundle":
        """Read `rego/`, `data/` and `schema/` below a folder. Raises `FieldInvalid` or `Bug` where one is wrong."""
        schemas = Schemas.load(folder / "schema")
        rules = {
            path.relative_to(folder / "rego").as_posix(): path.read_bytes()
            for path in sorted((folder / "rego").rglob("*.rego"))
            if not path.name.endswith("_test.rego")
        }
        tables = {path.stem: _whole(path, schemas) for path in sorted((folder / "data").glob("*"))}
        if not rules or not tables:
            raise Bug(detail=f"no policy below {folder}")
        return cls.of(rules=rules, tables=tables, schemas=schemas, expires_ns=None)

    @classmethod
    def of(
        cls,
        *,
        rules: dict[str, bytes],
        tables: dict[str, dict[str, Json]],
        schemas: Schemas,
        expires_ns: int | None,
    ) -> "Bundle":
        """Put together what was read and checked, under its revisions."""
        data = {name: canonical(table) for name, table in tables.items()}
        data |= {f"schema/{name}": canonical(schema) for name, schema in schemas.documents.items()}
        revisions = Revisions(rules=_listing(rules), data=_listing(data))
        return cls(rules=rules, tables=tables, schemas=schemas, revisions=revisions, expires_ns=expires_ns)

    @property
    def overlays(self) -> tuple[str, ...]:
        """The names of the overlays that were put in, sorted."""
        return dispatcher.names(self.rules)

    def with_overlays(self, overlays: Sequence[Overlay]) -> "Bundle":
        """The same with these put in, each in the place of one of its name. Raises `FieldInvalid` where one is no good.

        Each is checked beside our rules alone, so none can read another one.
        """
        rules, tables = self.rules, self.tables
        for overlay in overlays:
            alone = {path: text for path, text in self.rules.items() if not path.startswith("carnet/org/")}
            alone |= overlay.policies
            alone[dispatcher.PATH] = dispatcher.written(alone)
            gate.check(alone)
            gate.check_compiles(alone)
            rules, tables = merging.rules_with(rules, overlay), merging.tables_with(tables, overlay)
        rules = {**rules, dispatcher.PATH: dispatcher.written(rules)}
        for name in merging.TABLES:
            self.schemas.check(f"data/{name}", tables[name])
        return Bundle.of(rules=rules, tables=tables, schemas=self.schemas, expires_ns=self.expires_ns)

    @property
    def revision(self) -> str:
        """The name of rules and data together, `sha256:` and 64 hex digits."""
        return self.revisions.bundle

    def rows(self, table: str) -> Rows:
        """The rows of a table, by their keys."""
        rows = self.tables[table]["rows"]
        if not isinstance(rows, dict):
            raise Bug(detail=f"{table} has no rows")
        return {key: row for key, row in rows.items() if isinstance(row, dict)}

    def catalogue(self) -> tuple[Rule, ...]:
        """Every rule, by id."""
        return tuple(_rule(name, row) for name, row in sorted(self.rows("rules").items()))

    def rules_in_force(self, *, stage: str, now_ns: int, overlay: str = "") -> tuple[str, ...]:
        """The ids that an answer of this stage (`job` or `runner`) must have evaluated at a time, sorted."""
        heard = (rule for rule in self.catalogue() if rule.overlay in {"", overlay})
        return tuple(rule.id for rule in heard if rule.stage == stage and rule.in_force(now_ns))

    def overdue(self, now_ns: int) -> tuple[str, ...]:
        """The rows (`table/row`) and rules whose day of review has passed, sorted."""
        found = []
        for name, table in self.tables.items():
            dated = {name: table} if "review_by" in table else {f"{name}/{k}": r for k, r in _rows_of(table).items()}
            found += [key for key, row in dated.items() if _is_past(row, now_ns)]
        return tuple(sorted(found))

    def data(self) -> dict[str, Json]:
        """The data document that an engine loads: every table, and the revisions, under `carnet.tables`."""
        revisions: Json = {"rules": self.revisions.rules, "data": self.revisions.data}
        tables: dict[str, Json] = {
            name: {**table, "lists": _lists(table)} if name in LISTED else table for name, table in self.tables.items()
        }
        return {"carnet": {"tables": {**tables, "revisions": revisions}}}

    def manifest(self) -> dict[str, Json]:
        """OPA's manifest: the revision, and the roots that the rules stand under."""
        roots: Json = [*sorted({_root(path) for path in self.rules})]
        return {"revision": self.revision, "roots": roots, "rego_version": 1}

    def write(self, folder: Path) -> None:
        """Write an OPA bundle directory: rules, data.json, and a manifest with the revision and the roots."""
        for path, text in self.rules.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(text)
        (folder / "data.json").write_bytes(canonical(self.data()))
        (folder / ".manifest").write_bytes(canonical(self.manifest()))


def _root(path: str) -> str:
    # What is under `system` is OPA's own but for the packages that are named; `carnet` is ours as a whole.
    top, _, below = path.partition("/")
    return f"{top}/{below.partition('/')[0]}" if top == "system" else top


def _whole(path: Path, schemas: Schemas) -> dict[str, Json]:
    if path.is_file():
        return _table(path, f"data/{path.stem}", schemas)
    parts = [_table(part, f"data/{path.name}", schemas) for part in sorted(path.glob("*.json"))]
    rows: dict[str, Json] = {}
    for found in map(_rows_of, parts):
        if twice := rows.keys() & found.keys():
            raise Bug(detail=f"{path.name} has rows in two parts: {sorted(twice)}")
        rows.update(found)
    return {**parts[0], "rows": rows}


def _table(path: Path, schema: str, schemas: Schemas) -> dict[str, Json]:
    data = path.read_bytes()
    parse(data, bytes_max=table_bytes_max)
    table: dict[str, Json] = json.loads(data)
    schemas.check(schema, table)
    return table


def _listing(files: dict[str, bytes]) -> str:
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()


def _rule(name: str, row: dict[str, Json]) -> Rule:
    citations = row["citations"]
    return Rule(
        id=name,
        title=str(row["title"]),
        stage=str(row["stage"]),
        effect=str(row["effect"]),
        citations=tuple(str(c) for c in citations) if isinstance(citations, list) else (),
        status=str(row["status"]),
        review_by=str(row["review_by"]),
        overlay=str(row["overlay"]),
        exemptible=row["exemptible"] is True,
        from_ns=_time(row["effective_from_ns"]),
        until_ns=_time(row["effective_to_ns"]),
    )


def _time(value: Json) -> int | None:
    return value if isinstance(value, int) else None


def _rows_of(table: dict[str, Json]) -> Rows:
    rows = table.get("rows")
    return {key: row for key, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}


def _lists(table: dict[str, Json]) -> Json:
    found: dict[str, dict[str, Json]] = {}
    for key, row in _rows_of(table).items():
        found.setdefault(str(row.get("group")), {})[key] = row
    return {**found}


def _is_past(row: dict[str, Json], now_ns: int) -> bool:
    day = row.get("review_by")
    return isinstance(day, str) and nanoseconds(day) <= now_ns
