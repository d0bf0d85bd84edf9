"""Checking: an overlay held to everything that an overlay must keep, beside the rules that it would stand with.

- What is looked at, in this order: METADATA, the profile, that it goes with the rules of all, the officer's own cases,
  OPA's strict check, the format, the tests, that the tests reach every line of its rules, and what Regal finds.
- What could not be looked at is a finding: nothing passes for want of an OPA. Regal alone may be missing, since its
  matter is style: where it was asked, `lint` stands among the checks, and what it finds counts like the rest.
- Draft and tests are strangers' programs: OPA runs them without environment, in a folder of their own, not for long,
  and without a built-in that the profile lacks, but for a few that tests are written with: nothing is dialled or read.
- A finding is text for the officer; it names file and line where there is one.

    report = check("klinikum", files, base=Bundle.load(), binary=find_opa(), linter=find_regal())
    report.clean
"""

import asyncio
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from policy import cases, gate, linting
from policy.bundle import Bundle, home
from policy.engines.embedded import EmbeddedEngine
from policy.engines.environment import opa_environment
from policy.overlay import Overlay
from policy.profile import capabilities

seconds_max: Final = 60.0
findings_max: Final = 256

CHECKS: Final = ("metadata", "profile", "roots", "cases", "check", "format", "tests", "coverage")
LINT: Final = "lint"
_BEFORE_CASES: Final = CHECKS[:3]
_OF_OURS: Final = CHECKS[:4]
# What tests of overlays are written with, beside the rules: a job and a runner to change.
_TABLE: Final = "cases.json"
_TESTS_MAY: Final = frozenset({"json.patch", "print", "internal.print", "sprintf"})
_FOR_RULES: Final = "rules.json"
_FOR_TESTS: Final = "tests.json"
# OPA gives each test 5 seconds by itself: on a machine that is slow, a test would fail for that alone.
_LIMITED: Final = ("--capabilities", _FOR_TESTS, "--timeout", f"{seconds_max:.0f}s")
_FIXTURES: Final = Path("rego/carnet/fixtures/fixtures_test.rego")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, or that nobody could look at."""

    check: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was looked at, and what was found. `lint` is among the checks only where there was a Regal."""

    checks: tuple[str, ...]
    findings: tuple[Finding, ...]
    tests_passed: int = 0

    @property
    def clean(self) -> bool:
        """Whether everything was looked at that must be, and nothing found."""
        return not self.findings and tuple(kind for kind in self.checks if kind != LINT) == CHECKS


def check(
    name: str, files: Mapping[str, bytes], *, base: Bundle, binary: Path | None, linter: Path | None = None
) -> Report:
    """Look at the files of an overlay, with an OPA and a Regal where there are any. Blocks.

    Raises nothing that the files could cause.
    """
    try:
        overlay = Overlay.read(name, files)
    except FieldInvalid as error:
        return _stopped(("metadata",), [_of_field("metadata", error)], "the overlay can not be read")
    refused = [Finding(check="profile", text=str(r)) for r in gate.refusals({**base.rules, **overlay.policies})]
    if refused:
        return _stopped(_BEFORE_CASES, refused, "the rules do not pass the profile")
    try:
        whole = base.with_overlays((overlay,))
    except FieldInvalid as error:
        return _stopped(_BEFORE_CASES, [_of_field("roots", error)], "the rules do not go with those of all")
    unexpected = _cases(whole, overlay)
    if binary is None:
        return _stopped(_OF_OURS, unexpected, "no OPA was found here")
    with tempfile.TemporaryDirectory(prefix="carnet-policy-") as folder:
        found = _Workshop(Path(folder), binary, whole, overlay).report()
    findings = [*unexpected, *found.findings]
    if linter is None:
        return replace(found, findings=tuple(findings[:findings_max]))
    findings += [Finding(check=LINT, text=_shown(line)) for line in lint(linter, whole, overlay)]
    return replace(found, checks=(*found.checks, LINT), findings=tuple(findings[:findings_max]))


def lint(linter: Path, whole: Bundle, overlay: Overlay) -> list[str]:
    """What Regal finds in an overlay's rules and tests, beside the rules that they stand with. Blocks."""
    below = f"carnet/org/{overlay.name}/"
    rego = {f"{below}{path}": data for path, data in overlay.files.items() if path.endswith(".rego")}
    fixtures = {_FIXTURES.relative_to("rego").as_posix(): (home / _FIXTURES).read_bytes()}
    found = linting.complaints(linter, {**whole.rules, **fixtures, **rego}, told=rego.keys())
    return [each.line(each.path.removeprefix(below)) for each in found]


def _cases(whole: Bundle, overlay: Overlay) -> list[Finding]:
    """What the officer's own table expects otherwise, by the engine that is built in."""
    if _TABLE not in overlay.files:
        return []
    try:
        faults = asyncio.run(_asked(whole, overlay))
    except (FieldInvalid, PolicyEngineUnavailable) as error:
        return [Finding(check="cases", text=_shown(f"{_TABLE}: {error.text} {error.detail}".strip()))]
    return [Finding(check="cases", text=_shown(fault)) for fault in faults]


