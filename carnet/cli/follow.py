"""A job as it goes: its events on stderr, its own output on our stdout and stderr as it comes.

last = await follow(client, name)
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from carnet.cli.output import say
from carnet.core.job import JobState

if TYPE_CHECKING:
    from carnet.answers import Event
    from carnet.client import Client
    from carnet.inbox import LogLine

_HINTS: Final = {
    JobState.NEEDS_RECIPIENTS: "no listed runner is left: `carnet job recipients NAME` adds more, or cancel it",
    JobState.AWAITING_APPROVAL: "it waits for another person: `carnet job approve NAME`, or `refuse`",
}

Mend = Callable[[str], Awaitable[object]]


async def follow(client: "Client", name: str, *, mend: Mend | None = None) -> "Event | None":
    """Show all that happens to a job until it has ended; the last event. `mend` is called when it needs recipients."""
    from carnet.answers import Event

    last: Event | None = None
    async with aclosing(client.watch(name)) as items:
        async for item in items:
            if isinstance(item, Event):
                last = item
                _show_event(item)
                if mend is not None and item.state is JobState.NEEDS_RECIPIENTS:
                    await mend(name)
            else:
                await asyncio.to_thread(_pass_on, item)
    return last


def _show_event(event: "Event") -> None:
    where = f" on {event.runner}" if event.runner and not event.state.terminal else ""
    because = f" ({event.reason})" if event.reason else ""
    say(f"{event.state}{where}{because}", style="dim")
    if hint := _HINTS.get(event.state):
        say(hint, style="yellow")


def _pass_on(line: "LogLine") -> None:
    # The job's own bytes, to whoever asked for the job, as they are.
    stream = (sys.stdout if line.stream == "stdout" else sys.stderr).buffer
    stream.write(line.data)
    stream.flush()
