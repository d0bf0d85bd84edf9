"""A bulk transfer cut into small jobs: the ledger adds them up, whatever comes at once (28 CFR 202.205).

The gateway is the real one; the policy of the test permits while what was sent and what is sent stay within the bound,
as `carnet.dsp` does. Each control takes one part of the ledger away, and the pieces then pass.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from carnet.client import Client
from carnet.core.decision import DecisionBody, parse_body
from carnet.core.errors import CarnetError, PolicyDenied
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from carnet.verdict import Decided
from gateway import ledger
from gateway.offering import Offering
from policy.engine import JobQuery
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import TEMPLATE, Cage, Parties, body, facts, work

BOUND = 10_000
PIECE = 9_000


def piece(records: int = PIECE) -> bytes:
    """Health data of people in the United States."""
    return facts(data={"classes": ["health"], "subject_jurisdictions": ["US"], "records": records})


@dataclass(frozen=True, kw_only=True)
class Play:
    """A real gateway with one runner on its list, and a client."""

    parties: Parties
    found: InProcess
    client: Client

    def seal(self, decided: Decided, data: bytes) -> SealedJob:
        """A job for the French runner."""
        return seal(
            work(data),
            decided,
            (self.parties.runners["FR"].vetted(self.parties.pins),),
            keys=self.parties.tenant,
            facts=parse_facts(data),
            template_digest=TEMPLATE,
            directory=self.parties.directory / "outbox",
            now_ns=time.time_ns(),
        )

    async def pieces(self, count: int, data: bytes) -> list[SealedJob]:
        """Jobs of the same size, sealed while nothing was sent yet."""
        for _ in range(100):
            prepared = await self.client.prepare(data)
            if prepared.runners:
                return [self.seal(prepared.decided, data) for _ in range(count)]
            await asyncio.sleep(0.05)
        pytest.fail("no runner is offered")

    async def taken(self, jobs: list[SealedJob]) -> int:
        """How many of these are accepted, all sent at once; the others are denied by policy."""
        answers = await asyncio.gather(*map(self.client.submit, jobs), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(answer, PolicyDenied) for answer in refused), refused
        return len(answers) - len(refused)

    def rows(self) -> int:
        """How many rows the ledger has."""
        rows = sqlite3.connect(f"file:{self.found.state}/gateway.db?mode=ro", uri=True)
        try:
            return int(rows.execute("SELECT count(*) FROM volumes").fetchone()[0])
        finally:
            rows.close()


@pytest.fixture
async def play(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    parties.mint()
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found:

        async def decide(query: JobQuery) -> DecisionBody:
            found.policy.asked.append(query)
            sent = max((volume.records for volume in query.gateway.volumes), default=0)
            within = sent + query.facts.data.records <= BOUND
            return parse_body(body("FR") if within else body())

        found.policy.places = ("FR",)
        monkeypatch.setattr(found.policy, "decide", decide)
        async with (
            Client(parties.context(found.enterprise)) as client,
            running(parties, parties.runners["FR"], found.runner, Cage(), tmp_path / "runner"),
        ):
            yield Play(parties=parties, found=found, client=client)


async def test_ten_submissions_at_once_do_not_pass_a_bound_that_one_keeps(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await play.pieces(10, piece())
    assert await play.taken(jobs) == 1
    assert play.rows() == 1
    # Control: a ledger that counts nothing takes them all.
    monkeypatch.setattr(ledger.Ledger, "_sums", _nothing)
    assert await play.taken([replace(job) for job in await play.pieces(3, piece())]) == 3


async def _nothing(*_: object, **__: object) -> tuple[()]:
    return ()


async def test_submissions_that_are_small_enough_together_are_all_taken(play: Play) -> None:
    assert await play.taken(await play.pieces(5, piece(2_000))) == 5
    assert await play.taken(await play.pieces(1, piece(0))) == 1
    assert not (await play.client.prepare(piece(1))).runners


async def test_one_after_the_other_they_are_added_up_and_the_next_is_denied_when_it_is_prepared(play: Play) -> None:
    first, second = await play.pieces(2, piece())
    assert await play.taken([first]) == 1
    assert (await play.client.prepare(piece())).denied
    assert await play.taken([second]) == 0
    # What is no bulk data, or of nobody in the territory, is not counted.
    other = facts(data={"classes": ["health"], "subject_jurisdictions": ["DE"], "records": PIECE})
    assert await play.taken(await play.pieces(2, other)) == 2
    assert play.rows() == 1


async def test_an_upload_that_comes_to_nothing_lets_go(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await play.pieces(2, piece())
    broken = replace(first, wraps=())
    with pytest.raises(CarnetError):
        await play.client.submit(broken)
    assert play.rows() == 0
    assert await play.taken([second]) == 1


async def test_a_job_that_is_denied_when_it_would_be_dispatched_counts_no_more(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await play.pieces(2, piece())

    async def deny(*_: object) -> None:
        raise PolicyDenied

    with monkeypatch.context() as patched:
        patched.setattr(Offering, "offer", deny)
        name = await play.client.submit(first)
        for _ in range(200):
            if (await play.client.job(name)).state is JobState.DENIED:
                break
            await asyncio.sleep(0.05)
        assert play.rows() == 0
    assert await play.taken([second]) == 1
    # Control: what was dispatched counts.
    assert play.rows() == 1


async def test_what_was_sent_more_than_twelve_months_ago_counts_no_more(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = await play.pieces(3, piece())
    assert await play.taken([first]) == 1
    assert await play.taken([second]) == 0
    monkeypatch.setattr(ledger, "window_ns", 0)
    assert await play.taken([third]) == 1


async def test_the_job_runs_under_the_sums_that_it_was_accepted_with(play: Play) -> None:
    first, second = await play.pieces(2, piece(4_000))
    assert await play.taken([first]) == 1
    name = await play.client.submit(second)
    for _ in range(200):
        if (await play.client.job(name)).state is JobState.SUCCEEDED:
            break
        await asyncio.sleep(0.05)
    asked: list[Any] = [query.gateway.volumes for query in play.found.policy.asked if query.facts.data.records == 4_000]
    assert {volume.records for volumes in asked for volume in volumes} == {4_000}
