"""The breaker opens after failures in a row, lets one trial through, and closes by itself."""

import pytest

from carnet.core.errors import PolicyEngineUnavailable
from policy.engines.breaker import Breaker, Unreachable, failures_max, open_seconds, open_seconds_max


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def fail(breaker: Breaker) -> None:
    with pytest.raises(Unreachable), breaker.guard():
        raise Unreachable


def broken(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(failures_max):
        fail(breaker)
    return breaker


def is_open(breaker: Breaker) -> bool:
    try:
        with breaker.guard():
            return False
    except PolicyEngineUnavailable:
        return True


def test_it_opens_after_failures_in_a_row_and_refuses_without_asking() -> None:
    assert is_open(broken(Clock()))


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(Clock())
    for _ in range(failures_max * 2):
        fail(breaker)
        with breaker.guard():
            pass
    assert not is_open(breaker)


def test_it_closes_by_itself_once_a_trial_succeeds() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += open_seconds
    assert not is_open(breaker)
    assert not is_open(breaker)


def test_a_failed_trial_opens_it_for_longer_up_to_a_bound() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += open_seconds
    fail(breaker)
    clock.now += open_seconds
    assert is_open(breaker)
    for _ in range(20):
        clock.now += open_seconds_max
        fail(breaker)
    clock.now += open_seconds_max
    assert not is_open(breaker)


def test_only_one_trial_goes_through_at_a_time() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += open_seconds
    with breaker.guard():
        assert is_open(breaker)
    assert not is_open(breaker)


def test_a_trial_that_is_cancelled_does_not_stand_in_the_way_of_the_next() -> None:
    clock = Clock()
    breaker = broken(clock)
    clock.now += open_seconds
    with pytest.raises(KeyboardInterrupt), breaker.guard():
        raise KeyboardInterrupt
    assert not is_open(breaker)


def test_wrong_answers_do_not_open_it() -> None:
    breaker = Breaker(Clock())
    for _ in range(failures_max * 2):
        with pytest.raises(PolicyEngineUnavailable), breaker.guard():
            raise PolicyEngineUnavailable
    assert not is_open(breaker)
