"""Attacks on the decision log: reading what is not one's own, a gateway that rewrites the past, logging in clear.

The gateway is the real one; where it lies, its answer is changed on the way out. Each attack has the honest answer, or
the check taken away, as its control.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carnet import officer as sdk
from carnet.client import Client
from carnet.core.errors import (
    CarnetError,
    EnvelopeUnopened,
    NotFound,
    PageTokenInvalid,
    PolicyEngineUnavailable,
    RoleRequired,
    StatementInvalid,
)
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.job import JobState
from carnet.officer import Officer
from carnet.v1 import decisions_pb2 as pb
from demo.search import forms, in_files
from gateway import decisions as service
from gateway.decisions import Decisions
from policy.engine import JobQuery
from policy.masking import MaskRule
from tests.fixtures.inprocess import InProcess, gateway
from tests.fixtures.malicious_gateway import running
from tests.fixtures.officers import Office, compliance_key, office, officer_context
from tests.fixtures.parties import Cage, Parties, facts, nothing, work

IMPORTER = {"dpf_certified": "yes", "uk_bridge": "unknown", "swiss_certified": "unknown"}
LICENCE = {"authority": "BIS", "codes": ["3A090.a"], "countries": ["US"], "end_users": [], "expires_ns": 2**62}
CALLS: dict[str, Callable[[Officer, str], Any]] = {
    "list": lambda officer, name: officer.decisions(),
    "get": lambda officer, name: officer.decision(name),
    "export": lambda officer, name: anext(officer.export()),
    "bundle": lambda officer, name: officer.bundle("sha256:" + "0" * 64),
}


@pytest.fixture
async def found(parties: Parties, tmp_path: Path) -> AsyncIterator[Office]:
    async with office(parties, tmp_path) as running_office:
        yield running_office


async def asked(found: Office) -> str:
    async with Client(found.client()) as client:
        record = (await client.prepare(facts())).decided.record
    return f"tenants/{record.tenant_id.hex()}/decisions/{record.digest.hex()}"


@pytest.mark.parametrize("call", sorted(CALLS))
async def test_attack_a_client_without_the_role_reads_no_decision(
    found: Office, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await asked(found)
    for roles in ((), ("policy.author", "Compliance", "compliance ")):
        context = officer_context(found.parties, found.address, found.folder, roles=roles)
        async with Officer(context) as officer:
            with pytest.raises(RoleRequired) as caught:
                await CALLS[call](officer, name)
            assert caught.value.metadata["role"] == "compliance"
    # Control: without the check the same caller is answered.
    monkeypatch.setattr(service, "check_role", nothing)
    async with Officer(context) as officer:
        try:
            assert await CALLS[call](officer, name)
        except NotFound:
            assert call == "bundle"


async def test_attack_a_page_token_of_another_list_or_made_up(found: Office) -> None:
    await asked(found)
    await asked(found)
    async with Officer(found.officer()) as officer:
        token = (await officer.decisions(page_size=1)).next_page_token
        assert (await officer.decisions(page_size=1, page_token=token)).decisions, "the control"
        for other in (token[:-4] + "AAAA", token[4:], "x", "=" * 8):
            with pytest.raises(PageTokenInvalid):
                await officer.decisions(page_token=other)
    async with Client(found.client()) as client:
        with pytest.raises(PageTokenInvalid):
            await client.jobs(page_token=token)


def exchanged(entry: pb.DecisionEntry, other: pb.DecisionEntry) -> dict[str, pb.DecisionEntry]:
    """Lies about an entry, by what they are called."""

    def lie(**changes: Any) -> pb.DecisionEntry:
        told = pb.DecisionEntry.FromString(entry.SerializeToString())
        for field, value in changes.items():
            setattr(told, field, value)
        return told

    shown = json.loads(entry.event)
    foreign = lie()
    foreign.decision.logged.CopyFrom(other.decision.logged)
    swapped = lie()
    swapped.decision.record.CopyFrom(other.decision.record)
    bare = lie()
    bare.decision.ClearField("logged")
    return {
        "an event that was edited": lie(event=json.dumps(shown | {"result": {}}).encode()),
        "the event of another decision": lie(event=other.event),
        "no event, and an input": lie(event=b""),
        "the input of another decision": lie(sealed_input=other.sealed_input),
        "the input left out": lie(sealed_input=b""),
        "another verdict": lie(verdict="deny"),
        "another time": lie(evaluated_ns=entry.evaluated_ns + 1),
        "another bundle": lie(bundle="sha256:" + "0" * 64),
        "another stage": lie(stage="dispatched"),
        "another name": lie(name=other.name),
        "the leaf of another decision": foreign,
        "no leaf": bare,
        "another record": swapped,
        "an unknown state of its job": lie(job="tenants/x/jobs/y", job_state=99),
    }


async def test_attack_a_gateway_that_rewrites_the_past_is_found_out(
    found: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, other_name = await asked(found), await asked(found)
    whole = Decisions._whole
    honest: dict[str, pb.DecisionEntry] = {}

    async def listening(self: Decisions, line: Any, job: Any) -> pb.DecisionEntry:
        entry = await whole(self, line, job)
        honest[entry.name] = entry
        return entry

    monkeypatch.setattr(Decisions, "_whole", listening)
    async with Officer(found.officer()) as officer:
        assert (await officer.decision(name)).event, "the control"
        await officer.decision(other_name)
        for lie, told in exchanged(honest[name], honest[other_name]).items():

            async def lying(*_: object, told: pb.DecisionEntry = told) -> pb.DecisionEntry:
                return told

            monkeypatch.setattr(Decisions, "_whole", lying)
            with pytest.raises(CarnetError) as caught:
                await officer.decision(name)
            assert caught.value.reason in {"STATEMENT_INVALID", "PROOF_INVALID"}, lie
        # Control: without the leaf's word for it, an edited event is believed.
        edited = exchanged(honest[name], honest[other_name])["an event that was edited"]

        async def telling(*_: object) -> pb.DecisionEntry:
            return edited

        monkeypatch.setattr(Decisions, "_whole", telling)
        monkeypatch.setattr(sdk, "_kept", lambda _: {})
        assert (await officer.decision(name)).event == edited.event


async def test_attack_an_export_that_tells_a_decision_twice_or_backwards(
    found: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asked(found)
    await asked(found)
    export = Decisions.ExportDecisions

    async def entries(self: Decisions, request: Any, context: Any) -> list[pb.DecisionEntry]:
        return [entry async for entry in export(self, request, context)]

    async def twice(self: Decisions, request: Any, context: Any) -> AsyncIterator[pb.DecisionEntry]:
        for entry in await entries(self, request, context):
            yield entry
            yield entry

    async def backwards(self: Decisions, request: Any, context: Any) -> AsyncIterator[pb.DecisionEntry]:
        for entry in reversed(await entries(self, request, context)):
            yield entry

    async with Officer(found.officer()) as officer:
        assert len([each async for each in officer.export()]) == 2, "the control"
    for lie in (twice, backwards):
        monkeypatch.setattr(Decisions, "ExportDecisions", lie)
        async with office(found.parties, found.folder / lie.__name__) as lying:
            await asked(lying)
            await asked(lying)
            async with Officer(lying.officer()) as officer:
                with pytest.raises(StatementInvalid, match="out of order"):
                    assert [each async for each in officer.export()]


async def test_attack_an_input_is_opened_with_another_key_or_for_another_decision(found: Office) -> None:
    first, second = await asked(found), await asked(found)
    async with Officer(found.officer()) as officer:
        one, two = await officer.decision(first), await officer.decision(second)
    key = compliance_key(found.parties)
    assert one.open_input(key), "the control"
    with pytest.raises(EnvelopeUnopened):
        one.open_input(HybridPrivateKey.from_seed(bytes(32)))
    with pytest.raises(EnvelopeUnopened):
        replace(one, sealed_input=two.sealed_input).open_input(key)


@pytest.fixture
async def play(parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[InProcess]:
    parties.mint()
    async with gateway(parties, tmp_path / "gateway", monkeypatch) as found:
        found.policy.places = ("FR",)
        yield found


async def test_attack_an_engine_without_a_mask_lets_nothing_be_decided_or_dispatched(
    play: InProcess, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = play.policy.mask
    cage = Cage()

    async def unanswered(query: JobQuery, body: object) -> tuple[MaskRule, ...]:
        raise PolicyEngineUnavailable

    async with (
        Client(parties.context(play.enterprise)) as client,
        running(parties, parties.runners["FR"], play.runner, cage, tmp_path / "runner"),
    ):
        monkeypatch.setattr(play.policy, "mask", unanswered)
        with pytest.raises(PolicyEngineUnavailable):
            await client.prepare(facts())
        monkeypatch.setattr(play.policy, "mask", answers)
        for _ in range(100):
            if (prepared := await client.prepare(facts())).runners:
                break
            await asyncio.sleep(0.05)
        sealed = await client.seal(work(), prepared)
        monkeypatch.setattr(play.policy, "mask", unanswered)
        name = await client.submit(sealed)
        await asyncio.sleep(1.0)
        assert cage.opened == []
        assert (await client.job(name)).state is JobState.QUEUED
        # Control: with the mask back, the same job goes.
        monkeypatch.setattr(play.policy, "mask", answers)
        for _ in range(200):
            if (await client.job(name)).state is JobState.SUCCEEDED:
                break
            await asyncio.sleep(0.1)
        assert cage.opened


async def test_attack_names_and_numbers_of_a_question_are_looked_for_on_the_gateways_disk(
    found: Office, tmp_path: Path
) -> None:
    user, importer, licence = (secrets.token_bytes(16).hex() for _ in range(3))
    told = facts(
        end_user={"entity": user},
        transfer={"importers": [IMPORTER | {"entity": importer}], "mechanisms": []},
        technology={"controlled": "yes", "eccns": ["3A090.a"], "licences": [LICENCE | {"id": licence}]},
    )
    async with Client(found.client()) as client:
        record = (await client.prepare(told)).decided.record
    needles = tuple(form for name in (user, importer, licence) for form in forms(name.encode()))
    assert list(in_files([found.state], needles)) == []
    # Control: the same search finds all three in what the officer opens, and nothing in the event.
    async with Officer(found.officer()) as officer:
        decision = await officer.decision(f"tenants/{record.tenant_id.hex()}/decisions/{record.digest.hex()}")
    opened = tmp_path / "opened"
    opened.mkdir()
    (opened / "input").write_bytes(decision.open_input(compliance_key(found.parties)))
    (opened / "event").write_bytes(decision.event)
    for name in (user, importer, licence):
        assert list(in_files([opened], forms(name.encode()))) == [str(opened / "input")]
