"""Attacks on the form of keys, wraps and segments: truncated, extended, flipped, out of range, over-sized.

Where the library itself refuses, the control is a reader that lacks the very check: the published construction without
its tags, a key that is taken apart without a look at its size.
"""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from carnet import proof
from carnet.core import envelope, hybrid, limits, segment
from carnet.core.envelope import (
    HybridPrivateKey,
    HybridPublicKey,
    SegmentOpener,
    SegmentSealer,
    open_bytes,
    result_key,
    seal_bytes,
    unwrap_root,
    wrap_root,
)
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened, PayloadNotEncrypted, StatementInvalid
from carnet.core.job import SealedObject
from carnet.core.segment import Opener, ciphertext_size
from carnet.inbox import ResultReader
from carnet.v1 import jobs_pb2
from gateway import intake
from gateway.storage.blobs import BlobStore, Payload
from gateway.storage.records import JobKey
from sandbox import frames
from tests.fixtures.malicious_gateway import Held, fetched
from tests.fixtures.parties import Parties, nothing

ROOT = hashlib.sha256(b"root").digest()
MD = hashlib.sha256(b"manifest").digest()
JOB = b"j" * 16
PRIVATE = HybridPrivateKey.from_seed(hashlib.sha256(b"runner").digest())
NAMES: dict[str, Any] = {"manifest_digest": MD, "spiffe_id": "spiffe://x", "jurisdiction": "FR", "kid": PRIVATE.kid}
PLACE: dict[str, Any] = {"job_id": JOB, "object_id": 1, "index": 0, "last": True}


def wrap() -> bytes:
    return wrap_root(HybridPublicKey(PRIVATE.public), ROOT, **NAMES)


def malleable(self: HybridPrivateKey, wrap: bytes, *, info: bytes) -> bytearray:
    """A wrap that is opened with no look at its size, by a cipher that has no tag."""
    pad = hashlib.shake_256(self.public + info + wrap[:1120]).digest(32)
    return bytearray(a ^ b for a, b in zip(wrap[1120:1152].ljust(32, b"\0"), pad, strict=True))


# --- wraps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w[:1119] + w[1120:],
        lambda w: w[:1120] + b"\0" + w[1120:],
        lambda w: w[:-1],
        lambda w: w + b"\0",
        lambda w: b"\0" + w,
        lambda w: w[1:],
        lambda w: b"",
        lambda w: w * 2,
    ],
)
def test_a_wrap_with_a_truncated_or_extended_encapsulation_is_refused(
    change: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = change(wrap())
    with pytest.raises(EnvelopeUnopened):
        unwrap_root(PRIVATE, changed, **NAMES)
    # Control: a reader that takes a wrap of any size apart, under a cipher without a tag, finds a root in each of them.
    monkeypatch.setattr(HybridPrivateKey, "unwrap", malleable)
    assert len(unwrap_root(PRIVATE, changed, **NAMES)) == 32


@pytest.mark.parametrize("at", [0, 600, 1087, 1088, 1119, 1120, 1151, 1152, 1167])
def test_a_bit_flipped_in_any_region_of_a_wrap_is_refused(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = wrap()
    flipped = made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :]
    with pytest.raises(EnvelopeUnopened):
        unwrap_root(PRIVATE, flipped, **NAMES)

    # Control: under a cipher without a tag the root that comes out is one that somebody else chose the bits of.
    monkeypatch.setattr(HybridPrivateKey, "unwrap", malleable)
    assert len(unwrap_root(PRIVATE, flipped, **NAMES)) == 32


LOW_ORDER = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "minus one": (2**255 - 20).to_bytes(32, "little"),
    "order 8": bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
}


