"""Folder: files that appear whole or not at all, secret ones closed to everyone but their owner.

- A write goes to a new file beside the target (mode 0600 from its first byte, or 0644), is synced, and renamed over it.
- Directories are made with mode 0700.
- A secret that is there is kept: `keep` makes it once.

    folder = Folder(Path("pki")) / "gateway"
    folder.write_public("ca.pem", pem)
    master = folder.keep("master.key", lambda: secrets.token_bytes(32))
"""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from carnet.core import limits
from carnet.tls import read_secret


class Folder:
    """One directory, made when it is named."""

    def __init__(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
        self.path = path

    def __truediv__(self, name: str) -> "Folder":
        return Folder(self.path / name)

    def write_public(self, name: str, data: bytes) -> None:
        """Write a file that anyone may read who may enter the directory."""
        self._write(name, data, mode=0o644)

    def write_secret(self, name: str, data: bytes) -> None:
        """Write a file that its owner alone may read."""
        self._write(name, data, mode=0o600)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, or None where there is no such file."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None

    def keep(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The secret of this name, made where it is not there yet. Raises `CredentialInvalid` if it is open."""
        path = self.path / name
        if not path.exists():
            self.write_secret(name, make())
        return read_secret(path, bytes_max=limits.certificate_bytes_max)

    def _write(self, name: str, data: bytes, *, mode: int) -> None:
        target = self.path / name
        fresh = self.path / f".{name}.{secrets.token_hex(8)}"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(target)
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
