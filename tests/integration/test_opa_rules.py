"""The rules themselves, under OPA's own tools: format, strict check within the profile, tests, coverage, catalogue."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from carnet.core.document import canonical
from carnet.core.errors import Bug
from policy.bundle import Bundle, home
from policy.catalogue import catalogue
from policy.engines.environment import opa_environment
from policy.profile import capabilities
from tests.opa_support import opa_binary

# All rules with all their tests: a machine that is busy takes its time.
pytestmark = [pytest.mark.opa, pytest.mark.timeout(330)]

REGO = home / "rego"
FORBIDDEN = {
    "http.send": 'http.send({"method": "GET", "url": "http://127.0.0.1"})',
    "time.now_ns": "time.now_ns()",
    "opa.runtime": "opa.runtime()",
    "rand.intn": 'rand.intn("x", 5)',
    "walk": "[1 | walk(input, _)]",
    "io.jwt.decode": 'io.jwt.decode("x")',
    "net.lookup_ip_addr": 'net.lookup_ip_addr("localhost")',
    "net.cidr_contains": 'net.cidr_contains("10.0.0.0/8", "10.0.0.1")',
    "rego.metadata.rule": "rego.metadata.rule()",
    "trace": 'trace("x")',
}


def opa(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(opa_binary()), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=opa_environment(Path("/"))
    )


def profile(tmp_path: Path) -> Path:
    found = tmp_path / "capabilities.json"
    found.write_bytes(canonical(capabilities(json.loads(opa("capabilities", "--current").stdout))))
    return found


def data(tmp_path: Path) -> Path:
    found = tmp_path / "data.json"
    found.write_bytes(canonical(Bundle.load().data()))
    return found


def test_every_rule_test_passes_and_every_line_of_a_rule_is_covered(tmp_path: Path) -> None:
    result = opa("test", REGO, data(tmp_path), "--coverage", "--format", "json", "--timeout", "60s")
    assert result.returncode == 0, opa("test", REGO, data(tmp_path)).stdout[-4000:]
    report = json.loads(result.stdout)
    missed = {
        path: [(part["start"]["row"], part["end"]["row"]) for part in found["not_covered"]]
        for path, found in report["files"].items()
        if found.get("not_covered") and not path.endswith("_test.rego")
    }
    assert missed == {}
    assert len(report["files"]) > 15


def test_a_rule_test_can_fail(tmp_path: Path) -> None:
    table = json.loads(data(tmp_path).read_bytes())
    table["carnet"]["tables"]["adequacy"]["rows"]["GB"]["until_ns"] += 1
    (tmp_path / "data.json").write_bytes(canonical(table))
    result = opa("test", REGO, tmp_path / "data.json", "--run", "test_gb_adequacy")
    assert result.returncode == 2
    assert "FAIL" in result.stdout


def test_the_rules_are_formatted() -> None:
    assert opa("fmt", "--list", REGO).stdout == ""


def test_the_rules_compile_within_the_profile(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    Bundle.load().write(tmp_path / "bundle")
    result = opa("check", "--strict", "--bundle", "--capabilities", profile(tmp_path), tmp_path / "bundle")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
def test_a_rule_that_uses_a_forbidden_function_does_not_compile(name: str, tmp_path: Path) -> None:
    module = tmp_path / "bad.rego"
    module.write_text(f"package carnet.bad\n\nfound := {FORBIDDEN[name]}\n")
    refused = opa("check", "--capabilities", profile(tmp_path), module)
    assert refused.returncode != 0
    assert name in refused.stderr
    assert opa("check", module).returncode == 0, "the control: without the profile it compiles"


def test_the_profile_names_only_functions_that_the_engine_has(tmp_path: Path) -> None:
    table = json.loads((home / "profile.json").read_bytes())
    table["builtins"].append("no.such_function")
    changed = tmp_path / "profile.json"
    changed.write_text(json.dumps(table))
    current = json.loads(opa("capabilities", "--current").stdout)
    with pytest.raises(Bug):
        capabilities(current, table=changed)
    assert capabilities(current)["allow_net"] == []


def numbers(node: Any) -> list[Any]:
    if isinstance(node, dict):
        own = [node["value"]] if node.get("type") == "number" else []
        return own + [n for value in node.values() for n in numbers(value)]
    if isinstance(node, list):
        return [n for value in node for n in numbers(value)]
    return []


def test_no_rule_has_a_float() -> None:
    found = []
    for path in sorted(REGO.rglob("*.rego")):
        syntax = json.loads(opa("parse", "--format", "json", path).stdout)
        found += numbers(syntax)
    assert len(found) > 50
    assert all(isinstance(number, int) for number in found)


def test_the_catalogue_is_what_the_metadata_say() -> None:
    inspected = json.loads(opa("inspect", "-a", "-f", "json", REGO).stdout)
    assert catalogue(inspected) == Bundle.load().tables["rules"], "run python -m policy.catalogue, as it says"


def test_every_rule_is_annotated() -> None:
    names = {"blocked", "warned", "obliged", "passed"}
    found = set()
    for path in sorted(REGO.rglob("*.rego")):
        if path.name.endswith("_test.rego"):
            continue
        syntax = json.loads(opa("parse", "--format", "json", path).stdout)
        for rule in syntax["rules"]:
            reference = [part["value"] for part in rule["head"].get("ref", [])]
            if len(reference) > 1 and reference[0] in names and isinstance(reference[1], str):
                found.add(reference[1])
    assert found == set(Bundle.load().rows("rules"))
