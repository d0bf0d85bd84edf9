"""Words: what rules say, as the live policy's catalogue has it, in the language that a caller asked for.

- The words come from the message ids of the reasons that decided, in English or in French; what a decision gives no
  reason for (it was not asked about that place) is told by the rule's own title and citations.
- Words are for showing. What counts is in the signed decision: rules, places, message ids.

    book = WordBook(lambda: policy.bundle)
    book.of("fr").denial("EU-GDPR-CHV", reason)
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from carnet.core.decision import DecisionBody, Reason
from carnet.core.explanation import explain
from policy.bundle import Bundle, Rule
from policy.rendering import Language, Renderer

_LANGUAGES: dict[str, Language] = {"": "en", "en": "en", "fr": "fr"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One rule in words: the sentence, its citations by id, and what would make it permitted."""

    rule: str
    text: str
    citations: tuple[str, ...] = ()
    fix: tuple[str, ...] = ()


class Words:
    """The words of one bundle in one language: `en`, `fr`, or nothing for `en`, as PrepareJob takes them."""

    def __init__(self, bundle: Bundle, *, language: str) -> None:
        self.bundle = bundle
        self._language = _LANGUAGES[language]

    @cached_property
    def _renderer(self) -> Renderer:
        return Renderer(bundle=self.bundle, language=self._language)

    @cached_property
    def _rules(self) -> dict[str, Rule]:
        return {rule.id: rule for rule in self.bundle.catalogue()}

    def denial(self, rule: str, reason: Reason | None) -> Told:
        """One rule in the way. A rule that the bundle has no more is told by its id."""
        if reason is not None:
            words = self._renderer.reason(reason)
            return Told(rule=rule, text=words.text, citations=reason.citations, fix=words.fix)
        known = self._rules.get(rule)
        if known is None:
            return Told(rule=rule, text=rule)
        return Told(rule=rule, text=known.title, citations=known.citations)

    def denials(self, body: DecisionBody, places: tuple[str, ...]) -> tuple[Told, ...]:
        """Every rule in the way of one of these places, each once. Raises `FieldInvalid` for what is no place."""
        found = {denial.rule: denial for place in places for denial in explain(body, place).denials}
        return tuple(self.denial(denial.rule, denial.reason) for denial in found.values())


class WordBook:
    """The words of the bundle that is live, made once for each bundle and language."""

    def __init__(self, live: Callable[[], Bundle]) -> None:
        self._live = live
        self._made: dict[str, Words] = {}

    def of(self, language: str) -> Words:
        """In this language, as `Words` takes it."""
        bundle = self._live()
        found = self._made.get(language)
        if found is None or found.bundle is not bundle:
            found = self._made[language] = Words(bundle, language=language)
        return found
