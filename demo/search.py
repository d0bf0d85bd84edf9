"""Looks for bytes where they must not be: in the memory of processes, in files, in logs.

A search that finds nothing proves something only if it would have found it: the demo runs the same search on the
container, where the bytes must be.
"""

import array
import base64
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

piece_bytes = 16 * 1024 * 1024
page_bytes = os.sysconf("SC_PAGE_SIZE")


def forms(secret: bytes) -> tuple[bytes, ...]:
    """The secret as it is, in hex, and in base64 at each of the three alignments."""
    plain = [base64.b64encode(b"\0" * shift + secret)[4 * (shift > 0) : -4] for shift in range(3)]
    return (secret, secret.hex().encode(), *(form[2:-2] for form in plain))


def in_memory(pid: int, needles: tuple[bytes, ...]) -> Iterator[str]:
    """Places in the readable memory of a process that is there or swapped out. Needs root. Raises `OSError`."""
    with (
        open(f"/proc/{pid}/maps") as maps,
        open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pages,
        open(f"/proc/{pid}/mem", "rb", buffering=0) as memory,
    ):
        for line in maps:
            span, permissions, *_ = line.split(maxsplit=5)
            if permissions[0] != "r" or line.rstrip().endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            runs = _present(os.pread(pages.fileno(), 8 * (end - start) // page_bytes, 8 * start // page_bytes))
            if any(_holds(_pieces(memory, start + a, start + b), needles) for a, b in runs):
                yield f"pid {pid} at {span}"


def in_files(folders: Iterable[Path], needles: tuple[bytes, ...]) -> Iterator[str]:
    """Files under these folders that hold one of the needles."""
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    if _holds(iter(lambda: file.read(piece_bytes), b""), needles):
                        yield str(path)


def descendants(pid: int) -> tuple[int, ...]:
    """A process and all that it started."""
    parents: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return tuple(sorted(found))


def of_user(uids: range) -> tuple[int, ...]:
    """The processes of these accounts."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid in uids:
                found.append(int(entry))
        except OSError:
            continue
    return tuple(found)


def _holds(pieces: Iterable[bytes], needles: tuple[bytes, ...]) -> bool:
    overlap = max(map(len, needles)) - 1
    tail = b""
    for piece in pieces:
        window = tail + piece
        if any(needle in window for needle in needles):
            return True
        tail = window[-overlap:]
    return False


def _present(entries: bytes) -> Iterator[tuple[int, int]]:
    """From where to where pages are there: bit 63 of an entry (present) or 62 (swapped), one entry a page."""
    begun = -1
    for number, entry in enumerate([*array.array("Q", entries), 0]):
        there = entry >> 62 != 0
        if there and begun < 0:
            begun = number
        elif not there and begun >= 0:
            yield begun * page_bytes, number * page_bytes
            begun = -1


def _pieces(memory: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, piece_bytes):
        try:
            memory.seek(at)
            data = memory.read(min(piece_bytes, end - at))
        except (OSError, ValueError):
            continue  # a mapping that went away, or that the kernel does not let anyone read
        if data:
            yield data
