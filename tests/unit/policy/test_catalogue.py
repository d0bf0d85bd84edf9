"""The catalogue is made from METADATA, and a rule whose METADATA is not whole stops it."""

import copy
from typing import Any

import pytest

from carnet.core.errors import Bug
from policy.catalogue import catalogue

CUSTOM: dict[str, Any] = {
    "id": "EU-TEST",
    "stage": "job",
    "effect": "deny",
    "citations": ["C-GDPR-44"],
    "effective_from": "2018-05-25",
    "effective_to": None,
    "exemptible": False,
    "severity": "high",
    "owner": "privacy",
    "review_by": "2027-05-22",
    "status": "in_force",
}


def inspected(custom: dict[str, Any], name: str = "blocked") -> dict[str, Any]:
    path = [{"value": value} for value in ("data", "carnet", "test", name, "EU-TEST")]
    return {"annotations": [{"annotations": {"scope": "rule", "title": "t", "custom": custom}, "path": path}]}


def test_a_rule_becomes_a_row_with_its_days_in_nanoseconds() -> None:
    rows: Any = catalogue(inspected(CUSTOM))["rows"]
    assert rows["EU-TEST"]["effective_from_ns"] == 1_527_206_400 * 10**9
    assert rows["EU-TEST"]["effective_to_ns"] is None
    assert rows["EU-TEST"]["package"] == "carnet.test"


def test_a_draft_has_no_first_day() -> None:
    rows: Any = catalogue(inspected(CUSTOM | {"effective_from": None}))["rows"]
    assert rows["EU-TEST"]["effective_from_ns"] is None


@pytest.mark.parametrize("name", sorted(CUSTOM))
def test_a_rule_without_one_of_its_fields_is_refused(name: str) -> None:
    custom = copy.deepcopy(CUSTOM)
    del custom[name]
    with pytest.raises(Bug):
        catalogue(inspected(custom))


@pytest.mark.parametrize("change", [{"id": "EU-OTHER"}, {"effect": "warn"}, {"stage": "runner"}, {"surprise": 1}])
def test_a_rule_that_says_other_than_its_place_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Bug):
        catalogue(inspected(CUSTOM | change))


def test_two_rules_of_one_id_are_refused() -> None:
    document = inspected(CUSTOM)
    document["annotations"] *= 2
    with pytest.raises(Bug):
        catalogue(document)


@pytest.mark.parametrize("document", [None, [], {}, {"annotations": [1]}, {"annotations": {}}])
def test_what_is_not_an_inspection_is_refused(document: Any) -> None:
    with pytest.raises(Bug):
        catalogue(document)
