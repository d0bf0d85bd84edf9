"""A gateway that rolls its log back, or shows two of them: client and runner notice, each for as long as it lives."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from carnet.checkpoints import SeenLog, roots_max
from carnet.client import Client
from carnet.core.checkpoint import Checkpoint
from carnet.core.errors import FieldInvalid, ProofInvalid
from carnet.v1 import jobs_pb2
from carnet.wire import Logged, logged_from_proto, logged_to_proto
from sandbox import offer as offers
from sandbox.agent import offer_from
from sandbox.offer import AcceptedOffer, Memory, judge_offer
from tests.fixtures.malicious_gateway import Held, running, serving
from tests.fixtures.parties import Cage, LogBook, Parties, Voice, facts, nothing, work


def other_history(parties: Parties, logged: Logged, *, size: int) -> Logged:
    """The same entry in a log of this size, under the gateway's own key."""
    honest = parties.voice.log
    book = LogBook(honest.origin, honest.key)
    for i in range(size - 1):
        book.add(b"other %d" % i)
    return book.add(logged.entry)


async def prepare_twice(parties: Parties, *, smaller: int) -> None:
    """Prepare honestly, and then from a log that is smaller by so much, or as large and another."""

    def rolled(honest: jobs_pb2.PrepareJobResponse) -> jobs_pb2.PrepareJobResponse:
        logged = logged_from_proto(honest.decision.logged)
        size = len(parties.voice.log.entries) - 1 - smaller
        honest.decision.logged.CopyFrom(logged_to_proto(other_history(parties, logged, size=size)))
        return honest

    parties.voice.leaf("noise")
    async with serving(parties) as double, Client(parties.context(double.address)) as client:
        await client.prepare(facts())
        double.lies = {"prepare": rolled}
        await client.prepare(facts())


@pytest.mark.parametrize(
    ("smaller", "text"),
    [(1, "The log was rolled back: it is smaller than it was before."), (0, "The log shows two histories")],
    ids=["rolled back", "split"],
)
async def test_a_log_is_refused_that_is(
    smaller: int, text: str, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ProofInvalid, match=text):
        await prepare_twice(parties, smaller=smaller)
    # Control: every signature and path is good; a client without a memory believes both logs.
    monkeypatch.setattr(SeenLog, "see", nothing)
    await prepare_twice(parties, smaller=smaller)


