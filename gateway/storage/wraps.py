"""Wraps at rest: apart from the ciphertext that they open, and under a key file of their day.

A wrap is already sealed for one runner; here it is sealed once more, so that a copy of the database or of its journals
gives nobody a wrap whose job has ended.

Rules:
- AES-256-GCM with a random 96-bit nonce; the associated data binds the wrap to its day, tenant, job and key id.
- One key file a day (`wraps-2026-11-22.key`, 32 bytes, 0600), in a folder that is in no backup and not the database's.
- A key file is destroyed once no live job needs its day (`sweep`). What it sealed is then gone, in every copy.
- Destroying overwrites and removes the file. A file system that keeps old blocks (copy-on-write, snapshots, flash) may
  keep the key: put the folder where that does not hold.
- Blocking and safe to call from several threads: use `asyncio.to_thread`.

    keys = WrapKeys(directory)
    sealed = keys.seal(key, wrap, kid=kid, day=day_of(now_ns))
    wrap = keys.open(key, sealed)
"""

import os
import re
import secrets
import stat
import threading
from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from carnet.core.encoding import ctx
from carnet.core.errors import RecipientKeyExpired, StoreUnavailable
from gateway.storage.folders import make_folder, sync_folder
from gateway.storage.records import JobKey, SealedWrap

key_bytes: Final = 32
nonce_bytes: Final = 12
_NAME: Final = re.compile(r"wraps-(\d{4}-\d{2}-\d{2})\.key")


class WrapGone(RecipientKeyExpired):
    """The wrap was destroyed: its day's key is no longer there."""


def day_of(now_ns: int) -> date:
    """The day, in UTC, of a time."""
    return datetime.fromtimestamp(now_ns // 10**9, tz=UTC).date()


class WrapKeys:
    """The folder of day keys."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        make_folder(directory)

    def seal(self, key: JobKey, wrap: bytes, *, kid: bytes, day: date) -> SealedWrap:
        """A wrap as it is stored, under the key of this day, which is made where there is none yet."""
        nonce = secrets.token_bytes(nonce_bytes)
        with self._lock:
            cipher = AESGCM(self._key(day) or self._made(day))
        return SealedWrap(kid=kid, day=day, data=nonce + cipher.encrypt(nonce, wrap, _bound_to(key, kid, day)))

    def open(self, key: JobKey, sealed: SealedWrap) -> bytes:
        """The wrap that was stored for this job and key id. Raises `WrapGone`."""
        with self._lock:
            found = self._key(sealed.day)
        if found is None:
            raise WrapGone(detail="the day key is gone")
        nonce, data = sealed.data[:nonce_bytes], sealed.data[nonce_bytes:]
        try:
            return AESGCM(found).decrypt(nonce, data, _bound_to(key, sealed.kid, sealed.day))
        except (InvalidTag, ValueError):
            raise WrapGone(detail="the stored wrap does not open under its day's key") from None

    def destroy_day(self, day: date) -> None:
        """Destroy the key of a day, if it is there: none of its wraps opens again."""
        with self._lock:
            path = self._path(day)
            try:
                with path.open("r+b") as file:
                    file.write(bytes(key_bytes))
                    file.flush()
                    os.fsync(file.fileno())
            except FileNotFoundError:
                return
            path.unlink()
            sync_folder(self._directory)

    def sweep(self, *, needed: Collection[date], today: date) -> tuple[date, ...]:
        """Destroy the keys of all days before yesterday that no live job needs (`queries.wrap_days`); those days.

        Yesterday's stays: a wrap that was sealed before midnight may be stored after it.
        """
        names = (_NAME.fullmatch(path.name) for path in sorted(self._directory.iterdir()))
        days = tuple(date.fromisoformat(name[1]) for name in names if name)
        old = tuple(day for day in days if day < today - timedelta(days=1) and day not in needed)
        for day in old:
            self.destroy_day(day)
        return old

    def _key(self, day: date) -> bytes | None:
        try:
            with self._path(day).open("rb") as file:
                mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
                data = file.read(key_bytes + 1)
        except FileNotFoundError:
            return None
        if mode & 0o077 or len(data) != key_bytes:
            raise StoreUnavailable(detail="a day key's file is open to others or of the wrong size")
        return data

    def _made(self, day: date) -> bytes:
        data = secrets.token_bytes(key_bytes)
        # Under another name first: a crash must not leave half a key under a day's name.
        fresh = self._directory / f"new-{secrets.token_hex(8)}"
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(self._path(day))
        sync_folder(self._directory)
        return data

    def _path(self, day: date) -> Path:
        return self._directory / f"wraps-{day.isoformat()}.key"


def _bound_to(key: JobKey, kid: bytes, day: date) -> bytes:
    # Each part has one size, so that nothing can move from one to the next.
    return ctx("stored wrap", key.tenant_id + key.job_id + day.isoformat().encode(), kid)
