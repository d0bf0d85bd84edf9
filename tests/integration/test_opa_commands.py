"""`carnet policy`: what it prints where, and how it ends."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from carnet.core.decision import parse_body
from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from carnet.core.facts import parse_facts
from carnet.core.runner import parse_runner
from policy.bundle import Bundle, home
from policy.commands.app import app
from policy.commands.common import asking, local, moment
from policy.engine import JobQuery
from policy.engines.answers import verdicts_of
from policy.engines.choice import EngineName
from policy.engines.opa import Endpoint, OpaServer
from tests.opa_support import hospital, opa_binary, query_of, runner_of

EXAMPLES = home / "examples"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments], exit_on_error=False, print_error=False)
    return int(ended.value.code or 0)


@pytest.fixture
def binary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))


pytestmark = pytest.mark.opa


@pytest.mark.usefixtures("binary")
def test_eval_prints_the_whole_decision_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("eval", "--facts", EXAMPLES / "german-hospital.json", "-o", "json") == 0
    body = parse_body(capsys.readouterr().out.encode())
    assert body.permits("DE")
    assert not body.permits("US")


@pytest.mark.usefixtures("binary")
def test_a_denial_ends_with_3_and_says_rule_citation_and_what_would_permit_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("eval", "--facts", EXAMPLES / "german-hospital-us.json") == 3
    captured = capsys.readouterr()
    for words in ("DENY", "EU-GDPR-CHV", "C-GDPR-45", "-> For the US", "United States (US)"):
        assert words in captured.out
    assert "legal advice" in captured.err


@pytest.mark.usefixtures("binary")
def test_eval_at_a_day_decides_by_the_law_of_that_day(capsys: pytest.CaptureFixture[str]) -> None:
    permitted = {}
    for at in ("2031-12-26", "2031-12-27", "2031-12-26T23:59:59.999999+00:00"):
        run("eval", "--facts", EXAMPLES / "german-hospital.json", "-o", "json", "--at", at)
        permitted[at] = "GB" in json.loads(capsys.readouterr().out)["permitted"]
    assert permitted == {"2031-12-26": True, "2031-12-27": False, "2031-12-26T23:59:59.999999+00:00": True}


@pytest.mark.usefixtures("binary")
def test_eval_judges_a_runner_as_well(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    facts = EXAMPLES / "german-hospital.json"
    assert run("eval", "--facts", facts, "--runner", EXAMPLES / "runner-fr.json", "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"]["verdict"] == "permit"
    assert found["decision"]["verdict"] == "permit"
    forbidding = tmp_path / "facts.json"
    forbidding.write_text(json.dumps(hospital(constraints={"parent_never": ["US"]})))
    assert run("eval", "--facts", forbidding, "--runner", EXAMPLES / "runner-fr.json", "--language", "fr") == 3
    assert "EXP-PARENT-NEVER" in capsys.readouterr().out


@pytest.mark.usefixtures("binary")
@pytest.mark.parametrize("engine", [EngineName.OPA, EngineName.EMBEDDED])
async def test_eval_prints_the_verdict_as_the_engine_gave_it(
    engine: EngineName, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    facts, runner = tmp_path / "facts.json", EXAMPLES / "runner-fr.json"
    facts.write_text(json.dumps(hospital(constraints={"parent_never": ["US"], "isolation_min": "tee"})))
    question = ("eval", "--facts", facts, "--runner", runner, "--at", "2026-11-22", "--engine", engine)
    assert await asyncio.to_thread(run, *question, "-o", "json") == 3
    printed = json.loads(capsys.readouterr().out)["verdict"]
    bundle, runners = Bundle.load(), (parse_runner(runner.read_bytes()),)
    query = JobQuery(facts=parse_facts(facts.read_bytes()), gateway=local(), now_ns=moment("2026-11-22"))
    async with asking(bundle, engine) as asked:
        given = await asked.judge(query, runners)
    rules = bundle.rules_in_force(stage="runner", now_ns=query.now_ns)
    answer = {
        "schema": "carnet.verdicts/v1",
        "verdicts": [printed],
        "rules_evaluated": [*rules],
        "revisions": {"rules": bundle.revisions.rules, "data": bundle.revisions.data},
    }
    assert verdicts_of(answer, bundle=bundle, runners=runners, now_ns=query.now_ns) == given
    assert {reason["rule"] for reason in printed["reasons"]} >= {"EXP-PARENT-NEVER", "ORG-ISOLATION-RUNNER"}
    assert printed["obligations"]
    del printed["reasons"][0]["parameters"]
    with pytest.raises(PolicyEngineUnavailable):
        verdicts_of(answer, bundle=bundle, runners=runners, now_ns=query.now_ns)


@pytest.mark.parametrize("text", ["{}", "", "[]", '{"schema": "carnet.facts/v1"}'])
def test_a_malformed_file_ends_with_2(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(text)
    assert run("eval", "--facts", facts) == 2
    assert run("eval", "--facts", tmp_path / "missing.json") == 2
    assert run("eval", "--facts", EXAMPLES / "german-hospital.json", "--runner", facts) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "FIELD_INVALID" in captured.err


def test_without_an_opa_the_embedded_engine_answers_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    question = ("eval", "--facts", EXAMPLES / "german-hospital.json", "-o", "json", "--at", "2026-11-22")
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    assert run(*question, "--engine", "opa") == 0
    by_opa = capsys.readouterr().out
    monkeypatch.delenv("CARNET_OPA")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(*question) == 0
    assert capsys.readouterr().out == by_opa
    assert run(*question, "--engine", "opa") == 6
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "POLICY_ENGINE_UNAVAILABLE" in captured.err


def test_list_names_every_rule_with_citations_and_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", "-o", "json") == 0
    rules: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert rules["EU-GDPR-CHV"]["citations"]
    assert run("list") == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in rules)


@pytest.mark.parametrize("at", ["yesterday", "2026-02-30", "2026-01-01T00:00:00", "", "2026-13-01"])
def test_a_time_that_is_none_or_names_no_zone_is_refused(at: str) -> None:
    with pytest.raises(FieldInvalid):
        moment(at)


def test_a_time_is_exact_to_the_microsecond() -> None:
    assert moment("1970-01-02") == 86_400 * 10**9
    assert moment("2026-11-22T01:00:00.000001+01:00") == 1_795_305_600 * 10**9 + 1000
    assert moment(None) > moment("2026-01-01")


@pytest.mark.usefixtures("binary")
async def test_the_bundle_that_is_written_serves_from_an_external_opa(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    assert run("bundle", "--folder", folder) == 0
    bundle = Bundle.load()
    assert capsys.readouterr().out == bundle.revision + "\n"
    assert run("bundle", "--folder", folder) == 2
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("run", "--server", "--bundle", "bundle", "--addr", f"127.0.0.1:{port}", "--skip-version-check")
    process = await asyncio.create_subprocess_exec(
        opa_binary(), *arguments, "--authorization", "basic", "--log-level", "error", cwd=tmp_path, env={"HOME": "/"}
    )
    engine = OpaServer(endpoint=Endpoint.of(f"http://127.0.0.1:{port}"), bundle=bundle)
    try:
        for _ in range(400):
            if await engine.is_healthy():
                break
            await asyncio.sleep(0.05)
        assert (await engine.decide(query_of())).permits("DE")
        (verdict,) = await engine.judge(query_of(), (runner_of("FR"),))
        assert verdict.permitted
    finally:
        await engine.close()
        process.terminate()
        await process.wait()
