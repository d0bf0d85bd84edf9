"""A job as it goes: its events on stderr, its own output on our stdout and stderr as it comes.

last = await follow(client, name)
"""

import asyncio
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from carnet.cli.output import plain, say
from carnet.core.job import JobState

if TYPE_CHECKING:
    from carnet.answers import Event
    from carnet.client import Client
    from carnet.core.job import Manifest
    from carnet.inbox import LogLine

_HINTS: Final = {
    JobState.NEEDS_RECIPIENTS: "no runner is left that can open the job; it waits until its deadline, or cancel it",
    JobState.AWAITING_APPROVAL: "the decision asks for a second person's approval",
}


async def follow(client: "Client", name: str, manifest: "Manifest | None" = None) -> "Event | None":
    """Show all that happens to a job until it has ended; the last event."""
    from carnet.answers import Event

    last: Event | None = None
    async with aclosing(client.watch(name, manifest)) as items:
        async for item in items:
            if isinstance(item, Event):
                last = item
                _show_event(item)
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
    # The job's own bytes, to whoever asked for the job: as they are into a file or pipe.
    stream = sys.stdout if line.stream == "stdout" else sys.stderr
    if stream.isatty():
        stream.write("".join(c if c in "\n\t" else plain(c) for c in line.data.decode("utf-8", "replace")))
    else:
        stream.buffer.write(line.data)
    stream.flush()
