"""The envelope: roots, wraps, and what a wrap is bound to."""

import dataclasses
import hashlib
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.encoding import ctx
from carnet.core.envelope import (
    HybridPrivateKey,
    HybridPublicKey,
    check_root,
    open_bytes,
    open_self_wrap,
    result_key,
    root_commit,
    seal_bytes,
    self_wrap,
    unwrap_result_root,
    unwrap_root,
    unwrap_root_addendum,
    wipe,
    wrap_result_root,
    wrap_root,
    wrap_root_addendum,
)
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.facts import Resources
from carnet.core.job import LogMode, Manifest, Mode, SealedObject
from carnet.core.runner import Isolation

ROOT = bytes(range(32))
MD = hashlib.sha256(b"manifest").digest()
GRANT = hashlib.sha256(b"grant").digest()
ADDENDUM = hashlib.sha256(b"addendum").digest()
JOB = bytes(16)
RUNNER = "spiffe://gpu-fr.example/j/FR/runner/0f0e0d0c-0b0a-4908-8706-050403020100"
PRIVATE = HybridPrivateKey.from_seed(hashlib.sha256(b"runner").digest())
PUBLIC = HybridPublicKey(PRIVATE.public)
OTHER = HybridPrivateKey.from_seed(hashlib.sha256(b"other runner").digest())
UNOPENED = EnvelopeUnopened().text


def unopened(ask: Callable[..., object], *given: Any, **named: Any) -> None:
    with pytest.raises(EnvelopeUnopened) as caught:
        ask(*given, **named)
    assert (caught.value.text, caught.value.detail, caught.value.metadata) == (UNOPENED, "", {})
    assert caught.value.__cause__ is None


def test_a_wrap_opens_for_its_recipient_into_a_buffer_that_can_be_wiped() -> None:
    wrap = wrap_root(PUBLIC, ROOT, manifest_digest=MD, spiffe_id=RUNNER, jurisdiction="FR", kid=PUBLIC.kid)
    root = unwrap_root(PRIVATE, wrap, manifest_digest=MD, spiffe_id=RUNNER, jurisdiction="FR", kid=PRIVATE.kid)
    assert len(wrap) == limits.wrap_bytes
    assert root == ROOT
    wipe(root)
    assert root == bytes(32)


