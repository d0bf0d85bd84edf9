"""`carnet policy why`, `matrix`, `show`, `calendar`, `check` and `test`: what an officer asks, on either engine."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from policy.bundle import Bundle, home
from policy.commands.app import app
from policy.linting import find_regal
from tests.opa_support import opa_binary

FACTS = home / "examples" / "german-hospital.json"
ENGINES = ["opa", "embedded"]
AT = ("--at", "2026-11-22")

pytestmark = pytest.mark.opa


@pytest.fixture(autouse=True)
def binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    return int(ended.value.code or 0)


def printed(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("engine", ENGINES)
def test_why_names_the_first_thing_in_the_way_and_all_others(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("why", "SG", "FR", "CU", "--facts", FACTS, *AT, "--engine", engine, "-o", "json") == 3
    singapore, france, cuba = printed(capsys)
    assert singapore["place"] == "SG"
    assert not singapore["permitted"]
    assert [denial["rule"] for denial in singapore["denials"]] == ["EU-GDPR-CHV"]
    assert "Singapore" in singapore["denials"][0]["text"]
    assert singapore["denials"][0]["fix"]
    assert "C-GDPR-44" in singapore["denials"][0]["citations"]
    assert france == {"place": "FR", "permitted": True, "denials": []}
    assert {denial["rule"] for denial in cuba["denials"]} >= {"EU-GDPR-CHV", "US-OFAC-EMB"}


def test_why_in_words_and_in_french(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("why", "SG", "--facts", FACTS, *AT, "--language", "fr") == 3
    words = capsys.readouterr().out
    assert words.startswith("Singapour (SG) : non autorisé\n  1. EU-GDPR-CHV  Des données personnelles")
    assert "C-GDPR-45: RGPD (UE) 2016/679, art. 45 : décisions d'adéquation\n" in words
    assert not [word for word in ("permitted", "GDPR (EU)", "Art.", " the ") if word in words]
    assert run("why", "FR", "--facts", FACTS, *AT, "--language", "fr") == 0
    assert capsys.readouterr().out == "France (FR) : autorisé\n"
    assert run("why", "FR", "SG", "--facts", FACTS, *AT) == 3
    words = capsys.readouterr().out
    assert words.startswith("France (FR): permitted\nSingapore (SG): not permitted\n")


@pytest.mark.parametrize("engine", ENGINES)
def test_why_not_this_runner(engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = json.loads((home / "examples" / "runner-fr.json").read_bytes())
    french, american = tmp_path / "fr.json", tmp_path / "us.json"
    french.write_text(json.dumps(runner))
    american.write_text(json.dumps(runner | {"jurisdiction": "US", "country": "US", "evidence": "self"}))
    assert run("why", "--facts", FACTS, *AT, "--engine", engine, "--runner", french, "-o", "json") == 0
    assert printed(capsys)[0]["permitted"]
    assert run("why", "--facts", FACTS, *AT, "--engine", engine, "--runner", american, "-o", "json") == 3
    rules = [denial["rule"] for denial in printed(capsys)[0]["denials"]]
    assert {"EU-GDPR-CHV", "CARNET-RUNNER-PLACE"} <= set(rules)


def test_why_without_a_place_or_of_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("why", "--facts", FACTS) == 2
    assert run("why", "Singapore", "--facts", FACTS, "--engine", "embedded") == 2
    assert "FIELD_INVALID" in capsys.readouterr().err


def test_a_matrix_is_a_row_a_country_and_a_column_a_class(capsys: pytest.CaptureFixture[str]) -> None:
    asked = (
        "matrix",
        "--facts",
        FACTS,
        *AT,
        "--country",
        "FR",
        "--country",
        "US",
        "--class",
        "health",
        "--class",
        "technical",
    )
    answers = []
    for engine in ENGINES:
        assert run(*asked, "--engine", engine, "-o", "json") == 0
        answers.append(printed(capsys))
    assert answers[0] == answers[1]
    assert answers[0] == {
        "FR": {"health": "permit", "technical": "permit"},
        "US": {"health": "EU-GDPR-CHV", "technical": "permit"},
    }
    assert run(*asked) == 0
    assert "EU-GDPR-CHV" in capsys.readouterr().out
    assert run("matrix", "--facts", FACTS, "--class", "secrets") == 2


def test_show_says_what_a_rule_is_and_where_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "EU-GDPR-CHV", "-o", "json") == 0
    found = printed(capsys)
    assert found["exemptible"] is True
    path, line = found["source"].split(":")
    assert (home.parent / path).read_text().splitlines()[int(line) - 1] == "#   id: EU-GDPR-CHV"
    assert run("show", "EU-GDPR-CHV") == 0
    assert "C-GDPR-44" in capsys.readouterr().out
    assert run("show", "NO-SUCH-RULE") == 2


def test_the_calendar_lists_what_ends_drafts_and_reviews(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("calendar", *AT, "-o", "json") == 0
    found = printed(capsys)
    british = {event["kind"]: event["day"] for event in found if event["name"] == "adequacy/GB"}
    assert british["ends"] == "2031-12-27"
    assert [event["name"] for event in found if event["kind"] == "draft"] == ["rules/US-EAR-RASA"]
    days = [event["day"] for event in found if event["day"]]
    assert days == sorted(days)
    assert days[0] >= "2026-11-22"
    assert run("calendar", *AT, "--until", "2027-03-01", "-o", "json") == 0
    assert all((event["day"] or "2027") < "2027-03-01" for event in printed(capsys))
    assert run("calendar", *AT) == 0
    assert "not yet" in capsys.readouterr().out


OVERLAY = """# METADATA
# title: What Acme asks
# scope: package
package carnet.acme

