"""A runner judged by what it shows: each part must be its own, its operator's, and valid now."""

from dataclasses import replace
from typing import Any

import pytest

from carnet import statements
from carnet.core.credential import Anchor
from carnet.core.errors import CarnetError, CredentialInvalid, PeerError, SignatureInvalid
from carnet.vetting import Presented, VettedRunner, candidate_of, credentials_of, presented_from, vet
from tests.fixtures.parties import SECOND, Parties


def judged(parties: Parties, presented: Presented, *, after: int = 0, anchors: Any = None) -> VettedRunner:
    return vet(
        presented, anchors=parties.pins.operators if anchors is None else anchors, now_ns=parties.clock() + after
    )


def test_an_honest_runner_is_who_its_certificate_says(parties: Parties) -> None:
    runner = parties.runners["DE"]
    vetted = judged(parties, runner.presented)
    assert (vetted.spiffe_id, vetted.jurisdiction) == (runner.name, "DE")
    assert vetted.facts.operator_country == "DE"
    assert vetted.facts.card_digest == vetted.card.digest


@pytest.mark.parametrize("name", ["status", "ownership", "card", "key_statement"])
def test_attack_a_statement_of_another_runner_is_shown(parties: Parties, name: str) -> None:
    mine, other = parties.runners["FR"].presented, parties.runners["DE"].presented
    with pytest.raises(PeerError):
        judged(parties, replace(mine, **{name: getattr(other, name)}))


def test_attack_the_chain_of_another_runner_is_shown(parties: Parties) -> None:
    mine, other = parties.runners["FR"].presented, parties.runners["DE"].presented
    with pytest.raises(SignatureInvalid):
        judged(parties, replace(mine, chain=other.chain))


@pytest.mark.parametrize("anchors", [(), "other operators", "no places"], ids=str)
def test_attack_an_operator_that_is_not_pinned(parties: Parties, anchors: Any) -> None:
    pinned = tuple(a for a in parties.pins.operators if a.trust_domain == "gpu-fr.example")
    judged(parties, parties.runners["FR"].presented, anchors=pinned)
    if anchors == "other operators":
        anchors = tuple(a for a in parties.pins.operators if a.trust_domain != "gpu-fr.example")
    elif anchors == "no places":
        anchors = tuple(Anchor(trust_domain=a.trust_domain, roots=a.roots, jurisdictions=()) for a in pinned)
    with pytest.raises(CredentialInvalid):
        judged(parties, parties.runners["FR"].presented, anchors=anchors)


@pytest.mark.parametrize("hours", [2, 25])
def test_stale_credentials_are_refused(parties: Parties, hours: int) -> None:
    with pytest.raises(PeerError):
        judged(parties, parties.runners["FR"].presented, after=hours * 3600 * SECOND)


def test_a_card_that_has_expired_is_refused(parties: Parties) -> None:
    runner = parties.runners["FR"]
    card = statements.CARD.parse(runner.presented.card.payload)
    for changes in ({"expires_ns": parties.clock() - 1}, {"issued_ns": parties.clock() + 3600 * SECOND}):
        issued = replace(card, **{"issued_ns": card.issued_ns - 3600 * SECOND} | changes)
        _, signed = statements.CARD.sign(issued, runner.leaf.signer)
        with pytest.raises(CarnetError):
            judged(parties, replace(runner.presented, card=signed))


def test_what_is_shown_survives_both_messages(parties: Parties) -> None:
    presented = parties.runners["FR"].presented
    assert presented_from(credentials_of(presented)) == presented
    assert presented_from(candidate_of(presented, price_micro_usd=3)) == presented


def test_attack_a_certificate_that_is_too_large(parties: Parties) -> None:
    message = credentials_of(parties.runners["FR"].presented)
    message.chain[0] = bytes(9000)
    with pytest.raises(CredentialInvalid):
        presented_from(message)


def test_a_runner_opens_what_it_still_has_the_key_for(parties: Parties) -> None:
    vetted = judged(parties, parties.runners["FR"].presented)
    assert vetted.opens(vetted.key.kid)
    assert not vetted.opens(bytes(32))
    older = parties.runners["FR"].keys.current
    kept = judged(parties, replace(parties.runners["FR"].presented, older_keys=(older,)))
    assert kept.older_kids == {statements.KEY_STATEMENT.parse(older.payload).kid}
