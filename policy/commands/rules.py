"""`carnet policy list`, `show` and `calendar`: which rules there are, what one says, and what changes when.

carnet policy list
carnet policy show EU-GDPR-CHV
carnet policy calendar --until 2028-01-01
"""

from typing import Any, Final

from rich.console import Console
from rich.table import Column, Table

from carnet.core.errors import FieldInvalid
from policy.bundle import Bundle
from policy.calendar import events
from policy.commands.common import Output, OverlayFolder, loaded, moment, print_json, say, telling

_SHOWN: Final = (
    "stage",
    "effect",
    "status",
    "effective_from",
    "effective_to",
    "exemptible",
    "severity",
    "owner",
    "review_by",
    "source",
)


def list_rules(*, overlay: OverlayFolder = None, output: Output = "table") -> None:
    """List the rules: what each is, what it cites, and whether it is in force.

    Parameters
    ----------
    overlay: a folder with an organisation's own rules, to be listed as well
    output: json or table
    """
    with telling():
        bundle, _ = loaded(overlay)
    overdue = bundle.overdue(moment(None))
    if output == "json":
        print_json(bundle.rows("rules"))
    else:
        table = Table(Column("rule", no_wrap=True), "stage", "effect", "title", "citations", "status", box=None)
        for rule in bundle.catalogue():
            table.add_row(rule.id, rule.stage, rule.effect, rule.title, " ".join(rule.citations), rule.status)
        Console().print(table)
    if overdue:
        say("past their day of review: " + ", ".join(overdue), style="yellow")


def show_rule(rule: str, /, *, overlay: OverlayFolder = None, output: Output = "table") -> None:
    """Show one rule: its METADATA, what it cites, and where it is written.

    Parameters
    ----------
    rule: the rule's id
    overlay: a folder with an organisation's own rules
    output: json or table
    """
    with telling():
        found = _rule(loaded(overlay)[0], rule)
    if output == "json":
        print_json(found)
        return
    console = Console(soft_wrap=True, highlight=False, markup=False)
    console.print(f"{rule}  {found['title']}", style="bold")
    for name in _SHOWN:
        console.print(f"  {name:15} {found[name]}")
    for citation in found["citations"]:
        console.print(f"  {citation['id']:15} {citation['title']}  {citation['source']}")


def show_calendar(*, at: str | None = None, until: str | None = None, output: Output = "table") -> None:
    """List what changes: adequacy and embargoes that begin or end, rules, draft law, and days of review.

    Parameters
    ----------
    at: the day to look from; now, if not given
    until: the day to look to; without it, everything that is known
    output: json or table
    """
    with telling():
        found = events(Bundle.load(), from_ns=moment(at), until_ns=moment(until) if until else None)
    if output == "json":
        print_json([event.document() for event in found])
        return
    table = Table(Column("day", no_wrap=True), Column("what", no_wrap=True), "of", "source", box=None)
    for event in found:
        table.add_row(event.day or "not yet", event.kind.value, event.name, event.source)
    Console().print(table)


def _rule(bundle: Bundle, name: str) -> dict[str, Any]:
    row = bundle.rows("rules").get(name)
    if row is None:
        raise FieldInvalid(f"there is no rule {name}; `carnet policy list` names them", metadata={"field": "rule"})
    rows = bundle.rows("citations")
    cited = row["citations"] if isinstance(row["citations"], list) else []
    citations = [{"id": key, "title": rows[str(key)]["title"], "source": rows[str(key)]["source"]} for key in cited]
    return {**row, "id": name, "citations": citations, "source": _source(bundle, name)}


def _source(bundle: Bundle, name: str) -> str:
    """The file and line at which a rule's METADATA names it."""
    for path, text in bundle.rules.items():
        for number, line in enumerate(text.decode().splitlines(), start=1):
            if line == f"#   id: {name}":
                folder = "" if path.startswith("carnet/org/") else "policy/rego/"
                return f"{folder}{path}:{number}"
    return "unknown"
