"""What fuzzers send: messages of any content that protobuf can write, and honest bytes with something done to them."""

from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

_BITS = {
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_ENUM: (-(2**31), 2**31 - 1),
}
_SIZES = st.sampled_from([0, 1, 8, 16, 31, 32, 33, 64, 1168, 1216])
_WORDS = (
    "",
    "FR",
    "spiffe://gpu-fr.example/j/FR/runner/6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d",
    "6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d",
    "tenants/" + "0a" * 16 + "/jobs/" + "0b" * 16,
    "\0\x1b\r\n",
    "\u202e" * 300,
)


def messages(kind: type[M], *, depth: int = 4) -> st.SearchStrategy[M]:
    """Any message of this kind: every field may be there, with values at the edges of what it can hold."""
    fields = {field.name: _field(field, depth) for field in kind.DESCRIPTOR.fields}
    return st.fixed_dictionaries({}, optional=fields).map(lambda found: kind(**found))


def _field(field: Any, depth: int) -> "st.SearchStrategy[object]":
    if field.is_repeated:
        return st.lists(_single(field, depth), max_size=3)
    return _single(field, depth)


def _single(field: Any, depth: int) -> "st.SearchStrategy[object]":
    if field.message_type is not None:
        made = GetMessageClass(field.message_type)
        return messages(made, depth=depth - 1) if depth else st.just(made())
    if field.type in _BITS:
        low, high = _BITS[field.type]
        return st.integers(low, high) | st.sampled_from([0, 1, 2, high])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return st.booleans()
    if field.type == FieldDescriptor.TYPE_STRING:
        return st.sampled_from(_WORDS) | st.text(st.characters(codec="utf-8"), max_size=40)
    return _SIZES.map(bytes) | st.binary(max_size=64)


@st.composite
def mutated(draw: st.DrawFn, honest: bytes) -> bytes:
    """Honest bytes that were changed: flipped, cut, repeated, filled in. Never the honest bytes themselves."""
    data = bytearray(honest)
    for change in draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=3)):
        change(draw, data)
    if bytes(data) == honest:
        data += b"\x00"
    return bytes(data)


def _place(draw: st.DrawFn, data: bytearray) -> int:
    # Not bounded by the size of the data: signatures differ in size from run to run, and draws must not.
    return draw(st.integers(0, 2**20 - 1)) % max(1, len(data))


def flip(draw: st.DrawFn, data: bytearray) -> None:
    """One bit."""
    place, bit = _place(draw, data), draw(st.integers(0, 7))
    if data:
        data[place] ^= 1 << bit


def cut(draw: st.DrawFn, data: bytearray) -> None:
    """The end goes."""
    del data[_place(draw, data) :]


def double(draw: st.DrawFn, data: bytearray) -> None:
    """A stretch, or all of it, comes twice."""
    start = 0 if draw(st.booleans()) else _place(draw, data)
    data += data[start:]


def insert(draw: st.DrawFn, data: bytearray) -> None:
    """Something comes in between."""
    start = _place(draw, data)
    data[start:start] = draw(st.binary(min_size=1, max_size=8))


def unknown(draw: st.DrawFn, data: bytearray) -> None:
    """A field that nobody knows."""
    data += b"\xfa\x3e" + bytes([3]) + draw(st.binary(min_size=3, max_size=3))


CHANGES: tuple[Callable[[st.DrawFn, bytearray], None], ...] = (flip, cut, double, insert, unknown)
