"""OPA and the embedded engine give the same bytes for the same question: 2,000 here, more by `./dev policy-proof`."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.differential.engines import Both, shown
from tests.differential.questions import BUNDLE, questions
from tests.opa_support import opa_binary

pytestmark = [pytest.mark.opa, pytest.mark.timeout(600)]

PARTS, CASES = 8, 250


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    found = Both(opa=opa_binary(), bundle=BUNDLE)
    yield found
    found.close()


@pytest.mark.parametrize("part", range(PARTS))
def test_both_engines_answer_alike(both: Both, part: int) -> None:
    permitted = denied = 0
    for question in questions(seed=part, count=CASES):
        one, other = both.ask(question)
        assert one.text() == other.text(), shown(question, one, other)
        assert one.body is not None, one.failure
        permitted += one.body.verdict == "permit"
        denied += one.body.verdict == "deny"
    # A comparison of nothing but denials would compare little.
    assert permitted > CASES // 20
    assert denied > CASES // 20


def test_the_control_a_rule_that_one_engine_has_otherwise_is_seen() -> None:
    path = "carnet/links/links.rego"
    changed = BUNDLE.rules[path].replace(
        b"mechanism.assessment_completed == true", b"mechanism.assessment_completed == false"
    )
    assert changed != BUNDLE.rules[path]
    # The embedded engine runs other rules under the same revisions.
    found = Both(opa=opa_binary(), bundle=BUNDLE, embedded=replace(BUNDLE, rules={**BUNDLE.rules, path: changed}))
    try:
        pairs = (found.ask(question) for question in questions(seed=0, count=CASES * PARTS))
        assert any(one.text() != other.text() for one, other in pairs)
    finally:
        found.close()


def test_the_questions_are_the_same_for_the_same_seed() -> None:
    first = [question.content for question in questions(seed=7, count=20)]
    assert first == [question.content for question in questions(seed=7, count=20)]
    assert first != [question.content for question in questions(seed=8, count=20)]


def test_the_questions_reach_every_rule_that_denies_warns_or_obliges(both: Both) -> None:
    rules = {(rule.id, rule.effect) for rule in BUNDLE.catalogue() if rule.from_ns is not None}
    assert {effect for _, effect in rules} == {"deny", "warn", "oblige"}
    said: set[tuple[str, str]] = set()
    verdicts: set[bool] = set()
    at_home = 0
    for question in questions(seed=99, count=CASES * PARTS):
        answer = both.ask_embedded(question)
        assert answer.body is not None
        reasons = [*answer.body.reasons, *(reason for verdict in answer.verdicts for reason in verdict.reasons)]
        said |= {(rule, "deny") for rule, _ in answer.body.blocked}
        said |= {(reason.rule, reason.effect.value) for reason in reasons}
        verdicts |= {verdict.permitted for verdict in answer.verdicts}
        # Within the Union only a code of Annex IV is stopped.
        at_home += "FR" in dict(answer.body.blocked).get("EU-DU-ART3", ())
        if rules <= said and verdicts == {True, False} and at_home:
            return
    pytest.fail(f"no question reaches {sorted(rules - said)}; runners are only {verdicts}; Annex IV {at_home} times")
