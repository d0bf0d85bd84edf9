"""Runs published vectors: HPKE and hybrid HPKE, chunked encryption, and the Merkle proofs of transparency-dev.

The first three come with the package cryptography-vectors. The last are read from the folder that CARNET_VECTORS
names (`../shared/data/vectors` by default); where CI is true they must be there.
"""

import hashlib
import json
import os
import zlib
from base64 import b64decode
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.bindings._rust import openssl
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from carnet.core.audit import verify_consistency, verify_inclusion
from carnet.core.errors import ProofInvalid
from carnet.core.hybrid import HybridPrivateKey, HybridPublicKey
from carnet.core.segment import Sealer, ciphertext_size

ROOT = Path(__file__).parents[2]
CURVES: dict[int, ec.EllipticCurve] = {0x10: ec.SECP256R1(), 0x11: ec.SECP384R1(), 0x12: ec.SECP521R1()}
KEMS = {
    0x10: hpke.KEM.P256,
    0x11: hpke.KEM.P384,
    0x12: hpke.KEM.P521,
    0x20: hpke.KEM.X25519,
    0x41: hpke.KEM.MLKEM768,
    0x42: hpke.KEM.MLKEM1024,
    0x647A: hpke.KEM.MLKEM768_X25519,
}
KDFS = {
    1: hpke.KDF.HKDF_SHA256,
    2: hpke.KDF.HKDF_SHA384,
    3: hpke.KDF.HKDF_SHA512,
    16: hpke.KDF.SHAKE128,
    17: hpke.KDF.SHAKE256,
}
AEADS = {1: hpke.AEAD.AES_128_GCM, 2: hpke.AEAD.AES_256_GCM, 3: hpke.AEAD.CHACHA20_POLY1305}


def published(folder: str, name: str) -> Any:
    return json.loads(Path(cryptography_vectors.__file__).parent.joinpath(folder, name).read_text())


