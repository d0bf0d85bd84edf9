"""Bells: who waits for news of a job is woken when there is some. Nothing is carried; the listener reads the store."""

import asyncio
from collections.abc import Hashable


class Bells:
    """One bell a job, made when somebody listens."""

    def __init__(self) -> None:
        self._bells: dict[Hashable, asyncio.Event] = {}

    def listen(self, key: Hashable) -> asyncio.Event:
        """An event that the next ring sets. Take it before reading, so that no news is missed."""
        return self._bells.setdefault(key, asyncio.Event())

    def ring(self, key: Hashable) -> None:
        """There is news of this job."""
        bell = self._bells.pop(key, None)
        if bell is not None:
            bell.set()
