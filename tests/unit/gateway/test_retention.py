"""Results stay as long as the decision allows, and no longer; payloads of ended jobs go at once."""

from carnet.core import limits
from carnet.core.decision import Enforcer, Obligation
from gateway.retention import days_of


def duty(days: int) -> Obligation:
    return Obligation(type="retention_days_max", value=days, rule="R", citations=("C",), enforcer=Enforcer.GATEWAY)


def test_without_a_duty_results_stay_for_the_default() -> None:
    assert days_of(()) == limits.retention_days


def test_the_shortest_duty_wins() -> None:
    assert days_of((duty(7), duty(3))) == 3


def test_a_longer_duty_does_not_lengthen_the_default() -> None:
    assert days_of((duty(3650),)) == limits.retention_days
