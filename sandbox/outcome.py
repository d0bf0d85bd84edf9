"""Outcome: how an attempt in a cage ended, who stopped it, and where its output goes.

- Causes are told apart, and the first cause wins: a `Stop` takes one, and every later one is ignored.
- The class of an exit is decided from what the host knows: who stopped it, the engine's OOM flag, the waited code.
  The job's own words are looked at only to refuse (malformed or missing output), never to excuse.
- An OOM kill is OOM even when the code is 0: some process of the job was killed, and its result can not be trusted.
"""

import asyncio
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from carnet.core.errors import Bug
from carnet.core.receipt import ExitClass
from sandbox.meter import MeterReading

Stream = Literal["stdout", "stderr"]

_CAUSES: Final = frozenset({ExitClass.CANCELLED, ExitClass.LEASE_LOST, ExitClass.INFRA_LOST})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended. `code` is the engine's, None when it is not known. Times are nanoseconds since 1970."""

    exit: ExitClass
    code: int | None
    oom_killed: bool
    started_ns: int
    ended_ns: int
    profile_digest: bytes
    meter: MeterReading


class Sink(Protocol):
    """Where a cage's output goes. Each call is awaited before more is read: a slow sink slows the job down.

    Results come one after the other: begin, chunks, end. `size` is in bytes, None where it is not known beforehand
    (mode raw). A result that was begun and not ended is not complete and must be dropped.
    """

    async def output(self, stream: Stream, data: bytes) -> None:
        """Bytes of the job's log."""

    async def result_begin(self, name: str, size: int | None) -> None:
        """A result begins. `name` is a plain relative path."""

    async def result_chunk(self, data: bytes) -> None:
        """The next bytes of it."""

    async def result_end(self) -> None:
        """It is complete."""


class Stop:
    """A signal from outside to end an attempt, with its cause: cancelled, lease lost, or the runner going away."""

    def __init__(self) -> None:
        self._cause: ExitClass | None = None
        self._event = asyncio.Event()

    @property
    def cause(self) -> ExitClass | None:
        """The first cause that was set, if any."""
        return self._cause

    def set(self, cause: ExitClass) -> None:
        """Stop the attempt. The first cause wins. Raises Bug for a cause that does not come from outside."""
        if cause not in _CAUSES:
            raise Bug(detail=f"{cause} does not come from outside")
        self._cause = self._cause or cause
        self._event.set()

    async def wait(self) -> ExitClass:
        """The cause, once there is one."""
        await self._event.wait()
        assert self._cause is not None
        return self._cause


def classify(*, cause: ExitClass | None, code: int | None, oom_killed: bool, complete: bool) -> ExitClass:
    """The class of an exit. `cause` is who stopped it; `code` the waited code; `complete`: the output ended properly.

    Success with output that never ended is INFRA_LOST: the engine lost some of it. So is a time limit that ran out
    while the engine did not answer any more.
    """
    if code is None and cause in (None, ExitClass.TIMEOUT):
        return ExitClass.INFRA_LOST
    if cause is not None:
        return cause
    if oom_killed:
        return ExitClass.OOM
    if code != 0:
        return ExitClass.JOB_FAILED
    return ExitClass.SUCCEEDED if complete else ExitClass.INFRA_LOST
