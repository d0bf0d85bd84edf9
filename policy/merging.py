"""An overlay's rules and rows put beside ours, in the place of what an overlay of the same name had before.

- Nothing of ours is ever replaced: a name that we or the law begin an id with is no name for an overlay, and an id that
  is there already is refused.
- What a rule cites is there, among its own citations or ours; those of another overlay are not its to cite.

    tables = tables_with(bundle.tables, overlay)
"""

from typing import Final

from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from policy.overlay import Overlay, Rows

TABLES: Final = ("rules", "messages", "citations")

Tables = dict[str, dict[str, Json]]


def rules_with(rules: dict[str, bytes], overlay: Overlay) -> dict[str, bytes]:
    """Rules by path, with the overlay's own."""
    kept = {path: text for path, text in rules.items() if not path.startswith(f"carnet/org/{overlay.name}/")}
    return dict(sorted({**kept, **overlay.policies}.items()))


def tables_with(tables: Tables, overlay: Overlay) -> Tables:
    """The tables, with the overlay's rows. Raises `FieldInvalid` where one is taken, or a citation is not there."""
    prefixes = {"messages": f"{overlay.name}.", "citations": f"C-{overlay.name.upper()}-"}
    others = {name: _rows(tables[name]) for name in TABLES}
    if any(row["overlay"] == overlay.name for row in others["rules"].values()):
        others["rules"] = {key: row for key, row in others["rules"].items() if row["overlay"] != overlay.name}
        for name, prefix in prefixes.items():
            others[name] = {key: row for key, row in others[name].items() if not key.startswith(prefix)}
    _check_name(overlay, others)
    found = {"rules": overlay.rules, "messages": overlay.messages, "citations": overlay.citations}
    merged = {name: dict(sorted({**others[name], **found[name]}.items())) for name in TABLES}
    _check_citations(overlay, others)
    return {**tables, **{name: {**tables[name], "rows": {**rows}} for name, rows in merged.items()}}


def _check_name(overlay: Overlay, others: dict[str, Rows]) -> None:
    """No row of another begins as the overlay's do: ids stay apart, and `GDPR-MINE` can not pass for law."""
    taken = {key.split("-")[0].lower() for key in others["rules"]}
    taken |= {key.split(".")[0] for key in others["messages"]}
    taken |= {key.split("-")[1].lower() for key in others["citations"]}
    if overlay.name in taken:
        raise FieldInvalid(f"{overlay.name} is a name of ours, or of a law", metadata={"field": "name"})


def _check_citations(overlay: Overlay, others: dict[str, Rows]) -> None:
    foreign = tuple(f"C-{str(row['overlay']).upper()}-" for row in others["rules"].values() if row["overlay"])
    known = {name for name in others["citations"] if not name.startswith(foreign)} | overlay.citations.keys()
    for rule, row in overlay.rules.items():
        cited = row["citations"] if isinstance(row["citations"], list) else []
        if missing := [str(name) for name in cited if str(name) not in known]:
            raise FieldInvalid(f"{rule} cites {missing[0]}, which is not there", metadata={"field": rule})


def _rows(table: dict[str, Json]) -> Rows:
    rows = table["rows"]
    return {key: row for key, row in rows.items() if isinstance(row, dict)} if isinstance(rows, dict) else {}
