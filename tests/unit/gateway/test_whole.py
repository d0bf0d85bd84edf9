"""Work that a caller's going away does not cut."""

import asyncio

import pytest

from gateway.whole import whole


async def test_a_cancelled_caller_hears_so_once_the_work_has_ended() -> None:
    done: list[str] = []

    async def work() -> None:
        await asyncio.sleep(0.05)
        done.append("work")

    async def caller() -> None:
        try:
            await whole(work())
        finally:
            done.append("caller")

    task = asyncio.create_task(caller())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done == ["work", "caller"]


async def test_its_result_and_its_error_are_the_caller_s() -> None:
    async def seven() -> int:
        return 7

    async def fails() -> None:
        raise KeyError("x")

    assert await whole(seven()) == 7
    with pytest.raises(KeyError):
        await whole(fails())


async def test_an_error_after_the_caller_went_is_not_lost_with_a_warning() -> None:
    async def fails() -> None:
        await asyncio.sleep(0.02)
        raise KeyError("x")

    task = asyncio.create_task(whole(fails()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
