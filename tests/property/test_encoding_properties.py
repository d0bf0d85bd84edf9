"""Contexts are injective; the scanner passes one spelling of a message, or raises its one error, on any bytes."""

from itertools import pairwise

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.core.encoding import LABELS, FieldShape, MessageShape, StatementKind, WireType, ctx, pae, payload_type, scan
from carnet.core.errors import EnvelopeMalformed
from carnet.v1 import statements_pb2 as pb
from carnet.wire import shape_of

MESSAGES: list[type[Message]] = [pb.Manifest, pb.Addendum, pb.RunnerCard, pb.Permit, pb.Receipt, pb.SignedStatement]
relaxed = settings(deadline=None, max_examples=3 * settings().max_examples)


@st.composite
def contexts(draw: st.DrawFn) -> tuple[str, tuple[bytes, ...]]:
    label = draw(st.sampled_from(sorted(LABELS)))
    count = LABELS[label]
    return label, tuple(draw(st.lists(st.binary(max_size=12), min_size=count, max_size=count)))


@relaxed
@given(contexts(), contexts())
def test_two_contexts_are_equal_only_where_label_and_fields_are(
    one: tuple[str, tuple[bytes, ...]], other: tuple[str, tuple[bytes, ...]]
) -> None:
    assert (ctx(one[0], *one[1]) == ctx(other[0], *other[1])) == (one == other)


@relaxed
@given(contexts(), st.data())
def test_bytes_moved_over_the_border_of_two_fields_change_the_context(
    one: tuple[str, tuple[bytes, ...]], data: st.DataObject
) -> None:
    label, given_fields = one
    joined = b"".join(given_fields)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(joined)), min_size=len(given_fields) - 1, max_size=5)))
    cuts = [0, *cuts[: len(given_fields) - 1], len(joined)]
    moved = tuple(joined[start:end] for start, end in pairwise(cuts))
    assert (ctx(label, *moved) == ctx(label, *given_fields)) == (moved == given_fields)


@relaxed
@given(st.sampled_from(StatementKind), st.sampled_from(StatementKind), st.binary(max_size=80), st.binary(max_size=80))
def test_what_is_signed_names_kind_and_payload_without_doubt(
    kind: StatementKind, other_kind: StatementKind, payload: bytes, other: bytes
) -> None:
    same = pae(payload_type(kind), payload) == pae(payload_type(other_kind), other)
    assert same == ((kind, payload) == (other_kind, other))


def passes(payload: bytes, shape: MessageShape) -> bool:
    try:
        scan(payload, shape)
    except EnvelopeMalformed:
        return False
    return True


@relaxed
@given(st.sampled_from(MESSAGES), st.binary(max_size=200))
def test_any_bytes_pass_or_raise_the_one_error_and_what_passes_parses(kind: type[Message], payload: bytes) -> None:
    if passes(payload, shape_of(kind.DESCRIPTOR)):
        assert no_unknown(kind.FromString(payload))


def no_unknown(message: Message) -> bool:
    """Nothing is lost when the message is written again: protobuf keeps what it does not know."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return known.SerializeToString(deterministic=True) == message.SerializeToString(deterministic=True)


recipients = st.builds(
    pb.Recipient,
    spiffe_id=st.text(max_size=20),
    jurisdiction=st.sampled_from(["FR", "UA-43"]),
    kid=st.binary(max_size=32),
)
objects = st.builds(
    pb.SealedObject,
    id=st.integers(0, 2**32 - 1),
    size=st.integers(0, 2**64 - 1),
    segment_digests=st.lists(st.binary(max_size=32), max_size=3),
)
manifests = st.builds(
    pb.Manifest,
    version=st.integers(0, 2**32 - 1),
    job_id=st.binary(max_size=16),
    created_ns=st.integers(0, 2**64 - 1),
    image=st.text(max_size=30),
    command=st.lists(st.text(max_size=5), max_size=3),
    recipients=st.lists(recipients, max_size=3),
    objects=st.lists(objects, max_size=3),
    root_commit=st.binary(max_size=32),
    resources=st.builds(pb.Resources, cpu_millis=st.integers(0, 2**32 - 1)),
)
SHAPE = shape_of(pb.Manifest.DESCRIPTOR)


@relaxed
@given(manifests)
def test_what_protobuf_writes_passes(manifest: pb.Manifest) -> None:
    scan(manifest.SerializeToString(deterministic=True), SHAPE)


@relaxed
@given(manifests, st.data())
def test_a_changed_message_passes_only_where_protobuf_reads_all_of_it(
    manifest: pb.Manifest, data: st.DataObject
) -> None:
    payload = bytearray(manifest.SerializeToString(deterministic=True))
    start = data.draw(st.integers(0, len(payload)))
    payload[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    if passes(bytes(payload), SHAPE):
        assert no_unknown(pb.Manifest.FromString(bytes(payload)))


@relaxed
@given(manifests, st.integers(24, 2**29 - 1), st.binary(max_size=10))
def test_an_unknown_field_is_refused_wherever_protobuf_would_skip_it(
    manifest: pb.Manifest, number: int, value: bytes
) -> None:
    payload = manifest.SerializeToString(deterministic=True)
    extra = varint(number << 3 | WireType.LEN) + varint(len(value)) + value
    assert pb.Manifest.FromString(payload + extra).job_id == manifest.job_id
    for smuggled in (payload + extra, extra + payload):
        with pytest.raises(EnvelopeMalformed):
            scan(smuggled, SHAPE)


@relaxed
@given(st.binary(min_size=1, max_size=16), st.binary(min_size=1, max_size=16))
def test_a_second_job_id_is_refused_though_protobuf_would_take_it(first: bytes, second: bytes) -> None:
    doubled = pb.Manifest(job_id=first).SerializeToString() + pb.Manifest(job_id=second).SerializeToString()
    assert pb.Manifest.FromString(doubled).job_id == second
    with pytest.raises(EnvelopeMalformed):
        scan(doubled, SHAPE)


ONE = MessageShape(fields={1: FieldShape(wire=WireType.VARINT)})


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@relaxed
@given(st.integers(0, 2**64 - 1), st.integers(1, 4))
def test_a_varint_has_one_spelling(value: int, padding: int) -> None:
    scan(b"\x08" + varint(value), ONE)
    longer = bytearray(varint(value))
    longer[-1] |= 0x80
    longer += b"\x80" * (padding - 1) + b"\x00"
    assert not passes(b"\x08" + bytes(longer), ONE)


@relaxed
@given(st.integers(2**64, 2**70))
def test_a_varint_beyond_64_bits_is_refused(value: int) -> None:
    assert not passes(b"\x08" + varint(value), ONE)
