"""Patience: how long failures in a row are borne before the last of them is the caller's.

- Silence and a store that is busy are worth another try, and nothing else is: `AGAIN` names their errors.
- What counts is how long nothing has worked. Something heard starts the count anew; so does a call that stood for
  `stood_seconds` before it broke, however quiet it was: a silent gateway is noticed sooner than that.

    patience = Patience(120.0)
    while True:
        patience.begin()
        try:
            return await call()
        except AGAIN as error:
            await patience.bear(error)
"""

import asyncio
import time
from typing import Final

from carnet.core.errors import CarnetError, GatewayUnavailable, StoreUnavailable

AGAIN: Final = (GatewayUnavailable, StoreUnavailable)
pause_seconds: Final = 1.0
stood_seconds: Final = 60.0


class Patience:
    """The failures in a row of one piece of work."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._began = time.monotonic()
        self._failing: float | None = None

    def begin(self) -> None:
        """A try begins."""
        self._began = time.monotonic()

    def heard(self) -> None:
        """Something worked."""
        self._failing = None

    async def bear(self, error: CarnetError) -> None:
        """Wait for the next try, or raise the error where nothing has worked for too long."""
        now = time.monotonic()
        if self._failing is None or now - self._began > stood_seconds:
            self._failing = now
        if now - self._failing > self._seconds_max:
            raise error
        await asyncio.sleep(pause_seconds)
