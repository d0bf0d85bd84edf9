"""The Decisions service of a real gateway, as its officer reads it: whole, verified, and only as long as it is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from carnet.client import Client
from carnet.core.errors import FieldInvalid, NotFound
from carnet.core.job import JobState
from carnet.officer import LoggedDecision, Officer, event_of
from carnet.outbox import Work
from gateway import tidying
from gateway.config import load_config
from policy import release
from policy.bundle import Bundle
from policy.commands.past import policy_keys
from tests.fixtures.inprocess import gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import Office, compliance_key, office, office_config, officer_context
from tests.fixtures.parties import Cage, Parties, facts, work
from tests.opa_support import hospital

HEALTH = json.dumps(hospital()).encode()
NOWHERE = facts(constraints={"only": ["CU"]})


@pytest.fixture
async def found(parties: Parties, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(parties, tmp_path) as running:
        yield running


async def asked(found: Office, *documents: bytes) -> list[str]:
    """Ask for each; the names of the decisions, in that order."""
    async with Client(found.client()) as client:
        records = [(await client.prepare(document)).decided.record for document in documents]
    return [f"tenants/{record.tenant_id.hex()}/decisions/{record.digest.hex()}" for record in records]


async def exported(officer: Officer, **window: int) -> list[LoggedDecision]:
    return [each async for each in officer.export(**window)]


async def test_every_decision_is_there_a_denial_like_a_permission(found: Office) -> None:
    names = await asked(found, facts(), NOWHERE, HEALTH)
    async with Officer(found.officer()) as officer:
        page = await officer.decisions()
        assert [each.name for each in page.decisions] == names[::-1]
        assert [each.verdict for each in page.decisions] == ["permit", "deny", "permit"]
        assert {each.stage for each in page.decisions} == {"prepared"}
        assert page.next_page_token == ""
        denied = await officer.decisions(verdict="deny")
        assert [each.name for each in denied.decisions] == [names[1]]
        assert [each.summary.name for each in await exported(officer)] == names


async def test_one_decision_is_whole_and_its_input_opens_with_the_compliance_key(found: Office) -> None:
    (name,) = await asked(found, HEALTH)
    async with Officer(found.officer()) as officer:
        decision = await officer.decision(name)
    event = event_of(decision)
    assert event["result"] == json.loads(decision.body.payload)
    assert event["bundles"] == {"carnet": {"revision": Bundle.load().revision}}
    assert b"klinikum.example" not in decision.event
    document = json.loads(decision.open_input(compliance_key(found.parties)))
    assert document["job"]["end_user"]["entity"] == "klinikum.example"
    assert document["context"]["now_ns"] == decision.record.evaluated_ns


async def test_pages_go_on_where_the_last_one_ended_and_windows_are_half_open(found: Office) -> None:
    names = await asked(found, facts(), facts(), facts())
    async with Officer(found.officer()) as officer:
        seen, token = [], ""
        for _ in range(4):
            page = await officer.decisions(page_size=1, page_token=token)
            seen += [each.name for each in page.decisions]
            token = page.next_page_token
        assert seen == names[::-1]
        times = [each.record.evaluated_ns for each in await exported(officer)]
        inside = await exported(officer, from_ns=times[1], until_ns=times[2])
        assert [each.summary.name for each in inside] == [names[1]]
        assert [each.name for each in (await officer.decisions(until_ns=times[1])).decisions] == [names[0]]


async def test_the_bundle_that_decided_is_handed_out_signed(found: Office) -> None:
    (name,) = await asked(found, facts())
    async with Officer(found.officer()) as officer:
        decision = await officer.decision(name)
        archive = await officer.bundle(decision.summary.bundle)
        with pytest.raises(NotFound):
            await officer.bundle("sha256:" + "0" * 64)
    opened = release.read(archive, policy_keys(found.officer()))
    assert opened.bundle.revisions == decision.body.revisions


async def test_past_its_days_event_and_input_are_gone_and_the_decision_is_still_proven(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidying, "round_seconds", 0.05)
    async with office(parties, tmp_path, decisions={"days": 2}) as found:
        (name,) = await asked(found, facts())
        await _days_later(found, 1)
        async with Officer(found.officer()) as officer:
            assert (await officer.decision(name)).event, "the control: within its days it is there"
            await _days_later(found, 2)
            decision = await officer.decision(name)
            assert (decision.event, decision.sealed_input) == (b"", b"")
            assert decision.body.permits("DE")
            for gone in (lambda: event_of(decision), lambda: decision.open_input(compliance_key(parties))):
                with pytest.raises(NotFound):
                    gone()
            assert [each.event for each in await exported(officer)] == [b""]


async def _days_later(found: Office, days: int) -> None:
    """Let the gateway tidy up as if days had passed; tokens are judged at today's time again."""
    found.clock.advance(days * 86_400)
    await asyncio.sleep(0.5)
    found.clock.ahead_ns = 0


