"""The real OPA child of a real gateway is killed and hung while jobs are prepared, submitted and dispatched.

What must hold: nothing is decided, accepted or dispatched without an answer of the engine; whoever asks meanwhile is
told POLICY_ENGINE_UNAVAILABLE; and service returns by itself.
"""

import asyncio
import contextlib
import itertools
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from carnet.client import Client
from carnet.core.decision import Verdict, parse_body
from carnet.core.errors import CarnetError, PolicyEngineUnavailable
from carnet.core.facts import parse_facts
from carnet.outbox import seal
from carnet.wire import parse_entry
from gateway import app
from policy.bundle import Bundle
from tests.fixtures.inprocess import configured
from tests.fixtures.malicious_gateway import running
from tests.fixtures.parties import TEMPLATE, Cage, Parties, facts, work
from tests.fixtures.parties import parties as parties
from tests.opa_support import opa_binary

pytestmark = [pytest.mark.opa, pytest.mark.timeout(300)]

BUNDLE = Bundle.load()
CALLERS = 3
# What the child answered before it was hit may still be on its way through the gateway.
settle_seconds = 1.0
back_seconds_max = 90.0
poll_seconds = 0.02


def processes() -> set[int]:
    """The OPA processes below this one."""
    found = set()
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"\0--server\0" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found


@dataclass(kw_only=True)
class Load:
    """Callers that ask about ever new jobs, and hand in those that may run."""

    parties: Parties
    client: Client
    # OPA processes that are another test's.
    others: set[int]
    records: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    prepared: list[int] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    refused: list[tuple[int, CarnetError]] = field(default_factory=list)

    async def one(self) -> None:
        """One job, from prepare to submit."""
        data = facts(data={"records": next(self.records)})
        prepared = await self.client.prepare(data)
        self.prepared.append(time.time_ns())
        if not prepared.runners:
            return
        job = seal(
            work(data),
            prepared.decided,
            (self.parties.runners["FR"].vetted(self.parties.pins),),
            keys=self.parties.tenant,
            facts=parse_facts(data),
            template_digest=TEMPLATE,
            directory=self.parties.directory / "outbox",
            now_ns=time.time_ns(),
        )
        self.accepted.append(await self.client.submit(job))

    async def caller(self) -> None:
        """Ask until it is cancelled; what is refused is written down."""
        while True:
            try:
                await self.one()
            except CarnetError as error:
                self.refused.append((time.time_ns(), error))
                await asyncio.sleep(0.05)

    def child(self) -> set[int]:
        """The OPA process of the gateway under load; empty between two of them."""
        return processes() - self.others

    def refused_since(self, since_ns: int) -> int:
        """How many were refused."""
        return sum(at_ns >= since_ns for at_ns, _ in self.refused)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the gateway's database says was done, and when."""

    decided: list[int]
    accepted: list[int]
    events: list[tuple[int, str]]
    unfounded: list[str]

    def between(self, since_ns: int, until_ns: int) -> list[str]:
        """What was decided, accepted or claimed in a time."""
        times = [(at, "decided") for at in self.decided] + [(at, "accepted") for at in self.accepted]
        times += [(at, kind) for at, kind in self.events if kind in ("accepted", "claimed")]
        return [what for at, what in times if since_ns <= at < until_ns]


def written(state: Path) -> Written:
    """Read the database. Unfounded is each job or attempt without a decision of the engine that is in the log."""
    rows = sqlite3.connect(f"file:{state}/gateway.db?mode=ro", uri=True)
    with contextlib.closing(rows):
        bodies = dict(rows.execute("SELECT digest, body FROM decisions"))
        leaves = [(kind, parse_entry(data)) for kind, data in rows.execute("SELECT kind, data FROM entries")]
        logged = {
            (kind, digest.digest) for kind, entry in leaves for digest in entry.digests if digest.name == "record"
        }
        unfounded = []
        for kind, table in (("decision.prepared", "jobs"), ("decision.dispatched", "attempts")):
            for (digest,) in rows.execute(f"SELECT decision_digest FROM {table}"):
                body = parse_body(bodies[digest])
                real = body.verdict is Verdict.PERMIT and body.revisions == BUNDLE.revisions
                if not real or (kind, digest) not in logged:
                    unfounded.append(f"{table}: {digest.hex()}")
        return Written(
            decided=[at for (at,) in rows.execute("SELECT created_ns FROM decisions")],
            accepted=[at for (at,) in rows.execute("SELECT created_ns FROM jobs")],
            events=list(rows.execute("SELECT time_ns, kind FROM events")),
            unfounded=unfounded,
        )


