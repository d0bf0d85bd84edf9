"""Mistakes made in the core on purpose turn a test red: a sample in every run, all of them with `--full`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.report import SCORE_MIN
from tests.mutation.targets import ROOT, TARGETS

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


def planted(folder: Path, test: str) -> Path:
    """A module of two lines with one test."""
    (folder / "subject.py").write_text("def least(a, b):\n    return a if a < b else b\n")
    (folder / "test_subject.py").write_text("from carnet.core.subject import least\n\n" + test)
    return folder


# A fresh process: a trial forks, and this one may hold the threads of gRPC by now.
TRIAL = """
import json, sys
from pathlib import Path
from tests.mutation.mutants import mutants
from tests.mutation.targets import Target
from tests.mutation.trial import Bench, NotGreen
folder = Path(sys.argv[1])
target = Target(module="subject", patterns=("test_subject.py",), source=folder, tests=folder)
try:
    bench = Bench.proven(target)
except NotGreen as error:
    sys.exit(f"NotGreen: {error}")
print(json.dumps([bench.noticed(mutant) for mutant in mutants(target.module, target.path.read_text())]))
"""


class Unproven(Exception):
    """The tests fail without a mutant."""


def noticed(folder: Path) -> list[str | None]:
    """By which test each mutant is noticed. Raises `Unproven`."""
    ended = subprocess.run(
        [sys.executable, "-c", TRIAL, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    if ended.returncode:
        raise Unproven(ended.stderr)
    found: list[str | None] = json.loads(ended.stdout)
    return found


def test_a_test_that_sees_notices_each_mutant_that_matters(tmp_path: Path) -> None:
    same, other = noticed(
        planted(tmp_path, "def test_it() -> None:\n    assert (least(1, 2), least(2, 1)) == (1, 1)\n")
    )
    assert same is None, "`<=` gives the same least"
    assert str(other).endswith("::test_it")


def test_control_a_blind_test_notices_nothing(tmp_path: Path) -> None:
    assert noticed(planted(tmp_path, "def test_it() -> None:\n    assert least(1, 1) == 1\n")) == [None, None]


@pytest.mark.full
def test_a_mutant_that_never_ends_is_noticed_by_the_time(tmp_path: Path) -> None:
    endless = "def test_it() -> None:\n    while least(1, 2) == 2:\n        pass\n"
    assert noticed(planted(tmp_path, endless)) == [None, "time"]


def test_no_score_is_given_where_the_tests_fail_anyway(tmp_path: Path) -> None:
    with pytest.raises(Unproven, match="test_it"):
        noticed(planted(tmp_path, "def test_it() -> None:\n    assert least(1, 2) == 2\n"))


def test_no_score_is_given_where_no_test_runs(tmp_path: Path) -> None:
    with pytest.raises(Unproven, match="NO_TESTS_COLLECTED"):
        noticed(planted(tmp_path, ""))
