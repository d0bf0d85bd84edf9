"""Facts: any bytes are facts or raise `FieldInvalid`; what is facts has one digest and legal fields only."""

import copy
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.core import limits
from carnet.core.document import canonical
from carnet.core.errors import FieldInvalid
from carnet.core.facts import (
    AUTHORITIES,
    DATA_CLASSES,
    END_USES,
    MECHANISMS,
    PURPOSES,
    SCHEMA,
    SECTORS,
    TRISTATE,
    JobFacts,
    check_jurisdiction,
    country_of,
    parse_facts,
)

relaxed = settings(deadline=None, max_examples=100)

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)
countries = st.from_regex(r"[A-Z]{2}", fullmatch=True)
jurisdictions = st.from_regex(r"[A-Z]{2}(-[A-Z0-9]{1,3})?", fullmatch=True)
tristate = st.sampled_from(sorted(TRISTATE))
codes = st.sampled_from(["EAR99", "3A090.a", "4A090", "4E091", "5A002", "5D002.c.1"])


def some(items: st.SearchStrategy[str], *, least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(items, min_size=least, max_size=4, unique=True)


mechanisms = st.fixed_dictionaries({
    "type": st.sampled_from(sorted(MECHANISMS)),
    "importer": names,
    "countries": some(countries),
    "assessment_completed": st.booleans(),
    "expires_ns": st.integers(1, 2**63 - 1),
})  # fmt: skip
facts = st.fixed_dictionaries({
    "schema": st.just(SCHEMA),
    "purpose": st.sampled_from(sorted(PURPOSES)),
    "controller": st.fixed_dictionaries({
        "entity": names,
        "country": countries,
        "sectors": some(st.sampled_from(sorted(SECTORS))),
        "public_body": st.booleans(),
    }),
    "data": st.fixed_dictionaries({
        "classes": some(st.sampled_from(sorted(DATA_CLASSES)), least=1),
        "subject_jurisdictions": some(countries),
        "origin_jurisdiction": countries,
        "records": st.integers(0, 10**15),
        "pseudonymised": st.booleans(),
    }),
    "transfer": st.fixed_dictionaries({
        "mechanisms": st.lists(mechanisms, max_size=2),
        "importers": st.lists(
            st.fixed_dictionaries({
                "entity": names, "dpf_certified": tristate, "uk_bridge": tristate, "swiss_certified": tristate
            }),
            max_size=2,
        ),
    }),
    "technology": st.one_of(
        st.just({"controlled": "no", "itar": "no", "eccns": ["EAR99"], "eu_codes": [], "licences": []}),
        st.fixed_dictionaries({
            "controlled": st.sampled_from(["yes", "unknown"]),
            "itar": tristate,
            "eccns": some(codes),
            "eu_codes": some(codes),
            "licences": st.lists(
                st.fixed_dictionaries({
                    "id": names,
                    "authority": st.sampled_from(sorted(AUTHORITIES)),
                    "codes": some(codes),
                    "countries": some(countries),
                    "end_users": some(names),
                    "expires_ns": st.integers(1, 2**63 - 1),
                }),
                max_size=2,
            ),
        }),
    ),
    "end_user": st.fixed_dictionaries({
        "entity": names,
        "country": countries,
        "parent_country": countries,
        "use": st.sampled_from(sorted(END_USES)),
    }),
    "constraints": st.fixed_dictionaries({
        "only": some(jurisdictions),
        "never": some(jurisdictions),
        "parent_never": some(countries),
        "isolation_min": st.sampled_from(["process", "container", "gvisor", "microvm", "tee"]),
    }),
    "image": st.sampled_from(["sha256:" + "0" * 64, "registry.example/train@sha256:" + "a" * 64]),
    "resources": st.fixed_dictionaries({
        "cpu_millis": st.integers(10, 1_024_000),
        "memory_bytes": st.integers(16 * limits.MIB, 16 * 1024 * limits.GIB),
        "work_bytes": st.integers(limits.MIB, 1024 * limits.GIB),
        "gpus": st.integers(0, 64),
    }),
    "caps": st.fixed_dictionaries({
        "seconds": st.integers(1, limits.manifest_seconds_max),
        "price_micro_usd": st.integers(0, 10**15),
        "attempts": st.integers(1, limits.attempts_max),
    }),
})  # fmt: skip


def outcome(data: bytes) -> JobFacts | None:
    try:
        return parse_facts(data)
    except FieldInvalid:
        return None


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes_are_no_facts(data: bytes) -> None:
    with pytest.raises(FieldInvalid):
        parse_facts(data)


@relaxed
@given(facts)
def test_legal_facts_parse_to_what_they_say(value: dict[str, Any]) -> None:
    data = canonical(value)
    found = parse_facts(data)
    assert (found.payload, found.digest) == (data, hashlib.sha256(data).digest())
    assert found.purpose == value["purpose"]
    assert found.controller.entity == value["controller"]["entity"]
    assert found.data.classes == tuple(sorted(value["data"]["classes"]))
    assert found.constraints.only == tuple(sorted(value["constraints"]["only"]))
    assert [m.importer for m in found.transfer.mechanisms] == [m["importer"] for m in value["transfer"]["mechanisms"]]
    assert found.caps.attempts == value["caps"]["attempts"]


@relaxed
@given(facts)
def test_the_digest_is_of_the_clients_own_bytes_however_they_are_spaced(value: dict[str, Any]) -> None:
    tight, loose = canonical(value), json.dumps(value, indent=1).encode()
    assert parse_facts(tight).digest != parse_facts(loose).digest
    assert parse_facts(tight).controller == parse_facts(loose).controller


@relaxed
@given(facts, st.data())
def test_changed_facts_parse_or_raise_the_one_error(value: dict[str, Any], data: st.DataObject) -> None:
    changed = bytearray(canonical(value))
    start = data.draw(st.integers(0, len(changed)))
    changed[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    found = outcome(bytes(changed))
    if found is not None:
        assert found.payload == bytes(changed)
        assert found.purpose in PURPOSES
        assert set(found.data.classes) <= DATA_CLASSES


def paths(value: Any, here: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of every field of every object."""
    if isinstance(value, dict):
        return [p for name, inner in value.items() for p in [(*here, name), *paths(inner, (*here, name))]]
    if isinstance(value, list):
        return [p for i, inner in enumerate(value) for p in paths(inner, (*here, i))]
    return []


def parent(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path[:-1]:
        value = value[step]
    return value


@relaxed
@given(facts, st.data())
def test_every_field_must_be_there_and_be_of_its_type_and_no_other_may(
    value: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(paths(value)))
    without = copy.deepcopy(value)
    del parent(without, path)[path[-1]]
    null, more = copy.deepcopy(value), copy.deepcopy(value)
    parent(null, path)[path[-1]] = None
    parent(more, path)["surplus"] = 1
    for wrong in (without, null, more):
        with pytest.raises(FieldInvalid) as caught:
            parse_facts(canonical(wrong))
        assert caught.value.metadata["field"]


@relaxed
@given(st.text(max_size=8))
def test_any_text_is_a_jurisdiction_of_its_country_or_raises_the_one_error(text: str) -> None:
    try:
        assert check_jurisdiction(text) == text
    except FieldInvalid:
        return
    assert country_of(text).isascii()
    assert country_of(text).isupper()
    assert len(country_of(text)) == 2
