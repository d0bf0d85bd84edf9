"""Why not there: every rule in the way, each with its reason, told of the place that was asked about."""

from typing import Any

import pytest

from carnet.core.decision import DecisionBody
from carnet.core.errors import FieldInvalid
from carnet.core.explanation import explain
from tests.unit.cli.values import body_of, denial, reason


def only_france(**changes: Any) -> DecisionBody:
    """`only` names FR: the decision gives the words of the other rules apart."""
    fields: dict[str, Any] = {
        "permitted": ["FR"],
        "blocked": {"EU-GDPR-CHV": ["CN", "SG", "US"], "ORG-ONLY": ["CN", "DE", "SG", "US"], "US-OFAC-EMB": ["CN"]},
        "reasons": [reason("ORG-ONLY", "DE", fix="Widen constraints.only.")],
        "reasons_elsewhere": [
            reason("EU-GDPR-CHV", "CN", "SG", "US", fix="Declare standard clauses."),
            reason("US-OFAC-EMB", "CN"),
        ],
    }
    return body_of(**(fields | changes))


def test_each_rule_in_the_way_has_its_citation_and_its_fix_where_only_leaves_the_place_out() -> None:
    found = explain(only_france(), "SG")
    assert not found.permitted
    assert [denial.rule for denial in found.denials] == ["ORG-ONLY", "EU-GDPR-CHV"]
    for denied in found.denials:
        assert denied.reason is not None
        assert denied.reason.citations
        assert denied.reason.fix
        assert denied.reason.jurisdictions == ("SG",), "told of the place that was asked about"
    assert [denial.rule for denial in explain(only_france(), "CN").denials][-1] == "US-OFAC-EMB"
    assert explain(only_france(), "FR").permitted


def test_the_control_a_decision_without_the_words_has_rules_alone() -> None:
    found = explain(only_france(reasons_elsewhere=[]), "SG")
    assert [(denied.rule, denied.reason is None) for denied in found.denials] == [
        ("ORG-ONLY", False), ("EU-GDPR-CHV", True),
    ]  # fmt: skip


def test_a_reason_of_every_place_stays_one_and_a_region_follows_its_country() -> None:
    body = denial(blocked={"EU-GDPR-CHV": ["US"], "US-OFAC-EMB": ["US"]}, reasons=[reason("EU-GDPR-CHV")])
    (first, second) = explain(body, "US-CA").denials
    assert first.reason is not None
    assert first.reason.jurisdictions == ()
    assert second.reason is None
    with pytest.raises(FieldInvalid):
        explain(body, "Singapore")
