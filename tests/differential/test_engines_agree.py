"""OPA and the embedded engine give the same bytes for the same question: 2,000 here, more by `./dev policy-proof`."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from tests.differential.engines import Answer, Both, shown
from tests.differential.questions import BUNDLE, questions
from tests.opa_support import opa_binary

pytestmark = [pytest.mark.opa, pytest.mark.timeout(600)]

PARTS, CASES = 8, 250
IN_ONE_WORKER = pytest.mark.xdist_group("questions")


RULES = {(rule.id, rule.effect) for rule in BUNDLE.catalogue() if rule.from_ns is not None}


@dataclass(kw_only=True)
class Reached:
    """What the answers of this process have said so far."""

    said: set[tuple[str, str]] = field(default_factory=set)
    verdicts: set[bool] = field(default_factory=set)
    at_home: int = 0

    def note(self, answer: Answer) -> None:
        """One more answer."""
        assert answer.body is not None
        reasons = [*answer.body.reasons, *(reason for verdict in answer.verdicts for reason in verdict.reasons)]
        self.said |= {(rule, "deny") for rule, _ in answer.body.blocked}
        self.said |= {(reason.rule, reason.effect.value) for reason in reasons}
        self.verdicts |= {verdict.permitted for verdict in answer.verdicts}
        # Within the Union only a code of Annex IV is stopped.
        self.at_home += "FR" in dict(answer.body.blocked).get("EU-DU-ART3", ())

    @property
    def everything(self) -> bool:
        """Whether every rule spoke, for and against runners, also within the Union."""
        return self.said >= RULES and self.verdicts == {True, False} and self.at_home > 0


@pytest.fixture(scope="module")
def reached() -> Reached:
    return Reached()


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    found = Both(opa=opa_binary(), bundle=BUNDLE)
    yield found
    found.close()


@IN_ONE_WORKER
@pytest.mark.parametrize("part", range(PARTS))
def test_both_engines_answer_alike(both: Both, reached: Reached, part: int) -> None:
    permitted = denied = 0
    for question in questions(seed=part, count=CASES):
        one, other = both.ask(question)
        assert one.text() == other.text(), shown(question, one, other)
        assert one.body is not None, one.failure
        reached.note(one)
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


@IN_ONE_WORKER
def test_the_questions_reach_every_rule_that_denies_warns_or_obliges(both: Both, reached: Reached) -> None:
    assert {effect for _, effect in RULES} == {"deny", "warn", "oblige"}
    # Where the parts above ran in this process, they have asked enough.
    more = iter(() if reached.everything else questions(seed=99, count=CASES * PARTS))
    while not reached.everything:
        question = next(more, None)
        if question is None:
            missing = sorted(RULES - reached.said)
            pytest.fail(f"no question reaches {missing}; {reached.verdicts}; Annex IV {reached.at_home} times")
        reached.note(both.ask_embedded(question))
