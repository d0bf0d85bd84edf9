"""Meter: what an attempt took, measured from the host, and how each figure was got.

- Wall time is the engine's own span between start and exit. CPU time and memory come from the engine's samples of the
  container's control group, which is gone at exit: CPU time is a lower bound (the last sample), the peak of memory is
  the kernel's own peak where the engine reports it (cgroup v1), else the largest sample.
- What could not be measured is None, with the method `unavailable`: never a zero that looks like a measurement.
- Energy is unavailable for CPU jobs here: no counter can be attributed to one container.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

UNAVAILABLE: Final = "unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterReading:
    """Milliseconds, bytes, millijoules. A None goes with the method `unavailable`."""

    wall_ms: int
    wall_method: str
    cpu_ms: int | None
    cpu_method: str
    memory_peak_bytes: int | None
    memory_method: str
    gpu_ms: int
    energy_mj: int | None = None
    energy_method: str = UNAVAILABLE


class Meter:
    """Collects the samples of one attempt. `sample` takes the engine's statistics, `reading` gives the result."""

    def __init__(self, *, gpus: int) -> None:
        self._gpus = gpus
        self._cpu_ns: int | None = None
        self._memory_bytes: int | None = None
        self._memory_method = UNAVAILABLE
        self._samples = 0

    def sample(self, statistics: Mapping[str, object]) -> None:
        """Take one answer of the engine's statistics call. One of a container that has just ended holds nothing."""
        cpu_ns = _number(statistics, "cpu_stats", "cpu_usage", "total_usage")
        if not cpu_ns:
            return
        self._samples += 1
        self._cpu_ns = max(cpu_ns, self._cpu_ns or 0)
        peak = _number(statistics, "memory_stats", "max_usage")
        found = peak or _number(statistics, "memory_stats", "usage")
        if found:
            self._memory_method = "cgroup-peak" if peak else "cgroup-sampled"
            self._memory_bytes = max(found, self._memory_bytes or 0)

    def reading(self, *, state: Mapping[str, object], elapsed_ms: int) -> MeterReading:
        """The figures, from the engine's last State; `elapsed_ms` of our own clock stands in where it has no times."""
        span = _span_ms(state)
        wall_ms = elapsed_ms if span is None else span
        return MeterReading(
            wall_ms=wall_ms,
            wall_method="runner-clock" if span is None else "engine-times",
            cpu_ms=None if self._cpu_ns is None else self._cpu_ns // 1_000_000,
            cpu_method=UNAVAILABLE if self._cpu_ns is None else f"cgroup-last-of-{self._samples}-samples",
            memory_peak_bytes=self._memory_bytes,
            memory_method=self._memory_method,
            gpu_ms=wall_ms * self._gpus,
        )


def _number(fields: Mapping[str, object], *path: str) -> int | None:
    value: object = fields
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value if isinstance(value, int) else None


def _span_ms(state: Mapping[str, object]) -> int | None:
    started, finished = _instant(state.get("StartedAt")), _instant(state.get("FinishedAt"))
    if started is None or finished is None or finished < started:
        return None
    return int((finished - started).total_seconds() * 1000)


def _instant(text: object) -> datetime | None:
    if not isinstance(text, str) or text.startswith("0001-"):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
