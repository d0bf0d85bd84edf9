"""Decisions: a positive and complete document, or none; and whatever is built on one only ever narrows it."""

import hashlib
import json
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.decision import (
    OBLIGATIONS,
    DecisionBody,
    DecisionRecord,
    Enforcer,
    ExemptionUsed,
    Obligation,
    RunnerObligation,
    Verdict,
    both_permit,
    check_obligations,
    check_permit_obligations,
    check_record,
    check_usable,
    for_runner,
    narrow,
    parse_body,
    recipients_max,
    unverified_rows,
)
from carnet.core.errors import FieldInvalid, PolicyDenied, StatementInvalid

NOW = 1_000
OBLIGATION = {"type": "recipients_max", "value": 2, "rule": "R1", "citations": ["Art. 9"], "enforcer": "client"}
REASON = {
    "rule": "R1",
    "effect": "deny",
    "jurisdictions": ["US"],
    "citations": ["GDPR Art. 44"],
    "message": "gdpr.no_basis",
    "parameters": {"basis": "none", "rows": 3, "countries": ["US"]},
    "fix": ["Certify the importer."],
}
EXEMPTION: dict[str, Any] = {"id": "E1", "rule": "R1", "expires_ns": 10_000}
DOCUMENT: dict[str, Any] = {
    "schema": "carnet.decision/v1",
    "verdict": "permit",
    "permitted": ["FR", "DE"],
    "blocked": {"R1": ["US"]},
    "obligations": [OBLIGATION],
    "reasons": [REASON],
    "rules_evaluated": ["R2", "R1"],
    "exemptions_used": [],
    "unverified_rows_used": [],
    "valid_until_ns": 10_000,
    "revisions": {"rules": "sha256:1", "data": "sha256:2"},
    "disclaimer": "not-legal-advice",
}


def body(**changes: Any) -> DecisionBody:
    return parse_body(json.dumps({**DOCUMENT, **changes}).encode())


def refused(**changes: Any) -> str:
    with pytest.raises(FieldInvalid) as error:
        body(**changes)
    return error.value.metadata["field"]


def duty(kind: str = "isolation_min", value: str | int = "gvisor", enforcer: Enforcer = Enforcer.RUNNER) -> Obligation:
    return Obligation(type=kind, value=value, rule="R1", citations=("Art. 9",), enforcer=enforcer)


def test_a_body_is_read_whole() -> None:
    found = body()
    assert found.permitted == ("DE", "FR")
    assert found.blocked == (("R1", ("US",)),)
    assert found.rules_evaluated == ("R1", "R2")
    assert found.reasons[0].parameters == (("basis", "none"), ("countries", ("US",)), ("rows", 3))
    assert found.digest == hashlib.sha256(found.payload).digest()


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_body_without_one_of_its_parts_is_no_decision(name: str) -> None:
    document = {key: value for key, value in DOCUMENT.items() if key != name}
    with pytest.raises(FieldInvalid) as error:
        parse_body(json.dumps(document).encode())
    assert error.value.metadata["field"] == name


