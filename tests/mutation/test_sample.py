"""Mistakes made in the core on purpose turn a test red: a sample in every run, all of them with `--full`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.mutants import mutants
from tests.mutation.report import SCORE_MIN
from tests.mutation.targets import ROOT, TARGETS, Target
from tests.mutation.trial import Bench, NotGreen

SAMPLE = 25


def mutate(*arguments: str, seconds: int) -> list[dict[str, object]]:
    """The lines of the command; a fresh process, so that no module of ours is imported yet."""
    command = [sys.executable, "-m", "tests.mutation", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def test_a_sample_of_mistakes_is_noticed() -> None:
    total = mutate("--sample", str(SAMPLE), seconds=110)[-1]
    assert total["mutation"] == "total"
    assert total["mutants"] == SAMPLE


@pytest.mark.full
@pytest.mark.timeout(5400)
def test_every_module_of_the_core_has_its_score() -> None:
    scores = {str(line["mutation"]): line for line in mutate(seconds=5300) if "mutation" in line}
    assert set(scores) == {*TARGETS, "total"}
    assert all(float(str(line["score"])) >= SCORE_MIN for line in scores.values())


SUBJECT = "def least(a, b):\n    return a if a < b else b\n"
BLIND = "from carnet.core.subject import least\n\ndef test_it() -> None:\n    assert least(1, 1) == 1\n"
SEEING = "from carnet.core.subject import least\n\ndef test_it() -> None:\n    assert least(1, 2) == 1\n"
ENDLESS = "\ndef test_end() -> None:\n    while True:\n        pass\n"
