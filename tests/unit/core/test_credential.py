"""What is judged beside the chain: status, ownership facts, key statements and the tenant's key set."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from carnet import statements
from carnet.core import limits
from carnet.core.credential import (
    Identity,
    LeafKind,
    TenantKey,
    TenantKeySet,
    check_key_set,
    check_key_statement,
    check_ownership,
    check_status,
    judge_chain,
    read_leaf,
)
from carnet.core.errors import CredentialInvalid, CredentialRevoked, SignatureInvalid, StatementInvalid
from carnet.core.runner import KeyStatement, Ownership, RunnerStatus
from carnet.core.statement import Signer
from certs.authority import OwnershipRecord
from tests.fixtures.identity import NOW, NOW_NS, SECOND, anchor_of, issue, operator

OPERATOR = operator()
LEAF, _ = issue(OPERATOR)
IDENTITY = judge_chain((LEAF,), (anchor_of(OPERATOR, "FR"),), now_ns=NOW_NS)
RECORD = OwnershipRecord(
    entity="gpu-fr.example", country="FR", parent_entity="holding.gpu-fr.example", parent_country="US"
)


def status(identity: Identity = IDENTITY, *, good: bool = True) -> RunnerStatus:
    signed = OPERATOR.sign_status(read_leaf(LEAF, LeafKind.RUNNER), good=good, now=NOW)
    return statements.STATUS.open(signed, identity.issuer_key)


def ownership() -> Ownership:
    return statements.OWNERSHIP.open(OPERATOR.sign_ownership(RECORD, now=NOW), IDENTITY.issuer_key)


def key_statement() -> KeyStatement:
    return KeyStatement(
        payload=b"",
        spiffe_id=str(IDENTITY.id),
        leaf_key_digest=IDENTITY.key.keyid,
        public=bytes(limits.hybrid_public_bytes),
        not_before_ns=NOW_NS,
        seal_until_ns=NOW_NS + 3600 * SECOND,
        open_until_ns=NOW_NS + 25 * 3600 * SECOND,
    )


def test_a_fresh_status_of_this_leaf_holds_for_an_hour() -> None:
    for seconds in (-30, 0, 3599):
        check_status(status(), IDENTITY, now_ns=NOW_NS + seconds * SECOND)


@pytest.mark.parametrize("seconds", [-31, 3600])
def test_a_status_out_of_its_time_counts_as_revoked(seconds: int) -> None:
    with pytest.raises(CredentialRevoked):
        check_status(status(), IDENTITY, now_ns=NOW_NS + seconds * SECOND)


def test_a_status_that_claims_to_last_longer_is_stale_after_an_hour_all_the_same() -> None:
    long = replace(status(), expires_ns=NOW_NS + 24 * 3600 * SECOND)
    with pytest.raises(CredentialRevoked):
        check_status(long, IDENTITY, now_ns=NOW_NS + 3601 * SECOND)


def test_a_status_that_is_not_good_revokes() -> None:
    with pytest.raises(CredentialRevoked):
        check_status(status(good=False), IDENTITY, now_ns=NOW_NS)


@pytest.mark.parametrize("change", [{"certificate_digest": bytes(32)}, {"spiffe_id": "spiffe://gpu-fr.example/x"}])
def test_a_status_of_another_leaf_is_refused(change: dict[str, bytes]) -> None:
    with pytest.raises(CredentialInvalid):
        check_status(replace(status(), **change), IDENTITY, now_ns=NOW_NS)


def test_a_status_that_another_operator_signed_does_not_verify() -> None:
    signed = operator().sign_status(read_leaf(LEAF, LeafKind.RUNNER), good=True, now=NOW)
    with pytest.raises(SignatureInvalid):
        statements.STATUS.open(signed, IDENTITY.issuer_key)


def test_a_status_ends_with_its_leaf() -> None:
    late = NOW + timedelta(hours=23, minutes=30)
    signed = OPERATOR.sign_status(read_leaf(LEAF, LeafKind.RUNNER), good=True, now=late)
    assert statements.STATUS.open(signed, IDENTITY.issuer_key).expires_ns == IDENTITY.not_after_ns


def test_ownership_facts_of_the_operator_hold_while_they_live() -> None:
    check_ownership(ownership(), IDENTITY, now_ns=NOW_NS)
    for change in (
        {"trust_domain": "gpu-de.example"},
        {"entity": ""},
        {"country": "FR-IDF"},
        {"parent_country": "france"},
        {"expires_ns": NOW_NS},
        {"issued_ns": NOW_NS + 31 * SECOND},
    ):
        with pytest.raises(CredentialInvalid):
            check_ownership(replace(ownership(), **change), IDENTITY, now_ns=NOW_NS)


def test_a_key_statement_of_this_leaf_may_be_sealed_to_for_its_hour() -> None:
    check_key_statement(key_statement(), IDENTITY, now_ns=NOW_NS)
    for seconds in (-31, 3600):
        with pytest.raises(CredentialInvalid):
            check_key_statement(key_statement(), IDENTITY, now_ns=NOW_NS + seconds * SECOND)


@pytest.mark.parametrize(
    "change",
    [
        lambda s: replace(s, spiffe_id="spiffe://gpu-de.example/x"),
        lambda s: replace(s, leaf_key_digest=bytes(32)),
    ],
)
def test_a_key_statement_of_another_runner_is_refused(change: Callable[[KeyStatement], KeyStatement]) -> None:
    with pytest.raises(CredentialInvalid, match="another runner"):
        check_key_statement(change(key_statement()), IDENTITY, now_ns=NOW_NS)


def test_a_key_statement_must_not_outlive_its_leaf() -> None:
    ending = replace(IDENTITY, not_after_ns=NOW_NS + 3599 * SECOND)
    with pytest.raises(CredentialInvalid, match="outlives"):
        check_key_statement(key_statement(), ending, now_ns=NOW_NS)


TENANT = bytes(range(16))
ROOT = Signer.generate()
SIGNING = Signer.generate()


def key_set(*, sequence: int = 3, key_ends: int = 60) -> TenantKeySet:
    keys = (TenantKey(public=SIGNING.public_der, not_after_ns=NOW_NS + key_ends * SECOND),)
    value = TenantKeySet(payload=b"", tenant_id=TENANT, sequence=sequence, expires_ns=NOW_NS + 100 * SECOND, keys=keys)
    return statements.KEY_SET.open(statements.KEY_SET.sign(value, ROOT)[1], ROOT.verifying_key())


def test_a_key_of_the_set_is_found_while_it_lives() -> None:
    check_key_set(key_set(), tenant_id=TENANT, sequence_seen=3, now_ns=NOW_NS)
    assert key_set().find(SIGNING.keyid, now_ns=NOW_NS).keyid == SIGNING.keyid
    for keyid, seconds in ((ROOT.keyid, 0), (SIGNING.keyid, 60)):
        with pytest.raises(CredentialInvalid):
            key_set().find(keyid, now_ns=NOW_NS + seconds * SECOND)


def test_a_set_that_is_older_expired_or_anothers_is_refused() -> None:
    for tenant_id, seen, seconds in ((TENANT, 4, 0), (TENANT, 3, 100), (bytes(16), 3, 0)):
        with pytest.raises(CredentialInvalid):
            check_key_set(key_set(), tenant_id=tenant_id, sequence_seen=seen, now_ns=NOW_NS + seconds * SECOND)


@pytest.mark.parametrize(
    "change",
    [{"keys": ()}, {"keys": key_set().keys * 2}, {"sequence": 0}, {"tenant_id": b"short"}],
)
def test_a_malformed_set_is_not_made(change: dict[str, object]) -> None:
    with pytest.raises(StatementInvalid):
        replace(key_set(), **change)
