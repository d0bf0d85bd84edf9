"""`carnet policy check`, `test` and `bundle`: rules held to the profile, tested, and written for an OPA.

carnet policy check rules/                            # the profile, then OPA's own check and format
carnet policy test rules/                             # `opa test` over the data that the gateway gives an engine
carnet policy test --overlay overlay/                 # an overlay's tests and its cases, beside our rules
carnet policy bundle --folder /srv/opa/bundle         # for `opa run --server --bundle /srv/opa/bundle`
"""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from carnet.core.errors import FieldInvalid, PolicyEngineUnavailable
from policy import cases, gate
from policy.bundle import Bundle, home
from policy.commands.common import USAGE, OverlayFolder, asking, loaded, print_json, read, say, telling
from policy.engines.choice import EngineName, find_opa

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
    """Hold rules to the profile, with ours loaded beside them; then OPA's own check and format, where there is an OPA.

    Prints one JSON list of what is refused, and ends with 2 where there is any.

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
    print_json(found)
    if found:
        raise SystemExit(USAGE)


def run_tests(*paths: Path, overlay: OverlayFolder = None, coverage: bool = False) -> None:
    """Run Rego tests with a real OPA, over our rules and the data that the gateway gives an engine.

    Parameters
    ----------
    paths: files or folders with Rego and its tests
    overlay: a folder with an organisation's own rules, their tests and `cases.json`
    coverage: print OPA's coverage report instead
    """
    with telling(), tempfile.TemporaryDirectory(prefix="carnet-policy-") as folder:
        binary = find_opa()
        if binary is None:
            raise PolicyEngineUnavailable("Tests need an OPA: put `opa` on the path, or its file in CARNET_OPA.")
        bundle, name = loaded(overlay)
        bundle.write(Path(folder) / "bundle")
        files = _files(paths, tests=True) + [str(path) for path in _rego(overlay, "*_test.rego")]
        files += [str(home / "rego" / "carnet" / "fixtures" / "fixtures_test.rego")] if overlay else []
        options = ["--coverage"] if coverage else ["--verbose"]
        # OPA gives each test 5 seconds by itself: on a machine that is slow, a test would fail for that alone.
        options += ["--timeout", f"{seconds_max:.0f}s"]
        ended = subprocess.run(  # noqa: S603  # a binary that the officer has named
            [binary, "test", *options, Path(folder) / "bundle" / "data.json", *_ours(Path(folder)), *files],
            check=False,
            timeout=seconds_max,
        )
        failed = asyncio.run(_failed_cases(bundle, name, overlay)) if overlay else []
    for line in failed:
        say(line, style="red")
    if ended.returncode != 0 or failed:
        raise SystemExit(USAGE)


def _composed(overlay: Path | None) -> tuple[Bundle, list[str]]:
    """What is checked, and what keeps an overlay from being one."""
    try:
        bundle, _ = loaded(overlay)
        _cases(bundle, overlay)
    except FieldInvalid as error:
        return Bundle.load(), [f"overlay: {error.text}"]
    return bundle, []


def _cases(bundle: Bundle, overlay: Path | None) -> tuple[cases.Case, ...]:
    table = overlay / "cases.json" if overlay else None
    return cases.read(read(table), schemas=bundle.schemas) if table and table.exists() else ()


async def _failed_cases(bundle: Bundle, name: str, overlay: Path) -> list[str]:
    async with asking(bundle, EngineName.AUTO) as engine:
        table = _cases(bundle, overlay)
        found = [
            f"{case.name}: {fault}" for case in table for fault in await cases.faults(case, engine=engine, overlay=name)
        ]
    say(f"cases: {len(table)}")
    return found


def _rego(overlay: Path | None, pattern: str) -> list[Path]:
    return sorted(overlay.rglob(pattern)) if overlay else []


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
