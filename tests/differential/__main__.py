"""`./dev policy-proof [--cases N] [--no-mutants]`: what is claimed of policy, measured; one JSON object a line.

Rules, rows and how many of them were verified; OPA's coverage of our rules by their own tests; OPA's conformance cases
on the embedded engine; questions to both engines; mutants of our rules. The exit code is 1 where a bound is broken:
uncovered lines, a case that fails or a skip that is stale, a disagreement, a mutation score under 0.95.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, Final

from policy.bundle import Bundle, home
from policy.commands.common import moment
from tests.differential import conformance
from tests.differential.engines import Both, shown
from tests.differential.questions import BUNDLE, questions
from tests.differential.rego_mutants import Mutant, Trial, mutants

SCORE_MIN: Final = 0.95
SEED: Final = 20261123
PART: Final = 500
EQUIVALENT: Final = Path(__file__).with_name("rego_equivalent.toml")

Line = dict[str, Any]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="./dev policy-proof", description=__doc__)
    parser.add_argument("--cases", type=int, default=20_000, metavar="N", help="questions to both engines")
    parser.add_argument("--no-mutants", action="store_true", help="leave the mutants of our rules out")
    asked = parser.parse_args()
    opa = Path(os.environ["CARNET_OPA"])
    bundle = Bundle.load()
    holds = [
        say(rules(bundle)),
        say(rows(bundle)),
        say(coverage(bundle, opa)),
        say(conforms(Path(os.environ["CARNET_OPA_CASES"]))),
        say(agreement(BUNDLE, opa, asked.cases)),
    ]
    if not asked.no_mutants:
        holds.append(say(mutation(bundle, opa)))
    return 0 if all(holds) else 1


def say(line: Line) -> bool:
    """One object; whether its bound holds."""
    print(json.dumps(line), flush=True)
    return bool(line.get("holds", True))


def rules(bundle: Bundle) -> Line:
    """How many rules there are, and in force."""
    found = bundle.catalogue()
    now_ns = moment(None)
    return {
        "proof": "rules",
        "rules": len(found),
        "in_force": sum(rule.in_force(now_ns) for rule in found),
        "drafts": sum(rule.from_ns is None for rule in found),
    }


def rows(bundle: Bundle) -> Line:
    """How many rows of data there are that say how they are known, and how many were verified."""
    stated = []
    for name, table in bundle.tables.items():
        inside = bundle.rows(name).values() if "rows" in table and name != "rules" else ()
        stated += [row["status"] for row in inside if "status" in row] or [table["status"]] * ("status" in table)
    return {"proof": "rows", "rows": len(stated), "verified": stated.count("seen")}


def coverage(bundle: Bundle, opa: Path) -> Line:
    """OPA's own coverage of our rules by their tests, in percent."""
    with tempfile.TemporaryDirectory(prefix="carnet-proof-") as folder:
        bundle.write(Path(folder))
        command = [opa, "test", "--coverage", home / "rego", Path(folder) / "data.json"]
        said = subprocess.run([str(part) for part in command], capture_output=True, check=True, text=True).stdout
    files = json.loads(said)["files"]
    ours = {path: file for path, file in files.items() if not path.endswith("_test.rego")}
    missed = [
        f"{path}:{gap['start']['row']}" for path, file in sorted(ours.items()) for gap in file.get("not_covered", [])
    ]
    covered = sum(file.get("covered_lines", 0) for file in ours.values())
    not_covered = sum(file.get("not_covered_lines", 0) for file in ours.values())
    percent = 100 * covered / (covered + not_covered)
    return {"proof": "coverage", "lines": covered, "percent": percent, "missed": missed, "holds": not missed}


def conforms(folder: Path) -> Line:
    """OPA's conformance cases on the embedded engine."""
    found = conformance.run(folder)
    return {
        "proof": "conformance",
        "passed": len(found.passed),
        "skipped": found.skipped,
        "failed": found.failed,
        "stale": found.stale,
        "holds": bool(found.passed) and not found.failed and not found.stale,
    }


def agreement(bundle: Bundle, opa: Path, count: int) -> Line:
    """Questions to both engines."""
    disagreements, permitted, asked = 0, 0, 0
    both = Both(opa=opa, bundle=bundle)
    try:
        for part in range(0, count, PART):
            for question in questions(seed=SEED + part, count=min(PART, count - part)):
                one, other = both.ask(question)
                asked += 1
                permitted += one.body is not None and one.body.verdict == "permit"
                if one.text() != other.text() or one.body is None:
                    disagreements += 1
                    print(shown(question, one, other), file=sys.stderr)
    finally:
        both.close()
    return {
        "proof": "agreement",
        "cases": asked,
        "permitted": permitted,
        "disagreements": disagreements,
        "holds": disagreements == 0 and 0 < permitted < asked,
    }


def mutation(bundle: Bundle, opa: Path) -> Line:
    """Mutants of our rules, and how many their tests notice."""
    known = {
        (entry["path"], entry["line"], entry["change"]): entry["reason"]
        for entry in tomllib.loads(EQUIVALENT.read_text()).get("equivalent", [])
    }
    killed, survivors, equivalent = 0, list[Mutant](), 0
    trial = Trial(opa)
    try:
        for path, text in bundle.rules.items():
            for mutant in mutants(path, text):
                noticed = trial.noticed(mutant)
                killed += noticed is True
                equivalent += noticed is False and mutant.name(text) in known
                if noticed is False and mutant.name(text) not in known:
                    survivors.append(mutant)
                    print(f"survived: {mutant.path}:{mutant.line} {mutant.change}", file=sys.stderr)
    finally:
        trial.close()
    score = killed / (killed + len(survivors))
    return {
        "proof": "mutation",
        "mutants": killed + len(survivors) + equivalent,
        "killed": killed,
        "equivalent": equivalent,
        "survived": len(survivors),
        "score": round(score, 4),
        "holds": score >= SCORE_MIN,
    }


if __name__ == "__main__":
    sys.exit(main())
