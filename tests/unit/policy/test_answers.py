"""Answers are believed only after every check: each way in which one can be wrong is no answer."""

import copy
from typing import Any

import pytest

from carnet.core.document import canonical
from carnet.core.errors import PolicyEngineUnavailable
from policy.engines.answers import body_of, verdicts_of
from tests.opa_answers import BODY, BUNDLE, RUNNERS, VERDICTS
from tests.opa_support import NOW


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    found = copy.deepcopy(document)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = found
    for part in parents:
        place = place[part]
    place[last] = value
    return found


def test_a_whole_answer_is_a_body_with_its_canonical_bytes() -> None:
    body = body_of(BODY, bundle=BUNDLE, now_ns=NOW)
    assert body.payload == canonical(BODY)
    assert body.permits("DE")
    assert body.revisions == BUNDLE.revisions


@pytest.mark.parametrize("name", sorted(BODY))
def test_a_body_that_lacks_a_field_is_no_answer(name: str) -> None:
    answer = {key: value for key, value in BODY.items() if key != name}
    with pytest.raises(PolicyEngineUnavailable):
        body_of(answer, bundle=BUNDLE, now_ns=NOW)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schema", "carnet.decision/v2"),
        ("verdict", "allow"),
        ("verdict", "deny"),
        ("verdict", True),
        ("permitted", ["FR"]),
        ("permitted", ["EU"]),
        ("permitted", ["ZZ"]),
        ("permitted", "DE"),
        ("permitted", ["DE", "DE"]),
        ("blocked", {"ORG-UNHEARD": ["FR"]}),
        ("obligations/0/type", "water_marks"),
        ("obligations/0/enforcer", "nobody"),
        ("obligations/0/value", 2),
        ("reasons/0/effect", "shrug"),
        ("reasons/0/parameters", {"never": 0.5}),
        ("reasons/0/surprise", 1),
        ("rules_evaluated", ["ORG-NEVER"]),
        ("rules_evaluated", []),
        ("valid_until_ns", NOW),
        ("valid_until_ns", 2**63),
        ("revisions/rules", "sha256:" + "0" * 64),
        ("revisions/data", "sha256:" + "0" * 64),
        ("surprise", 1),
    ],
)
def test_a_body_that_is_wrong_is_no_answer(path: str, value: Any) -> None:
    with pytest.raises(PolicyEngineUnavailable):
        body_of(changed(BODY, path, value), bundle=BUNDLE, now_ns=NOW)


@pytest.mark.parametrize("answer", [None, True, {}, [], "permit", {"allow": True}])
def test_nonsense_is_no_answer(answer: Any) -> None:
    with pytest.raises(PolicyEngineUnavailable):
        body_of(answer, bundle=BUNDLE, now_ns=NOW)
    with pytest.raises(PolicyEngineUnavailable):
        verdicts_of(answer, bundle=BUNDLE, runners=RUNNERS, now_ns=NOW)


def test_verdicts_come_in_order_with_the_digest_of_the_card_that_was_judged() -> None:
    found = verdicts_of(VERDICTS, bundle=BUNDLE, runners=RUNNERS, now_ns=NOW)
    assert [verdict.permitted for verdict in found] == [True, False]
    assert [verdict.card_digest for verdict in found] == [runner.card_digest for runner in RUNNERS]
    assert [verdict.jurisdiction for verdict in found] == ["DE", "FR"]
    assert [verdict.unverified_rows_used for verdict in found] == [("memberships/EAR_D5/CN",), ()]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("verdicts", VERDICTS["verdicts"][:1]),
        ("verdicts", VERDICTS["verdicts"][::-1]),
        ("verdicts", [*VERDICTS["verdicts"], VERDICTS["verdicts"][0]]),
        ("verdicts/0/spiffe_id", "spiffe://other.example/x"),
        ("verdicts/0/verdict", "deny"),
        ("verdicts/1/verdict", "permit"),
        ("verdicts/1/verdict", "maybe"),
        ("verdicts/0/valid_until_ns", NOW),
        ("verdicts/0/unverified_rows_used", ["a/b", "a/b"]),
        ("verdicts/0/unverified_rows_used", [f"a/{i}" for i in range(257)]),
        ("verdicts/0/unverified_rows_used", "a/b"),
        ("verdicts/0/unverified_rows_used", None),
        ("rules_evaluated", ["EU-GDPR-IMPORTER"]),
        ("revisions/rules", "sha256:" + "0" * 64),
    ],
)
def test_verdicts_that_are_wrong_are_no_answer(path: str, value: Any) -> None:
    with pytest.raises(PolicyEngineUnavailable):
        verdicts_of(changed(VERDICTS, path, value), bundle=BUNDLE, runners=RUNNERS, now_ns=NOW)
