"""Strict JSON: bytes in, typed fields out, one error.

- UTF-8, at most the stated size, an object at the top; duplicate keys, NUL, floats, NaN, integers beyond 64 bits and
  nesting deeper than `depth_max` are refused before anything is looked at.
- Every field is read once, by name and type; `close` refuses the fields that nobody read.
- An error names the field by its path (`data.classes[0]`), never its value; only what is no JSON has none.

    document = parse(data, bytes_max=limits.facts_bytes_max)
    purpose = document.text("purpose", choices={"training", "inference"})
    document.close()
"""

import json
import re
from collections.abc import Collection, Iterable
from typing import Final, NoReturn

from carnet.core.errors import FieldInvalid

depth_max: Final = 16
path_max: Final = 200
integer_max: Final = 2**63 - 1

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_KINDS: Final = {str: "text", int: "integer", bool: "flag", list: "list", dict: "object", type(None): "null"}

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


class Document:
    """One JSON object whose fields are taken out by name. Raises `FieldInvalid` with the path in `metadata`."""

    def __init__(self, fields: dict[str, Json], path: str = "") -> None:
        self._fields = dict(fields)
        self._path = path

    def has(self, name: str) -> bool:
        """Whether the field is there (and not yet taken)."""
        return name in self._fields

    def text(self, name: str, *, bytes_max: int = 256, choices: Collection[str] | None = None) -> str:
        """A non-empty string, at most `bytes_max` UTF-8 bytes, one of `choices` where they are given."""
        return self._text(self._take(name), self.path(name), bytes_max, choices)

    def integer(self, name: str, *, low: int = 0, high: int = integer_max) -> int:
        """An integer in [low, high]."""
        value = self._take(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.refuse(name, f"must be an integer from {low} to {high}")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self._take(name)
        if not isinstance(value, bool):
            self.refuse(name, "must be true or false")
        return value

    def texts(
        self, name: str, *, items_max: int = 256, bytes_max: int = 256, choices: Collection[str] | None = None
    ) -> tuple[str, ...]:
        """A list of distinct strings, in the order given."""
        values = self._list(name, items_max)
        found = tuple(self._text(v, f"{self.path(name)}[{i}]", bytes_max, choices) for i, v in enumerate(values))
        if len(set(found)) != len(found):
            self.refuse(name, "must not repeat an entry")
        return found

    def strings(self, name: str, *, items_max: int = 256, bytes_max: int = 256) -> tuple[str, ...]:
        """A list of strings that may repeat and may be empty, in the order given."""
        values = self._list(name, items_max)
        for i, value in enumerate(values):
            if not isinstance(value, str) or len(value.encode()) > bytes_max:
                self.refuse(f"{name}[{i}]", f"must be a string of at most {bytes_max} bytes")
        return tuple(str(value) for value in values)

    def document(self, name: str) -> "Document":
        """A nested object."""
        value = self._take(name)
        if not isinstance(value, dict):
            self.refuse(name, "must be an object")
        return Document(value, self.path(name))

    def documents(self, name: str, *, items_max: int = 256) -> "tuple[Document, ...]":
        """A list of objects."""
        found = []
        for i, value in enumerate(self._list(name, items_max)):
            if not isinstance(value, dict):
                self.refuse(f"{name}[{i}]", "must be an object")
            found.append(Document(value, f"{self.path(name)}[{i}]"))
        return tuple(found)

    def names(self) -> tuple[str, ...]:
        """The names of the fields that are left, for objects whose keys are data."""
        return tuple(self._fields)

    def kind(self, name: str) -> str:
        """What a field holds, without taking it: text, integer, flag, list, object or null."""
        return _KINDS[type(self._fields.get(name))]

    def null(self, name: str) -> bool:
        """Whether the field is null. It is taken then, and left where it is anything else."""
        if name not in self._fields or self._fields[name] is not None:
            return False
        del self._fields[name]
        return True

    def close(self) -> None:
        """Refuse the fields that nobody read."""
        if self._fields:
            self.refuse(sorted(self._fields)[0], "is not a known field")

    def path(self, name: str) -> str:
        """The path of a field from the top of the document."""
        return f"{self._path}.{name}" if self._path else name

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise the error for this field."""
        refuse(self.path(name), why)

    def _take(self, name: str) -> Json:
        if name not in self._fields:
            self.refuse(name, "is missing")
        return self._fields.pop(name)

    def _list(self, name: str, items_max: int) -> list[Json]:
        value = self._take(name)
        if not isinstance(value, list) or len(value) > items_max:
            self.refuse(name, f"must be a list of at most {items_max} entries")
        return value

    def _text(self, value: Json, path: str, bytes_max: int, choices: Collection[str] | None) -> str:
        if not isinstance(value, str) or not value or len(value.encode()) > bytes_max:
            refuse(path, f"must be a string of 1 to {bytes_max} bytes")
        if choices is not None and value not in choices:
            refuse(path, "must be one of " + ", ".join(sorted(choices)))
        return value


def refuse(path: str, why: str) -> NoReturn:
    """Raise `FieldInvalid` for a path. Unknown names are the sender's: a long one is cut, and control letters go."""
    path = "".join(letter if letter.isprintable() else "?" for letter in path)
    path = path if len(path) <= path_max else path[:path_max] + "..."
    raise FieldInvalid(f"{path or 'document'} {why}", metadata={"field": path or "document"})


def parse(data: bytes, *, bytes_max: int) -> Document:
    """Parse one JSON object from its bytes. Raises `FieldInvalid`, and nothing else, on any bytes."""
    if len(data) > bytes_max:
        refuse("", f"must be at most {bytes_max} bytes")
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_pairs,
            parse_float=_no_float,
            parse_int=_integer,
            parse_constant=_no_float,
        )
    except (ValueError, RecursionError) as error:
        raise FieldInvalid("document is not UTF-8 JSON", metadata={"field": "document"}) from error
    if not isinstance(value, dict):
        refuse("", "must be an object")
    found = _fault(value, depth=0)
    if found is not None:
        refuse(found[0].removeprefix("."), found[1])
    return Document(value)


