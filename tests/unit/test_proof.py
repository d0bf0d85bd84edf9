"""A receipt file, judged offline: what it proves, and that a change anywhere proves nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet import proof
from carnet.core.errors import CarnetError, EnvelopeMalformed
from carnet.pins import Pins
from tests.fixtures.malicious_gateway import Held, receipt_file
from tests.fixtures.parties import Parties

STATEMENTS = ("manifest", "tenant_key_set", "permit", "grant", "start", "receipt", "status", "card")
LEAVES = ("accepted", "outcome")


def test_an_honest_file_proves_what_ran_where_under_which_decision(
    parties: Parties, recorded: tuple[Held, ...]
) -> None:
    data = proof.to_file(receipt_file(parties, recorded[0]))
    verified = proof.verify(proof.from_file(data), pins=parties.pins)
    assert verified.manifest == recorded[0].job.manifest
    assert verified.receipt.jurisdiction == verified.runner.id.jurisdiction == "FR"
    assert verified.receipt.image == verified.facts.image


@pytest.mark.parametrize("name", [*STATEMENTS, *LEAVES, "prepared", "dispatched"])
def test_attack_a_part_of_another_job_s_file(parties: Parties, recorded: tuple[Held, ...], name: str) -> None:
    mine, other = (receipt_file(parties, held) for held in recorded)
    same = getattr(mine, name) == getattr(other, name)
    getattr(mine, name).CopyFrom(getattr(other, name))
    if same:  # the tenant's keys, the operator's status: one for both jobs
        proof.verify(mine, pins=parties.pins)
        return
    with pytest.raises(CarnetError):
        proof.verify(mine, pins=parties.pins)


@pytest.mark.parametrize("name", STATEMENTS)
def test_attack_one_bit_of_a_statement(parties: Parties, recorded: tuple[Held, ...], name: str) -> None:
    message = receipt_file(parties, recorded[0])
    for part in ("payload", "signature"):
        data = bytearray(getattr(getattr(message, name), part))
        data[len(data) // 2] ^= 1
        forged = proof.from_file(proof.to_file(message))
        setattr(getattr(forged, name), part, bytes(data))
        with pytest.raises(CarnetError):
            proof.verify(forged, pins=parties.pins)


def test_attack_a_leaf_that_is_not_in_the_log(parties: Parties, recorded: tuple[Held, ...]) -> None:
    for name in LEAVES:
        message = receipt_file(parties, recorded[0])
        leaf = getattr(message, name)
        leaf.index = leaf.index + 1
        with pytest.raises(CarnetError):
            proof.verify(message, pins=parties.pins)


def test_attack_facts_that_are_not_the_job_s(parties: Parties, recorded: tuple[Held, ...]) -> None:
    message = receipt_file(parties, recorded[0])
    message.facts = message.facts.replace(b'"other"', b'"training"')
    with pytest.raises(CarnetError):
        proof.verify(message, pins=parties.pins)


def test_a_reader_who_pinned_others_believes_nothing(
    parties: Parties, recorded: tuple[Held, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    message = receipt_file(parties, recorded[0])
    strangers = Parties.build(tmp_path_factory.mktemp("strangers")).pins
    without: tuple[Pins, ...] = (
        replace(parties.pins, gateway=strangers.gateway),
        replace(parties.pins, operators=strangers.operators),
        replace(parties.pins, tenants=strangers.tenants),
        replace(parties.pins, operators=()),
    )
    for pins in without:
        with pytest.raises(CarnetError):
            proof.verify(message, pins=pins)


@pytest.mark.parametrize("data", [b"", b"carnet receipt v2\n", b"carnet receipt v1", b"carnet receipt v1\n\xff\xff"])
def test_other_bytes_are_not_a_receipt_file(data: bytes) -> None:
    with pytest.raises(EnvelopeMalformed):
        proof.from_file(data)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_malformed_and_prove_nothing(parties: Parties, data: bytes) -> None:
    try:
        message = proof.from_file(proof.FORMAT + data)
    except EnvelopeMalformed:
        return
    with pytest.raises(CarnetError):
        proof.verify(message, pins=parties.pins)