def attempts(state: Path) -> int:
    """How many attempts were begun, each after a claim."""
    rows = sqlite3.connect(f"file:{state}/gateway.db?mode=ro", uri=True)
    with contextlib.closing(rows):
        return int(rows.execute("SELECT count(*) FROM attempts").fetchone()[0])


@pytest.fixture
async def played(parties: Parties, tmp_path: Path) -> AsyncIterator[tuple[Load, Path]]:
    parties.mint()
    state = tmp_path / "gateway"
    others = processes()
    found = await app.Gateway.start(configured(parties, state, {"engine": "opa", "opa": opa_binary()}))
    try:
        async with (
            Client(parties.context(found.addresses.enterprise)) as client,
            running(parties, parties.runners["FR"], found.addresses.runner, Cage(), tmp_path / "runner"),
        ):
            yield Load(parties=parties, client=client, others=others), state
    finally:
        await found.close()


async def until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    for _ in range(int(back_seconds_max / poll_seconds)):
        if holds():
            return
        await asyncio.sleep(poll_seconds)
    pytest.fail("it did not come to that")


async def hit(load: Load, number: signal.Signals) -> tuple[int, int]:
    """Send the child a signal under load; the time in which no engine can have answered."""
    [child] = load.child()
    os.kill(child, number)
    since_ns = time.time_ns() + int(settle_seconds * 10**9)
    await until(lambda: load.refused_since(since_ns) > 0 or {child} != load.child())
    await until(lambda: load.child() - {child})
    until_ns = time.time_ns()
    # Nobody helps: the next answer comes from another child that the gateway started by itself.
    await until(lambda: load.prepared and load.prepared[-1] > until_ns)
    return since_ns, until_ns


async def test_killed_and_hung_under_load_nothing_goes_without_a_decision_and_service_returns(
    played: tuple[Load, Path],
) -> None:
    load, state = played
    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(load.caller()) for _ in range(CALLERS)]
        await until(lambda: len(load.accepted) >= 3)
        assert load.refused == [], "the control: with its engine the gateway refuses nobody"
        began_ns = time.time_ns()
        killed = await hit(load, signal.SIGKILL)
        await until(lambda: load.accepted[-1:] and len(load.prepared) > 3)
        hung = await hit(load, signal.SIGSTOP)
        before = len(load.accepted)
        await until(lambda: len(load.accepted) > before)
        # What was accepted is looked at again once the engine answers: the test ends after that, and not before.
        await until(lambda: attempts(state))
        for caller in callers:
            caller.cancel()
    assert load.refused_since(began_ns) > 0, "somebody asked while there was no engine"
    assert [error for _, error in load.refused if not isinstance(error, PolicyEngineUnavailable)] == []
    assert {error.reason for _, error in load.refused} == {"POLICY_ENGINE_UNAVAILABLE"}
    found = written(state)
    assert found.unfounded == []
    assert found.between(*killed) == []
    assert found.between(*hung) == []
    assert len(found.accepted) >= len(load.accepted) > 0
    assert {"accepted", "claimed"} <= {kind for _, kind in found.events}
    # Controls: what the reading of the database would notice.
    assert "decided" in found.between(0, began_ns)
    assert "claimed" in found.between(0, time.time_ns())
    rows = sqlite3.connect(state / "gateway.db")
    with contextlib.closing(rows), rows:
        rows.execute("DELETE FROM entries WHERE kind = 'decision.dispatched'")
    assert written(state).unfounded
