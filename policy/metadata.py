"""METADATA: what stands above a rule, read from the Rego itself, where no OPA can be asked for it.

- A block is `# METADATA` and the comment lines after it, up to the line of the rule or package that it is about.
- It is a small part of YAML, in which every YAML reader hears the same: `title`, `description` and `scope`, then
  `custom` with one `key: value` a line. A value is a bare text, a text in double quotes, `null`, `true`, `false`, or a
  list of words. What could be taken for anything else, such as a bare number or day, is refused.

    for block in metadata.blocks("overlay.rego", text):
        block.line, block.title, block.custom["id"]
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NoReturn

from carnet.core.document import Json
from carnet.core.errors import FieldInvalid

lines_max: Final = 64

_OPENING: Final = "# METADATA"
_KEYS: Final = frozenset({"title", "description", "scope", "custom"})
_WORDS: Final[dict[str, Json]] = {"null": None, "true": True, "false": False}
_ENTRY: Final = re.compile(r"([a-z_]+):(?: (.*))?")
_QUOTED: Final = re.compile(r'"([^"\\]*)"')
_LIST: Final = re.compile(r"\[([A-Za-z][A-Za-z0-9_-]*(?:, [A-Za-z][A-Za-z0-9_-]*)*)\]")
_BARE: Final = re.compile(r"(?!.*(?:: | #|:$))[A-Za-z][^\x00-\x1f\x7f]*")
_OTHER: Final = re.compile(r"(?i)null|true|false|yes|no|on|off|y|n|nan|inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block: the line (from 1) of what it is about, its title, its scope (`rule` or `package`), and `custom`."""

    line: int
    title: str
    scope: str
    custom: dict[str, Json]


def blocks(path: str, text: str) -> tuple[Block, ...]:
    """Every block of a policy, in order. Raises `FieldInvalid` with the path and line of what is not one."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip() == _OPENING]
    return tuple(_block(_Reader(path=path, lines=lines, at=start + 1)) for start in starts)


@dataclass(slots=True, kw_only=True)
class _Reader:
    path: str
    lines: list[str]
    at: int

    def comments(self) -> Iterator[str]:
        """The lines of the block, without their sign."""
        first = self.at
        while self.at < len(self.lines) and self.lines[self.at].startswith("#"):
            line = self.lines[self.at]
            if self.at - first >= lines_max or not (line == "#" or line.startswith("# ")):
                self.refuse("is no line of METADATA")
            self.at += 1
            yield line[2:]

    def refuse(self, why: str) -> NoReturn:
        raise FieldInvalid(f"{self.path}:{self.at + 1}: this {why}", metadata={"field": self.path})


def _block(reader: _Reader) -> Block:
    top: dict[str, Json] = {}
    custom: dict[str, Json] = {}
    inside = ""
    for line in reader.comments():
        bare = line.lstrip(" ")
        indent = len(line) - len(bare)
        if inside == "|" and (indent >= 2 or not bare):
            continue
        fields = custom if indent == 2 and inside == "custom" else top if indent == 0 else None
        entry = _ENTRY.fullmatch(bare)
        if fields is None or entry is None or entry[1] in fields or (fields is top and entry[1] not in _KEYS):
            reader.refuse("is no field of METADATA")
        value = _value(reader, entry[2] or "", is_top=fields is top, key=entry[1])
        fields[entry[1]] = value
        if fields is top:
            inside = "custom" if entry[1] == "custom" else "|" if entry[2] == "|" else ""
    title, scope = top.get("title"), top.get("scope", "rule")
    if not isinstance(title, str) or scope not in {"rule", "package"}:
        reader.refuse("has METADATA without a title, or of another scope than rule and package")
    return Block(line=reader.at + 1, title=title, scope=str(scope), custom=custom)


def _value(reader: _Reader, written: str, *, is_top: bool, key: str) -> Json:
    if is_top and (key == "custom") != (written == ""):
        reader.refuse("has no value where one is due, or one where none is")
    if is_top and written in {"", "|"} and key in {"custom", "description"}:
        return ""
    if written in _WORDS:
        return _WORDS[written]
    if quoted := _QUOTED.fullmatch(written):
        return quoted[1]
    if words := _LIST.fullmatch(written):
        found: list[Json] = [*words[1].split(", ")]
        if not any(_OTHER.fullmatch(str(word)) for word in found):
            return found
    elif _BARE.fullmatch(written) and not _OTHER.fullmatch(written) and written == written.strip():
        return written
    reader.refuse("has a value that is not plain: put it in double quotes")
