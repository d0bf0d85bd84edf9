"""Both stages through both engines: the demonstration's case, the traps, and the times at which law changes."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from carnet.core.decision import DecisionBody, RunnerVerdict, Verdict, check_usable, parse_body, recipients_max
from carnet.core.errors import Bug, PolicyDenied
from carnet.core.runner import Evidence, Isolation, RunnerFacts
from policy.bundle import Bundle
from policy.engine import Screening
from policy.engines.choice import EngineName, opened
from policy.rendering import Renderer
from tests.opa_support import DAY, GB_ENDS, NOW, OPERATOR, clauses, hospital, opa_binary, query_of, runner_of

pytestmark = pytest.mark.opa

BUNDLE = Bundle.load()


class Asker:
    """One child and one loop for the whole file."""

    def __init__(self, name: EngineName) -> None:
        self.loop = asyncio.Runner()
        binary = opa_binary() if name is EngineName.OPA else None
        self.engine = self.loop.run(opened(name, bundle=BUNDLE, binary=binary))

    def decide(self, document: dict[str, Any] | None = None, **options: Any) -> DecisionBody:
        return self.loop.run(self.engine.decide(query_of(document, **options)))

    def judge(self, document: dict[str, Any], *runners: RunnerFacts) -> tuple[RunnerVerdict, ...]:
        return self.loop.run(self.engine.judge(query_of(document), runners))

    def close(self) -> None:
        self.loop.run(self.engine.close())
        self.loop.close()


@pytest.fixture(scope="module", params=[EngineName.OPA, EngineName.EMBEDDED])
def engine(request: pytest.FixtureRequest) -> Iterator[Asker]:
    asker = Asker(request.param)
    yield asker
    asker.close()


def denials(found: DecisionBody | RunnerVerdict) -> dict[str, tuple[str, ...]]:
    return {reason.rule: reason.jurisdictions for reason in found.reasons if reason.effect == "deny"}


def test_german_health_data_may_go_to_the_eea_and_adequate_countries_and_not_to_the_us(engine: Asker) -> None:
    body = engine.decide()
    check_usable(body, now_ns=NOW)
    assert {"DE", "FR", "IS", "LI", "NO", "CH", "GB", "JP", "NZ", "BR", "RE"} <= set(body.permitted)
    assert not {"US", "IN", "CN", "RU", "NC", "GL", "CU"} & set(body.permitted)
    assert recipients_max(body.obligations) == 2
    assert body.revisions == BUNDLE.revisions
    assert engine.engine.version != "unknown"


def test_limited_to_the_us_it_is_denied_with_rule_citation_and_what_would_permit_it(engine: Asker) -> None:
    body = engine.decide(hospital(constraints={"only": ["US"]}))
    assert body.verdict is Verdict.DENY
    assert body.permitted == ()
    first = body.reasons[0]
    assert first.rule == "EU-GDPR-CHV"
    assert first.jurisdictions == ("US",)
    assert "C-GDPR-45" in first.citations
    assert any("certified" in fix for fix in first.fix)
    assert "DE" in dict(first.parameters)["permitted_without_basis"]  # type: ignore[operator]
    with pytest.raises(PolicyDenied):
        check_usable(body, now_ns=NOW)


def test_a_certified_importer_permits_the_us_and_its_own_runners_only(engine: Asker) -> None:
    importers = [{"entity": OPERATOR, "dpf_certified": "yes", "uk_bridge": "unknown", "swiss_certified": "unknown"}]
    document = hospital(constraints={"only": ["US"]}, transfer={"importers": importers})
    assert engine.decide(document).permitted == ("US",)
    own, other = engine.judge(document, runner_of("US"), runner_of("US", operator="another.example"))
    assert own.permitted
    assert denials(other) == {"EU-GDPR-IMPORTER": ("US",)}


@pytest.mark.parametrize("word", ["no", "unknown"])
def test_an_importer_whose_certificate_is_not_known_is_none(engine: Asker, word: str) -> None:
    document = hospital(
        transfer={
            "importers": [
                {"entity": OPERATOR, "dpf_certified": word, "uk_bridge": "unknown", "swiss_certified": "unknown"}
            ]
        }
    )
    assert "US" not in engine.decide(document).permitted


def test_standard_clauses_end_with_their_last_nanosecond(engine: Asker) -> None:
    document = hospital(transfer={"mechanisms": [clauses(["IN"], expires_ns=NOW + DAY)]})
    assert "IN" in engine.decide(document, now_ns=NOW + DAY - 1).permitted
    assert "IN" not in engine.decide(document, now_ns=NOW + DAY).permitted
    assert engine.decide(document).valid_until_ns == NOW + DAY


@pytest.mark.parametrize(("now_ns", "permitted"), [(GB_ENDS - 1, True), (GB_ENDS, False), (GB_ENDS + 1, False)])
def test_gb_adequacy_ends_at_2031_12_27_to_the_nanosecond(engine: Asker, now_ns: int, permitted: bool) -> None:
    body = engine.decide(now_ns=now_ns)
    assert ("GB" in body.permitted) is permitted
    assert body.valid_until_ns > now_ns


def test_crimea_is_refused_by_its_region_and_a_bare_ukraine_as_unknown(engine: Asker) -> None:
    document = hospital(data={"classes": ["technical"]})
    body = engine.decide(document)
    assert body.permits("UA-30")
    assert not body.permits("UA-43")
    kyiv, crimea, bare = engine.judge(document, runner_of("UA-30"), runner_of("UA-43"), runner_of("UA"))
    assert kyiv.permitted
    assert "US-OFAC-EMB" in denials(crimea)
    assert denials(bare) == {"US-OFAC-REGION": ("UA",)}


def test_a_place_on_the_runners_own_word_is_unknown(engine: Asker) -> None:
    (found,) = engine.judge(hospital(), runner_of("FR", evidence=Evidence.SELF))
    assert denials(found) == {"CARNET-RUNNER-PLACE": ("FR",)}


def test_a_german_runner_of_an_american_parent_is_permitted_with_a_warning_or_forbidden_by_the_organisation(
    engine: Asker,
) -> None:
    exposed = runner_of("DE", parent_country="US", certifications=("C5",))
    (found,) = engine.judge(hospital(), exposed)
    assert found.permitted
    assert [reason.rule for reason in found.reasons] == ["EXP-PARENT-ABROAD"]
    (found,) = engine.judge(hospital(constraints={"parent_never": ["US"]}), exposed)
    assert denials(found) == {"EXP-PARENT-NEVER": ("DE",)}


def test_a_runner_without_ownership_facts_is_refused(engine: Asker) -> None:
    (found,) = engine.judge(hospital(), runner_of("DE", operator_country="ZZ", parent_country="ZZ"))
    assert denials(found) == {"US-OFAC-OPERATOR": ("DE",)}


def test_a_runner_that_is_too_weak_is_refused(engine: Asker) -> None:
    (found,) = engine.judge(hospital(), runner_of("DE", isolation=Isolation.PROCESS))
    assert set(denials(found)) == {"ORG-ISOLATION-RUNNER", "EU-GDPR-ART32-RUNNER"}


def test_an_unknown_place_in_a_limit_permits_nothing(engine: Asker) -> None:
    body = engine.decide(hospital(constraints={"only": ["DE", "EU"]}))
    assert body.verdict is Verdict.DENY
    assert denials(body) == {"CARNET-PLACES": ()}


@pytest.mark.parametrize(
    ("word", "verdict"), [("clear", "permit"), ("off", "permit"), ("hit", "deny"), ("unknown", "deny")]
)
def test_screening_that_is_not_clear_permits_nothing(engine: Asker, word: str, verdict: str) -> None:
    body = engine.decide(screening=Screening(word))
    assert body.verdict == verdict
    assert any(reason.rule == "CARNET-SCREENING-OFF" for reason in body.reasons) is (word == "off")


def test_a_replay_is_equal_byte_for_byte(engine: Asker) -> None:
    first = engine.decide()
    assert engine.decide(now_ns=NOW + DAY).payload == first.payload
    assert parse_body(first.payload) == first


def test_unverified_rows_that_were_used_are_listed(engine: Asker) -> None:
    used = set(engine.decide().unverified_rows_used)
    assert {"adequacy/CH", "embargoes/CU", "groups/EU", "classes"} <= used
    assert "adequacy/GB" not in used
    assert "adequacy/CH" not in engine.decide(hospital(data={"classes": ["technical"]})).unverified_rows_used


def test_no_runner_is_no_question_and_a_fleet_is_no_short_list(engine: Asker) -> None:
    assert engine.judge(hospital()) == ()
    with pytest.raises(Bug):
        engine.judge(hospital(), *[runner_of("DE")] * 33)
    assert len(engine.judge(hospital(), *[runner_of("DE")] * 32)) == 32


def test_every_reason_can_be_told_in_english_and_in_french(engine: Asker) -> None:
    document = hospital(
        constraints={"never": ["US-CA"], "parent_never": ["US"], "isolation_min": "gvisor"},
        transfer={"mechanisms": [clauses(["IN"]), clauses(["SG"], type="IDTA")]},
    )
    runners = (
        runner_of("US"),
        runner_of("IN", operator="x"),
        runner_of("UA", evidence=Evidence.SELF, parent_country="US"),
    )
    bodies = [
        engine.decide(document, screening=Screening.OFF),
        engine.decide(document, screening=Screening.HIT),
        engine.decide(hospital(constraints={"only": ["US", "XX"]}, controller={"country": "CU"})),
    ]
    reasons = [reason for body in bodies for reason in body.reasons]
    reasons += [reason for verdict in engine.judge(document, *runners) for reason in verdict.reasons]
    assert len({reason.rule for reason in reasons}) > 15
    english, french = (Renderer(bundle=BUNDLE, language=language) for language in ("en", "fr"))  # type: ignore[arg-type]
    for reason in reasons:
        said, dit = english.reason(reason), french.reason(reason)
        assert said.text
        assert said.text != dit.text
        assert said.fix == reason.fix, "the sentences of the decision are those of the catalogue"
        assert len(dit.fix) == len(said.fix)
        assert "{" not in said.text + dit.text
        assert len(said.citations) == len(reason.citations)
    assert "legal advice" in english.disclaimer(bodies[0])
    assert "juridique" in french.disclaimer(bodies[0])
