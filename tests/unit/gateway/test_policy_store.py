"""Overlays, exemptions and approvals as rows: what two callers at once can not pass."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core.errors import ExemptionGone, FieldInvalid, NotFound, OverlayTaken, StoreUnavailable
from gateway.overlayfiles import packed, unpacked
from gateway.storage import policyqueries
from gateway.storage.operations import Batch, Operation
from gateway.storage.policyoperations import (
    ApproveExemption,
    CompareShadow,
    InsertExemption,
    InsertJobApproval,
    InsertRevision,
    RevokeExemption,
    UpdateRevision,
    UseExemptions,
)
from gateway.storage.policyqueries import After
from gateway.storage.policyrecords import (
    ExemptionState,
    JobApproval,
    Person,
    RevisionKey,
    RevisionState,
    StoredDifference,
    StoredExemption,
    StoredRevision,
)
from gateway.storage.records import Conflict, JobKey
from gateway.storage.store import SqliteStore
from tests.fixtures.stored import TENANT, accepted, decided, job, open_store

ADA, BEN, CLEO = (Person(issuer="issuer", subject=subject) for subject in ("ada", "ben", "cleo"))
BANK = b"\7" * 16
ID = bytes(range(16))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    found = await open_store(tmp_path / "store.db", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    await found.write(decided())
    yield found
    await found.close()


def revision(number: int = 0, tenant_id: bytes = TENANT, **changes: Any) -> StoredRevision:
    """A draft of ada's."""
    key = RevisionKey(tenant_id=tenant_id, digest=bytes([number]) * 32)
    fields: dict[str, Any] = {"overlay": "klinikum", "author": ADA, "created_ns": number}
    return StoredRevision(key=key, **fields | changes)


def exemption(number: int = 0, **changes: Any) -> StoredExemption:
    """One that ada asks for."""
    fields: dict[str, Any] = {
        "tenant_id": TENANT,
        "exemption_id": bytes([number]) * 16,
        "rule": "EU-GDPR-CHV",
        "places": ("US",),
        "classes": (),
        "purposes": (),
        "reason": "a trial",
        "ticket": "",
        "requester": ADA,
        "quorum": 2,
        "created_ns": number,
        "expires_ns": 1000,
        "uses_max": 2,
    }
    return StoredExemption(**fields | changes)


async def do(store: SqliteStore, *operations: Operation) -> None:
    """One batch."""
    await store.write(Batch(operations=operations))


async def insert(store: SqliteStore, found: StoredRevision) -> None:
    """A new revision."""
    await do(store, InsertRevision(revision=found, files=packed({"overlay.rego": b"package x"})))


async def granted(store: SqliteStore, **changes: Any) -> StoredExemption:
    """An exemption that ben and cleo approved."""
    found = exemption(**changes)
    await do(store, InsertExemption(exemption=found))
    for person in (BEN, CLEO):
        await do(store, approval(found, person))
    stored = await store.read(policyqueries.exemption, TENANT, found.exemption_id)
    assert stored is not None
    return stored


def approval(found: StoredExemption, person: Person) -> ApproveExemption:
    """One person's word."""
    return ApproveExemption(tenant_id=TENANT, exemption_id=found.exemption_id, person=person, time_ns=5)


async def taken(store: SqliteStore) -> JobKey:
    """A job that was accepted."""
    found = job()
    await store.write(accepted(found))
    return found.key


async def test_a_revision_comes_back_as_it_was_stored_and_its_files_too(store: SqliteStore) -> None:
    whole = revision(
        approver=BEN,
        activator=CLEO,
        state=RevisionState.ACTIVE,
        shadow=True,
        comment="why",
        approved_ns=2,
        activated_ns=3,
        bundle="sha256:" + "0" * 64,
    )
    await insert(store, whole)
    assert await store.read(policyqueries.revision, whole.key) == whole
    files = await store.read(policyqueries.files, whole.key)
    assert files is not None
    assert unpacked(files) == {"overlay.rego": b"package x"}
    assert await store.read(policyqueries.revision, replace(whole.key, tenant_id=BANK)) is None


