"""What fuzzers send: messages of any content that protobuf can write, and honest bytes with something done to them."""

from collections.abc import Callable
from dataclasses import dataclass
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


Change = Callable[[bytearray, int, bytes], None]


@dataclass(frozen=True)
class Recipe:
    """What is done to honest bytes, whatever they are: they may be made only after the recipe was drawn."""

    steps: tuple[tuple[Change, int, bytes], ...]

    def __call__(self, honest: bytes) -> bytes:
        """The bytes, changed. Never the honest ones themselves."""
        data = bytearray(honest)
        for change, place, extra in self.steps:
            # Not bounded by the size of the data: signatures differ in size from run to run, and draws must not.
            change(data, place % max(1, len(data)), extra)
        return bytes(data) if bytes(data) != honest else honest + b"\x00"


def recipes() -> st.SearchStrategy[Recipe]:
    """One to three changes: flipped, cut, repeated, filled in."""
    step = st.tuples(st.sampled_from(CHANGES), st.integers(0, 2**20 - 1), st.binary(min_size=3, max_size=8))
    return st.lists(step, min_size=1, max_size=3).map(tuple).map(Recipe)


def mutated(honest: bytes) -> st.SearchStrategy[bytes]:
    """Honest bytes that were changed."""
    return recipes().map(lambda recipe: recipe(honest))


def flip(data: bytearray, place: int, extra: bytes) -> None:
    """One bit."""
    if data:
        data[place] ^= 1 << (extra[0] & 7)


def cut(data: bytearray, place: int, extra: bytes) -> None:
    """The end goes."""
    del data[place:]


def double(data: bytearray, place: int, extra: bytes) -> None:
    """A stretch, or all of it, comes twice."""
    data += data[place if extra[0] & 1 else 0 :]


def insert(data: bytearray, place: int, extra: bytes) -> None:
    """Something comes in between."""
    data[place:place] = extra


def unknown(data: bytearray, place: int, extra: bytes) -> None:
    """A field that nobody knows."""
    data += b"\xfa\x3e" + bytes([3]) + extra[:3]


CHANGES: tuple[Change, ...] = (flip, cut, double, insert, unknown)
