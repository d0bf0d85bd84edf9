"""Encoding: what is bound to what, byte for byte. The one table of labels, DSSE, and the scanner of signed messages.

- Every key, context and HPKE info starts with a label of `LABELS`, and each label has a fixed number of fields with
  their lengths in front: two different lists of fields never give the same bytes, and no two labels meet.
- A signature is over the DSSE pre-authentication encoding of the verbatim bytes (`pae`), under the type of its kind.
- `scan` goes over those bytes after the signature was verified and before they are parsed: protobuf takes the last of
  two equal fields and skips what it does not know, so both are refused here, with every other second spelling.

| label | fields | what it is for |
|---|---|---|
| commit | job id | HKDF: the commitment to the job root, in the manifest |
| object key | job id, object id | HKDF: the key of one sealed object of a job |
| segment | job id, object id, index, last | Cobblestone: one segment of a sealed object |
| result key | job id | HKDF: the seed of the key that results are wrapped for |
| wrap | suite, md, SPIFFE id, jurisdiction, kid | HPKE: the job root for one recipient of the manifest |
| wrap-add | suite, md, addendum digest, SPIFFE id, jurisdiction, kid | HPKE: the same for a later recipient |
| self | md | HPKE: the job root for the client's own result key |
| result | md, grant digest, SPIFFE id | HPKE: the result root, from the runner to the client |
| result object key | md, grant digest, object id | HKDF: the key of one sealed result |
| result segment | md, grant digest, object id, index, last | Cobblestone: one segment of a sealed result |
| log key | md | HKDF: the key of the log records of an attempt |
| log | md, grant digest, stream, sequence, final | Cobblestone: one log record |
| decision input | tenant id, record digest | HPKE: the whole input of a decision for the tenant's compliance key |
| stored wrap | tenant id and job id and day, kid | the gateway's own encryption of a wrap at rest, under a day's key |
| page token | tenant id, place | the gateway's tag on a page token |

md = SHA-256 of the manifest's signed bytes. Integers are big-endian: suite 2 bytes, object id and index 4, last, stream
and final 1, sequence 8.

    info = ctx("self", manifest.digest)
    signer.sign(StatementKind.MANIFEST, payload)      # over pae(payload_type(kind), payload)
    scan(payload, shape)                              # verify first, then scan, then parse
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final

from carnet.core.errors import Bug, EnvelopeMalformed

LABELS: Final[dict[str, int]] = {
    "commit": 1,
    "object key": 2,
    "segment": 4,
    "result key": 1,
    "wrap": 5,
    "wrap-add": 6,
    "self": 1,
    "result": 3,
    "result object key": 3,
    "result segment": 5,
    "log key": 1,
    "log": 5,
    "decision input": 2,
    "stored wrap": 2,
    "page token": 2,
}

PREFIX: Final = b"carnet/1 "
field_bytes_max: Final = 2**16 - 1
depth_max: Final = 8
varint_max: Final = 2**64 - 1

_MALFORMED: Final = "The bytes are not the message that they should be."


def ctx(label: str, *fields: bytes) -> bytes:
    """The context of a label: `b"carnet/1 " + label + b"\\0" + (uint16 length, field) for each field`.

    Raises `Bug` for a label that is not in the table or has another number of fields, and `EnvelopeMalformed` for a
    field of more than 65,535 bytes.
    """
    if LABELS.get(label) != len(fields):
        raise Bug(detail=f"label {label!r} with {len(fields)} fields is not in the table")
    if any(len(field) > field_bytes_max for field in fields):
        raise EnvelopeMalformed("A field of a context is too large.")
    return PREFIX + label.encode() + b"\0" + b"".join(len(field).to_bytes(2) + field for field in fields)


# --- signed statements (DSSE v1, protocol.md of secure-systems-lab/dsse) ----------------------------------------


class StatementKind(StrEnum):
    """What a signed statement is; the kind is part of what is signed."""

    MANIFEST = "manifest"
    ADDENDUM = "addendum"
    TENANT_KEY_SET = "tenant-key-set"
    KEY_STATEMENT = "key-statement"
    RUNNER_STATUS = "runner-status"
    OWNERSHIP = "ownership"
    RUNNER_CARD = "runner-card"
    DECISION = "decision"
    PERMIT = "permit"
    GRANT = "grant"
    RENEWAL = "lease-renewal"
    START = "start"
    RECEIPT = "receipt"


def payload_type(kind: StatementKind) -> str:
    """The DSSE payload type of a kind of statement."""
    return f"application/vnd.carnet.{kind.value}.v1+protobuf"


def pae(payload_type: str, payload: bytes) -> bytes:
    """The DSSE v1 pre-authentication encoding: what a signature is made over."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