@pytest.mark.parametrize("data", [b"{}", b'{"result":{}}', b"", b"true", b'{"allow":true}'])
def test_what_an_engine_says_when_nothing_is_defined_is_no_decision(data: bytes) -> None:
    with pytest.raises(FieldInvalid):
        parse_body(data)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"schema": "carnet.decision/v2"}, "schema"),
        ({"verdict": "allow"}, "verdict"),
        ({"verdict": "deny"}, "permitted"),
        ({"verdict": "review", "permitted": []}, "permitted"),
        ({"exemptions_used": [{**EXEMPTION, "more": 1}]}, "exemptions_used[0].more"),
        ({"exemptions_used": [{**EXEMPTION, "expires_ns": 9_999}]}, "valid_until_ns"),
        ({"exemptions_used": [{"id": "E1", "rule": "R1"}]}, "exemptions_used[0].expires_ns"),
        ({"permitted": ["FRA"]}, "permitted[0]"),
        ({"permitted": ["FR", "FR"]}, "permitted"),
        ({"permitted": ["FR", "US"]}, "permitted"),
        ({"blocked": {"R9": ["US"]}}, "blocked"),
        ({"blocked": {"R1": ["us"]}}, "blocked.R1[0]"),
        ({"blocked": {"R1": "US"}}, "blocked.R1"),
        ({"rules_evaluated": []}, "rules_evaluated"),
        ({"valid_until_ns": 0}, "valid_until_ns"),
        ({"valid_until_ns": 2**63}, "valid_until_ns"),
        ({"extra": 1}, "extra"),
        ({"revisions": {"rules": "r", "data": "d", "more": "m"}}, "revisions.more"),
        ({"revisions": {"rules": "r"}}, "revisions.data"),
        ({"obligations": [{**OBLIGATION, "value": "two"}]}, "obligations[0].value"),
        ({"obligations": [{**OBLIGATION, "enforcer": "nobody"}]}, "obligations[0].enforcer"),
        ({"obligations": [{**OBLIGATION, "type": "isolation_min", "value": 3}]}, "obligations[0].value"),
        ({"obligations": [{**OBLIGATION, "type": "isolation_min", "value": "bunker"}]}, "obligations[0].value"),
        ({"obligations": [{**OBLIGATION, "more": 1}]}, "obligations[0].more"),
        ({"reasons": [{**REASON, "effect": "allow"}]}, "reasons[0].effect"),
        ({"reasons": [{**REASON, "parameters": {"a": {}}}]}, "reasons[0].parameters.a"),
        ({"reasons": [{**REASON, "more": 1}]}, "reasons[0].more"),
        ({"reasons_elsewhere": [{**REASON, "more": 1}]}, "reasons_elsewhere[0].more"),
        ({"reasons_elsewhere": [{**REASON, "effect": "warn"}]}, "reasons_elsewhere"),
        ({"reasons_elsewhere": [{**REASON, "rule": "R2"}]}, "reasons_elsewhere"),
        ({"reasons_elsewhere": [{**REASON, "jurisdictions": []}]}, "reasons_elsewhere"),
        ({"reasons_elsewhere": [{**REASON, "jurisdictions": ["JP", "US"]}]}, "reasons_elsewhere"),
        ({"reasons_elsewhere": REASON}, "reasons_elsewhere"),
    ],
)
def test_a_body_that_contradicts_itself_or_the_schema_is_refused(changes: dict[str, Any], field: str) -> None:
    assert refused(**changes) == field


def test_a_body_is_bounded() -> None:
    with pytest.raises(FieldInvalid):
        parse_body(b" " * (256 * limits.KIB + 1))


def test_only_what_is_permitted_is_permitted() -> None:
    found = body()
    assert found.permits("FR")
    assert found.permits("FR-75")
    assert not found.permits("US")
    assert not found.permits("JP")
    assert not body(verdict="deny", permitted=[]).permits("FR")


def test_a_blocked_region_does_not_follow_its_country() -> None:
    found = body(permitted=["UA"], blocked={"R1": ["UA-43"]})
    assert (found.permits("UA"), found.permits("UA-30"), found.permits("UA-43")) == (True, True, False)


def test_a_permitted_region_does_not_permit_its_country() -> None:
    found = body(permitted=["GB-ENG"])
    assert (found.permits("GB-ENG"), found.permits("GB-SCT"), found.permits("GB")) == (True, False, False)


def test_a_review_lists_what_would_be_permitted_and_permits_nothing() -> None:
    found = body(verdict="review")
    assert found.permitted == ("DE", "FR")
    assert not found.permits("FR")
    assert narrow(found, body()) == narrow(body(), found) == ()
    assert body().permits("FR"), "the control"


def test_exemptions_that_were_used_are_read_in_their_order() -> None:
    found = body(exemptions_used=[EXEMPTION, {"id": "E0", "rule": "R2", "expires_ns": 20_000}])
    assert [used.id for used in found.exemptions_used] == ["E1", "E0"]
    assert found.exemptions_used[0] == ExemptionUsed(id="E1", rule="R1", expires_ns=10_000)


def test_the_reasons_of_places_that_nobody_asked_about_stand_apart_and_may_be_missing() -> None:
    assert body().reasons_elsewhere == ()
    found = body(reasons_elsewhere=[REASON])
    assert found.reasons_elsewhere == found.reasons
    assert body(reasons=[], reasons_elsewhere=[REASON]).reasons == ()


def test_a_decision_names_the_unverified_rows_of_both_stages_once() -> None:
    found = body(unverified_rows_used=["groups/EU", "a/b"])
    assert unverified_rows(found, record(unverified_rows_used=("groups/EU", "x/y"))) == ("a/b", "groups/EU", "x/y")
    assert unverified_rows(found, record()) == ("a/b", "groups/EU")


