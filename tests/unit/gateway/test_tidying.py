"""Tidying goes on, whatever fails in it."""

import asyncio

import pytest

from gateway import tidying
from gateway.tidying import Tidying


async def test_a_step_that_fails_is_counted_and_the_others_and_the_next_round_still_run() -> None:
    done: list[str] = []
    failures: list[None] = []

    async def full() -> None:
        done.append("full")
        raise OSError(28, "No space left on device")

    async def sweep() -> None:
        done.append("sweep")

    found = Tidying({"full": full, "sweep": sweep}, failed=lambda: failures.append(None))
    await found.round()
    await found.round()
    assert done == ["full", "sweep", "full", "sweep"]
    assert len(failures) == 2


async def test_rounds_come_again_until_they_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = asyncio.Semaphore(0)

    async def step() -> None:
        rounds.release()

    monkeypatch.setattr(tidying, "round_seconds", 0.001)
    task = asyncio.create_task(Tidying({"step": step}, failed=lambda: None).run())
    async with asyncio.timeout(10):
        for _ in range(3):
            await rounds.acquire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
