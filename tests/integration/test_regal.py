"""Regal, with our rules for it: our Rego passes, and what a newcomer would get wrong is found.

Regal is `CARNET_REGAL`, else `regal` on the path; `./dev test` brings it where it can be had.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from policy.bundle import home

STATED = """
# METADATA
# title: An example
# custom:
#   id: SA-PLANTED
#   stage: job
#   effect: deny
#   citations: [C-SA-PDPL]
#   effective_from: "2026-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: privacy
#   review_by: "2027-01-01"
#   status: in_force
blocked["SA-PLANTED"] := {country | some country in places.countries}

explained["SA-PLANTED"] := {"message": "saudi.no_basis", "parameters": {}, "fix": ["saudi.fix.mechanism"]}
"""
UNSTATED = STATED[STATED.index("blocked") :]
# What is planted at the end of a regime, and the rule of Regal that must find it.
PLANTED = {
    'told := http.send({"method": "GET", "url": "http://127.0.0.1"})': "forbidden-function-call",
    "late := time.now_ns()": "forbidden-function-call",
    "machine := opa.runtime()": "forbidden-function-call",
    'chance := rand.intn("x", 5)': "forbidden-function-call",
    "all_of_it := [found | walk(input, found)]": "forbidden-function-call",
    UNSTATED: "rule-metadata",
    STATED.replace("id: SA-PLANTED", "id: SA-OTHER"): "rule-metadata",
    STATED.replace("#   severity: high\n", ""): "rule-metadata",
    STATED[: STATED.index("explained")]: "rule-metadata",
    'blocked[id] := {"FR"} if some id in input.job.data.classes': "rule-metadata",
    STATED.replace("SA-PLANTED", "planted"): "naming-convention",
    "camelCase := 1": "naming-convention",
    "entered(job) if job.data.records > 1": "narrow-argument",
    "data_of_nobody := data.carnet.nobody.knows": "unresolved-reference",
}


def regal() -> str:
    found = os.environ.get("CARNET_REGAL") or shutil.which("regal")
    if not found:
        pytest.skip("no Regal: set CARNET_REGAL or put `regal` on the path")
    return found


def findings(folder: Path) -> set[tuple[str, str]]:
    """What Regal finds in the rules below a folder: its rule, and the file."""
    command = [regal(), "lint", "--format", "json", str(folder / "rego")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env={"HOME": "/nowhere"})
    assert ended.returncode in (0, 3), ended.stderr
    return {(found["title"], Path(found["location"]["file"]).name) for found in json.loads(ended.stdout)["violations"]}


def copied(tmp_path: Path) -> Path:
    for part in (".regal", "rego"):
        shutil.copytree(home / part, tmp_path / "policy" / part)
    return tmp_path / "policy"


def plant(folder: Path, name: str, text: str) -> None:
    """A regime of its own that says this."""
    target = folder / "rego" / "carnet" / name / f"{name}.rego"
    target.parent.mkdir()
    about = f"# METADATA\n# title: Planted\n# scope: package\npackage carnet.{name}\n\nimport data.carnet.places\n"
    target.write_text(f"{about}\n{text.strip()}\n\neverywhere := places.universe\n")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """What one run finds in our rules, a rule as it must be, and each bad one."""
    folder = copied(tmp_path_factory.mktemp("planted"))
    plant(folder, "stated", STATED)
    for number, text in enumerate(PLANTED):
        plant(folder, f"planted{number}", text)
    return findings(folder)


def test_our_rego_passes_and_so_does_a_rule_with_all_that_it_needs(found: set[tuple[str, str]]) -> None:
    assert {(title, file) for title, file in found if not file.startswith("planted")} == set()


@pytest.mark.parametrize("number", range(len(PLANTED)))
def test_a_planted_bad_rule_is_found(found: set[tuple[str, str]], number: int) -> None:
    expected = list(PLANTED.values())[number]
    assert (expected, f"planted{number}.rego") in found


def test_our_rules_for_regal_pass_their_own_tests() -> None:
    command = [regal(), "test", str(home / ".regal" / "rules")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False, env={"HOME": "/nowhere"})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "PASS" in ended.stdout
