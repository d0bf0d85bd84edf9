"""What goes into an engine: the facets that rules read, and nothing that makes equal jobs look different."""

from dataclasses import replace
from typing import Any

import pytest

from carnet.core.errors import FieldInvalid
from policy.bundle import Bundle
from policy.engine import GatewayFacts, Screening, Volume
from tests.opa_support import NOW, clauses, hospital, query_of, runner_of

SCHEMAS = Bundle.load().schemas


@pytest.mark.parametrize(
    "change",
    [
        {"image": "sha256:" + "1" * 64},
        {"caps": {"seconds": 1}},
        {"resources": {"gpus": 8}},
        {"controller": {"entity": "another.example"}},
    ],
)
def test_facts_that_no_rule_reads_do_not_go_in(change: dict[str, Any]) -> None:
    assert query_of(hospital(**change)).facets_digest == query_of().facets_digest


@pytest.mark.parametrize(
    "change",
    [
        {"purpose": "inference"},
        {"controller": {"country": "FR"}},
        {"controller": {"sectors": []}},
        {"controller": {"public_body": False}},
        {"data": {"classes": ["personal"]}},
        {"data": {"subject_jurisdictions": ["FR"]}},
        {"data": {"origin_jurisdiction": "FR"}},
        {"data": {"pseudonymised": False}},
        {"data": {"records": 1}},
        {"technology": {"controlled": "unknown"}},
        {"technology": {"eccns": ["EAR99"]}},
        {"end_user": {"parent_country": "ZZ"}},
        {"end_user": {"use": "unknown"}},
        {"transfer": {"mechanisms": [clauses(["US"])]}},
        {
            "transfer": {
                "importers": [
                    {"entity": "a", "dpf_certified": "yes", "uk_bridge": "unknown", "swiss_certified": "unknown"}
                ]
            }
        },
        {"constraints": {"only": ["DE"]}},
        {"constraints": {"never": ["DE"]}},
        {"constraints": {"parent_never": ["US"]}},
        {"constraints": {"isolation_min": "tee"}},
    ],
)
def test_every_fact_that_a_rule_may_read_makes_another_question(change: dict[str, Any]) -> None:
    assert query_of(hospital(**change)).facets_digest != query_of().facets_digest


def test_screening_makes_another_question_and_the_time_does_not() -> None:
    assert query_of(screening=Screening.HIT).facets_digest != query_of().facets_digest
    assert query_of(now_ns=NOW + 1).facets_digest == query_of().facets_digest


def test_the_order_of_lists_in_the_facts_is_irrelevant() -> None:
    one = hospital(constraints={"only": ["DE", "FR"]}, data={"classes": ["health", "personal"]})
    two = hospital(constraints={"only": ["FR", "DE"]}, data={"classes": ["personal", "health"]})
    assert query_of(one).facets_digest == query_of(two).facets_digest


def test_the_requester_is_in_the_gateway_facts_and_not_in_the_question() -> None:
    query = query_of()
    assert b'"subject":"subject"' in query.gateway.document()
    assert len(query.gateway.digest) == 32
    assert "subject" not in str(query.document()["gateway"])


def test_questions_of_both_stages_are_as_the_schema_says() -> None:
    SCHEMAS.check("input", query_of().document())
    SCHEMAS.check("input", query_of().document((runner_of("DE"), runner_of("UA-30"))))


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "carnet.input/v2"},
        {"surprise": 1},
        {"context": {"now_ns": -1}},
        {"context": {"now_ns": "now"}},
        {"context": {"now_ns": 2**63}},
        {"gateway": {"screening": "maybe"}},
        {"runners": []},
    ],
)
def test_a_question_that_is_not_as_the_schema_says_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalid):
        SCHEMAS.check("input", query_of().document() | change)


def test_a_name_without_a_schema_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        SCHEMAS.check("nothing", {})


def test_volumes_make_another_question_and_are_read_back() -> None:
    facts = GatewayFacts(
        issuer="i",
        subject="s",
        tenant="t",
        roles=(),
        screening=Screening.OFF,
        volumes=(Volume(category="health", records=7),),
    )
    assert GatewayFacts.parse(facts.document()) == facts
    query = query_of()
    heavier = replace(query, gateway=replace(query.gateway, volumes=facts.volumes))
    assert heavier.facets_digest != query.facets_digest
    SCHEMAS.check("input", heavier.document())
