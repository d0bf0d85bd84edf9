"""Contexts, payload types and the scanner of signed messages."""

import re

import pytest

from carnet.core import encoding
from carnet.core.encoding import LABELS, FieldShape, MessageShape, StatementKind, WireType, ctx, pae, payload_type, scan
from carnet.core.errors import Bug, EnvelopeMalformed

INNER = MessageShape(fields={1: FieldShape(wire=WireType.VARINT)})
SHAPE = MessageShape(
    fields={
        1: FieldShape(wire=WireType.VARINT),
        2: FieldShape(wire=WireType.LEN, text=True),
        3: FieldShape(wire=WireType.LEN, repeated=True),
        4: FieldShape(wire=WireType.LEN, message=INNER),
        5: FieldShape(wire=WireType.I64),
        6: FieldShape(wire=WireType.I32),
        7: FieldShape(wire=WireType.VARINT, value_max=2**32 - 1),
    }
)


def test_a_context_is_prefix_label_nul_and_fields_with_their_lengths() -> None:
    assert ctx("object key", b"ab", b"") == b"carnet/1 object key\0\x00\x02ab\x00\x00"


@pytest.mark.parametrize("fields", [(), (b"",), (b"", b"", b"")])
def test_a_context_with_another_number_of_fields_is_a_bug(fields: tuple[bytes, ...]) -> None:
    with pytest.raises(Bug):
        ctx("object key", *fields)


def test_a_context_with_an_unknown_label_is_a_bug() -> None:
    with pytest.raises(Bug):
        ctx("object", b"")


def test_a_context_field_of_65535_bytes_fits_and_one_more_does_not() -> None:
    assert ctx("self", bytes(65_535)).startswith(b"carnet/1 self\0\xff\xff")
    with pytest.raises(EnvelopeMalformed):
        ctx("self", bytes(65_536))


def test_the_table_in_the_docstring_is_the_table_of_the_code() -> None:
    rows = re.findall(r"^\| ([a-z -]+) \| ([^|]+) \| [^|]+ \|$", encoding.__doc__ or "", re.MULTILINE)
    written = {label: len(fields.split(",")) for label, fields in rows if label != "label"}
    assert written == LABELS


def test_no_label_holds_a_nul() -> None:
    assert all("\0" not in label for label in LABELS)


def test_the_pae_is_that_of_dsse() -> None:
    # The example of the DSSE protocol document.
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_every_kind_has_a_payload_type_of_its_own() -> None:
    types = {payload_type(kind) for kind in StatementKind}
    assert len(types) == len(StatementKind) == 13
    assert payload_type(StatementKind.RENEWAL) == "application/vnd.carnet.lease-renewal.v1+protobuf"


GOOD = {
    "nothing": "",
    "varint": "0801",
    "greatest varint": "08ffffffffffffffffff01",
    "negative 32-bit number": "08ffffffff0f",
    "text": "1202c3a9",
    "repeated": "1a0161 1a00",
    "message": "22020801",
    "empty message": "2200",
    "fixed 64": "290000000000000000",
    "fixed 32": "3500000000",
    "fields in another order": "120161 0801",
    "greatest bounded varint": "38ffffffff0f",
}

BAD = {
    "unknown field": "4001",
    "unknown field in a message": "22021001",
    "second field of one that does not repeat": "0801 0801",
    "second message of one that does not repeat": "2200 2200",
    "wrong wire type": "0a0161",
    "group": "0b0c",
    "wire type 7": "0f",
    "field number 0": "0001",
    "key cut short": "88",
    "key longer than it must be": "880001",
    "value missing": "08",
    "value longer than it must be": "088100",
    "zero longer than it must be": "088000",
    "value beyond 64 bits": "08ffffffffffffffffff02",
    "value of 11 bytes": "08ffffffffffffffffffff01",
    "32-bit value beyond 32 bits": "388080808010",
    "length cut short": "1280",
    "length longer than it must be": "12810061",
    "length beyond the end": "120261",
    "length of 2^63": "12ffffffffffffffff7f61",
    "message cut short": "22020880 01",
    "text not UTF-8": "1201ff",
    "text with an encoded surrogate": "1203eda080",
    "fixed 64 cut short": "2900000000000000",
    "fixed 32 cut short": "35000000",
    "left over": "0801 08",
    "packed numbers where one is expected": "0a020102",
}


@pytest.mark.parametrize("name", GOOD)
def test_the_scanner_passes(name: str) -> None:
    scan(bytes.fromhex(GOOD[name]), SHAPE)


@pytest.mark.parametrize("name", BAD)
def test_the_scanner_refuses(name: str) -> None:
    with pytest.raises(EnvelopeMalformed):
        scan(bytes.fromhex(BAD[name]), SHAPE)


def nested(depth: int) -> tuple[bytes, MessageShape]:
    payload, shape = b"", MessageShape(fields={})
    for _ in range(depth - 1):
        payload = b"\x0a" + bytes([len(payload)]) + payload
        shape = MessageShape(fields={1: FieldShape(wire=WireType.LEN, message=shape)})
    return payload, shape


def test_messages_nest_to_the_bound_and_no_deeper() -> None:
    scan(*nested(encoding.depth_max))
    with pytest.raises(EnvelopeMalformed):
        scan(*nested(encoding.depth_max + 1))
