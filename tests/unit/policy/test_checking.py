"""A draft is looked at whole, and what it is written with can do nothing to who looks."""

import json
import os
from pathlib import Path

import pytest

from carnet.core.errors import FieldInvalid
from policy import checking, linting
from policy.bundle import Bundle
from policy.checking import CHECKS, LINT, Report
from policy.overlay import Overlay
from tests.fixtures.drafts import NAME, draft

BASE = Bundle.load()
TEST = "package carnet.org.klinikum_test\n\n"


def looked(files: dict[str, bytes]) -> Report:
    """What is found of these files, with a real OPA."""
    return checking.check(NAME, files, base=BASE, binary=Path(os.environ["CARNET_OPA"]))


def texts(report: Report, kind: str = "tests") -> str:
    """The findings of one kind, as one text."""
    return "\n".join(finding.text for finding in report.findings if finding.check == kind)


@pytest.mark.opa
def test_the_example_is_clean() -> None:
    report = looked(draft())
    assert report.clean
    assert (report.checks, report.tests_passed) == (CHECKS, 4)


def test_without_an_opa_nothing_is_clean() -> None:
    report = checking.check(NAME, draft(), base=BASE, binary=None)
    assert not report.clean
    assert [finding.check for finding in report.findings] == ["check", "format", "tests", "coverage"]
    assert report.checks == ("metadata", "profile", "roots", "cases")


def test_an_opa_that_is_none_leaves_nothing_clean() -> None:
    report = checking.check(NAME, draft(), base=BASE, binary=Path("/bin/false"))
    assert [finding.check for finding in report.findings] == ["check", "format", "tests", "coverage"]


def test_a_draft_that_does_not_parse_is_told_with_its_line() -> None:
    report = checking.check(NAME, draft(("quorum := 1", "quorum := := 1")), base=BASE, binary=None)
    assert report.findings[0].check == "metadata"
    assert report.findings[0].text.startswith("overlay.rego:")
    assert report.checks == ("metadata",)


def test_a_case_that_comes_out_otherwise_is_found_without_an_opa() -> None:
    files = draft(('some place in {"SG"}', 'some place in {"VN"}'))
    report = checking.check(NAME, files, base=BASE, binary=None)
    assert texts(report, "cases").count("SG") >= 1
    broken = checking.check(NAME, draft() | {"cases.json": b'{"cases":[]}'}, base=BASE, binary=None)
    assert texts(broken, "cases").startswith("cases.json: ")


@pytest.mark.parametrize("call", ['http.send({"method": "get", "url": "http://127.0.0.1"})', "opa.runtime()"])
def test_a_rule_that_dials_or_reads_is_refused_before_an_engine_sees_it(call: str) -> None:
    report = checking.check(NAME, draft(("quorum := 1", f"quorum := {call}")), base=BASE, binary=None)
    assert report.findings[0].check == "profile"
    assert call.partition("(")[0] in report.findings[0].text


@pytest.mark.opa
@pytest.mark.parametrize(
    "call", ['http.send({"method": "get", "url": "http://127.0.0.1"})', "opa.runtime()", 'net.lookup_ip_addr("a.b")']
)
def test_a_test_that_dials_or_reads_does_not_run(call: str) -> None:
    files = draft() | {"overlay_test.rego": f"{TEST}test_it if {call}\n".encode()}
    report = looked(files)
    assert f"undefined function {call.partition('(')[0]}" in texts(report)
    assert report.tests_passed == 0


@pytest.mark.opa
def test_what_regal_finds_counts(tmp_path: Path) -> None:
    found = checking.check(
        NAME, draft(), base=BASE, binary=Path(os.environ["CARNET_OPA"]), linter=regal(tmp_path, said(OURS, THEIRS))
    )
    assert texts(found, LINT) == "overlay.rego:7: style/bad-name: Bad."
    assert found.checks == (*CHECKS, LINT)
    assert not found.clean


def test_only_what_regal_was_asked_about_is_told_and_no_answer_is_a_finding(tmp_path: Path) -> None:
    overlay = Overlay.read(NAME, draft())
    whole = BASE.with_overlays((overlay,))
    assert checking.lint(regal(tmp_path, said()), whole, overlay) == []
    assert checking.lint(regal(tmp_path, said(OURS)), whole, overlay) == []
    assert len(checking.lint(regal(tmp_path, said(OURS, THEIRS)), whole, overlay)) == 1
    for fault in ("exit 1", "echo no; exit 3", "echo '[]'", "echo '{\"violations\": 1}'"):
        assert checking.lint(regal(tmp_path, fault), whole, overlay) == ["Regal gives no answer."]
    assert checking.lint(tmp_path / "nothing", whole, overlay) == ["Regal gives no answer."]


def test_a_report_is_clean_without_a_lint_and_not_without_anything_else() -> None:
    assert Report(checks=CHECKS, findings=()).clean
    assert Report(checks=(*CHECKS, LINT), findings=()).clean
    for kind in CHECKS:
        assert not Report(checks=(*(each for each in CHECKS if each != kind), LINT), findings=()).clean
    assert not Report(checks=(*CHECKS, LINT), findings=(checking.Finding(check=LINT, text="Bad."),)).clean


THEIRS = {
    "title": "bad-name",
    "category": "style",
    "description": "Bad.",
    "location": {"file": "carnet/org/klinikum/overlay.rego", "row": 7},
}
OURS = THEIRS | {"location": {"file": "carnet/main/main.rego", "row": 1}}


def said(*violations: dict[str, object]) -> str:
    """A program that finds these."""
    return f"echo '{json.dumps({'violations': violations})}'; exit {3 if violations else 0}"


def regal(folder: Path, program: str) -> Path:
    """A Regal that does this."""
    binary = folder / "regal"
    binary.write_text(f"#!/bin/sh\n{program}\n")
    binary.chmod(0o755)
    return binary


def test_a_file_that_leads_out_of_the_folder_is_not_written(tmp_path: Path) -> None:
    for path in ("../out.rego", str(tmp_path / "out.rego")):
        with pytest.raises(FieldInvalid):
            linting.complaints(Path("/bin/true"), {path: b"package a"}, told=())
    assert not list(tmp_path.iterdir())


@pytest.mark.opa
def test_a_draft_without_tests_or_with_none_that_runs_is_not_clean() -> None:
    files = draft()
    del files["overlay_test.rego"]
    assert texts(looked(files)) == "There are no tests."
    report = looked(draft() | {"overlay_test.rego": f"{TEST}todo_test_it if true\n".encode()})
    assert not report.clean
    assert "test_it" in texts(report)


@pytest.mark.opa
def test_a_line_that_no_test_reaches_is_found() -> None:
    unreached = draft(("quorum := 1\n", 'quorum := 1\n\nstrange if "children" in input.job.data.classes\n'))
    text = unreached["overlay.rego"].decode()
    line = next(i for i, row in enumerate(text.splitlines(), start=1) if row.startswith("strange if"))
    assert texts(looked(unreached), "coverage") == f"carnet/org/klinikum/overlay.rego:{line}: no test reaches this"


@pytest.mark.opa
def test_what_is_not_formatted_is_found() -> None:
    assert "overlay.rego" in texts(looked(draft(("quorum := 1", "quorum   :=   1"))), "format")


@pytest.mark.opa
def test_a_test_that_never_ends_ends_as_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "seconds_max", 0.0)
    report = looked(draft())
    assert not report.clean
    assert "OPA does not answer" in texts(report)
