"""What the pages name exists: tests, files, links, concepts, dependencies."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from carnet.core import lifecycle
from tests.docs.pages import ROOT, blocks, links, pages

CORE = ROOT / "carnet" / "core"
TEST_NAME = re.compile(r"`(?:(tests/[\w/]+\.py)::)?(test_\w+)`")
PATH_NAME = re.compile(
    r"`((?:carnet|gateway|policy|sandbox|certs|proto|tests|docs|demo|tools|sdk)/[\w./-]+\.(?:py|rego|json|proto|md|toml))`"
)


def functions_of(path: Path) -> set[str]:
    found = ast.walk(ast.parse(path.read_text("utf-8")))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@cache
def files_of_tests() -> dict[str, set[str]]:
    """The functions of every file of tests."""
    return {path.relative_to(ROOT).as_posix(): functions_of(path) for path in (ROOT / "tests").rglob("test_*.py")}


def missing_tests(text: str) -> Iterator[str]:
    files = files_of_tests()
    stems = {Path(name).stem for name in files}
    for file, name in TEST_NAME.findall(text):
        held = files.get(file, set()) if file else set().union(*files.values()) | stems
        if name not in held:
            yield f"{file}::{name}" if file else name


def attack_rows(text: str) -> list[tuple[str, str, str]]:
    """The lines of the threat model's tables: what is tried, what stops it, what holds it."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not re.match(r"\| (it|they) tr", line)]
    return [(first, second, third) for _, first, second, third, _ in (line.split("|") for line in lines)]


def bare_rows(text: str) -> Iterator[str]:
    """The attacks of which no existing file says what stops them, or no existing test that it does."""
    for attack, stopped, held in attack_rows(text):
        if not [path for path in PATH_NAME.findall(stopped) if (ROOT / path).is_file()]:
            yield f"{attack.strip()}: no file stops it"
        if not TEST_NAME.findall(held) or list(missing_tests(held)):
            yield f"{attack.strip()}: no test holds it"


def headless(text: str) -> Iterator[str]:
    """Rows that no table's head stands above: an empty line before them made them plain text."""
    lines = ["", *re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).splitlines(), ""]
    for above, line, below in zip(lines, lines[1:], lines[2:], strict=False):
        if line.startswith("|") and not above.startswith("|") and not re.fullmatch(r"\|(-+\|)+", below):
            yield line


def concepts() -> dict[str, str]:
    """The public classes of core, less errors, and less the events and effects, which docs/protocol.md has."""
    steps = {part.__name__ for union in (lifecycle.Event, lifecycle.Effect) for part in union.__args__}
    found = {}
    for path in sorted(CORE.glob("*.py")):
        module = import_module(f"carnet.core.{path.stem}")
        for name, value in inspect.getmembers(module, inspect.isclass):
            own = value.__module__ == module.__name__ and not name.startswith("_")
            if own and name not in steps and not issubclass(value, Exception):
                found[name] = path.name
    return found


def test_every_row_of_a_page_is_in_a_table() -> None:
    texts = {page.relative_to(ROOT).as_posix(): page.read_text("utf-8") for page in pages()}
    assert {name: found for name, text in texts.items() if (found := list(headless(text)))} == {}
    # Control: one empty line in a table is found.
    cut = texts["docs/threat-model.md"].replace(
        "\n| read decisions as an officer", "\n\n| read decisions as an officer"
    )
    assert [row[:16] for row in headless(cut)] == ["| read decisions"]


def test_every_test_that_a_page_names_exists() -> None:
    texts = {page: page.read_text("utf-8") for page in pages()}
    assert len(TEST_NAME.findall(texts[ROOT / "docs" / "threat-model.md"])) > 50
    assert [name for text in texts.values() for name in missing_tests(text)] == []


def test_control_a_test_that_is_not_there_is_noticed() -> None:
    assert list(missing_tests("held by `test_nobody_wrote_this`")) == ["test_nobody_wrote_this"]
    assert list(missing_tests("`tests/docs/test_names.py::test_elsewhere`")) == [
        "tests/docs/test_names.py::test_elsewhere"
    ]
    assert list(missing_tests("`test_control_a_test_that_is_not_there_is_noticed`, `test_names`")) == []


def test_every_file_of_attacks_is_in_the_threat_model() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    named = {name for _, name in TEST_NAME.findall(text)}
    unused = [p.name for p in sorted((ROOT / "tests" / "attacks").glob("test_*.py")) if not functions_of(p) & named]
    assert unused == []


def test_every_line_of_the_threat_model_names_a_file_and_a_test() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    assert len(attack_rows(text)) > 50
    assert list(bare_rows(text)) == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("| steal | it is sealed | `test_names` |", "steal: no file stops it"),
        ("| steal | sealed (`carnet/gone.py`) | `test_names` |", "steal: no file stops it"),
        ("| steal | sealed (`carnet/outbox.py`) | looked at by hand |", "steal: no test holds it"),
        ("| steal | sealed (`carnet/outbox.py`) | `test_nobody_wrote_this` |", "steal: no test holds it"),
    ],
)
def test_control_a_line_that_names_nothing_is_noticed(line: str, said: str) -> None:
    assert list(bare_rows(f"| it tries to | what stops it | held by |\n|---|---|---|\n{line}\n")) == [said]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_path_and_link_of_a_page_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [path for path in PATH_NAME.findall(text) if not (ROOT / path).exists()] == []
    inside = [link for link in links(page) if not link.startswith("https://")]
    assert [link for link in inside if not (page.parent / link).exists()] == []


def test_every_concept_of_core_is_in_the_glossary() -> None:
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    assert len(concepts()) > 60
    assert [f"{name} ({file})" for name, file in concepts().items() if not re.search(rf"`{name}`", text)] == []


def test_the_glossary_has_each_term_once_and_in_order() -> None:
    lines = (ROOT / "docs" / "glossary.md").read_text("utf-8").splitlines()
    terms = [found[1].lower() for line in lines if (found := re.match(r"\| \*\*(.+?)\*\* \|", line))]
    assert len(terms) > 40
    assert terms == sorted(set(terms))


def test_every_dependency_has_its_reason_and_no_other_is_named() -> None:
    text = (ROOT / "docs" / "adr" / "0007-dependencies.md").read_text("utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    declared = {re.split(r"[<>=\[]", item)[0] for item in project["project"]["dependencies"]}
    assert set(re.findall(r"^- `([\w-]+)`", text, re.MULTILINE)) == declared


def test_an_architecture_decision_is_under_a_page() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert len(decisions) > 5
    assert [page.name for page in decisions if len(page.read_text("utf-8").split()) > 600] == []


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached = {(ROOT / link).resolve() for link in links(ROOT / "README.md") if not link.startswith("https://")}
    assert [page.name for page in sorted((ROOT / "docs").glob("*.md")) if page.resolve() not in reached] == []


def test_every_block_has_a_language_that_is_executed_or_says_why_not() -> None:
    known = {"console", "python", "json", "toml"}
    found = [block for page in pages() for block in blocks(page)]
    assert [b.name for b in found if not b.above and b.language not in known] == []
    assert [b.name for b in found if b.above == "picture" and b.language] == []