# --- the scanner of signed messages -----------------------------------------------------------------------------


class WireType(IntEnum):
    """The protobuf wire types that a signed message may hold; groups are none of them."""

    VARINT = 0
    I64 = 1
    LEN = 2
    I32 = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldShape:
    """One field: its wire type, whether it may repeat, its message where it holds one, whether it is UTF-8 text.

    `value_max` bounds a varint: protobuf cuts a 32-bit field to its low bits in silence.
    """

    wire: WireType
    repeated: bool = False
    message: "MessageShape | None" = None
    text: bool = False
    value_max: int = varint_max


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageShape:
    """The fields that a message may have, by number."""

    fields: Mapping[int, FieldShape]


def scan(payload: bytes, shape: MessageShape) -> None:
    """Raise `EnvelopeMalformed` unless the bytes are one spelling of this message, with known fields only.

    Refused: an unknown field, a second field of one that does not repeat, another wire type, text that is not UTF-8, a
    varint that is longer than it must be or beyond its bound, bytes cut short or left over, nesting deeper than 8.
    """
    _scan(payload, shape, depth=1)


def _scan(payload: bytes, shape: MessageShape, *, depth: int) -> None:
    if depth > depth_max:
        raise EnvelopeMalformed(_MALFORMED)
    seen: set[int] = set()
    fields, offset, end = shape.fields, 0, len(payload)
    while offset < end:
        start = offset
        key, offset = _varint(payload, offset)
        number = key >> 3
        field = fields.get(number)
        if field is None or key & 7 != field.wire:
            raise EnvelopeMalformed(_MALFORMED)
        if not field.repeated:
            if number in seen:
                raise EnvelopeMalformed(_MALFORMED)
            seen.add(number)
        head = payload[start:offset]
        offset = _value(payload, offset, field, depth=depth)
        if field.repeated and field.text:
            offset = _short_texts(payload, offset, head)


def _short_texts(payload: bytes, offset: int, head: bytes) -> int:
    """Pass over the ASCII texts of less than 128 bytes that follow under the same key, in its very spelling.

    A manifest lists hundreds of jurisdictions. What is spelled otherwise is left to who reads every spelling.
    """
    at, end = offset + len(head), len(payload)
    while at < end and payload.startswith(head, offset):
        text = at + 1
        after = text + payload[at]
        if payload[at] >= 0x80 or after > end or not payload[text:after].isascii():
            break
        offset, at = after, after + len(head)
    return offset


def _value(payload: bytes, offset: int, field: FieldShape, *, depth: int) -> int:
    wire = field.wire
    if wire is WireType.VARINT:
        value, end = _varint(payload, offset)
        if value > field.value_max:
            raise EnvelopeMalformed(_MALFORMED)
        return end
    if wire is WireType.LEN:
        size, offset = _varint(payload, offset)
        end = offset + size
    else:
        end = offset + (8 if wire is WireType.I64 else 4)
    if end > len(payload):
        raise EnvelopeMalformed(_MALFORMED)
    if field.message is not None:
        _scan(payload[offset:end], field.message, depth=depth + 1)
    elif field.text:
        _check_text(payload[offset:end])
    return end


def _varint(payload: bytes, offset: int) -> tuple[int, int]:
    """The varint at an offset and where it ends; the shortest spelling of at most 64 bits."""
    if offset < len(payload) and payload[offset] < 0x80:
        return payload[offset], offset + 1
    value = 0
    for i, byte in enumerate(payload[offset : offset + 10]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if byte == 0 or value > varint_max:
                break
            return value, offset + i + 1
    raise EnvelopeMalformed(_MALFORMED)


def _check_text(data: bytes) -> None:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise EnvelopeMalformed(_MALFORMED) from error
