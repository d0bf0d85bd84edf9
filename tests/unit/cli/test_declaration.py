"""Facts from options: what is declared is sent, nothing is guessed in the job's favour, what is wrong is named."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cli.declaration import ABOUT_NOBODY, Declaration, build_facts, scaled, size
from carnet.cli.places import EU, GROUPS, places, words
from carnet.core.errors import FieldInvalid
from carnet.core.facts import DATA_CLASSES, parse_facts
from policy.bundle import Bundle

IMAGE = "sha256:" + "0" * 64
TECHNICAL = {"data_class": ("technical",), "origin": "DE", "controlled": "no"}


def build(**options: Any) -> bytes:
    return build_facts(Declaration(**options), image=IMAGE, controller="hospital.example")


def test_options_become_the_facts_that_they_say() -> None:
    facts = parse_facts(
        build(
            data_class=("health,personal",),
            origin="DE",
            subjects=("DE", "AT"),
            records=569,
            pseudonymised=True,
            purpose="training",
            sector=("health",),
            controlled="yes",
            eccn=("5D002,EAR99",),
            eu_code=("5D002",),
            end_user_parent="US",
            end_use="civil",
            only=("EEA",),
            never=("IS",),
            parent_never=("US",),
            cpu="1.5",
            memory="2GiB",
            work="100MB",
            seconds=60,
            price_max="0.25",
            attempts=3,
        )
    )
    assert facts.data.classes == ("health", "personal")
    assert (facts.data.subject_jurisdictions, facts.data.records) == (("AT", "DE"), 569)
    assert (facts.controller.entity, facts.controller.country) == ("hospital.example", "DE")
    assert len(facts.constraints.only) == 30
    assert {"DE", "IS", "LI", "NO"} <= set(facts.constraints.only)
    assert (facts.constraints.never, facts.constraints.parent_never) == (("IS",), ("US",))
    assert (facts.technology.controlled, facts.technology.itar) == ("yes", "unknown")
    assert (facts.technology.eccns, facts.technology.eu_codes) == (("5D002", "EAR99"), ("5D002",))
    assert (facts.end_user.entity, facts.end_user.country) == ("hospital.example", "DE")
    assert (facts.end_user.parent_country, facts.end_user.use) == ("US", "civil")
    assert (facts.resources.cpu_millis, facts.resources.memory_bytes) == (1500, 2 * 1024**3)
    assert (facts.resources.work_bytes, facts.caps.price_micro_usd) == (100_000_000, 250_000)
    assert (facts.caps.seconds, facts.caps.attempts) == (60, 3)


def test_data_of_nobody_needs_class_origin_and_control_only() -> None:
    facts = parse_facts(build(**TECHNICAL))
    assert (facts.purpose, facts.data.records, facts.transfer.mechanisms) == ("other", 0, ())
    assert facts.constraints.isolation_min == "container"
    assert (facts.technology.controlled, facts.technology.itar, facts.technology.eccns) == ("no", "no", ())
    assert (facts.end_user.parent_country, facts.end_user.use) == ("ZZ", "unknown"), "what was not said is not known"


@pytest.mark.parametrize("data_class", sorted(DATA_CLASSES - ABOUT_NOBODY))
@pytest.mark.parametrize("missing", ["subjects", "records"])
def test_data_about_people_needs_subjects_and_their_number(data_class: str, missing: str) -> None:
    declared: dict[str, Any] = TECHNICAL | {"data_class": (data_class,), "subjects": ("DE",), "records": 1}
    build(**declared)
    declared.pop(missing)
    with pytest.raises(FieldInvalid, match=f"--{missing}"):
        build(**declared)


def test_policy_counts_no_class_as_personal_that_the_command_takes_for_nobody_s() -> None:
    rows = Bundle.load().rows("classes")
    assert set(rows) == set(DATA_CLASSES)
    assert {name for name, row in rows.items() if not row["personal"]} == set(ABOUT_NOBODY)


def test_the_groups_are_those_of_the_policy_data() -> None:
    rows = Bundle.load().rows("groups")
    assert list(EU) == sorted(rows["EU"]["members"])
    assert set(GROUPS["EEA"]) == {*rows["EU"]["members"], *rows["EEA_EFTA"]["members"]}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"data_class": ()}, "data_class"),
        ({"origin": ""}, "origin"),
        ({"controlled": ""}, "controlled"),
        ({"controlled": "maybe"}, "technology.controlled"),
        ({"eccn": ("3A090",)}, "technology.controlled"),
        ({"end_use": "fun"}, "end_user.use"),
        ({"origin": "Germany"}, "controller.country"),
        ({"data_class": ("nonsense",), "subjects": ("DE",), "records": 1}, "data.classes"),
        ({"purpose": "fun"}, "purpose"),
        ({"only": ("Europe",)}, "constraints.only"),
        ({"isolation": "none"}, "isolation_min"),
        ({"cpu": "many"}, "--cpu"),
        ({"cpu": "NaN"}, "--cpu"),
        ({"cpu": "-1"}, "--cpu"),
        ({"cpu": "0.0001"}, "--cpu"),
        ({"cpu": "1e400000000"}, "--cpu"),
        ({"memory": "lots"}, "--memory"),
        ({"memory": "1"}, "resources.memory_bytes"),
        ({"price_max": "inf"}, "--price-max"),
        ({"seconds": 0}, "caps.seconds"),
        ({"attempts": 99}, "caps.attempts"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(FieldInvalid) as raised:
        build(**(TECHNICAL | options))
    assert named in raised.value.metadata["field"] or named in raised.value.text


@given(st.text(max_size=30))
def test_any_text_is_a_size_and_a_number_or_raises_one_error(text: str) -> None:
    for read in (lambda: size(text, option="--memory"), lambda: scaled(text, 1000, option="--cpu")):
        with contextlib.suppress(FieldInvalid):
            assert read() >= 0


def test_words_may_come_often_or_with_commas_and_places_are_codes() -> None:
    assert words(("a,b", " b ", "", "c,")) == ("a", "b", "c")
    assert places(("FR", "DE,FR")) == ("DE", "FR")
    assert places(()) == ()


def test_the_facts_are_json_that_a_person_can_read_and_edit() -> None:
    text = build(**TECHNICAL).decode()
    assert text.count("\n") > 30
    assert parse_facts(text.encode()).digest != parse_facts(json.dumps(json.loads(text)).encode()).digest
