"""`python -m tests.mutation [--sample N] [--record] [MODULE ...]`: does a mistake in the core turn a test red?

One JSON object a line: each survivor that is not known as equivalent, then each module's score, then the total. The
exit code is 1 where a module is under 0.95 or the list of equivalents is stale. `--record` puts the lines into
`tests/mutation/score.jsonl`; `--sample N` tries N mutants of all, always the same ones.
"""

import argparse
import random
import sys
from collections import defaultdict
from typing import Final

from tests.mutation.mutants import Mutant, mutants
from tests.mutation.report import RECORD, SCORE_MIN, Name, Score, equivalents, merged, survivor_line
from tests.mutation.targets import TARGETS, Target
from tests.mutation.trial import Bench, preload

_seed: Final = 20261122
_sample_seconds: Final = 5.0


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--sample", type=int, default=0, metavar="N")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    asked = parser.parse_args()
    targets = [TARGETS[module] for module in asked.modules or TARGETS]
    known = equivalents()
    preload(targets)
    run = sample(targets, known, asked.sample) if asked.sample else whole(targets, known)
    if asked.record:
        old = RECORD.read_text().splitlines() if RECORD.exists() else []
        RECORD.write_text("".join(f"{line}\n" for line in merged(old, run.lines)))
    return run.ended()


class Run:
    """What is said while it goes on, and what was wrong."""

    def __init__(self, known: dict[Name, str]) -> None:
        self.known = known
        self.lines: list[str] = []
        self.wrong: list[str] = []
        self.total = Score(module="total")

    def say(self, line: str) -> None:
        """One line, at once."""
        self.lines.append(line)
        print(line, flush=True)

    def try_all(self, bench: Bench, chosen: list[Mutant]) -> Score:
        """The score of one module."""
        score = Score(module=bench.target.module)
        for mutant in chosen:
            stale = score.note(mutant, bench.noticed(mutant), self.known)
            if stale:
                self.wrong.append(f"{mutant.name}: {stale}")
            if mutant in score.survivors:
                self.say(survivor_line(mutant))
        self.total.add(score)
        return score

    def ended(self) -> int:
        """The exit code."""
        for wrong in self.wrong:
            print(wrong, file=sys.stderr)
        return 1 if self.wrong else 0


def whole(targets: list[Target], known: dict[Name, str]) -> Run:
    """Every mutant of these modules."""
    run = Run(known)
    for target in targets:
        every = mutants(target.module, target.path.read_text())
        unfit = {name for name in known if name[0] == target.module} - {mutant.name for mutant in every}
        run.wrong += [f"{name}: fits no mutant" for name in sorted(unfit)]
        score = run.try_all(Bench.proven(target), every)
        run.say(score.line())
        if score.value < SCORE_MIN:
            run.wrong.append(f"{target.module}: under {SCORE_MIN}")
    run.say(run.total.line())
    return run


def sample(targets: list[Target], known: dict[Name, str], size: int) -> Run:
    """A few mutants of all, the same each time while the sources stay the same; equivalent ones are not drawn."""
    run = Run(known)
    every = [mutant for target in targets for mutant in mutants(target.module, target.path.read_text())]
    drawn: defaultdict[str, list[Mutant]] = defaultdict(list)
    for mutant in random.Random(_seed).sample([m for m in every if m.name not in known], size):
        drawn[mutant.module].append(mutant)
    for module, chosen in sorted(drawn.items()):
        run.try_all(Bench(TARGETS[module], seconds=_sample_seconds), chosen)
    run.say(run.total.line())
    if run.total.value < SCORE_MIN:
        run.wrong.append(f"the sample is under {SCORE_MIN}")
    return run


if __name__ == "__main__":
    sys.exit(main())
