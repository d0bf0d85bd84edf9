"""Attachment: the raw stream between host and container: bytes in to stdin, the engine's multiplexed output out.

- Output comes in the engine's own framing: stream (1 stdout, 2 stderr), three zero bytes, uint32 big-endian length.
  It is taken apart as it comes, never collected, whatever lengths it claims.
- `sever` shuts the socket down both ways before it closes it. Nothing else frees the engine: while an attached stream
  is not drained, its kill, inspect and remove hang.
- Unix sockets only: plaintext passes here, and it does not leave the machine.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final

from carnet.core import limits
from carnet.core.errors import SandboxUnavailable
from sandbox.outcome import Stream

gulp_bytes: Final = 256 * limits.KIB

_HEAD: Final = struct.Struct(">BxxxI")
_STREAMS: Final[dict[int, Stream]] = {1: "stdout", 2: "stderr"}


class Demultiplexer:
    """Takes the engine's stream apart. Raises SandboxUnavailable for bytes that are not in its framing."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._stream: Stream = "stdout"
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[Stream, bytes]]:
        """What `data` holds, neighbours of one stream joined."""
        pieces: list[bytes] = []
        joined: Stream = self._stream
        for stream, piece in self._pieces(memoryview(data)):
            if stream != joined and pieces:
                yield joined, b"".join(pieces)
                pieces = []
            joined = stream
            pieces.append(piece)
        if pieces:
            yield joined, b"".join(pieces)

    def _pieces(self, data: memoryview) -> Iterator[tuple[Stream, bytes]]:
        while data:
            if not self._left:
                missing = _HEAD.size - len(self._head)
                self._head += data[:missing]
                data = data[missing:]
                if len(self._head) == _HEAD.size:
                    self._open()
                continue
            piece = data[: self._left]
            data = data[len(piece) :]
            self._left -= len(piece)
            yield self._stream, bytes(piece)

    def _open(self) -> None:
        number, self._left = _HEAD.unpack(self._head)
        self._head.clear()
        if number not in _STREAMS:
            raise SandboxUnavailable(detail="the engine's stream is not in its framing")
        self._stream = _STREAMS[number]


class Attachment:
    """One attached container. `release` closes the socket and all that the engine's client holds with it."""

    def __init__(self, connection: socket.socket, *, release: Callable[[], None]) -> None:
        connection.setblocking(False)
        self._socket = connection
        self._release = release
        self._demultiplexer = Demultiplexer()

    async def output(self) -> AsyncGenerator[tuple[Stream, bytes], None]:
        """The container's output until the engine closes the stream, which proves nothing about how it ended."""
        loop = asyncio.get_running_loop()
        while data := await self._receive(loop):
            for stream, piece in self._demultiplexer.feed(data):
                yield stream, piece

    async def write(self, stdin: AsyncIterator[bytes]) -> None:
        """Write all of `stdin`, then close that direction. A container that no longer reads is no error here."""
        loop = asyncio.get_running_loop()
        async for data in stdin:
            try:
                await loop.sock_sendall(self._socket, data)
            except (BrokenPipeError, ConnectionResetError):
                return
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def sever(self) -> None:
        """Shut both directions down and close. May be called twice."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._release()

    async def _receive(self, loop: asyncio.AbstractEventLoop) -> bytes:
        try:
            return await loop.sock_recv(self._socket, gulp_bytes)
        except ConnectionResetError:
            return b""
