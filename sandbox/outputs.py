"""Outputs: what a cage writes, taken apart by mode and held to its caps, on the way to a Sink.

- Framed: the engine's stdout carries the launcher's frames; the engine's stderr (launcher, init) is log.
- Raw: stdout is the one result, named `stdout`; stderr is log.
- Log bytes, result bytes and result objects are capped: beyond them `QuotaExceeded`, and the attempt is stopped. A
  piece of log costs at least `piece_bytes_min`, so that a flood of single bytes ends as soon as one of large pieces.
- Nothing is ever unpacked, joined or kept: memory is one frame.
"""

from typing import Final, Protocol

from carnet.core.errors import QuotaExceeded
from carnet.core.job import Mode
from sandbox.cage import Caps
from sandbox.frames import Event, Exit, Output, Parser, ResultBegin, ResultChunk, ResultEnd
from sandbox.outcome import Sink, Stream

piece_bytes_min: Final = 64


class Collector(Protocol):
    """Takes the engine's two streams. `feed` raises QuotaExceeded or FramesInvalid; then the attempt is over."""

    async def feed(self, stream: Stream, data: bytes) -> None:
        """The next bytes of one stream."""

    async def finish(self) -> bool:
        """The streams have ended: close what is open. Says whether the output is complete."""


def collector(mode: Mode, sink: Sink, caps: Caps) -> Collector:
    """The collector for a mode."""
    capped = _CappedSink(sink, caps)
    return _Framed(capped) if mode is Mode.FRAMED else _Raw(capped)


class _CappedSink:
    def __init__(self, sink: Sink, caps: Caps) -> None:
        self._sink = sink
        self._log_left = caps.log_bytes_max
        self._result_left = caps.result_bytes_max
        self._objects_left = caps.result_objects_max

    async def output(self, stream: Stream, data: bytes) -> None:
        self._log_left -= max(len(data), piece_bytes_min)
        if self._log_left < 0:
            raise QuotaExceeded("The job's log is larger than its cap.")
        await self._sink.output(stream, data)

    async def result_begin(self, name: str, size: int | None) -> None:
        self._objects_left -= 1
        if self._objects_left < 0 or (size or 0) > self._result_left:
            raise QuotaExceeded("The job's results are more than their cap.")
        await self._sink.result_begin(name, size)

    async def result_chunk(self, data: bytes) -> None:
        self._result_left -= len(data)
        if self._result_left < 0:
            raise QuotaExceeded("The job's results are more than their cap.")
        await self._sink.result_chunk(data)

    async def result_end(self) -> None:
        await self._sink.result_end()


class _Framed:
    def __init__(self, sink: _CappedSink) -> None:
        self._sink = sink
        self._parser = Parser()

    async def feed(self, stream: Stream, data: bytes) -> None:
        if stream == "stderr":
            await self._sink.output("stderr", data)
            return
        for event in self._parser.feed(data):
            await self._pass_on(event)

    async def finish(self) -> bool:
        return self._parser.complete

    async def _pass_on(self, event: Event) -> None:
        match event:
            case Output():
                await self._sink.output(event.stream, event.data)
            case ResultBegin():
                await self._sink.result_begin(event.name, event.size)
            case ResultChunk():
                await self._sink.result_chunk(event.data)
            case ResultEnd():
                await self._sink.result_end()
            case Exit():
                """The host waits for the code itself."""


class _Raw:
    def __init__(self, sink: _CappedSink) -> None:
        self._sink = sink
        self._begun = False

    async def feed(self, stream: Stream, data: bytes) -> None:
        if stream == "stderr":
            await self._sink.output("stderr", data)
            return
        await self._begin()
        await self._sink.result_chunk(data)

    async def finish(self) -> bool:
        await self._begin()
        await self._sink.result_end()
        return True

    async def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            await self._sink.result_begin("stdout", None)
