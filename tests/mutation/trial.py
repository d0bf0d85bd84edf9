"""Trial: run a target's tests against one mutant, in a child process of our own that dies with it.

- The parent holds what is slow to import and is not ours; a child forks from it, puts the mutant in the place of the
  module, and runs pytest up to the first failure. The parent itself never imports the module.
- Hypothesis is derandomised, with few examples and no shrinking: a trial says the same each time.
- A child has a limit of time and of memory; one that passes it is killed, and the mutant counts as noticed.

    bench = Bench(target)                    # the tests pass as things are, or `NotGreen`
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
from collections.abc import Callable, Sequence
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
_baseline_seconds_max: Final = 180.0
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
    """A target whose tests are known to pass, and how long they may take."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._name = f"carnet.core.{target.module}"
        self._stages = target.stages()
        self._preload()
        started = time.monotonic()
        code = compile(target.path.read_bytes(), str(target.path), "exec")
        found = self._run(code, seconds_max=_baseline_seconds_max)
        if found is not None:
            raise NotGreen(f"{target.module}: {found}")
        self.seconds = time.monotonic() - started

    def noticed(self, mutant: Mutant) -> str | None:
        """The test that failed, or `time` where a trial took too long. None: nothing failed."""
        limit = max(_seconds_min, self.seconds * _slower_max)
        return self._run(mutant.code(self.target.path), seconds_max=limit)

    def _preload(self) -> None:
        code = compile(self.target.path.read_bytes(), str(self.target.path), "exec")
        wanted = _in_child(lambda: _modules_after(self._name, code, self._stages), _baseline_seconds_max)
        for name in (wanted or b"").decode().split():
            with suppress(ImportError):
                importlib.import_module(name)

    def _run(self, code: CodeType, *, seconds_max: float) -> str | None:
        said = _in_child(lambda: _test(self._name, code, self._stages), seconds_max)
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


def _modules_after(name: str, code: CodeType, stages: Sequence[Sequence[str]]) -> bytes:
    _test(name, code, stages)
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
    except BaseException:
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
