"""Overlays, exemptions and review through both engines: what is added, what is lifted, and what can not be."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from carnet.core.decision import DecisionBody, RunnerVerdict, Verdict
from carnet.core.errors import PolicyEngineUnavailable
from carnet.core.explanation import explain
from carnet.core.runner import Isolation, RunnerFacts
from policy.bundle import Bundle
from policy.engine import GrantedExemption, JobQuery
from policy.engines.choice import EngineName, opened
from policy.overlay import Overlay
from policy.rendering import Renderer
from tests.opa_support import NOW, clauses, hospital, opa_binary, query_of, runner_of
from tests.overlay_support import NAME, files, overlay, renamed

pytestmark = pytest.mark.opa

# One rule at odds with itself, and one that says what no set of places is: both parse, compile and pass the gate.
AT_ODDS = 'package carnet.org.bad\n\nquorum := 2 if input.gateway.approvals >= 0\n\nblocked["BAD-GENETIC"] := 3\n'


def at_odds() -> Overlay:
    whole = {path: text.decode().replace(NAME, "bad").replace(NAME.upper(), "BAD") for path, text in files().items()}
    return Overlay.read("bad", {**{path: text.encode() for path, text in whole.items()}, "more.rego": AT_ODDS.encode()})


BUNDLE = Bundle.load().with_overlays([overlay(), renamed("lab"), at_odds()])
GENETIC = hospital(data={"classes": ["genetic"]}, transfer={"mechanisms": [clauses(["SG", "IN"])]})


class Asker:
    """One engine and one loop for the whole file."""

    def __init__(self, name: EngineName) -> None:
        self.loop = asyncio.Runner()
        binary = opa_binary() if name is EngineName.OPA else None
        self.engine = self.loop.run(opened(name, bundle=BUNDLE, binary=binary))

    def decide(self, document: dict[str, Any] | None = None, **gateway: Any) -> DecisionBody:
        return self.loop.run(self.engine.decide(query(document, **gateway)))

    def judge(self, *runners: RunnerFacts, document: dict[str, Any] | None = None, **gateway: Any) -> list[bool]:
        verdicts: tuple[RunnerVerdict, ...] = self.loop.run(self.engine.judge(query(document, **gateway), runners))
        return [verdict.permitted for verdict in verdicts]

    def close(self) -> None:
        self.loop.run(self.engine.close())
        self.loop.close()


@pytest.fixture(scope="module", params=[EngineName.OPA, EngineName.EMBEDDED])
def engine(request: pytest.FixtureRequest) -> Iterator[Asker]:
    asker = Asker(request.param)
    yield asker
    asker.close()


def query(document: dict[str, Any] | None = None, **gateway: Any) -> JobQuery:
    found = query_of(document or GENETIC)
    return replace(found, gateway=replace(found.gateway, **gateway))


def exemption(rule: str = "KLINIKUM-GENETIC", *places: str, **changes: Any) -> GrantedExemption:
    fields: dict[str, Any] = {
        "id": "E1", "rule": rule, "places": places or ("SG",), "classes": (), "purposes": (), "expires_ns": NOW + 1,
    }  # fmt: skip
    return GrantedExemption(**fields | changes)


def test_the_overlay_that_the_gateway_names_decides_and_no_other_does(engine: Asker) -> None:
    plain = engine.decide()
    assert {"SG", "IN"} <= set(plain.permitted)
    body = engine.decide(overlay="klinikum", approvals=1)
    assert set(plain.permitted) - set(body.permitted) == {"SG"}
    assert dict(body.blocked)["KLINIKUM-GENETIC"] == ("SG",)
    assert set(body.rules_evaluated) - set(plain.rules_evaluated) == {"KLINIKUM-APPROVAL", "KLINIKUM-GENETIC"}
    other = engine.decide(overlay="lab", approvals=1)
    assert "LAB-GENETIC" in dict(other.blocked)
    assert "KLINIKUM-GENETIC" not in other.rules_evaluated


def test_a_runner_rule_of_an_overlay_keeps_weak_runners_out(engine: Asker) -> None:
    weak, strong = runner_of("DE", isolation=Isolation.GVISOR), runner_of("DE", isolation=Isolation.MICROVM)
    assert engine.judge(weak, strong, overlay="klinikum", approvals=1) == [False, True]
    assert engine.judge(weak, strong) == [True, True]


@pytest.mark.parametrize("name", ["unheard", "klini", "klinikum2", "org"])
def test_attack_an_overlay_that_the_bundle_does_not_have_is_asked_for(engine: Asker, name: str) -> None:
    with pytest.raises(PolicyEngineUnavailable):
        engine.decide(overlay=name)
    with pytest.raises(PolicyEngineUnavailable):
        engine.judge(runner_of("DE"), overlay=name)
    assert engine.decide(overlay="klinikum").verdict is Verdict.REVIEW


def test_an_overlay_that_is_at_odds_with_itself_denies_its_own_organisation_alone(engine: Asker) -> None:
    with pytest.raises(PolicyEngineUnavailable):
        engine.decide(overlay="bad", approvals=1)
    assert engine.decide(overlay="lab", approvals=1).verdict is Verdict.PERMIT
    assert engine.decide().verdict is Verdict.PERMIT


def test_genetic_data_waits_for_one_other_person(engine: Asker) -> None:
    waiting, approved = engine.decide(overlay="klinikum"), engine.decide(overlay="klinikum", approvals=1)
    assert waiting.verdict is Verdict.REVIEW
    assert waiting.permitted == approved.permitted
    assert not any(waiting.permits(place) for place in waiting.permitted)
    assert approved.verdict is Verdict.PERMIT
    [denial] = explain(waiting, "DE").denials
    assert denial.rule == "KLINIKUM-APPROVAL"
    assert denial.reason is not None
    assert "carnet job approve" in denial.reason.fix[-1]
    assert explain(approved, "DE").permitted
    assert [found.rule for found in explain(waiting, "SG").denials] == ["KLINIKUM-GENETIC"]


def test_an_exemption_from_a_rule_of_the_overlay(engine: Asker) -> None:
    body = engine.decide(overlay="klinikum", approvals=1, exemptions=(exemption(),))
    assert "SG" in body.permitted
    assert [(used.id, used.rule, used.expires_ns) for used in body.exemptions_used] == [
        ("E1", "KLINIKUM-GENETIC", NOW + 1)
    ]
    assert body.valid_until_ns == NOW + 1
    assert engine.decide(exemptions=(exemption(),)).payload == engine.decide().payload


def test_an_exemption_from_chapter_v_lets_runners_take_the_job(engine: Asker) -> None:
    runner = runner_of("BO", operator="another.example")
    assert engine.judge(runner, document=hospital()) == [False]
    assert engine.judge(runner, document=hospital(), exemptions=(exemption("EU-GDPR-CHV", "BO"),)) == [True]


@pytest.mark.parametrize(
    ("rule", "document"),
    [
        ("US-OFAC-EMB", hospital(data={"classes": ["technical"]})),
        ("US-ITAR-US", hospital(data={"classes": ["technical"]}, technology={"controlled": "yes", "itar": "yes"})),
        (
            "US-DSP-BULK",
            hospital(
                controller={"country": "US"},
                data={"records": 10**6, "origin_jurisdiction": "US", "subject_jurisdictions": ["US"]},
            ),
        ),
        ("ORG-NEVER", hospital(data={"classes": ["technical"]}, constraints={"never": ["FR"]})),
    ],
)
def test_attack_an_exemption_from_what_nobody_is_exempt_from(
    engine: Asker, rule: str, document: dict[str, Any]
) -> None:
    plain = engine.decide(document)
    places = dict(plain.blocked)[rule][:64]
    assert engine.decide(document, exemptions=(exemption(rule, *places),)).payload == plain.payload


def test_every_word_of_an_overlay_can_be_told_in_both_languages(engine: Asker) -> None:
    found = engine.decide(overlay="klinikum")
    for language, words in (("en", "The Klinikum's genetic data"), ("fr", "Les données génétiques")):
        said = [Renderer(bundle=BUNDLE, language=language).reason(reason).text for reason in found.reasons]  # type: ignore[arg-type]
        assert any(text.startswith(words) for text in said)
