"""Dispatch: policy before each claim, one attempt at a time, and nothing that depends on a process's luck."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from carnet.core.errors import LeaseLost
from carnet.core.job import JobState
from carnet.core.lifecycle import CancelAsked, Claimed
from carnet.core.receipt import ExitClass
from carnet.core.statement import Signed
from carnet.outbox import SealedJob
from carnet.statements import RENEWAL
from gateway import dispatch, roster
from gateway.offering import Offering
from gateway.roster import Presence
from gateway.standing import Standing
from gateway.storage import queries
from gateway.storage.records import JobKey, StoredJob
from sandbox.agent import offer_from
from sandbox.offer import Memory, judge_offer
from tests.fixtures.broker import Broker, broker, revised
from tests.fixtures.gateway_process import until
from tests.fixtures.parties import Parties, facts
from tests.fixtures.stored import job, life


@pytest.fixture
async def found(parties: Parties, tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker(parties, tmp_path, "DE", "FR") as found:
        yield found


def state_of(found: Broker, key: JobKey) -> JobState | None:
    """Where a job is that has not ended."""
    job = found.lives.find(key)
    return None if job is None else job.life.state


async def offered(found: Broker, presence: Presence) -> bytes:
    """The grant of the next offer to a runner."""
    message = await found.sent(presence)
    return hashlib.sha256(message.offer.grant.payload).digest()


async def test_a_job_is_offered_to_its_first_recipient_that_is_here(found: Broker, parties: Parties) -> None:
    key = await found.accept(parties.sealed("FR", "DE"))
    presence = found.attach("DE")
    message = await found.sent(presence)
    accepted = judge_offer(
        offer_from(message.offer),
        runner=parties.runners["DE"].self,
        pins=parties.pins,
        memory=Memory(),
        now_ns=parties.clock(),
    )
    assert accepted.grant.attempt == 1
    row = await found.row(key)
    assert row.life.state is JobState.DISPATCHING
    assert row.lease is not None
    assert row.lease.grant_digest == accepted.grant.digest
    assert found.policy.asked == ["decide", "judge", "mask"]


async def test_nothing_is_offered_while_the_engine_is_down_and_the_job_goes_once_it_is_back(
    found: Broker, parties: Parties
) -> None:
    found.policy.down = True
    presence = found.attach("FR")
    key = await found.accept(parties.sealed("FR"))
    await asyncio.sleep(1.5)
    assert presence.outgoing.empty()
    assert (await found.row(key)).life.state is JobState.QUEUED
    assert presence.slots_free == 1, "the slot was given back"
    assert found.policy.asked
    found.policy.down = False
    assert (await found.sent(presence)).HasField("offer")


async def test_a_runner_that_policy_refuses_is_passed_over_for_the_next(found: Broker, parties: Parties) -> None:
    found.policy.refused.add(parties.runners["FR"].name)
    first, second = found.attach("FR"), found.attach("DE")
    await found.accept(parties.sealed("FR", "DE"))
    assert (await found.sent(second)).HasField("offer")
    assert first.outgoing.empty()


async def test_a_job_that_policy_no_longer_permits_ends_denied_and_its_wraps_are_gone(
    found: Broker, parties: Parties
) -> None:
    job = parties.sealed("FR")
    found.policy.places = ()
    presence = found.attach("FR")
    key = await found.accept(job)
    for _ in range(100):
        row = await found.row(key)
        if row.life.state.terminal:
            break
        await asyncio.sleep(0.05)
    assert row.life.state is JobState.DENIED
    assert presence.outgoing.empty()
    assert await found.store.wrap(key, job.manifest.recipients[0].kid) is None


async def test_two_jobs_do_not_share_one_slot(found: Broker, parties: Parties) -> None:
    presence = found.attach("FR")
    keys = [await found.accept(parties.sealed("FR")) for _ in range(2)]
    await offered(found, presence)
    await asyncio.sleep(1.2)
    assert presence.outgoing.empty()
    states = sorted([(await found.row(key)).life.state for key in keys])
    assert states == [JobState.DISPATCHING, JobState.QUEUED]


async def test_a_refused_offer_goes_to_the_next_recipient(found: Broker, parties: Parties) -> None:
    first, second = found.attach("FR"), found.attach("DE")
    key = await found.accept(parties.sealed("FR", "DE"))
    await found.dispatch.refused(first, await offered(found, first), "IMAGE_NOT_ALLOWED")
    grant = await offered(found, second)
    row = await found.row(key)
    assert (row.life.attempt, row.lease is not None and row.lease.grant_digest == grant) == (2, True)
    events = await found.store.read(queries.events, key, start=0, limit=20)
    assert "IMAGE_NOT_ALLOWED" in [event.event.reason for event in events]


async def offers_of_two(found: Broker, presence: Presence, jobs: list[SealedJob]) -> list[int]:
    """The leaves of two jobs' dispatch decisions, in the order in which one runner is offered them."""
    for each in jobs:
        await found.accept(each)
    return [(await found.sent(presence)).offer.decision.index for _ in jobs]


