"""Attacks on wraps: a gateway, or another runner, holds every stored byte and tries to open or to redirect a job.

Each attack fails here. Each control takes the one check away in the test and shows that the attack then works.
"""

import hashlib
from typing import Any

import pytest

from carnet.core import envelope
from carnet.core import root as root_module
from carnet.core.encoding import ctx
from carnet.core.envelope import (
    HybridPrivateKey,
    HybridPublicKey,
    check_root,
    open_self_wrap,
    root_commit,
    self_wrap,
    unwrap_root,
    unwrap_root_addendum,
    wrap_root,
    wrap_root_addendum,
)
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.facts import Resources
from carnet.core.job import LogMode, Manifest, Mode, SealedObject
from carnet.core.runner import Isolation

ROOT = hashlib.sha256(b"root").digest()
MD = hashlib.sha256(b"manifest").digest()
ADDENDUM = hashlib.sha256(b"addendum").digest()
OTHER = hashlib.sha256(b"other").digest()
FRENCH = "spiffe://gpu-fr.example/j/FR/runner/0f0e0d0c-0b0a-4908-8706-050403020100"
AMERICAN = "spiffe://gpu-us.example/j/US/runner/1f0e0d0c-0b0a-4908-8706-050403020100"
PRIVATE = HybridPrivateKey.from_seed(hashlib.sha256(b"runner").digest())
PUBLIC = HybridPublicKey(PRIVATE.public)
THIEF = HybridPrivateKey.from_seed(hashlib.sha256(b"thief").digest())


def entry(**changes: Any) -> dict[str, Any]:
    return {"manifest_digest": MD, "spiffe_id": FRENCH, "jurisdiction": "FR", "kid": PUBLIC.kid} | changes


def unbound(*_: object) -> bytes:
    """An info that binds nothing: what a design without contexts would use."""
    return ctx("self", b"")


