"""Work that is done to its end, also when whoever asked for it goes away meanwhile.

A caller that hangs up cancels its task. What is durable by then must also be seen in memory, and what is half done must
be ended or taken back: so the work runs in a task of its own, and a cancelled caller waits for its end.

    return await whole(self._accept(...))
"""

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


async def whole(work: Coroutine[object, object, T]) -> T:
    """Do all of the work; its result or error. A cancelled caller is told so once the work has ended."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # seen: nobody is left to hear of it
        raise