import data.carnet.places

# METADATA
# title: No place outside Europe
refused contains place if {
\tsome place in places.countries
\tnot place in {"DE", "FR"}
}
"""


def test_check_holds_rego_to_the_profile_and_to_opas_own_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "overlay.rego"
    policy.write_text(OVERLAY)
    assert run("check", tmp_path) == 0
    assert printed(capsys) == []
    policy.write_text(OVERLAY.replace("some place in places.countries", "some place in http.send({}).body"))
    assert run("check", policy) == 2
    assert "http.send is not in the profile" in printed(capsys)[0]
    policy.write_text(OVERLAY.replace("\t", "  "))
    assert run("check", policy) == 2
    assert "opa fmt" in printed(capsys)[0]
    policy.write_text(OVERLAY.replace("not place", "unused := 1\n\tnot place"))
    assert run("check", policy) == 2
    assert any("unused" in line for line in printed(capsys))
    assert run("check", tmp_path / "nothing") == 2
    monkeypatch.delenv("CARNET_OPA")
    monkeypatch.delenv("CARNET_REGAL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    policy.write_text(OVERLAY)
    capsys.readouterr()
    assert run("check", policy) == 0
    told = capsys.readouterr().err
    assert "profile alone" in told
    assert "nothing was linted" in told


@pytest.mark.usefixtures("regal")
def test_check_says_what_regal_finds_and_in_which_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = tmp_path / "overlay.rego"
    policy.write_text(OVERLAY + "\ncamelCase := 1\n")
    assert run("check", policy) == 2
    (found,) = printed(capsys)
    assert found.startswith(f"regal: {policy}:15: custom/naming-convention: ")
    assert run("check") == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == []
    assert "linted" not in told.err


@pytest.mark.usefixtures("regal")
def test_check_lints_an_overlay_beside_the_rules_that_it_stands_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "overlay"
    shutil.copytree(home / "examples" / "overlay", folder)
    assert run("check", "--overlay", folder) == 0
    tests = folder / "overlay_test.rego"
    tests.write_text(tests.read_text() + "\ntest_nothing if data.carnet.nobody.knows\n")
    capsys.readouterr()
    assert run("check", "--overlay", folder) == 2
    assert [line.split(":")[1] for line in printed(capsys)] == [" overlay_test.rego"]


@pytest.fixture
def regal(monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_regal()
    if found is None:
        pytest.skip("no Regal: set CARNET_REGAL or put `regal` on the path")
    monkeypatch.setenv("CARNET_REGAL", str(found))


def test_tests_run_over_our_rules_and_data(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "overlay.rego").write_text(OVERLAY)
    tests = tmp_path / "overlay_test.rego"
    tests.write_text('package carnet.acme_test\n\nimport data.carnet.acme\n\ntest_us if "US" in acme.refused\n')
    assert run("test", tmp_path) == 0
    assert "data.carnet.acme_test.test_us: PASS" in capfd.readouterr().out
    tests.write_text(tests.read_text().replace('"US" in', '"FR" in'))
    assert run("test", tmp_path) == 2


def test_every_rule_of_the_bundle_has_a_source() -> None:
    texts = [text.decode() for text in Bundle.load().rules.values()]
    for rule in Bundle.load().catalogue():
        assert sum(f"#   id: {rule.id}\n" in text for text in texts) == 1
