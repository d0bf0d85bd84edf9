"""Journal: what each attempt has done, for after a crash. Ids and digests only; every line is on disk before it counts.

- One JSON line a step, appended and synced. A torn last line is what a crash leaves, and is dropped.
- `open_attempts` are those that began and did not end: after a restart their containers are removed, their spools are
  wiped, and the gateway hears nothing from them again; their leases run out.
"""

import json
import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final

line_bytes_max: Final = 1024


class Step(StrEnum):
    """How far an attempt has come."""

    LEASED = "leased"
    PREPARED = "prepared"
    RUNNING = "running"
    SEALED = "sealed"
    RECEIPTED = "receipted"
    ACCEPTED = "accepted"
    CLEANED = "cleaned"


class Journal:
    """An append-only file. Calls block for a sync: make them in a thread."""

    def __init__(self, path: Path, *, clock: Callable[[], int]) -> None:
        self._path = path
        self._clock = clock

    def note(self, grant_digest: bytes, step: Step) -> None:
        """Write a step down, durably."""
        line = json.dumps({"grant": grant_digest.hex(), "step": step, "time_ns": self._clock()}) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def open_attempts(self) -> frozenset[bytes]:
        """Grants whose attempts began and were never cleaned up."""
        last: dict[bytes, str] = {}
        for grant, step in self._lines():
            last[grant] = step
        return frozenset(grant for grant, step in last.items() if step != Step.CLEANED)

    def compact(self) -> None:
        """Start over with an empty file, once nothing in it is open any more."""
        self._path.unlink(missing_ok=True)

    def _lines(self) -> "list[tuple[bytes, str]]":
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line)
                found.append((bytes.fromhex(row["grant"]), str(row["step"])))
            except (ValueError, KeyError, TypeError):
                continue
        return found
