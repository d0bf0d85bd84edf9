"""Bundles: every policy bundle that was ever live, as the signed archive that it was, for whoever replays a decision.

    <revision>.tar.gz     one bundle; its name is the digest that decisions carry
    outside.json          the newest bundle that came from outside: its sequence and revision

Rules:
- A bundle is kept before its first answer, durable: written beside its name, synced, renamed, and its folder synced.
- The newest signature of a revision stays: the files below it are the same, and its key is one that is still known.
- What comes from outside is never older than what came before (`admit`), whatever key it is signed under.
- Nothing is believed for lying here: whoever reads an archive verifies it (`policy/release.py`).

    await bundles.keep(archive, revision=bundle.revision)
    archive = await bundles.read(revision)
"""

import asyncio
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from carnet.core import limits
from carnet.core.document import canonical, parse
from carnet.core.errors import FieldInvalid, NotFound, StatementInvalid, StoreUnavailable
from gateway.storage.folders import make_folder, sync_folder

_REVISION: Final = re.compile(r"sha256:([0-9a-f]{64})")
_OUTSIDE: Final = "outside.json"

P = ParamSpec("P")
T = TypeVar("T")


class BundleOutdated(StatementInvalid):
    """The policy bundle is older than one that this gateway has seen."""


class BundleStore:
    """The folder. One process writes to it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        make_folder(directory)

    async def keep(self, archive: bytes, *, revision: str) -> None:
        """Keep an archive under the revision of its bundle, durable. Raises `StoreUnavailable`."""
        await _in_thread(self._write, _name(revision), archive)

    async def read(self, revision: str) -> bytes:
        """The archive of a revision. Raises `NotFound` where it was never live here, or is no revision."""
        return await _in_thread((self._directory / _name(revision)).read_bytes)

    async def admit(self, *, sequence: int, revision: str) -> None:
        """Take note of a bundle from outside, durable. Raises `BundleOutdated` where a newer one was here before."""
        await _in_thread(self._admit, sequence, revision)

    def _admit(self, sequence: int, revision: str) -> None:
        seen = self._outside()
        if seen is not None and (sequence, revision) != seen and sequence <= seen[0]:
            raise BundleOutdated(
                f"The policy bundle has sequence {sequence}; this gateway has seen {seen[0]}.",
                metadata={"sequence": str(sequence), "seen": str(seen[0])},
            )
        if seen != (sequence, revision):
            self._write(_OUTSIDE, canonical({"sequence": sequence, "revision": revision}))

    def _outside(self) -> tuple[int, str] | None:
        try:
            data = (self._directory / _OUTSIDE).read_bytes()
        except FileNotFoundError:
            return None
        try:
            document = parse(data, bytes_max=limits.KIB)
            found = document.integer("sequence"), document.text("revision")
            document.close()
        except FieldInvalid as error:
            # A mark that can not be read might have been any: nothing from outside is newer than that.
            raise BundleOutdated(detail=f"{_OUTSIDE}: {error.text}") from error
        return found

    def _write(self, name: str, data: bytes) -> None:
        fresh = self._directory / f".{name}.{secrets.token_hex(8)}"
        try:
            with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._directory / name)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        sync_folder(self._directory)


def _name(revision: str) -> str:
    found = _REVISION.fullmatch(revision)
    if found is None:
        raise NotFound(metadata={"revision": revision[:80]})
    return f"{found[1]}.tar.gz"


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except FileNotFoundError as error:
        raise NotFound from error
    except OSError as error:
        raise StoreUnavailable(detail=f"the disk refused: {error.strerror}") from error
