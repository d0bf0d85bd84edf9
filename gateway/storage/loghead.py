"""The head of the log, outside the database: the last signed note, so that an older copy of the database is noticed.

Rules:
- A small file of two slots, written in turn after each commit, never before: never ahead of an honest database.
- It is made, with a note for size 0, before the first leaf is written; leaves without a head are refused.
- A slot that does not open under the log's key counts for nothing: the write to it may have been cut off.
- It is synced to disk when it is made and when it is closed, and by the system in between. After a power cut it may be
  some notes old, which makes it forgive a roll-back to after that note, and never refuse an honest database.
- Who can put back both the database and this file puts back the log unnoticed by this machine; only those who kept a
  later checkpoint can show it.
"""

import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from carnet.core.checkpoint import Checkpoint, open_checkpoint
from carnet.core.errors import Bug, ProofInvalid
from gateway.storage.folders import sync_folder

slot_bytes: Final = 4096


class LogHead:
    """The open file. One thread at a time may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._slot = 0

    @property
    def exists(self) -> bool:
        """Whether the file was ever made."""
        return self._path.exists()

    def create(self, note: str) -> None:
        """Make the file, durable, with this note."""
        with open(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(_slot(note) * 2)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self._path.parent)

    def open(self) -> None:
        """Open the file for reading and writing."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)

    def read(self, *, origin: str, public: Ed25519PublicKey) -> tuple[Checkpoint, ...]:
        """The checkpoints of the slots that open under this key."""
        found = []
        for slot in range(2):
            data = os.pread(self._opened, slot_bytes, slot * slot_bytes).rstrip(b"\0")
            try:
                found.append(open_checkpoint(data.decode(), origin=origin, public=public))
            except (ProofInvalid, UnicodeDecodeError):
                continue
        return tuple(found)

    def write(self, note: str) -> None:
        """Put this note in the older slot. Raises OSError."""
        os.pwrite(self._opened, _slot(note), self._slot * slot_bytes)
        self._slot = 1 - self._slot

    def close(self) -> None:
        """Sync and close the file, if it is open."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    @property
    def _opened(self) -> int:
        if self._file is None:
            raise Bug(detail="the head of the log is not open")
        return self._file


def _slot(note: str) -> bytes:
    data = note.encode()
    if len(data) > slot_bytes:
        raise Bug(detail="a checkpoint is larger than its slot")
    return data.ljust(slot_bytes, b"\0")
