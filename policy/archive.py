"""Archive: files as one gzipped tar, in one form, and read back within bounds.

- One form: sorted names, no times, owners or modes of anybody. What is read is packed again and must give the same tar,
  so nothing rides along: no link, no second entry of a name, nothing behind the end.
- A name is relative and of plain letters; no part of it is `.` or `..`.
- Sizes are bounded before anything is unpacked: a small file that unfolds without end is refused at its bound.
- Nothing here says who made an archive: `policy/signing.py` does.

    data = archive.packed({"data.json": b"{}"})
    files = archive.unpacked(data)
"""

import gzip
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

from carnet.core import limits
from carnet.core.document import refuse

archive_bytes_max: Final = 16 * limits.MIB
unpacked_bytes_max: Final = 64 * limits.MIB
files_max: Final = 2048
name_bytes_max: Final = 100

_BLOCK: Final = 512
_GZIP: Final = 31
_NAME: Final = re.compile(r"(?!\.{1,2}(/|\Z))[A-Za-z0-9_.-]+(/(?!\.{1,2}(/|\Z))[A-Za-z0-9_.-]+)*")
_SIZE: Final = re.compile(rb"[0-7]{11}\0")
_FILE: Final = b"0"


def packed(files: Mapping[str, bytes]) -> bytes:
    """The archive of these files. Raises `FieldInvalid` where it would not be read again."""
    for name in files:
        _check_name(name)
    data = gzip.compress(_tar(files), mtime=0)
    if len(files) > files_max or len(data) > archive_bytes_max or sum(map(len, files.values())) > unpacked_bytes_max:
        refuse("archive", "is too large")
    return data


def unpacked(data: bytes) -> dict[str, bytes]:
    """The files of an archive. Raises `FieldInvalid`, and nothing else, on any bytes."""
    tar = _inflated(data)
    files: dict[str, bytes] = {}
    for name, content in _entries(tar):
        if name in files:
            refuse(f"archive.{name}", "stands there twice")
        files[name] = content
        if len(files) > files_max:
            refuse("archive", f"must hold at most {files_max} files")
    if _tar(files) != tar:
        refuse("archive", "is not in its one form")
    return files


def _tar(files: Mapping[str, bytes]) -> bytes:
    found = io.BytesIO()
    with tarfile.open(fileobj=found, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return found.getvalue()


def _inflated(data: bytes) -> bytes:
    if len(data) > archive_bytes_max:
        refuse("archive", f"must be at most {archive_bytes_max} bytes")
    stream = zlib.decompressobj(wbits=_GZIP)
    try:
        tar = stream.decompress(data, unpacked_bytes_max)
    except zlib.error:
        refuse("archive", "is not gzip")
    if stream.unconsumed_tail:
        refuse("archive", f"must unfold to at most {unpacked_bytes_max} bytes")
    if not stream.eof or stream.unused_data:
        refuse("archive", "is cut, or goes on behind its end")
    return tar


def _entries(tar: bytes) -> Iterator[tuple[str, bytes]]:
    # What is not looked at here (checksum, owner, mode, padding) is held by packing the files again.
    at = 0
    while at + _BLOCK <= len(tar) and (header := tar[at : at + _BLOCK]).strip(b"\0"):
        name = header[:name_bytes_max].rstrip(b"\0").decode("ascii", "replace")
        _check_name(name)
        if header[156:157] != _FILE:
            refuse(f"archive.{name}", "must be a plain file")
        if not _SIZE.fullmatch(header[124:136]):
            refuse(f"archive.{name}", "has no size")
        size = int(header[124:135], 8)
        at += _BLOCK
        if at + size > len(tar):
            refuse(f"archive.{name}", "is cut")
        yield name, tar[at : at + size]
        at += -(-size // _BLOCK) * _BLOCK


def _check_name(name: str) -> None:
    if len(name) > name_bytes_max or not _NAME.fullmatch(name):
        refuse(f"archive.{name}", "must be a relative path of plain letters")
