"""The recorded score is whole: every module of the core, each survivor with its reason. docs/performance.md shows it.

`python -m tests.mutation --record [MODULE ...]` writes the record anew; a whole run takes about an hour on two cores.
"""

import json
from typing import Any

import pytest

from tests.mutation.mutants import mutants
from tests.mutation.report import RECORD, SCORE_MIN, Name, equivalents, survivors
from tests.mutation.targets import TARGETS

Lines = list[dict[str, Any]]


def recorded() -> Lines:
    """The lines of the record."""
    return [json.loads(line) for line in RECORD.read_text().splitlines()]


def scores(lines: Lines) -> dict[str, dict[str, Any]]:
    """The line of each module, and of all."""
    return {line["mutation"]: line for line in lines if "mutation" in line}


def unexplained(lines: Lines, reasons: dict[Name, str]) -> list[Name]:
    """The recorded survivors for which nobody says why."""
    found = ((line["survived"], line["line"], line["change"]) for line in lines if "survived" in line)
    return [name for name in found if not reasons.get(name)]


def test_every_module_of_the_core_has_its_score_and_the_total_is_their_sum() -> None:
    found = scores(recorded())
    total = found.pop("total")
    assert set(found) == set(TARGETS)
    for part in ("mutants", "killed", "equivalent"):
        assert total[part] == sum(line[part] for line in found.values())
    assert min(float(line["score"]) for line in found.values()) >= SCORE_MIN


def stale(lines: Lines) -> list[str]:
    """The modules that have other mistakes to try by now than when they were recorded."""
    found = scores(lines)
    every = {module: len(mutants(module, target.path.read_text())) for module, target in TARGETS.items()}
    return [module for module, count in every.items() if found[module]["mutants"] != count]


def test_every_mutant_that_there_is_was_tried() -> None:
    assert stale(recorded()) == [], "./dev mutate --record MODULE"


def test_control_a_module_that_changed_after_its_record_is_found() -> None:
    lines = [line | {"mutants": 1} if line.get("mutation") == "lease" else line for line in recorded()]
    assert "lease" in stale(lines)


def test_each_recorded_survivor_has_its_reason_and_each_reason_its_survivor() -> None:
    lines, reasons = recorded(), survivors()
    assert unexplained(lines, reasons) == []
    assert len(reasons) == len([line for line in lines if "survived" in line])
    assert not set(reasons) & set(equivalents())


@pytest.mark.parametrize("known", [equivalents, survivors], ids=["equivalent", "survivor"])
def test_each_reason_is_of_a_mutant_that_there_is(known: Any) -> None:
    reasons: dict[Name, str] = known()
    sources = {module: TARGETS[module].path.read_text() for module, _, _ in reasons}
    every = {mutant.name for module, source in sources.items() for mutant in mutants(module, source)}
    assert [name for name in reasons if name not in every] == []


def test_control_a_survivor_without_a_reason_is_found() -> None:
    name = ("lease", "line", "number: 1 -> 0")
    line = {"survived": name[0], "at": 1, "line": name[1], "change": name[2]}
    assert unexplained([line], {}) == [name]
    assert unexplained([line], {name: ""}) == [name]
    assert unexplained([line], {name: "nobody can tell"}) == []
