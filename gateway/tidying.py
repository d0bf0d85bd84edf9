"""Tidying: what is no longer needed is forgotten, round after round.

- A step that fails is logged and counted, and neither ends the round nor the next one: a full disk is freed by the very
  steps that come after.
- Steps that free space come first.

    tidying = Tidying({"ciphertext": sweep}, failed=metrics.task_failures.inc)
    await tidying.run()
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

round_seconds: Final = 600.0

_log = structlog.get_logger(__name__)


class Tidying:
    """The steps of one gateway process, by name, in order."""

    def __init__(self, steps: Mapping[str, Callable[[], Awaitable[object]]], *, failed: Callable[[], None]) -> None:
        self._steps = steps
        self._failed = failed

    async def run(self) -> None:
        """A round now and then, until cancelled."""
        while True:
            await asyncio.sleep(round_seconds)
            await self.round()

    async def round(self) -> None:
        """Every step, whatever the ones before it did."""
        for name, step in self._steps.items():
            try:
                await step()
            except Exception:  # noqa: BLE001  # the root of each step: logged and counted, and tried again next round
                _log.exception("a step of tidying failed", action="tidy", step=name)
                self._failed()
