"""Decisions at their very bounds, in an order of their own, and taken apart further than a parser lets them be."""

import json
from dataclasses import replace
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.decision import (
    DecisionBody,
    DecisionRecord,
    Effect,
    Enforcer,
    Obligation,
    Verdict,
    check_obligations,
    check_record,
    check_usable,
    narrow,
    parse_body,
    recipients_max,
)
from carnet.core.errors import FieldInvalid, PolicyDenied, StatementInvalid

NOW = 1_000
REASON: dict[str, Any] = {
    "rule": "R1",
    "effect": "deny",
    "jurisdictions": [],
    "citations": [],
    "message": "m",
    "parameters": {},
    "fix": [],
}
DOCUMENT: dict[str, Any] = {
    "schema": "carnet.decision/v1",
    "verdict": "permit",
    "permitted": ["FR"],
    "blocked": {},
    "obligations": [],
    "reasons": [],
    "rules_evaluated": ["R1", "R2"],
    "exemptions_used": [],
    "unverified_rows_used": [],
    "valid_until_ns": 10_000,
    "revisions": {"rules": "sha256:1", "data": "sha256:2"},
    "disclaimer": "not-legal-advice",
}


def encoded(**changes: Any) -> bytes:
    return json.dumps({**DOCUMENT, **changes}, separators=(",", ":")).encode()


def body(**changes: Any) -> DecisionBody:
    return parse_body(encoded(**changes))


def reason(**changes: Any) -> dict[str, Any]:
    return {"reasons": [{**REASON, **changes}]}


def duty(kind: str, value: int) -> Obligation:
    return Obligation(type=kind, value=value, rule="R1", citations=(), enforcer=Enforcer.GATEWAY)


def names(count: int) -> list[str]:
    return [f"n{i}" for i in range(count)]


def regions(count: int) -> list[str]:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return [f"FR-{a}{b}" for a in letters for b in letters][:count]


def test_a_body_is_256_kib_at_most() -> None:
    padded = encoded().ljust(256 * 1024)
    assert parse_body(padded).payload == padded
    with pytest.raises(FieldInvalid):
        parse_body(padded + b" ")


@pytest.mark.parametrize(
    ("most", "more", "field"),
    [
        ({"reasons": [REASON] * 1024}, {"reasons": [REASON] * 1025}, "reasons"),
        ({"rules_evaluated": names(1024)}, {"rules_evaluated": names(1025)}, "rules_evaluated"),
        ({"unverified_rows_used": names(4096)}, {"unverified_rows_used": names(4097)}, "unverified_rows_used"),
        ({"permitted": regions(1024)}, {"permitted": regions(1025)}, "permitted"),
        (reason(fix=["é" * 512]), reason(fix=["é" * 512 + "e"]), "reasons[0].fix[0]"),
        (reason(parameters={"p": "p" * 1024}), reason(parameters={"p": "p" * 1025}), "reasons[0].parameters.p"),
        (reason(parameters={"p": names(1024)}), reason(parameters={"p": names(1025)}), "reasons[0].parameters.p"),
        ({"valid_until_ns": 1}, {"valid_until_ns": 0}, "valid_until_ns"),
    ],
    ids=["reasons", "rules", "rows", "places", "fix", "text", "list", "validity"],
)
def test_a_body_holds_as_much_as_its_bound_and_not_one_more(
    most: dict[str, Any], more: dict[str, Any], field: str
) -> None:
    assert body(**most)
    with pytest.raises(FieldInvalid) as error:
        body(**more)
    assert error.value.metadata["field"] == field


def test_what_an_engine_lists_in_any_order_is_read_in_one() -> None:
    found = body(
        unverified_rows_used=["b", "a"], rules_evaluated=["R2", "R1"], blocked={"R2": ["US"], "R1": ["US", "CN"]}
    )
    assert found.unverified_rows_used == ("a", "b")
    assert found.rules_evaluated == ("R1", "R2")
    assert found.blocked == (("R1", ("CN", "US")), ("R2", ("US",)))


@pytest.mark.parametrize("effect", ["deny", "oblige", "warn"])
def test_a_rule_denies_obliges_or_warns(effect: str) -> None:
    assert body(**reason(effect=effect)).reasons[0].effect is Effect(effect)


def test_the_five_duties_that_are_known_have_these_enforcers() -> None:
    known = {
        "recipients_max": Enforcer.CLIENT,
        "isolation_min": Enforcer.RUNNER,
        "network_none": Enforcer.RUNNER,
        "retention_days_max": Enforcer.GATEWAY,
        "approval": Enforcer.GATEWAY,
    }
    check_obligations(tuple(replace(duty(kind, 1), enforcer=enforcer) for kind, enforcer in known.items()))


@pytest.mark.parametrize("verdict", [Verdict.DENY, Verdict.REVIEW])
def test_a_place_beside_another_verdict_is_not_permitted_wherever_the_value_came_from(verdict: Verdict) -> None:
    odd = replace(body(), verdict=verdict)
    assert not odd.permits("FR")
    assert narrow(odd, body()) == ()
    assert narrow(body(), odd) == ()
    with pytest.raises(PolicyDenied) as error:
        check_usable(odd, now_ns=NOW)
    assert error.value.metadata == {"verdict": verdict.value}


def test_what_is_left_after_narrowing_is_sorted() -> None:
    before = replace(body(), permitted=("FR", "DE"))
    assert narrow(before, body(permitted=["DE", "FR"])) == ("DE", "FR")


def test_only_the_duty_of_that_name_bounds_the_recipients() -> None:
    assert recipients_max((duty("retention_days_max", 1),)) == limits.recipients_default
    assert recipients_max((duty("retention_days_max", 1), duty("recipients_max", 2))) == 2


def test_a_record_may_last_exactly_as_long_as_its_body() -> None:
    found = body()
    record = DecisionRecord(
        payload=b"record",
        id=b"i" * 16,
        tenant_id=b"t" * 16,
        body_digest=found.digest,
        facts_digest=b"f" * 32,
        gateway_facts_digest=b"g" * 32,
        engine="opa",
        engine_version="1",
        evaluated_ns=1,
        valid_until_ns=found.valid_until_ns,
        shortlist=(),
    )
    check_record(record, found, facts_digest=b"f" * 32, now_ns=NOW)
    for valid_until_ns in (found.valid_until_ns + 1, NOW):
        with pytest.raises(StatementInvalid):
            check_record(replace(record, valid_until_ns=valid_until_ns), found, facts_digest=b"f" * 32, now_ns=NOW)
