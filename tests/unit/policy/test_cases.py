"""Officers' cases: what a file may say, what is refused with its path, and that every rule which denies is shown."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carnet.core.errors import FieldInvalid
from policy.bundle import Bundle, home
from policy.cases import Case, Kind, case_files, cases_bytes_max, complaints, instant, read_cases
from policy.engines.embedded import EmbeddedEngine
from tests.differential.officer import exceptions, holes, our_cases
from tests.opa_support import NOW

BUNDLE = Bundle.load()
CASES = our_cases(BUNDLE)
# research and design name these traps; each has cases of its own.
TRAPS = {
    "4e091-is-not-enforced", "attestation-without-a-time", "brazil-day", "brazil-eea",
    "cambodia-left-126-1", "cambodia-left-d5",
    "crimea-has-no-country-code", "cyprus-suspended-from-year-to-year", "dsp-applies-to-encrypted-data",
    "eea-outside-the-customs-territory", "evidence-of-itself", "gb-adequacy-ends", "hong-kong-and-macau-are-china",
    "hong-kong-goes-as-china", "macau-stands-beside-d5", "new-caledonia-is-not-eu", "operator-parent-in-the-us",
    "reunion-is-eu", "syria-programme-ended", "us-adequacy-without-certification", "volumes-over-twelve-months",
}  # fmt: skip
# Traps that no facts can show, and the tests that hold them.
ELSEWHERE = {
    "undefined is a refusal": "test_what_an_engine_says_when_nothing_is_defined_is_no_decision",
    "an unknown obligation is a refusal": "test_an_obligation_that_nobody_knows_makes_the_body_unusable",
    "a status older than its limit": "test_a_fresh_status_of_this_leaf_holds_for_an_hour",
    "whoever asks for an exemption approves it": "test_whoever_asked_does_not_approve_whatever_their_roles",
    "an overlay tries to allow": "test_an_overlay_opens_no_place",
    "an overlay writes into a rule of the law": "test_attack_a_rule_that_is_not_the_overlays_own",
    "malformed JSON is refused before an engine": "test_facts_that_the_gateway_refuses_reach_no_engine",
}


def case_file(**changes: Any) -> bytes:
    entry = {"name": "France", "rule": "EU-GDPR-CHV", "kind": "allow", "expect": {"permitted": ["FR"]}} | changes
    kept = {name: value for name, value in entry.items() if value is not None}
    return json.dumps({"about": "x", "ordinary": {"at": "2026-11-22"}, "cases": [kept]}).encode()


def read_one(**changes: Any) -> Case:
    (found,) = read_cases(case_file(**changes), file="f.json", bundle=BUNDLE)
    return found


def refused(data: bytes) -> str:
    with pytest.raises(FieldInvalid) as error:
        read_cases(data, file="f.json", bundle=BUNDLE)
    return error.value.metadata["field"]


def test_every_rule_that_denies_is_shown_allowing_denying_at_its_boundary_and_with_the_unknown() -> None:
    assert holes(CASES, BUNDLE) == []
    assert len(CASES) >= 290


@pytest.mark.parametrize("kind", list(Kind))
def test_the_control_a_case_that_is_gone_is_missed(kind: Kind) -> None:
    less = [case for case in CASES if (case.rule, case.kind) != ("US-DSP-BULK", kind)]
    assert len(less) < len(CASES)
    assert holes(less, BUNDLE) == [f"US-DSP-BULK has no case that shows: {kind}"]


def test_a_boundary_with_one_side_is_none() -> None:
    less = [
        case for case in CASES if not (case.rule == "RU-23FZ" and case.kind is Kind.BOUNDARY and case.expected.blocked)
    ]
    assert holes(less, BUNDLE) == ["RU-23FZ has no case that shows: boundary"]


def test_a_rule_without_cases_and_an_exception_without_need_are_told() -> None:
    less = [case for case in CASES if case.rule != "SA-PDPL-29"]
    assert len(holes(less, BUNDLE)) == len(Kind)
    (case,) = [case for case in CASES if case.name == "A forbidden place that does not exist stops everything"]
    both = [replace(case, kind=Kind.BOUNDARY), replace(_allowing("CARNET-PLACES"), kind=Kind.BOUNDARY)]
    assert "CARNET-PLACES has cases and an exception: boundary" in holes([*CASES, *both], BUNDLE)
    silent = replace(case, expected=replace(case.expected, blocked=()))
    assert f"{case.file}: {case.name}: says nothing of its rule" in holes([*CASES, silent], BUNDLE)


def _allowing(rule: str) -> Case:
    return next(case for case in CASES if case.rule == rule and case.kind is Kind.ALLOW)


def test_the_exceptions_are_of_rules_that_there_are_each_with_a_reason_and_no_more_than_these() -> None:
    rules = {rule.id for rule in BUNDLE.catalogue() if rule.effect == "deny"}
    assert {rule for rule, _ in exceptions()} <= rules
    assert all(len(why) > 20 for why in exceptions().values())
    # One more is a decision, and is made here as well.
    assert len(exceptions()) == 17


def test_every_trap_has_a_case() -> None:
    assert {case.trap for case in CASES} - {""} == TRAPS


def test_every_other_trap_has_a_test() -> None:
    names = set()
    for path in (home.parent / "tests").rglob("test_*.py"):
        found = ast.walk(ast.parse(path.read_text("utf-8")))
        names |= {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert set(ELSEWHERE.values()) <= names


def test_a_regime_has_a_file_and_every_file_says_what_it_is_about() -> None:
    names = {path.stem for path in case_files(())}
    regimes = {str(row["package"]).removeprefix("carnet.") for row in BUNDLE.rows("rules").values()}
    assert names == regimes


def test_changes_are_merged_and_lists_are_replaced() -> None:
    found = read_one(facts={"data": {"classes": ["public"]}}, runner={"jurisdiction": "DE-BY"})
    assert found.query.facts.data.classes == ("public",)
    assert found.query.facts.data.records == 569
    assert found.runners[0].jurisdiction == "DE-BY"
    assert found.runners[0].country == "DE"
    assert read_one().runners == ()


def test_days_and_times_are_exact_to_the_nanosecond() -> None:
    assert instant("2026-11-22", "at") == NOW
    assert instant("2026-11-22T00:00:00Z", "at") == NOW
    assert instant("2026-11-21T23:59:59.999999999Z", "at") == NOW - 1
    assert instant("2026-11-22T01:02:03.5Z", "at") == NOW + (3723 * 10 + 5) * 10**8
    mechanism = {"type": "SCC", "importer": "x", "countries": ["IN"], "assessment_completed": True}
    found = read_one(facts={"transfer": {"mechanisms": [mechanism | {"expires_ns": "2026-11-22"}]}})
    assert found.query.facts.transfer.mechanisms[0].expires_ns == NOW


@pytest.mark.parametrize(
    "text", ["", "2026-13-01", "2026-11-22T24:00:00Z", "2026-11-22T00:00:00", "now", "2026-11-22 "]
)
def test_a_time_that_is_none_is_refused(text: str) -> None:
    assert refused(case_file(at=text)) == "cases[0].at"


BAD: dict[str, tuple[bytes, str]] = {
    "repeated key": (case_file().replace(b'"name"', b'"name": "x", "name"'), "cases[0].name"),
    "NUL": (case_file(name="a\0b"), "cases[0].name"),
    "2^64": (case_file(gateway={"volumes": {"health": 2**64}}), "cases[0].gateway.volumes.health"),
    "1e400": (case_file().replace(b'"about": "x"', b'"about": 1e400'), "about"),
    "NaN": (case_file().replace(b'"about": "x"', b'"about": NaN'), "about"),
    "10 MB": (case_file(name="x" * 10 * 1024 * 1024), "document"),
    "no object": (b"[]", "document"),
    "no JSON": (b"{", "document"),
    "unknown field": (case_file(mood="good"), "$.cases[0].mood"),
    "unknown kind": (case_file(kind="maybe"), "$.cases[0].kind"),
    "wrong type": (case_file(name=7), "$.cases[0].name"),
    "nothing expected": (case_file(expect={}), "$.cases[0].expect"),
    "unknown expectation": (case_file(expect={"allowed": ["FR"]}), "$.cases[0].expect.allowed"),
    "rule without kind": (case_file(kind=None), "$.cases[0].kind"),
    "unknown rule": (case_file(rule="EU-NOBODY"), "cases[0].rule"),
    "unknown rule expected": (case_file(expect={"blocked": {"EU-NOBODY": ["FR"]}}), "cases[0].expect.blocked"),
    "unknown class": (case_file(facts={"data": {"classes": ["secret"]}}), "cases[0].facts.data.classes[0]"),
    "unknown fact": (case_file(facts={"mood": "good"}), "cases[0].facts.mood"),
    "fact of a wrong type": (case_file(facts={"data": {"records": "many"}}), "cases[0].facts.data.records"),
    "fact that is gone": (case_file(facts={"data": {"records": None}}), "cases[0].facts.data.records"),
    "unknown screening": (case_file(gateway={"screening": "maybe"}), "$.cases[0].gateway.screening"),
    "unknown gateway fact": (case_file(gateway={"mood": "good"}), "$.cases[0].gateway.mood"),
    "no time": (case_file().replace(b'"ordinary": {"at": "2026-11-22"}, ', b""), "cases[0].at"),
    "runner expected and none given": (case_file(expect={"runner": "permit"}), "cases[0].runner"),
    "a warning about runners and none given": (case_file(expect={"not_warned": ["US-EAR-REMOTE"]}), "cases[0].runner"),
    "unknown evidence": (case_file(runner={"evidence": "rumour"}), "cases[0].runner.evidence"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_case_is_refused_with_its_path(name: str) -> None:
    data, path = BAD[name]
    assert refused(data) == path


def test_two_cases_of_one_name_are_refused() -> None:
    document = json.loads(case_file())
    document["cases"] *= 2
    assert refused(json.dumps(document).encode()) == "cases[1].name"


def test_a_file_of_the_greatest_size_is_read() -> None:
    data = case_file()
    assert len(read_cases(data + b" " * (cases_bytes_max - len(data)), file="f.json", bundle=BUNDLE)) == 1
    assert refused(data + b" " * (cases_bytes_max - len(data) + 1)) == "document"


def test_exemptions_and_approvals_reach_the_question() -> None:
    exemption = {
        "id": "E-1", "rule": "EU-GDPR-CHV", "places": ["IN"], "classes": [], "purposes": [], "expires_ns": "2026-12-01",
    }  # fmt: skip
    found = read_one(gateway={"exemptions": [exemption], "approvals": 2}).query.gateway
    assert found.approvals == 2
    assert found.exemptions[0].places == ("IN",)
    assert found.exemptions[0].expires_ns == NOW + 9 * 86_400 * 10**9


WRONG: dict[str, dict[str, Any]] = {
    "the verdict is permit, not deny": {"verdict": "deny"},
    "US is not permitted": {"permitted": ["US"]},
    "FR is permitted": {"not_permitted": ["FR"]},
    "EU-GDPR-CHV does not block FR": {"blocked": {"EU-GDPR-CHV": ["FR"]}},
    "EU-GDPR-CHV blocks US": {"not_blocked": {"EU-GDPR-CHV": ["US"]}},
    "SEC-DORA does not warn": {"warned": ["SEC-DORA"]},
    "EU-GDPR-SCOPE warns": {"not_warned": ["EU-GDPR-SCOPE"]},
    "US-EAR-REMOTE does not warn": {"warned": ["US-EAR-REMOTE"]},
    "the obligation recipients_max is 2, not 3": {"obligations": {"recipients_max": 3}},
    "embargoes/DE is not named": {"unverified": ["embargoes/DE"]},
    "it is valid until": {"valid_until": "2099-01-01"},
    "the runner's verdict is permit, not deny: no rule": {"runner": "deny"},
    "US-ITAR-OPERATOR does not refuse the runner": {"refused": ["US-ITAR-OPERATOR"]},
}


@pytest.mark.parametrize("words", WRONG)
async def test_every_expectation_that_does_not_hold_is_told(words: str) -> None:
    engine = EmbeddedEngine(bundle=BUNDLE, seconds_max=60)
    await engine.start()
    try:
        case = read_one(expect=WRONG[words], runner={})
        body, verdicts = await engine.decide(case.query), await engine.judge(case.query, case.runners)
    finally:
        await engine.close()
    (told,) = complaints(case, body, verdicts)
    assert told.startswith(words)


def test_a_path_is_a_file_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b.json").touch()
    (tmp_path / "a.json").touch()
    (tmp_path / "c.rego").touch()
    assert case_files((tmp_path, tmp_path / "b.json")) == (
        *(tmp_path / name for name in ("a.json", "b.json", "b.json")),
    )


def test_the_cases_on_the_page_are_cases() -> None:
    page = (home.parent / "docs" / "protocol.md").read_text("utf-8")
    (block,) = [part.partition("```")[0] for part in page.split("```json\n") if '"cases": [' in part]
    (found,) = read_cases(block.encode(), file="protocol.md", bundle=BUNDLE)
    assert found.kind is Kind.ALLOW
