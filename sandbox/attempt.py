"""Attempt: one run of one cage, from create to remove.

- Order: create and verify, attach, start, feed and read, end, shut the stream down, kill, wait, inspect, remove.
  Attached before started, so that no output is lost; the stream shut down before anything else is asked, for the engine
  hangs otherwise.
- The first of these ends it: the stream's end, a stop from outside, the time limit, a cap, malformed frames.
- What was stopped before it began is not started.
- The stream's end is not success: the engine is asked for the code and for its OOM flag.
- The container is removed whatever happens, also when this task is cancelled. If the engine no longer answers, the scan
  for orphans at the next start finds it by its labels.
- An error of `stdin` or of the sink is the caller's own: the container is killed, the error goes on to the caller.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing, suppress
from typing import Final, Protocol, TypeVar

from carnet.core.errors import QuotaExceeded, SandboxUnavailable
from carnet.core.receipt import ExitClass
from sandbox.attachment import Attachment
from sandbox.cage import Caps, ContainerSpec
from sandbox.frames import FramesInvalid
from sandbox.meter import Meter
from sandbox.outcome import Outcome, Sink, Stop, classify
from sandbox.outputs import Collector, collector

T = TypeVar("T")

wait_seconds: Final = 15.0
sample_seconds_first: Final = 0.2
sample_seconds: Final = 1.0


class Containers(Protocol):
    """What an attempt asks of the engine. Each call raises SandboxUnavailable when the engine does not do it."""

    async def create(self, spec: ContainerSpec) -> str:
        """A verified container's id."""

    async def attach(self, container: str) -> Attachment:
        """Its streams."""

    async def start(self, container: str) -> None:
        """Start it."""

    async def wait(self, container: str, *, seconds: float) -> int:
        """Its exit code, once it has ended."""

    async def state(self, container: str) -> Mapping[str, object]:
        """The engine's State of it."""

    async def statistics(self, container: str) -> Mapping[str, object]:
        """One sample of its control group."""

    async def kill(self, container: str) -> None:
        """Kill it; one that has ended is no error."""

    async def remove(self, container: str) -> None:
        """Kill and remove it with its volumes; one that is gone is no error."""


class Attempt:
    """One run. `clock` gives nanoseconds since 1970. Use it once: `outcome = await Attempt(...).run()`."""

    def __init__(
        self,
        engine: Containers,
        spec: ContainerSpec,
        *,
        stdin: AsyncIterator[bytes],
        sink: Sink,
        caps: Caps,
        timeout_seconds: float,
        stop: Stop,
        clock: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._spec = spec
        self._stdin = stdin
        self._collector: Collector = collector(spec.mode, sink, caps)
        self._timeout_seconds = timeout_seconds
        self._stop = stop
        self._clock = clock
        self._meter = Meter(gpus=len(spec.shape.gpus))

    async def run(self) -> Outcome:
        """Run it. Raises SandboxUnavailable if it never started, and whatever `stdin` or the sink raise."""
        container = await _whole(self._engine.create(self._spec), undo=self._remove)
        try:
            attachment = await _whole(self._engine.attach(container), undo=_sever)
            try:
                # A stop may have come while the container was made: nothing of the job runs after it.
                return self._never() if self._stop.cause is not None else await self._drive(container, attachment)
            finally:
                attachment.sever()
        finally:
            await asyncio.shield(self._remove(container))

    async def _drive(self, container: str, attachment: Attachment) -> Outcome:
        await self._engine.start(container)
        started_ns = self._clock()
        async with _Tasks() as tasks:
            tasks.start(self._sample(container))
            cause = await self._first_end(
                reader=tasks.start(self._read(attachment)),
                feeder=tasks.start(attachment.write(self._stdin)),
                stopper=tasks.start(self._stop.wait()),
            )
        if cause is not None:
            attachment.sever()
            await self._kill(container)
        code, state = await self._ending(container)
        complete = cause is None and code is not None and await self._collector.finish()
        ended_ns = self._clock()
        oom_killed = state.get("OOMKilled") is True
        return Outcome(
            exit=classify(cause=cause, code=code, oom_killed=oom_killed, complete=complete),
            code=code,
            oom_killed=oom_killed,
            started_ns=started_ns,
            ended_ns=ended_ns,
            profile_digest=self._spec.digest(),
            meter=self._meter.reading(state=state, elapsed_ms=(ended_ns - started_ns) // 1_000_000),
        )

    def _never(self) -> Outcome:
        now_ns = self._clock()
        return Outcome(
            exit=classify(cause=self._stop.cause, code=None, oom_killed=False, complete=False),
            code=None,
            oom_killed=False,
            started_ns=now_ns,
            ended_ns=now_ns,
            profile_digest=self._spec.digest(),
            meter=self._meter.reading(state={}, elapsed_ms=0),
        )

    async def _first_end(
        self, *, reader: "asyncio.Task[None]", feeder: "asyncio.Task[None]", stopper: "asyncio.Task[ExitClass]"
    ) -> ExitClass | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout_seconds
        pending: set[asyncio.Task[None] | asyncio.Task[ExitClass]] = {reader, feeder, stopper}
        while True:
            left = max(0.0, deadline - loop.time())
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if stopper in done:
                return stopper.result()
            if feeder in done:
                feeder.result()
            if reader in done:
                return _judge(reader)
            if not done:
                return ExitClass.TIMEOUT

    async def _read(self, attachment: Attachment) -> None:
        async with aclosing(attachment.output()) as output:
            async for stream, data in output:
                await self._collector.feed(stream, data)

    async def _sample(self, container: str) -> None:
        pause = sample_seconds_first
        while True:
            await asyncio.sleep(pause)
            pause = sample_seconds
            with suppress(SandboxUnavailable):
                self._meter.sample(await self._engine.statistics(container))

    async def _ending(self, container: str) -> tuple[int | None, Mapping[str, object]]:
        try:
            code = await self._engine.wait(container, seconds=wait_seconds)
            return code, await self._engine.state(container)
        except SandboxUnavailable:
            return None, {}

    async def _kill(self, container: str) -> None:
        with suppress(SandboxUnavailable):
            await self._engine.kill(container)

    async def _remove(self, container: str) -> None:
        with suppress(SandboxUnavailable):
            await self._engine.remove(container)


async def _whole(work: Coroutine[object, object, T], *, undo: Callable[[T], Awaitable[None]]) -> T:
    """Do all of the work even when this task is cancelled meanwhile, and then undo it: none of it is left over."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(SandboxUnavailable):
            await undo(await task)
        raise


async def _sever(attachment: Attachment) -> None:
    attachment.sever()


class _Tasks:
    """The tasks of one attempt; all are ended, and their ends awaited, when it is left."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[object]] = []

    def start(self, work: Coroutine[object, object, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        return task

    async def __aenter__(self) -> "_Tasks":
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _judge(reader: "asyncio.Task[None]") -> ExitClass | None:
    try:
        reader.result()
    except QuotaExceeded:
        return ExitClass.OUTPUT_LIMIT
    except FramesInvalid:
        return ExitClass.JOB_FAILED
    except (SandboxUnavailable, OSError):
        return ExitClass.INFRA_LOST
    return None
