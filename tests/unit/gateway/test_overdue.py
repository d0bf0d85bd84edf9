"""What the sweep brings about, and when."""

from dataclasses import replace

import pytest

from carnet.core.job import JobState
from carnet.core.lease import SECOND, grant_lease
from carnet.core.lifecycle import (
    AttemptClosed,
    AttemptLost,
    Claimed,
    Contender,
    DeadlinePassed,
    Event,
    Started,
    advance,
)
from gateway.overdue import overdue
from gateway.roster import Presence, Roster
from gateway.storage.records import StoredJob
from tests.fixtures import stored
from tests.fixtures.parties import Parties

NOW = 1_000_000 * SECOND


def running(parties: Parties, *, lease: bool = True) -> StoredJob:
    runner = parties.runners["FR"].vetted(parties.pins)
    contender = Contender(spiffe_id=runner.spiffe_id, jurisdiction="FR", kid=runner.key.kid)
    life = replace(stored.life(deadline_ns=NOW + 3600 * SECOND), contenders=(contender,))
    life, _ = advance(life, Claimed(spiffe_id=runner.spiffe_id), now_ns=NOW)
    life, _ = advance(life, Started(), now_ns=NOW) if lease else (life, ())
    held = grant_lease(
        attempt=1, spiffe_id=runner.spiffe_id, grant_digest=b"g" * 32, permit_until_ns=NOW * 2, now_ns=NOW
    )
    return replace(stored.job(), life=life, lease=held if lease else None, updated_ns=NOW)


def due(job: StoredJob, roster: Roster, seconds: int) -> Event | None:
    return overdue(job, roster, now_ns=NOW + seconds * SECOND, lease_seconds=60)


def test_a_live_lease_is_left_alone_whether_its_runner_is_here_or_not(parties: Parties) -> None:
    roster = Roster()
    assert due(running(parties), roster, 64) is None
    roster.attach(Presence(runner=parties.runners["FR"].vetted(parties.pins)))
    assert due(running(parties), roster, 64) is None


def test_a_lease_that_ran_out_loses_the_attempt(parties: Parties) -> None:
    assert due(running(parties), Roster(), 65) == AttemptLost(reason="LEASE_EXPIRED")


def test_a_runner_that_came_back_with_another_key_has_lost_its_attempt(
    parties: Parties, tmp_path_factory: pytest.TempPathFactory
) -> None:
    job, roster = running(parties), Roster()
    presence = Presence(runner=parties.runners["FR"].vetted(parties.pins))
    presence.runner = replace(presence.runner, key=parties.runners["DE"].vetted(parties.pins).key)
    roster._present[parties.runners["FR"].name] = presence
    assert due(job, roster, 1) == AttemptLost(reason="RUNNER_RESTARTED")


def test_a_claim_without_a_grant_is_lost_after_one_lease_time(parties: Parties) -> None:
    job = running(parties, lease=False)
    assert due(job, Roster(), 60) is None
    assert due(job, Roster(), 61) == AttemptLost(reason="NO_GRANT")


def test_a_stop_is_closed_when_nobody_is_left_to_confirm_it(parties: Parties) -> None:
    job = running(parties)
    stopping = replace(job, life=replace(job.life, state=JobState.CANCELLING, cause=JobState.CANCELLED))
    assert due(stopping, Roster(), 1) is None
    assert due(stopping, Roster(), 65) == AttemptClosed()
    assert due(replace(stopping, lease=None), Roster(), 0) == AttemptClosed()


def test_a_deadline_ends_a_job_that_waits(parties: Parties) -> None:
    job = replace(stored.job(), life=stored.life(deadline_ns=NOW + SECOND))
    assert due(job, Roster(), 0) is None
    assert due(job, Roster(), 1) == DeadlinePassed()
