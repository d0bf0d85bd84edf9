"""The table of hostile cases (tests/attacks/cases.json) is whole: each has its tests, a control, and what stops it.

- A control takes the check away and shows that the attack then works: it patches (`setattr`) after the comment
  "# Control", or in a test of its own whose name begins with `test_control`. Where nothing of ours can be taken away,
  `stand_in` says what stands in the control's place, and why.
- `cases` are numbered; `gateway`, `runner` and `client` are what a malicious one of them may try, each list whole.
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
GATEWAY = (
    "runner's key swapped",
    "runner's certificate swapped",
    "revocation hidden",
    "jurisdictions widened",
    "facts altered",
    "image altered",
    "resources altered",
    "permit altered",
    "grant replayed",
    "offer replayed",
    "segments re-ordered, truncated or swapped",
    "log re-ordered, truncated or swapped",
    "results re-ordered, truncated or swapped",
    "plaintext sent",
    "acceptance forged",
    "log rolled back or split",
    "outcome told by an event",
    "recipients added by the gateway",
    "attempt begun by nobody that the client listed",
    "older key set shown again",
    "a replica that adds recipients is lied to",
    "one malformed candidate ends the answer",
    "an index that overflows",
)
RUNNER = (
    "result without a live fence",
    "result for another job",
    "result sealed to another key",
    "log with gaps",
    "card forged",
    "upload oversized or endless",
    "upload slow",
)
CLIENT = (
    "upload oversized or endless",
    "upload slow",
    "facts that contradict the manifest",
    "job id reused",
    "recipients added that nobody permitted",
)
LISTS = {"gateway": GATEWAY, "runner": RUNNER, "client": CLIENT}
Row = dict[str, Any]
Table = dict[str, list[Row]]


@pytest.fixture(scope="module")
def table() -> Table:
    """Every row, by list."""
    found: Table = json.loads((ROOT / "tests/attacks/cases.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def collected(table: Table) -> frozenset[str]:
    """The ids that pytest collects in the files that the table names, with and without their parameters."""
    rows = [row for rows in table.values() for row in rows]
    files = sorted({test.partition("::")[0] for row in rows for test in (*row["tests"], *row["controls"])})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    whole = {line for line in done.stdout.splitlines() if "::" in line}
    return frozenset(whole | {test.partition("[")[0] for test in whole})


def missing(table: Table, collected: Collection[str]) -> Iterator[str]:
    """What the table promises and the tests do not hold."""
    if [row["case"] for row in table["cases"]] != list(NUMBERS):
        yield f"the cases are {[row['case'] for row in table['cases']]}"
    for name, attacks in LISTS.items():
        if tuple(row["attack"] for row in table[name]) != attacks:
            yield f"the attacks of a malicious {name} are {[row['attack'] for row in table[name]]}"
    for name, rows in table.items():
        for row in rows:
            yield from lacking(f"case {row['case']}" if name == "cases" else f"{name}: {row['attack']}", row, collected)


def lacking(name: str, row: Row, collected: Collection[str]) -> Iterator[str]:
    """What one row lacks."""
    if not row["tests"]:
        yield f"{name} has no test"
    yield from (f"{name}: no such test: {t}" for t in (*row["tests"], *row["controls"]) if t not in collected)
    if not any(has_control(test) for test in (*row["tests"], *row["controls"])) and not row.get("stand_in"):
        yield f"{name} has no control"
    yield from (f"{name}: {test} takes nothing away" for test in row["controls"] if not has_control(test))
    if not row["stops"]:
        yield f"{name}: nothing stops it"
    yield from (f"{name}: no such file: {path}" for path in row["stops"] if not (ROOT / path).is_file())


def has_control(test: str) -> bool:
    """Whether the test, or what it says after "# Control", takes something away."""
    path, _, name = test.partition("::")
    name = name.partition("[")[0]
    text = sources(path).get(name, "")
    return takes_away(text if name.startswith("test_control_") else text.partition("# Control")[2])


def takes_away(text: str) -> bool:
    """Whether a piece of a test replaces a part of ours, or of the library's."""
    return ".setattr(" in text


@cache
def sources(path: str) -> dict[str, str]:
    """The text of each function of a test file, by name."""
    if not (ROOT / path).is_file():
        return {}
    text = (ROOT / path).read_text(encoding="utf-8")
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    return {node.name: ast.get_source_segment(text, node) or "" for node in functions}


def test_no_hostile_case_is_without_its_tests_its_control_and_the_file_that_stops_it(
    table: Table, collected: frozenset[str]
) -> None:
    assert list(missing(table, collected)) == []


UNPATCHED = "tests/attacks/test_gateway_lies_to_client.py::test_control_an_honest_gateway_offers_two_runners"


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("cases", {"tests": []}, "case 1 has no test"),
        ("cases", {"tests": ["tests/attacks/test_envelope_wraps.py::test_gone"]}, "no such test"),
        ("cases", {"tests": ["tests/unit/core/test_lease.py::test_x"], "controls": []}, "case 1 has no control"),
        ("cases", {"tests": [UNPATCHED], "controls": []}, "case 1 has no control"),
        ("cases", {"controls": [UNPATCHED]}, "takes nothing away"),
        ("cases", {"tests": [UNPATCHED], "controls": [], "stand_in": ""}, "case 1 has no control"),
        ("cases", {"stops": []}, "nothing stops it"),
        ("cases", {"stops": ["carnet/gone.py"]}, "no such file"),
        ("cases", {"case": 2}, "the cases are"),
        ("gateway", {"attack": "key swapped"}, "the attacks of a malicious gateway are"),
        ("runner", {"tests": []}, "runner: result without a live fence has no test"),
        ("client", {"attack": "upload"}, "the attacks of a malicious client are"),
    ],
)
def test_control_a_table_with_a_hole_is_found(
    name: str, change: Row, said: str, table: Table, collected: frozenset[str]
) -> None:
    holed = table | {name: [table[name][0] | change, *table[name][1:]]}
    assert any(said in line for line in missing(holed, collected))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("check()\n# Control: the honest one passes.\nassert honest()", False),
        ("monkeypatch.setattr(place, 'check', nothing)\n# Control: as it was.\nassert honest()", False),
        ("check()\n# Control: without it.\nmonkeypatch.setattr(place, 'check', nothing)\nassert attack()", True),
    ],
)
def test_a_comment_alone_is_no_control(text: str, expected: bool) -> None:
    assert takes_away(text.partition("# Control")[2]) == expected
