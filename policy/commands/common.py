"""What the `carnet policy` commands share: files and times read, an engine for one question, and how errors end.

Data goes to stdout, words to stderr. A malformed file ends with 2, a denial with 3, an engine that does not answer
with 6.
"""

import datetime
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter
from rich.console import Console

from carnet.core import limits
from carnet.core.document import parse
from carnet.core.errors import CallerError, CarnetError, FieldInvalid
from carnet.core.facts import JobFacts, parse_facts
from policy.bundle import Bundle
from policy.catalogue import nanoseconds
from policy.engine import GatewayFacts, GrantedExemption, PolicyEngine, Screening, granted
from policy.engines.choice import EngineName, opened
from policy.overlay import Overlay

USAGE: Final = 2
DENIED: Final = 3
UNAVAILABLE: Final = 6

OverlayFolder = Annotated[Path | None, Parameter(name="--overlay")]
Output = Annotated[Literal["json", "table"], Parameter(name=["--output", "-o"])]


@contextmanager
def telling() -> Iterator[None]:
    """Around a command: an expected error is one line on stderr, and the exit code of its kind."""
    try:
        yield
    except CarnetError as error:
        say(f"{error.reason}: {error.text} {error.detail}", style="red")
        raise SystemExit(USAGE if isinstance(error, CallerError) else UNAVAILABLE) from error


@asynccontextmanager
async def asking(bundle: Bundle, name: EngineName) -> AsyncIterator[PolicyEngine]:
    """An engine that is started for the question and stopped after it."""
    engine = await opened(name, bundle=bundle)
    try:
        yield engine
    finally:
        await engine.close()


def moment(at: str | None) -> int:
    """A day or a time as ns since 1970 UTC; None is now. Raises `FieldInvalid`."""
    if at is None:
        return int(datetime.datetime.now(datetime.UTC).timestamp()) * 10**9
    try:
        if len(at) == len("2026-01-01"):
            return nanoseconds(at)
        found = datetime.datetime.fromisoformat(at)
    except ValueError as error:
        raise FieldInvalid("at must be a day or an RFC 3339 time", metadata={"field": "at"}) from error
    if found.tzinfo is None:
        raise FieldInvalid("at must name its time zone", metadata={"field": "at"})
    return int(found.timestamp()) * 10**9 + found.microsecond * 1000


def read(path: Path) -> bytes:
    """A file's bytes. Raises `FieldInvalid`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise FieldInvalid(f"{path} can not be read", metadata={"field": str(path)}) from error


def read_facts(path: Path) -> JobFacts:
    """A job's facts (`carnet.facts/v1`). Raises `FieldInvalid`."""
    return parse_facts(read(path))


def loaded(overlay: Path | None) -> tuple[Bundle, str]:
    """Our rules and data, with the overlay in a folder where one is named, and its name. Raises `FieldInvalid`."""
    if overlay is None:
        return Bundle.load(), ""
    found = Overlay.load(overlay)
    return Bundle.load().with_overlays([found]), found.name


def read_exemptions(path: Path) -> tuple[GrantedExemption, ...]:
    """A file with `{"exemptions": [...]}`, each as the gateway tells policy of it. Raises `FieldInvalid`."""
    top = parse(read(path), bytes_max=limits.facts_bytes_max)
    found = tuple(granted(entry) for entry in top.documents("exemptions"))
    top.close()
    return found


def local(
    screening: Screening = Screening.OFF,
    *,
    overlay: str = "",
    exemptions: tuple[GrantedExemption, ...] = (),
    approvals: int = 0,
) -> GatewayFacts:
    """What a gateway would add, for a question that no gateway hears."""
    return GatewayFacts(
        issuer="local", subject="local", tenant="local", roles=(), screening=screening, overlay=overlay,
        exemptions=exemptions, approvals=approvals,
    )  # fmt: skip


def print_json(document: Any) -> None:
    """Data, for machines and for people who pipe it."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True) + "\n")


def say(text: str, *, style: str = "") -> None:
    """Words, on stderr."""
    Console(stderr=True, soft_wrap=True).print(text, style=style, markup=False)