def supported(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The base-mode cases of the suites that the library has, with something sealed."""
    return [
        case
        for case in cases
        if (case["mode"], case["kem_id"] in KEMS, case["kdf_id"] in KDFS, case["aead_id"] in AEADS)
        == (0, True, True, True)
    ]


def private_key(kem: int, data: bytes) -> Any:
    if kem in CURVES:
        return ec.derive_private_key(int.from_bytes(data), CURVES[kem])
    if kem == 0x20:
        return x25519.X25519PrivateKey.from_private_bytes(data)
    if kem == 0x41:
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(data)
    if kem == 0x42:
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(data)
    # Our own expansion of the X-Wing seed is what is under test here.
    return HybridPrivateKey.from_seed(data)._key


def opened(case: dict[str, Any], sealed: bytes) -> bytes:
    suite = hpke.Suite(KEMS[case["kem_id"]], KDFS[case["kdf_id"]], AEADS[case["aead_id"]])
    key = private_key(case["kem_id"], bytes.fromhex(case["skRm"]))
    first = case["encryptions"][0]
    info, aad = bytes.fromhex(case["info"]), bytes.fromhex(first["aad"])
    # The public API has no aad; Carnet never uses one, and the vectors always do.
    return openssl.hpke._decrypt_with_aad(suite, sealed, key, info, aad)


def check_hpke(cases: list[dict[str, Any]], *, least: int) -> None:
    assert len(cases) >= least
    for case in cases:
        first = case["encryptions"][0]
        sealed = bytes.fromhex(case["enc"]) + bytes.fromhex(first["ct"])
        assert opened(case, sealed) == bytes.fromhex(first["pt"])
        with pytest.raises(InvalidTag):
            opened(case, sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_hpke_opens_the_vectors_of_rfc_9180() -> None:
    check_hpke(supported(published("HPKE", "test-vectors.json")), least=18)


def test_hpke_opens_the_vectors_of_the_post_quantum_draft() -> None:
    check_hpke(supported(published("HPKE", "hpke-pq-test-vectors.json")), least=6)


def test_our_hybrid_keys_are_the_published_ones() -> None:
    cases = [case for case in published("HPKE", "hpke-pq-test-vectors.json") if case["kem_id"] == 0x647A]
    assert len(cases) == 2
    for case in cases:
        private = HybridPrivateKey.from_seed(bytes.fromhex(case["skRm"]))
        assert private.public.hex() == case["pkRm"]
        assert HybridPublicKey(private.public).kid == private.kid


# The published vectors of chunked encryption are of its instantiation with SHA-256; Cobblestone-256 is the one with
# SHA-512. So the vectors judge a reader written from the specification, and the reader judges what Carnet seals.


def reference(key: bytes, context: bytes, ciphertext: bytes, *, hash_: HashAlgorithm, key_size: int) -> bytes:
    """C2SP chunked-encryption v1, read chunk by chunk. Raises `InvalidTag`."""
    salt, commitment, body = ciphertext[:24], ciphertext[24:56], ciphertext[56:]
    name = b"c2sp.org/chunked-encryption@v1+AEAD_AES_%d_GCM\0" % (8 * key_size)
    if len(key) != key_size or len(commitment) != 32:
        raise InvalidTag
    keys = HKDFExpand(hash_, key_size + 12 + 32, name + salt + context).derive(key)
    if keys[-32:] != commitment:
        raise InvalidTag
    aead, nonce = AESGCM(keys[:key_size]), int.from_bytes(keys[key_size:-32])
    chunks = [body[i : i + 16_400] for i in range(0, len(body), 16_400)]
    if not chunks or len(chunks[-1]) == 16_400:
        raise InvalidTag
    return b"".join(aead.decrypt((nonce ^ i).to_bytes(12), chunk, None) for i, chunk in enumerate(chunks))


def chunked_ciphertext(case: dict[str, Any]) -> bytes:
    raw = b64decode(case["ciphertext"] or "")
    return zlib.decompress(raw) if case.get("compressed") else raw


@pytest.mark.parametrize("key_size", [16, 32])
def test_the_reference_reader_gives_the_published_outcomes_of_chunked_encryption(key_size: int) -> None:
    cases = published("chunked-encryption", "vectors.json")["vectors"]
    cases = [case for case in cases if case["aead"] == f"AEAD_AES_{8 * key_size}_GCM"]
    assert [case["expect"] for case in cases].count("success") == 9
    assert len(cases) == 34
    for case in cases:
        key, context = bytes.fromhex(case["key"]), case["context"].encode()
        ciphertext = chunked_ciphertext(case)
        if case["expect"] == "success":
            plain = reference(key, context, ciphertext, hash_=SHA256(), key_size=key_size)
            assert (len(plain), hashlib.sha256(plain).hexdigest()) == (case["payload_length"], case["payload_sha256"])
            assert ciphertext_size(len(plain)) == len(ciphertext)
        else:
            with pytest.raises(InvalidTag):
                reference(key, context, ciphertext, hash_=SHA256(), key_size=key_size)


@pytest.mark.parametrize("size", [0, 1, 7, 16_383, 16_384, 16_385, 32_768, 32_769, 4_194_305])
def test_the_reference_reader_opens_what_our_sealer_makes(size: int) -> None:
    key, context = hashlib.sha256(b"key").digest(), b"test\0context"
    plain = hashlib.shake_256(b"plain").digest(size)
    sealer = Sealer(bytearray(key), context)
    ciphertext = sealer.update(plain) + sealer.finish()
    assert reference(key, context, ciphertext, hash_=SHA512(), key_size=32) == plain
    with pytest.raises(InvalidTag):
        reference(key, context, ciphertext, hash_=SHA256(), key_size=32)


def merkle(name: str) -> list[dict[str, Any]]:
    path = Path(os.environ.get("CARNET_VECTORS", ROOT.parent / "shared" / "data" / "vectors")) / name
    if not path.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("CI must have the Merkle vectors: set CARNET_VECTORS to their folder")
        pytest.skip("the Merkle vectors are not here: set CARNET_VECTORS to their folder")
    cases: list[dict[str, Any]] = json.loads(path.read_text())
    return cases


def decoded(case: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(b64decode(step) for step in case["proof"] or ())


def test_inclusion_proofs_have_the_published_outcomes() -> None:
    cases = merkle("merkle_inclusion.json")
    assert len(cases) == 98
    for case in cases:
        proof: dict[str, Any] = {
            "leaf": b64decode(case["leafHash"]),
            "index": case["leafIdx"],
            "size": case["treeSize"],
            "path": decoded(case),
            "root": b64decode(case["root"]),
        }
        if case["wantErr"]:
            with pytest.raises(ProofInvalid):
                verify_inclusion(**proof)
        else:
            verify_inclusion(**proof)


def test_consistency_proofs_have_the_published_outcomes_and_those_from_nothing_are_refused() -> None:
    cases = merkle("merkle_consistency.json")
    assert len(cases) == 98
    from_nothing = [case for case in cases if case["size1"] == 0]
    assert len(from_nothing) >= 2
    # Upstream compares the roots of equal sizes whatever their length; here a root is 32 bytes, or it is none.
    no_root = [case for case in cases if not case["wantErr"] and len(b64decode(case["root1"])) != 32]
    assert len(no_root) <= 1
    for case in cases:
        proof: dict[str, Any] = {
            "size_before": case["size1"],
            "size_after": case["size2"],
            "root_before": b64decode(case["root1"]),
            "root_after": b64decode(case["root2"]),
            "path": decoded(case),
        }
        if case["wantErr"] or case in from_nothing + no_root:
            with pytest.raises(ProofInvalid):
                verify_consistency(**proof)
        else:
            verify_consistency(**proof)