async def test_an_acceptance_from_a_log_that_was_rolled_back_is_refused(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rolled(honest: jobs_pb2.SubmitJobResponse) -> jobs_pb2.SubmitJobResponse:
        logged = logged_from_proto(honest.accepted)
        honest.accepted.CopyFrom(logged_to_proto(other_history(parties, logged, size=1)))
        return honest

    async with serving(parties, {"submit": rolled}) as double, Client(parties.context(double.address)) as client:
        sealed = await client.seal(work(), await client.prepare(facts()))
        with pytest.raises(ProofInvalid, match="rolled back"):
            await client.submit(sealed)
        # Control: the leaf is in that log, and the checkpoint is signed.
        monkeypatch.setattr(SeenLog, "see", nothing)
        assert await client.submit(sealed)


async def test_an_outcome_from_a_log_that_was_rolled_back_is_refused(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = recorded[0].outcome
    assert outcome is not None

    def old(items: list[Any]) -> list[Any]:
        # The very log of this gateway, as it was when the job ended.
        logged = parties.voice.log.prove(outcome.index, outcome.index + 1)
        items[0].receipt.outcome.CopyFrom(logged_to_proto(logged))
        return items

    async def result() -> object:
        async with (
            serving(parties, {"result": old}, recorded) as double,
            Client(parties.context(double.address)) as client,
        ):
            await client.prepare(facts())
            return await client.result(recorded[0].name)

    with pytest.raises(ProofInvalid, match="rolled back"):
        await result()
    # Control: to a client that saw nothing newer, the old checkpoint is as good as any.
    monkeypatch.setattr(SeenLog, "see", nothing)
    assert await result()


async def test_answers_that_overtake_each_other_are_no_rollback(parties: Parties) -> None:
    # Control of the rule: a proof is compared with what was seen before its request, not before its answer.
    async with serving(parties) as double, Client(parties.context(double.address)) as client:
        await asyncio.gather(*(client.prepare(facts()) for _ in range(8)))
    seen = SeenLog(parties.pins.gateway)
    seen.see(Checkpoint(origin="x", size=9, root=b"9" * 32), at_least=0)
    seen.see(Checkpoint(origin="x", size=8, root=b"8" * 32), at_least=0)
    assert seen.size == 9
    with pytest.raises(ProofInvalid, match="rolled back"):
        seen.see(Checkpoint(origin="x", size=8, root=b"8" * 32), at_least=9)


def test_what_is_remembered_is_bounded(parties: Parties) -> None:
    seen = SeenLog(parties.pins.gateway)
    for size in range(1, roots_max + 100):
        seen.see(Checkpoint(origin="x", size=size, root=size.to_bytes(32)))
    assert len(seen._roots) == roots_max
    # Control: the newest are those that are kept.
    with pytest.raises(ProofInvalid, match="two histories"):
        seen.see(Checkpoint(origin="x", size=roots_max + 50, root=bytes(32)))


# --- to a runner ---------------------------------------------------------------------------------------------------


def speaking_from_another_log(parties: Parties, *, size: int) -> Voice:
    """The gateway's own voice and keys, over a second history that its next leaf brings to this size."""
    honest = parties.voice.log
    book = LogBook(honest.origin, honest.key)
    for i in range(size - 1):
        book.add(b"other %d" % i)
    return replace(parties.voice, log=book)


@pytest.mark.parametrize(
    ("smaller", "text"),
    [(1, "The log was rolled back: it is smaller than it was before."), (0, "The log shows two histories")],
    ids=["rolled back", "split"],
)
async def test_a_runner_takes_no_offer_from_a_log_that_is(
    smaller: int, text: str, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = parties.runners["FR"]

    async def offered_twice(state: Path) -> tuple[int, list[str]]:
        """One job offered honestly, the next one from the other log: how many were opened, what was refused."""
        cage = Cage()
        async with serving(parties) as double, running(parties, runner, double.address, cage, state):
            first = double.take(parties.sealed("FR"))
            await double.until_attached(runner)
            await double.offer(first, runner)
            await double.until(lambda: first.done.is_set() and runner.name in double.free)
            assert first.dispatched is not None
            second = double.take(parties.sealed("FR"))
            double.voice = speaking_from_another_log(parties, size=first.dispatched.logged.index + 1 - smaller)
            await double.offer(second, runner)
            await double.until(lambda: double.refused or second.done.is_set())
            return len(cage.opened), double.refused

    with capture_logs() as logs:
        assert await offered_twice(tmp_path / "one") == (1, ["PROOF_INVALID"])
    assert any(entry.get("text", "").startswith(text) for entry in logs)
    # Control: every signature and path is good; a runner without a memory of the log works for both histories.
    monkeypatch.setattr(offers, "_check_history", nothing)
    assert await offered_twice(tmp_path / "two") == (2, [])


def judged(parties: Parties, memory: Memory, voice: Voice) -> AcceptedOffer:
    runner, job = parties.runners["FR"], parties.sealed("FR")
    return judge_offer(
        offer_from(voice.offer(job, runner, voice.dispatch(job, runner))),
        runner=runner.self,
        pins=parties.pins,
        memory=memory,
        now_ns=parties.clock(),
    )


def test_a_checkpoint_that_came_with_a_refused_offer_was_seen_all_the_same(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()

    def refusing(*_: object) -> None:
        raise FieldInvalid("The job asks for more than this runner has.")

    with monkeypatch.context() as patched:
        patched.setattr(offers, "_check_shape", refusing)
        with pytest.raises(FieldInvalid):
            judged(parties, memory, parties.voice)
    with pytest.raises(ProofInvalid, match="two histories"):
        judged(parties, memory, speaking_from_another_log(parties, size=memory.log.size))
    # Control: nothing but what the runner remembers tells the two logs apart.
    monkeypatch.setattr(offers, "_check_history", nothing)
    assert judged(parties, memory, speaking_from_another_log(parties, size=memory.log.size))


def test_a_log_that_grows_is_taken_from_offer_to_offer(parties: Parties) -> None:
    memory = Memory()
    for _ in range(3):
        judged(parties, memory, parties.voice)
        assert memory.log.size == len(parties.voice.log.entries)
    # Two offers whose leaves were committed together are under one checkpoint.
    memory.log.see(Checkpoint(origin="x", size=2**40, root=bytes(32)), at_least=memory.log.size)
    memory.log.see(Checkpoint(origin="x", size=2**40, root=bytes(32)), at_least=memory.log.size)


def test_a_restarted_runner_has_seen_no_log(parties: Parties) -> None:
    """What is left over, in docs/threat-model.md: whoever waits for a restart may show another history."""
    memory = Memory()
    judged(parties, memory, parties.voice)
    with pytest.raises(ProofInvalid):
        judged(parties, memory, speaking_from_another_log(parties, size=memory.log.size))
    assert judged(parties, Memory(), speaking_from_another_log(parties, size=memory.log.size))