def test_a_usable_body_permits_something_now_under_known_duties() -> None:
    check_usable(body(), now_ns=NOW)
    for unusable in (
        body(verdict="deny", permitted=[]),
        body(verdict="review"),
        body(permitted=[]),
        body(valid_until_ns=NOW),
        body(obligations=[{**OBLIGATION, "type": "burn_after_reading"}]),
        body(obligations=[{**OBLIGATION, "enforcer": "runner"}]),
    ):
        with pytest.raises(PolicyDenied):
            check_usable(unusable, now_ns=NOW)


@pytest.mark.parametrize(("kind", "enforcer"), OBLIGATIONS.items())
def test_each_duty_has_one_enforcer(kind: str, enforcer: Enforcer) -> None:
    check_obligations((duty(kind, 1, enforcer),))
    for other in set(Enforcer) - {enforcer}:
        with pytest.raises(PolicyDenied) as denied:
            check_obligations((duty(kind, 1, other),))
        assert denied.value.metadata == {"obligation": kind}


def test_attack_a_later_decision_widens_an_earlier_one() -> None:
    before, after = body(permitted=["FR", "DE"]), body(permitted=["FR", "JP"], blocked={"R1": ["US", "DE"]})
    assert narrow(before, after) == narrow(after, before) == ("FR",)
    assert after.permits("JP"), "control: the later decision alone would add a place"


def test_narrowing_with_a_denial_leaves_nothing() -> None:
    assert narrow(body(), body(verdict="deny", permitted=[])) == ()


def test_attack_a_region_that_one_decision_blocked_comes_back_by_its_country() -> None:
    before = body(permitted=["UA"], blocked={"R1": ["UA-43"]})
    after = body(permitted=["UA"], blocked={})
    assert narrow(before, after) == ("UA",)
    assert not both_permit(before, after, "UA-43")
    assert not both_permit(after, before, "UA-43")
    assert both_permit(before, after, "UA-30")


def test_how_many_recipients_is_the_least_of_the_duties() -> None:
    client = Enforcer.CLIENT
    assert recipients_max(()) == limits.recipients_default
    assert recipients_max((duty("recipients_max", 2, client), duty("recipients_max", 1, client))) == 1


def test_a_runner_hears_its_duties_once_each_and_no_rule() -> None:
    kept = for_runner((duty("network_none", 1), duty(), duty(), duty("recipients_max", 1, Enforcer.CLIENT)))
    assert kept == (
        RunnerObligation(type="isolation_min", number=0, word="gvisor"),
        RunnerObligation(type="network_none", number=1, word=""),
    )
    check_permit_obligations(kept)


@pytest.mark.parametrize("kind", ["recipients_max", "retention_days_max", "burn_after_reading"])
def test_a_permit_with_a_duty_that_is_not_a_runners_is_refused(kind: str) -> None:
    with pytest.raises(PolicyDenied) as denied:
        check_permit_obligations((RunnerObligation(type=kind, number=1, word=""),))
    assert denied.value.metadata == {"obligation": kind}


def record(**changes: Any) -> DecisionRecord:
    values: dict[str, Any] = {
        "payload": b"record",
        "id": b"i" * 16,
        "tenant_id": b"t" * 16,
        "body_digest": body().digest,
        "facts_digest": b"f" * 32,
        "gateway_facts_digest": b"g" * 32,
        "engine": "opa",
        "engine_version": "1.22.2",
        "evaluated_ns": 1,
        "valid_until_ns": 5_000,
        "shortlist": (),
    }
    return DecisionRecord(**{**values, **changes})


def test_a_record_is_of_its_body_and_facts_and_time() -> None:
    check_record(record(), body(), facts_digest=b"f" * 32, now_ns=4_999)
    assert record().digest == hashlib.sha256(b"record").digest()


@pytest.mark.parametrize(
    ("changes", "now_ns"),
    [
        ({"body_digest": b"x" * 32}, NOW),
        ({"facts_digest": b"x" * 32}, NOW),
        ({"valid_until_ns": 10_001}, NOW),
        ({}, 5_000),
    ],
)
def test_attack_a_record_of_another_body_or_facts_or_time(changes: dict[str, Any], now_ns: int) -> None:
    with pytest.raises(StatementInvalid):
        check_record(record(**changes), body(), facts_digest=b"f" * 32, now_ns=now_ns)


def test_the_words_of_a_verdict_are_three() -> None:
    assert [str(word) for word in Verdict] == ["permit", "deny", "review"]
