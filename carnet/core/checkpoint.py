"""Checkpoint: the log's signed word for its size and root, in the form that witnesses and auditors read.

- The form is C2SP tlog-checkpoint v1 in a C2SP signed note: origin, size, root in base64; a blank line; signatures.
- A checkpoint opens only if the pinned Ed25519 key of this origin signed it. Signatures of other names and keys are
  left alone (they may be witnesses'), and count for nothing.
- There is one spelling: canonical base64, no leading zeros, LF only, no extension lines, at most 16 signatures.
- Any text opens, or raises `ProofInvalid`.

    note = sign_checkpoint(Checkpoint(origin="gateway.example/log", size=size, root=root), key)
    checkpoint = open_checkpoint(note, origin="gateway.example/log", public=public)
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from carnet.core.errors import ProofInvalid

note_bytes_max: Final = 16 * 1024
signatures_max: Final = 16
size_max: Final = 2**63 - 1

_ED25519: Final = b"\x01"
_ORIGIN: Final = re.compile(r"[!-*,-~]{1,255}")  # printable ASCII without space and plus
_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_LINE: Final = re.compile("\N{EM DASH} ([^ +\\s]{1,255}) ([A-Za-z0-9+/]{8,8192}={0,2})")
_EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The log named `origin` has `size` entries under `root` (32 bytes)."""

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not _ORIGIN.fullmatch(self.origin) or not 0 <= self.size <= size_max or len(self.root) != 32:
            raise ProofInvalid
        if self.size == 0 and self.root != _EMPTY_ROOT:
            raise ProofInvalid

    @property
    def text(self) -> str:
        """The lines that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


def sign_checkpoint(checkpoint: Checkpoint, key: Ed25519PrivateKey) -> str:
    """The checkpoint as a signed note under the log's key; the key's name is the origin."""
    signature = _key_id(checkpoint.origin, key.public_key()) + key.sign(checkpoint.text.encode())
    return f"{checkpoint.text}\n\N{EM DASH} {checkpoint.origin} {base64.b64encode(signature).decode()}\n"


def open_checkpoint(note: str, *, origin: str, public: Ed25519PublicKey) -> Checkpoint:
    """The checkpoint, once this origin's key is seen to have signed it. Raises `ProofInvalid` on any other text."""
    if len(note) > note_bytes_max:
        raise ProofInvalid
    text, _, signatures = note.partition("\n\n")
    text += "\n"
    _check_signed(text, signatures, origin, public)
    checkpoint = _parse(text)
    # One spelling only: what was read gives the same text again, and it is of this log.
    if checkpoint.text != text or checkpoint.origin != origin:
        raise ProofInvalid
    return checkpoint


def _check_signed(text: str, signatures: str, origin: str, public: Ed25519PublicKey) -> None:
    lines = signatures.split("\n")
    if not 1 < len(lines) <= signatures_max + 1 or lines.pop() != "":
        raise ProofInvalid
    key_id = _key_id(origin, public)
    ours = [found for name, found in map(_signature, lines) if name == origin and found[:4] == key_id]
    if len(ours) != 1:
        raise ProofInvalid
    try:
        public.verify(ours[0][4:], text.encode())
    except (InvalidSignature, UnicodeEncodeError):
        raise ProofInvalid from None


def _signature(line: str) -> tuple[str, bytes]:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ProofInvalid
    return found[1], _base64(found[2])


def _parse(text: str) -> Checkpoint:
    lines = text.split("\n")
    if len(lines) != 4 or not _SIZE.fullmatch(lines[1]):
        raise ProofInvalid
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=_base64(lines[2]))


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofInvalid from None
    if base64.b64encode(data).decode() != text:
        raise ProofInvalid
    return data


def _key_id(name: str, public: Ed25519PublicKey) -> bytes:
    """The C2SP signed-note key id: the first 4 bytes of SHA-256(name || 0x0A || 0x01 || public key)."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public.public_bytes_raw()).digest()[:4]
