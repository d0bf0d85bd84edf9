"""Every case of `policy/cases` holds on both engines, with equal bytes; and `carnet policy test --cases`, `fmt`."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from policy.bundle import Bundle, home
from policy.cases import case_files
from policy.commands.app import app
from tests.differential.engines import Both
from tests.differential.officer import our_cases, wrong_of
from tests.opa_support import opa_binary

pytestmark = [pytest.mark.opa, pytest.mark.timeout(300)]

BUNDLE = Bundle.load()
CASES = our_cases(BUNDLE)
FILES = [path.name for path in case_files(())]


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    found = Both(opa=opa_binary(), bundle=BUNDLE)
    yield found
    found.close()


@pytest.mark.parametrize("file", FILES)
def test_every_case_holds_on_both_engines(both: Both, file: str) -> None:
    assert {case.name: found for case in CASES if case.file == file and (found := wrong_of(both, case))} == {}


def test_the_control_a_case_that_does_not_hold_is_told(both: Both) -> None:
    case = next(case for case in CASES if case.expected.permitted)
    wrong = replace(case, expected=replace(case.expected, permitted=(), not_permitted=case.expected.permitted))
    assert wrong_of(both, wrong)


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    return int(ended.value.code or 0)


@pytest.mark.parametrize("engine", ["opa", "embedded"])
def test_the_command_asks_an_officers_own_file(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    document = json.loads((home / "cases" / "russia.json").read_bytes())
    (tmp_path / "cases.json").write_text(json.dumps(document))
    assert run("test", "--cases", tmp_path / "cases.json", "--engine", engine) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == []
    assert f"{len(document['cases'])} cases, 0 do not hold" in captured.err
    document["cases"][0]["expect"] = {"not_blocked": {"RU-23FZ": ["DE"]}}
    (tmp_path / "cases.json").write_text(json.dumps(document))
    assert run("test", "--cases", tmp_path, "--engine", engine) == 2
    (failed,) = json.loads(capsys.readouterr().out)
    assert failed == {"file": "cases.json", "case": "In Russia", "rule": "RU-23FZ", "says": ["RU-23FZ blocks DE"]}


def test_a_file_that_holds_no_cases_ends_with_2_and_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cases.json").write_text('{"about": "x", "cases": []}')
    assert run("test", "--cases", tmp_path / "cases.json") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "$.cases" in captured.err


def test_fmt_writes_the_format_of_opa_and_names_what_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    rego = tmp_path / "overlay.rego"
    rego.write_text("package carnet.org.example\n\nallowed if   { 1 ==   1 }\n")
    assert run("fmt", "--check", tmp_path) == 2
    assert capsys.readouterr().out.strip().endswith("overlay.rego")
    assert "1 ==   1" in rego.read_text(), "the control: --check writes nothing"
    assert run("fmt", tmp_path) == 0
    assert "1 == 1" in rego.read_text()
    capsys.readouterr()
    assert run("fmt", "--check", tmp_path) == 0
    assert capsys.readouterr().out == ""
    rego.write_text("package carnet.org.example\n\nallowed if {\n")
    assert run("fmt", tmp_path) == 2
    assert run("fmt") == 2


def test_without_an_opa_fmt_is_unavailable_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CARNET_OPA", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    rego = tmp_path / "overlay.rego"
    rego.write_text("package carnet.org.example\n\nallowed if   { 1 ==   1 }\n")
    assert run("fmt", rego) == 6
    assert "1 ==   1" in rego.read_text()
    assert "POLICY_ENGINE_UNAVAILABLE" in capsys.readouterr().err
