"""BundleServer: the live bundle for an OPA that fetches it, over OPA's own protocol, on a loopback listener of its own.

- One path, `GET /bundles/carnet.tar.gz`: the archive that was offered last, with an ETag; 304 to who has it already.
- An OPA that polls long (`Prefer: ...;wait=N`) is answered once there is another archive, or after N seconds.
- Integrity is the archive's own signature, under a key that the OPA was given by other means. Nobody is asked who they
  are, so the listener is on loopback: overlays are their tenants' own matter.
- Requests are bounded in bytes, seconds and number; nothing is ever taken in.

    server = BundleServer()
    address = await server.listen("127.0.0.1:0")
    server.offer(archive)
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from carnet.core import limits
from carnet.core.errors import FieldInvalid

PATH: Final = "/bundles/carnet.tar.gz"

head_bytes_max: Final = 16 * limits.KIB
request_seconds_max: Final = 10.0
answer_seconds_max: Final = 60.0
wait_seconds_max: Final = 300
callers_max: Final = 64

_MEDIA: Final = "application/vnd.openpolicyagent.bundles"
_WAIT: Final = re.compile(r"(?:^|[;,\s])wait=([0-9]{1,6})(?:$|[;,\s])")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    archive: bytes
    etag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    method: str
    path: str
    headers: dict[str, str]

    def has(self, offer: _Offer) -> bool:
        known = self.headers.get("if-none-match", "")
        return offer.etag in (tag.strip() for tag in known.split(","))

    @property
    def wait_seconds(self) -> int:
        found = _WAIT.search(self.headers.get("prefer", ""))
        return min(int(found[1]), wait_seconds_max) if found else 0


class BundleServer:
    """The listener. Before the first offer it answers 404."""

    def __init__(self) -> None:
        self._offer: _Offer | None = None
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._callers: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def listen(self, place: str) -> str:
        """Listen on `host:port`, port 0 for a free one; where that is. Raises `FieldInvalid` beyond loopback."""
        host, port = _loopback(place)
        self._server = await asyncio.start_server(self._serve, host, port, limit=head_bytes_max)
        found = self._server.sockets[0].getsockname()
        return f"[{found[0]}]:{found[1]}" if ":" in found[0] else f"{found[0]}:{found[1]}"

    def offer(self, archive: bytes) -> None:
        """Answer with this archive from now on, also to those who wait."""
        etag = f'"{hashlib.sha256(archive).hexdigest()}"'
        self._offer = _Offer(archive=archive, etag=etag)
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """Listen no more, and hang up on who waits."""
        if self._server is not None:
            self._server.close()
            for writer in self._callers.values():
                writer.close()
            self._changed.set()
            await asyncio.gather(*(task for task in self._callers if task is not None))
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._callers[asyncio.current_task()] = writer
        try:
            if len(self._callers) > callers_max:
                await _say(writer, HTTPStatus.SERVICE_UNAVAILABLE)
                return
            async with asyncio.timeout(request_seconds_max):
                request = await _read(reader)
            await self._answer(request, writer)
        except (TimeoutError, ConnectionError):
            pass  # who does not ask, or does not read, gets nothing
        finally:
            del self._callers[asyncio.current_task()]
            writer.close()

    async def _answer(self, request: _Request | None, writer: asyncio.StreamWriter) -> None:
        if request is None:
            return await _say(writer, HTTPStatus.BAD_REQUEST)
        if request.method != "GET":
            return await _say(writer, HTTPStatus.METHOD_NOT_ALLOWED)
        if request.path != PATH or self._offer is None:
            return await _say(writer, HTTPStatus.NOT_FOUND)
        if request.has(self._offer) and request.wait_seconds:
            await self._another(request.wait_seconds)
        if request.has(self._offer):
            return await _say(writer, HTTPStatus.NOT_MODIFIED, self._offer)
        return await _say(writer, HTTPStatus.OK, self._offer)

    async def _another(self, seconds: int) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass  # nothing new: the caller is told so, and asks again


async def _read(reader: asyncio.StreamReader) -> _Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, UnicodeDecodeError):
        return None
    first, *lines = head.rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    fields = (line.partition(":") for line in lines)
    return _Request(method=words[0], path=words[1], headers={name.lower(): value.strip() for name, _, value in fields})


async def _say(writer: asyncio.StreamWriter, status: HTTPStatus, offer: _Offer | None = None) -> None:
    body = offer.archive if offer is not None and status is HTTPStatus.OK else b""
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\nContent-Type: {_MEDIA}\r\n"
    head += f"ETag: {offer.etag}\r\n" if offer is not None else ""
    head += "" if status is HTTPStatus.NOT_MODIFIED else f"Content-Length: {len(body)}\r\n"
    async with asyncio.timeout(answer_seconds_max):
        writer.write(f"{head}\r\n".encode() + body)
        await writer.drain()


def _loopback(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        inside = ip_address(host).is_loopback and port.isascii() and 0 <= int(port) < 2**16
    except ValueError:
        inside = False
    if not inside:
        raise FieldInvalid("bundles are served on loopback only", metadata={"field": "policy.serve"})
    return host, int(port)
