"""The frames between host and launcher, on the host's side: what goes in, and a strict parser of what comes out.

- A frame is uint8 type, uint32 big-endian length, payload. `sandbox/launcher.py` says which there are.
- Whatever comes out is the job's word: a job can write to its launcher's pipes. Nothing here is trusted for exit code,
  time or size; it only has to be well formed. Any bytes parse, or raise `FramesInvalid`.
- Memory is bounded: one frame, at most `frame_bytes_max`, is held at a time.
- A result's chunks add up to its stated size, and all but the last are full: a flood of tiny chunks is malformed.

    yield frames.index(argv=..., environment=..., files=...)
    yield frames.chunk(1, data)
    yield frames.END
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from carnet.core import limits
from carnet.core.document import canonical, parse
from carnet.core.errors import FieldInvalid, PeerError
from sandbox.outcome import Stream

chunk_bytes: Final = 256 * limits.KIB
frame_bytes_max: Final = 1 * limits.MIB

_HEAD: Final = struct.Struct(">BI")
_INDEX, _OBJECT, _END = 1, 2, 3
_STDOUT, _STDERR, _RESULT_BEGIN, _RESULT_CHUNK, _RESULT_END, _EXIT = range(17, 23)

END: Final = _HEAD.pack(_END, 0)


class FramesInvalid(PeerError):
    """The job's output is not what the launcher writes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One file of the job: its object id, its plain relative name, its size in bytes."""

    id: int
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Bytes that the job wrote to stdout or stderr."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultBegin:
    """A result of `size` bytes follows."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultChunk:
    """The next bytes of the result that has begun."""

    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultEnd:
    """The result that has begun is complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The launcher's last frame. Its code is the job's word; the host's own wait is what counts."""

    code: int


Event = Output | ResultBegin | ResultChunk | ResultEnd | Exit


def index(*, argv: Sequence[str], environment: Mapping[str, str], files: Sequence[File]) -> bytes:
    """The first frame: command, environment and the files in the order in which their chunks will follow."""
    payload = canonical(
        {
            "argv": list(argv),
            "environment": dict(environment),
            "files": [{"id": f.id, "name": f.name, "size": f.size} for f in files],
        }
    )
    if len(payload) > limits.index_bytes_max:
        raise FieldInvalid("The job's index is too large.")
    return _HEAD.pack(_INDEX, len(payload)) + payload


def chunk(number: int, data: bytes) -> Iterator[bytes]:
    """The frames that carry `data` as the next bytes of object `number`; nothing for no data."""
    for at in range(0, len(data), chunk_bytes):
        part = data[at : at + chunk_bytes]
        yield _HEAD.pack(_OBJECT, 4 + len(part)) + number.to_bytes(4, "big") + part


class Parser:
    """Takes the launcher's bytes as they come, gives events. Raises `FramesInvalid`; after that it is done for."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left: int | None = None
        self._ended = False

    @property
    def complete(self) -> bool:
        """Whether the last frame was seen, and nothing is left over."""
        return self._ended and not self._buffer

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes."""
        self._buffer += data
        events: list[Event] = []
        while len(self._buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._buffer)
            if size > frame_bytes_max or not _STDOUT <= kind <= _EXIT or self._ended:
                raise FramesInvalid(detail="a frame is unknown, too large, or after the end")
            if len(self._buffer) < _HEAD.size + size:
                break
            payload = bytes(self._buffer[_HEAD.size : _HEAD.size + size])
            del self._buffer[: _HEAD.size + size]
            events.append(self._event(kind, payload))
        if self._ended and self._buffer:
            raise FramesInvalid(detail="bytes after the end")
        return events

    def _event(self, kind: int, payload: bytes) -> Event:
        if kind == _RESULT_CHUNK:
            return self._chunk(payload)
        if kind == _RESULT_END:
            return self._end(payload)
        if kind in (_STDOUT, _STDERR):
            return _output(kind, payload)
        if self._left is not None:
            raise FramesInvalid(detail="a result is not complete")
        if kind == _RESULT_BEGIN:
            begin = _begin(payload)
            self._left = begin.size
            return begin
        self._ended = True
        return _exit(payload)

    def _chunk(self, payload: bytes) -> ResultChunk:
        if self._left is None or len(payload) != min(self._left, chunk_bytes) or not payload:
            raise FramesInvalid(detail="a chunk has the wrong size or place")
        self._left -= len(payload)
        return ResultChunk(data=payload)

    def _end(self, payload: bytes) -> ResultEnd:
        if self._left != 0 or payload:
            raise FramesInvalid(detail="a result ends at the wrong place")
        self._left = None
        return ResultEnd()


def _output(kind: int, payload: bytes) -> Output:
    if not payload:
        raise FramesInvalid(detail="an empty frame of output")
    return Output(stream="stdout" if kind == _STDOUT else "stderr", data=payload)


def _begin(payload: bytes) -> ResultBegin:
    try:
        document = parse(payload, bytes_max=4 * limits.KIB)
        name = document.text("name", bytes_max=limits.name_bytes_max)
        size = document.integer("size", high=limits.result_bytes_max)
        document.close()
    except FieldInvalid as error:
        raise FramesInvalid(detail="a result's head is not readable") from error
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise FramesInvalid(detail="a result's name is not a plain relative path")
    return ResultBegin(name=name, size=size)


def _exit(payload: bytes) -> Exit:
    try:
        document = parse(payload, bytes_max=limits.KIB)
        code = document.integer("code", high=255)
        document.close()
    except FieldInvalid as error:
        raise FramesInvalid(detail="the exit frame is not readable") from error
    return Exit(code=code)
