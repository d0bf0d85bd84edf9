"""The documentation as values: pages, fenced blocks, generated parts, links.

- A block is executed unless an HTML comment stands right above it: `<!-- not run: why -->`, `<!-- file: path -->` for
  one that is written to a file, or `<!-- picture -->` for a block without a language.
- A generated part stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`.

    for block in blocks(ROOT / "README.md"): ...
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]

_FENCE: Final = re.compile(r"```(\w*)")
_ABOVE: Final = re.compile(r"<!-- (not run: .+|file: .+|picture) -->")
_PART: Final = re.compile(r"<!-- generated: ([\w-]+) -->\n(.*?)<!-- end: \1 -->", re.DOTALL)
_LINK: Final = re.compile(r"\[[^]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block: where it begins, its language, its text, and what the comment above it says."""

    page: str
    line: int
    language: str
    text: str
    above: str

    @property
    def name(self) -> str:
        """How a test's report names it."""
        return f"{self.page}:{self.line}"


def pages() -> tuple[Path, ...]:
    """Every page that people read."""
    return (ROOT / "README.md", ROOT / "sdk" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order. Raises `ValueError` where one is not closed."""
    lines = page.read_text("utf-8").splitlines()
    name, number = page.relative_to(ROOT).as_posix(), 0
    while number < len(lines):
        if found := _FENCE.fullmatch(lines[number]):
            end = lines.index("```", number + 1)
            above = _ABOVE.fullmatch(lines[number - 1]) if number else None
            yield Block(
                page=name,
                line=number + 1,
                language=found[1],
                text="\n".join(lines[number + 1 : end]) + "\n",
                above=above[1] if above else "",
            )
            number = end
        number += 1


def generated(text: str) -> dict[str, str]:
    """The generated parts of a page's text, by name."""
    return {found[1]: found[2] for found in _PART.finditer(text)}


def with_generated(text: str, parts: dict[str, str]) -> str:
    """The text with the body of each of its generated parts made anew."""
    return _PART.sub(lambda found: f"<!-- generated: {found[1]} -->\n{parts[found[1]]}<!-- end: {found[1]} -->", text)


def links(page: Path) -> Iterator[str]:
    """The targets of a page's links, without fragments."""
    return (found[1] for found in _LINK.finditer(page.read_text("utf-8")))
