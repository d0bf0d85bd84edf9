"""Writes the envelope vectors, one JSON file a case, into the folder `envelope` beside this file.

It is written from docs/protocol.md and the specifications alone and imports nothing of Carnet, so that product and
vectors are two readings of one text. Keys, roots and salts are fixed, and a new run gives the same files; only wraps
differ, since the library draws their encapsulation, and are just as good.

    python tests/vectors/generate.py

A case is {"name", "comment", "operation", "input", "expect", "output"}: `expect` is "accepted" or the class of the one
error; `output` is SHA-256 of what an accepted case gives. A case may take its input `from` another case, change some of
it, and cut its ciphertext into `slices` ([start, end] each) that are put together again.
"""

import hashlib
import hmac
import json
import struct
from base64 import b64encode
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

FOLDER = Path(__file__).parent / "envelope"
SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
CASES: dict[str, dict[str, Any]] = {}


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def ctx(label: str, *fields: bytes) -> bytes:
    return b"carnet/1 " + label.encode() + b"\0" + b"".join(struct.pack(">H", len(f)) + f for f in fields)


def expand(root: bytes, info: bytes) -> bytes:
    return hmac.digest(root, info + b"\x01", "sha256")


class Pair:
    def __init__(self, seed: bytes) -> None:
        expanded = hashlib.shake_256(seed).digest(96)
        lattice = MLKEM768PrivateKey.from_seed_bytes(expanded[:64])
        curve = X25519PrivateKey.from_private_bytes(expanded[64:])
        self.seed = seed
        self.key = hpke.MLKEM768X25519PrivateKey(lattice, curve)
        self.public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
        self.kid = hashlib.sha256(self.public).digest()

    def wrap(self, root: bytes, info: bytes) -> bytes:
        return SUITE.encrypt(root, self.key.public_key(), info=info)


def message(key: bytes, context: bytes, data: bytes) -> bytes:
    """Cobblestone-256: C2SP chunked-encryption v1 with SHA-512 and AES-256-GCM, under a salt that is fixed here."""
    salt = hashlib.sha256(b"salt" + key + context + data).digest()[:24]
    info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0" + salt + context
    keys = HKDFExpand(SHA512(), 32 + 12 + 32, info).derive(key)
    aead, nonce = AESGCM(keys[:32]), int.from_bytes(keys[32:44])
    chunks = [data[i : i + 16_384] for i in range(0, len(data) + 1, 16_384)]
    sealed = (aead.encrypt((nonce ^ i).to_bytes(12), chunk, None) for i, chunk in enumerate(chunks))
    return salt + keys[44:] + b"".join(sealed)


def case(name: str, comment: str, operation: str, expect: str, output: bytes | None = None, **rest: Any) -> None:
    assert name not in CASES, name
    found: dict[str, Any] = {"name": name, "comment": comment, "operation": operation}
    if "source" in rest:
        found["from"] = rest.pop("source")
    if "slices" in rest:
        found["slices"] = rest.pop("slices")
    found["input"] = {k: v if isinstance(v, (int, str, list)) else b64encode(v).decode() for k, v in rest.items()}
    found["expect"] = expect
    if output is not None:
        found["output"] = hashlib.sha256(output).hexdigest()
    CASES[name] = found


def variants(kind: str, comment: str, operation: str, expect: str, changes: dict[str, dict[str, Any]]) -> None:
    """One case for each change of the good case of this kind."""
    for name, change in changes.items():
        case(f"{kind}-{name}", comment, operation, expect, source=f"{kind}-good", **change)


UNOPENED, MALFORMED, ACCEPTED = "EnvelopeUnopened", "EnvelopeMalformed", "accepted"
ROOT, RESULT_ROOT, OTHER_ROOT = digest("root"), digest("result root"), digest("other root")
JOB, OTHER_JOB = digest("job")[:16], digest("other job")[:16]
MD, OTHER_MD = digest("manifest"), digest("other manifest")
GRANT, OTHER_GRANT = digest("grant"), digest("other grant")
ADDENDUM, OTHER_ADDENDUM = digest("addendum"), digest("other addendum")
RUNNER, OTHER_RUNNER = Pair(digest("runner")), Pair(digest("other runner"))
SPIFFE = "spiffe://gpu-fr.example/j/FR/runner/0f0e0d0c-0b0a-4908-8706-050403020100"
OTHER_SPIFFE = "spiffe://gpu-fr.example/j/FR/runner/1f0e0d0c-0b0a-4908-8706-050403020100"
SUITE_ID = b"\x00\x01"


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def contexts() -> None:
    case("context", "the encoding of a label and its fields", "context", ACCEPTED,
         ctx("segment", JOB, b"\0\0\0\1", b"\0\0\0\2", b"\1"),
         label="segment", fields=[f.hex() for f in (JOB, b"\0\0\0\1", b"\0\0\0\2", b"\1")])  # fmt: skip
    case("commitment", "HKDF-Expand of the root", "commit", ACCEPTED, expand(ROOT, ctx("commit", JOB)),
         root=ROOT, job_id=JOB)  # fmt: skip
    master = digest("master")
    seed = expand(hmac.digest(bytes(32), master, "sha256"), ctx("result key", JOB))
    case("result-key", "X-Wing from HKDF of the tenant's master secret", "result-key", ACCEPTED, Pair(seed).public,
         master=master, job_id=JOB)  # fmt: skip


