"""A shadow is asked beside what decides, writes down what it said otherwise, and keeps nobody waiting."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.decision import DecisionBody
from carnet.core.errors import PolicyEngineUnavailable
from carnet.core.facts import parse_facts
from gateway import shadow
from gateway.composition import Composition
from gateway.metrics import Metrics
from gateway.overlayfiles import packed
from gateway.shadow import Shadow
from gateway.storage import policyqueries
from gateway.storage.operations import Batch
from gateway.storage.policyoperations import InsertRevision
from gateway.storage.policyrecords import Person, RevisionKey, StoredDifference, StoredRevision
from gateway.storage.store import SqliteStore
from policy.bundle import Bundle
from policy.engine import GatewayFacts, JobQuery, Screening
from policy.engines.embedded import EmbeddedEngine
from policy.overlay import Overlay
from tests.fixtures.drafts import NAME, draft
from tests.fixtures.parties import facts
from tests.fixtures.stored import TENANT, open_store

BASE = Bundle.load()
OVERLAY = Overlay.read(NAME, draft())
KEY = RevisionKey(tenant_id=TENANT, digest=OVERLAY.digest)
REQUESTER = GatewayFacts(issuer="issuer", subject="subject", tenant="t", roles=(), screening=Screening.OFF)


def query(*classes: str) -> JobQuery:
    """A job with this data."""
    told = facts(data={"classes": list(classes), "subject_jurisdictions": ["DE"], "records": 1})
    return JobQuery(facts=parse_facts(told), gateway=REQUESTER, now_ns=time.time_ns())


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await open_store(tmp_path / "store.db", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    author = Person(issuer="issuer", subject="ada")
    revision = StoredRevision(key=KEY, overlay=NAME, author=author, created_ns=1, shadow=True)
    await found.write(Batch(operations=(InsertRevision(revision=revision, files=packed(draft())),)))
    yield found
    await found.close()


@pytest.fixture
async def live() -> AsyncIterator[EmbeddedEngine]:
    engine = EmbeddedEngine(bundle=BASE)
    await engine.start()
    yield engine
    await engine.close()


@pytest.fixture
async def beside(store: SqliteStore) -> AsyncIterator[Shadow]:
    found = Shadow(store, Composition(store, BASE), Metrics())
    await found.start()
    yield found
    await found.close()


async def differences(store: SqliteStore, *, compared: int) -> tuple[StoredDifference, ...]:
    """What was written down, once so many were compared."""
    for _ in range(400):
        revision = await store.read(policyqueries.revision, KEY)
        if revision is not None and revision.compared >= compared:
            return await store.read(policyqueries.differences_of, KEY)
        await asyncio.sleep(0.05)
    pytest.fail("nothing was compared")


async def asked(beside: Shadow, live: EmbeddedEngine, found: JobQuery, decision: int) -> DecisionBody:
    """A decision that was taken, and that the shadow hears of."""
    body = await live.decide(found)
    beside.compare(TENANT, found, body, bytes([decision]) * 32)
    return body


async def test_what_it_says_otherwise_is_written_down_and_what_it_says_alike_is_counted(
    store: SqliteStore, live: EmbeddedEngine, beside: Shadow
) -> None:
    found = query("genetic")
    body = await asked(beside, live, found, 1)
    await asked(beside, live, query("technical"), 2)
    (difference,) = await differences(store, compared=2)
    assert difference == StoredDifference(
        revision=KEY,
        decision=bytes([1]) * 32,
        time_ns=found.now_ns,
        live_verdict="permit",
        shadow_verdict="review",
        newly_permitted=(),
        newly_denied=difference.newly_denied,
        rules=("KLINIKUM-APPROVAL", "KLINIKUM-GENETIC"),
    )
    # The job may not leave the EEA anyway: Singapore is denied by both.
    assert difference.newly_denied == tuple(sorted({"SG"} & set(body.permitted)))


async def test_another_tenants_decisions_are_not_its_own(
    store: SqliteStore, live: EmbeddedEngine, beside: Shadow
) -> None:
    found = query("genetic")
    body = await live.decide(found)
    beside.compare(bytes(16), found, body, bytes(32))
    await asked(beside, live, query("technical"), 2)
    assert await differences(store, compared=1) == ()


async def test_a_full_queue_drops_and_counts_and_nobody_waits(
    store: SqliteStore, live: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shadow, "waiting_max", 2)
    metrics = Metrics()
    idle = Shadow(store, Composition(store, BASE), metrics)
    await idle.follow(KEY, OVERLAY)
    for number in range(5):
        await asked(idle, live, query("genetic"), number)
    assert metrics.shadowed.labels("dropped")._value.get() == 3
    await idle.close()


async def test_an_engine_that_is_silent_is_counted_and_the_next_one_compared(
    store: SqliteStore, live: EmbeddedEngine, beside: Shadow, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        body = await live.decide(query("genetic"))

        async def silent(*_: object) -> DecisionBody:
            raise PolicyEngineUnavailable

        patch.setattr(EmbeddedEngine, "decide", silent)
        beside.compare(TENANT, query("genetic"), body, bytes(32))
        await asyncio.sleep(0.1)
    await asked(beside, live, query("genetic"), 2)
    (found,) = await differences(store, compared=1)
    assert found.decision == bytes([2]) * 32


async def test_one_that_is_followed_no_more_is_asked_no_more(
    store: SqliteStore, live: EmbeddedEngine, beside: Shadow
) -> None:
    await beside.follow(KEY, None)
    await asked(beside, live, query("genetic"), 1)
    await asyncio.sleep(0.1)
    revision = await store.read(policyqueries.revision, KEY)
    assert revision is not None
    assert revision.compared == 0


async def test_a_revision_that_fits_the_rules_no_more_does_not_stop_the_start(store: SqliteStore) -> None:
    found = Shadow(store, Composition(store, replace(BASE, rules={})), Metrics())
    await found.start()
    await found.close()
