"""The scanner and the labels at their very bounds."""

import pytest

from carnet.core.encoding import FieldShape, MessageShape, StatementKind, WireType, ctx, payload_type, scan
from carnet.core.errors import EnvelopeMalformed

KINDS = (
    "manifest addendum tenant-key-set key-statement runner-status ownership runner-card decision permit grant "
    "lease-renewal start receipt"
)
FLAT = MessageShape(
    fields={
        1: FieldShape(wire=WireType.VARINT),
        2: FieldShape(wire=WireType.LEN),
        3: FieldShape(wire=WireType.LEN, text=True),
    }
)


def nested(depth: int) -> tuple[bytes, MessageShape]:
    """An empty message inside so many others, and its shape."""
    payload, shape = b"", MessageShape(fields={})
    for _ in range(depth - 1):
        payload = b"\x0a" + bytes([len(payload)]) + payload
        shape = MessageShape(fields={1: FieldShape(wire=WireType.LEN, message=shape)})
    return payload, shape


def test_the_kinds_of_statements_are_signed_under_these_words() -> None:
    assert [kind.value for kind in StatementKind] == KINDS.split()
    assert payload_type(StatementKind.GRANT) == "application/vnd.carnet.grant.v1+protobuf"


def test_eight_messages_may_lie_in_each_other_and_nine_may_not() -> None:
    scan(*nested(8))
    with pytest.raises(EnvelopeMalformed, match=r"^The bytes are not the message that they should be\.$"):
        scan(*nested(9))


def test_one_field_that_is_too_large_spoils_a_context() -> None:
    with pytest.raises(EnvelopeMalformed):
        ctx("object key", b"", bytes(65_536))


def test_bytes_need_not_be_text_and_text_must() -> None:
    scan(b"\x12\x01\xff", FLAT)
    with pytest.raises(EnvelopeMalformed):
        scan(b"\x1a\x01\xff", FLAT)


@pytest.mark.parametrize("value", [b"\x7f", b"\x80\x01", b"\x80\x7f", b"\xff" * 9 + b"\x01"])
def test_the_shortest_spelling_of_a_number_is_taken(value: bytes) -> None:
    scan(b"\x08" + value, FLAT)


@pytest.mark.parametrize("value", [b"", b"\x80", b"\x80\x00", b"\xff" * 9 + b"\x02", b"\xff" * 10 + b"\x01"])
def test_any_other_spelling_and_what_is_beyond_64_bits_is_refused(value: bytes) -> None:
    with pytest.raises(EnvelopeMalformed):
        scan(b"\x08" + value, FLAT)
