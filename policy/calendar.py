"""What changes, and when: rows and rules that begin or end, draft law, and the days of review.

Days are whole, UTC. A rule without a first day is a draft: it is listed once, without a day, for it never decides.

    for event in events(bundle, from_ns=now_ns):
        print(event.day, event.kind, event.name)        # 2031-12-27 ends adequacy/GB
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from carnet.core.document import Json
from policy.bundle import Bundle
from policy.catalogue import nanoseconds


class Kind(StrEnum):
    """What happens on the day."""

    BEGINS = "begins"
    ENDS = "ends"
    REVIEW = "review"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change: of a row (`table/row`), a whole table, or a rule (`rules/ID`). Without a day it is draft law."""

    at_ns: int | None
    kind: Kind
    name: str
    source: str

    @property
    def day(self) -> str:
        """YYYY-MM-DD, or nothing for draft law."""
        if self.at_ns is None:
            return ""
        return datetime.datetime.fromtimestamp(self.at_ns // 10**9, datetime.UTC).date().isoformat()

    def document(self) -> Json:
        """For machines."""
        return {"day": self.day or None, "kind": self.kind.value, "name": self.name, "source": self.source}


def events(bundle: Bundle, *, from_ns: int, until_ns: int | None = None) -> tuple[Event, ...]:
    """Everything in [from, until), by day and name; draft law last."""
    found = [
        event
        for event in _all(bundle)
        if event.at_ns is None or (from_ns <= event.at_ns and (until_ns is None or event.at_ns < until_ns))
    ]
    return tuple(sorted(found, key=lambda event: (event.at_ns is None, event.at_ns or 0, event.name, event.kind)))


def _all(bundle: Bundle) -> Iterator[Event]:
    for rule in bundle.catalogue():
        name, source = f"rules/{rule.id}", " ".join(rule.citations)
        if rule.from_ns is None:
            yield Event(at_ns=None, kind=Kind.DRAFT, name=name, source=source)
        else:
            yield Event(at_ns=rule.from_ns, kind=Kind.BEGINS, name=name, source=source)
        if rule.until_ns is not None:
            yield Event(at_ns=rule.until_ns, kind=Kind.ENDS, name=name, source=source)
        yield Event(at_ns=nanoseconds(rule.review_by), kind=Kind.REVIEW, name=name, source=source)
    for table in sorted(bundle.tables.keys() - {"rules"}):
        yield from _dated(table, bundle.tables[table])
        for key, row in bundle.rows(table).items() if "rows" in bundle.tables[table] else ():
            yield from _dated(f"{table}/{key}", row)


def _dated(name: str, row: dict[str, Json]) -> Iterator[Event]:
    source = str(row.get("citation") or row.get("source") or "")
    for field, kind in (("from_ns", Kind.BEGINS), ("until_ns", Kind.ENDS)):
        at_ns = row.get(field)
        if isinstance(at_ns, int):
            yield Event(at_ns=at_ns, kind=kind, name=name, source=source)
    review = row.get("review_by")
    if isinstance(review, str):
        yield Event(at_ns=nanoseconds(review), kind=Kind.REVIEW, name=name, source=source)
