"""Words come from the catalogue alone: what it lacks is an error, and a long list of places is cut."""

import pytest

from carnet.core.decision import Effect, Parameter, Reason
from carnet.core.errors import Bug
from policy.bundle import Bundle
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


def test_a_parameter_is_never_a_template() -> None:
    found = reason("carnet.screening", screening="{places} {0.__class__}")
    assert "{places} {0.__class__}" in ENGLISH.reason(found).text


@pytest.mark.parametrize("found", [reason("no.such.message"), reason("ofac.party"), reason("constraints.only", "DE")])
def test_what_the_catalogue_lacks_is_a_bug(found: Reason) -> None:
    with pytest.raises(Bug):
        ENGLISH.reason(found)
