"""Attempt: a cage that was stopped before it began is never started, and is removed all the same."""

import socket
import time
from collections.abc import AsyncIterator, Mapping

import pytest

from carnet.core.job import Mode
from carnet.core.receipt import ExitClass
from carnet.core.runner import Isolation
from sandbox.attachment import Attachment
from sandbox.attempt import Attempt
from sandbox.cage import Caps, ContainerSpec, Shape, render
from sandbox.outcome import Stop, Stream

MIB = 1024 * 1024


class Engine:
    """An engine in memory, with what was asked of it; its container ends at once. `stop_at` is where a stop comes."""

    def __init__(self, stop: Stop, stop_at: str = "") -> None:
        self._stop = stop
        self._stop_at = stop_at
        self.asked: list[str] = []

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if what == self._stop_at:
            self._stop.set(ExitClass.CANCELLED)

    async def create(self, spec: ContainerSpec) -> str:
        self._note("create")
        return "c"

    async def attach(self, container: str) -> Attachment:
        self._note("attach")
        near, far = socket.socketpair()
        far.close()
        return Attachment(near, release=near.close)

    async def start(self, container: str) -> None:
        self._note("start")

    async def wait(self, container: str, *, seconds: float) -> int:
        self._note("wait")
        return 0

    async def state(self, container: str) -> Mapping[str, object]:
        return {}

    async def statistics(self, container: str) -> Mapping[str, object]:
        return {}

    async def kill(self, container: str) -> None:
        self._note("kill")

    async def remove(self, container: str) -> None:
        self._note("remove")


class Nowhere:
    """A sink that keeps nothing."""

    async def output(self, stream: Stream, data: bytes) -> None: ...

    async def result_begin(self, name: str, size: int | None) -> None: ...

    async def result_chunk(self, data: bytes) -> None: ...

    async def result_end(self) -> None: ...


async def nothing() -> AsyncIterator[bytes]:
    for data in ():
        yield data


async def attempted(engine: Engine, stop: Stop) -> ExitClass:
    spec = render(
        image_id="sha256:" + "a" * 64,
        mode=Mode.RAW,
        command=("true",),
        shape=Shape(cpu_millis=500, memory_bytes=64 * MIB, work_bytes=16 * MIB, timeout_seconds=5),
        uid=70_000,
        labels={},
        isolation=Isolation.CONTAINER,
    )
    caps = Caps(log_bytes_max=MIB, result_bytes_max=MIB, result_objects_max=4)
    attempt = Attempt(
        engine,
        spec,
        stdin=nothing(),
        sink=Nowhere(),
        caps=caps,
        timeout_seconds=5,
        stop=stop,
        clock=time.time_ns,
    )
    return (await attempt.run()).exit


@pytest.mark.parametrize("at", ["create", "attach"])
async def test_a_job_that_is_stopped_while_its_cage_is_made_is_never_started(at: str) -> None:
    stop = Stop()
    engine = Engine(stop, at)
    assert await attempted(engine, stop) is ExitClass.CANCELLED
    assert engine.asked == ["create", "attach", "remove"]


async def test_control_a_job_that_nobody_stops_is_started() -> None:
    stop = Stop()
    engine = Engine(stop)
    await attempted(engine, stop)
    assert engine.asked == ["create", "attach", "start", "wait", "remove"]
