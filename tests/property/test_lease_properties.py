"""Whatever is asked, lost and delayed: the runner's time ends before the gateway's, by both margins."""

from hypothesis import given
from hypothesis import strategies as st

from carnet.core import limits
from carnet.core.errors import LeaseLost, StatementInvalid
from carnet.core.lease import SECOND, HeldLease, Renewal, grant_lease

GRANT = b"g" * 32
MARGINS = 2 * limits.lease_margin_seconds

Exchange = tuple[float, float, float, bool]
seconds = st.floats(0, 40, allow_nan=False)
exchanges = st.lists(st.tuples(seconds, seconds, seconds, st.booleans()), max_size=30)


@given(exchanges=exchanges, permit=st.integers(0, 900), offset=st.floats(0, 10**6))
def test_the_runner_stops_before_the_gateway_gives_the_job_away(
    exchanges: list[Exchange], permit: int, offset: float
) -> None:
    start = 1_000_000 * SECOND
    lease = grant_lease(
        attempt=1, spiffe_id="r", grant_digest=GRANT, permit_until_ns=start + permit * SECOND, now_ns=start
    )
    held = HeldLease(grant_digest=GRANT)
    now = 0.0
    for wait, to_gateway, to_runner, lost in exchanges:
        now += wait
        held = held.ask(monotonic=offset + now)
        now += to_gateway
        before = lease.deadline_ns
        try:
            lease, duration_ms = lease.renew(now_ns=start + int(now * SECOND))
        except LeaseLost:
            break
        assert lease.deadline_ns >= before
        now += to_runner
        if not lost:
            answer = Renewal(payload=b"", grant_digest=GRANT, sequence=held.asked_sequence, duration_ms=duration_ms)
            held = held.answer(answer)
        runner_ends = held.deadline - offset
        assert runner_ends <= (lease.deadline_ns - start) / SECOND - MARGINS + 1e-3 or not held.deadline
        assert runner_ends <= max(0, permit - limits.lease_margin_seconds) + 1e-3 or not held.deadline


@given(asked=st.integers(0, 5), sequence=st.integers(1, 6), digest=st.sampled_from((GRANT, b"h" * 32)))
def test_only_the_answer_to_the_last_ask_of_this_grant_is_taken(asked: int, sequence: int, digest: bytes) -> None:
    held = HeldLease(grant_digest=GRANT)
    for second in range(asked):
        held = held.ask(monotonic=float(second))
    renewal = Renewal(payload=b"", grant_digest=digest, sequence=sequence, duration_ms=60_000)
    try:
        taken = held.answer(renewal)
    except StatementInvalid:
        assert (digest, sequence) != (GRANT, asked)
        return
    assert (digest, sequence) == (GRANT, asked)
    assert taken.deadline == held.asked_at + 60 - limits.lease_margin_seconds
