"""Trial: run a target's tests against one mutant, in a child process of our own that dies with it.

- The parent holds what is slow to import and is not ours; a child forks from it, puts the mutant in the place of the
  module, and runs pytest up to the first failure. The parent itself never imports the module.
- Hypothesis is derandomised, with few examples and no shrinking: a trial says the same each time.
- A child has a limit of time and of memory; one that passes it is killed, and the mutant counts as noticed.

    preload(TARGETS.values())
    bench = Bench.proven(target)
    bench.noticed(mutant)                    # the test that failed, or None
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import CodeType, ModuleType
from typing import Final, NoReturn

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutation.mutants import Mutant
from tests.mutation.targets import ROOT, Target

_OURS: Final = ("buf", "carnet", "certs", "gateway", "policy", "sandbox", "sdk", "tests", "__main__")
_memory_bytes_max: Final = 3 * 2**30
_seconds_min: Final = 10.0
_slower_max: Final = 6.0
_proof_seconds_max: Final = 180.0
_OPTIONS: Final = (
    *("-x", "-q", "--tb=no", "--rootdir", str(ROOT), "-m", "not full", "-p", "no:cacheprovider"),
    *("-k", "not test_control_a_broken_rule", "--hypothesis-profile", "mutation"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)
_GREEN: Final = b"green"

settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=10,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


class NotGreen(Exception):
    """The tests of a target do not pass without any mutant."""


class Bench:
    """A target and its tests. `seconds` is what they take without a mutant."""

    def __init__(self, target: Target, *, seconds: float) -> None:
        self.target = target
        self.seconds = seconds

    @classmethod
    def proven(cls, target: Target) -> "Bench":
        """A bench whose tests were seen to pass without a mutant. Raises `NotGreen`."""
        started = time.monotonic()
        found = _trial(target, compile(target.path.read_bytes(), str(target.path), "exec"), _proof_seconds_max)
        if found is not None:
            raise NotGreen(f"{target.module}: {found}")
        return cls(target, seconds=time.monotonic() - started)

    def noticed(self, mutant: Mutant) -> str | None:
        """The test that failed, or `time` where a trial took too long. None: nothing failed."""
        return _trial(self.target, mutant.code(self.target.path), max(_seconds_min, self.seconds * _slower_max))


def preload(targets: Iterable[Target]) -> None:
    """Import what the tests of these targets need and is not ours, so that no child has to."""
    files = sorted({path for target in targets for stage in target.stages() for path in stage})
    for name in (_in_child(lambda: _imported_by(files), _proof_seconds_max) or b"").decode().split():
        with suppress(ImportError):
            importlib.import_module(name)


def _trial(target: Target, code: CodeType, seconds_max: float) -> str | None:
    said = _in_child(lambda: _test(f"carnet.core.{target.module}", code, target.stages()), seconds_max)
    if said is None:
        return "time"
    return None if said == _GREEN else said.decode() or "the process ended"


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, name: str, code: CodeType) -> None:
        self._name = name
        self._code = code

    def find_spec(self, fullname: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_file_location(fullname, self._code.co_filename, loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)


class _FirstFailure:
    """A pytest plugin that remembers what failed first."""

    def __init__(self) -> None:
        self.found = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.found = self.found or report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.found = self.found or f"collection of {report.nodeid}"


def _test(name: str, code: CodeType, stages: Sequence[Sequence[str]]) -> bytes:
    assert name not in sys.modules, "a child starts without the module"
    sys.meta_path.insert(0, _Finder(name, code))
    first = _FirstFailure()
    for files in stages:
        ended = pytest.main([*_OPTIONS, *files], plugins=[first])
        if ended != pytest.ExitCode.OK:
            return (first.found or f"pytest ended with {ended!r}").encode()
    return _GREEN


def _imported_by(files: Sequence[str]) -> bytes:
    pytest.main([*_OPTIONS, "--collect-only", *files])
    return " ".join(name for name in sys.modules if name.split(".")[0] not in _OURS).encode()


def _in_child(work: Callable[[], bytes], seconds_max: float) -> bytes | None:
    """What `work` returned in a child process; None where it took too long."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_child(work, writer)
    os.close(writer)
    try:
        return _read(reader, time.monotonic() + seconds_max)
    finally:
        os.close(reader)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _be_child(work: Callable[[], bytes], writer: int) -> NoReturn:
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_memory_bytes_max, _memory_bytes_max))
        quiet = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(quiet, number)
        _write(writer, work())
    except BaseException:  # noqa: BLE001  (the root of a child: what ended it is what it says)
        _write(writer, traceback.format_exc().encode())
    finally:
        os._exit(0)


def _write(writer: int, said: bytes) -> None:
    while said:
        said = said[os.write(writer, said) :]


def _read(reader: int, until: float) -> bytes | None:
    said = b""
    while (left := until - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            continue
        piece = os.read(reader, 1 << 16)
        if not piece:
            return said
        said += piece
    return None
