"""`carnet policy check`, `fmt`, `test` and `bundle`: rules held to the profile, formatted, tested, written for an OPA.

carnet policy check rules/                            # the profile, then OPA's check and format, then Regal
carnet policy fmt rules/                              # `opa fmt --write`
carnet policy test rules/                             # `opa test` over the data that the gateway gives an engine
carnet policy test --overlay overlay/                 # an overlay's tests and its cases, beside our rules
carnet policy test --cases                            # what officers expect, case by case (policy/commands/cases.py)
carnet policy bundle --folder /srv/opa/bundle         # for `opa run --server --bundle /srv/opa/bundle`
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from policy import checking, gate, linting
from policy.bundle import Bundle, home
from policy.cases import read_cases
from policy.commands.cases import run_cases
from policy.commands.common import USAGE, OverlayFolder, loaded, print_json, read, say, telling
from policy.engines.choice import EngineName, find_opa
from policy.linting import find_regal
from policy.overlay import Overlay

seconds_max: Final = 300.0


def write_bundle(*, folder: Path) -> None:
    """Write the bundle that an external OPA must run, and print its revision.

    Parameters
    ----------
    folder: a folder that does not exist yet
    """
    try:
        folder.mkdir(parents=True)
        bundle = Bundle.load()
        bundle.write(folder)
    except OSError as error:
        say(f"{folder} can not be written: {error.strerror}", style="red")
        raise SystemExit(USAGE) from error
    sys.stdout.write(bundle.revision + "\n")


def check_rules(*paths: Path, overlay: OverlayFolder = None) -> None:
    """Hold rules to the profile, with ours loaded beside them; then to OPA's check and format, and to Regal's lint.

    Prints one JSON list of what is refused, and ends with 2 where there is any. A tool that is missing is told.

    Parameters
    ----------
    paths: files or folders with Rego; our own rules, if not given
    overlay: a folder with an organisation's own rules, held to what an overlay must be as well
    """
    with telling():
        bundle, found = _composed(overlay)
        theirs = {path: read(Path(path)) for path in _files(paths, tests=False)}
        found += [str(refusal) for refusal in gate.refusals({**bundle.rules, **theirs})]
    binary = find_opa()
    if binary is None:
        say("OPA was not found: the profile alone was checked.", style="yellow")
    elif (theirs or overlay) and not found:
        files = [Path(path) for path in theirs]
        found += _complaints(binary, bundle, ("check", "--strict", "--ignore", "*_test.rego"), files)
        found += _complaints(binary, bundle, ("fmt", "--list", "--fail"), files + _rego(overlay, "*.rego"))
    if not found:
        with telling():
            found = _linted(bundle, theirs, overlay)
    print_json(found)
    if found:
        raise SystemExit(USAGE)


def format_rules(*paths: Path, check: bool = False) -> None:
    """Write Rego in OPA's own format, and print the files that were not in it.

    Parameters
    ----------
    paths: files or folders with Rego
    check: only print them, and end with 2 where there are any
    """
    with telling():
        if not paths:
            raise FieldInvalid("name a file or a folder with Rego", metadata={"field": "paths"})
        files = _files(paths, tests=True)
        binary = find_opa()
        if binary is None:
            raise PolicyEngineUnavailable("Formatting needs an OPA: put `opa` on the path, or its file in CARNET_OPA.")
        changed = _fmt(binary, "--list", files)
        if changed and not check:
            _fmt(binary, "--write", files)
    sys.stdout.write(changed)
    if check and changed:
        raise SystemExit(USAGE)


def run_tests(
    *paths: Path,
    overlay: OverlayFolder = None,
    coverage: bool = False,
    cases: bool = False,
    engine: EngineName = EngineName.AUTO,
) -> None:
    """Run Rego tests with a real OPA, over our rules and the data that engines get; or officers' cases.

    Parameters
    ----------
    paths: files or folders with Rego and its tests; with --cases, files or folders with cases, ours if not given
    overlay: a folder with an organisation's own rules, their tests and `cases.json`
    coverage: print OPA's coverage report instead
    cases: ask the engine every case, and print those that do not hold
    engine: for cases: auto, opa or embedded
    """
    with telling():
        bundle, _ = loaded(overlay)
        tables = _tables(overlay)
        if not cases and not _opa_tests(bundle, paths, overlay, coverage=coverage):
            raise SystemExit(USAGE)
        if cases or tables:
            run_cases(bundle, (*paths, *tables) if cases else tables, engine)


def _opa_tests(bundle: Bundle, paths: tuple[Path, ...], overlay: Path | None, *, coverage: bool) -> bool:
    with tempfile.TemporaryDirectory(prefix="carnet-policy-") as folder:
        binary = find_opa()
        if binary is None:
            raise PolicyEngineUnavailable("Tests need an OPA: put `opa` on the path, or its file in CARNET_OPA.")
        bundle.write(Path(folder) / "bundle")
        files = _files(paths, tests=True) + [str(path) for path in _rego(overlay, "*_test.rego")]
        files += [str(home / "rego" / "carnet" / "fixtures" / "fixtures_test.rego")] if overlay else []
        # OPA gives each test 5 seconds by itself: on a machine that is slow, a test would fail for that alone.
        options = ["--coverage"] if coverage else ["--verbose", "--timeout", f"{seconds_max:.0f}s"]
        ended = subprocess.run(  # noqa: S603  # a binary that the officer has named
            [binary, "test", *options, Path(folder) / "bundle" / "data.json", *_ours(Path(folder)), *files],
            check=False,
            timeout=seconds_max,
        )
    return ended.returncode == 0


def _composed(overlay: Path | None) -> tuple[Bundle, list[str]]:
    """What is checked, and what keeps an overlay from being one."""
    try:
        bundle, _ = loaded(overlay)
        for table in _tables(overlay):
            read_cases(read(table), file=table.name, bundle=bundle)
    except FieldInvalid as error:
        return Bundle.load(), [f"overlay: {error.text}"]
    return bundle, []


def _linted(bundle: Bundle, theirs: dict[str, bytes], overlay: Path | None) -> list[str]:
    """What Regal finds in what was named; in our own rules, where nothing was."""
    linter = find_regal()
    if linter is None:
        say("Regal was not found: nothing was linted.", style="yellow")
        return []
    lines = checking.lint(linter, bundle, Overlay.load(overlay)) if overlay else []
    if theirs:
        # Where a file stands is its officer's choice; Regal holds it to its package.
        shown = {f"{n}/{'/'.join(gate.package_of(path, theirs[path]))}/{Path(path).name}": path
                 for n, path in enumerate(theirs)}  # fmt: skip
        rules = {**bundle.rules, **{place: theirs[path] for place, path in shown.items()}}
        lines += [each.line(shown.get(each.path, "")) for each in linting.complaints(linter, rules, told=shown)]
    elif not overlay:
        lines += [each.line(each.path) for each in linting.complaints(linter, bundle.rules, told=bundle.rules)]
    return [f"regal: {line}" for line in lines]


def _tables(overlay: Path | None) -> tuple[Path, ...]:
    table = overlay / "cases.json" if overlay else None
    return (table,) if table and table.exists() else ()


def _rego(overlay: Path | None, pattern: str) -> list[Path]:
    return sorted(overlay.rglob(pattern)) if overlay else []


def _fmt(binary: Path, option: str, files: list[str]) -> str:
    ended = subprocess.run(  # noqa: S603  # a binary that the officer has named
        [binary, "fmt", option, *files], capture_output=True, text=True, check=False, timeout=seconds_max
    )
    if ended.returncode != 0:
        raise FieldInvalid(f"opa fmt: {ended.stderr.strip()}", metadata={"field": "paths"})
    return ended.stdout


def _files(paths: tuple[Path, ...], *, tests: bool) -> list[str]:
    found = []
    for path in paths:
        inside = sorted(path.rglob("*.rego")) if path.is_dir() else [path]
        found += [str(file) for file in inside if tests or not file.name.endswith("_test.rego")]
    if paths and not found:
        raise FieldInvalid("there is no Rego here", metadata={"field": str(paths[0])})
    return found


def _ours(folder: Path) -> list[Path]:
    return sorted((folder / "bundle").rglob("*.rego"))


def _complaints(binary: Path, bundle: Bundle, verb: tuple[str, ...], files: list[Path]) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="carnet-policy-") as folder:
        bundle.write(Path(folder) / "bundle")
        context = _ours(Path(folder)) if verb[0] == "check" else []
        ended = subprocess.run(  # noqa: S603  # a binary that the officer has named
            [binary, *verb, *context, *files], capture_output=True, text=True, check=False, timeout=seconds_max
        )
    lines = (ended.stdout + ended.stderr).splitlines()
    return [f"opa {verb[0]}: {line}" for line in lines if line.strip()] if ended.returncode else []
