"""OPA's own conformance cases, run on the embedded engine: those that the profile lets pass, out of OPA's module.

A case counts where it has policies, the gate lets them pass (data outside the tables aside, which cases are made of),
and its input is JSON. One that fails must stand in `conformance_skips.toml` with a reason, and one that stands there
must fail: so the list can neither grow nor go stale in silence.

    for case in cases(folder):
        case.verdict()
"""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import regorus
import yaml

from policy import gate

# One skip more, or a profile that lets fewer cases pass, is a decision that is made here.
skips_max: Final = 2
passed_min: Final = 300

FOLDER: Final = Path("v1/test/cases/testdata/v1")
_SKIPS: Final = Path(__file__).with_name("conformance_skips.toml")
_DATA: Final = "a reference into data is written out"


@dataclass(frozen=True, slots=True)
class Case:
    """One case of OPA's, as its file has it."""

    content: dict[str, Any]

    @property
    def note(self) -> str:
        """The name that OPA gives it, and its query: names repeat."""
        return f"{self.content['note']} | {self.content['query']}"

    @property
    def rules(self) -> dict[str, bytes]:
        """Its policies."""
        return {f"{i}.rego": text.encode() for i, text in enumerate(self.content.get("modules") or [])}

    @property
    def applies(self) -> bool:
        """Whether it is one for the profile."""
        if not self.rules or "input_term" in self.content:
            return False
        query = f"package query\n\nanswer if {{\n\t{self.content['query']}\n}}\n".encode()
        if any("does not parse" in refusal.text for refusal in gate.refusals({"query.rego": query})):
            return False
        return all(refusal.text.startswith(_DATA) for refusal in gate.refusals(self.rules))

    def passes(self) -> bool:
        """Whether the embedded engine answers as OPA does."""
        try:
            found = self._answer()
        except BaseException:  # noqa: BLE001  # a panic of the engine is no Exception
            return self._wants_error
        if self._wants_error:
            return not found
        if self.content.get("want_defined") is not None:
            return bool(found) == self.content["want_defined"]
        return _sorted(found) == _sorted(self.content.get("want_result") or [])

    @property
    def _wants_error(self) -> bool:
        return "want_error" in self.content or "want_error_code" in self.content

    def _answer(self) -> list[Any]:
        engine = regorus.Engine()
        engine.set_rego_v0(False)
        for path, text in self.rules.items():
            engine.add_policy(path, gate.without_imports(path, text).decode())
        if self.content.get("data") is not None:
            engine.add_data_json(json.dumps(self.content["data"]))
        if "input" in self.content:
            engine.set_input_json(json.dumps(self.content["input"]))
        answer = json.loads(engine.eval_query_as_json(self.content["query"]))
        return [result.get("bindings", {}) for result in answer.get("result", [])]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of all cases: names that passed, that fail with a reason, and that fail or pass against the list."""

    passed: tuple[str, ...]
    skipped: dict[str, str]
    failed: tuple[str, ...]
    stale: tuple[str, ...]


def cases(folder: Path) -> Iterator[Case]:
    """Every case below a folder with those of OPA's module."""
    for path in sorted((folder / FOLDER).rglob("*.yaml")):
        yield from (Case(content) for content in yaml.safe_load(path.read_text())["cases"])


def run(folder: Path) -> Outcome:
    """Every case that applies."""
    reasons = skips()
    results = {case.note: case.passes() for case in cases(folder) if case.applies}
    bad = {note for note, passed in results.items() if not passed}
    return Outcome(
        passed=tuple(sorted(results.keys() - bad)),
        skipped={note: reasons[note] for note in sorted(bad & reasons.keys())},
        failed=tuple(sorted(bad - reasons.keys())),
        stale=tuple(sorted(reasons.keys() - bad)),
    )


@cache
def skips() -> dict[str, str]:
    """Cases that fail, and why that is right."""
    found: dict[str, str] = {}
    for entry in tomllib.loads(_SKIPS.read_text())["skip"]:
        found[entry["case"]] = entry["why"]
    return found


def _sorted(bindings: Any) -> Any:
    """Bindings in one order: sets come as lists, and OPA sorts where order means nothing."""
    if isinstance(bindings, list):
        return sorted((_sorted(item) for item in bindings), key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(bindings, dict):
        return {key: _sorted(value) for key, value in bindings.items()}
    return int(bindings) if isinstance(bindings, float) and bindings.is_integer() else bindings
