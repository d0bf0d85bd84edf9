"""Groups of places that a person may name instead of their codes, for `--only` and `--never`.

They are only a shorthand: what is sent is the list of codes, `--print-facts` shows it, and policy alone says what a
place counts as. EU: Art. 52 TEU; EEA: Annex to the EEA Agreement, with the EU. As of 2026-11-22.
"""

from typing import Final

EU: Final = (
    "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV",
    "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK",
)  # fmt: skip
GROUPS: Final[dict[str, tuple[str, ...]]] = {"EU": EU, "EEA": (*EU, "IS", "LI", "NO")}


def words(values: tuple[str, ...]) -> tuple[str, ...]:
    """The words of an option that may be given often, or once with commas; each once, in their order."""
    found = (word.strip() for value in values for word in value.split(","))
    return tuple(dict.fromkeys(word for word in found if word))


def places(values: tuple[str, ...]) -> tuple[str, ...]:
    """The same for codes of places, sorted, with each group replaced by its members."""
    return tuple(sorted({code for word in words(values) for code in GROUPS.get(word, (word,))}))