async def _asked(whole: Bundle, overlay: Overlay) -> list[str]:
    table = cases.read_cases(overlay.files[_TABLE], file=_TABLE, bundle=whole)
    engine = EmbeddedEngine(bundle=whole, seconds_max=seconds_max)
    try:
        await engine.start()
        return [
            f"{case.name}: {fault}"
            for case in table
            for fault in cases.complaints(
                case, await engine.decide(case.query), await engine.judge(case.query, case.runners)
            )
        ]
    finally:
        await engine.close()


def _stopped(checks: tuple[str, ...], findings: list[Finding], why: str) -> Report:
    missed = [Finding(check=kind, text=f"Not looked at: {why}.") for kind in CHECKS if kind not in checks]
    return Report(checks=checks, findings=tuple([*findings, *missed][:findings_max]))


class _Workshop:
    """A folder with bundle, draft and tests, and an OPA that looks at them."""

    def __init__(self, folder: Path, binary: Path, whole: Bundle, overlay: Overlay) -> None:
        self._folder = folder
        self._binary = binary
        self._added = sorted(overlay.policies)
        whole.write(folder / "bundle")
        rego = {path: data for path, data in overlay.files.items() if path.endswith(".rego")}
        fixtures = {_FIXTURES.name: (home / _FIXTURES).read_bytes()}
        self._rules = [str(Path("bundle") / path) for path in sorted(whole.rules)]
        self._draft = list(self._write("draft", rego))
        self._tests = [path for path in self._draft if path.endswith("_test.rego")]
        self._beside = ["bundle/data.json", *self._rules, *self._write("fixtures", fixtures)]

    def report(self) -> Report:
        """What OPA finds."""
        if (stated := self._run("capabilities", "--current")) is None or stated.returncode != 0:
            return _stopped(_OF_OURS, [], "OPA does not answer")
        current = json.loads(stated.stdout)
        for name, also in ((_FOR_RULES, frozenset[str]()), (_FOR_TESTS, _TESTS_MAY)):
            (self._folder / name).write_text(json.dumps(capabilities(current, also=also)))
        findings = [
            *self._complaints("check", "check", "--strict", "--capabilities", _FOR_RULES, *self._rules),
            *self._complaints("format", "fmt", "--list", "--fail", *self._draft),
        ]
        passed, failures = self._tested()
        findings += failures or self._covered()
        return Report(checks=CHECKS, findings=tuple(findings[:findings_max]), tests_passed=passed)

    def _write(self, below: str, files: Mapping[str, bytes]) -> Iterator[str]:
        for path, data in sorted(files.items()):
            target = self._folder / below / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            yield str(Path(below) / path)

    def _complaints(self, kind: str, *arguments: str) -> Iterator[Finding]:
        ended = self._run(*arguments)
        if ended is None:
            yield Finding(check=kind, text="OPA did not come to an end.")
        elif ended.returncode != 0:
            lines = [line for line in (ended.stdout + ended.stderr).splitlines() if line.strip()]
            yield from (Finding(check=kind, text=_shown(line)) for line in lines or ["OPA refuses it."])

    def _tested(self) -> tuple[int, list[Finding]]:
        if not self._tests:
            return 0, [Finding(check="tests", text="There are no tests.")]
        ended = self._run("test", "--format", "json", *_LIMITED, *self._beside, *self._tests)
        results = _parsed(ended.stdout) if ended is not None else None
        if not isinstance(results, list) or ended is None:
            text = "OPA did not come to an end." if ended is None else _shown(ended.stderr.strip() or "OPA refuses it.")
            return 0, [Finding(check="tests", text=text)]
        failed = [r for r in results if any(r.get(word) for word in ("fail", "error", "skip"))]
        if not results:
            return 0, [Finding(check="tests", text="There are no tests.")]
        found = [Finding(check="tests", text=_shown(f"{_place(r)}: {r.get('name')} fails")) for r in failed]
        if ended.returncode != 0 and not found:
            found = [Finding(check="tests", text="OPA refuses the tests.")]
        return len(results) - len(failed), found

    def _covered(self) -> list[Finding]:
        ended = self._run("test", "--coverage", *_LIMITED, *self._beside, *self._tests)
        whole = _parsed(ended.stdout) if ended is not None else None
        files = whole.get("files") if isinstance(whole, dict) else None
        if not isinstance(files, dict):
            return [Finding(check="coverage", text="OPA does not say what the tests reached.")]
        found = []
        for path in self._added:
            missed = files.get(str(Path("bundle") / path), {}).get("not_covered") or ()
            rows = sorted({lines["start"]["row"] for lines in missed})
            found += [f"{path}:{row}: no test reaches this" for row in rows]
        return [Finding(check="coverage", text=text) for text in found]

    def _run(self, *arguments: str) -> "subprocess.CompletedProcess[str] | None":
        try:
            return subprocess.run(  # noqa: S603  # the operator's OPA; arguments are ours
                [self._binary, *arguments],
                cwd=self._folder,
                env=opa_environment(self._folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds_max,
            )
        except (subprocess.TimeoutExpired, UnicodeDecodeError):
            return None


def _of_field(kind: str, error: FieldInvalid) -> Finding:
    where = error.metadata.get("field", "")
    return Finding(check=kind, text=_shown(f"{where}: {error.text}" if where not in error.text else error.text))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _place(result: dict[str, Any]) -> str:
    location = result.get("location") or {}
    return f"{str(location.get('file', '')).removeprefix('draft/')}:{location.get('row', 0)}"


def _shown(text: str) -> str:
    return text[:1024]