def canonical(value: Json) -> bytes:
    """The one byte form that Carnet gives a JSON value: sorted keys, no white space, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class _Unfit:
    """In the place of a value that can not be taken, until its path is known."""

    __slots__ = ("why",)

    def __init__(self, why: str) -> None:
        self.why = why


_FLOAT: Final = _Unfit("must hold integers only")
_BEYOND: Final = _Unfit("holds an integer beyond 64 bits")
_REPEATED: Final = _Unfit("repeats a field")
_TEXT: Final = "holds a NUL or a lone surrogate"


def _pairs(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        found[name] = _REPEATED if name in found else value
    return found


def _no_float(_: str) -> _Unfit:
    return _FLOAT


def _integer(digits: str) -> int | _Unfit:
    if len(digits) > 20 or not -integer_max <= int(digits) <= integer_max:
        return _BEYOND
    return int(digits)


def _fault(value: object, *, depth: int) -> tuple[str, str] | None:
    """The first thing that can not be taken: its path, as it is prefixed on the way up, and what is wrong with it."""
    if isinstance(value, _Unfit):
        return "", value.why
    if depth > depth_max:
        return "", f"is nested deeper than {depth_max}"
    if isinstance(value, str):
        return ("", _TEXT) if _is_foul(value) else None
    if isinstance(value, list):
        for i, item in enumerate(value):
            if found := _fault(item, depth=depth + 1):
                return f"[{i}]{found[0]}", found[1]
    elif isinstance(value, dict):
        for name, item in value.items():
            if _is_foul(name):
                return f".{name}", _TEXT
            if found := _fault(item, depth=depth + 1):
                return f".{name}{found[0]}", found[1]
    return None


def _is_foul(value: str) -> bool:
    # A lone surrogate survives json.loads but has no UTF-8 form; engines disagree on NUL.
    return "\0" in value or (not value.isascii() and _SURROGATE.search(value) is not None)
