"""Decisions: any bytes are a body or raise `FieldInvalid`; no answer and no narrowing ever adds a place."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.core import limits
from carnet.core.decision import (
    OBLIGATIONS,
    SCHEMA,
    DecisionBody,
    Obligation,
    Verdict,
    check_obligations,
    check_usable,
    for_runner,
    narrow,
    parse_body,
    recipients_max,
)
from carnet.core.document import canonical
from carnet.core.errors import FieldInvalid, PolicyDenied
from carnet.core.facts import country_of

relaxed = settings(deadline=None)

NOW = 1_800_000_000 * 10**9
PLACES = ["CH", "DE", "FR", "FR-IDF", "UA", "UA-43", "US", "US-CA"]
RULES = ["gdpr.chapter_v", "ofac.embargo", "organisation.only"]
places = st.sets(st.sampled_from(PLACES), max_size=6)
words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def obligations(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(sorted(OBLIGATIONS)))
    value = "container" if kind == "isolation_min" else draw(st.integers(0, 20))
    return {"type": kind, "value": value, "rule": draw(words), "citations": [], "enforcer": OBLIGATIONS[kind]}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    blocked = {rule: sorted(draw(places)) for rule in draw(st.sets(st.sampled_from(RULES)))}
    permitted = draw(places) - {place for found in blocked.values() for place in found}
    # A review is of something; a denial is of nothing.
    verdict = draw(st.sampled_from(list(Verdict) if permitted else [Verdict.PERMIT, Verdict.DENY]))
    return {
        "schema": SCHEMA,
        "verdict": verdict,
        "permitted": [] if verdict is Verdict.DENY else sorted(permitted),
        "blocked": blocked,
        "obligations": draw(st.lists(obligations(), max_size=3)),
        "reasons": [],
        "rules_evaluated": RULES,
        "exemptions_used": [],
        "unverified_rows_used": [],
        "valid_until_ns": draw(st.integers(NOW - 2, NOW + 2)),
        "revisions": {"rules": "sha256:" + "0" * 64, "data": "sha256:" + "1" * 64},
        "disclaimer": draw(words),
    }


def body(value: dict[str, Any]) -> DecisionBody:
    return parse_body(canonical(value))


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes_are_no_body(data: bytes) -> None:
    with pytest.raises(FieldInvalid):
        parse_body(data)


@relaxed
@given(bodies())
def test_a_body_parses_to_what_it_says_and_its_digest_is_of_its_bytes(value: dict[str, Any]) -> None:
    data = canonical(value)
    found = parse_body(data)
    assert (found.payload, found.digest) == (data, hashlib.sha256(data).digest())
    assert (found.verdict, list(found.permitted)) == (value["verdict"], value["permitted"])
    assert dict(found.blocked) == {rule: tuple(blocked) for rule, blocked in value["blocked"].items()}


@relaxed
@given(bodies(), st.data())
def test_a_changed_body_parses_or_raises_the_one_error(value: dict[str, Any], data: st.DataObject) -> None:
    changed = bytearray(canonical(value))
    start = data.draw(st.integers(0, len(changed)))
    changed[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    try:
        found = parse_body(bytes(changed))
    except FieldInvalid:
        return
    assert found.payload == bytes(changed)
    assert found.verdict is not Verdict.DENY or not found.permitted
    assert found.verdict is Verdict.PERMIT or not any(found.permits(place) for place in found.permitted)


@relaxed
@given(bodies(), st.sampled_from(["schema", "verdict", "permitted", "rules_evaluated", "valid_until_ns", "revisions"]))
def test_a_body_without_a_part_does_not_parse_so_silence_never_permits(value: dict[str, Any], name: str) -> None:
    del value[name]
    with pytest.raises(FieldInvalid):
        body(value)


@relaxed
@given(bodies(), st.sampled_from(PLACES))
def test_a_body_that_permits_a_blocked_place_or_permits_without_the_verdict_does_not_parse(
    value: dict[str, Any], place: str
) -> None:
    blocked = value | {"verdict": "permit", "permitted": [place], "blocked": {RULES[0]: [place]}}
    denied = value | {"verdict": "deny", "permitted": [place], "blocked": {}}
    for wrong in (blocked, denied):
        with pytest.raises(FieldInvalid):
            body(wrong)


@relaxed
@given(bodies(), st.sampled_from(PLACES))
def test_a_place_is_permitted_only_under_the_verdict_by_name_or_country_and_never_where_blocked(
    value: dict[str, Any], place: str
) -> None:
    found = body(value)
    blocked = {p for places in value["blocked"].values() for p in places}
    named = {place, country_of(place)} & set(value["permitted"])
    assert found.permits(place) == (value["verdict"] == "permit" and bool(named) and place not in blocked)


@relaxed
@given(bodies(), bodies())
def test_narrowing_never_adds_a_place(before: dict[str, Any], after: dict[str, Any]) -> None:
    earlier, later = body(before), body(after)
    kept = narrow(earlier, later)
    assert set(kept) <= set(earlier.permitted)
    assert all(earlier.permits(place) and later.permits(place) for place in kept)
    assert kept == tuple(sorted(set(kept)))


@relaxed
@given(bodies(), bodies())
def test_narrowing_keeps_every_named_place_that_both_permit(before: dict[str, Any], after: dict[str, Any]) -> None:
    earlier, later = body(before), body(after)
    kept = narrow(earlier, later)
    assert all(place in kept for place in earlier.permitted if earlier.permits(place) and later.permits(place))


@relaxed
@given(bodies(), bodies())
def test_narrowing_twice_is_narrowing_once_and_a_denial_leaves_nothing(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    earlier, later = body(before), body(after)
    kept = narrow(earlier, later)
    assert narrow(replace(earlier, permitted=kept), later) == kept
    if later.verdict is not Verdict.PERMIT or earlier.verdict is not Verdict.PERMIT:
        assert kept == ()


@relaxed
@given(bodies())
def test_a_body_is_usable_only_where_it_permits_something_now(value: dict[str, Any]) -> None:
    found = body(value)
    usable = value["verdict"] == "permit" and bool(value["permitted"]) and value["valid_until_ns"] > NOW
    if usable:
        check_usable(found, now_ns=NOW)
    else:
        with pytest.raises(PolicyDenied):
            check_usable(found, now_ns=NOW)


@relaxed
@given(bodies(), words, st.sampled_from(["client", "gateway", "runner"]))
def test_an_obligation_that_nobody_knows_makes_the_body_unusable(
    value: dict[str, Any], kind: str, enforcer: str
) -> None:
    unknown = {"type": kind, "value": 1, "rule": "r", "citations": [], "enforcer": enforcer}
    found = body(value | {"obligations": [*value["obligations"], unknown]})
    if OBLIGATIONS.get(kind) == enforcer:
        return
    with pytest.raises(PolicyDenied):
        check_obligations(found.obligations)
    with pytest.raises(PolicyDenied):
        check_usable(found, now_ns=0)


@relaxed
@given(bodies())
def test_obligations_only_ever_lower_the_number_of_recipients_and_a_permit_holds_no_rule(value: dict[str, Any]) -> None:
    found: tuple[Obligation, ...] = body(value).obligations
    wanted = [o.value for o in found if o.type == "recipients_max" and isinstance(o.value, int)]
    assert recipients_max(found) <= limits.recipients_default
    assert all(recipients_max(found) <= value for value in wanted)
    assert not any(hasattr(duty, part) for duty in for_runner(found) for part in ("rule", "citations"))
    assert all(o.type in {"isolation_min", "network_none"} for o in for_runner(found))
