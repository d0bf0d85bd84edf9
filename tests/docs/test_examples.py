"""Every example of the pages runs as it stands, against a system that runs.

- The working folder is a checkout to look at: links to the files of this one, and `.carnet`, where `carnet dev` of the
  page would have put its things. What an example writes stays there.
- console: each line after `$ ` is a command, with `> ` for its further lines. What is under it is what it prints, where
  a line `...` stands for any lines, and `...` inside a line for any text. A command fails the test by its exit code.
- python: a program of its own. json: strict JSON, and facts where it says so. toml: a configuration that is taken.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from carnet.core import limits
from carnet.core.document import parse
from carnet.core.facts import parse_facts
from gateway.config import load_config as load_gateway
from sandbox.config import load_config as load_runner
from tests.docs.pages import ROOT, Block, blocks, pages

example_seconds_max = 120
MARK = "--carnet-example--"
IMAGE = "CARNET_BASE_IMAGE=python@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"

BLOCKS = [block for page in pages() for block in blocks(page) if not block.above]
GUIDE = "docs/policy-guide.md"
RUN = [block for block in BLOCKS if block.language in ("console", "python") and block.page != GUIDE]


class System(Protocol):
    """What these tests use of the fixture `carnet_dev`."""

    context: Path
    directory: Path
    image: str
    environment: dict[str, str]


def checkout(folder: Path, state: Path | None) -> Path:
    """A folder that looks like this checkout after `carnet dev`."""
    for entry in ROOT.iterdir():
        if entry.name not in (".git", ".carnet"):
            (folder / entry.name).symlink_to(entry)
    if state is not None:
        (folder / ".carnet").symlink_to(state)
    return folder


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Each command of a console block, with the lines that it is said to print."""
    command = ""
    printed: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, printed
            command, printed = line[2:], []
        elif line.startswith("> ") and not printed:
            command += "\n" + line[2:]
        else:
            printed.append(line)
    if command:
        yield command, printed


def agrees(said: list[str], printed: str) -> bool:
    """Whether what was printed is what the page says."""
    lines = [r"(?:[^\n]*\n)*?" if line == "..." else _line(line) for line in said]
    return re.fullmatch("".join(lines), printed) is not None


def _line(line: str) -> str:
    return r"[^\n]*".join(re.escape(part) for part in line.rstrip().split("...")) + r"[ ]*\n"


def run_console(text: str, *, folder: Path, environment: dict[str, str]) -> list[str]:
    """What differs from the page, command by command."""
    steps = list(commands(text))
    script = "set -e\n" + "".join(f"{command}\necho; echo {MARK}\n" for command, _ in steps)
    done = _run(["/bin/sh", "-c", script], folder=folder, environment=environment)
    outputs = done.stdout.split(f"\n{MARK}\n")
    wrong: list[str] = []
    for number, (command, said) in enumerate(steps):
        if number >= len(outputs) - 1:
            return [*wrong, f"$ {command}\nended the block with {done.returncode}:\n{outputs[-1]}{done.stderr}"]
        if said and not agrees(said, outputs[number]):
            wrong.append(f"$ {command}\nprinted\n{outputs[number]}\nand on stderr\n{done.stderr}")
    return wrong


def _run(
    arguments: list[str], *, folder: Path, environment: dict[str, str], program: str = ""
) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, **environment, "PATH": path, "COLUMNS": "120", "NO_COLOR": "1"},
        input=program,
        capture_output=True,
        text=True,
        timeout=example_seconds_max,
        check=False,
    )


@pytest.mark.docker
@pytest.mark.opa
@pytest.mark.xdist_group("system")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("block", RUN, ids=lambda block: block.name)
def test_the_example_does_what_the_page_says(block: Block, carnet_dev: System, tmp_path: Path) -> None:
    folder = checkout(tmp_path, carnet_dev.directory)
    environment = {**carnet_dev.environment, "CARNET_BASE_IMAGE": carnet_dev.image}
    if block.language == "console":
        assert not run_console(block.text, folder=folder, environment=environment)
    else:
        done = _run([sys.executable, "-"], folder=folder, environment=environment, program=block.text)
        assert done.returncode == 0, done.stderr


