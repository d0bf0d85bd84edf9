"""Overlays drawn from templates: rules that block, warn, oblige and judge runners, some at odds with ours.

Each is whole: METADATA, words in both languages, a citation. What an officer could write goes through the same gates;
what they could not is drawn by `colliding`.

    overlays = drawn(seed=1, count=6)
"""

import json
import random
from typing import Final

from policy.overlay import Overlay

_PLACES: Final = '["DE", "FR", "US", "SG", "GB", "RE", "UA-43"]'
_BODIES: Final[dict[tuple[str, str], list[str]]] = {
    ("job", "deny"): [
        f"blocked[{{id}}] := data.carnet.places.with_regions({{{{place | some place in {_PLACES}}}}})",
        'blocked[{id}] := {{place | "personal" in input.job.data.classes; some place in data.carnet.places.countries}}',
        "blocked[{id}] := data.carnet.places.universe",
        "blocked[{id}] := set()",
        "blocked[{id}] := data.carnet.gdpr.free",
    ],
    ("job", "warn"): ["warned[{id}] := data.carnet.places.countries", "warned[{id}] := set()"],
    ("job", "oblige"): [
        'obliged[{id}] := {{{{"type": "recipients_max", "value": 9}}}}',
        'obliged[{id}] := {{{{"type": "recipients_max", "value": 1}}}}',
        'obliged[{id}] := {{{{"type": "isolation_min", "value": "process"}}}}',
        'obliged[{id}] := {{{{"type": "approval", "value": 2}}}}',
    ],
    ("runner", "deny"): [
        "passed[{id}] contains i if some i, _ in input.runners",
        'passed[{id}] contains i if {{\n\tsome i, runner in input.runners\n\trunner.isolation == "microvm"\n}}',
        'passed[{id}] contains i if {{\n\tsome i, runner in input.runners\n\trunner.jurisdiction == "ZZ"\n}}',
    ],
    ("runner", "warn"): ["passed[{id}] contains i if {{\n\tsome i, runner in input.runners\n\trunner.gpus == 0\n}}"],
}
_RULE: Final = """
# METADATA
# title: {title}
# custom:
#   id: {id}
#   stage: {stage}
#   effect: {effect}
#   citations: [{citation}]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: low
#   owner: nobody
#   review_by: "2099-01-01"
#   status: in_force
{body}

explained["{id}"] := {{"message": "{name}.said", "parameters": {{}}, "fix": []}}
"""


def drawn(*, seed: int, count: int) -> tuple[Overlay, ...]:
    """The same for the same seed: each has a rule of one kind, kind after kind, and one or two more."""
    chance = random.Random(seed)
    kinds = list(_BODIES)
    found = []
    for number in range(count):
        chosen = [kinds[number % len(kinds)], *chance.choices(kinds, k=chance.choice([1, 2]))]
        found.append(_overlay(f"drawn{number}", [(kind, chance.choice(_BODIES[kind])) for kind in chosen]))
    return tuple(found)


def blocking(name: str) -> Overlay:
    """One that blocks every place."""
    return _overlay(name, [(("job", "deny"), "blocked[{id}] := data.carnet.places.universe")])


def colliding(name: str, rule: str) -> dict[str, bytes]:
    """The files of an overlay whose rule bears an id that is not its own, and opens what it can."""
    return _files(name, [(("job", "deny"), "blocked[{id}] := set()")], ids=[rule])


def _overlay(name: str, rules: list[tuple[tuple[str, str], str]]) -> Overlay:
    ids = [f"{name.upper()}-R{i}" for i in range(len(rules))]
    return Overlay.read(name, _files(name, rules, ids=ids))


def _files(name: str, rules: list[tuple[tuple[str, str], str]], *, ids: list[str]) -> dict[str, bytes]:
    citation = f"C-{name.upper()}-X"
    text = f"package carnet.org.{name}\n"
    for rule, ((stage, effect), body) in zip(ids, rules, strict=True):
        text += _RULE.format(
            title=f"{effect} of a {stage}",
            id=rule,
            name=name,
            stage=stage,
            effect=effect,
            citation=citation,
            body=body.format(id=f'"{rule}"'),
        )
    said = {"en": "Said by the overlay.", "fr": "Dit par la surcouche."}
    source = {
        "title": "x", "source": "x", "as_of": "2026-11-22", "review_by": "2099-01-01", "status": "seen",
    }  # fmt: skip
    return {
        "overlay.rego": text.encode(),
        "messages.json": json.dumps({"about": "x", "rows": {f"{name}.said": said}}).encode(),
        "citations.json": json.dumps({"about": "x", "rows": {citation: source}}).encode(),
    }
