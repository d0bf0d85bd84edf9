"""What a benchmark prints, and how its runs are made: JSON objects a line on stdout, words on stderr.

- Only ratios are compared. Both sides do the same work, by turns, in one process or beside each other on one machine;
  which one goes first changes with each run, so that neither gains by it.
- `ratio` is the median of the ratios of the runs, `low` and `high` their ends.
- A plain figure (seconds, microseconds of CPU) is the median of its runs, under `value` with its `unit`.

    ratio("seal", "sealing_over_sha256", ratios, better="higher", target=0.5, unit="bytes/s / bytes/s")
"""

import json
import statistics
import sys
from collections.abc import Sequence
from typing import Final, Literal

Better = Literal["higher", "lower"]
Field = str | float | int | None

_DIGITS: Final = 4


def ratio(
    bench: str, measure: str, ratios: Sequence[float], *, better: Better, target: float | None, unit: str
) -> None:
    """Print one ratio; `target` is None where there is none."""
    median, low, high = _ends(ratios)
    fields: dict[str, Field] = {"bench": bench, "measure": measure, "ratio": median, "better": better}
    _line({**fields, "target": target, "runs": len(ratios), "low": low, "high": high, "unit": unit})


def value(bench: str, measure: str, values: Sequence[float], *, unit: str) -> None:
    """Print one plain figure."""
    median, low, high = _ends(values)
    fields: dict[str, Field] = {"bench": bench, "measure": measure, "value": median}
    _line({**fields, "runs": len(values), "low": low, "high": high, "unit": unit})


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


def quotients(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """The ratio of each run: `over` by `under`."""
    return [a / b for a, b in zip(over, under, strict=True)]


def _ends(figures: Sequence[float]) -> tuple[float, float, float]:
    low, high = min(figures), max(figures)
    return round(statistics.median(figures), _DIGITS), round(low, _DIGITS), round(high, _DIGITS)


def _line(fields: dict[str, Field]) -> None:
    print(json.dumps(fields), flush=True)
