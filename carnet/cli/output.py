"""What the command prints: data on stdout, all else on stderr, and no byte of a stranger's that a terminal obeys.

- `say` and `warn` go to stderr. `show_table`, `show_pairs`, `show_json` are the data.
- Text from outside (a gateway's reasons, names) goes through `plain`: without it, an escape sequence could paint a
  verdict that nobody gave.
- Colours only on a terminal, and never where NO_COLOR is set (rich sees to both).
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from rich.console import Console

from carnet.core.document import Json

Format = Literal["table", "json"]
ListFormat = Literal["table", "json", "name"]

codes_shown_max: Final = 12
_MICRO: Final = 10**6


def plain(text: str) -> str:
    """The text with each character that is not printable replaced, line breaks too."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def say(text: str, *, style: str = "") -> None:
    """One line of progress, on stderr."""
    _console(stderr=True).print(plain(text), style=style)


def warn(text: str) -> None:
    """One line that matters, on stderr."""
    say(text, style="red")


def show(text: str, *, style: str = "") -> None:
    """One line of data, on stdout."""
    _console(stderr=False).print(plain(text), style=style)


def show_json(value: Json) -> None:
    """One JSON value, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def show_pairs(pairs: Iterable[tuple[str, str]]) -> None:
    """Names and values, one pair a line, on stdout."""
    rows = list(pairs)
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        show(f"{name:{width}}  {value}".rstrip())


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Rows under their columns' names, on stdout; a value is never cut."""
    lines = [tuple(columns), *(tuple(plain(cell) for cell in row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        show("  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())


def codes(places: Sequence[str]) -> str:
    """Places by their codes; a long list is cut, and says how many more there are."""
    shown = ", ".join(places[:codes_shown_max])
    more = len(places) - codes_shown_max
    return f"{shown} and {more} more" if more > 0 else shown or "nowhere"


def when(time_ns: int) -> str:
    """A time as RFC 3339, in UTC, to the second."""
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def dollars(micro_usd: int) -> str:
    """Money, from millionths of a US dollar."""
    return f"{micro_usd // _MICRO}.{micro_usd % _MICRO:06d} USD"


def seconds(milliseconds: int) -> str:
    """A duration in seconds, from milliseconds."""
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d} s"


def _console(*, stderr: bool) -> Console:
    # Made anew: a test or a shell may have put another stream in place.
    return Console(stderr=stderr, soft_wrap=True, highlight=False, markup=False, emoji=False)
