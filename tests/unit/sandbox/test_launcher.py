"""The launcher's parts, on real pipes and folders. It runs whole only inside a cage: see tests/integration."""

import ast
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox import frames, launcher, observer


def receive(stream: bytes, work: Path) -> launcher.Index:
    reading, writing = os.pipe()
    os.write(writing, stream)
    os.close(writing)
    try:
        return launcher.receive(reading, str(work))
    finally:
        os.close(reading)


def job(*files: tuple[str, bytes]) -> bytes:
    listed = [frames.File(id=i, name=n, size=len(c)) for i, (n, c) in enumerate(files, 1)]
    objects = b"".join(b"".join(frames.chunk(i, c)) for i, (_, c) in enumerate(files, 1))
    return frames.index(argv=["a", "b"], environment={"X": "y"}, files=listed) + objects + frames.END


def test_a_job_arrives_as_it_was_sent(tmp_path: Path) -> None:
    index = receive(job(("a.py", b"print()"), ("data/empty", b""), ("data/b", b"\0\1")), tmp_path)
    assert (index.argv, index.environment) == (["a", "b"], {"X": "y"})
    found = {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"a.py": b"print()", "data/empty": b"", "data/b": b"\0\1"}
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        b"\x01",
        struct.pack(">BI", 1, 2**31),
        frames.END,
        frames.index(argv=[], environment={}, files=()) + frames.END,
        frames.index(argv=["a"], environment={}, files=()),
        frames.index(argv=["a"], environment={}, files=()) + frames.END[:-1] + b"\1x",
        frames.index(argv=["a"], environment={}, files=[frames.File(id=1, name="a", size=1)]) + frames.END,
        frames.index(argv=["a"], environment={}, files=[frames.File(id=1, name="a", size=1)])
        + next(frames.chunk(2, b"x")),
        frames.index(argv=["a"], environment={}, files=[frames.File(id=1, name="a", size=1)])
        + next(frames.chunk(1, b"xy")),
        frames.index(argv=["a"], environment={}, files=[frames.File(id=1, name="a", size=0)] * 2) + frames.END,
        frames.index(argv=["a"], environment={}, files=[frames.File(id=1, name="../a", size=0)]) + frames.END,
    ],
)
def test_what_is_not_a_job_is_refused(stream: bytes, tmp_path: Path) -> None:
    with pytest.raises(launcher.LauncherError):
        receive(stream, tmp_path)
    assert not (tmp_path / "out").exists()


@given(
    payload=st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["argv", "environment", "files", "id", "name", "size"]), inner, max_size=4
                )
            ),
            max_leaves=12,
        ).map(lambda v: json.dumps(v).encode()),
    )
)
def test_any_index_is_read_or_refused(payload: bytes) -> None:
    try:
        index = launcher.Index(payload)
    except launcher.LauncherError:
        return
    assert index.argv


def test_a_file_over_another_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/etc/hostname")
    with pytest.raises(OSError, match="File exists"):
        receive(job(("a", b"x")), tmp_path)


def test_results_are_sent_in_order_and_links_are_left_out(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    (out / "b" / "c").write_bytes(b"x" * (frames.chunk_bytes + 1))
    (out / "a").write_bytes(b"")
    (out / "link").symlink_to("/etc/hostname")
    with (tmp_path / "stream").open("wb") as stream:
        launcher.send_results(str(tmp_path), stream.fileno())
    events = frames.Parser().feed((tmp_path / "stream").read_bytes())
    assert [e.name for e in events if isinstance(e, frames.ResultBegin)] == ["a", "b/c"]
    assert [len(e.data) for e in events if isinstance(e, frames.ResultChunk)] == [frames.chunk_bytes, 1]
    assert [b"link" in e.data for e in events if isinstance(e, frames.Output)] == [True]


def test_the_launcher_refuses_to_run_outside_a_cage() -> None:
    assert os.getuid() < launcher.UID_MIN
    program = [sys.executable, "-IS", launcher.__file__]
    ended = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"carnet: the launcher runs inside a cage only\n")


@pytest.mark.parametrize("module", [launcher, observer])
def test_what_runs_inside_needs_python_3_9_and_its_library_only(module: object) -> None:
    source = Path(str(module.__file__)).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    tree = ast.parse(source, feature_version=(3, 9))
    names = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    names |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)
