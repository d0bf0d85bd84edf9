"""`./dev policy-proof`: each line says what it must, and a bound that is broken ends it with 1."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from policy.bundle import Bundle
from policy.cases import Kind
from tests.differential import __main__ as proof
from tests.differential import conformance
from tests.differential.conformance import Outcome
from tests.opa_support import opa_binary

BUNDLE = Bundle.load()
GOOD = Outcome(passed=tuple(str(i) for i in range(conformance.passed_min)), skipped={"a": "x"}, failed=(), stale=())


def test_rules_and_rows_are_counted_and_those_that_were_verified() -> None:
    rules, rows = proof.rules(BUNDLE), proof.rows(BUNDLE)
    assert rules["rules"] == len(BUNDLE.catalogue()) >= rules["in_force"] + rules["drafts"] > 50
    assert rows["rows"] > rows["verified"] > 0
    assert isinstance(rows["overdue"], list)


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"failed": ("a case",)}, False),
        ({"stale": ("a case",)}, False),
        ({"skipped": {str(i): "x" for i in range(conformance.skips_max + 1)}}, False),
        ({"passed": GOOD.passed[1:]}, False),
    ],
)
def test_a_conformance_case_that_fails_or_one_skip_too_many_breaks_the_bound(
    change: dict[str, Any], holds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "run", lambda _: replace(GOOD, **change))
    line = proof.conforms(Path("nowhere"))
    assert line["holds"] is holds
    assert line["skipped"] == change.get("skipped", GOOD.skipped), "with its reason"


@pytest.mark.parametrize(
    ("found", "asked", "holds"),
    [
        ([(10_000, []), (1, [])], 20_000, True),
        ([(10_000, []), (1, ["one"])], 20_000, False),
        ([(10_000, []), (1, [])], 19_999, False),
        ([(0, [])], 20_000, False),
        ([(20_000, [])], 20_000, False),
    ],
)
def test_one_disagreement_or_answers_that_are_all_of_a_kind_break_the_bound(
    found: list[tuple[int, list[str]]], asked: int, holds: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    line = proof.agreed(found, asked=asked)
    assert line["holds"] is holds
    assert len(capsys.readouterr().err.split()) == line["disagreements"] == sum(len(texts) for _, texts in found)


@pytest.mark.opa
@pytest.mark.timeout(300)
class TestWithBothEngines:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        cases = [case for case in proof.our_cases(BUNDLE) if case.file == "russia.json"]
        monkeypatch.setattr(proof, "our_cases", lambda _: tuple(cases))
        monkeypatch.setattr(proof, "holes", lambda *_: [])

    def test_officers_cases_are_asked_of_both_and_one_that_does_not_hold_breaks_the_bound(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        line = proof.officers(BUNDLE, opa_binary())
        assert line["holds"]
        assert line["cases"] == sum(line["kinds"].values()) == 6
        assert set(line["kinds"]) == set(Kind)
        assert line["excepted"]["ORG-NEVER boundary"]
        first = proof.our_cases(BUNDLE)[0]
        wrong = replace(first, expected=replace(first.expected, verdict="review"))
        monkeypatch.setattr(proof, "our_cases", lambda _: (wrong,))
        line = proof.officers(BUNDLE, opa_binary())
        assert not line["holds"]
        assert list(line["failed"]) == [f"russia.json: {first.name}"]

    def test_a_case_that_is_missing_breaks_the_bound(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(proof, "holes", lambda *_: ["RU-23FZ has no case that shows: deny"])
        line = proof.officers(BUNDLE, opa_binary())
        assert not line["holds"]
        assert line["missing"]

    def test_fewer_questions_than_the_bound_break_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert not proof.agreement(opa_binary(), 40)["holds"]
        monkeypatch.setattr(proof, "CASES_MIN", 40)
        line = proof.agreement(opa_binary(), 40)
        assert line["holds"]
        assert line["disagreements"] == 0
        assert line["cases"] == 40


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The command with every part answered at once; what each says of its bound."""
    holds = dict.fromkeys(("officers", "coverage", "conforms", "agreement", "mutation"), True)
    for name in holds:
        monkeypatch.setattr(proof, name, lambda *_, name=name: {"proof": name, "holds": holds[name]})
    monkeypatch.setenv("CARNET_OPA", "/nowhere")
    monkeypatch.setenv("CARNET_OPA_CASES", "/nowhere")
    monkeypatch.setattr(sys, "argv", ["policy-proof"])
    return holds


@pytest.mark.parametrize("broken", ["officers", "coverage", "conforms", "agreement", "mutation"])
def test_one_broken_bound_ends_the_command_with_1_after_all_lines(
    lines: dict[str, bool], broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert proof.main() == 0
    assert len(capsys.readouterr().out.splitlines()) == 7
    lines[broken] = False
    assert proof.main() == 1
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["proof"] for line in said if not line.get("holds", True)] == [broken]