@pytest.mark.docker
@pytest.mark.opa
@pytest.mark.xdist_group("system")
@pytest.mark.timeout(600)
def test_the_guide_leads_from_a_blank_page_to_an_overlay_that_decides_and_back(
    carnet_dev: System, tmp_path: Path
) -> None:
    folder = checkout(tmp_path, carnet_dev.directory)
    environment = {**carnet_dev.environment, "CARNET_BASE_IMAGE": carnet_dev.image}
    for block in blocks(ROOT / GUIDE):
        if block.above.startswith("file: "):
            (folder / block.above.removeprefix("file: ")).write_text(block.text)
        elif block.language == "console":
            wrong = run_console(block.text, folder=folder, environment=environment)
            assert not wrong, f"{block.name}\n" + "\n".join(wrong)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "json"], ids=lambda block: block.name)
def test_json_on_a_page_is_strict_and_facts_are_facts(block: Block) -> None:
    parse(block.text.encode(), bytes_max=limits.facts_bytes_max)
    if "carnet.facts/v1" in block.text:
        assert parse_facts(block.text.encode()).image


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "toml"], ids=lambda block: block.name)
def test_a_configuration_on_a_page_is_taken(block: Block, tmp_path: Path) -> None:
    config = tmp_path / "page.toml"
    config.write_text(block.text)
    load = load_gateway if "enterprise" in tomllib.loads(block.text) else load_runner
    assert load(config).pins.name == "pins.json"


def test_a_page_names_the_code_that_a_refusal_ends_with() -> None:
    lines = [line for block in BLOCKS for _, said in commands(block.text) for line in said if "exit code" in line]
    assert len(lines) > 5
    assert [line for line in lines if not re.fullmatch(r"exit code [1-9]\d*", line)] == []


def test_what_is_not_run_is_what_starts_everything() -> None:
    skipped = [block for page in pages() for block in blocks(page) if block.above.startswith("not run: ")]
    assert [command.split()[:2] for block in skipped for command, _ in commands(block.text)] == [
        ["./dev", "demo"],
        ["./dev", "test"],
        ["./dev", "up"],
    ]


def test_the_published_image_on_the_page_is_the_one_that_dev_brings() -> None:
    digest = IMAGE.rpartition("@")[2]
    assert f"@{digest}\n" in (ROOT / "tools" / "images.sh").read_text("utf-8")
    assert all(digest in (ROOT / page).read_text("utf-8") for page in ("docs/operations.md",))


def test_control_an_example_that_prints_something_else_is_noticed(tmp_path: Path) -> None:
    folder = checkout(tmp_path, None)

    def wrong(text: str) -> list[str]:
        return run_console(text, folder=folder, environment={"NAME": "Carnet"})

    assert wrong("$ echo one\none\n$ echo $NAME\nCarnet\n") == []
    assert wrong("$ echo one\ntwo\n")
    assert wrong("$ echo one\none\n$ false\n$ echo three\n")
    assert wrong("$ printf '1\\n2\\n3\\n4\\n'\n1\n...\n4\n") == []
    assert wrong("$ printf '1\\n2\\n3\\n4\\n'\n1\n...\n5\n")
    assert wrong("$ echo leaf 17 of\n> \nleaf ... of\n") == []


def test_control_an_example_sees_the_files_of_the_checkout_and_writes_its_own(tmp_path: Path) -> None:
    folder = checkout(tmp_path, tmp_path)
    assert json.loads((folder / "demo" / "facts.json").read_text())["schema"] == "carnet.facts/v1"
    assert run_console("$ cat pyproject.toml > out.txt && ls out.txt\nout.txt\n", folder=folder, environment={}) == []
    assert not (ROOT / "out.txt").exists()
    assert shutil.which("sh")
