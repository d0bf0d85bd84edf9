"""Leases: only a renewal gives time, the gateway always waits longer than the runner, and no permit is outlived."""

import hashlib
from dataclasses import replace

import pytest

from carnet.core import limits
from carnet.core.errors import LeaseLost, StatementInvalid
from carnet.core.lease import SECOND, Grant, HeldLease, Lease, Renewal, grant_lease

GRANT = b"g" * 32
RUNNER = "spiffe://gpu-fr.example/j/FR/runner/1"
NOW = 1_000_000 * SECOND


def fresh(*, permit_seconds: int = 600) -> Lease:
    return grant_lease(
        attempt=2, spiffe_id=RUNNER, grant_digest=GRANT, permit_until_ns=NOW + permit_seconds * SECOND, now_ns=NOW
    )


def renewal(*, sequence: int = 1, duration_ms: int = 60_000, grant_digest: bytes = GRANT) -> Renewal:
    return Renewal(payload=b"", grant_digest=grant_digest, sequence=sequence, duration_ms=duration_ms)


def test_a_fresh_lease_lives_for_one_lease_time_and_the_margin() -> None:
    lease = fresh()
    end = NOW + (limits.lease_seconds + limits.lease_margin_seconds) * SECOND
    assert lease.live(now_ns=end - 1)
    assert not lease.live(now_ns=end)


def test_a_renewal_extends_the_lease_and_tells_the_runner_less() -> None:
    later = NOW + 20 * SECOND
    lease, duration_ms = fresh().renew(now_ns=later)
    assert duration_ms == limits.lease_seconds * 1000
    assert lease.deadline_ns == later + (limits.lease_seconds + limits.lease_margin_seconds) * SECOND


def test_a_lease_that_ran_out_is_never_renewed() -> None:
    lease = fresh()
    lease.renew(now_ns=lease.deadline_ns - 1)
    with pytest.raises(LeaseLost):
        lease.renew(now_ns=lease.deadline_ns)


def test_no_renewal_reaches_past_the_permit() -> None:
    lease, duration_ms = fresh(permit_seconds=30).renew(now_ns=NOW)
    assert duration_ms == 30_000
    assert lease.deadline_ns == fresh().deadline_ns, "a deadline never moves back"
    longer, duration_ms = fresh(permit_seconds=70).renew(now_ns=NOW + 30 * SECOND)
    assert duration_ms == 40_000
    assert longer.deadline_ns == NOW + (70 + limits.lease_margin_seconds) * SECOND


@pytest.mark.parametrize("seconds", [limits.lease_margin_seconds, 1, 0, -10])
def test_a_permit_that_is_about_to_end_gives_no_time(seconds: int) -> None:
    with pytest.raises(LeaseLost):
        fresh(permit_seconds=seconds).renew(now_ns=NOW)
    fresh(permit_seconds=limits.lease_margin_seconds + 1).renew(now_ns=NOW)


@pytest.mark.parametrize(
    "other",
    [{"attempt": 1}, {"attempt": 3}, {"spiffe_id": RUNNER + "1"}, {"grant_digest": b"h" * 32}, {"now_ns": NOW * 2}],
    ids=lambda other: next(iter(other)),
)
def test_attack_a_fenced_attempt_delivers(other: dict[str, object]) -> None:
    claim: dict[str, object] = {"attempt": 2, "spiffe_id": RUNNER, "grant_digest": GRANT, "now_ns": NOW}
    fresh().check_fence(**claim)  # type: ignore[arg-type]
    with pytest.raises(LeaseLost):
        fresh().check_fence(**{**claim, **other})  # type: ignore[arg-type]


def test_a_grant_gives_no_time() -> None:
    held = HeldLease(grant_digest=GRANT)
    assert not held.live(monotonic=0.0)
    assert not held.ask(monotonic=5.0).live(monotonic=5.0)


def test_the_runner_counts_from_its_ask_less_the_margin() -> None:
    held = HeldLease(grant_digest=GRANT).ask(monotonic=100.0).answer(renewal())
    assert held.deadline == 100.0 + 60.0 - limits.lease_margin_seconds
    assert held.live(monotonic=154.9)
    assert not held.live(monotonic=155.0)


@pytest.mark.parametrize(
    "wrong", [renewal(sequence=1), renewal(sequence=3), renewal(sequence=2, grant_digest=b"h" * 32)]
)
def test_attack_an_answer_to_another_ask_or_grant(wrong: Renewal) -> None:
    held = HeldLease(grant_digest=GRANT).ask(monotonic=1.0).ask(monotonic=21.0)
    with pytest.raises(StatementInvalid):
        held.answer(wrong)
    assert held.answer(renewal(sequence=2)).live(monotonic=30.0)


def test_the_same_answer_twice_gives_time_once() -> None:
    held = HeldLease(grant_digest=GRANT).ask(monotonic=1.0).answer(renewal())
    assert held.answer(renewal()) == held


def test_a_shorter_answer_takes_no_time_away() -> None:
    held = HeldLease(grant_digest=GRANT).ask(monotonic=1.0).answer(renewal()).ask(monotonic=2.0)
    assert held.answer(renewal(sequence=2, duration_ms=6_000)).deadline == held.deadline


@pytest.mark.parametrize("duration_ms", [0, -1, limits.lease_seconds * 1000 + 1])
def test_a_renewal_is_bounded(duration_ms: int) -> None:
    with pytest.raises(StatementInvalid):
        renewal(duration_ms=duration_ms)


def test_attack_a_renewal_that_nobody_asked_for() -> None:
    with pytest.raises(StatementInvalid):
        renewal(sequence=0)
    with pytest.raises(StatementInvalid):
        HeldLease(grant_digest=GRANT).answer(renewal(sequence=1))


def grant() -> Grant:
    return Grant(
        payload=b"grant",
        manifest_digest=b"m" * 32,
        attempt=1,
        spiffe_id=RUNNER,
        kid=b"k" * 32,
        permit_digest=b"p" * 32,
        checkpoint=b"",
        issued_ns=NOW,
    )


@pytest.mark.parametrize(
    "wrong",
    [{"attempt": 0}, {"attempt": 2**31 + 1}, {"manifest_digest": b"m"}, {"permit_digest": b"p" * 33}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_grant_that_exists_is_legal(wrong: dict[str, object]) -> None:
    with pytest.raises(StatementInvalid):
        replace(grant(), **wrong)  # type: ignore[arg-type]


def test_a_grants_digest_is_over_its_bytes() -> None:
    assert grant().digest == hashlib.sha256(b"grant").digest()
    assert grant().digest != replace(grant(), payload=b"other").digest
