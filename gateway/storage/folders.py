"""Folders that outlive a power cut: made for their owner alone, and synced into the folder above."""

import os
import shutil
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder and those above it where they are missing, 0700 each, durable."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make what was created, renamed or removed in a folder durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there. Another removal at the same time is no matter."""

    def failed(_: object, __: str, found: tuple[type[BaseException], BaseException, object]) -> None:
        if not isinstance(found[1], FileNotFoundError):
            raise found[1]

    shutil.rmtree(path, onerror=failed)
