"""Protobuf <-> core: how a statement becomes bytes, and how bytes become a statement again.

- A core dataclass and its message have the same field names; `to_message` and `from_message` follow the types of the
  dataclass, so that there is one translation for all of them. Enum members are named alike; 0 and unknown are refused.
- A `Codec` belongs to one kind of statement. `sign` serialises once and signs those very bytes; `open` verifies the
  bytes it received, refuses unknown and repeated fields, and only then parses them.
- Nothing here re-serialises what was signed: a value carries the bytes it came from.
- Any bytes parse, or raise one of `SignatureInvalid`, `EnvelopeMalformed`, `StatementInvalid`.

    manifest, signed = statements.MANIFEST.sign(manifest, signer)
    manifest = statements.MANIFEST.open(signed, key)
"""

import dataclasses
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, partial
from typing import Any, Final, Generic, Protocol, TypeVar, cast, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from carnet.core import limits
from carnet.core.encoding import FieldShape, MessageShape, StatementKind, WireType, scan
from carnet.core.errors import EnvelopeMalformed, FieldInvalid, StatementInvalid
from carnet.core.statement import Signed, Signer, VerifyingKey
from carnet.v1 import audit_pb2, statements_pb2


class Statement(Protocol):
    """A core dataclass that was parsed from signed bytes, or becomes them."""

    @property
    def payload(self) -> bytes:
        """The bytes that are signed."""
        ...


T = TypeVar("T", bound=Statement)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec(Generic[T]):
    """One kind of statement: the core class and the message that stand for each other."""

    kind: StatementKind
    value: type[T]
    message: type[Message]
    bytes_max: int = limits.statement_bytes_max

    def sign(self, value: T, signer: Signer) -> tuple[T, Signed]:
        """The value with its bytes, and the signature over them."""
        payload = to_message(value, self.message()).SerializeToString(deterministic=True)
        return _with_payload(value, payload), signer.sign(self.kind, payload)

    def open(self, signed: Signed, key: VerifyingKey) -> T:
        """Verify, then parse. Raises `SignatureInvalid`, `EnvelopeMalformed` or `StatementInvalid`."""
        return self.parse(key.verify(signed, self.kind))

    def parse(self, payload: bytes) -> T:
        """Parse bytes whose signature was verified before."""
        if not 0 < len(payload) <= self.bytes_max:
            raise EnvelopeMalformed("A statement is empty or too large.")
        scan(payload, shape_of(self.message.DESCRIPTOR))
        message = self.message()
        try:
            message.ParseFromString(payload)
            return from_message(message, self.value, payload=payload)
        except DecodeError as error:
            raise EnvelopeMalformed("A statement is not the message that it should be.") from error
        except FieldInvalid as error:
            raise StatementInvalid(error.text, metadata=error.metadata) from error


def _with_payload(value: T, payload: bytes) -> T:
    return dataclasses.replace(value, payload=payload)  # type: ignore[type-var]  # every statement is a dataclass


# --- messages and dataclasses ------------------------------------------------------------------------------------

M = TypeVar("M", bound=Message)
V = TypeVar("V")


def to_message(value: object, message: M) -> M:
    """Fill a message from the dataclass of the same field names; `payload` is not a field of the message."""
    kinds: Any = type(value)
    for name, kind in _fields(kinds):
        found = getattr(value, name)
        if get_origin(kind) is tuple:
            _extend(message, name, found)
        elif dataclasses.is_dataclass(kind):
            to_message(found, getattr(message, name)).SetInParent()
        else:
            setattr(message, name, _number(message, name, found) if isinstance(found, StrEnum) else found)
    return message


def from_message(message: Message, value: type[V], **extra: bytes) -> V:
    """The dataclass of a message. Raises what its construction raises, and `StatementInvalid` for an unknown enum."""
    kinds: Any = value
    found: dict[str, Any] = {name: read(getattr(message, name)) for name, read in _readers(kinds, message.DESCRIPTOR)}
    return value(**extra, **found)


def _extend(message: Message, name: str, items: tuple[object, ...]) -> None:
    repeated = getattr(message, name)
    for item in items:
        if dataclasses.is_dataclass(item):
            to_message(item, repeated.add())
        else:
            repeated.append(item)


@cache
def _readers(value: Hashable, descriptor: Descriptor) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """How each field of a dataclass is made from the field of the message, settled once for each pair of them."""
    return tuple((name, _reader(kind, descriptor.fields_by_name[name])) for name, kind in _fields(value))


def _reader(kind: Any, field: FieldDescriptor) -> Callable[[Any], Any]:
    if get_origin(kind) is tuple:
        item = _part(get_args(kind)[0])
        return tuple if item is _same else lambda parts: tuple(map(item, parts))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return partial(_member, cast(EnumDescriptor, field.enum_type), kind=kind)
    return _part(kind)


def _part(kind: Any) -> Callable[[Any], Any]:
    return partial(from_message, value=kind) if isinstance(kind, type) and dataclasses.is_dataclass(kind) else _same


def _same(part: Any) -> Any:
    return part


