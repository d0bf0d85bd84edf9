"""Patience: failures in a row are borne for so long, whatever came before them; and only failures to answer."""

import time

import pytest

from carnet import patience
from carnet.core.errors import GatewayUnavailable
from carnet.patience import Patience


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How far the clock is ahead; nobody waits."""
    ahead, clock = [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + ahead[0])
    monkeypatch.setattr(patience, "pause_seconds", 0.0)
    return ahead


async def test_failures_in_a_row_are_borne_until_the_bound_and_then_are_the_caller_s(moved: list[float]) -> None:
    found = Patience(100.0)
    for _ in range(5):
        found.begin()
        moved[0] += 20
        await found.bear(GatewayUnavailable())
    found.begin()
    moved[0] += 21
    with pytest.raises(GatewayUnavailable):
        await found.bear(GatewayUnavailable())


async def test_what_is_heard_begins_the_count_anew(moved: list[float]) -> None:
    found = Patience(100.0)
    for _ in range(20):
        found.begin()
        moved[0] += 50
        found.heard()
        await found.bear(GatewayUnavailable())


async def test_a_call_that_stood_for_an_hour_in_silence_may_break(moved: list[float]) -> None:
    """A quiet job is no silent gateway: a watch outlives tokens and connections, however little there is to say."""
    found = Patience(100.0)
    for _ in range(5):
        found.begin()
        moved[0] += 3600
        await found.bear(GatewayUnavailable())