async def test_a_runner_is_never_offered_an_older_checkpoint_than_before(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence, jobs = found.attach("FR"), [parties.sealed("FR") for _ in range(4)]
    held_up, grant = {jobs[0].manifest.job_id, jobs[2].manifest.job_id}, Offering._grant

    async def slowly(self: Offering, job: StoredJob, *parts: Any) -> Signed:
        # The first of two is held up between the leaf of its decision and its grant.
        if job.key.job_id in held_up:
            await asyncio.sleep(1.5)
        return await grant(self, job, *parts)

    monkeypatch.setattr(Offering, "_grant", slowly)
    monkeypatch.setattr(Presence, "slots_free", 4)
    first, second = await offers_of_two(found, presence, jobs[:2])
    assert first < second
    # Control: with no turns the second one overtakes, and an honest offer would be refused as a log rolled back.
    monkeypatch.setattr(Offering, "_turn", lambda *_: nullcontext())
    first, second = await offers_of_two(found, presence, jobs[2:])
    assert first > second


async def test_time_is_given_to_the_holder_and_to_nobody_else(found: Broker, parties: Parties) -> None:
    holder, other = found.attach("FR"), found.attach("DE")
    key = await found.accept(parties.sealed("FR"))
    grant = await offered(found, holder)
    before = (await found.row(key)).lease
    await found.dispatch.renew(holder, grant, 1)
    renewal = RENEWAL.parse((await found.sent(holder)).renewed.renewal.payload)
    assert (renewal.grant_digest, renewal.sequence, renewal.duration_ms) == (grant, 1, 10_000)
    after = (await found.row(key)).lease
    assert before is not None
    assert after is not None
    assert after.deadline_ns > before.deadline_ns
    for presence, digest in ((other, grant), (holder, bytes(32))):
        with pytest.raises(LeaseLost):
            await found.dispatch.renew(presence, digest, 2)


async def test_attack_a_runner_whose_operator_withdrew_it_gets_no_more_time(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = found.attach("FR")
    await found.accept(parties.sealed("FR"))
    grant = await offered(found, presence)
    await found.dispatch.renew(presence, grant, 1)
    status = replace(presence.runner.status, expires_ns=parties.clock())
    presence.runner = replace(presence.runner, status=status)
    with pytest.raises(LeaseLost):
        await found.dispatch.renew(presence, grant, 2)
    # Control: a gateway that does not look goes on giving time.
    monkeypatch.setattr(Presence, "fresh", lambda *_, **__: True)
    await found.dispatch.renew(presence, grant, 3)


async def test_a_new_revision_that_denies_stops_the_job_at_its_next_renewal(found: Broker, parties: Parties) -> None:
    presence = found.attach("FR")
    key = await found.accept(parties.sealed("FR"))
    grant = await offered(found, presence)
    await found.dispatch.renew(presence, grant, 1)
    revised(found.policy)
    found.policy.places = ("DE",)
    with pytest.raises(LeaseLost):
        await found.dispatch.renew(presence, grant, 2)
    row = await found.row(key)
    assert (row.life.state, row.life.cause) == (JobState.CANCELLING, JobState.DENIED)
    await found.dispatch.ended(presence, grant, ExitClass.CANCELLED)
    assert (await found.row(key)).life.state is JobState.DENIED


async def test_a_revision_that_goes_live_while_an_offer_is_made_is_asked_at_the_next_renewal(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Offering._grant

    async def meanwhile(self: Offering, *parts: Any) -> Signed:
        # Policy was asked, and its answer is in the log: now another revision goes live.
        revised(found.policy)
        found.policy.places = ("DE",)
        return await honest(self, *parts)

    monkeypatch.setattr(Offering, "_grant", meanwhile)
    presence = found.attach("FR")
    key = await found.accept(parties.sealed("FR"))
    grant = await offered(found, presence)
    await until(lambda: grant in found.dispatch._revisions)
    with pytest.raises(LeaseLost):
        await found.dispatch.renew(presence, grant, 1)
    assert (await found.row(key)).life.cause is JobState.DENIED


async def test_a_recipient_that_stays_away_is_passed_over_and_the_client_can_add_others(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await found.accept(parties.sealed("FR"))
    await asyncio.sleep(1.5)
    assert (await found.row(key)).life.state is JobState.QUEUED, "control: it has minutes to come"
    monkeypatch.setattr(roster, "absent_seconds", 1.0)
    await until(lambda: state_of(found, key) is JobState.NEEDS_RECIPIENTS)


async def test_a_recipient_that_its_operator_no_longer_vouches_for_is_passed_over(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "absent_seconds", 1.0)
    presence = found.attach("FR")
    status = replace(presence.runner.status, expires_ns=parties.clock())
    presence.runner = replace(presence.runner, status=status)
    key = await found.accept(parties.sealed("FR"))
    await until(lambda: state_of(found, key) is JobState.NEEDS_RECIPIENTS)
    assert presence.outgoing.empty()


async def test_a_recipient_that_is_here_and_busy_is_waited_for(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "absent_seconds", 1.0)
    presence = found.attach("FR")
    first = await found.accept(parties.sealed("FR"))
    await offered(found, presence)
    second = await found.accept(parties.sealed("FR"))
    await asyncio.sleep(2.5)
    assert (state_of(found, first), state_of(found, second)) == (JobState.DISPATCHING, JobState.QUEUED)


async def test_new_screening_results_are_asked_about_at_the_next_renewal(
    found: Broker, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    presence = found.attach("FR")
    key = await found.accept(parties.sealed("FR"))
    grant = await offered(found, presence)
    asked = len(found.policy.asked)
    await found.dispatch.renew(presence, grant, 1)
    assert len(found.policy.asked) == asked, "the control: nothing changed, and nothing is asked"
    monkeypatch.setattr(Standing, "screened_by", "sha256:" + "1" * 64)
    found.policy.places = ("DE",)
    with pytest.raises(LeaseLost):
        await found.dispatch.renew(presence, grant, 2)
    assert (await found.row(key)).life.cause is JobState.DENIED


async def test_a_cancelled_job_is_revoked_and_closed_when_its_runner_says_so(found: Broker, parties: Parties) -> None:
    presence = found.attach("FR")
    key = await found.accept(parties.sealed("FR"))
    grant = await offered(found, presence)
    await found.lives.step(key, CancelAsked())
    message = await found.sent(presence)
    assert (message.revoked.grant_digest, message.revoked.reason) == (grant, "CANCELLED")
    await found.dispatch.ended(presence, grant, ExitClass.CANCELLED)
    assert (await found.row(key)).life.state is JobState.CANCELLED
    assert presence.held == set()


async def test_more_jobs_than_are_claimed_at_once_do_not_wait_for_the_next_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "sweep_seconds", 3600.0)
    own, many = Parties.build(tmp_path / "parties"), 2 * dispatch.claims_max + 3
    async with broker(own, tmp_path, "FR") as found:
        keys = [await found.accept(own.sealed("FR")) for _ in range(many)]
        await until(lambda: len(found.dispatch._queued) == many and not found.dispatch._claiming)
        own.runners["FR"].restart()
        found.attach("FR")  # it can open none of them, and each is told so by a claim of its own

        def waiting() -> bool:
            lives = [found.lives.find(key) for key in keys]
            return all(one is not None and one.life.state is JobState.NEEDS_RECIPIENTS for one in lives)

        await until(waiting)


async def test_attempts_are_spaced_the_longer_the_more_were_lost(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, ahead = asyncio.get_running_loop(), [0.0]
    clock = loop.time
    monkeypatch.setattr(loop, "time", lambda: clock() + ahead[0])
    async with broker(parties, tmp_path, "DE", "FR", "US") as found:
        presences = [found.attach(place) for place in ("FR", "DE", "US")]
        key = await found.accept(parties.sealed("FR", "DE", "US", data=facts(caps={"attempts": 3})))
        for lost, (presence, after) in enumerate(pairwise(presences), start=1):
            await found.dispatch.refused(presence, await offered(found, presence), "IMAGE_NOT_ALLOWED")
            pause = dispatch.attempt_pause_seconds * 2 ** (lost - 1)
            ahead[0] += pause - 0.5
            found.dispatch.nudge()
            await asyncio.sleep(0.2)
            assert after.outgoing.empty(), "a runner that is here and free does not shorten the pause"
            assert (await found.row(key)).life.state is JobState.QUEUED
            ahead[0] += 0.5
            found.dispatch.nudge()
        assert (await found.sent(presences[-1])).HasField("offer")


def test_the_pause_doubles_from_a_second_to_a_minute() -> None:
    before = replace(job(), life=life(JobState.RUNNING))
    pauses = [
        dispatch._pause(before, replace(before, life=replace(before.life, attempts_max=8, attempt=lost)))
        for lost in range(1, 9)
    ]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert dispatch._pause(job(), before) == 0.0, "nothing was lost"


async def test_a_queued_job_that_fell_out_of_the_queue_is_found_again(found: Broker, parties: Parties) -> None:
    await found.accept(parties.sealed("FR"))
    await asyncio.sleep(0.1)
    found.dispatch._queued.clear()
    presence = found.attach("FR")
    assert (await found.sent(presence)).HasField("offer")


async def test_a_claim_that_a_crash_cut_before_its_grant_is_queued_again_at_the_next_start(
    parties: Parties, tmp_path: Path
) -> None:
    async with broker(parties, tmp_path, "DE", "FR") as before:
        key = await before.accept(parties.sealed("FR", "DE"))
        await before.dispatch.close()

        await before.lives.step(key, Claimed(spiffe_id=parties.runners["FR"].name))
    async with broker(parties, tmp_path, "DE", "FR") as after:
        assert (await after.row(key)).life.state is JobState.QUEUED
        presence = after.attach("DE")
        assert (await after.sent(presence)).HasField("offer")
