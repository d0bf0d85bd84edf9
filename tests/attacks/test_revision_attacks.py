"""The life of an overlay's revision: two persons, the very files that were looked at, and what is stored decides.

The gateway, its rules and its engine are the real ones, and a real OPA looks at the drafts. Each control takes one
check away, and the attack then passes.
"""

import asyncio
import secrets
import sqlite3
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from carnet.client import Client
from carnet.context import Context
from carnet.core.errors import (
    CarnetError,
    FieldInvalid,
    NotFound,
    NotReady,
    PolicyEngineUnavailable,
    PolicyTestsFailed,
    RequestIdReused,
    RoleRequired,
    SecondPersonRequired,
    StatementInvalid,
    StoreUnavailable,
)
from carnet.policyanswers import Revision, RevisionState
from carnet.policyofficer import PolicyOfficer
from carnet.wire import parse_entry
from gateway import revisions
from gateway.app import Gateway
from gateway.storage.store import SqliteStore
from policy.engines.current import CurrentPolicy
from tests.fixtures import drafts
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import office
from tests.fixtures.parties import Cage, Parties, facts, nothing, work

pytestmark = pytest.mark.opa

GENETIC = facts(data={"classes": ["genetic"], "subject_jurisdictions": ["DE"], "records": 10})
REWORDED = drafts.draft(("never goes to Singapore\n", "does not go to Singapore\n"))