def publics() -> None:
    good = RUNNER.public
    lattice, curve = good[:1184], good[1184:]
    bad = {
        "1215-bytes": good[:-1],
        "1217-bytes": good + b"\0",
        "empty": b"",
        "coefficients-beyond-q": b"\xff" * 1152 + good[1152:],
        "x25519-zero": lattice + bytes(32),
        "x25519-one": lattice + b"\1" + bytes(31),
        "x25519-order-8": lattice + bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        "x25519-minus-one": lattice + (2**255 - 20).to_bytes(32, "little"),
        "x25519-not-reduced": lattice + (2**255 - 10).to_bytes(32, "little"),
        "x25519-high-bit": lattice + curve[:31] + bytes([curve[31] | 128]),
    }
    case("public-good", "a key that may be wrapped for", "public", ACCEPTED, RUNNER.kid, public=good)
    for name, public in bad.items():
        case(f"public-{name}", "not a key in its one form", "public", MALFORMED, public=public)


def wraps() -> None:
    info = ctx("wrap", SUITE_ID, MD, SPIFFE.encode(), b"FR", RUNNER.kid)
    names = {"seed": RUNNER.seed, "manifest_digest": MD, "spiffe_id": SPIFFE, "jurisdiction": "FR", "kid": RUNNER.kid}
    wrap = RUNNER.wrap(ROOT, info)
    case("wrap-good", "the root for one recipient", "unwrap", ACCEPTED, ROOT, wrap=wrap, **names)
    variants(
        "wrap",
        "bound to another recipient",
        "unwrap",
        UNOPENED,
        {
            "other-runner": {"spiffe_id": OTHER_SPIFFE},
            "other-jurisdiction": {"jurisdiction": "DE"},
            "other-region": {"jurisdiction": "FR-IDF"},
            "other-kid": {"kid": OTHER_RUNNER.kid},
            "other-manifest": {"manifest_digest": OTHER_MD},
            "other-private-key": {"seed": OTHER_RUNNER.seed},
            "fields-shifted": {"spiffe_id": SPIFFE + "F", "jurisdiction": "R"},
        },
    )
    for region, at in {"lattice": 0, "lattice-end": 1087, "x25519": 1088, "root": 1120, "tag": 1167}.items():
        case(f"wrap-flip-{region}", "one bit flipped", "unwrap", UNOPENED, source="wrap-good", wrap=flipped(wrap, at))
    others = {
        "empty": b"",
        "cut-at-the-end": wrap[:-1],
        "cut-at-the-start": wrap[1:],
        "without-tag": wrap[:-16],
        "encapsulation-only": wrap[:1120],
        "extended": wrap + b"\0",
        "encapsulation-extended": wrap[:1120] + b"\0" + wrap[1120:],
        "x25519-zero": wrap[:1088] + bytes(32) + wrap[1120:],
        "x25519-order-8": wrap[:1088]
        + bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
        + wrap[1120:],
        "plaintext": ROOT,
        "plaintext-of-the-right-size": (ROOT * 37)[:1168],
        "of-31-bytes": RUNNER.wrap(ROOT[:31], info),
        "of-33-bytes": RUNNER.wrap(ROOT + b"\0", info),
        "other-suite": RUNNER.wrap(ROOT, ctx("wrap", b"\0\2", MD, SPIFFE.encode(), b"FR", RUNNER.kid)),
        "no-suite": RUNNER.wrap(ROOT, ctx("wrap", MD, SPIFFE.encode(), b"FR", RUNNER.kid)),
        "no-info": RUNNER.wrap(ROOT, b""),
        "self-label": RUNNER.wrap(ROOT, ctx("self", MD)),
        "addendum-label": RUNNER.wrap(ROOT, ctx("wrap-add", SUITE_ID, MD, MD, SPIFFE.encode(), b"FR", RUNNER.kid)),
    }
    for name, other in others.items():
        case(f"wrap-{name}", "not this wrap", "unwrap", UNOPENED, source="wrap-good", wrap=other)


