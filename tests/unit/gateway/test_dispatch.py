"""Dispatch: policy before each claim, one attempt at a time, and nothing that depends on a process's luck."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carnet.core.errors import LeaseLost
from carnet.core.job import JobState
from carnet.core.lifecycle import CancelAsked, Claimed
from carnet.core.receipt import ExitClass
from carnet.statements import RENEWAL
from gateway.roster import Presence
from gateway.storage import queries
from sandbox.agent import offer_from
from sandbox.offer import Memory, judge_offer
from tests.fixtures.broker import Broker, broker, revised
from tests.fixtures.parties import Parties


@pytest.fixture
async def found(parties: Parties, tmp_path: Path) -> AsyncIterator[Broker]:
    async with broker(parties, tmp_path, "DE", "FR") as found:
        yield found


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
