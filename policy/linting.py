"""Linting: what Regal finds in Rego, held to our rules for it (`policy/.regal`), beside the rules it stands with.

- Regal reads and runs nothing of what it looks at but the text. It is started without environment, in a folder of its
  own, and not for long; by our configuration it asks nobody for anything.
- It is no engine: where there is none, nothing else is less sure. Who asks says that it was not looked at.
- Files stand in the folder as their packages say, so that names resolve; only findings in those named are told.

    found = complaints(binary, {**bundle.rules, **theirs}, told=theirs.keys())
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from carnet.core.errors import FieldInvalid
from policy.bundle import home

seconds_max: Final = 60.0

_ENDED: Final = (0, 3)  # nothing found, something found


def find_regal() -> Path | None:
    """The Regal binary: `CARNET_REGAL`, else `regal` on the path."""
    found = shutil.which(os.environ.get("CARNET_REGAL") or "regal")
    return Path(found).absolute() if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One thing that Regal finds: in which file, and its line and words. One of no file is of Regal itself."""

    path: str
    text: str

    def line(self, path: str) -> str:
        """The same of a file that is shown by another path."""
        return f"{path}:{self.text}" if self.path else self.text


def complaints(binary: Path, rules: Mapping[str, bytes], *, told: Collection[str]) -> list[Complaint]:
    """What is found in the files of `told`, among all of `rules`, in their order. Blocks.

    A Regal that gives no answer is itself a complaint: what was to be looked at was not.
    Raises `FieldInvalid` for a path that leads elsewhere.
    """
    with tempfile.TemporaryDirectory(prefix="carnet-lint-") as folder:
        for path, text in rules.items():
            _write(Path(folder).resolve(), path, text)
        found = _violations(binary, Path(folder))
    if found is None:
        return [Complaint(path="", text="Regal gives no answer.")]
    found.sort(key=lambda each: (each["location"]["file"], each["location"]["row"], each["title"]))
    return [_complaint(each) for each in found if each["location"]["file"] in told]


def _write(folder: Path, path: str, text: bytes) -> None:
    target = (folder / path).resolve()
    if not target.is_relative_to(folder):
        raise FieldInvalid(f"{path} has no place among rules", metadata={"field": path})
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text)


def _violations(binary: Path, folder: Path) -> list[dict[str, Any]] | None:
    ours = home / ".regal"
    options = ("--format", "json", "--config-file", ours / "config.yaml", "--rules", ours / "rules")
    try:
        ended = subprocess.run(  # noqa: S603  # the operator's Regal; arguments are ours
            [binary, "lint", *options, "."],
            cwd=folder,
            env={"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds_max,
        )
        found = json.loads(ended.stdout)["violations"] if ended.returncode in _ENDED else None
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) else None


def _complaint(found: dict[str, Any]) -> Complaint:
    where = found["location"]
    return Complaint(
        path=where["file"], text=f"{where['row']}: {found['category']}/{found['title']}: {found['description']}"
    )
