"""An exemption lifts one rule, in its scope, so often and so long, once others answered for it. Who tries for more?

The gateway, its rules and its engine are the real ones; the job may not leave for the United States without an
exemption from chapter V of the GDPR. Each control takes one check away, and the attack then passes.
"""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from carnet.client import Client
from carnet.context import Context
from carnet.core.errors import (
    CarnetError,
    ExemptionGone,
    FieldInvalid,
    NotFound,
    NotReady,
    RoleRequired,
    SecondPersonRequired,
)
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.outbox import SealedJob, seal
from carnet.policyanswers import Exemption, ExemptionState, Wanted
from carnet.policyofficer import PolicyOfficer
from carnet.wire import parse_entry
from gateway import dispatch, exemptions
from gateway.storage import policychanges
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import office
from tests.fixtures.parties import TEMPLATE, Cage, Parties, facts, nothing, work

RULE = "EU-GDPR-CHV"
DAY = 86_400 * 10**9
TO_US = facts(
    data={"classes": ["personal"], "subject_jurisdictions": ["DE"], "records": 10}, constraints={"only": ["US"]}
)


@dataclass(kw_only=True)
class Play:
    """A real gateway with the American runner, a client, and officers."""

    parties: Parties
    address: str
    state: Path
    client: Client
    stack: AsyncExitStack

    def context(self, subject: str, *roles: str) -> Context:
        """Somebody's context."""
        return self.parties.context(self.address, token=self.parties.person(subject, *roles))

    async def officer(self, subject: str, *roles: str) -> PolicyOfficer:
        """Somebody of the tenant."""
        return await self.stack.enter_async_context(PolicyOfficer(self.context(subject, *roles)))

    async def asked(self, **changes: Any) -> Exemption:
        """An exemption that ada asked for."""
        return await (await self.officer("ada", "policy.author")).ask(wanted(**changes))

    async def granted(self, **changes: Any) -> Exemption:
        """One that ben and cleo approved."""
        found = await self.asked(**changes)
        for subject in ("ben", "cleo"):
            found = await (await self.officer(subject, "policy.approver")).approve_exemption(found.name)
        assert found.state is ExemptionState.APPROVED
        return found

    async def revoked(self) -> str:
        """One that was revoked before anybody approved it."""
        found = await self.asked()
        await (await self.officer("ada", "policy.author")).revoke(found.name)
        return found.name

    async def stands(self, name: str) -> Exemption:
        """The exemption as it stands."""
        officer = await self.officer("dora", "compliance")
        (found,) = [exemption async for exemption in officer.exemptions() if exemption.name == name]
        return found

    async def sealed(self, count: int) -> list[SealedJob]:
        """Jobs for the American runner, all under one decision."""
        prepared = await self.client.prepare(TO_US)
        assert [runner.jurisdiction for runner in prepared.runners] == ["US"]
        return [
            seal(
                work(TO_US),
                prepared.decided,
                prepared.runners,
                keys=self.parties.tenant,
                facts=parse_facts(TO_US),
                template_digest=TEMPLATE,
                directory=self.parties.directory / "outbox",
                now_ns=time.time_ns(),
            )
            for _ in range(count)
        ]

    async def taken(self, jobs: list[SealedJob]) -> int:
        """How many of these are accepted, all sent at once; the others found the exemption gone."""
        answers = await asyncio.gather(*map(self.client.submit, jobs), return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(answer, ExemptionGone) for answer in refused), refused
        return len(answers) - len(refused)

    async def settled(self, name: str) -> JobState:
        """How a job stands once nobody works on it."""
        for _ in range(400):
            if (state := (await self.client.job(name)).state).terminal or state is JobState.NEEDS_RECIPIENTS:
                return state
            await asyncio.sleep(0.05)
        pytest.fail("the job goes on and on")

    def leaves(self) -> list[str]:
        """The kinds of the log's leaves, in order."""
        with closing(sqlite3.connect(f"file:{self.state}/gateway.db?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT data FROM entries ORDER BY leaf_index").fetchall()
        return [parse_entry(data).kind for (data,) in rows]


def wanted(**changes: Any) -> Wanted:
    """What is asked for: Chapter V in the United States, for ten days and a hundred jobs."""
    fields: dict[str, Any] = {
        "rule": RULE,
        "places": ("US",),
        "reason": "A trial under the hospital's own assessment.",
        "ticket": "GRC-7",
        "expires_ns": time.time_ns() + 10 * DAY,
        "uses_max": 100,
    }
    return Wanted(**fields | changes)


@pytest.fixture
async def play(parties: Parties, tmp_path: Path) -> AsyncIterator[Play]:
    parties.mint()
    async with AsyncExitStack() as stack:
        gateway = (await stack.enter_async_context(office(parties, tmp_path))).gateway
        client = await stack.enter_async_context(Client(parties.context(gateway.addresses.enterprise)))
        american = parties.runners["US"]
        agent = running(parties, american, gateway.addresses.runner, Cage(), tmp_path / "runner")
        await stack.enter_async_context(agent)
        play = Play(
            parties=parties,
            address=gateway.addresses.enterprise,
            state=tmp_path / "gateway",
            client=client,
            stack=stack,
        )
        for _ in range(200):
            prepared = await client.prepare(facts(constraints={"only": ["US"]}))
            if prepared.runners:
                break
            await asyncio.sleep(0.05)
        yield play


async def test_with_an_exemption_that_two_others_approved_the_job_runs_and_one_use_is_counted(play: Play) -> None:
    assert (await play.client.prepare(TO_US)).denied
    found = await play.asked()
    assert (found.state, found.quorum, found.requester) == (
        ExemptionState.ASKED,
        2,
        "ada (https://issuer.hospital.example)",
    )
    assert (await play.client.prepare(TO_US)).denied
    ben, cleo = await play.officer("ben", "policy.approver"), await play.officer("cleo", "policy.approver")
    assert (await ben.approve_exemption(found.name)).state is ExemptionState.ASKED
    assert (await play.client.prepare(TO_US)).denied
    assert (await cleo.approve_exemption(found.name)).state is ExemptionState.APPROVED

    outcome = await asyncio.wait_for(play.client.run(work(TO_US)), 30)
    assert outcome.succeeded
    assert outcome.receipt.receipt.jurisdiction == "US"
    used = outcome.receipt.prepared.exemptions_used
    assert [(one.id, one.rule) for one in used] == [(found.name.rpartition("/")[2], RULE)]
    assert (await play.stands(found.name)).uses == 1
    kinds = [kind for kind in play.leaves() if kind.startswith("exemption.")]
    assert kinds == ["exemption.asked", "exemption.approved", "exemption.approved", "exemption.used"]


async def test_whoever_asked_does_not_approve_whatever_their_roles(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await play.asked()
    same = await play.officer("ada", "policy.author", "policy.approver")
    with pytest.raises(SecondPersonRequired):
        await same.approve_exemption(found.name)
    # Control: with nobody looking, they are as good as anybody.
    monkeypatch.setattr(exemptions, "check_other", nothing)
    assert len((await same.approve_exemption(found.name)).approvers) == 1


async def test_one_person_does_not_fill_a_quorum_of_two(play: Play) -> None:
    found = await play.asked()
    twice = [await play.officer("ben", "policy.approver") for _ in range(2)]
    await asyncio.gather(*(officer.approve_exemption(found.name) for officer in twice * 4))
    stands = await play.stands(found.name)
    assert (stands.state, len(stands.approvers)) == (ExemptionState.ASKED, 1)


async def test_each_step_takes_its_role(play: Play) -> None:
    found = await play.asked()
    nobody = await play.officer("eve", "job.approver")
    author = await play.officer("fay", "policy.author")
    for attempt in (
        nobody.ask(wanted()),
        nobody.approve_exemption(found.name),
        author.approve_exemption(found.name),
        nobody.revoke(found.name),
    ):
        with pytest.raises(RoleRequired):
            await attempt
    with pytest.raises(RoleRequired):
        [_ async for _ in nobody.exemptions()]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"rule": "US-OFAC"}, "rule"),
        ({"rule": "NO-SUCH-RULE"}, "rule"),
        ({"places": ("XX",)}, "places"),
        ({"classes": ("everything",)}, "classes"),
        ({"purposes": ("whatever",)}, "purposes"),
        ({"expires_ns": time.time_ns() + 91 * DAY}, "expires_ns"),
        ({"expires_ns": 1}, "expires_ns"),
        ({"uses_max": 0}, "uses_max"),
    ],
)
async def test_what_nobody_may_be_exempt_from_is_not_even_asked_for(
    play: Play, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(FieldInvalid) as caught:
        await play.asked(**changes)
    assert caught.value.metadata["field"] == field


async def test_no_rule_of_sanctions_arms_or_prohibited_transfers_is_exemptible(play: Play) -> None:
    _, rules = await (await play.officer("ada")).rules()
    never = [rule for rule in rules if rule.id.startswith(("US-OFAC", "US-ITAR", "US-DSP"))]
    assert len(never) >= 3
    for rule in never:
        if not rule.exemptible:
            with pytest.raises(FieldInvalid):
                await play.asked(rule=rule.id)
    assert not any(rule.exemptible for rule in never if rule.id.startswith(("US-OFAC", "US-ITAR")))


async def test_ten_jobs_at_once_do_not_use_an_exemption_more_often_than_three_times(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await play.granted(uses_max=3)
    jobs = await play.sealed(10)
    assert await play.taken(jobs) == 3
    stands = await play.stands(found.name)
    assert (stands.uses, stands.state) == (3, ExemptionState.USED_UP)
    assert (await play.client.prepare(TO_US)).denied
    assert play.leaves().count("exemption.used") == 3


async def test_the_row_holds_the_bound_when_nobody_holds_uses_in_memory(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play.granted(uses_max=3)
    jobs = await play.sealed(8)

    async def all_of_them(self: exemptions.Exemptions, key: Any, names: frozenset[str]) -> Any:
        return tuple([await self.get(key.tenant_id, bytes.fromhex(name)) for name in names])

    monkeypatch.setattr(exemptions.Exemptions, "_usable", all_of_them)
    answers = await asyncio.gather(*map(play.client.submit, jobs), return_exceptions=True)
    assert sum(isinstance(answer, str) for answer in answers) == 3
    # Control: with the row's bound gone too, they all pass.
    monkeypatch.setattr(policychanges, "_use", nothing)
    await play.granted(uses_max=1)
    answers = await asyncio.gather(*map(play.client.submit, await play.sealed(4)), return_exceptions=True)
    assert sum(isinstance(answer, str) for answer in answers) == 4


async def test_an_upload_that_comes_to_nothing_uses_nothing_and_lets_go(play: Play) -> None:
    found = await play.granted(uses_max=1)
    first, second = await play.sealed(2)
    with pytest.raises(CarnetError):
        await play.client.submit(replace(first, wraps=()))
    assert (await play.stands(found.name)).uses == 0
    assert await play.taken([second]) == 1


async def test_the_same_job_sent_twice_uses_an_exemption_once(play: Play) -> None:
    found = await play.granted(uses_max=5)
    (job,) = await play.sealed(1)
    kept = [path.read_bytes() for _, _, path in job.segments()]
    await play.client.submit(job)
    job.directory.mkdir(parents=True)
    for (_, _, path), data in zip(job.segments(), kept, strict=True):
        path.write_bytes(data)
    await play.client.submit(job)
    assert (await play.stands(found.name)).uses == 1


async def test_one_that_is_revoked_lets_no_job_in_that_was_prepared_with_it(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await play.granted()
    first, second = await play.sealed(2)
    officer = await play.officer("ben", "policy.approver")
    assert (await officer.revoke(found.name)).state is ExemptionState.REVOKED
    assert (await officer.revoke(found.name)).state is ExemptionState.REVOKED
    assert await play.taken([first, second]) == 0
    assert (await play.client.prepare(TO_US)).denied
    with pytest.raises(NotReady):
        await (await play.officer("cleo", "policy.approver")).approve_exemption(await play.revoked())


async def test_one_that_is_revoked_takes_along_what_was_not_dispatched_yet(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await play.granted()
    (job,) = await play.sealed(1)
    ben = await play.officer("ben", "policy.approver")
    # Dispatch is asleep while the job is accepted and the exemption ends: the job waits in the queue.
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "claims_max", 0)
        name = await play.client.submit(job)
        await ben.revoke(found.name)
    assert await play.settled(name) is JobState.DENIED


async def test_an_expired_one_matches_nothing_and_stays_to_be_seen(play: Play) -> None:
    found = await play.granted(expires_ns=time.time_ns() + 3 * 10**9)
    assert not (await play.client.prepare(TO_US)).denied
    await asyncio.sleep(3.1)
    assert (await play.client.prepare(TO_US)).denied
    assert (await play.stands(found.name)).state is ExemptionState.EXPIRED
    late = await play.asked(expires_ns=time.time_ns() + 10**9)
    await asyncio.sleep(1.1)
    with pytest.raises(NotReady):
        await (await play.officer("ben", "policy.approver")).approve_exemption(late.name)


async def test_its_scope_is_its_scope(play: Play) -> None:
    await play.granted(classes=("technical",))
    assert (await play.client.prepare(TO_US)).denied
    await play.granted(places=("IN",))
    assert (await play.client.prepare(TO_US)).denied
    await play.granted(purposes=("training",))
    assert (await play.client.prepare(TO_US)).denied
    await play.granted(classes=("personal", "health"), purposes=("other",))
    assert not (await play.client.prepare(TO_US)).denied


async def test_another_tenants_exemption_is_not_there(play: Play) -> None:
    found = await play.asked()
    strange = found.name.replace(play.parties.tenant.tenant_id.hex(), "ab" * 16)
    officer = await play.officer("ben", "policy.approver")
    for attempt in (officer.approve_exemption(strange), officer.revoke(strange)):
        with pytest.raises(NotFound):
            await attempt