def _number(message: Message, name: str, member: StrEnum) -> int:
    enum = _enum(message, name)
    return int(enum.values_by_name[_prefix(enum) + member.name].number)


def _member(enum: EnumDescriptor, number: int, kind: type[StrEnum]) -> StrEnum:
    value = enum.values_by_number.get(number)
    if value is None or number == 0:
        raise StatementInvalid("An enum has an unknown value.")
    return kind[value.name.removeprefix(_prefix(enum))]


def _enum(message: Message, name: str) -> EnumDescriptor:
    return cast(EnumDescriptor, message.DESCRIPTOR.fields_by_name[name].enum_type)


@cache
def _prefix(enum: EnumDescriptor) -> str:
    return str(enum.values_by_number[0].name).removesuffix("UNSPECIFIED")


@cache
def _fields(value: Hashable) -> tuple[tuple[str, Any], ...]:
    assert isinstance(value, type)
    hints = get_type_hints(value)
    return tuple((f.name, hints[f.name]) for f in dataclasses.fields(value) if f.name != "payload")


# --- signed statements, outside of a message ---------------------------------------------------------------------


def signed_to_proto(signed: Signed) -> statements_pb2.SignedStatement:
    """A signed statement as its message."""
    return statements_pb2.SignedStatement(payload=signed.payload, signature=signed.signature, keyid=signed.keyid)


def signed_from_proto(message: statements_pb2.SignedStatement) -> Signed:
    """A signed statement from its message; nothing is verified yet."""
    return Signed(payload=message.payload, signature=message.signature, keyid=message.keyid)


def signed_to_bytes(signed: Signed) -> bytes:
    """The form in which a signed statement is kept in files and rows."""
    return signed_to_proto(signed).SerializeToString(deterministic=True)


def signed_from_bytes(data: bytes) -> Signed:
    """Read what `signed_to_bytes` wrote. Raises `EnvelopeMalformed` on any other bytes."""
    scan(data, shape_of(statements_pb2.SignedStatement.DESCRIPTOR))
    return signed_from_proto(statements_pb2.SignedStatement.FromString(data))


# --- entries of the audit log ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditDigest:
    """A named digest that an entry commits to."""

    name: str
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One leaf of the audit log: what happened, when, to which job, and the digests that it commits to."""

    kind: str
    time_ns: int
    tenant_id: bytes = b""
    job_id: bytes = b""
    digests: tuple[AuditDigest, ...] = ()

    def to_bytes(self) -> bytes:
        """The leaf's bytes."""
        return to_message(self, statements_pb2.AuditEntry()).SerializeToString(deterministic=True)

    def digest(self, name: str) -> bytes:
        """The digest of this name. Raises `StatementInvalid` where the entry does not commit to one."""
        for found in self.digests:
            if found.name == name:
                return found.digest
        raise StatementInvalid(f"The log entry commits to no {name}.")


def audit_entry(kind: str, *, time_ns: int, tenant_id: bytes, job_id: bytes, **digests: bytes) -> AuditEntry:
    """An entry that commits to the named digests."""
    named = tuple(AuditDigest(name=name, digest=digest) for name, digest in sorted(digests.items()))
    return AuditEntry(kind=kind, time_ns=time_ns, tenant_id=tenant_id, job_id=job_id, digests=named)


def parse_entry(data: bytes) -> AuditEntry:
    """Read a leaf. Raises `EnvelopeMalformed` on any bytes that are not one."""
    scan(data, shape_of(statements_pb2.AuditEntry.DESCRIPTOR))
    return from_message(statements_pb2.AuditEntry.FromString(data), AuditEntry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """An entry of the log with the path to the root that a checkpoint signs."""

    entry: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: str


def logged_to_proto(logged: Logged) -> audit_pb2.LoggedEntry:
    """A logged entry as its message."""
    return to_message(logged, audit_pb2.LoggedEntry())


def logged_from_proto(message: audit_pb2.LoggedEntry) -> Logged:
    """A logged entry from its message; nothing is verified yet."""
    return from_message(message, Logged)


# --- what the scanner of core may meet ---------------------------------------------------------------------------

# protobuf silently cuts what does not fit a field: 2**32 + 1 would become attempt 1.
_VALUE_MAX: Final = {
    FieldDescriptor.TYPE_BOOL: 1,
    FieldDescriptor.TYPE_UINT32: 2**32 - 1,
    FieldDescriptor.TYPE_SINT32: 2**32 - 1,
}
_LENGTH: Final = frozenset({FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE})


@cache
def shape_of(descriptor: Descriptor) -> MessageShape:
    """The fields that a message may have on the wire; signed messages have integers and length-delimited ones only."""
    return MessageShape(fields={field.number: _field_shape(field) for field in descriptor.fields})


def _field_shape(field: FieldDescriptor) -> FieldShape:
    return FieldShape(
        wire=WireType.LEN if field.type in _LENGTH else WireType.VARINT,
        repeated=field.is_repeated,
        message=shape_of(field.message_type) if field.message_type is not None else None,
        text=field.type == FieldDescriptor.TYPE_STRING,
        value_max=_VALUE_MAX.get(field.type, 2**64 - 1),
    )
