"""Words of rules: of the reason that decided, in the language asked for, and of the rule itself where there is none."""

from dataclasses import replace

import pytest

from carnet.core.decision import DecisionBody, parse_body
from carnet.core.errors import FieldInvalid
from gateway.words import WordBook, Words
from policy.bundle import Bundle
from tests.fixtures.parties import body

BUNDLE = Bundle.load()
REASON = {
    "rule": "ORG-ONLY",
    "effect": "deny",
    "message": "constraints.only",
    "parameters": {"only": ["FR"], "fix_ids": ["constraints.fix.only"]},
    "jurisdictions": ["SG"],
    "citations": ["C-CARNET-BASE"],
    "fix": ["constraints.fix.only"],
}


def decided() -> DecisionBody:
    """Singapore is blocked by a rule with a reason, and by one without."""
    blocked = {"EU-GDPR-CHV": ["SG", "US"], "ORG-ONLY": ["DE", "SG"]}
    return parse_body(
        body(
            "FR",
            blocked=blocked,
            rules_evaluated=sorted(blocked),
            reasons=[REASON],
        )
    )


@pytest.mark.parametrize(("language", "place"), [("en", "Singapore"), ("", "Singapore"), ("fr", "Singapour")])
def test_a_reason_is_told_in_the_language_asked_for_with_what_would_permit_it(language: str, place: str) -> None:
    first, _ = Words(BUNDLE, language=language).denials(decided(), ("SG",))
    assert (first.rule, first.citations) == ("ORG-ONLY", ("C-CARNET-BASE",))
    assert place in first.text
    (fix,) = first.fix
    assert fix == BUNDLE.rows("messages")["constraints.fix.only"][language or "en"]


def test_a_rule_without_a_reason_is_told_by_its_title_and_citations() -> None:
    _, second = Words(BUNDLE, language="en").denials(decided(), ("SG",))
    (rule,) = (found for found in BUNDLE.catalogue() if found.id == "EU-GDPR-CHV")
    assert (second.rule, second.text, second.citations) == (rule.id, rule.title, rule.citations)
    assert second.citations


def test_each_rule_is_told_once_and_a_place_that_is_permitted_has_none() -> None:
    words = Words(BUNDLE, language="en")
    assert [found.rule for found in words.denials(decided(), ("SG", "US", "SG"))] == ["ORG-ONLY", "EU-GDPR-CHV"]
    assert [found.rule for found in words.denials(decided(), ("DE",))] == ["ORG-ONLY"]
    assert words.denials(decided(), ("FR",)) == ()
    assert words.denials(decided(), ()) == ()


def test_a_rule_that_the_bundle_has_no_more_is_told_by_its_id() -> None:
    assert Words(BUNDLE, language="fr").denial("GONE-1", None).text == "GONE-1"


def test_what_is_no_place_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        Words(BUNDLE, language="en").denials(decided(), ("Singapore",))


def test_words_are_made_once_for_a_bundle_and_anew_for_the_next() -> None:
    live = [BUNDLE]
    book = WordBook(lambda: live[0])
    first = book.of("fr")
    assert book.of("fr") is first
    assert book.of("en") is not first
    live[0] = replace(BUNDLE)
    assert book.of("fr") is not first
