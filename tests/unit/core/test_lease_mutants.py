"""Leases at their very bounds: each line here fails if one comparison or number of `core/lease.py` is off by one."""

from dataclasses import replace

import pytest

from carnet.core import limits
from carnet.core.errors import Bug, StatementInvalid
from carnet.core.lease import SECOND, Grant, HeldLease, Lease, Renewal, grant_lease

GRANT = b"g" * 32
RUNNER = "spiffe://gpu-fr.example/j/FR/runner/1"
NOW = 1_000_000 * SECOND


def lease_of(*, lease_seconds: int = limits.lease_seconds, permit_ns: int = 600 * SECOND) -> Lease:
    return grant_lease(
        attempt=1,
        spiffe_id=RUNNER,
        grant_digest=GRANT,
        permit_until_ns=NOW + permit_ns,
        now_ns=NOW,
        lease_seconds=lease_seconds,
    )


def renewal(duration_ms: int) -> Renewal:
    return Renewal(payload=b"", grant_digest=GRANT, sequence=1, duration_ms=duration_ms)


def answered(duration_ms: int) -> HeldLease:
    return HeldLease(grant_digest=GRANT).ask(monotonic=100.0).answer(renewal(duration_ms))


def test_the_attempt_of_a_grant_is_at_most_two_to_the_31() -> None:
    last = Grant(
        payload=b"grant",
        manifest_digest=b"m" * 32,
        attempt=2_147_483_648,
        spiffe_id=RUNNER,
        kid=b"k" * 32,
        permit_digest=b"p" * 32,
        checkpoint=b"",
        issued_ns=NOW,
    )
    with pytest.raises(StatementInvalid):
        replace(last, attempt=2_147_483_649)


def test_a_renewal_may_give_as_little_as_a_millisecond() -> None:
    assert renewal(1).duration_ms == 1


def test_a_permit_with_a_millisecond_more_than_the_margin_still_gives_time() -> None:
    margin_ms = limits.lease_margin_seconds * 1000
    _, duration_ms = lease_of(permit_ns=(margin_ms + 1) * 10**6).renew(now_ns=NOW)
    assert duration_ms == margin_ms + 1


@pytest.mark.parametrize("seconds", [limits.lease_seconds_min, limits.lease_seconds])
def test_a_gateway_may_be_configured_to_either_bound_of_a_lease(seconds: int) -> None:
    lease = lease_of(lease_seconds=seconds)
    assert lease.deadline_ns == NOW + (seconds + limits.lease_margin_seconds) * SECOND
    assert lease.renew(now_ns=NOW, lease_seconds=seconds)[1] == seconds * 1000


@pytest.mark.parametrize("seconds", [limits.lease_seconds_min - 1, limits.lease_seconds + 1])
def test_a_lease_of_another_length_is_a_bug(seconds: int) -> None:
    with pytest.raises(Bug):
        lease_of(lease_seconds=seconds)
    with pytest.raises(Bug):
        lease_of().renew(now_ns=NOW, lease_seconds=seconds)


def test_before_it_was_answered_the_runner_asks_again_five_seconds_later() -> None:
    assert HeldLease(grant_digest=GRANT).ask_next == 5.0
    assert HeldLease(grant_digest=GRANT).ask(monotonic=100.0).ask_next == 105.0


def test_the_runner_asks_again_after_a_third_of_what_it_was_given() -> None:
    assert answered(30_000).ask_next == 110.0
    assert answered(60_000).ask_next == 120.0
    assert answered(60_000).ask_next == 100.0 + limits.lease_renew_seconds


def test_an_answer_shorter_than_the_margin_gives_no_time_and_takes_none() -> None:
    held = HeldLease(grant_digest=GRANT).ask(monotonic=0.0).answer(renewal(1_000))
    assert held.deadline == 0.0
    assert not held.live(monotonic=0.0)
