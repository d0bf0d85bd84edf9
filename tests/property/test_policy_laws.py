"""Laws of policy that hold for any facts, asked of both engines.

What an organisation adds to its limits never opens a place; what it takes from its transfer bases never does either;
stage 2 never permits what stage 1 did not; nothing changes before `valid_until_ns`; the order of lists is irrelevant.
"""

import asyncio
import copy
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carnet.core.decision import DecisionBody, RunnerVerdict
from carnet.core.facts import DATA_CLASSES
from carnet.core.runner import Evidence, Isolation, RunnerFacts
from policy.bundle import Bundle
from policy.engines.choice import EngineName, opened
from tests.opa_support import DAY, GB_ENDS, NOW, OPERATOR, hospital, opa_binary, query_of, runner_of

pytestmark = pytest.mark.opa

bounded = settings(
    max_examples=500 if os.environ.get("CARNET_FULL") else 50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

COUNTRIES = ["DE", "FR", "NO", "IS", "CH", "GB", "US", "IN", "BR", "JP", "CU", "UA", "RE", "NC", "SG"]
PLACES = [*COUNTRIES, "US-CA", "UA-30", "UA-43", "FR-974", "FR-NC"]
TIMES = [
    NOW,
    GB_ENDS - 1,
    GB_ENDS,
    GB_ENDS + 1,
    1_769_558_400 * 10**9 - 1,
    1_769_558_400 * 10**9,
    0,
    1_700_000_000 * 10**9,
]


class Asker:
    def __init__(self, name: EngineName) -> None:
        self.loop = asyncio.Runner()
        binary = opa_binary() if name is EngineName.OPA else None
        self.engine = self.loop.run(opened(name, bundle=Bundle.load(), binary=binary))

    def decide(self, document: dict[str, Any], now_ns: int = NOW) -> DecisionBody:
        return self.loop.run(self.engine.decide(query_of(document, now_ns=now_ns)))

    def judge(
        self, document: dict[str, Any], runners: tuple[RunnerFacts, ...], now_ns: int
    ) -> tuple[RunnerVerdict, ...]:
        return self.loop.run(self.engine.judge(query_of(document, now_ns=now_ns), runners))


@pytest.fixture(scope="module", params=[EngineName.OPA, EngineName.EMBEDDED])
def engine(request: pytest.FixtureRequest) -> Iterator[Asker]:
    asker = Asker(request.param)
    yield asker
    asker.loop.run(asker.engine.close())
    asker.loop.close()


def subsets(choices: list[str], least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(choices), unique=True, min_size=least, max_size=6)


mechanisms = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["SCC", "BCR", "IDTA"]),
        "importer": st.sampled_from([OPERATOR, "another.example"]),
        "countries": subsets(COUNTRIES),
        "assessment_completed": st.booleans(),
        "expires_ns": st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + DAY, GB_ENDS + DAY]),
    }
)
importers = st.fixed_dictionaries(
    {
        "entity": st.sampled_from([OPERATOR, "another.example"]),
        "dpf_certified": st.sampled_from(["yes", "no", "unknown"]),
        "uk_bridge": st.sampled_from(["yes", "no", "unknown"]),
        "swiss_certified": st.sampled_from(["yes", "no", "unknown"]),
    }
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    return hospital(
        controller={"country": draw(st.sampled_from([*COUNTRIES, "ZZ"]))},
        data={
            "classes": draw(subsets(sorted(DATA_CLASSES), least=1)),
            "subject_jurisdictions": draw(subsets([*COUNTRIES, "ZZ"])),
            "origin_jurisdiction": draw(st.sampled_from([*COUNTRIES, "ZZ"])),
        },
        transfer={
            "mechanisms": draw(st.lists(mechanisms, max_size=3)),
            "importers": draw(st.lists(importers, max_size=2)),
        },
        constraints={
            "only": draw(subsets(PLACES)),
            "never": draw(subsets(PLACES)),
            "parent_never": draw(subsets(COUNTRIES)),
            "isolation_min": draw(st.sampled_from(list(Isolation))).value,
        },
    )


@st.composite
def runners(draw: st.DrawFn) -> RunnerFacts:
    return runner_of(
        draw(st.sampled_from([*PLACES, "ZZ", "UA-99"])),
        operator=draw(st.sampled_from([OPERATOR, "another.example"])),
        operator_country=draw(st.sampled_from([*COUNTRIES, "ZZ"])),
        parent_country=draw(st.sampled_from([*COUNTRIES, "ZZ"])),
        evidence=draw(st.sampled_from(list(Evidence))),
        isolation=draw(st.sampled_from(list(Isolation))),
    )


def changed(document: dict[str, Any], part: str, name: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(document)
    found[part][name] = value
    return found


def open_places(body: DecisionBody) -> set[str]:
    return {place for place in PLACES if body.permits(place)}


@bounded
@given(document=documents(), place=st.sampled_from(PLACES), now_ns=st.sampled_from(TIMES))
def test_forbidding_a_place_opens_none(engine: Asker, document: dict[str, Any], place: str, now_ns: int) -> None:
    never = document["constraints"]["never"]
    narrower = changed(document, "constraints", "never", sorted({*never, place}))
    after = open_places(engine.decide(narrower, now_ns))
    assert after <= open_places(engine.decide(document, now_ns))
    assert place not in after


@bounded
@given(document=documents(), place=st.sampled_from(PLACES))
def test_widening_only_closes_no_place(engine: Asker, document: dict[str, Any], place: str) -> None:
    only = document["constraints"]["only"]
    wider = changed(document, "constraints", "only", sorted({*only, place}) if only else [])
    unlimited = changed(document, "constraints", "only", [])
    before = open_places(engine.decide(document))
    assert before <= open_places(engine.decide(wider))
    assert before <= open_places(engine.decide(unlimited))


@bounded
@given(document=documents(), kept=st.integers(0, 2), part=st.sampled_from(["mechanisms", "importers"]))
def test_taking_away_a_transfer_basis_opens_no_place(
    engine: Asker, document: dict[str, Any], kept: int, part: str
) -> None:
    poorer = changed(document, "transfer", part, document["transfer"][part][:kept])
    assert open_places(engine.decide(poorer)) <= open_places(engine.decide(document))


@bounded
@given(document=documents(), extra=st.sampled_from(sorted(DATA_CLASSES)))
def test_declaring_another_class_of_data_opens_no_place(engine: Asker, document: dict[str, Any], extra: str) -> None:
    more = changed(document, "data", "classes", sorted({*document["data"]["classes"], extra}))
    assert open_places(engine.decide(more)) <= open_places(engine.decide(document))


@bounded
@given(document=documents(), data=st.data())
def test_the_order_of_lists_is_irrelevant(engine: Asker, document: dict[str, Any], data: st.DataObject) -> None:
    other = copy.deepcopy(document)
    for part, name in [
        ("constraints", "only"),
        ("constraints", "never"),
        ("data", "classes"),
        ("transfer", "mechanisms"),
    ]:
        other[part][name] = data.draw(st.permutations(other[part][name]))
    assert engine.decide(other).payload == engine.decide(document).payload


@bounded
@given(document=documents(), now_ns=st.sampled_from(TIMES))
def test_nothing_changes_before_the_answer_ends(engine: Asker, document: dict[str, Any], now_ns: int) -> None:
    body = engine.decide(document, now_ns)
    assert body.valid_until_ns > now_ns
    assert engine.decide(document, body.valid_until_ns - 1).payload == body.payload


@bounded
@given(document=documents(), found=st.lists(runners(), min_size=1, max_size=8), now_ns=st.sampled_from(TIMES))
def test_stage_2_permits_no_runner_in_a_place_that_stage_1_did_not(
    engine: Asker, document: dict[str, Any], found: list[RunnerFacts], now_ns: int
) -> None:
    body = engine.decide(document, now_ns)
    verdicts = engine.judge(document, tuple(found), now_ns)
    for runner, verdict in zip(found, verdicts, strict=True):
        assert verdict.permitted <= body.permits(runner.jurisdiction)
        assert verdict.permitted <= (runner.evidence in {Evidence.OPERATOR, Evidence.AUDITED})
        assert verdict.permitted or any(reason.effect == "deny" for reason in verdict.reasons)


@bounded
@given(document=documents(), found=st.lists(runners(), min_size=2, max_size=5))
def test_a_runner_is_judged_alike_alone_and_in_any_company(
    engine: Asker, document: dict[str, Any], found: list[RunnerFacts]
) -> None:
    together = engine.judge(document, tuple(found), NOW)
    (alone,) = engine.judge(document, (found[-1],), NOW)
    assert together[-1] == alone


@bounded
@given(document=documents())
def test_an_embargoed_place_is_never_open(engine: Asker, document: dict[str, Any]) -> None:
    assert not open_places(engine.decide(document)) & {"CU", "UA-43"}


def test_the_laws_see_permissions_at_all(engine: Asker) -> None:
    assert {"DE", "FR", "RE", "FR-974", "UA-30"} & open_places(engine.decide(hospital())) == {
        "DE",
        "FR",
        "RE",
        "FR-974",
    }
