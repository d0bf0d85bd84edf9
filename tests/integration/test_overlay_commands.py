"""`carnet policy` with an overlay: each verb hears the organisation's own rules, exemptions and approvals."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from policy.bundle import home
from policy.commands.app import app
from tests.opa_support import NOW, hospital, opa_binary
from tests.overlay_support import FOLDER

FACTS = home / "examples" / "german-hospital.json"
AT = ("--at", "2026-11-22")
WITH = ("--overlay", FOLDER)

pytestmark = pytest.mark.opa


@pytest.fixture(autouse=True)
def binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))


@pytest.fixture
def genetic(tmp_path: Path) -> Path:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(hospital(data={"classes": ["genetic"]}, constraints={"only": ["DE", "SG"]})))
    return facts


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "overlay"))


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    return int(ended.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def changed(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))


@pytest.mark.parametrize("engine", ["opa", "embedded"])
def test_eval_waits_for_approvals_and_hears_exemptions(
    engine: str, genetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ("eval", "--facts", genetic, *AT, *WITH, "--engine", engine, "-o", "json")
    assert run(*asked) == 3
    assert printed(capsys)["verdict"] == "review"
    assert run(*asked, "--approvals", "1") == 0
    assert printed(capsys)["permitted"] == ["DE"]
    exemptions = tmp_path / "exemptions.json"
    scope: dict[str, Any] = {"places": ["SG"], "classes": [], "purposes": [], "expires_ns": NOW + 1}
    granted = [{"id": rule, "rule": rule, **scope} for rule in ("KLINIKUM-GENETIC", "EU-GDPR-CHV")]
    exemptions.write_text(json.dumps({"exemptions": granted}))
    assert run(*asked, "--approvals", "1", "--exemptions", exemptions) == 0
    body = printed(capsys)
    assert body["permitted"] == ["DE", "SG"]
    assert [used["rule"] for used in body["exemptions_used"]] == ["EU-GDPR-CHV", "KLINIKUM-GENETIC"]
    exemptions.write_text(json.dumps({"exemptions": granted, "more": 1}))
    assert run(*asked, "--exemptions", exemptions) == 2


def test_eval_in_words_says_what_is_waited_for_and_what_was_lifted(
    genetic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("eval", "--facts", genetic, *AT, *WITH, "--engine", "embedded") == 3
    words = capsys.readouterr().out
    assert "REVIEW" in words
    assert "The ethics board asks" in words
    exemptions = tmp_path / "exemptions.json"
    granted = {"id": "E1", "rule": "EU-GDPR-CHV", "places": ["SG"], "classes": [], "purposes": []}
    exemptions.write_text(json.dumps({"exemptions": [granted | {"expires_ns": NOW + 1}]}))
    assert run("eval", "--facts", genetic, *AT, "--exemptions", exemptions, "--engine", "embedded") == 0
    assert "exempt from EU-GDPR-CHV by E1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("language", "said", "unsaid"),
    [
        (
            "en",
            (
                "PERMIT  ",
                "DENY  spiffe",
                "  deny    KLIN",
                "  oblige  ",
                "exempt from EU-GDPR-CHV by E1",
                "unverified data used",
            ),
            ("AUTORISÉ", "REFUSÉ", "dispensé", "données"),
        ),
        (
            "fr",
            (
                "AUTORISÉ  ",
                "REFUSÉ  spiffe",
                "  refus   KLIN",
                "  devoir  ",
                "dispensé de EU-GDPR-CHV par E1",
                "données non vér",
            ),
            ("PERMIT", "DENY", "deny", "oblige ", "exempt", "unverified"),
        ),
    ],
)
def test_eval_says_all_of_it_in_one_language(
    language: str,
    said: tuple[str, ...],
    unsaid: tuple[str, ...],
    genetic: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    exemptions = tmp_path / "exemptions.json"
    scope: dict[str, Any] = {"places": ["SG"], "classes": [], "purposes": [], "expires_ns": NOW + 1}
    granted = [{"id": "E1", "rule": "EU-GDPR-CHV", **scope}, {"id": "E2", "rule": "KLINIKUM-GENETIC", **scope}]
    exemptions.write_text(json.dumps({"exemptions": granted}))
    genetic.write_text(json.dumps(hospital(data={"classes": ["genetic"]}, constraints={"only": ["DE", "SG", "FR"]})))
    asked = ("eval", "--facts", genetic, *AT, *WITH, "--engine", "embedded", "--language", language)
    runner = home / "examples" / "runner-fr.json"
    assert run(*asked, "--approvals", "1", "--exemptions", exemptions, "--runner", runner) == 3
    told = capsys.readouterr().out
    assert [words for words in said if words not in told] == []
    assert [words for words in unsaid if words in told] == []
    assert run(*asked) == 3
    assert capsys.readouterr().out.startswith({"en": "REVIEW  ", "fr": "À APPROUVER  "}[language])


def test_why_and_matrix_hear_the_overlay(genetic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("why", "SG", "DE", "--facts", genetic, *AT, *WITH, "--engine", "embedded", "-o", "json") == 3
    singapore, germany = printed(capsys)
    assert {"KLINIKUM-GENETIC", "EU-GDPR-CHV"} <= {denial["rule"] for denial in singapore["denials"]}
    assert [denial["rule"] for denial in germany["denials"]] == ["KLINIKUM-APPROVAL"]
    asked = ("matrix", "--facts", FACTS, *AT, "--country", "DE", "--class", "genetic", "--class", "health")
    assert run(*asked, *WITH, "--engine", "embedded", "-o", "json") == 0
    assert printed(capsys) == {"DE": {"genetic": "KLINIKUM-APPROVAL", "health": "permit"}}
    assert run(*asked, "--engine", "embedded", "-o", "json") == 0
    assert printed(capsys) == {"DE": {"genetic": "permit", "health": "permit"}}


def test_list_and_show_hold_the_rules_of_the_overlay(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", *WITH, "-o", "json") == 0
    assert {"KLINIKUM-GENETIC", "EU-GDPR-CHV"} <= printed(capsys).keys()
    assert run("show", "KLINIKUM-GENETIC", *WITH, "-o", "json") == 0
    found = printed(capsys)
    assert found["overlay"] == "klinikum"
    assert found["citations"][0]["id"] == "C-KLINIKUM-ETHICS"
    path, line = found["source"].split(":")
    assert path == "carnet/org/klinikum/overlay.rego"
    assert (FOLDER / Path(path).name).read_text().splitlines()[int(line) - 1] == "#   id: KLINIKUM-GENETIC"
    assert run("show", "KLINIKUM-GENETIC") == 2


def test_check_holds_an_overlay_to_what_one_must_be(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", "--overlay", copied) == 0
    assert printed(capsys) == []
    changed(copied, "overlay.rego", "quorum := 1", 'quorum := 1\n\nblocked["EU-GDPR-CHV"] := set()')
    assert run("check", "--overlay", copied) == 2
    assert "one of the overlay's own rules" in printed(capsys)[0]
    changed(copied, "overlay.rego", 'blocked["EU-GDPR-CHV"] := set()', "other  := 2")
    assert run("check", "--overlay", copied) == 2
    assert "opa fmt" in printed(capsys)[0]
    changed(copied, "overlay.rego", "other  := 2", "import rego.v1")
    assert run("check", "--overlay", copied) == 2
    changed(copied, "overlay.rego", "import rego.v1", "f(x) := 1")
    capsys.readouterr()
    assert run("check", "--overlay", copied) == 2
    assert "opa check" in printed(capsys)[0]


def test_check_reads_the_cases(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed(copied, "cases.json", '"verdict": "review"', '"verdict": "maybe"')
    assert run("check", "--overlay", copied) == 2
    assert "cases" in printed(capsys)[0]


def test_tests_and_cases_of_an_overlay_are_run(copied: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("test", "--overlay", copied) == 0
    said = capfd.readouterr()
    assert "test_genetic_data_never_goes_to_singapore: PASS" in said.out
    assert "6 cases, 0 do not hold" in said.err
    changed(copied, "cases.json", '"verdict": "review"', '"verdict": "deny"')
    assert run("test", "--overlay", copied) == 2
    (failed,) = json.loads("[" + capfd.readouterr().out.rsplit("\n[", 1)[1])
    assert (failed["case"], failed["says"]) == (
        "Genetic data waits for an approval",
        ["the verdict is review, not deny"],
    )
    changed(copied, "cases.json", '"verdict": "deny"', '"verdict": "review"')
    changed(copied, "overlay_test.rego", "klinikum.quorum == 1", "klinikum.quorum == 2")
    assert run("test", "--overlay", copied) == 2
    assert "test_genetic_data_waits_for_one_approval: FAIL" in capfd.readouterr().out


def test_a_folder_that_is_no_overlay_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for verb in (("eval", "--facts", FACTS), ("why", "DE", "--facts", FACTS), ("list",), ("test",)):
        assert run(*verb, "--overlay", tmp_path) == 2
    assert "FIELD_INVALID" in capsys.readouterr().err
