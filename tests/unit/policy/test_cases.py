"""Cases are read whole or refused, and a case that does not hold says what is otherwise."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from carnet.core.errors import FieldInvalid
from policy import cases
from policy.bundle import Bundle
from policy.engine import PolicyEngine
from policy.engines.embedded import EmbeddedEngine
from tests.overlay_support import NAME, files, overlay

BUNDLE = Bundle.load().with_overlays([overlay()])
TABLE: dict[str, Any] = json.loads(files()["cases.json"])


def read(**changes: Any) -> tuple[cases.Case, ...]:
    return cases.read(json.dumps(TABLE | changes).encode(), schemas=BUNDLE.schemas)


def one(**changes: Any) -> cases.Case:
    [found] = read(cases=[{"name": "n", "at": "2026-11-22", "expect": {"verdict": "permit"}} | changes])
    return found


@pytest.fixture
async def engine() -> AsyncIterator[PolicyEngine]:
    found = EmbeddedEngine(bundle=BUNDLE, seconds_max=60)
    await found.start()
    yield found
    await found.close()


def test_the_examples_cases_are_read() -> None:
    found = read()
    assert len(found) == len(TABLE["cases"])
    assert found[1].facts.data.classes == ("genetic",)
    assert found[1].runners == ()
    assert found[5].runners[0].isolation == "microvm"
    assert found[2].approvals == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"cases": []},
        {"cases": [{"name": "n", "at": "2026-11-22"}]},
        {"cases": [{"name": "n", "at": "2026-11-22", "expect": {}}]},
        {"cases": [{"name": "n", "at": "2026-11-22", "expect": {"permitted": []}}]},
        {"cases": [{"name": "n", "at": "2026-11-22", "expect": {"permited": ["DE"]}}]},
        {"cases": [{"name": "n", "expect": {"verdict": "permit"}}]},
        {"facts": {}},
        {"surprise": 1},
    ],
)
def test_a_table_that_is_malformed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(FieldInvalid):
        read(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"at": "2026-02-30"},
        {"facts": {"data.clases": ["genetic"]}},
        {"facts": {"data.classes.x": 1}},
        {"facts": {"nothing.classes": []}},
        {"facts": {"data.classes": ["unheard"]}},
        {"runner": {"isolation": "paper"}},
        {"runner": {"isolated": "tee"}},
    ],
)
def test_a_case_that_asks_for_what_is_not_there_is_refused(changes: dict[str, Any]) -> None:
    one()
    with pytest.raises(FieldInvalid):
        one(**changes)


def test_a_runner_is_expected_only_where_the_table_has_one() -> None:
    table = {name: value for name, value in TABLE.items() if name != "runner"}
    table["cases"] = [{"name": "n", "at": "2026-11-22", "expect": {"runner": "permit"}}]
    with pytest.raises(FieldInvalid, match="the table has no runner"):
        cases.read(json.dumps(table).encode(), schemas=BUNDLE.schemas)


@pytest.mark.parametrize("number", range(len(TABLE["cases"])))
async def test_the_examples_cases_hold(engine: PolicyEngine, number: int) -> None:
    assert await cases.faults(read()[number], engine=engine, overlay=NAME) == ()


async def test_each_thing_that_is_otherwise_is_told(engine: PolicyEngine) -> None:
    case = one(
        facts={"data.classes": ["genetic"]},
        runner={"isolation": "gvisor"},
        expect={
            "verdict": "permit",
            "permitted": ["SG", "DE"],
            "not_permitted": ["DE", "SG"],
            "rules": ["KLINIKUM-APPROVAL", "ORG-ONLY"],
            "runner": "permit",
        },
    )
    assert await cases.faults(case, engine=engine, overlay=NAME) == (
        "the verdict is review",
        "SG is not permitted",
        "DE is permitted",
        "ORG-ONLY gives no reason",
        "the runner's verdict is deny",
    )
    assert await cases.faults(replace(case, approvals=1), engine=engine, overlay=NAME) == (
        "SG is not permitted",
        "DE is permitted",
        "ORG-ONLY gives no reason",
        "the runner's verdict is deny",
    )