def test_a_tenant_may_be_kept_for_other_days(parties: Parties, tmp_path: Path) -> None:
    tenant = parties.voice.tenant_id.hex()
    config = office_config(parties, tmp_path, decisions={"days": 30, "tenants": {tenant: 7}})
    assert config.decisions.days == 30
    assert config.decisions.tenant_days == {parties.voice.tenant_id: 7}
    for wrong in ({"days": 0}, {"days": 4000}, {"tenants": {"x": 7}}, {"tenants": {tenant: 0}}, {"hours": 1}):
        with pytest.raises(FieldInvalid, match="decisions"):
            office_config(parties, tmp_path, decisions=wrong)
    assert load_config(None, **office_config(parties, tmp_path).model_dump()).decisions.days == 365


async def test_a_dispatched_decision_is_logged_before_its_offer_and_names_its_job(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parties.mint()
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found:
        found.policy.places = ("FR",)
        runner = parties.runners["FR"]
        async with (
            Client(parties.context(found.enterprise)) as client,
            running(parties, runner, found.runner, Cage(), tmp_path / "runner"),
        ):
            name = await _run(client, work())
        context = officer_context(parties, found.enterprise, tmp_path)
        async with Officer(context) as officer:
            dispatched, prepared = (await officer.decisions()).decisions[:2]
            assert (dispatched.stage, dispatched.job, dispatched.job_state) == (
                "dispatched",
                name,
                JobState.SUCCEEDED,
            )
            assert (prepared.stage, prepared.job, prepared.job_state) == ("prepared", name, JobState.SUCCEEDED)
            decision = await officer.decision(dispatched.name)
    document = json.loads(decision.open_input(compliance_key(parties)))
    assert [each["spiffe_id"] for each in document["runners"]] == [runner.name]


async def _run(client: Client, task: Work) -> str:
    for _ in range(100):
        prepared = await client.prepare(task.facts)
        if prepared.runners:
            break
    outcome = await client.run(task)
    return outcome.name


async def test_requests_that_are_none_are_refused_by_their_field_and_bounds_are_bounds(found: Office) -> None:
    (name,) = await asked(found, facts())
    async with Officer(found.officer()) as officer:
        for wrong in ("", "x", name.upper(), name + "0", name.replace("decisions", "jobs")):
            with pytest.raises(FieldInvalid):
                await officer.decision(wrong)
        with pytest.raises(FieldInvalid):
            await officer.decisions(verdict="maybe")
        for revision in ("", "latest", "sha256:" + "g" * 64, "../gateway.db"):
            with pytest.raises(FieldInvalid):
                await officer.bundle(revision)
        last = 2**64 - 1
        assert (await officer.decisions(from_ns=last)).decisions == ()
        assert len((await officer.decisions(until_ns=last, page_size=2**32 - 1)).decisions) == 1
        assert len(await exported(officer, until_ns=last)) == 1
        assert await exported(officer, from_ns=last, until_ns=1) == []
