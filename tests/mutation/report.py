"""Report: the score of each module, and which mutants no test can notice.

- A mutant that changes nothing which can be observed is equivalent. `equivalent.toml` names each by module, line and
  change, and says why; the name fits one mutant, so that no entry hides another.
- A mutant that lives on though it is not equivalent is in `survivors.toml`, with the reason: it is one that lived.
- An entry that fits no mutant, or one that a test notices, is stale, and an error.
- score = killed / (mutants - equivalent).
"""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.mutation.mutants import Mutant

LIST: Final = Path(__file__).with_name("equivalent.toml")
SURVIVORS: Final = Path(__file__).with_name("survivors.toml")
RECORD: Final = Path(__file__).with_name("score.jsonl")
SCORE_MIN: Final = 0.95

Name = tuple[str, str, str]


def equivalents(path: Path = LIST) -> dict[Name, str]:
    """The reason for each mutant that is known to change nothing."""
    return _reasons(path, "equivalent")


def survivors(path: Path = SURVIVORS) -> dict[Name, str]:
    """The reason for each mutant that lives on all the same."""
    return _reasons(path, "survivor")


def _reasons(path: Path, kind: str) -> dict[Name, str]:
    entries = tomllib.loads(path.read_text()).get(kind, [])
    found = {(entry["module"], entry["line"], entry["change"]): entry["reason"] for entry in entries}
    assert len(found) == len(entries), "an entry is there twice"
    return found


@dataclass(slots=True, kw_only=True)
class Score:
    """What became of the mutants of one module, or of all."""

    module: str
    mutants: int = 0
    killed: int = 0
    equivalent: int = 0
    survivors: list[Mutant] = field(default_factory=list)

    def note(self, mutant: Mutant, by: str | None, known: dict[Name, str]) -> str | None:
        """Count one mutant; what is wrong with the list of equivalents, if its entry is stale."""
        self.mutants += 1
        if by is not None:
            self.killed += 1
            return f"listed as equivalent, but {by} notices it" if mutant.name in known else None
        if mutant.name in known:
            self.equivalent += 1
        else:
            self.survivors.append(mutant)
        return None

    def add(self, other: "Score") -> None:
        """Add a module to the total."""
        self.mutants += other.mutants
        self.killed += other.killed
        self.equivalent += other.equivalent
        self.survivors += other.survivors

    @property
    def value(self) -> float:
        """Killed of those that can be noticed, from 0 to 1."""
        noticeable = self.mutants - self.equivalent
        return self.killed / noticeable if noticeable else 1.0

    def line(self) -> str:
        """One JSON object."""
        return json.dumps(
            {
                "mutation": self.module,
                "mutants": self.mutants,
                "killed": self.killed,
                "equivalent": self.equivalent,
                "score": round(self.value, 4),
            }
        )


def merged(old: list[str], new: list[str]) -> list[str]:
    """A record in which the lines of the modules of this run replace what was there; the total is counted anew."""
    fresh = [json.loads(line) for line in new]
    modules = {_module(entry) for entry in fresh}
    kept = [entry for entry in map(json.loads, old) if _module(entry) not in modules]
    entries = sorted((e for e in [*kept, *fresh] if _module(e) != "total"), key=_module)
    total = Score(module="total")
    for entry in entries:
        if "mutation" in entry:
            total.mutants += entry["mutants"]
            total.killed += entry["killed"]
            total.equivalent += entry["equivalent"]
    return [*map(json.dumps, entries), total.line()]


def _module(entry: dict[str, str]) -> str:
    return entry.get("mutation") or entry["survived"]


def survivor_line(mutant: Mutant) -> str:
    """One JSON object for a mutant that lived and is not known as equivalent."""
    return json.dumps({"survived": mutant.module, "at": mutant.number, "line": mutant.line, "change": mutant.change})
