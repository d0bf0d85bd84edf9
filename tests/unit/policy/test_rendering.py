"""Words come from the catalogue alone: what it lacks is an error, and a long list of places is cut."""

import re
from dataclasses import replace

import pytest

from carnet.core.decision import Effect, Parameter, Reason, Verdict
from carnet.core.errors import Bug
from policy.bundle import Bundle, home
from policy.rendering import Renderer, places_shown_max

BUNDLE = Bundle.load()
ENGLISH = Renderer(bundle=BUNDLE, language="en")
FRENCH = Renderer(bundle=BUNDLE, language="fr")


def reason(message: str, *places: str, **parameters: Parameter) -> Reason:
    return Reason(
        rule="ORG-NEVER",
        effect=Effect.DENY,
        jurisdictions=places,
        citations=("C-ORG-FACTS",),
        message=message,
        parameters=tuple(parameters.items()),
        fix=(),
    )


def test_places_are_named_in_the_readers_language() -> None:
    found = reason("constraints.never", "DE", "UA-43", never=("DE",))
    assert ENGLISH.reason(found).text == "The organisation forbids Germany (DE), Crimea (UA-43)."
    assert FRENCH.reason(found).text == "L'organisation interdit Allemagne (DE), Crimée (UA-43)."
    assert ENGLISH.reason(found).citations[0].startswith("C-ORG-FACTS: ")


def test_a_place_without_a_name_stands_by_its_code() -> None:
    assert ENGLISH.places(("US-CA",)) == "US-CA"


def test_a_long_list_is_cut_and_says_how_many_more() -> None:
    codes = tuple(sorted(BUNDLE.rows("jurisdictions")))
    assert ENGLISH.places(codes).endswith(f"and {249 - places_shown_max} more")
    assert FRENCH.places(codes).endswith(f"et {249 - places_shown_max} autres")
    assert "more" not in ENGLISH.places(codes[:places_shown_max])


def test_a_fix_is_told_in_the_readers_language() -> None:
    found = reason("constraints.never", "DE", never=("DE",), fix_ids=("constraints.fix.never",))
    assert ENGLISH.reason(found).fix == ("Take the place out of constraints.never, if the organisation allows it.",)
    assert FRENCH.reason(found).fix[0].startswith("Retirez")


def test_words_around_a_decision_are_this_versions_own_whatever_bundle_was_released_before() -> None:
    messages = BUNDLE.rows("messages")
    table = {**BUNDLE.tables["messages"], "rows": {k: row for k, row in messages.items() if k[:6] != "words."}}
    assert len(table["rows"]) < len(messages)
    older = replace(BUNDLE, tables={**BUNDLE.tables, "messages": table})
    assert Renderer(bundle=older, language="fr").words("place_denied", place="X") == "X : non autorisé"
    with pytest.raises(Bug):
        ENGLISH.words("place_denied")
    with pytest.raises(Bug):
        ENGLISH.words("no_such_word")


def test_every_word_that_a_command_says_is_in_the_catalogue_and_no_other() -> None:
    texts = [(home / path).read_text() for path in ("rendering.py", "commands/evaluate.py", "commands/questions.py")]
    said = {name for text in texts for name in re.findall(r'words\(\s*"(\w+)"', text)}
    said |= {"place_permitted", "place_denied"}
    said |= {f"verdict_{verdict.value}" for verdict in Verdict} | {f"effect_{effect.value}" for effect in Effect}
    assert {f"words.{name}" for name in said} == {name for name in BUNDLE.rows("messages") if name[:6] == "words."}
    for name in said:
        row = BUNDLE.rows("messages")[f"words.{name}"]
        assert row["en"] != row["fr"], name


def test_what_is_cited_is_named_in_the_readers_language_and_an_overlays_by_its_one_title() -> None:
    found = replace(reason("constraints.never", "DE", never=("DE",)), citations=("C-GDPR-45", "C-KLINIKUM-ETHICS"))
    citations = {**BUNDLE.tables["citations"]}
    citations["rows"] = {**BUNDLE.rows("citations"), "C-KLINIKUM-ETHICS": {"title": "Resolution 2026/4"}}
    mixed = replace(BUNDLE, tables={**BUNDLE.tables, "citations": citations})
    french, english = (Renderer(bundle=mixed, language=word).reason(found).citations for word in ("fr", "en"))
    assert french == (
        "C-GDPR-45: RGPD (UE) 2016/679, art. 45 : décisions d'adéquation",
        "C-KLINIKUM-ETHICS: Resolution 2026/4",
    )
    assert english[0] == "C-GDPR-45: GDPR (EU) 2016/679, Art. 45: adequacy decisions"
    assert english[1] == french[1]


def test_a_parameter_is_never_a_template() -> None:
    found = reason("carnet.screening", screening="{places} {0.__class__}")
    assert "{places} {0.__class__}" in ENGLISH.reason(found).text


@pytest.mark.parametrize("found", [reason("no.such.message"), reason("ofac.party"), reason("constraints.only", "DE")])
def test_what_the_catalogue_lacks_is_a_bug(found: Reason) -> None:
    with pytest.raises(Bug):
        ENGLISH.reason(found)