def other_wraps() -> None:
    info = ctx("wrap-add", SUITE_ID, MD, ADDENDUM, SPIFFE.encode(), b"FR", RUNNER.kid)
    names = {"seed": RUNNER.seed, "manifest_digest": MD, "spiffe_id": SPIFFE, "jurisdiction": "FR", "kid": RUNNER.kid}
    case("addendum-good", "the root for a later recipient", "unwrap-addendum", ACCEPTED, ROOT,
         wrap=RUNNER.wrap(ROOT, info), addendum_digest=ADDENDUM, **names)  # fmt: skip
    variants(
        "addendum",
        "not this addendum",
        "unwrap-addendum",
        UNOPENED,
        {
            "other-addendum": {"addendum_digest": OTHER_ADDENDUM},
            "other-manifest": {"manifest_digest": OTHER_MD},
            "manifest-wrap": {"wrap": RUNNER.wrap(ROOT, ctx("wrap", SUITE_ID, MD, SPIFFE.encode(), b"FR", RUNNER.kid))},
        },
    )
    case("self-good", "the root for the client itself", "self", ACCEPTED, ROOT,
         seed=RUNNER.seed, wrap=RUNNER.wrap(ROOT, ctx("self", MD)), manifest_digest=MD)  # fmt: skip
    case("self-other-manifest", "of another job", "self", UNOPENED, source="self-good", manifest_digest=OTHER_MD)
    case("self-other-key", "of another tenant", "self", UNOPENED, source="self-good", seed=OTHER_RUNNER.seed)
    case("result-good", "the result root for the client", "result", ACCEPTED, RESULT_ROOT, seed=RUNNER.seed,
         wrap=RUNNER.wrap(RESULT_ROOT, ctx("result", MD, GRANT, SPIFFE.encode())), manifest_digest=MD,
         grant_digest=GRANT, spiffe_id=SPIFFE)  # fmt: skip
    variants(
        "result",
        "of another attempt",
        "result",
        UNOPENED,
        {
            "other-grant": {"grant_digest": OTHER_GRANT},
            "other-manifest": {"manifest_digest": OTHER_MD},
            "other-runner": {"spiffe_id": OTHER_SPIFFE},
            "other-key": {"seed": OTHER_RUNNER.seed},
        },
    )


def segments() -> None:
    key = expand(ROOT, ctx("object key", JOB, b"\0\0\0\1"))
    here = ctx("segment", JOB, b"\0\0\0\1", b"\0\0\0\0", b"\1")
    names = {"root": ROOT, "job_id": JOB, "object_id": 1, "index": 0, "last": 1}
    data = bytes(i % 251 for i in range(40_000))
    for name, size in {"empty": 0, "short": 100, "one-chunk": 16_384, "two-chunks": 32_768}.items():
        case(f"segment-{name}", f"{size} bytes", "segment", ACCEPTED, data[:size],
             ciphertext=message(key, here, data[:size]), **names)  # fmt: skip
    case("segment-good", "40,000 bytes, two chunks and a short one", "segment", ACCEPTED, data,
         ciphertext=message(key, here, data), **names)  # fmt: skip
    variants(
        "segment",
        "not this segment",
        "segment",
        UNOPENED,
        {
            "swapped": {"index": 1},
            "last-flag-cleared": {"last": 0},
            "other-object": {"object_id": 2},
            "other-job": {"job_id": OTHER_JOB},
            "other-root": {"root": OTHER_ROOT},
            "index-and-object-exchanged": {"object_id": 0, "index": 1},
            "plaintext": {"ciphertext": data[:1000]},
            "plaintext-json": {"ciphertext": b'{"argv":["python","train.py"]}' * 10},
            "last-flag-set": {
                "ciphertext": message(key, ctx("segment", JOB, b"\0\0\0\1", bytes(4), b"\0"), data[:100])
            },
            "of-a-result": {
                "ciphertext": message(key, ctx("result segment", MD, GRANT, b"\0\0\0\1", bytes(4), b"\1"), b"")
            },
            "root-as-key": {"ciphertext": message(ROOT, here, data[:100])},
            "no-context": {"ciphertext": message(key, b"", data[:100])},
        },
    )
    a, b, c, end = 56, 56 + 16_400, 56 + 32_800, 40_104
    variants(
        "segment",
        "pieces of the good one",
        "segment",
        UNOPENED,
        {
            "nothing": {"slices": []},
            "cut-in-the-header": {"slices": [[0, 30]]},
            "header-only": {"slices": [[0, a]]},
            "cut-at-a-chunk": {"slices": [[0, b]]},
            "cut-at-the-last-chunk": {"slices": [[0, c]]},
            "cut-in-a-chunk": {"slices": [[0, 20_000]]},
            "cut-in-the-last-chunk": {"slices": [[0, end - 100]]},
            "cut-by-one": {"slices": [[0, end - 1]]},
            "without-header": {"slices": [[a, end]]},
            "chunks-swapped": {"slices": [[0, a], [b, c], [a, b], [c, end]]},
            "chunk-doubled": {"slices": [[0, b], [a, end]]},
            "chunk-dropped": {"slices": [[0, a], [b, end]]},
            "last-chunk-doubled": {"slices": [[0, end], [c, end]]},
            "trailing-byte": {"slices": [[0, end], [0, 1]]},
            "twice": {"slices": [[0, end], [0, end]]},
        },
    )
    short = message(key, here, data[:100])
    for name, at in {"salt": 0, "commitment": 24, "commitment-end": 55, "body": 60, "tag": len(short) - 1}.items():
        case(f"segment-flip-{name}", "one bit flipped", "segment", UNOPENED, source="segment-good",
             ciphertext=flipped(short, at))  # fmt: skip


