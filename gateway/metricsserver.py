"""Prometheus text over plain HTTP; meant for loopback, where whoever scrapes is on the same machine.

server = await listen("127.0.0.1:0", metrics.text)
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

answer_seconds_max: Final = 5.0


async def listen(place: str, text: Callable[[], bytes]) -> asyncio.Server:
    """Answer `GET /metrics` on `host:port` with what `text` gives."""
    host, _, port = place.rpartition(":")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(answer_seconds_max):
                line = await reader.readline()
                writer.write(_response(text() if line.startswith((b"GET /metrics ", b"GET / ")) else None))
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # a reader that does not read gets nothing
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, int(port))


def _response(body: bytes | None) -> bytes:
    status = HTTPStatus.NOT_FOUND if body is None else HTTPStatus.OK
    head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain; version=0.0.4\r\n"
    body = body or b""
    return f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
