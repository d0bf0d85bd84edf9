"""`./dev policy-proof [--cases N] [--no-mutants]`: what is claimed of policy, measured; one JSON object a line.

Rules, rows and how many of them were verified; officers' cases on both engines; OPA's coverage of our rules by their
own tests; OPA's conformance cases on the embedded engine; questions to both engines; mutants of our rules. The exit
code is 1 where a bound is broken: an officer's case that does not hold, or one that is missing; uncovered lines; a
conformance case that fails, a skip that is stale or one too many; a disagreement, or fewer than 20,000 questions; a
mutation score under 0.95.
"""

import argparse
import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from policy.bundle import Bundle, home
from policy.cases import Kind
from policy.commands.common import moment
from tests.differential import conformance
from tests.differential.comparing import Part, compared_in_processes
from tests.differential.engines import Both
from tests.differential.officer import exceptions, holes, our_cases, wrong_of
from tests.differential.rego_mutants import Mutant, Trial, mutants

SCORE_MIN: Final = 0.95
CASES_MIN: Final = 20_000
SEED: Final = 20261123
EQUIVALENT: Final = Path(__file__).with_name("rego_equivalent.toml")

Line = dict[str, Any]


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="./dev policy-proof", description=__doc__)
    parser.add_argument("--cases", type=int, default=CASES_MIN, metavar="N", help="questions to both engines")
    parser.add_argument("--no-mutants", action="store_true", help="leave the mutants of our rules out")
    asked = parser.parse_args()
    opa = Path(os.environ["CARNET_OPA"])
    bundle = Bundle.load()
    holds = [
        say(rules(bundle)),
        say(rows(bundle)),
        say(officers(bundle, opa)),
        say(coverage(bundle, opa)),
        say(conforms(Path(os.environ["CARNET_OPA_CASES"]))),
        say(agreement(opa, asked.cases)),
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
        whole = [table["status"]] if "status" in table else []
        stated += [row["status"] for row in inside if "status" in row] or whole
    overdue = bundle.overdue(moment(None))
    return {"proof": "rows", "rows": len(stated), "verified": stated.count("seen"), "overdue": [*overdue]}


def officers(bundle: Bundle, opa: Path) -> Line:
    """Officers' cases: whether all hold on both engines, and whether each rule that denies has all that it needs."""
    found = our_cases(bundle)
    both = Both(opa=opa, bundle=bundle)
    try:
        failed = {f"{case.file}: {case.name}": wrong for case in found if (wrong := wrong_of(both, case))}
    finally:
        both.close()
    missing = holes(found, bundle)
    return {
        "proof": "cases",
        "cases": len(found),
        "kinds": {kind: sum(case.kind is kind for case in found) for kind in Kind},
        "rules": len({case.rule for case in found} - {""}),
        "traps": len({case.trap for case in found} - {""}),
        "excepted": {f"{rule} {kind}": why for (rule, kind), why in exceptions().items()},
        "failed": failed,
        "missing": missing,
        "holds": bool(found) and not failed and not missing,
    }


def coverage(bundle: Bundle, opa: Path) -> Line:
    """OPA's own coverage of our rules by their tests, in percent."""
    with tempfile.TemporaryDirectory(prefix="carnet-proof-") as folder:
        bundle.write(Path(folder))
        command = [opa, "test", "--timeout", "60s", "--coverage", home / "rego", Path(folder) / "data.json"]
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
        "holds": len(found.passed) >= conformance.passed_min
        and len(found.skipped) <= conformance.skips_max
        and not found.failed
        and not found.stale,
    }


def agreement(opa: Path, count: int) -> Line:
    """Questions to both engines."""
    return agreed(compared_in_processes(opa, seed=SEED, count=count), asked=count)


def agreed(found: list[Part], *, asked: int) -> Line:
    """What the parts found, as one line; the disagreements go to stderr."""
    permitted = sum(number for number, _ in found)
    disagreements = [text for _, texts in found for text in texts]
    for text in disagreements:
        print(text, file=sys.stderr)
    return {
        "proof": "agreement",
        "cases": asked,
        "cases_min": CASES_MIN,
        "permitted": permitted,
        "disagreements": len(disagreements),
        "holds": not disagreements and 0 < permitted < asked and asked >= CASES_MIN,
    }


def mutation(bundle: Bundle, opa: Path) -> Line:
    """Mutants of our rules, and how many their tests notice."""
    known = equivalents()
    tried = [
        (mutant, noticed, mutant.name(text) in known)
        for (mutant, text), noticed in judged(bundle, opa)
        if noticed is not None
    ]
    killed = sum(noticed for _, noticed, _ in tried)
    equivalent = sum(not noticed and excused for _, noticed, excused in tried)
    survivors = [mutant for mutant, noticed, excused in tried if not noticed and not excused]
    for mutant in survivors:
        print(f"survived: {mutant.path}:{mutant.line} {mutant.change}", file=sys.stderr)
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


def equivalents() -> dict[tuple[str, str, str], str]:
    """The mutants that change nothing which can be observed, by name, and why."""
    entries = tomllib.loads(EQUIVALENT.read_text())["equivalent"]
    return {(entry["path"], entry["line"], entry["change"]): entry["reason"] for entry in entries}


def judged(bundle: Bundle, opa: Path) -> list[tuple[tuple[Mutant, bytes], bool | None]]:
    """Every mutant with the policy that it is of, and whether it was noticed; as many at once as there are cores."""
    every = [(mutant, text) for path, text in bundle.rules.items() for mutant in mutants(path, text)]
    trials: queue.SimpleQueue[Trial] = queue.SimpleQueue()

    def noticed(found: tuple[Mutant, bytes]) -> bool | None:
        trial = trials.get()
        try:
            return trial.noticed(found[0])
        finally:
            trials.put(trial)

    with contextlib.ExitStack() as stack:
        workers = os.cpu_count() or 1
        for _ in range(workers):
            trials.put(stack.enter_context(contextlib.closing(Trial(opa))))
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        return list(zip(every, pool.map(noticed, every), strict=True))


if __name__ == "__main__":
    sys.exit(main())