@pytest.mark.parametrize("name", LOW_ORDER)
def test_a_key_with_a_low_order_share_is_not_sealed_to(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weak = PRIVATE.public[:1184] + LOW_ORDER[name]
    with pytest.raises(EnvelopeMalformed):
        HybridPublicKey(weak)
    # Control: without the check the point is taken for a key, and what it adds to the secret is nothing.
    monkeypatch.setattr(
        hybrid,
        "_public",
        lambda mlkem, x25519: (MLKEM768PublicKey.from_public_bytes(mlkem), x25519),
    )
    assert HybridPublicKey(weak).kid != PRIVATE.kid
    assert X25519PublicKey.from_public_bytes(LOW_ORDER[name])


Q, COEFFICIENTS = 3329, 768


def with_coefficients(lattice: bytes, change: Callable[[int], int]) -> bytes:
    """A lattice key with each coefficient changed: 12 bits each, least first, before the last 32 bytes (FIPS 203)."""
    packed = int.from_bytes(lattice[:1152], "little")
    found = (change(packed >> 12 * i & 0xFFF) << 12 * i for i in range(COEFFICIENTS))
    return sum(found).to_bytes(1152, "little") + lattice[1152:]


def test_a_lattice_key_with_a_coefficient_beyond_q_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same key in another form: what fits is raised by q, and means the same modulo q.
    raised = with_coefficients(PRIVATE.public[:1184], lambda c: c + Q if c + Q < 4096 else c) + PRIVATE.public[1184:]
    assert raised != PRIVATE.public
    with pytest.raises(EnvelopeMalformed):
        HybridPublicKey(raised)
    # Control: a reader that reduces them has one key under two key ids, and both wraps open with the one private key.
    honest = hybrid._public
    monkeypatch.setattr(
        hybrid, "_public", lambda mlkem, x25519: honest(with_coefficients(mlkem, lambda c: c % Q), x25519)
    )
    second = HybridPublicKey(raised)
    assert second.kid != PRIVATE.kid
    names = NAMES | {"kid": second.kid}
    assert unwrap_root(PRIVATE, wrap_root(second, ROOT, **names), **names) == ROOT


@pytest.mark.parametrize("size", [1215, 1217])
def test_a_key_of_another_size_is_refused(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (PRIVATE.public + b"\0")[:size]
    with pytest.raises(EnvelopeMalformed, match="1216 bytes"):
        HybridPublicKey(data)
    # Control: a reader that takes it apart without a look at its size finds the same key under another key id.
    monkeypatch.setattr(limits, "hybrid_public_bytes", size)
    monkeypatch.setattr(
        hybrid, "_public", lambda mlkem, rest: hpke.MLKEM768X25519PublicKey(
            MLKEM768PublicKey.from_public_bytes(mlkem),
            X25519PublicKey.from_public_bytes((rest + b"\0")[:32]),
        )
    )  # fmt: skip
    assert HybridPublicKey(data).kid != PRIVATE.kid


# --- segments ------------------------------------------------------------------------------------------------------


def sealed(data: bytes) -> bytes:
    sealer = SegmentSealer(ROOT, **PLACE)
    return sealer.update(data) + sealer.finish()


def opened(ciphertext: bytes) -> bytes:
    opener = SegmentOpener(ROOT, **PLACE)
    return opener.update(ciphertext) + opener.finish()


def without_tags(ciphertext: bytes) -> bytes:
    """C2SP chunked-encryption, read by one who looks at no tag and no end."""
    key, context = bytes(segment._object_key(ROOT, JOB, 1)), segment._segment(JOB, 1, 0, True)
    salt, body = ciphertext[:24], ciphertext[56:]
    name = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0"
    keys = HKDFExpand(SHA512(), 32 + 12 + 32, name + salt + context).derive(key)
    nonce, plain = int.from_bytes(keys[32:44]), b""
    for i, at in enumerate(range(0, len(body), 16_400)):
        counter = (nonce ^ i).to_bytes(12) + (2).to_bytes(4)
        cipher = Cipher(algorithms.AES256(keys[:32]), modes.CTR(counter)).decryptor()
        plain += cipher.update(body[at : at + 16_400][:-16])
    return plain


PLAIN = bytes(i % 251 for i in range(40_000))


@pytest.mark.parametrize("at", [56, 56 + 16_383, 56 + 16_400, -17, -16, -1, 0, 23, 24, 55])
def test_a_bit_flipped_in_any_region_of_a_segment_is_refused(at: int) -> None:
    data = bytearray(sealed(PLAIN))
    data[at] ^= 1
    with pytest.raises(EnvelopeUnopened):
        opened(bytes(data))
    # Control: a reader without tags lets most of the plaintext through, one bit of it chosen by the gateway.
    read = without_tags(bytes(data))
    assert len(read) == len(PLAIN)
    if at not in range(24):  # a flipped salt gives another key, and noise
        assert sum(a != b for a, b in zip(read, PLAIN, strict=True)) <= 1


@pytest.mark.parametrize("extra", [b"\0", bytes(16), bytes(16_400)], ids=["a byte", "a tag", "a chunk"])
def test_bytes_after_the_end_of_a_segment_are_refused(extra: bytes) -> None:
    data = sealed(PLAIN) + extra
    with pytest.raises(EnvelopeUnopened):
        opened(data)
    # Control: a reader without tags finds nothing wrong with the beginning.
    assert without_tags(data)[: len(PLAIN) - 1000] == PLAIN[:-1000]


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_exact_multiples_of_the_chunk_end_in_an_empty_chunk_that_can_not_be_dropped(
    chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytes(16_384 * chunks)
    whole = sealed(data)
    assert opened(whole) == data
    assert len(whole) == ciphertext_size(len(data))
    with pytest.raises(EnvelopeUnopened):
        opened(whole[:-16])
    # Control: a reader that does not ask for the end takes the cut one for the whole.
    monkeypatch.setattr(Opener, "finish", lambda self: b"")
    assert opened(whole[:-16])[: 16_384 * (chunks - 1)] == data[: 16_384 * (chunks - 1)]


def test_an_empty_object_is_one_sealed_segment_and_never_none(monkeypatch: pytest.MonkeyPatch) -> None:
    told, segments = seal_bytes(ROOT, job_id=JOB, object_id=1, data=b"")
    assert len(segments) == 1
    with pytest.raises(EnvelopeMalformed, match="do not fit its size"):
        replace(told, segment_digests=())
    with pytest.raises(EnvelopeUnopened):
        open_bytes(ROOT, job_id=JOB, sealed=told, segments=[])
    with pytest.raises(EnvelopeUnopened):
        open_bytes(ROOT, job_id=JOB, sealed=told, segments=[b""])
    assert open_bytes(ROOT, job_id=JOB, sealed=told, segments=segments) == b""
    # Control: without the count an object of no segments exists, and whoever sends nothing has sent all of it.
    monkeypatch.setattr(SealedObject, "__post_init__", nothing)
    monkeypatch.setattr(envelope, "segment_sizes", lambda size: range(0))
    missing = replace(told, segment_digests=())
    assert open_bytes(ROOT, job_id=JOB, sealed=missing, segments=[]) == b""


@pytest.mark.parametrize(
    ("size", "segments"),
    [(2**63, 1), (2**64, 1), (-1, 1), (limits.object_bytes_max + 1, 1), (10, 1_000_000), (0, 0), (10, 2)],
    ids=["2^63", "2^64", "negative", "beyond the bound", "a million segments", "no segment", "one too many"],
)
def test_a_size_that_can_not_be_is_refused_before_anything_is_allocated(
    size: int, segments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvelopeMalformed):
        SealedObject(id=1, size=size, segment_digests=(MD,) * segments)
    # Control: without the bounds it exists, and whoever reserves what it says is out of disk or memory.
    monkeypatch.setattr(SealedObject, "__post_init__", nothing)
    assert SealedObject(id=1, size=size, segment_digests=(MD,) * segments).size == size


def test_a_frame_beyond_its_limit_is_refused_at_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    head = struct.pack(">BI", 17, 2**32 - 1)
    with pytest.raises(frames.FramesInvalid):
        frames.Parser().feed(head)
    # Control: without the bound whatever comes is kept until four gigabytes are there.
    monkeypatch.setattr(frames, "frame_bytes_max", 2**32)
    parser = frames.Parser()
    for data in (head, *[bytes(limits.MIB)] * 4):
        assert parser.feed(data) == []
    assert len(parser._buffer) > 4 * limits.MIB


def test_a_segment_of_results_that_never_ends_is_refused(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = recorded[0]
    receipt = fetched(parties, held)[0].receipt
    verified = proof.verify(receipt, pins=parties.pins)
    key = result_key(parties.tenant.master, held.job.manifest.job_id)

    def feed(times: int) -> int:
        reader = ResultReader(verified, key, None)
        for i in range(times):
            reader.take(jobs_pb2.FetchResultResponse.Chunk(object=0, segment=0, offset=i * 2**20, data=bytes(2**20)))
        return len(reader._segment)

    monkeypatch.setattr(limits, "segment_bytes", 3 * 2**20)
    with pytest.raises(StatementInvalid, match="too large"):
        feed(6)
    # Control: with no bound the gateway fills the client's memory.
    monkeypatch.setattr(limits, "segment_bytes", 2**60)
    assert feed(6) == 6 * 2**20


# --- plaintext, and sizes that lie, at the gateway -----------------------------------------------------------------


async def test_an_object_of_another_size_or_in_plaintext_is_not_taken_in(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"SELECT * FROM patients" * 20
    told = SealedObject(id=0, size=len(data), segment_digests=(hashlib.sha256(data).digest(),))
    manifest = replace(parties.sealed("FR").manifest, objects=(told,))

    async def take(name: str) -> None:
        blobs = BlobStore(tmp_path / name)
        try:
            async with blobs.upload() as upload:
                await upload.write(data, object_id=0, segment=0)
                key = JobKey(tenant_id=manifest.tenant_id, job_id=manifest.job_id)
                payload = Payload(key=key, manifest_digest=manifest.digest)
                segments = await upload.publish(payload, manifest.objects)
            intake._check_sealed([s.size for s in segments], manifest)
        finally:
            blobs.close()

    with pytest.raises(PayloadNotEncrypted):
        await take("one")
    # Control: its digest is the one that the client signed, so that nothing else stops it.
    monkeypatch.setattr(intake, "_check_sealed", lambda *_: None)
    await take("two")


# --- salts ---------------------------------------------------------------------------------------------------------


def salts(count: int) -> int:
    """How many of so many segments have a salt of their own."""
    found = set()
    for i in range(count):
        sealer = SegmentSealer(ROOT, job_id=JOB, object_id=1, index=i, last=False)
        found.add((sealer.update(b"") + sealer.finish())[:24])
    return len(found)


class FixedSalt:
    """An encryptor that salts every message alike."""

    def __init__(self, key: bytes, context: bytes) -> None:
        self._honest, self._salted = Cobblestone256Encryptor(key, context), False

    def update(self, data: bytes) -> bytes:
        made = self._honest.update(data)
        if made and not self._salted:
            made, self._salted = bytes(24) + made[24:], True
        return made

    def finalize(self) -> bytes:
        made = self._honest.finalize()
        return made if self._salted else bytes(24) + made[24:]


def test_no_two_of_many_segments_share_a_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert salts(20_000) == 20_000
    # Control: the count notices an encryptor whose salt is always the same.
    monkeypatch.setattr(segment, "Cobblestone256Encryptor", FixedSalt)
    assert salts(100) == 1


@pytest.mark.full
@pytest.mark.timeout(600)
def test_no_two_of_a_million_segments_share_a_salt() -> None:
    # Control: that of the smaller number.
    assert salts(1_000_000) == 1_000_000


def test_control_the_reader_without_tags_reads_what_was_sealed() -> None:
    assert without_tags(sealed(PLAIN)) == PLAIN
    with pytest.raises((EnvelopeUnopened, InvalidTag)):
        opened(sealed(PLAIN)[:-1] + b"\0")