CHANGES: dict[str, dict[str, Any]] = {
    "other runner": {"spiffe_id": RUNNER.replace("fr.", "de.")},
    "other jurisdiction": {"jurisdiction": "DE"},
    "region of the jurisdiction": {"jurisdiction": "FR-IDF"},
    "other kid": {"kid": OTHER.kid},
    "other manifest": {"manifest_digest": GRANT},
    "fields shifted": {"spiffe_id": RUNNER + "F", "jurisdiction": "R"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_wrap_does_not_open_under_any_other_binding(name: str) -> None:
    binding: dict[str, Any] = {"manifest_digest": MD, "spiffe_id": RUNNER, "jurisdiction": "FR", "kid": PUBLIC.kid}
    wrap = wrap_root(PUBLIC, ROOT, **binding)
    unopened(unwrap_root, PRIVATE, wrap, **(binding | CHANGES[name]))


def test_a_wrap_of_an_addendum_opens_under_that_addendum_only() -> None:
    entry: dict[str, Any] = {"manifest_digest": MD, "spiffe_id": RUNNER, "jurisdiction": "FR", "kid": PUBLIC.kid}
    wrap = wrap_root_addendum(PUBLIC, ROOT, addendum_digest=ADDENDUM, **entry)
    assert unwrap_root_addendum(PRIVATE, wrap, addendum_digest=ADDENDUM, **entry) == ROOT
    unopened(unwrap_root_addendum, PRIVATE, wrap, addendum_digest=GRANT, **entry)
    unopened(unwrap_root, PRIVATE, wrap, **entry)


def test_a_self_wrap_opens_for_every_replica_of_the_client_and_this_manifest() -> None:
    master = hashlib.sha256(b"master").digest()
    wrap = self_wrap(HybridPublicKey(result_key(master, JOB).public), ROOT, manifest_digest=MD)
    assert open_self_wrap(result_key(master, JOB), wrap, manifest_digest=MD) == ROOT
    unopened(open_self_wrap, result_key(master, JOB), wrap, manifest_digest=GRANT)
    unopened(open_self_wrap, result_key(master, b"j" * 16), wrap, manifest_digest=MD)


def test_a_result_root_opens_for_the_client_under_manifest_grant_and_runner() -> None:
    binding: dict[str, Any] = {"manifest_digest": MD, "grant_digest": GRANT, "spiffe_id": RUNNER}
    wrap = wrap_result_root(PUBLIC, ROOT, **binding)
    assert unwrap_result_root(PRIVATE, wrap, **binding) == ROOT
    for change in ({"manifest_digest": GRANT}, {"grant_digest": MD}, {"spiffe_id": RUNNER + "x"}):
        unopened(unwrap_result_root, PRIVATE, wrap, **(binding | change))


def test_a_wrap_with_any_part_changed_cut_or_grown_does_not_open() -> None:
    wrap = self_wrap(PUBLIC, ROOT, manifest_digest=MD)
    unopened(open_self_wrap, OTHER, wrap, manifest_digest=MD)
    for at in (0, 500, 1087, 1088, 1119, 1120, 1151, 1152, 1167):
        flipped = wrap[:at] + bytes([wrap[at] ^ 1]) + wrap[at + 1 :]
        unopened(open_self_wrap, PRIVATE, flipped, manifest_digest=MD)
    for other in (b"", wrap[:-1], wrap[1:], wrap + b"\0", ROOT, bytes(1168)):
        unopened(open_self_wrap, PRIVATE, other, manifest_digest=MD)


def test_a_root_of_another_size_is_never_wrapped() -> None:
    for root in (b"", ROOT[:31], ROOT + b"\0"):
        with pytest.raises(EnvelopeMalformed):
            self_wrap(PUBLIC, root, manifest_digest=MD)


def test_a_key_id_that_is_not_the_keys_own_is_never_wrapped_for() -> None:
    with pytest.raises(EnvelopeMalformed):
        wrap_root(PUBLIC, ROOT, manifest_digest=MD, spiffe_id=RUNNER, jurisdiction="FR", kid=OTHER.kid)


def test_the_kid_of_a_key_is_its_digest_on_both_sides() -> None:
    assert PUBLIC.kid == PRIVATE.kid == hashlib.sha256(PRIVATE.public).digest()
    assert PUBLIC.data == PRIVATE.public
    assert len(PRIVATE.public) == limits.hybrid_public_bytes


LATTICE, CURVE = PRIVATE.public[:1184], PRIVATE.public[1184:]
PUBLICS = {
    "empty": b"",
    "1215 bytes": PRIVATE.public[:-1],
    "1217 bytes": PRIVATE.public + b"\0",
    "coefficients beyond q": b"\xff" * 1152 + PRIVATE.public[1152:],
    "zero": LATTICE + bytes(32),
    "one": LATTICE + b"\x01" + bytes(31),
    "order 8": LATTICE + bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    "the prime": LATTICE + (2**255 - 19).to_bytes(32, "little"),
    "not reduced": LATTICE + (2**255 - 19 + 9).to_bytes(32, "little"),
    "high bit": LATTICE + CURVE[:31] + bytes([CURVE[31] | 0x80]),
}


@pytest.mark.parametrize("name", PUBLICS)
def test_bytes_that_are_no_good_public_key_are_refused(name: str) -> None:
    with pytest.raises(EnvelopeMalformed):
        HybridPublicKey(PUBLICS[name])


def test_a_seed_of_another_size_is_refused() -> None:
    for seed in (b"", bytes(31), bytes(33), bytes(96)):
        with pytest.raises(EnvelopeMalformed):
            HybridPrivateKey.from_seed(seed)
    with pytest.raises(EnvelopeMalformed):
        result_key(bytes(31), JOB)


def manifest(**changes: Any) -> Manifest:
    value = Manifest(
        payload=b"manifest",
        version=1,
        suite=1,
        job_id=JOB,
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
        root_commit=root_commit(ROOT, JOB),
        result_public=PRIVATE.public,
        attempts_max=1,
        log_mode=LogMode.SEALED,
    )
    return dataclasses.replace(value, **changes)


def test_a_root_is_the_one_that_the_manifest_commits_to_or_nothing_is_opened() -> None:
    check_root(ROOT, manifest())
    check_root(bytearray(ROOT), manifest())
    unopened(check_root, bytes(32), manifest())
    unopened(check_root, ROOT, manifest(job_id=b"j" * 16))
    unopened(check_root, ROOT, manifest(root_commit=bytes(32)))


def test_the_commitment_is_hkdf_expand_under_its_label() -> None:
    assert root_commit(ROOT, JOB) == hmac.digest(ROOT, ctx("commit", JOB) + b"\x01", "sha256")


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 100_000])
def test_a_small_object_comes_back_whole(size: int) -> None:
    data = bytes(i % 251 for i in range(size))
    sealed, segments = seal_bytes(ROOT, job_id=JOB, object_id=3, data=data)
    assert (sealed.id, sealed.size, len(segments)) == (3, size, 1)
    assert sealed.segment_digests == (hashlib.sha256(segments[0]).digest(),)
    assert open_bytes(ROOT, job_id=JOB, sealed=sealed, segments=segments) == data


def test_an_object_of_two_segments_comes_back_and_none_can_be_left_out_or_swapped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "segment_bytes", 20_000)
    data = bytes(i % 251 for i in range(50_000))
    sealed, segments = seal_bytes(ROOT, job_id=JOB, object_id=0, data=data)
    assert len(segments) == 3
    assert open_bytes(ROOT, job_id=JOB, sealed=sealed, segments=segments) == data
    first, second, third = segments
    for other in ([second, first, third], [first, second], [first, third], [*segments, third], [first, second, second]):
        unopened(open_bytes, ROOT, job_id=JOB, sealed=sealed, segments=other)
        digests = tuple(hashlib.sha256(s).digest() for s in other)
        if len(other) == 3:
            told = SealedObject(id=0, size=50_000, segment_digests=digests)
            unopened(open_bytes, ROOT, job_id=JOB, sealed=told, segments=other)


def test_a_small_object_with_another_digest_size_id_job_or_root_does_not_open() -> None:
    sealed, segments = seal_bytes(ROOT, job_id=JOB, object_id=1, data=b"x" * 1000)
    replace = dataclasses.replace
    asks: list[tuple[bytes, bytes, SealedObject]] = [
        (ROOT, JOB, replace(sealed, segment_digests=(MD,))),
        (ROOT, JOB, replace(sealed, size=999)),
        (ROOT, JOB, replace(sealed, size=1001)),
        (ROOT, JOB, replace(sealed, id=2)),
        (ROOT, b"j" * 16, sealed),
        (bytes(32), JOB, sealed),
    ]
    for root, job_id, told in asks:
        unopened(open_bytes, root, job_id=job_id, sealed=told, segments=segments)
