"""A line of the decision log: masked, sealed, bound to its record, and kept for the tenant's days."""

import hashlib
import json
from dataclasses import dataclass, replace

import pytest

from carnet.core.decision import DecisionBody, DecisionRecord, parse_body
from carnet.core.document import canonical
from carnet.core.encoding import ctx
from carnet.core.errors import EnvelopeUnopened, FieldInvalid, PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from carnet.pins import Pins
from gateway import decisionlog
from gateway.decisionlog import DAY_NS, DecisionLog
from gateway.storage.decisionlog import Stage
from policy.engine import JobQuery
from policy.masking import MaskRule
from tests.fixtures.broker import ScriptedPolicy
from tests.fixtures.officers import compliance_key
from tests.fixtures.parties import Parties, body
from tests.opa_support import NOW, query_of, runner_of

JOB = bytes(range(16))


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the judge would hand over."""

    query: JobQuery
    runners: tuple[RunnerFacts, ...]
    body: DecisionBody
    record: DecisionRecord


class Masking(ScriptedPolicy):
    """An engine that covers who uses the results."""

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """One rule."""
        self._ask("mask")
        return (MaskRule(segments=("input", "job", "end_user", "entity")),)


def judged(parties: Parties, **changes: bytes) -> Judged:
    found = parse_body(body("DE"))
    record = DecisionRecord(
        payload=b"record",
        id=bytes(16),
        tenant_id=parties.voice.tenant_id,
        body_digest=found.digest,
        facts_digest=bytes(32),
        gateway_facts_digest=bytes(32),
        engine="scripted",
        engine_version="1",
        evaluated_ns=NOW,
        valid_until_ns=NOW + 1,
        shortlist=(),
    )
    return Judged(query=query_of(), runners=(runner_of("DE"),), body=found, record=replace(record, **changes))


def log_of(parties: Parties, policy: ScriptedPolicy | None = None, pins: Pins | None = None) -> DecisionLog:
    found = policy or Masking("DE")
    return DecisionLog(found, pins or parties.pins, days=3, tenant_days={bytes(16): 1}, clock=lambda: NOW)


async def test_a_line_says_what_decided_and_when_and_what_it_was_for(parties: Parties) -> None:
    found = judged(parties)
    line = (await log_of(parties).line(found, stage=Stage.DISPATCHED, job_id=JOB)).operation.line
    assert (line.digest, line.tenant_id, line.job_id) == (found.record.digest, found.record.tenant_id, JOB)
    assert (line.stage, line.verdict, line.created_ns) == ("dispatched", "permit", NOW)
    assert line.bundle == found.body.revisions.bundle


async def test_the_event_is_masked_and_the_input_is_sealed_whole(parties: Parties) -> None:
    found = judged(parties)
    line = await log_of(parties).line(found, stage=Stage.PREPARED)
    kept = line.operation.event
    entity = found.query.facts.end_user.entity
    event = json.loads(kept.event)
    assert "entity" not in event["input"]["job"]["end_user"]
    assert entity.encode() not in kept.event
    assert event["erased"] == ["/input/job/end_user/entity"]
    assert entity.encode() not in kept.sealed_input
    info = ctx("decision input", found.record.tenant_id, found.record.digest)
    opened = compliance_key(parties).open(kept.sealed_input, info=info)
    assert opened == canonical(found.query.document(found.runners))
    assert line.event_digest == hashlib.sha256(kept.event).digest()
    assert line.input_digest == hashlib.sha256(kept.sealed_input).digest()


async def test_a_sealed_input_opens_for_its_own_record_and_tenant_only(parties: Parties) -> None:
    found = judged(parties)
    sealed = (await log_of(parties).line(found, stage=Stage.PREPARED)).operation.event.sealed_input
    key, record = compliance_key(parties), found.record
    for tenant_id, digest in ((bytes(16), record.digest), (record.tenant_id, bytes(32))):
        with pytest.raises(EnvelopeUnopened):
            key.open(sealed, info=ctx("decision input", tenant_id, digest))
    assert key.open(sealed, info=ctx("decision input", record.tenant_id, record.digest)), "the control"


async def test_a_tenant_that_pinned_no_key_has_no_sealed_inputs(parties: Parties) -> None:
    tenants = tuple(replace(tenant, compliance_key=b"") for tenant in parties.pins.tenants)
    log = log_of(parties, pins=replace(parties.pins, tenants=tenants))
    line = await log.line(judged(parties), stage=Stage.PREPARED)
    assert line.operation.event.sealed_input == b""
    assert line.input_digest == hashlib.sha256(b"").digest()


async def test_attack_without_an_answer_for_the_mask_nothing_is_logged_in_clear(parties: Parties) -> None:
    policy = Masking("DE")
    policy.down = True
    with pytest.raises(PolicyEngineUnavailable):
        await log_of(parties, policy).line(judged(parties), stage=Stage.PREPARED)
    # Control: the same line with an answer.
    policy.down = False
    assert (await log_of(parties, policy).line(judged(parties), stage=Stage.PREPARED)).operation.event.event


async def test_events_are_kept_for_the_days_of_their_tenant(parties: Parties) -> None:
    log = log_of(parties)
    usual = await log.line(judged(parties), stage=Stage.PREPARED)
    other = await log.line(judged(parties, tenant_id=bytes(16)), stage=Stage.PREPARED)
    assert usual.operation.event.until_ns == NOW + 3 * DAY_NS
    assert other.operation.event.until_ns == NOW + DAY_NS


async def test_an_event_beyond_its_bound_is_no_line(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisionlog, "event_bytes", lambda *_: b"x" * (384 * 1024 + 1))
    with pytest.raises(FieldInvalid, match="event"):
        await log_of(parties).line(judged(parties), stage=Stage.PREPARED)
