"""Laws of overlays and exemptions that hold for any facts, asked of both engines.

An overlay, the example's or one drawn from templates, never opens a place, lets in a runner or relaxes a duty. Whatever
blocks a place has words for it. An exemption opens places of its own scope alone, lifted from its own rule alone; the
order of exemptions is irrelevant; one that has ended, or that is from a rule of another kind, is none; approvals open
nothing and close nothing.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carnet.core.decision import DecisionBody, Verdict, recipients_max
from carnet.core.errors import FieldInvalid
from carnet.core.explanation import explain
from carnet.core.runner import Isolation, RunnerFacts
from policy.bundle import Bundle
from policy.engine import GrantedExemption
from policy.engines.choice import EngineName, opened
from policy.overlay import Overlay
from tests.opa_support import DAY, NOW, hospital, opa_binary, query_of, runner_of
from tests.overlay_support import overlay
from tests.overlay_templates import blocking, colliding, drawn
from tests.property.test_policy_laws import PLACES, documents, runners

pytestmark = pytest.mark.opa

bounded = settings(
    max_examples=500 if os.environ.get("CARNET_FULL") else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

DRAWN = drawn(seed=1, count=6)
NAMES = ["klinikum", *(found.name for found in DRAWN)]
BUNDLE = Bundle.load().with_overlays([overlay(), *DRAWN])
EXEMPTIBLE = [rule.id for rule in BUNDLE.catalogue() if rule.exemptible]
OTHERS = [rule.id for rule in BUNDLE.catalogue() if not rule.exemptible]
SAME: dict[str, set[str]] = {}
for region, row in BUNDLE.rows("regions").items():
    if isinstance(row["same_as"], str):
        SAME.setdefault(row["same_as"], {row["same_as"]}).add(region)
        SAME[region] = SAME[row["same_as"]]


class Asker:
    def __init__(self, name: EngineName) -> None:
        self.loop = asyncio.Runner()
        binary = opa_binary() if name is EngineName.OPA else None
        self.engine = self.loop.run(opened(name, bundle=BUNDLE, binary=binary))

    def decide(self, document: dict[str, Any], **gateway: Any) -> DecisionBody:
        query = query_of(document)
        return self.loop.run(self.engine.decide(replace(query, gateway=replace(query.gateway, **gateway))))

    def passing(self, document: dict[str, Any], found: tuple[RunnerFacts, ...], **gateway: Any) -> set[str]:
        query = query_of(document)
        query = replace(query, gateway=replace(query.gateway, **gateway))
        return {verdict.spiffe_id for verdict in self.loop.run(self.engine.judge(query, found)) if verdict.permitted}


@pytest.fixture(scope="module", params=[EngineName.OPA, EngineName.EMBEDDED])
def engine(request: pytest.FixtureRequest) -> Iterator[Asker]:
    asker = Asker(request.param)
    yield asker
    asker.loop.run(asker.engine.close())
    asker.loop.close()


@st.composite
def exemptions(draw: st.DrawFn, rules: list[str] = EXEMPTIBLE) -> GrantedExemption:
    return GrantedExemption(
        id=f"E{draw(st.integers(0, 9))}",
        rule=draw(st.sampled_from(rules)),
        places=tuple(draw(st.lists(st.sampled_from([*PLACES, "SG", "ZZ"]), unique=True, max_size=4))),
        classes=tuple(draw(st.lists(st.sampled_from(["health", "personal", "genetic"]), unique=True, max_size=3))),
        purposes=tuple(draw(st.lists(st.sampled_from(["training", "inference"]), unique=True, max_size=1))),
        expires_ns=NOW + draw(st.sampled_from([1, DAY])),
    )


def scope(found: GrantedExemption) -> set[str]:
    """Its places, with the other codes of the same place, and the regions of its countries."""
    named = {other for place in found.places for other in SAME.get(place, {place})}
    return named | {place for place in PLACES if place[:2] in named}


def shown(body: DecisionBody) -> set[str]:
    return set(body.permitted)


@bounded
@given(document=documents(), name=st.sampled_from(NAMES), approvals=st.integers(0, 2))
def test_an_overlay_opens_no_place(engine: Asker, document: dict[str, Any], name: str, approvals: int) -> None:
    plain = engine.decide(document)
    body = engine.decide(document, overlay=name, approvals=approvals)
    assert shown(body) <= shown(plain)
    assert all(plain.permits(place) for place in PLACES if body.permits(place))
    own = f"{name.upper()}-"
    assert {rule: places for rule, places in body.blocked if not rule.startswith(own)} == dict(plain.blocked)
    assert body.valid_until_ns <= plain.valid_until_ns
    said = {rule for rule in body.rules_evaluated if not rule.startswith(own)}
    assert said == set(plain.rules_evaluated)
    assert all(denial.reason for place in PLACES for denial in explain(body, place).denials)


@bounded
@given(document=documents(), name=st.sampled_from(NAMES))
def test_an_overlay_relaxes_no_duty(engine: Asker, document: dict[str, Any], name: str) -> None:
    plain = {duty.type: duty.value for duty in engine.decide(document).obligations}
    body = engine.decide(document, overlay=name)
    duties = {duty.type: duty.value for duty in body.obligations}
    assert plain.keys() <= duties.keys()
    assert recipients_max(body.obligations) <= recipients_max(engine.decide(document).obligations)
    order = list(Isolation)
    assert order.index(Isolation(duties["isolation_min"])) >= order.index(Isolation(plain["isolation_min"]))


@bounded
@given(document=documents(), name=st.sampled_from(NAMES), found=st.lists(runners(), min_size=1, max_size=4))
def test_an_overlay_lets_no_runner_in(
    engine: Asker, document: dict[str, Any], name: str, found: list[RunnerFacts]
) -> None:
    named = tuple(replace(runner, spiffe_id=f"{runner.spiffe_id}/{i}") for i, runner in enumerate(found))
    assert engine.passing(document, named, overlay=name) <= engine.passing(document, named)


def test_the_drawn_overlays_do_something_of_every_kind(engine: Asker) -> None:
    kinds = {(row["stage"], row["effect"]) for found in DRAWN for row in found.rules.values()}
    assert kinds == {("job", "deny"), ("job", "warn"), ("job", "oblige"), ("runner", "deny"), ("runner", "warn")}
    plain, runner = engine.decide(hospital()), (runner_of("DE"),)
    assert [name for name in NAMES if shown(engine.decide(hospital(), overlay=name)) < shown(plain)]
    assert [name for name in NAMES if engine.decide(hospital(), overlay=name).obligations != plain.obligations]
    assert engine.passing(hospital(), runner)
    assert [name for name in NAMES if not engine.passing(hospital(), runner, overlay=name)]


@pytest.mark.parametrize("rule", ["EU-GDPR-CHV", "ORG-ONLY", "KLINIKUM-GENETIC", "MINE2-R0"])
def test_attack_an_overlay_with_an_id_that_is_not_its_own(rule: str) -> None:
    Overlay.read("mine", colliding("mine", "MINE-R0"))
    with pytest.raises(FieldInvalid, match="its rules start with its name"):
        Overlay.read("mine", colliding("mine", rule))


@pytest.mark.parametrize("name", ["org", "gdpr", "carnet", "ofac"])
def test_attack_an_overlay_whose_name_begins_ids_of_ours(name: str) -> None:
    Bundle.load().with_overlays([blocking("mine")])
    with pytest.raises(FieldInvalid, match="a name of ours, or of a law"):
        Bundle.load().with_overlays([blocking(name)])


@bounded
@given(document=documents(), found=exemptions())
def test_an_exemption_opens_its_own_places_alone_and_lifts_its_own_rule_alone(
    engine: Asker, document: dict[str, Any], found: GrantedExemption
) -> None:
    plain = engine.decide(document, overlay="klinikum", approvals=1)
    body = engine.decide(document, overlay="klinikum", approvals=1, exemptions=(found,))
    opened_places = shown(body) - shown(plain)
    assert shown(plain) <= shown(body)
    assert opened_places <= scope(found)
    assert bool(opened_places) <= bool(body.exemptions_used)
    before, after = dict(plain.blocked), dict(body.blocked)
    assert set(before.pop(found.rule, ())) - set(after.pop(found.rule, ())) <= scope(found)
    assert before == after


@bounded
@given(document=documents(), found=st.lists(exemptions(), min_size=2, max_size=4), data=st.data())
def test_the_order_of_exemptions_is_irrelevant(
    engine: Asker, document: dict[str, Any], found: list[GrantedExemption], data: st.DataObject
) -> None:
    other = data.draw(st.permutations(found))
    one = engine.decide(document, exemptions=tuple(found))
    assert engine.decide(document, exemptions=tuple(other)).payload == one.payload


@bounded
@given(document=documents(), found=exemptions(), ago=st.sampled_from([0, 1, DAY]))
def test_an_exemption_that_has_ended_is_none(
    engine: Asker, document: dict[str, Any], found: GrantedExemption, ago: int
) -> None:
    ended = replace(found, expires_ns=NOW - ago)
    assert engine.decide(document, exemptions=(ended,)).payload == engine.decide(document).payload


@bounded
@given(document=documents(), found=exemptions(OTHERS))
def test_an_exemption_from_a_rule_that_binds_everybody_is_none(
    engine: Asker, document: dict[str, Any], found: GrantedExemption
) -> None:
    assert engine.decide(document, exemptions=(found,)).payload == engine.decide(document).payload


@bounded
@given(document=documents(), approvals=st.integers(0, 3))
def test_approvals_change_the_word_and_no_place(engine: Asker, document: dict[str, Any], approvals: int) -> None:
    none = engine.decide(document, overlay="klinikum")
    some = engine.decide(document, overlay="klinikum", approvals=approvals)
    assert shown(none) == shown(some)
    assert none.blocked == some.blocked
    assert (none.verdict is Verdict.DENY) == (some.verdict is Verdict.DENY)
    assert engine.decide(document, approvals=approvals).payload == engine.decide(document).payload


def test_the_laws_see_exemptions_and_reviews_at_all(engine: Asker) -> None:
    found = GrantedExemption(
        id="E1", rule="EU-GDPR-CHV", places=("SG",), classes=(), purposes=(), expires_ns=NOW + 1
    )  # fmt: skip
    assert "SG" in shown(engine.decide(hospital(), exemptions=(found,))) - shown(engine.decide(hospital()))
    assert engine.decide(hospital(data={"classes": ["genetic"]}), overlay="klinikum").verdict is Verdict.REVIEW
