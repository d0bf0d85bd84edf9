"""Screening: what a file of denied-party results says of who asks, who exports and who uses.

- The file is strict JSON, `carnet.screening/v1`: results, each of one subject (as tokens name it) or one entity (as
  facts name it), each with the list that was searched, by name and digest, and the day of the search. The gateway
  searches no list itself.
- One job has one word, the least favourable of its parties: `hit` where any result of any of them is one; `clear` where
  each of them has results, all of them clear and none older than `days`; `unknown` in every other case. A hit does not
  grow old.
- It is read at the start, where a bad one stops the gateway, and again when it changed. Where it is bad then, or gone,
  there is no word until it is whole: what was read before counts no more, and nothing is permitted without one.
- Who may write the file is who may clear a party: it is kept like a key.

    screens = await Screens.open(Path("screening.json"), days=30, clock=time.time_ns)
    screens.word(subject="alice", entities=("klinikum.example",))
"""

import asyncio
import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog

from carnet.core import limits
from carnet.core.document import Document, parse
from carnet.core.errors import FieldInvalid, StoreUnavailable
from policy.engine import Screening

bytes_max: Final = 16 * limits.MIB
results_max: Final = 65_536
look_seconds: Final = 1.0

_RESULTS: Final = frozenset({Screening.CLEAR, Screening.HIT, Screening.UNKNOWN})
_DAY_NS: Final = 86_400 * 10**9

_log = structlog.get_logger(__name__)


class ResultsUnavailable(StoreUnavailable):
    """The screening results can not be read; try again later."""


class Kind(StrEnum):
    """Whom a result is of."""

    SUBJECT = "subject"
    ENTITY = "entity"


Party = tuple[Kind, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One search of one list. `list_digest` is `sha256:` and 64 hex digits; `as_of` is the day of the search, UTC."""

    party: Party
    result: Screening
    list_name: str
    list_digest: str
    as_of: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A file that was read: its results by party, and the SHA-256 of its bytes as `sha256:` and hex."""

    by_party: dict[Party, tuple[Result, ...]]
    digest: str

    def of(self, party: Party, *, today: date, days: int) -> Screening:
        """What all results of one party say together."""
        found = self.by_party.get(party, ())
        if any(result.result is Screening.HIT for result in found):
            return Screening.HIT
        clear = (r.result is Screening.CLEAR and 0 <= (today - r.as_of).days <= days for r in found)
        return Screening.CLEAR if found and all(clear) else Screening.UNKNOWN


class Screens:
    """The results of one gateway. `open` it first; `run` looks at the file again and again."""

    def __init__(self, path: Path, *, days: int, clock: Callable[[], int]) -> None:
        self._path = path
        self._days = days
        self._clock = clock
        self._seen: tuple[int, ...] | None = None
        self._results: Results | None = None
        self._digest = ""

    @classmethod
    async def open(cls, path: Path, *, days: int, clock: Callable[[], int]) -> "Screens":
        """Read the file. Raises `FieldInvalid` where it is not there, or not valid."""
        screens = cls(path, days=days, clock=clock)
        try:
            await screens._read()
        except OSError as error:
            raise FieldInvalid(f"The screening results can not be read: {error.strerror}.") from error
        return screens

    @property
    def digest(self) -> str:
        """Which results were read last; another value means that words may have changed."""
        return self._digest

    def word(self, *, subject: str, entities: Iterable[str]) -> Screening:
        """The least favourable of what is said of these. Raises `ResultsUnavailable`."""
        if self._results is None:
            raise ResultsUnavailable
        today = datetime.fromtimestamp(self._clock() // 10**9, UTC).date()
        parties = ((Kind.SUBJECT, subject), *((Kind.ENTITY, entity) for entity in entities))
        words = {self._results.of(party, today=today, days=self._days) for party in parties}
        return next((word for word in (Screening.HIT, Screening.UNKNOWN) if word in words), Screening.CLEAR)

    async def run(self) -> None:
        """Look every second, until cancelled."""
        while True:
            await asyncio.sleep(look_seconds)
            try:
                await self.look()
            except Exception:  # noqa: BLE001  # the task's root: what can not be looked at clears nobody
                _log.exception("screening results can not be looked at", action="screen")
                self._seen = self._results = None

    async def look(self) -> None:
        """Read the file again if it changed. A bad one takes back what was read before."""
        try:
            if await asyncio.to_thread(_state, self._path) == self._seen:
                return
            await self._read()
        except OSError as error:
            self._seen = None  # the very same file may come back
            self._take_back(str(error.strerror))
        except FieldInvalid as error:
            self._take_back(error.text)

    def _take_back(self, why: str) -> None:
        if self._results is not None:
            _log.error("screening results are not valid: nothing is permitted", action="screen", detail=why)
        self._results = None

    async def _read(self) -> None:
        self._seen = await asyncio.to_thread(_state, self._path)
        self._results = await asyncio.to_thread(lambda: parse_results(_bytes(self._path)))
        self._digest = self._results.digest
        lists = {(r.list_name, r.list_digest) for found in self._results.by_party.values() for r in found}
        _log.info("screening results", action="screen", digest=self._results.digest, lists=sorted(lists))


def parse_results(data: bytes) -> Results:
    """Read `carnet.screening/v1`. Raises `FieldInvalid`, and nothing else, on any bytes."""
    top = parse(data, bytes_max=bytes_max)
    top.text("schema", choices={"carnet.screening/v1"})
    found: defaultdict[Party, list[Result]] = defaultdict(list)
    seen: set[tuple[Party, str]] = set()
    for entry in top.documents("results", items_max=results_max):
        result = _result(entry)
        if (result.party, result.list_name) in seen:
            entry.refuse("list", "must not repeat for one party")
        seen.add((result.party, result.list_name))
        found[result.party].append(result)
    top.close()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Results(by_party={party: tuple(results) for party, results in found.items()}, digest=digest)


def _result(entry: Document) -> Result:
    kinds = [kind for kind in Kind if entry.has(kind)]
    if len(kinds) != 1:
        entry.refuse("subject", "or entity must be there, and not both")
    name = entry.text(kinds[0], bytes_max=1024)
    listed = entry.document("list")
    result = Result(
        party=(kinds[0], name),
        result=Screening(entry.text("result", choices=_RESULTS)),
        list_name=listed.text("name"),
        list_digest=_digest(listed),
        as_of=_day(entry),
    )
    listed.close()
    entry.close()
    return result


def _digest(listed: Document) -> str:
    text = listed.text("digest")
    name, _, digits = text.partition(":")
    if name != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        listed.refuse("digest", "must be sha256: and 64 lower-case hex digits")
    return text


def _day(entry: Document) -> date:
    text = entry.text("as_of")
    try:
        found = date.fromisoformat(text)
    except ValueError:
        entry.refuse("as_of", "must be a day, YYYY-MM-DD")
    if found.isoformat() != text:
        entry.refuse("as_of", "must be a day, YYYY-MM-DD")
    return found


def _state(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size, found.st_ino


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(bytes_max + 1)
