"""The roster: who is here, and how much room each has."""

import asyncio
import secrets

import pytest

from carnet.core import limits
from carnet.core.errors import RunnerDraining, Unavailable
from gateway.messages import revoked_message
from gateway.roster import Presence, Roster, sends_max
from gateway.storage.records import JobKey
from tests.fixtures.parties import Parties


def key() -> JobKey:
    return JobKey(tenant_id=bytes(16), job_id=secrets.token_bytes(16))


def presence_of(parties: Parties, place: str = "FR", *, said: int = 1) -> Presence:
    presence = Presence(runner=parties.runners[place].vetted(parties.pins))
    presence.active, presence.slots_said = True, said
    return presence


def test_a_runner_has_no_room_before_it_says_that_it_is_active(parties: Parties) -> None:
    presence = Presence(runner=parties.runners["FR"].vetted(parties.pins))
    presence.slots_said = 5
    assert presence.slots_free == 0
    presence.active = True
    assert presence.slots_free == presence.runner.card.slots


def test_a_runner_s_word_can_only_lower_its_room(parties: Parties) -> None:
    assert presence_of(parties, said=100).slots_free == parties.runners["FR"].self.card.slots
    assert presence_of(parties, said=0).slots_free == 0


def test_a_slot_is_taken_once_and_given_back_once(parties: Parties) -> None:
    roster, presence, job = Roster(), presence_of(parties), key()
    roster.attach(presence)
    roster.reserve(presence, job)
    presence.slots_said = 0
    with pytest.raises(RunnerDraining):
        roster.reserve(presence, key())
    for _ in range(2):
        roster.release(presence.runner.spiffe_id, job)
    presence.slots_said = 1
    assert presence.slots_free == 1


def test_slots_that_nobody_gave_back_are_settled(parties: Parties) -> None:
    roster, presence, lost, held = Roster(), presence_of(parties), key(), key()
    roster.attach(presence)
    presence.held = {lost, held}
    roster.settle(lambda spiffe_id, job: (spiffe_id, job) == (presence.runner.spiffe_id, held))
    assert presence.held == {held}


def test_a_newer_stream_takes_the_place_and_the_jobs_of_the_older_one(parties: Parties) -> None:
    roster, older, newer, job = Roster(), presence_of(parties), presence_of(parties), key()
    roster.attach(older)
    roster.reserve(older, job)
    roster.attach(newer)
    assert newer.held == {job}
    assert older.outgoing.get_nowait() is None, "the older stream is told to end"
    roster.detach(older)
    assert roster.find(newer.runner.spiffe_id) is newer
    roster.detach(newer)
    assert len(roster) == 0


def test_a_restarted_runner_holds_nothing_of_its_earlier_life(tmp_path_factory: pytest.TempPathFactory) -> None:
    parties = Parties.build(tmp_path_factory.mktemp("restarted"))
    roster, older = Roster(), presence_of(parties)
    roster.attach(older)
    roster.reserve(older, key())
    parties.runners["FR"].restart()
    newer = presence_of(parties)
    roster.attach(newer)
    assert newer.held == set()


def test_a_runner_that_does_not_read_is_let_go(parties: Parties) -> None:
    presence = presence_of(parties)
    for _ in range(sends_max):
        presence.send(revoked_message(bytes(32), "LEASE_LOST"))
    with pytest.raises(Unavailable):
        presence.send(revoked_message(bytes(32), "LEASE_LOST"))
    presence.end()
    assert presence.outgoing.qsize() <= sends_max

    async def last() -> object:
        message: object = "nothing"
        while not presence.outgoing.empty():
            message = presence.outgoing.get_nowait()
        return message

    assert asyncio.run(last()) is None


def test_every_runner_is_offered_by_name(parties: Parties) -> None:
    roster = Roster()
    for place in ("US", "FR"):
        roster.attach(presence_of(parties, place))
    offers = roster.offers(now_ns=parties.clock())
    assert [offer.facts.jurisdiction for offer in offers] == ["FR", "US"]
    assert not any(offer.draining for offer in offers)


def test_a_runner_is_absent_after_minutes_and_nobody_is_before_the_gateway_listened_for_as_long(
    parties: Parties,
) -> None:
    roster, presence, bound = Roster(), presence_of(parties), float(limits.recipient_absent_seconds)
    name, now_ns = presence.runner.spiffe_id, parties.clock()
    assert not roster.absent(name, clock=10 * bound), "nobody looked yet"
    roster.note(now_ns=now_ns, clock=0.0)
    assert not roster.absent(name, clock=bound)
    assert roster.absent(name, clock=bound + 1)
    roster.attach(presence)
    roster.note(now_ns=now_ns, clock=5.0)
    assert not roster.absent(name, clock=5 + bound)
    roster.detach(presence)
    roster.note(now_ns=now_ns, clock=5 + bound)
    assert not roster.absent(name, clock=5 + bound)
    roster.note(now_ns=now_ns, clock=6 + bound)
    assert roster.absent(name, clock=6 + bound)
    assert roster._seen == {}, "what is long gone is not remembered"


def test_a_machine_whose_time_jumps_makes_nobody_absent(parties: Parties) -> None:
    roster, presence = Roster(), presence_of(parties)
    roster.attach(presence)
    roster.note(now_ns=parties.clock(), clock=0.0)
    roster.detach(presence)
    roster.note(now_ns=parties.clock() + 3600 * 10**9, clock=1.0)
    assert not roster.absent(presence.runner.spiffe_id, clock=1.0)


def test_what_policy_hears_is_of_those_who_are_here_each_once(parties: Parties) -> None:
    roster, french, german = Roster(), presence_of(parties), presence_of(parties, "DE")
    roster.attach(french)
    names = [french.runner.spiffe_id, german.runner.spiffe_id, french.runner.spiffe_id]
    assert roster.facts_of(names, now_ns=parties.clock()) == (french.runner.facts,)
    roster.attach(german)
    assert roster.facts_of(names, now_ns=parties.clock()) == (french.runner.facts, german.runner.facts)
    stale_ns = parties.clock() + 2 * 3600 * 10**9
    assert roster.facts_of(names, now_ns=stale_ns) == ()
