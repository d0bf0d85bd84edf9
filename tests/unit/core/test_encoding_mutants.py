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


LISTS = MessageShape(
    fields={
        3: FieldShape(wire=WireType.LEN, text=True, repeated=True),
        4: FieldShape(wire=WireType.LEN, repeated=True),
        20: FieldShape(wire=WireType.LEN, text=True, repeated=True),
        21: FieldShape(wire=WireType.LEN, text=True),
    }
)
WIDE = b"\xa2\x01"  # the key of field 20, of two bytes


@pytest.mark.parametrize("key", [b"\x1a", WIDE])
@pytest.mark.parametrize(
    "texts",
    [
        (b"DE", b"FR", b"FR-IDF"),
        (b"", b"", b""),
        ("é".encode(), b"FR", "é".encode(), b"FR"),
        (b"a" * 127, b"a" * 127, b"b"),
        (b"a" * 127, b"a" * 128, b"a" * 300, b"b"),
    ],
)
def test_a_list_of_texts_is_read_whatever_their_length_and_script(key: bytes, texts: tuple[bytes, ...]) -> None:
    def spelled(text: bytes) -> bytes:
        size = bytes([len(text)]) if len(text) < 128 else bytes([len(text) & 0x7F | 0x80, len(text) >> 7])
        return key + size + text

    payload = b"".join(map(spelled, texts))
    scan(payload, LISTS)
    for cut in (1, 2):
        with pytest.raises(EnvelopeMalformed):
            scan(payload[:-cut], LISTS) if len(texts[-1]) >= cut else scan(payload + key, LISTS)


@pytest.mark.parametrize(
    "after",
    [
        b"\x1a",  # a key without a length
        b"\x1a\x02F",  # cut short
        b"\x1a\x01\xff",  # not text
        b"\x1a\x01F\x1a\x01\xff",
        b"\x1a\x81\x00F",  # a length that is longer than it must be
        b"\x1b\x02FR",  # another wire type
        b"\x9a\x00\x02FR",  # the same key, spelled longer than it must be
        b"\xa2\x81\x00\x02FR",
        b"\xaa\x01\x00\xaa\x01\x00",  # one that does not repeat, twice
    ],
)
@pytest.mark.parametrize("before", [b"\x1a\x02DE\x1a\x02FR", WIDE + b"\x02DE" + WIDE + b"\x02FR"])
def test_attack_what_follows_a_list_of_texts_is_read_as_strictly(before: bytes, after: bytes) -> None:
    scan(before, LISTS)
    with pytest.raises(EnvelopeMalformed):
        scan(before + after, LISTS)


def test_a_list_of_bytes_is_not_taken_for_texts_nor_texts_for_bytes() -> None:
    scan(b"\x22\x01\xff\x22\x01\xff\x1a\x01a\x22\x01\xff\x1a\x01b", LISTS)
    with pytest.raises(EnvelopeMalformed):
        scan(b"\x1a\x01a\x22\x01\xff\x1a\x01\xff", LISTS)


def test_attack_a_list_of_messages_is_not_passed_over_as_if_it_were_text() -> None:
    item = MessageShape(fields={1: FieldShape(wire=WireType.VARINT)})
    shape = MessageShape(fields={1: FieldShape(wire=WireType.LEN, repeated=True, message=item)})
    good, ascii_only = b"\x0a\x02\x08\x01", b"\x0a\x02AB"
    scan(good + good, shape)
    with pytest.raises(EnvelopeMalformed):
        scan(good + ascii_only, shape)
