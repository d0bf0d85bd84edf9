"""The decision log in rows: once, by tenant and time, and forgotten when its time has passed."""

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.decision import Verdict
from carnet.core.errors import FieldInvalid
from gateway.storage import decisionrows
from gateway.storage.decisionlog import DecisionEvent, DecisionLine, ForgetEvents, LogDecision, Stage
from gateway.storage.decisionrows import AfterLine, Window
from gateway.storage.operations import Batch, InsertDecision
from gateway.storage.records import Conflict
from gateway.storage.store import SqliteStore
from tests.fixtures.stored import DECISION, TENANT, accepted, decided, decision, job, open_store

OTHER = bytes(16)
BUNDLE = "sha256:" + "1" * 64


def digest(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def logged(number: int, *, tenant_id: bytes = TENANT, time_ns: int = 1, until_ns: int = 100) -> LogDecision:
    line = DecisionLine(
        digest=digest(number),
        tenant_id=tenant_id,
        stage=Stage.PREPARED,
        verdict=Verdict.PERMIT,
        bundle=BUNDLE,
        created_ns=time_ns,
    )
    event = DecisionEvent(digest=digest(number), event=b"{}", sealed_input=b"sealed", until_ns=until_ns)
    return LogDecision(line=line, event=event)


def batch(operation: LogDecision) -> Batch:
    line = operation.line
    return Batch(operations=(InsertDecision(decision=decision(line.digest, line.tenant_id)), operation))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await open_store(tmp_path / "store.db", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    yield found
    await found.close()


async def newest(
    store: SqliteStore, window: Window, *, tenant_id: bytes = TENANT, after: AfterLine | None = None, limit: int = 50
) -> list[bytes]:
    lines = await store.read(decisionrows.newest_lines, tenant_id, window, after=after, limit=limit)
    return [line.digest for line in lines]


async def oldest(store: SqliteStore, window: Window, *, after: AfterLine | None = None, limit: int = 50) -> list[bytes]:
    lines = await store.read(decisionrows.oldest_lines, TENANT, window, after=after, limit=limit)
    return [line.digest for line in lines]


async def test_a_line_comes_back_as_it_was_and_its_event_too(store: SqliteStore) -> None:
    made = logged(1)
    made = replace(made, line=replace(made.line, stage=Stage.DISPATCHED, verdict=Verdict.DENY, job_id=bytes(16)))
    await store.write(batch(made))
    assert await store.read(decisionrows.line, TENANT, digest(1)) == made.line
    assert await store.read(decisionrows.event, digest(1)) == made.event


async def test_the_same_decision_again_changes_nothing(store: SqliteStore) -> None:
    await store.write(batch(logged(1)))
    again = logged(1)
    again = replace(again, event=replace(again.event, event=b"other"))
    await store.write(batch(again))
    twice = batch(logged(2))
    await store.write(replace(twice, operations=twice.operations + twice.operations))
    assert await store.read(decisionrows.event, digest(1)) == logged(1).event
    assert len(await newest(store, Window())) == 2


async def test_a_line_without_its_decision_is_none(store: SqliteStore) -> None:
    with pytest.raises(Conflict):
        await store.write(Batch(operations=(logged(1),)))


async def test_another_tenants_lines_are_not_there(store: SqliteStore) -> None:
    await store.write(batch(logged(1)))
    assert await store.read(decisionrows.line, OTHER, digest(1)) is None
    assert await newest(store, Window(), tenant_id=OTHER) == []
    assert not await store.read(decisionrows.decided_under, OTHER, BUNDLE)
    assert await store.read(decisionrows.decided_under, TENANT, BUNDLE)
    assert not await store.read(decisionrows.decided_under, TENANT, "sha256:" + "2" * 64)


async def test_lists_go_by_time_and_digest_and_are_taken_up_where_they_ended(store: SqliteStore) -> None:
    for number, time_ns in ((1, 10), (2, 20), (3, 20), (4, 30)):
        await store.write(batch(logged(number, time_ns=time_ns)))
    middle = sorted([digest(2), digest(3)])
    ordered = [digest(1), *middle, digest(4)]
    assert await oldest(store, Window()) == ordered
    assert await newest(store, Window()) == ordered[::-1]
    for start in range(4):
        place = AfterLine(created_ns=[10, 20, 20, 30][start], digest=ordered[start])
        assert await oldest(store, Window(), after=place) == ordered[start + 1 :]
        assert await newest(store, Window(), after=place) == ordered[:start][::-1]
    assert await oldest(store, Window(), limit=2) == ordered[:2]


async def test_a_window_is_half_open_and_may_ask_for_one_verdict(store: SqliteStore) -> None:
    for number, time_ns in ((1, 10), (2, 20), (3, 30)):
        await store.write(batch(logged(number, time_ns=time_ns)))
    denied = logged(4, time_ns=20)
    await store.write(batch(replace(denied, line=replace(denied.line, verdict=Verdict.DENY))))
    assert set(await newest(store, Window(from_ns=20, until_ns=30))) == {digest(2), digest(4)}
    assert await newest(store, Window(verdict="deny")) == [digest(4)]
    assert await newest(store, Window(from_ns=2**64 - 1)) == []
    assert len(await newest(store, Window(until_ns=2**64 - 1))) == 4


async def test_what_is_past_its_time_is_removed_and_the_decision_stays(store: SqliteStore) -> None:
    await store.write(batch(logged(1, until_ns=99)))
    await store.write(batch(logged(2, until_ns=100)))
    await store.write(batch(logged(3, until_ns=101)))
    await store.write(Batch(operations=(ForgetEvents(now_ns=100),)))
    kept = [await store.read(decisionrows.event, digest(number)) for number in (1, 2, 3)]
    assert [event is not None for event in kept] == [False, False, True]
    assert len(await newest(store, Window())) == 3
    assert await store.decision(digest(1)) is not None


async def test_a_line_names_the_job_that_came_of_it(store: SqliteStore) -> None:
    await store.write(decided())
    prepared = logged(0)
    prepared = LogDecision(line=replace(prepared.line, digest=DECISION), event=replace(prepared.event, digest=DECISION))
    await store.write(Batch(operations=(prepared,)))
    first, second = job(created_ns=1), job(created_ns=2)
    await store.write(accepted(first))
    await store.write(accepted(second))
    dispatched = logged(1)
    dispatched = replace(dispatched, line=replace(dispatched.line, job_id=first.key.job_id))
    await store.write(batch(dispatched))
    await store.write(batch(logged(2)))
    lines = await store.read(decisionrows.newest_lines, TENANT, Window(), after=None, limit=50)
    found = await store.read(decisionrows.jobs_decided, lines)
    assert {name: job.key.job_id for name, job in found.items()} == {
        DECISION: second.key.job_id,
        digest(1): first.key.job_id,
    }
    assert await store.read(decisionrows.jobs_decided, ()) == {}


def test_a_line_that_is_none_is_refused() -> None:
    made = logged(1)
    for changes in ({"digest": b""}, {"tenant_id": b""}, {"job_id": b"x"}, {"created_ns": -1}):
        with pytest.raises(FieldInvalid):
            replace(made.line, **changes)  # type: ignore[arg-type]
    for changes in ({"digest": b""}, {"until_ns": -1}, {"sealed_input": bytes(256 * 1024)}):
        with pytest.raises(FieldInvalid):
            replace(made.event, **changes)  # type: ignore[arg-type]