@dataclass(kw_only=True)
class Play:
    """A real gateway, a client, and officers: ada writes, ben approves, cleo activates."""

    parties: Parties
    gateway: Gateway
    state: Path
    stack: AsyncExitStack

    def context(self, subject: str, *roles: str) -> Context:
        """Somebody's context."""
        address = self.gateway.addresses.enterprise
        return self.parties.context(address, token=self.parties.person(subject, *roles))

    async def officer(self, subject: str, *roles: str) -> PolicyOfficer:
        """Somebody of the tenant."""
        return await self.stack.enter_async_context(PolicyOfficer(self.context(subject, *roles)))

    async def client(self, subject: str = "developer", *roles: str) -> Client:
        """A client of the tenant."""
        return await self.stack.enter_async_context(Client(self.context(subject, *roles)))

    async def drafted(self, files: dict[str, bytes] | None = None) -> Revision:
        """What ada hands in."""
        ada = await self.officer("ada", "policy.author")
        return await ada.submit(drafts.NAME, files or drafts.draft(), comment="As the board has said.")

    async def approved(self, files: dict[str, bytes] | None = None) -> Revision:
        """What ben approves."""
        return await (await self.officer("ben", "policy.approver")).approve((await self.drafted(files)).name)

    async def active(self, files: dict[str, bytes] | None = None) -> Revision:
        """What cleo activates."""
        found = await self.approved(files)
        return await (await self.officer("cleo", "policy.approver")).activate(found.name)

    async def waits(self) -> bool:
        """Whether a job with genetic data must be approved: the overlay decides."""
        return (await (await self.client()).prepare(GENETIC)).waits

    async def state_of(self, name: str) -> RevisionState:
        """Where a revision is in its life."""
        return (await (await self.officer("dora", "compliance")).revision(name)).state

    def leaves(self) -> list[str]:
        """The kinds of the log's leaves about policy, in order."""
        with closing(sqlite3.connect(f"file:{self.state}/gateway.db?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT data FROM entries ORDER BY leaf_index").fetchall()
        return [kind for (data,) in rows if (kind := parse_entry(data).kind).startswith("policy.")]


@pytest.fixture
async def play(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Play]:
    parties.mint()
    drafts.remember(monkeypatch)
    async with AsyncExitStack() as stack:
        gateway = (await stack.enter_async_context(office(parties, tmp_path))).gateway
        yield Play(parties=parties, gateway=gateway, state=tmp_path / "gateway", stack=stack)


async def test_a_draft_is_checked_approved_activated_and_then_decides(play: Play, tmp_path: Path) -> None:
    ada = await play.officer("ada", "policy.author")
    before, _ = await ada.rules()
    draft = await play.drafted()
    assert (draft.state, draft.author) == (RevisionState.DRAFT, "ada (https://issuer.hospital.example)")
    report = await ada.check(draft.name)
    assert (report.findings, report.tests_passed) == ((), 4)
    assert not await play.waits()
    approved = await (await play.officer("ben", "policy.approver")).approve(draft.name)
    assert approved.state is RevisionState.APPROVED
    assert not await play.waits()
    active = await (await play.officer("cleo", "policy.approver")).activate(draft.name)
    assert (active.state, active.approver, active.activator) == (
        RevisionState.ACTIVE,
        "ben (https://issuer.hospital.example)",
        "cleo (https://issuer.hospital.example)",
    )
    assert await play.waits()
    after, rules = await ada.rules()
    assert (after, before != after) == (active.bundle, True)
    assert [rule.id for rule in rules if rule.overlay] == [
        "KLINIKUM-APPROVAL",
        "KLINIKUM-GENETIC",
        "KLINIKUM-ISOLATION",
    ]
    assert play.leaves() == ["policy.created", "policy.approved", "policy.activated"]

    # And a job under it: approved by another person, it runs where it would have run.
    agent = running(
        play.parties, play.parties.runners["FR"], play.gateway.addresses.runner, Cage(), tmp_path / "runner"
    )
    async with agent:
        client = await play.client()
        job = asyncio.create_task(client.run(work(GENETIC)))
        while not (found := (await client.jobs()).jobs):  # noqa: ASYNC110  # it asks a gateway
            await asyncio.sleep(0.05)
        await (await play.client("emil", "job.approver")).approve(found[0].name)
        outcome = await asyncio.wait_for(job, 30)
    assert outcome.succeeded
    assert outcome.receipt.prepared.revisions.bundle == active.bundle


async def test_what_is_asked_again_with_the_same_id_is_answered_and_done_once(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft, ben = await play.drafted(), await play.officer("ben", "policy.approver")
    steps: dict[str, Callable[[], Awaitable[Revision]]] = {
        "policy.approved": lambda: ben.approve(draft.name),
        "policy.activated": lambda: ben.activate(draft.name),
        "policy.rolledback": ben.roll_back,
    }
    for kind, step in steps.items():
        number = uuid.UUID(bytes=secrets.token_bytes(16), version=4)
        monkeypatch.setattr("carnet.policyofficer.uuid.uuid4", lambda number=number: number)
        first, again = await step(), await step()
        assert (first, play.leaves().count(kind)) == (again, 1)
    # Controls: another id is another request, and an id is of one request.
    with pytest.raises(RequestIdReused):
        await ben.approve(draft.name)
    monkeypatch.undo()
    with pytest.raises(NotReady):
        await ben.approve(draft.name)


async def test_after_a_restart_the_same_bundle_is_live(parties: Parties, tmp_path: Path, monkeypatch: Any) -> None:
    parties.mint()
    drafts.remember(monkeypatch)
    bundles = []
    for _ in range(2):
        async with AsyncExitStack() as stack:
            gateway = (await stack.enter_async_context(office(parties, tmp_path))).gateway
            play = Play(parties=parties, gateway=gateway, state=tmp_path / "gateway", stack=stack)
            if not bundles:
                await play.active()
            bundles.append((await (await play.officer("ada")).rules())[0])
            assert await play.waits()
    assert bundles[0] == bundles[1]


async def test_the_author_approves_and_activates_nothing_of_their_own_whatever_their_roles(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = await play.officer("ada", "policy.author", "policy.approver")
    draft = await play.drafted()
    with pytest.raises(SecondPersonRequired):
        await same.approve(draft.name)
    await play.approved()
    with pytest.raises(SecondPersonRequired):
        await same.activate(draft.name)
    assert await play.state_of(draft.name) is RevisionState.APPROVED
    # Control: with nobody looking, the author is as good as anybody.
    monkeypatch.setattr(revisions, "check_other", nothing)
    assert (await same.activate(draft.name)).state is RevisionState.ACTIVE


async def test_nor_do_they_bring_their_own_revision_back(play: Play) -> None:
    first = await play.active()
    await play.active(REWORDED)
    same = await play.officer("ada", "policy.author", "policy.approver")
    with pytest.raises(SecondPersonRequired):
        await same.roll_back(first.name)


async def test_what_was_not_approved_is_not_activated(play: Play) -> None:
    draft = await play.drafted()
    cleo = await play.officer("cleo", "policy.approver")
    with pytest.raises(NotReady):
        await cleo.activate(draft.name)
    with pytest.raises(NotReady):
        await cleo.roll_back(draft.name)
    with pytest.raises(NotReady):
        await cleo.roll_back()
    active = await play.active()
    for again in (cleo.activate(active.name), cleo.approve(active.name)):
        with pytest.raises(NotReady):
            await again
    assert play.leaves() == ["policy.created", "policy.approved", "policy.activated"]


async def test_each_step_takes_its_role(play: Play) -> None:
    draft = await play.drafted()
    nobody, author = await play.officer("eve", "job.approver"), await play.officer("fay", "policy.author")
    for attempt in (
        nobody.submit("klinikum", drafts.draft()),
        nobody.check(draft.name),
        nobody.shadow(draft.name, shadow=True),
        nobody.revision(draft.name),
        author.approve(draft.name),
        author.activate(draft.name),
        author.roll_back(),
    ):
        with pytest.raises(RoleRequired):
            await attempt


async def test_a_draft_that_fails_its_tests_is_not_approved(play: Play) -> None:
    broken = drafts.draft(("quorum := 1", "quorum := 3"))
    draft = await play.drafted(broken)
    ben = await play.officer("ben", "policy.approver")
    report = await ben.check(draft.name)
    assert {check for check, _ in report.findings} == {"cases", "tests"}
    assert "test_genetic_data_waits_for_one_approval" in dict(report.findings)["tests"]
    with pytest.raises(PolicyTestsFailed):
        await ben.approve(draft.name)
    assert await play.state_of(draft.name) is RevisionState.DRAFT


async def test_back_to_none_and_back_to_an_older_one(play: Play) -> None:
    assert not await play.waits()
    base, _ = await (await play.officer("ada")).rules()
    first = await play.active()
    left = await (await play.officer("ben", "policy.approver")).roll_back()
    assert (left.name, left.state) == (first.name, RevisionState.RETIRED)
    assert not await play.waits()
    assert (await (await play.officer("ada")).rules())[0] == base
    back = await (await play.officer("ben", "policy.approver")).roll_back(first.name)
    assert (back.state, back.bundle) == (RevisionState.ACTIVE, first.bundle)
    assert await play.waits()
    assert play.leaves()[-2:] == ["policy.rolledback", "policy.rolledback"]


async def test_the_next_revision_retires_the_one_before(play: Play) -> None:
    first, second = await play.active(), await play.active(REWORDED)
    assert await play.state_of(first.name) is RevisionState.RETIRED
    assert second.bundle != first.bundle
    with closing(sqlite3.connect(f"file:{play.state}/gateway.db?mode=ro", uri=True)) as database:
        assert database.execute("SELECT count(*) FROM policy_revisions WHERE state = 'active'").fetchone() == (1,)


async def test_an_engine_that_does_not_start_changes_nothing(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await play.approved()

    async def dead(*_: object) -> None:
        raise PolicyEngineUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(CurrentPolicy, "activate", dead)
        with pytest.raises(PolicyEngineUnavailable):
            await (await play.officer("cleo", "policy.approver")).activate(found.name)
    assert await play.state_of(found.name) is RevisionState.APPROVED
    assert not await play.waits()
    assert "policy.activated" not in play.leaves()


async def test_where_the_row_can_not_be_written_what_is_stored_decides_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = await (await play.officer("ada")).rules()
    found = await play.approved()
    honest = SqliteStore.write

    async def full(self: SqliteStore, batch: Any) -> Any:
        if any(entry.kind == "policy.activated" for entry in batch.entries):
            raise StoreUnavailable
        return await honest(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "write", full)
        with pytest.raises(StoreUnavailable):
            await (await play.officer("cleo", "policy.approver")).activate(found.name)
    assert (await (await play.officer("ada")).rules())[0] == base
    assert not await play.waits()
    assert await play.state_of(found.name) is RevisionState.APPROVED


async def test_a_commit_of_unknown_end_is_looked_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await play.approved()
    honest = SqliteStore.write

    async def deaf(self: SqliteStore, batch: Any) -> Any:
        written = await honest(self, batch)
        if any(entry.kind == "policy.activated" for entry in batch.entries):
            raise StoreUnavailable
        return written

    with monkeypatch.context() as patch:
        patch.setattr(SqliteStore, "write", deaf)
        with pytest.raises(StoreUnavailable):
            await (await play.officer("cleo", "policy.approver")).activate(found.name)
    assert await play.state_of(found.name) is RevisionState.ACTIVE
    assert await play.waits()


async def test_two_activations_at_once_are_one(play: Play) -> None:
    found = await play.approved()
    both = [await play.officer(subject, "policy.approver") for subject in ("ben", "cleo")]
    answers = await asyncio.gather(*(officer.activate(found.name) for officer in both), return_exceptions=True)
    assert sorted(type(answer) for answer in answers if isinstance(answer, CarnetError)) == [NotReady]
    assert play.leaves().count("policy.activated") == 1


async def test_a_shadow_decides_nothing_and_its_differences_are_listed(play: Play) -> None:
    ada = await play.officer("ada", "policy.author")
    draft = await play.drafted()
    assert (await ada.shadow(draft.name, shadow=True)).shadow
    assert not await play.waits()
    for _ in range(200):
        compared, found = await ada.differences(draft.name)
        if compared:
            break
        await asyncio.sleep(0.05)
    assert [(d.live_verdict, d.shadow_verdict) for d in found] == [("permit", "review")]
    assert "KLINIKUM-APPROVAL" in found[0].rules
    # A tenant has one shadow: the next takes its place.
    other = await play.drafted(REWORDED)
    await ada.shadow(other.name, shadow=True)
    assert [revision.shadow async for revision in ada.revisions()] == [True, False]
    assert not (await ada.shadow(other.name, shadow=False)).shadow
    assert play.leaves() == ["policy.created", "policy.shadowed"] * 2 + ["policy.shadowed"]


async def test_the_same_files_are_the_same_revision_and_another_byte_is_another(play: Play) -> None:
    first, again = await play.drafted(), await play.drafted()
    assert first.name == again.name
    assert (await play.drafted(REWORDED)).name != first.name
    officer = await play.officer("ada", "policy.author")
    whole = await officer.revision(first.name)
    assert dict(whole.files) == drafts.draft()
    async with aclosing(officer.revisions()) as listed:
        assert len([revision async for revision in listed]) == 2


async def test_a_gateway_that_hands_out_other_files_is_noticed(play: Play) -> None:
    draft = await play.drafted()
    with closing(sqlite3.connect(f"{play.state}/gateway.db")) as database, database:
        database.execute("UPDATE policy_files SET files = ?", (b'{"overlay.rego":"cGFja2FnZSB4"}',))
    with pytest.raises(StatementInvalid):
        await (await play.officer("ada", "policy.author")).revision(draft.name)


async def test_a_dry_run_leaves_nothing_and_another_tenants_revision_is_not_there(play: Play) -> None:
    ada = await play.officer("ada", "policy.author", "policy.approver")
    draft = await ada.submit(drafts.NAME, drafts.draft(), validate_only=True)
    with pytest.raises(NotFound):
        await ada.revision(draft.name)
    strange = (await play.drafted()).name.replace(play.parties.tenant.tenant_id.hex(), "ab" * 16)
    for attempt in (ada.revision(strange), ada.check(strange), ada.approve(strange), ada.activate(strange)):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(FieldInvalid):
        await ada.submit(drafts.NAME, {"messages.json": b"{}"})
