"""The event: OPA's shape with ours beside it, and of one decision."""

import json
from typing import Any

from carnet.core.decision import DecisionBody, DecisionRecord, parse_body
from policy.event import Decided, event_bytes, timestamp
from policy.masking import mask_rules
from tests.fixtures.parties import body
from tests.opa_support import NOW, hospital, query_of

REASON = {
    "rule": "EU-GDPR-CHV",
    "effect": "deny",
    "jurisdictions": ["US"],
    "citations": ["C-GDPR-45", "C-GDPR-44"],
    "message": "gdpr.no_basis",
    "parameters": {},
    "fix": [],
}
DUTY = {"type": "recipients_max", "value": 2, "rule": "R", "citations": ["C"], "enforcer": "client"}


def decided(found: DecisionBody, *, runner_rows: tuple[str, ...] = ()) -> Decided:
    record = DecisionRecord(
        payload=b"record",
        id=bytes(range(16)),
        tenant_id=bytes(16),
        body_digest=found.digest,
        facts_digest=bytes(32),
        gateway_facts_digest=bytes(32),
        engine="opa",
        engine_version="1.22.2",
        evaluated_ns=NOW,
        valid_until_ns=NOW + 1,
        shortlist=(),
        unverified_rows_used=runner_rows,
    )
    query = query_of(hospital(image="sha256:" + "7" * 64, controller={"entity": "nobody.example"}))
    return Decided(query=query, body=found, record=record, stage="prepared", origin="gateway.test/log")


def event(*rules: Any, **changes: Any) -> dict[str, Any]:
    made = decided(parse_body(body("DE", **changes)))
    found: dict[str, Any] = json.loads(event_bytes(made, mask_rules(list(rules))))
    return found


def test_an_event_has_what_opas_sinks_read() -> None:
    found = event("/input/gateway/volumes")
    assert found["labels"] == {"id": "gateway.test/log", "version": "1.22.2"}
    assert found["decision_id"] == "00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert found["bundles"]["carnet"]["revision"].startswith("sha256:")
    assert found["path"] == "carnet/main/body"
    assert found["input"]["schema"] == "carnet.input/v1"
    assert found["result"]["verdict"] == "permit"
    assert found["erased"] == ["/input/gateway/volumes"]
    assert found["masked"] == []
    assert found["requested_by"] == "tenants/" + "00" * 16
    assert found["timestamp"] == timestamp(NOW)
    assert found["metrics"] == {}
    assert "volumes" not in found["input"]["gateway"]


def test_what_only_carnet_knows_stands_apart() -> None:
    found = event(reasons=[REASON], obligations=[DUTY], unverified_rows_used=["groups/EU"])["carnet"]
    assert found == {
        "engine": "opa",
        "stage": "prepared",
        "verdict": "permit",
        "valid_until_ns": NOW + 1,
        "rules": ["carnet.baseline"],
        "citations": ["C-GDPR-44", "C-GDPR-45"],
        "obligations": [{"type": "recipients_max", "value": 2, "rule": "R"}],
        "unverified_rows": ["groups/EU"],
        "exemptions_used": [],
        "record": decided(parse_body(body("DE"))).record.digest.hex(),
    }


def test_an_event_names_the_unverified_rows_of_the_runners_too_and_cites_what_nobody_asked_about() -> None:
    elsewhere = {**REASON, "citations": ["C-OFAC-CU"]}
    rules = {"rules_evaluated": [REASON["rule"]], "blocked": {REASON["rule"]: REASON["jurisdictions"]}}
    found = parse_body(body("DE", reasons_elsewhere=[elsewhere], unverified_rows_used=["groups/EU"], **rules))
    said = json.loads(event_bytes(decided(found, runner_rows=("accelerators/H100", "groups/EU")), ()))["carnet"]
    assert said["unverified_rows"] == ["accelerators/H100", "groups/EU"]
    assert said["citations"] == ["C-OFAC-CU"]


def test_nobody_who_asked_and_nothing_that_rules_do_not_read_is_in_it() -> None:
    found, query = json.dumps(event()), decided(parse_body(body("DE"))).query
    assert query.gateway.subject == "subject"
    assert '"subject"' not in found
    assert query.facts.image not in found
    assert query.facts.controller.entity not in found


def test_an_input_that_was_masked_whole_is_left_out() -> None:
    assert "input" not in event("/input")
    assert "result" not in event("/result")


def test_a_time_has_nine_digits_as_in_opa() -> None:
    assert timestamp(1_795_000_000_000_000_007) == "2026-11-18T11:06:40.000000007Z"
