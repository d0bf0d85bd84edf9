"""Decisions in words, English and French, from message ids.

- A reason is an id with parameters; the words are in one catalogue (`policy/data/messages`), so they can not drift
  from the rule that decided.
- Places are named in the reader's language; a long list is cut, and says how many more there are.
- What is said around a decision (`policy/data/messages/words.json`) is this version's own: a bundle that was released
  before has the sentences of its rules, and may lack a word of ours.

    renderer = Renderer(bundle=Bundle.load(), language="fr")
    renderer.reason(reason).text
"""

import json
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from carnet.core.decision import DecisionBody, Parameter, Reason
from carnet.core.errors import Bug
from policy.bundle import Bundle, Rows, home

Language = Literal["en", "fr"]

places_shown_max: Final = 12

_WORDS: Final = home / "data" / "messages" / "words.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One reason in words: the sentence, what would make it permitted, and the titles of what it cites."""

    text: str
    fix: tuple[str, ...]
    citations: tuple[str, ...]


class Renderer:
    """Words for one language. Raises `Bug` where the catalogue lacks a message or a parameter."""

    def __init__(self, *, bundle: Bundle, language: Language) -> None:
        self._messages = bundle.rows("messages") | _words()
        self._citations = bundle.rows("citations")
        self._names: Rows = bundle.rows("jurisdictions") | bundle.rows("regions")
        self._language: Language = language

    def reason(self, reason: Reason) -> Sentence:
        """One reason, with its fixes and the titles of its citations."""
        parameters = dict(reason.parameters)
        fixes = parameters.get("fix_ids", ())
        shown = {name: self._shown(value) for name, value in parameters.items()}
        shown["places"] = self.places(reason.jurisdictions) if reason.jurisdictions else self.words("everywhere")
        return Sentence(
            text=self._message(reason.message, shown),
            fix=tuple(self._message(fix, shown) for fix in (fixes if isinstance(fixes, tuple) else ())),
            citations=tuple(f"{name}: {self._title(name)}" for name in reason.citations),
        )

    def body(self, body: DecisionBody) -> tuple[Sentence, ...]:
        """Every reason of a decision, in its order."""
        return tuple(self.reason(reason) for reason in body.reasons)

    def disclaimer(self, body: DecisionBody) -> str:
        """What the decision is not."""
        return self._message(body.disclaimer, {})

    def places(self, codes: tuple[str, ...]) -> str:
        """Places by name, with their codes; a code that has no name stands alone."""
        named = [self._name(code) for code in codes[:places_shown_max]]
        listed = ", ".join(named)
        more = len(codes) - len(named)
        return self.words("more", listed=listed, count=str(more)) if more else listed

    def words(self, name: str, **parameters: str) -> str:
        """What is said around a decision, by its name below `words`."""
        return self._message(f"words.{name}", parameters)

    def _title(self, name: str) -> str:
        # An overlay has one title for its citations, and so have ours in a bundle that was released before.
        own = {"en": str(self._citations[name]["title"])}
        return str(
            (self._messages.get(f"titles.{name.lower().replace('-', '_')}", {}) | own).get(self._language, own["en"])
        )

    def _name(self, code: str) -> str:
        row = self._names.get(code)
        return f"{row[self._language]} ({code})" if row else code

    def _shown(self, value: Parameter) -> str:
        match value:
            case tuple():
                return self.places(value)
            case int():
                return str(value)
            case _:
                return self._name(value)

    def _message(self, name: str, parameters: dict[str, str]) -> str:
        row = self._messages.get(name)
        if row is None:
            raise Bug(detail=f"no message {name}")
        try:
            return str(row[self._language]).format_map(parameters)
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise Bug(detail=f"message {name} lacks a parameter") from error


@cache
def _words() -> Rows:
    rows: Rows = json.loads(_WORDS.read_bytes())["rows"]
    return rows
