"""A recorded question is asked again as it was, or not at all."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.document import canonical
from carnet.core.errors import FieldInvalid
from policy.engine import JobQuery, Volume
from policy.recorded import recorded
from tests.opa_support import NOW, clauses, hospital, query_of, runner_of

IMPORTER = {"entity": "a", "dpf_certified": "yes", "uk_bridge": "unknown", "swiss_certified": "unknown"}
QUERIES: list[JobQuery] = [
    query_of(),
    query_of(hospital(constraints={"only": ["US"], "never": ["US-CA"], "parent_never": ["CN"]}), now_ns=NOW + 1),
    query_of(hospital(transfer={"importers": [IMPORTER], "mechanisms": [clauses(["IN"])]})),
    replace(query_of(), gateway=replace(query_of().gateway, volumes=(Volume(category="health", records=3),))),
]


@pytest.mark.parametrize("query", QUERIES)
def test_what_was_recorded_is_asked_again_byte_for_byte(query: JobQuery) -> None:
    runners = (runner_of("DE"), runner_of("UA-30"))
    found = recorded(canonical(query.document(runners)))
    assert canonical(found.query.document(found.runners)) == canonical(query.document(runners))
    assert found.query.facets_digest == query.facets_digest
    assert found.query.now_ns == query.now_ns
    assert [runner.document() for runner in found.runners] == [runner.document() for runner in runners]


def test_without_runners_none_are_asked_about() -> None:
    assert recorded(canonical(query_of().document())).runners == ()


def changed(change: Any) -> bytes:
    document = query_of().document()
    change(document)
    return canonical(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("job"),
        lambda d: d.pop("gateway"),
        lambda d: d.pop("context"),
        lambda d: d.update(schema="carnet.input/v2"),
        lambda d: d.update(surprise=1),
        lambda d: d.update(job=[]),
        lambda d: d.update(runners={}),
        lambda d: d.update(runners=[]),
        lambda d: d.update(runners=[{}]),
        lambda d: d["context"].update(now_ns=-1),
        lambda d: d["gateway"].update(screening="maybe"),
        lambda d: d["gateway"].update(volumes=[]),
        lambda d: d["gateway"].update(overlay=None),
        lambda d: d["gateway"].update(surprise=1),
        lambda d: d["job"].update(controller="DE"),
        lambda d: d["job"].update(surprise=1),
        lambda d: d["job"].update(image="sha256:" + "1" * 64),
        lambda d: d["job"]["controller"].update(entity="somebody"),
        lambda d: d["job"]["data"].update(records="many"),
    ],
)
def test_an_input_that_is_not_one_that_is_asked_now_is_refused(change: Any) -> None:
    with pytest.raises(FieldInvalid):
        recorded(changed(change))


@given(st.one_of(st.binary(max_size=200), st.sampled_from([b"{}", b"null", b"[]", b'{"schema":"carnet.input/v1"}'])))
def test_any_bytes_are_a_question_or_refused(data: bytes) -> None:
    with pytest.raises(FieldInvalid):
        recorded(data)


def test_a_list_in_another_order_is_another_input() -> None:
    document = json.loads(canonical(query_of(hospital(constraints={"only": ["DE", "FR"]})).document()))
    document["job"]["constraints"]["only"].reverse()
    with pytest.raises(FieldInvalid, match="asked now"):
        recorded(canonical(document))