@pytest.mark.parametrize(
    "change",
    [
        {"spiffe_id": AMERICAN},
        {"jurisdiction": "US"},
        {"spiffe_id": AMERICAN, "jurisdiction": "US"},
        {"kid": THIEF.kid},
        {"manifest_digest": OTHER},
    ],
    ids=["wrap for another runner", "other jurisdiction", "other runner and place", "other key id", "other manifest"],
)
def test_a_wrap_is_useless_under_any_other_binding(change: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    wrap = wrap_root(PUBLIC, ROOT, **entry())
    with pytest.raises(EnvelopeUnopened):
        unwrap_root(PRIVATE, wrap, **entry(**change))
    # Control: were the binding left out of the info, the same wrap would open.
    monkeypatch.setattr(envelope, "_wrap_info", unbound)
    loose = wrap_root(PUBLIC, ROOT, **entry())
    assert unwrap_root(PRIVATE, loose, **entry(**change)) == ROOT


def test_a_runner_that_steals_the_wrap_of_another_can_not_open_it(monkeypatch: pytest.MonkeyPatch) -> None:
    wrap = wrap_root(PUBLIC, ROOT, **entry())
    with pytest.raises(EnvelopeUnopened):
        unwrap_root(THIEF, wrap, **entry())
    # Control: with one key for all runners, and an info that names none of them, whoever has the bytes opens them.
    honest = HybridPrivateKey.unwrap
    monkeypatch.setattr(HybridPrivateKey, "unwrap", lambda self, wrap, *, info: honest(PRIVATE, wrap, info=info))
    monkeypatch.setattr(envelope, "_wrap_info", unbound)
    stolen = wrap_root(PUBLIC, ROOT, **entry())
    assert unwrap_root(THIEF, stolen, **entry(spiffe_id=AMERICAN, jurisdiction="US", kid=THIEF.kid)) == ROOT


def test_the_key_of_a_thief_is_not_wrapped_for_under_the_name_of_a_recipient(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvelopeMalformed):
        wrap_root(HybridPublicKey(THIEF.public), ROOT, **entry())
    # Control: without the comparison of key and key id the thief would read the job.
    monkeypatch.setattr(envelope, "_check_kid", lambda *_: None)
    assert unwrap_root(THIEF, wrap_root(HybridPublicKey(THIEF.public), ROOT, **entry()), **entry()) == ROOT


def test_a_wrap_of_an_addendum_does_not_pass_for_one_of_the_manifest_or_of_another_addendum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = wrap_root_addendum(PUBLIC, ROOT, addendum_digest=ADDENDUM, **entry())
    with pytest.raises(EnvelopeUnopened):
        unwrap_root(PRIVATE, later, **entry())
    with pytest.raises(EnvelopeUnopened):
        unwrap_root_addendum(PRIVATE, later, addendum_digest=OTHER, **entry())
    # Control: one context for both kinds of wrap would let each pass for the other.
    monkeypatch.setattr(envelope, "_addendum_info", unbound)
    monkeypatch.setattr(envelope, "_wrap_info", unbound)
    loose = wrap_root_addendum(PUBLIC, ROOT, addendum_digest=ADDENDUM, **entry())
    assert unwrap_root(PRIVATE, loose, **entry()) == ROOT


def test_bytes_moved_from_one_field_to_the_next_give_another_context(monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = entry(spiffe_id=FRENCH + "F", jurisdiction="R")
    wrap = wrap_root(PUBLIC, ROOT, **entry())
    with pytest.raises(EnvelopeUnopened):
        unwrap_root(PRIVATE, wrap, **shifted)
    # Control: fields joined without their lengths can not be told apart.
    monkeypatch.setattr(envelope, "ctx", lambda label, *fields: label.encode() + b"".join(fields))
    assert unwrap_root(PRIVATE, wrap_root(PUBLIC, ROOT, **entry()), **shifted) == ROOT


def manifest(root: bytes) -> Manifest:
    return Manifest(
        payload=b"manifest",
        version=1,
        suite=1,
        job_id=bytes(16),
        tenant_id=bytes(16),
        nonce=bytes(16),
        created_ns=1,
        not_after_ns=2,
        facts_digest=MD,
        decision_digest=MD,
        image="sha256:" + "0" * 64,
        mode=Mode.FRAMED,
        command=(),
        resources=Resources(cpu_millis=10, memory_bytes=1, work_bytes=1, gpus=0),
        seconds_max=1,
        isolation_min=Isolation.CONTAINER,
        template_digest=MD,
        allowed_jurisdictions=("FR",),
        recipients=(),
        objects=(SealedObject(id=0, size=0, segment_digests=(MD,)),),
        root_commit=root_commit(root, bytes(16)),
        result_public=PRIVATE.public,
        attempts_max=1,
        log_mode=LogMode.SEALED,
    )


def test_a_root_that_the_gateway_chose_is_found_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    # Anyone can wrap for a public key, so the gateway's own root arrives in a wrap that opens.
    forged = unwrap_root(PRIVATE, wrap_root(PUBLIC, OTHER, **entry()), **entry())
    assert forged == OTHER
    with pytest.raises(EnvelopeUnopened):
        check_root(forged, manifest(ROOT))
    check_root(unwrap_root(PRIVATE, wrap_root(PUBLIC, ROOT, **entry()), **entry()), manifest(ROOT))
    # Control: against a commitment that any root fits, the gateway's own is the job's.
    monkeypatch.setattr(root_module, "root_commit", lambda root, job_id: manifest(ROOT).root_commit)
    check_root(forged, manifest(ROOT))


def test_a_self_wrap_of_a_stranger_opens_and_proves_nothing() -> None:
    # The control of the rule: without signature and commitment a replica would take the stranger's root for its own.
    assert open_self_wrap(PRIVATE, self_wrap(PUBLIC, OTHER, manifest_digest=MD), manifest_digest=MD) == OTHER
    with pytest.raises(EnvelopeUnopened):
        open_self_wrap(PRIVATE, self_wrap(PUBLIC, OTHER, manifest_digest=OTHER), manifest_digest=MD)


def test_every_way_to_fail_looks_the_same_from_outside() -> None:
    wrap = wrap_root(PUBLIC, ROOT, **entry())
    attempts = [
        (THIEF, wrap, entry()),
        (PRIVATE, wrap, entry(jurisdiction="US")),
        (PRIVATE, wrap[:-1], entry()),
        (PRIVATE, b"", entry()),
        (PRIVATE, wrap[:-1] + bytes([wrap[-1] ^ 1]), entry()),
        (PRIVATE, bytes([wrap[0] ^ 1]) + wrap[1:], entry()),
        (PRIVATE, wrap[:1088] + bytes(32) + wrap[1120:], entry()),
        (PRIVATE, bytes(1168), entry()),
    ]
    seen = set()
    for key, stolen, names in attempts:
        with pytest.raises(EnvelopeUnopened) as caught:
            unwrap_root(key, stolen, **names)
        error = caught.value
        seen.add((error.text, error.detail, str(error.metadata), str(error.__cause__), error.__suppress_context__))
    assert len({text for text, *_ in seen}) == 1
    assert {cause for *_, cause, _ in seen} == {"None"}
