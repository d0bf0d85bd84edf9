"""Who wrote a job: the tenant's keys under a pinned root, and addenda in their order."""

from dataclasses import replace
from typing import Any

import pytest

from carnet import statements
from carnet.authorship import Written, open_written
from carnet.core.errors import CarnetError, SignatureInvalid, StatementInvalid
from carnet.core.job import Addendum, Recipient
from carnet.core.statement import Signed, Signer
from carnet.outbox import SealedJob
from tests.fixtures.parties import SECOND, Parties


@pytest.fixture(scope="module")
def job(parties: Parties) -> SealedJob:
    return parties.sealed("FR", "DE")


def opened(parties: Parties, job: SealedJob, *addenda: Signed, **changes: Any) -> Written:
    now_ns = changes.pop("now_ns", parties.clock())
    key_set = changes.pop("key_set", job.key_set)
    return open_written(key_set, job.signed, addenda, tenants=parties.pins.tenants, now_ns=now_ns, **changes)


def addendum(parties: Parties, job: SealedJob, **changes: Any) -> tuple[Addendum, Signed]:
    fresh = Recipient(
        spiffe_id=parties.runners["FR"].name, jurisdiction="FR", kid=b"k" * 32, key_statement_digest=b"s" * 32
    )
    unsigned = Addendum(
        payload=b"",
        manifest_digest=job.manifest.digest,
        sequence=1,
        previous_digest=job.manifest.digest,
        decision_digest=b"d" * 32,
        recipients=(fresh,),
    )
    return statements.ADDENDUM.sign(replace(unsigned, **changes), parties.tenant.signer)


def test_a_job_of_the_tenant_is_read_with_its_keys(parties: Parties, job: SealedJob) -> None:
    written = opened(parties, job)
    assert written.manifest == job.manifest
    assert written.decision_digests == {job.manifest.decision_digest}


def test_addenda_follow_each_other(parties: Parties, job: SealedJob) -> None:
    first, signed_first = addendum(parties, job)
    other = replace(first.recipients[0], kid=b"l" * 32)
    _, signed_second = addendum(parties, job, sequence=2, previous_digest=first.digest, recipients=(other,))
    written = opened(parties, job, signed_first, signed_second)
    assert len(written.addenda) == 2
    assert b"d" * 32 in written.decision_digests
    for wrong in ((signed_second,), (signed_first, signed_first), (signed_second, signed_first)):
        with pytest.raises(StatementInvalid):
            opened(parties, job, *wrong)


@pytest.mark.parametrize(
    "changes",
    [{"manifest_digest": bytes(32)}, {"previous_digest": bytes(32)}, {"sequence": 2}],
    ids=lambda c: next(iter(c)),
)
def test_attack_an_addendum_of_another_job_or_place_in_the_order(
    parties: Parties, job: SealedJob, changes: dict[str, Any]
) -> None:
    with pytest.raises(StatementInvalid):
        opened(parties, job, addendum(parties, job, **changes)[1])


def test_attack_an_addendum_leaves_the_allowed_jurisdictions(parties: Parties, job: SealedJob) -> None:
    outside = Recipient(
        spiffe_id=parties.runners["US"].name, jurisdiction="US", kid=b"k" * 32, key_statement_digest=b"s" * 32
    )
    with pytest.raises(StatementInvalid):
        opened(parties, job, addendum(parties, job, recipients=(outside,))[1])


def test_attack_a_key_set_that_is_older_than_one_seen(parties: Parties, job: SealedJob) -> None:
    sequence = opened(parties, job).key_set.sequence
    opened(parties, job, sequence_seen=sequence)
    with pytest.raises(CarnetError):
        opened(parties, job, sequence_seen=sequence + 1)


def test_attack_a_key_set_under_a_root_that_is_not_pinned(parties: Parties, job: SealedJob) -> None:
    keys = statements.KEY_SET.parse(job.key_set.payload)
    _, forged = statements.KEY_SET.sign(keys, Signer.generate())
    with pytest.raises(SignatureInvalid):
        opened(parties, job, key_set=forged)
    with pytest.raises(SignatureInvalid):
        opened(
            parties, job, key_set=Signed(payload=forged.payload, signature=forged.signature, keyid=job.key_set.keyid)
        )


def test_a_key_set_that_has_expired_stands_for_nobody(parties: Parties, job: SealedJob) -> None:
    expires_ns = opened(parties, job).key_set.expires_ns
    opened(parties, job, now_ns=expires_ns - SECOND)
    with pytest.raises(CarnetError):
        opened(parties, job, now_ns=expires_ns)
