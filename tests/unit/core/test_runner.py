"""Runners: key statements within their bounds, levels in their order, and what policy hears."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.errors import FieldInvalid, StatementInvalid
from carnet.core.runner import (
    Device,
    Evidence,
    Isolation,
    KeyStatement,
    Owner,
    Ownership,
    RunnerCard,
    RunnerFacts,
    facts,
)

RUNNER = "spiffe://gpu-fr.example/j/FR-75/runner/1"
SECOND = 10**9
STATEMENT = KeyStatement(
    payload=b"statement",
    spiffe_id=RUNNER,
    leaf_key_digest=b"l" * 32,
    public=b"p" * limits.hybrid_public_bytes,
    not_before_ns=0,
    seal_until_ns=limits.seal_seconds_max * SECOND,
    open_until_ns=limits.open_seconds_max * SECOND,
)
CARD = RunnerCard(
    payload=b"card",
    spiffe_id=RUNNER,
    issued_ns=0,
    expires_ns=1,
    agent_version="1",
    slots=1,
    cpu_millis=1000,
    memory_bytes=1,
    work_bytes=1,
    devices=(Device(uuid="GPU-1", model="T4", memory_bytes=1),),
    isolation=Isolation.CONTAINER,
    isolation_facts=(),
    template_digest=b"t" * 32,
    images=("*",),
    price_micro_usd_second=1,
)
OWNERSHIP = Ownership(
    payload=b"ownership",
    trust_domain="gpu-fr.example",
    entity="gpu-fr.example",
    country="FR",
    parent_entity="parent.example",
    parent_country="US",
    issued_ns=0,
    expires_ns=1,
    owners=(Owner(country="US", percent=60),),
    covered_person="no",
    certifications=("HDS", "C5"),
)


@pytest.mark.parametrize(
    "changes",
    [
        {"public": b""},
        {"public": b"p" * (limits.hybrid_public_bytes + 1)},
        {"not_before_ns": STATEMENT.seal_until_ns},
        {"seal_until_ns": STATEMENT.open_until_ns + 1},
        {"not_before_ns": -1},
        {"seal_until_ns": STATEMENT.seal_until_ns + 1},
        {"open_until_ns": STATEMENT.open_until_ns + 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_key_statement_out_of_bounds_does_not_exist(changes: dict[str, Any]) -> None:
    with pytest.raises(StatementInvalid):
        replace(STATEMENT, **changes)


def test_control_a_key_statement_at_its_bounds_exists() -> None:
    assert STATEMENT.kid == hashlib.sha256(STATEMENT.public).digest()
    assert STATEMENT.digest == hashlib.sha256(b"statement").digest()
    replace(STATEMENT, open_until_ns=STATEMENT.seal_until_ns)


def test_isolation_is_ordered_from_process_to_tee() -> None:
    levels = [Isolation.PROCESS, Isolation.CONTAINER, Isolation.GVISOR, Isolation.MICROVM, Isolation.TEE]
    for stronger, level in enumerate(levels):
        for weaker, floor in enumerate(levels):
            assert level.at_least(floor) == (stronger >= weaker)


def test_country_of_the_runner_and_of_the_parent_are_two_facts() -> None:
    told = facts(spiffe_id=RUNNER, jurisdiction="FR-75", trust_domain="gpu-fr.example", card=CARD, ownership=OWNERSHIP)
    assert (told.country, told.operator_country, told.parent_country) == ("FR", "FR", "US")
    assert (told.gpus, told.isolation, told.evidence) == (1, Isolation.CONTAINER, Evidence.OPERATOR)
    assert told.card_digest == CARD.digest == hashlib.sha256(b"card").digest()


def test_a_runner_without_ownership_facts_has_unknown_owners() -> None:
    told = facts(spiffe_id=RUNNER, jurisdiction="FR", trust_domain="gpu-fr.example", card=CARD, ownership=None)
    assert (told.operator_country, told.parent_country) == ("ZZ", "ZZ")
    assert (told.owners, told.covered_person, told.certifications) == ((), "unknown", ())


def test_policy_hears_everything_but_the_cards_digest() -> None:
    told = facts(spiffe_id=RUNNER, jurisdiction="FR", trust_domain="gpu-fr.example", card=CARD, ownership=OWNERSHIP)
    assert json.loads(told.document()) == {
        "spiffe_id": RUNNER,
        "jurisdiction": "FR",
        "country": "FR",
        "operator": {
            "entity": "gpu-fr.example",
            "country": "FR",
            "parent_country": "US",
            "owners": [{"country": "US", "percent": 60}],
            "covered_person": "no",
            "certifications": ["C5", "HDS"],
        },
        "evidence": "operator",
        "isolation": "container",
        "gpus": 1,
        "gpu_models": ["T4"],
    }
    assert replace(told, card_digest=b"x" * 32).document() == told.document()
    assert OWNERSHIP.digest == hashlib.sha256(b"ownership").digest()


def test_a_runner_stands_in_a_jurisdiction() -> None:
    with pytest.raises(FieldInvalid):
        RunnerFacts(
            spiffe_id=RUNNER,
            jurisdiction="Europe",
            operator="x",
            operator_country="FR",
            parent_country="FR",
            evidence=Evidence.SELF,
            isolation=Isolation.CONTAINER,
            gpus=0,
            card_digest=b"",
        )
