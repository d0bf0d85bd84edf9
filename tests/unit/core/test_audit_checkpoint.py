"""Checkpoints: the one spelling of a signed note."""

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from carnet.core import checkpoint
from carnet.core.checkpoint import Checkpoint, note_bytes_max, open_checkpoint, sign_checkpoint
from carnet.core.errors import ProofInvalid

ORIGIN = "gateway.example/log"
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key()
CHECKPOINT = Checkpoint(origin=ORIGIN, size=42, root=hashlib.sha256(b"root").digest())
NOTE = sign_checkpoint(CHECKPOINT, KEY)
DASH = "\N{EM DASH}"


def signed_text(text: str, *, name: str = ORIGIN, key: Ed25519PrivateKey = KEY) -> str:
    """A note over any text, with a signature that verifies: only the text itself can be at fault."""
    return f"{text}\n{signature_line(text, name=name, key=key)}"


def signature_line(text: str, *, name: str = ORIGIN, key: Ed25519PrivateKey = KEY) -> str:
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + key.public_key().public_bytes_raw()).digest()[:4]
    return f"{DASH} {name} {base64.b64encode(key_id + key.sign(text.encode())).decode()}\n"


def refused(note: str) -> None:
    with pytest.raises(ProofInvalid):
        open_checkpoint(note, origin=ORIGIN, public=PUBLIC)


def test_a_checkpoint_opens_as_what_was_signed() -> None:
    assert open_checkpoint(NOTE, origin=ORIGIN, public=PUBLIC) == CHECKPOINT
    assert signed_text(CHECKPOINT.text) == NOTE


def test_the_example_of_the_signed_note_format_verifies() -> None:
    # The key and the note in the documentation of golang.org/x/mod/sumdb/note, whose format C2SP took over.
    encoded = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded)[1:])
    text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    signature = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    checkpoint._check_signed(text, f"{DASH} PeterNeumann {signature}\n", "PeterNeumann", public)
    with pytest.raises(ProofInvalid):
        checkpoint._check_signed(text + " ", f"{DASH} PeterNeumann {signature}\n", "PeterNeumann", public)


def test_a_witness_beside_the_log_changes_nothing() -> None:
    witness = Ed25519PrivateKey.generate()
    line = signature_line(CHECKPOINT.text, name="witness.example", key=witness)
    assert open_checkpoint(NOTE + line, origin=ORIGIN, public=PUBLIC) == CHECKPOINT
    refused(f"{CHECKPOINT.text}\n{line}")


def test_another_key_of_our_name_counts_for_nothing() -> None:
    other = Ed25519PrivateKey.generate()
    refused(signed_text(CHECKPOINT.text, key=other))
    beside = signature_line(CHECKPOINT.text, key=other)
    assert open_checkpoint(NOTE + beside, origin=ORIGIN, public=PUBLIC) == CHECKPOINT


def test_a_signature_under_our_key_id_that_does_not_verify_is_refused() -> None:
    text, _, line = NOTE.partition("\n\n")
    name, encoded = line.strip().removeprefix(f"{DASH} ").split(" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[-1] ^= 1
    refused(f"{text}\n\n{DASH} {name} {base64.b64encode(raw).decode()}\n")
    refused(f"{text}\n\n{DASH} {name} {base64.b64encode(raw[:20]).decode()}\n")


def test_our_signature_twice_is_refused() -> None:
    refused(NOTE + signature_line(CHECKPOINT.text))


def test_seventeen_signatures_are_refused_and_sixteen_are_not() -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(16)]
    lines = [signature_line(CHECKPOINT.text, name=f"w{i}", key=key) for i, key in enumerate(keys)]
    assert open_checkpoint(NOTE + "".join(lines[:15]), origin=ORIGIN, public=PUBLIC) == CHECKPOINT
    refused(NOTE + "".join(lines))


def test_a_log_of_another_origin_is_refused() -> None:
    other = Checkpoint(origin="other.example/log", size=42, root=CHECKPOINT.root)
    refused(sign_checkpoint(other, KEY))
    refused(signed_text(other.text))


ROOT = base64.b64encode(CHECKPOINT.root).decode()
TEXTS = {
    "leading zero": f"{ORIGIN}\n042\n{ROOT}\n",
    "sign": f"{ORIGIN}\n+42\n{ROOT}\n",
    "negative": f"{ORIGIN}\n-1\n{ROOT}\n",
    "space": f"{ORIGIN}\n42 \n{ROOT}\n",
    "underscore": f"{ORIGIN}\n4_2\n{ROOT}\n",
    "other digits": f"{ORIGIN}\n\N{ARABIC-INDIC DIGIT FOUR}\n{ROOT}\n",
    "beyond 63 bits": f"{ORIGIN}\n9223372036854775808\n{ROOT}\n",
    "no size": f"{ORIGIN}\n\n{ROOT}\n",
    "carriage return": f"{ORIGIN}\r\n42\r\n{ROOT}\r\n",
    "root without padding": f"{ORIGIN}\n42\n{ROOT.rstrip('=')}\n",
    "root with stray bits": f"{ORIGIN}\n42\n{ROOT[:-2]}{chr(ord(ROOT[-2]) + 1)}=\n",
    "root in the URL alphabet": f"{ORIGIN}\n42\n{ROOT[:5]}-{ROOT[6:]}\n",
    "short root": f"{ORIGIN}\n42\n{base64.b64encode(bytes(31)).decode()}\n",
    "long root": f"{ORIGIN}\n42\n{base64.b64encode(bytes(33)).decode()}\n",
    "other root of the empty tree": f"{ORIGIN}\n0\n{ROOT}\n",
    "extension line": f"{ORIGIN}\n42\n{ROOT}\ntimestamp 1\n",
    "two lines": f"{ORIGIN}\n42\n",
    "nothing": "\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_another_spelling_is_refused_though_its_signature_verifies(name: str) -> None:
    refused(signed_text(TEXTS[name]))


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        CHECKPOINT.text,
        CHECKPOINT.text + "\n",
        NOTE.rstrip("\n"),
        NOTE + "\n",
        NOTE.replace("\n", "\r\n"),
        NOTE.replace(DASH, "-"),
        NOTE.replace(f"{DASH} ", f"{DASH}  "),
        " " + NOTE,
        NOTE + f"{DASH} broken line\n",
        NOTE + f"{DASH} witness AAAAAAAA=\n",
        NOTE + " " * note_bytes_max,
        NOTE + "\ud800",
    ],
)
def test_a_note_of_another_form_is_refused(note: str) -> None:
    refused(note)


def test_the_empty_log_has_a_checkpoint() -> None:
    empty = Checkpoint(origin=ORIGIN, size=0, root=hashlib.sha256(b"").digest())
    assert open_checkpoint(sign_checkpoint(empty, KEY), origin=ORIGIN, public=PUBLIC) == empty


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "é", "x" * 256])
def test_an_origin_that_can_not_name_a_key_is_refused(origin: str) -> None:
    with pytest.raises(ProofInvalid):
        Checkpoint(origin=origin, size=1, root=bytes(32))
