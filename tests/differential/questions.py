"""Questions for both engines, drawn from the input schema: every field, each at its edges and in odd company.

The schema gives the shape and the bounds; `POOLS` gives, by the name of a field, the values at which rules turn: places
with traps, the days on which law changes and the nanosecond before, thresholds and their neighbours. A drawn document
is checked against the schema, so that the two can not drift apart.

What is drawn freely is nearly always denied, by several rules at once. So half of the questions keep most of an
ordinary job and runner that policy permits, or of an officer's case, and differ from it here and there.

    for question in questions(seed=1, count=500):
        question.document()
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from carnet.core.document import Json, canonical
from carnet.core.facts import SECTORS, parse_facts
from carnet.core.runner import RunnerFacts, parse_runner
from policy.bundle import Bundle, home
from policy.cases import case_files, read_cases
from policy.commands.common import local
from policy.engine import JobQuery
from policy.overlay import Overlay

COUNTRIES: Final = [
    "DE", "FR", "NO", "IS", "CH", "GB", "US", "IN", "BR", "JP", "KR", "CA", "CU", "IR", "KP", "UA", "RE", "GP", "NC",
    "SG", "HK", "CN", "MO", "RU", "BY", "SA", "AE", "PR", "GU", "GG", "IL", "NZ", "AU", "MM", "VE", "SY", "ZZ",
]  # fmt: skip
PLACES: Final = [*COUNTRIES, "US-CA", "US-PR", "UA-30", "UA-43", "UA-14", "FR-974", "FR-NC", "CN-HK", "ZZ-1", "DE-BY"]
ENTITIES: Final = ["operator.example", "another.example", "klinikum.example"]
CODES: Final = [
    "EAR99", "3A090", "3A090.a", "4A090", "4E091", "5A002.a.1", "3A001.b.4", "9A004", "1C351", "6A005", "5D002",
    # Of Annex IV of Regulation (EU) 2021/821, and one that only looks like it.
    "5A004", "5D002.c.3", "5D002.c.3.a", "6A001", "7A117", "5D002.c.30",
]  # fmt: skip
NUMBERS: Final = [0, 1, 99, 100, 101, 999, 1_000, 1_001, 9_999, 10_000, 10_001, 99_999, 100_000, 1_000_000, 10**12]

# With the example overlay, so that half of the questions are an organisation's with rules of its own.
BUNDLE: Final = Bundle.load().with_overlays([Overlay.load(home / "examples" / "overlay")])


@dataclass(frozen=True, slots=True)
class Question:
    """What an engine is asked: as `policy.engine.JobQuery` gives it, but drawn whole."""

    content: dict[str, Any]
    runners: tuple[RunnerFacts, ...]

    @property
    def now_ns(self) -> int:
        """The time that is asked about."""
        return int(self.content["context"]["now_ns"])

    @property
    def overlay(self) -> str:
        """The overlay that decides with the rules of all."""
        return str(self.content["gateway"]["overlay"])

    def document(self, runners: tuple[RunnerFacts, ...] = ()) -> dict[str, Json]:
        """The input; with runners for stage 2."""
        return self.content | ({"runners": self.content["runners"]} if runners else {})


def questions(*, seed: int, count: int) -> Iterator[Question]:
    """The same `count` questions for the same seed."""
    chance = random.Random(seed)
    schema = BUNDLE.schemas.documents["input"]
    for _ in range(count):
        drawn = _drawn(schema, "", chance, _Near(chance.choice(_NEAR), pull=chance.choice([0, 0, 0.6, 0.95])))
        drawn["runners"] = drawn["runners"][: chance.choice([1, 2, 4])]
        for i, runner in enumerate(drawn["runners"]):
            runner["spiffe_id"] = f"spiffe://operator.example/runner/{i}"
            runner["country"] = runner["jurisdiction"][:2]
        BUNDLE.schemas.check("input", drawn)
        judged = drawn["runners"] if chance.random() < 0.4 else []
        runners = tuple(parse_runner(canonical(runner)) for runner in judged)
        stage_1 = {name: value for name, value in drawn.items() if name != "runners"}
        yield Question(stage_1 | {"runners": drawn["runners"]}, runners)


def _days() -> list[int]:
    """Every instant that a row or a rule of the bundle names, and the nanoseconds around it."""
    found: set[int] = set()

    def look(value: Json) -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                if name.endswith("_ns") and isinstance(item, int):
                    found.update({max(item - 1, 0), item, item + 1})
                look(item)

    look(BUNDLE.data())
    # At `far_ns` and after it the bundle answers nothing.
    return sorted(day for day in found if day < BUNDLE.tables["settings"]["far_ns"])


_DAYS: Final = _days()
_EXEMPTIBLE: Final = [rule.id for rule in BUNDLE.catalogue() if rule.exemptible]
_TODAY: Final = 1_795_305_600 * 10**9
POOLS: Final[dict[str, list[Any]]] = {
    "country": [*COUNTRIES, "DE", "GB", "CH", "US", "CN", "IN", "RU", "SA", "IN", "CN"],
    "parent_country": COUNTRIES,
    "origin_jurisdiction": [*COUNTRIES, "DE", "GB", "CH", "US", "CN", "IN", "RU", "SA", "IN", "CN"],
    "subject_jurisdictions": COUNTRIES,
    "countries": COUNTRIES,
    "parent_never": COUNTRIES,
    "only": PLACES,
    "never": PLACES,
    "jurisdiction": PLACES,
    "classes": [*sorted(BUNDLE.rows("classes")), "unheard_of"],
    "sectors": [*sorted(SECTORS), "bank", "insurance", "payment", "public", "unheard_of"],
    "eccns": CODES,
    "eu_codes": CODES,
    "codes": CODES,
    "importer": ENTITIES,
    "entity": ENTITIES,
    "end_users": ENTITIES,
    "id": ["LIC-1", "LIC-2"],
    "certifications": ["HDS", "ISO27001", "PCI-DSS", "CJIS", "SECNUMCLOUD", "C5", "FEDRAMP"],
    "gpu_models": [*sorted(BUNDLE.rows("accelerators")), "unheard_of"],
    "percent": [0, 24, 25, 26, 49, 50, 51, 100],
    "records": NUMBERS,
    "gpus": [0, 1, 8, 1024],
    # Law that is still to come has begun after the last day that the bundle names.
    "now_ns": [*[_TODAY] * 3, *_DAYS, *[_DAYS[-1]] * (len(_DAYS) // 3)],
    "expires_ns": [1, _TODAY - 1, _TODAY, _TODAY + 1, _TODAY + 86_400 * 10**9, 2**62],
    "overlay": ["", "klinikum"],
    # Half of the rules that an exemption names may not be lifted by one.
    "rule": [*(rule.id for rule in BUNDLE.catalogue()), *_EXEMPTIBLE * 4, "EU-UNHEARD-OF"],
    "places": [*PLACES, "IN", "SG", "US"],
    "purposes": ["training", "inference", "other"],
    "approvals": [0, 0, 1, 2, 1000],
    "spiffe_id": ["spiffe://operator.example/runner"],
    **dict.fromkeys(BUNDLE.rows("bulk"), NUMBERS),
}


@dataclass(frozen=True, slots=True)
class _Near:
    """An ordinary value of the part that is drawn, and how likely it is kept."""

    value: Any
    pull: float

    def inside(self, key: str) -> "_Near":
        return _Near(self.value.get(key), self.pull) if isinstance(self.value, dict) else _Near(None, 0)

    def keeps(self, chance: random.Random) -> bool:
        return self.value is not None and chance.random() < self.pull


def _ordinary() -> dict[str, Json]:
    facts = parse_facts((home / "examples" / "german-hospital.json").read_bytes())
    runner = parse_runner((home / "examples" / "runner-fr.json").read_bytes())
    return JobQuery(facts=facts, gateway=local(), now_ns=_TODAY).document((runner,))


def _officers() -> list[dict[str, Json]]:
    """Officers' cases, ours and the example overlay's: each turns on a rule."""
    paths = [*case_files(()), home / "examples" / "overlay" / "cases.json"]
    cases = [case for path in paths for case in read_cases(path.read_bytes(), file=path.name, bundle=BUNDLE)]
    runner = parse_runner((home / "examples" / "runner-fr.json").read_bytes())
    return [case.query.document(case.runners or (runner,)) for case in cases]


# The ordinary job as often as all cases together.
_OFFICERS: Final = _officers()
_NEAR: Final = [*_OFFICERS, *[_ordinary()] * len(_OFFICERS)]


def _drawn(schema: dict[str, Any], name: str, chance: random.Random, near: _Near) -> Any:
    if "const" in schema:
        return schema["const"]
    kind = schema.get("type")
    if kind == "object":
        needed = {*schema.get("required", ()), "runners"}
        chosen = [key for key in schema["properties"] if key in needed or chance.random() < 0.5]
        return {key: _drawn(schema["properties"][key], key, chance, near.inside(key)) for key in chosen}
    if name == "runners":
        return [_drawn(schema["items"], "", chance, _Near(near.value[0], near.pull)) for _ in range(4)]
    if near.keeps(chance):
        return near.value
    if "enum" in schema:
        return chance.choice(schema["enum"])
    if kind == "array":
        length = max(chance.choice([0, 0, 1, 1, 2, 3]), schema.get("minItems", 0))
        items = [_drawn(schema["items"], name, chance, _Near(None, 0)) for _ in range(length)]
        return list(dict.fromkeys(items)) if schema.get("uniqueItems") else items
    if kind == "boolean":
        return chance.random() < 0.5
    return chance.choice(POOLS[name])