async def test_an_overlays_name_has_one_tenant_also_when_both_come_at_once(store: SqliteStore) -> None:
    both = (insert(store, revision(1)), insert(store, revision(2, BANK)))
    answers = await asyncio.gather(*both, return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [OverlayTaken]
    owner = await store.read(policyqueries.owner, "klinikum")
    assert owner in (TENANT, BANK)
    await insert(store, revision(3, owner))
    await insert(store, revision(4, BANK, overlay="bank"))


async def test_the_same_revision_is_not_inserted_twice(store: SqliteStore) -> None:
    await insert(store, revision())
    with pytest.raises(Conflict):
        await insert(store, revision(author=BEN))
    found = await store.read(policyqueries.revision, revision().key)
    assert found is not None
    assert found.author == ADA


async def test_a_revision_is_changed_from_the_value_that_was_read(store: SqliteStore) -> None:
    await insert(store, revision())
    approved = revision(state=RevisionState.APPROVED, approver=BEN)
    await do(store, UpdateRevision(revision=approved))
    with pytest.raises(Conflict):
        await do(store, UpdateRevision(revision=replace(approved, approver=CLEO)))
    found = await store.read(policyqueries.revision, revision().key)
    assert found is not None
    assert (found.approver, found.version) == (BEN, 2)


async def test_pages_go_on_where_they_ended(store: SqliteStore) -> None:
    for number in range(3):
        await insert(store, revision(number))
        await do(store, InsertExemption(exemption=exemption(number)))
    first = await store.read(policyqueries.revisions_of, TENANT, limit=2)
    assert [found.created_ns for found in first] == [2, 1]
    after = After(time_ns=1, id=first[-1].key.digest)
    (last,) = await store.read(policyqueries.revisions_of, TENANT, after=after)
    assert last.created_ns == 0
    found = await store.read(policyqueries.exemptions_of, TENANT, after=After(time_ns=1, id=bytes([1]) * 16))
    assert [one.created_ns for one in found] == [0]
    assert await store.read(policyqueries.revisions_of, BANK) == ()


async def test_what_decides_is_the_active_and_the_shadow(store: SqliteStore) -> None:
    await insert(store, revision(0))
    await insert(store, revision(1, state=RevisionState.ACTIVE))
    await insert(store, revision(2, shadow=True))
    await insert(store, revision(3, state=RevisionState.RETIRED))
    deciding = await store.read(policyqueries.revisions_deciding)
    assert [found.key.digest[0] for found in deciding] == [1, 2]


async def test_a_shadows_count_survives_a_change_and_a_difference_stands_once(store: SqliteStore) -> None:
    await insert(store, revision(shadow=True))
    difference = StoredDifference(
        revision=revision().key,
        decision=bytes(32),
        time_ns=1,
        live_verdict="permit",
        shadow_verdict="deny",
        newly_permitted=(),
        newly_denied=("SG",),
        rules=("KLINIKUM-GENETIC",),
    )
    compare = CompareShadow(key=revision().key, compared=3, differences=(difference,))
    await do(store, compare)
    await do(store, compare, UpdateRevision(revision=revision(comment="changed meanwhile")))
    found = await store.read(policyqueries.revision, revision().key)
    assert found is not None
    assert found.compared == 6
    assert await store.read(policyqueries.differences_of, revision().key) == (difference,)


async def test_from_the_quorum_on_it_counts_and_a_person_is_one_person(store: SqliteStore) -> None:
    found = exemption()
    await do(store, InsertExemption(exemption=found))
    await do(store, approval(found, BEN))
    with pytest.raises(Conflict):
        await do(store, approval(found, BEN))
    assert await store.read(policyqueries.exemptions_granted, TENANT, now_ns=1) == ()
    await do(store, approval(found, CLEO))
    (stored,) = await store.read(policyqueries.exemptions_granted, TENANT, now_ns=1)
    assert (stored.state, stored.approvers) == (ExemptionState.APPROVED, (BEN, CLEO))
    with pytest.raises(Conflict):
        await do(store, approval(found, Person(issuer="other", subject="ben")))
    with pytest.raises(NotFound):
        await do(store, replace(approval(found, BEN), tenant_id=BANK))


async def test_one_that_has_expired_was_revoked_or_is_used_up_is_not_granted(store: SqliteStore) -> None:
    found = await granted(store)
    assert await store.read(policyqueries.exemptions_granted, TENANT, now_ns=999) != ()
    assert await store.read(policyqueries.exemptions_granted, TENANT, now_ns=1000) == ()
    assert await store.read(policyqueries.exemptions_granted, BANK, now_ns=1) == ()
    for _ in range(2):
        await do(store, UseExemptions(key=await taken(store), exemption_ids=(found.exemption_id,), time_ns=1))
    assert await store.read(policyqueries.exemptions_granted, TENANT, now_ns=1) == ()
    other = await granted(store, number=1)
    revoke = RevokeExemption(tenant_id=TENANT, exemption_id=other.exemption_id)
    await do(store, revoke)
    with pytest.raises(Conflict):
        await do(store, revoke)
    assert await store.read(policyqueries.exemptions_granted, TENANT, now_ns=1) == ()
    # Whatever became of them, they stay.
    assert len(await store.read(policyqueries.exemptions_of, TENANT)) == 2


async def test_the_row_is_the_last_bound_on_uses(store: SqliteStore) -> None:
    found = await granted(store)
    keys = [await taken(store) for _ in range(5)]
    uses = [UseExemptions(key=key, exemption_ids=(found.exemption_id,), time_ns=1) for key in keys]
    answers = await asyncio.gather(*(do(store, use) for use in uses), return_exceptions=True)
    assert [type(answer) for answer in answers if answer is not None] == [ExemptionGone] * 3
    # A job that used it before comes back to it for nothing.
    first = next(key for key, answer in zip(keys, answers, strict=True) if answer is None)
    await do(store, UseExemptions(key=first, exemption_ids=(found.exemption_id,), time_ns=1))
    (used,) = await store.read(policyqueries.exemptions_used, first)
    assert used.uses == 2


@pytest.mark.parametrize("time_ns", [1000, 2**62])
async def test_an_expired_one_is_not_used(store: SqliteStore, time_ns: int) -> None:
    found = await granted(store)
    with pytest.raises(ExemptionGone):
        await do(store, UseExemptions(key=await taken(store), exemption_ids=(found.exemption_id,), time_ns=time_ns))


async def test_one_that_nobody_approved_is_not_used(store: SqliteStore) -> None:
    found = exemption()
    await do(store, InsertExemption(exemption=found))
    with pytest.raises(ExemptionGone):
        await do(store, UseExemptions(key=await taken(store), exemption_ids=(found.exemption_id,), time_ns=1))


async def test_a_person_speaks_once_of_a_job_and_refusals_are_no_approvals(store: SqliteStore) -> None:
    key = await taken(store)
    said = JobApproval(key=key, person=BEN, approved=True, time_ns=1)
    await do(store, InsertJobApproval(approval=said))
    with pytest.raises(Conflict):
        await do(store, InsertJobApproval(approval=said))
    await do(store, InsertJobApproval(approval=replace(said, person=CLEO, approved=False)))
    assert await store.read(policyqueries.approvers, key) == (BEN,)
    assert await store.read(policyqueries.approvals, key) == 1


async def test_files_that_are_damaged_are_not_read() -> None:
    for data in (b"", b"[]", b'{"a":1}', b'{"a":"?"}', b"\xff"):
        with pytest.raises(StoreUnavailable):
            unpacked(data)


@pytest.mark.parametrize(
    "changes",
    [{"places": ()}, {"quorum": 0}, {"uses": 3}, {"uses_max": 2**40}, {"expires_ns": 2**63}, {"exemption_id": b""}],
)
def test_an_exemption_that_exists_is_legal(changes: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalid):
        exemption(**changes)


def test_how_it_stands_is_asked_at_a_time() -> None:
    found = exemption(state=ExemptionState.APPROVED)
    assert found.state_at(999) is ExemptionState.APPROVED
    assert found.state_at(1000) is ExemptionState.EXPIRED
    assert replace(found, uses=2).state_at(1) is ExemptionState.USED_UP
    assert replace(found, state=ExemptionState.REVOKED, uses=2).state_at(1000) is ExemptionState.REVOKED
