"""OPA's own cases for the profile pass on the embedded engine, and the list of those that do not is exact."""

import os
from pathlib import Path

import pytest

from tests.differential import conformance
from tests.differential.conformance import Case


def folder() -> Path:
    named = os.environ.get("CARNET_OPA_CASES")
    if named:
        return Path(named)
    if os.environ.get("CI") == "true":
        pytest.fail("CI has no conformance cases: CARNET_OPA_CASES is not set")
    pytest.skip("no conformance cases: `./dev test` brings them")


def test_every_case_passes_or_stands_in_the_list_with_a_reason() -> None:
    found = conformance.run(folder())
    assert found.failed == ()
    assert found.stale == ()
    assert len(found.passed) >= conformance.passed_min
    assert len(found.skipped) == conformance.skips_max


def test_the_list_of_skips_can_not_grow_in_silence_and_each_has_a_reason() -> None:
    assert len(conformance.skips()) == conformance.skips_max == 2
    assert all(len(why) > 20 for why in conformance.skips().values())


def case(policy: str, want: object, query: str = "data.x.p = x") -> Case:
    return Case({"note": "n", "query": query, "modules": [policy], "want_result": [{"x": want}]})


def test_the_control_a_wrong_answer_is_seen() -> None:
    assert case("package x\n\np := 1\n", 1).passes()
    assert not case("package x\n\np := 1\n", 2).passes()
    assert not case("package x\n\nq := 1\n", 1).passes()


def test_what_the_profile_does_not_hold_does_not_count() -> None:
    assert case("package x\n\np := 1\n", 1).applies
    assert not case("package x\n\np := time.now_ns()\n", 1).applies
    assert not case("package x\n\np if input.a with input as {}\n", 1).applies
    assert not Case({"note": "n", "query": "x = 1", "want_result": [{"x": 1}]}).applies