def objects() -> None:
    key = expand(ROOT, ctx("object key", JOB, bytes(4)))
    data = b"argv and names" * 100
    ciphertext = message(key, ctx("segment", JOB, bytes(4), bytes(4), b"\1"), data)
    told = [hashlib.sha256(ciphertext).hexdigest()]
    case("object-good", "object 0 with the digest that was signed", "object", ACCEPTED, data,
         root=ROOT, job_id=JOB, object_id=0, size=1400, digests=told, ciphertext=ciphertext)  # fmt: skip
    variants(
        "object",
        "not what was signed",
        "object",
        UNOPENED,
        {
            "size-too-small": {"size": 1399},
            "size-too-large": {"size": 1401},
            "other-digest": {"digests": [digest("x").hex()]},
            "other-id": {"object_id": 1},
            "cut-with-its-digest": {
                "ciphertext": ciphertext[:-1],
                "digests": [hashlib.sha256(ciphertext[:-1]).hexdigest()],
            },
            "plaintext-with-its-digest": {"ciphertext": data, "digests": [hashlib.sha256(data).hexdigest()]},
        },
    )
    variants(
        "object",
        "can not be a sealed object",
        "object",
        MALFORMED,
        {
            "size-2-63": {"size": 2**63},
            "size-negative": {"size": -1},
            "id-beyond-the-bound": {"object_id": 1024},
            "too-few-segments": {"size": 64 * 2**20 + 1},
            "too-many-segments": {"digests": told * 2},
            "no-segment": {"digests": []},
            "short-digest": {"digests": [told[0][:-2]]},
        },
    )


def results() -> None:
    key = expand(RESULT_ROOT, ctx("result object key", MD, GRANT, bytes(4)))
    data = b"weights" * 50
    case("result-segment-good", "a sealed result", "result-segment", ACCEPTED, data,
         ciphertext=message(key, ctx("result segment", MD, GRANT, bytes(4), bytes(4), b"\1"), data),
         root=RESULT_ROOT, manifest_digest=MD, grant_digest=GRANT, object_id=0, index=0, last=1)  # fmt: skip
    variants(
        "result-segment",
        "not this result",
        "result-segment",
        UNOPENED,
        {
            "other-job": {"manifest_digest": OTHER_MD},
            "other-attempt": {"grant_digest": OTHER_GRANT},
            "other-object": {"object_id": 1},
            "swapped": {"index": 1},
            "last-flag-cleared": {"last": 0},
            "other-root": {"root": OTHER_ROOT},
            "plaintext": {"ciphertext": data},
        },
    )


def logs() -> None:
    key = expand(RESULT_ROOT, ctx("log key", MD))
    line = b"epoch 1 loss 0.3\n"
    names = {"root": RESULT_ROOT, "manifest_digest": MD, "grant_digest": GRANT}
    record = message(key, ctx("log", MD, GRANT, b"\1", (7).to_bytes(8), b"\0"), line)
    case("log-good", "the eighth record, of stdout", "log", ACCEPTED, line,
         ciphertext=record, stream=1, sequence=7, final=0, **names)  # fmt: skip
    case("log-final", "the final record", "log", ACCEPTED, b"", stream=0, sequence=8, final=1,
         ciphertext=message(key, ctx("log", MD, GRANT, b"\0", (8).to_bytes(8), b"\1"), b""), **names)  # fmt: skip
    variants(
        "log",
        "not this record",
        "log",
        UNOPENED,
        {
            "other-sequence": {"sequence": 8},
            "other-stream": {"stream": 2},
            "passed-for-the-final": {"stream": 0, "final": 1},
            "final-flag-alone": {"final": 1},
            "unknown-stream": {"stream": 3},
            "other-attempt": {"grant_digest": OTHER_GRANT},
            "other-job": {"manifest_digest": OTHER_MD},
            "cut": {"ciphertext": record[:-1]},
            "two-records": {"ciphertext": record + record},
            "plaintext": {"ciphertext": line},
        },
    )


def main() -> None:
    for part in (contexts, publics, wraps, other_wraps, segments, objects, results, logs):
        part()
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.json"):
        old.unlink()
    for name, found in CASES.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
