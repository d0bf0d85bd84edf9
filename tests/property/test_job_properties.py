"""Any bytes are facts or a decision, or raise the one error; and narrowing never adds a place."""

import json
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from carnet.core.decision import DecisionBody, both_permit, narrow, parse_body
from carnet.core.document import Json, canonical, parse
from carnet.core.errors import FieldInvalid
from carnet.core.facts import parse_facts

PLACES = ("FR", "DE", "US", "UA", "UA-43", "UA-30")
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
values: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def parses_or_refuses(parser: Callable[[bytes], object], data: bytes) -> None:
    named = ["nothing was refused"]
    try:
        parser(data)
    except FieldInvalid as error:
        named = [error.metadata["field"]]
    assert all(named)


@given(st.binary(max_size=400))
def test_any_bytes_parse_or_raise_one_error(data: bytes) -> None:
    parses_or_refuses(parse_facts, data)
    parses_or_refuses(parse_body, data)


FACTS_NAMES = (
    "schema",
    "purpose",
    "controller",
    "data",
    "transfer",
    "technology",
    "end_user",
    "constraints",
    "image",
    "resources",
    "caps",
)
BODY_NAMES = ("schema", "verdict", "permitted", "blocked", "obligations", "reasons", "rules_evaluated", "revisions")


@given(st.dictionaries(st.sampled_from(FACTS_NAMES) | texts, values, max_size=9))
def test_any_object_is_facts_or_raises_one_error(document: dict[str, Json]) -> None:
    parses_or_refuses(parse_facts, canonical({**document, "schema": "carnet.facts/v1"}))


@given(st.dictionaries(st.sampled_from(BODY_NAMES) | texts, values, max_size=9))
def test_any_object_is_a_decision_or_raises_one_error(document: dict[str, Json]) -> None:
    parses_or_refuses(parse_body, canonical({**document, "schema": "carnet.decision/v1"}))


@given(st.dictionaries(texts, values, max_size=4))
def test_canonical_bytes_parse_to_the_same_names(document: dict[str, Json]) -> None:
    data = canonical(document)
    assert set(parse(data, bytes_max=10**6).names()) == set(document)
    assert canonical(json.loads(data)) == data


places = st.lists(st.sampled_from(PLACES), unique=True)


def body_bytes(permitted: list[str], blocked: list[str]) -> bytes:
    return canonical(
        {
            "schema": "carnet.decision/v1",
            "verdict": "permit",
            "permitted": [place for place in permitted if place not in blocked],
            "blocked": {"R": list(blocked)},
            "obligations": [],
            "reasons": [],
            "rules_evaluated": ["R"],
            "exemptions_used": [],
            "unverified_rows_used": [],
            "valid_until_ns": 1,
            "revisions": {"rules": "r", "data": "d"},
            "disclaimer": "d",
        }
    )


bodies = st.builds(body_bytes, places, places).map(parse_body)


@given(before=bodies, after=bodies)
def test_narrowing_never_adds_a_place(before: DecisionBody, after: DecisionBody) -> None:
    for place in narrow(before, after):
        assert before.permits(place)
        assert after.permits(place)
    for place in PLACES:
        assert both_permit(before, after, place) == (before.permits(place) and after.permits(place))
