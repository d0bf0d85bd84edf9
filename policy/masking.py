"""Masking: what a line of the decision log does not show, as the policy's own document (`system.log.mask`) says.

- The document is OPA's: a set of pointers to remove, or of `{op, path, value}` with `remove` or `upsert`. It is applied
  here as OPA applies it (plugins/logs/mask.go), so that a line is masked alike whichever engine was asked.
- A pointer to what is not there changes nothing and is not listed. A list shrinks by what is removed from it.
- A document that is not one, or a pointer to anything but input and result, raises `FieldInvalid`: nothing is logged
  under half a mask.

    rules = mask_rules(document)
    masked = apply(rules, asked=document, answered=body)
"""

import copy
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from carnet.core.document import Json, canonical, refuse

rules_max: Final = 1024

_TOPS: Final = ("input", "result", "nd_builtin_cache")
_UNESCAPED: Final = "$&+=:@"  # of a path's segment, as Go writes one
_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_INDEX: Final = re.compile(r"[+-]?[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRule:
    """One pointer, by its segments, and what happens there: removed, or replaced by a value."""

    segments: tuple[str, ...]
    upsert: bool = False
    value: Json = None

    @property
    def pointer(self) -> str:
        """How the rule is listed once it was applied."""
        return "/" + "/".join(self.segments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masked:
    """A decision after its mask: what is left of input and result (None where all went), and what was done where."""

    input: Json
    result: Json
    erased: tuple[str, ...]
    masked: tuple[str, ...]


def mask_rules(document: Json) -> tuple[MaskRule, ...]:
    """The rules of a mask document, in OPA's order: pointers first, then objects. Raises `FieldInvalid`."""
    if not isinstance(document, list) or len(document) > rules_max:
        refuse("mask", f"must be a list of at most {rules_max} rules")
    pointers = sorted(item for item in document if isinstance(item, str))
    objects = sorted((item for item in document if isinstance(item, dict)), key=_order)
    if len(pointers) + len(objects) != len(document):
        refuse("mask", "must hold pointers and objects only")
    return (*(MaskRule(segments=_segments(pointer)) for pointer in pointers), *map(_rule, objects))


def apply(rules: Collection[MaskRule], *, asked: Json, answered: Json) -> Masked:
    """Mask what was asked and answered; neither is changed, and one that no rule names is handed back itself."""
    named = {rule.segments[0] for rule in rules}
    tops = {
        name: copy.deepcopy(document) if name in named else document
        for name, document in (("input", asked), ("result", answered))
    }
    erased: list[str] = []
    masked: list[str] = []
    for rule in rules:
        if tops.get(rule.segments[0]) is None:
            continue
        if rule.upsert and _upsert(tops, rule):
            masked.append(rule.pointer)
        elif not rule.upsert and _remove(tops, rule.segments):
            erased.append(rule.pointer)
    return Masked(input=tops["input"], result=tops["result"], erased=tuple(erased), masked=tuple(masked))


def _order(item: dict[str, Json]) -> tuple[str, str, bytes]:
    return str(item.get("op", "")), str(item.get("path", "")), canonical(item)


def _rule(item: dict[str, Json]) -> MaskRule:
    operation, path = item.get("op"), item.get("path")
    if operation not in ("remove", "upsert") or not isinstance(path, str):
        refuse("mask", "must name op (remove or upsert) and path")
    return MaskRule(segments=_segments(path), upsert=operation == "upsert", value=item.get("value"))


def _segments(pointer: str) -> tuple[str, ...]:
    if not pointer.startswith("/") or _ESCAPE.search(pointer):
        refuse("mask", "must hold pointers that begin with a slash")
    segments = pointer[1:].split("/")
    if segments[0] not in _TOPS:
        refuse("mask", "must point to input or result")
    return tuple(quote(segment, safe=_UNESCAPED) for segment in segments)


def _remove(tops: dict[str, Json], segments: tuple[str, ...]) -> bool:
    if len(segments) == 1:
        tops[segments[0]] = None
        return True
    node: Json = tops[segments[0]]
    depth = len(segments) - 2
    for segment in segments[1:-1]:
        found, node = _child(node, segment)
        if not found:
            return False
    last = segments[-1]
    if isinstance(node, dict) and last in node:
        del node[last]
        return True
    # OPA puts the shorter list into what holds it, and the whole input is held by nothing.
    index = _index(last)
    if depth and isinstance(node, list) and index is not None and index < len(node):
        del node[index]
        return True
    return False


def _upsert(tops: dict[str, Json], rule: MaskRule) -> bool:
    value, segments = copy.deepcopy(rule.value), rule.segments
    if len(segments) == 1:
        tops[segments[0]] = value
        return True
    node: Json = tops[segments[0]]
    if not isinstance(node, dict):
        return False
    for segment in segments[1:-1]:
        if isinstance(node, dict):
            node = node.setdefault(segment, {})
            continue
        found, node = _child(node, segment)
        if not found:
            return False
    return _put(node, segments[-1], value)


def _put(node: Json, name: str, value: Json) -> bool:
    if isinstance(node, dict):
        node[name] = value
        return True
    index = _index(name)
    if isinstance(node, list) and index is not None and index < len(node):
        node[index] = value
        return True
    return False


def _child(node: Json, segment: str) -> tuple[bool, Json]:
    if isinstance(node, dict):
        return segment in node, node.get(segment)
    index = _index(segment)
    if isinstance(node, list) and index is not None and index < len(node):
        return True, node[index]
    return False, None


def _index(segment: str) -> int | None:
    index = int(segment) if _INDEX.fullmatch(segment) else -1
    return index if index >= 0 else None
