"""What counts in the ledger: for which job, with whom, in which category, how often and how long."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.errors import PolicyDenied
from carnet.core.facts import JobFacts, parse_facts
from gateway.ledger import Ledger, window_ns
from gateway.storage.operations import Batch, CountVolumes
from gateway.storage.records import JobKey
from gateway.storage.store import SqliteStore
from policy.bundle import Bundle
from policy.engine import Volume
from tests.fixtures import parties
from tests.fixtures.stored import TENANT, accepted, decided, job, open_store

NOW = 1_795_305_600 * 10**9
DAY = 86_400 * 10**9
A1, A2, B1 = (
    f"spiffe://{domain}/j/FR/runner/00000000-0000-0000-0000-00000000000{number}"
    for number, domain in ((1, "a.example"), (2, "a.example"), (3, "b.example"))
)


class Clock:
    """A time that the test moves."""

    now_ns = NOW

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await open_store(tmp_path / "store.db", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    await found.write(decided())
    yield found
    await found.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(store: SqliteStore, clock: Clock) -> Ledger:
    return Ledger(store, Bundle.load(), clock=clock)


def facts(classes: list[str], subjects: list[str], records: int = 100) -> JobFacts:
    data = {"classes": classes, "subject_jurisdictions": subjects, "records": records}
    return parse_facts(parties.facts(data=data))


HEALTH = facts(["health"], ["US"])


async def count(
    store: SqliteStore, ledger: Ledger, found: JobFacts, *runners: str, tenant_id: bytes = TENANT
) -> JobKey:
    """A job that was accepted for these runners."""
    stored = job()
    batch = accepted(stored)
    counted = CountVolumes(key=stored.key, volumes=ledger.volumes_of(found, runners))
    await store.write(Batch(operations=(*batch.operations, counted), entries=batch.entries))
    return stored.key


def sums(volumes: tuple[Volume, ...]) -> dict[str, int]:
    return {volume.category: volume.records for volume in volumes}


@pytest.mark.parametrize(
    ("classes", "subjects", "categories"),
    [
        (["health"], ["US"], ("health",)),
        (["health"], ["DE", "PR"], ("health",)),
        (["health"], [], ("health",)),
        (["health"], ["ZZ"], ("health",)),
        (["health"], ["DE"], ()),
        (["technical"], ["US"], ()),
        (["genetic", "financial"], ["US"], ("financial", "genomic")),
        (["personal"], ["US"], ("identifiers",)),
    ],
)
def test_a_job_counts_in_the_categories_of_its_classes_where_it_may_be_about_people_there(
    ledger: Ledger, classes: list[str], subjects: list[str], categories: tuple[str, ...]
) -> None:
    assert ledger.categories(facts(classes, subjects)) == categories


def test_the_territory_and_the_categories_are_those_of_the_rule() -> None:
    rego = Bundle.load().rules["carnet/dsp/dsp.rego"].decode()
    assert "tables.groups.rows.DSP_US.members" in rego
    assert "tables.bulk.rows" in rego


def test_a_row_is_an_operator_and_a_category_however_many_runners(ledger: Ledger) -> None:
    rows = ledger.volumes_of(HEALTH, [B1, A1, A2])
    assert [(row.counterparty, row.category, row.records) for row in rows] == [
        ("a.example", "health", 100),
        ("b.example", "health", 100),
    ]
    assert ledger.volumes_of(facts(["technical"], ["US"]), [A1]) == ()


async def test_a_sum_is_the_largest_of_any_operators(store: SqliteStore, ledger: Ledger) -> None:
    await count(store, ledger, HEALTH, A1)
    await count(store, ledger, HEALTH, A2)
    await count(store, ledger, facts(["health"], ["US"], 150), B1)
    await count(store, ledger, facts(["genetic"], ["US"], 7), B1)
    assert sums(await ledger.sent(TENANT, HEALTH)) == {"health": 200}
    assert sums(await ledger.sent(TENANT, facts(["health", "genetic"], ["US"]))) == {"health": 200, "genomic": 7}
    assert await ledger.sent(TENANT, facts(["technical"], ["US"])) == ()


async def test_only_the_operators_who_may_get_the_job_are_looked_at(store: SqliteStore, ledger: Ledger) -> None:
    await count(store, ledger, HEALTH, A1)
    seen = []

    async def evaluate(volumes: tuple[Volume, ...]) -> None:
        seen.append(sums(volumes))

    for runners in ([A2], [B1], [A1, B1]):
        async with ledger.holding(job().key, HEALTH, runners, evaluate):
            pass
    assert seen == [{"health": 100}, {}, {"health": 100}]


async def test_tenants_do_not_count_for_each_other(store: SqliteStore, ledger: Ledger) -> None:
    await count(store, ledger, HEALTH, A1)
    assert await ledger.sent(bytes(16), HEALTH) == ()


async def test_a_job_counts_once_and_not_against_itself(store: SqliteStore, ledger: Ledger) -> None:
    key = await count(store, ledger, HEALTH, A1)
    volumes = ledger.volumes_of(HEALTH, [A1, B1])
    for _ in range(2):
        await store.write(Batch(operations=(CountVolumes(key=key, volumes=volumes),)))
    assert sums(await ledger.sent(TENANT, HEALTH)) == {"health": 100}
    seen = []

    async def evaluate(found: tuple[Volume, ...]) -> None:
        seen.append(found)

    async with ledger.holding(key, HEALTH, [A1], evaluate):
        pass
    assert seen == [()]


async def test_what_was_counted_ends_after_a_year(store: SqliteStore, ledger: Ledger, clock: Clock) -> None:
    await count(store, ledger, HEALTH, A1)
    clock.now_ns = NOW + window_ns - 1
    assert sums(await ledger.sent(TENANT, HEALTH)) == {"health": 100}
    clock.now_ns = NOW + window_ns
    assert await ledger.sent(TENANT, HEALTH) == ()
    assert window_ns >= 366 * DAY


async def test_what_is_held_counts_until_the_block_ends_and_a_denial_holds_nothing(ledger: Ledger) -> None:
    async def permit(_: tuple[Volume, ...]) -> None:
        pass

    async def deny(_: tuple[Volume, ...]) -> None:
        raise PolicyDenied

    async with ledger.holding(job().key, HEALTH, [A1], permit):
        assert sums(await ledger.sent(TENANT, HEALTH)) == {"health": 100}
        with pytest.raises(PolicyDenied):
            async with ledger.holding(job().key, HEALTH, [A1], deny):
                pytest.fail("a denial was held")
        assert sums(await ledger.sent(TENANT, HEALTH)) == {"health": 100}
    assert await ledger.sent(TENANT, HEALTH) == ()


async def test_evaluations_of_one_tenant_take_turns(ledger: Ledger) -> None:
    inside = most = 0

    async def evaluate(_: tuple[Volume, ...]) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1

    async def hold(tenant_id: bytes) -> None:
        async with ledger.holding(JobKey(tenant_id=tenant_id, job_id=job().key.job_id), HEALTH, [A1], evaluate):
            pass

    await asyncio.gather(*(hold(TENANT) for _ in range(5)))
    assert most == 1
    most = 0
    await asyncio.gather(hold(TENANT), hold(bytes(16)))
    assert most == 2


def test_the_schema_of_the_input_knows_every_category() -> None:
    bundle = Bundle.load()
    volumes: dict[str, Any] = bundle.schemas.documents["input"]["properties"]["gateway"]["properties"]["volumes"]
    assert set(volumes["properties"]) == set(bundle.rows("bulk")), json.dumps(volumes)
