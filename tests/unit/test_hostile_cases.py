"""The table of hostile cases (tests/attacks/cases.json) is whole: each has its tests, a control, and what stops it.

The controls are in the tests themselves ("# Control" says what was taken away), or beside them, where `controls` names
them. `gateway` holds lies of a malicious gateway that are no case of the numbered list.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = (*range(1, 54), 90, 91)
Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """Every row, numbered or not."""
    table = json.loads((ROOT / "tests/attacks/cases.json").read_text(encoding="utf-8"))
    found: list[Row] = [*table["cases"], *table["gateway"]]
    return found


@pytest.fixture(scope="module")
def collected(rows: list[Row]) -> frozenset[str]:
    """The ids that pytest collects in the files that the table names, with and without their parameters."""
    files = sorted({test.partition("::")[0] for row in rows for test in (*row["tests"], *row["controls"])})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    whole = {line for line in done.stdout.splitlines() if "::" in line}
    return frozenset(whole | {test.partition("[")[0] for test in whole})


def missing(rows: list[Row], collected: Collection[str]) -> Iterator[str]:
    """What the table promises and the tests do not hold."""
    numbers = [row["case"] for row in rows if "case" in row]
    if numbers != list(NUMBERS):
        yield f"the cases are {numbers}"
    for row in rows:
        name = f"case {row['case']}" if "case" in row else row["attack"]
        if not row["tests"]:
            yield f"{name} has no test"
        yield from (f"{name}: no such test: {t}" for t in (*row["tests"], *row["controls"]) if t not in collected)
        if not any(has_control(test) for test in (*row["tests"], *row["controls"])):
            yield f"{name} has no control"
        if not row["stops"]:
            yield f"{name}: nothing stops it"
        yield from (f"{name}: no such file: {path}" for path in row["stops"] if not (ROOT / path).is_file())


def has_control(test: str) -> bool:
    """Whether the test says what its control is, or is one."""
    path, _, name = test.partition("::")
    name = name.partition("[")[0]
    return "_control_" in f"_{name}_" or "# Control" in sources(path).get(name, "")


@cache
def sources(path: str) -> dict[str, str]:
    """The text of each function of a test file, by name."""
    if not (ROOT / path).is_file():
        return {}
    text = (ROOT / path).read_text(encoding="utf-8")
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_source_segment(text, node) or "" for node in functions}


def test_no_hostile_case_is_without_its_tests_its_control_and_the_file_that_stops_it(
    rows: list[Row], collected: frozenset[str]
) -> None:
    assert list(missing(rows, collected)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tests": []}, "case 1 has no test"),
        ({"tests": ["tests/attacks/test_envelope_wraps.py::test_gone"]}, "no such test"),
        ({"tests": ["tests/unit/core/test_lease.py::test_x"], "controls": []}, "case 1 has no control"),
        ({"stops": []}, "nothing stops it"),
        ({"stops": ["carnet/gone.py"]}, "no such file"),
        ({"case": 2}, "the cases are"),
    ],
)
def test_control_a_table_with_a_hole_is_found(
    change: Row, said: str, rows: list[Row], collected: frozenset[str]
) -> None:
    holed = [rows[0] | change, *rows[1:]]
    assert any(said in line for line in missing(holed, collected))
