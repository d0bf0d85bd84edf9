"""Masking: whole or not at all, in one order, and never on what it was given."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from policy.masking import apply, mask_rules, rules_max

ASKED: dict[str, Json] = {"job": {"name": "n", "list": [1, {"k": 2}]}, "volumes": {"health": 7}}
ANSWERED: dict[str, Json] = {"reasons": [{"records": 5}]}


def masked(*document: Json) -> Any:
    return apply(mask_rules(list(document)), asked=ASKED, answered=ANSWERED)


def test_what_is_removed_is_gone_and_listed() -> None:
    found = masked("/input/volumes", "/input/job/list/0", "/result/reasons/0/records")
    assert found.input == {"job": {"name": "n", "list": [{"k": 2}]}}
    assert found.result == {"reasons": [{}]}
    assert found.erased == ("/input/job/list/0", "/input/volumes", "/result/reasons/0/records")
    assert found.masked == ()


def test_what_is_replaced_stands_there_instead_and_is_listed_apart() -> None:
    found = masked({"op": "upsert", "path": "/input/job/name", "value": "masked"}, "/input/volumes")
    assert found.input["job"]["name"] == "masked"
    assert (found.erased, found.masked) == (("/input/volumes",), ("/input/job/name",))


def test_what_was_given_stays_as_it_was() -> None:
    value: Json = {"a": [1]}
    asked: Json = {"x": {"y": 1}}
    found = apply(
        mask_rules([{"op": "upsert", "path": "/input/x/y", "value": value}, "/input/x/y/a/0"]),
        asked=asked,
        answered=None,
    )
    assert asked == {"x": {"y": 1}}
    assert value == {"a": [1]}
    assert found.input == {"x": {"y": {"a": [1]}}}, "pointers go first: there was no list yet"


def test_a_pointer_to_nothing_changes_nothing_and_is_not_listed() -> None:
    found = masked("/input/none", "/input/job/name/deeper", "/input/job/list/9", "/input/job/list/x")
    assert (found.input, found.result, found.erased) == (ASKED, ANSWERED, ())


def test_an_index_beyond_a_list_or_a_word_on_the_way_takes_no_value() -> None:
    rules = ("/input/job/list/9", "/input/job/list/9/k", "/input/job/name/deeper", "/result/reasons/x")
    found = masked(*({"op": "upsert", "path": path, "value": 1} for path in rules))
    assert (found.input, found.result, found.masked) == (ASKED, ANSWERED, ())


def test_the_whole_goes_with_one_segment_and_then_nothing_is_left_to_mask() -> None:
    found = masked("/input", "/input/job", "/nd_builtin_cache/x")
    assert (found.input, found.erased) == (None, ("/input",))
    assert masked({"op": "upsert", "path": "/result", "value": 1}).result == 1
    assert masked({"op": "upsert", "path": "/result", "value": 1}, {"op": "upsert", "path": "/result/x"}).masked == (
        "/result",
    )


def test_no_order_of_the_document_matters() -> None:
    rules: list[Json] = [
        "/input/job/list/0",
        {"op": "upsert", "path": "/input/job/list", "value": []},
        "/input/volumes",
    ]
    assert mask_rules(rules) == mask_rules(rules[::-1])


@pytest.mark.parametrize(
    "document",
    [
        None,
        {},
        "input",
        "/input",
        [1],
        [None],
        [["/input"]],
        [""],
        ["input"],
        ["/"],
        ["/labels/id"],
        ["/input/%zz"],
        [{}],
        [{"op": "upsert"}],
        [{"path": "/input"}],
        [{"op": "", "path": "/input"}],
        [{"op": "drop", "path": "/input"}],
        [{"op": "remove", "path": 1}],
        [{"op": "remove", "path": "/decision_id"}],
        ["/input/volumes", {"op": "hide", "path": "/input"}],
        ["/input/x"] * (rules_max + 1),
    ],
)
def test_a_document_that_is_none_is_refused_whole(document: Json) -> None:
    with pytest.raises(FieldInvalid):
        mask_rules(document)


POINTERS = st.lists(
    st.sampled_from(["job", "name", "list", "0", "1", "k", "volumes", "a b", "+1", ""]), max_size=4
).map(lambda parts: "/input/" + "/".join(parts))
RULES = st.one_of(
    POINTERS,
    st.builds(
        lambda op, path, value: {"op": op, "path": path, "value": value},
        st.sampled_from(["remove", "upsert"]),
        POINTERS,
        st.one_of(st.none(), st.integers(), st.lists(st.integers(), max_size=2)),
    ),
)


@given(st.lists(RULES, max_size=6))
def test_any_mask_leaves_what_was_given_and_lists_only_what_it_named(document: list[Json]) -> None:
    before: Json = {"job": {"name": "n", "list": [1, {"k": 2}]}, "volumes": {"health": 7}}
    rules = mask_rules(document)
    found = apply(rules, asked=ASKED, answered=ANSWERED)
    assert before == ASKED
    assert found.result == ANSWERED
    assert {*found.erased, *found.masked} <= {rule.pointer for rule in rules}
