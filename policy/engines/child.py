"""SupervisedOpa: an OPA that the gateway starts, watches, and stops.

- The child runs exactly one bundle, written into a private folder under its revision, after the rules were checked
  against the profile. It listens on loopback under mutual TLS with keys made for it alone, and its own authorisation
  policy answers the three questions and health, and nothing else.
- Its environment holds nothing of ours. No secret is in its arguments.
- When it dies it is started again, with growing pauses; one that is silent for `silent_seconds_max` is ended first.
  Until it answers, every question is `PolicyEngineUnavailable`. It is stopped by its process id, and dies with a
  gateway that is killed.

    engine = SupervisedOpa(binary=Path("/usr/bin/opa"), bundle=Bundle.load())
    await engine.start()
    ...
    await engine.close()
"""

import asyncio
import contextlib
import datetime
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path
from typing import Final

from carnet.core import limits
from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.document import canonical
from carnet.core.errors import Bug, PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.engine import JobQuery
from policy.engines import loopback
from policy.engines.environment import opa_environment
from policy.engines.opa import Endpoint, OpaServer
from policy.masking import MaskRule
from policy.profile import capabilities

start_seconds_max: Final = 30.0
stop_seconds_max: Final = 3.0
check_seconds_max: Final = 30.0
poll_seconds: Final = 0.05
restart_seconds: Final = 0.2
restart_seconds_max: Final = 10.0
steady_seconds: Final = 30.0
watch_seconds: Final = 2.0
silent_seconds_max: Final = 20.0
complaint_bytes_max: Final = 2 * limits.KIB

_log = logging.getLogger(__name__)


# The child asks the kernel to be killed when its parent dies, however that comes about, and then becomes OPA.
_WITH_PARENT: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class SupervisedOpa:
    """A `PolicyEngine` over a child process."""

    def __init__(self, *, binary: Path, bundle: Bundle, seconds_max: float = limits.policy_seconds_max) -> None:
        # The child starts in another folder and without a PATH.
        self._binary = Path(shutil.which(binary) or binary).absolute()
        self._bundle = bundle
        self._seconds_max = seconds_max
        self._server: OpaServer | None = None
        self._version = "unknown"
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ready = asyncio.Event()
        self._complaint = b""

    @property
    def name(self) -> str:
        """`opa`: the same engine as an external one."""
        return "opa"

    @property
    def version(self) -> str:
        """The version that gave the last answer, or `unknown` before the first."""
        return self._server.version if self._server else self._version

    @property
    def revisions(self) -> Revisions:
        """The digests of the rules and data that the child runs."""
        return self._bundle.revisions

    @property
    def process_id(self) -> int | None:
        """The child's process id while it serves."""
        return self._process.pid if self._process and self._server else None

    async def start(self) -> None:
        """Check the rules, start the child, and wait until it serves. Raises `PolicyEngineUnavailable`."""
        self._folder = tempfile.TemporaryDirectory(prefix="carnet-policy-")
        try:
            folder = Path(self._folder.name)
            await asyncio.to_thread(self._bundle.write, _made(folder / "bundle"))
            await self._check_profile(folder)
            self._task = asyncio.create_task(self._supervise(folder), name="policy-child")
            async with asyncio.timeout(start_seconds_max):
                await self._ready.wait()
        except asyncio.CancelledError:
            await self.close()
            raise
        except (TimeoutError, OSError, PolicyEngineUnavailable) as error:
            detail = error.detail if isinstance(error, PolicyEngineUnavailable) else type(error).__name__
            complaint = self._complaint.decode(errors="replace")
            await self.close()
            raise PolicyEngineUnavailable(detail=f"OPA did not start: {detail} {complaint}") from error

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1, from the child. Raises `PolicyEngineUnavailable` while it does not serve."""
        return await self._serving().decide(query)

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2, from the child."""
        return await self._serving().judge(query, runners)

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """What the decision log does not show, from the child."""
        return await self._serving().mask(query, body)

    async def close(self) -> None:
        """Stop the child and remove its folder."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        folder, self._folder = self._folder, None
        if folder is not None:
            await asyncio.to_thread(folder.cleanup)

    def _serving(self) -> OpaServer:
        if self._server is None:
            raise PolicyEngineUnavailable(detail="the policy child is not serving")
        return self._server

    async def _supervise(self, folder: Path) -> None:
        pause = restart_seconds
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await self._run_once(folder)
            except Exception:  # noqa: BLE001  # the task's root: the child stays down until it serves again
                _log.exception("the policy child could not be run")
            if loop.time() - started > steady_seconds:
                pause = restart_seconds
            _log.error("the policy child ended; it is started again in %.1f s", pause)
            await asyncio.sleep(pause)
            pause = min(pause * 2, restart_seconds_max)

    async def _run_once(self, folder: Path) -> None:
        # Keys of its own for each start: an answer from before can not be taken for one from after.
        tls = await asyncio.to_thread(_keys, folder)
        port = _free_port()
        process = await self._spawn(folder, tls, port)
        server = OpaServer(
            endpoint=Endpoint(host="127.0.0.1", port=port, tls=tls.client),
            bundle=self._bundle,
            seconds_max=self._seconds_max,
        )
        self._process = process
        complaints = asyncio.create_task(self._listen(process))
        try:
            await _healthy(server, process)
            self._server = server
            self._ready.set()
            await _watched(server, process)
        finally:
            self._version = server.version
            self._server = None
            await _stopped(process)
            complaints.cancel()
            await server.close()

    async def _spawn(self, folder: Path, tls: loopback.Loopback, port: int) -> asyncio.subprocess.Process:
        arguments = [
            "run", "--server", "--bundle", "bundle", "--addr", f"127.0.0.1:{port}",
            "--tls-cert-file", str(tls.certificate), "--tls-private-key-file", str(tls.key),
            "--tls-ca-cert-file", str(tls.authority), "--min-tls-version", "1.3",
            "--authentication", "tls", "--authorization", "basic",
            "--log-level", "error", "--skip-version-check", "--shutdown-grace-period", "1",
            # Rules read the tables in every answer; nothing is written after the start.
            "--optimize-store-for-read-speed",
        ]  # fmt: skip
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-IS",
            "-c",
            _WITH_PARENT,
            str(os.getpid()),
            self._binary,
            *arguments,
            cwd=folder,
            env=opa_environment(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        stream = process.stderr
        while stream is not None and (part := await stream.read(complaint_bytes_max)):
            self._complaint = (self._complaint + part)[-complaint_bytes_max:]

    async def _check_profile(self, folder: Path) -> None:
        current = await self._one_shot(folder, "capabilities", "--current")
        try:
            found = capabilities(json.loads(current))
        except (ValueError, Bug) as error:
            raise PolicyEngineUnavailable(detail="the binary is no OPA that the profile fits") from error
        (folder / "capabilities.json").write_bytes(canonical(found))
        await self._one_shot(folder, "check", "--strict", "--bundle", "--capabilities", "capabilities.json", "bundle")

    async def _one_shot(self, folder: Path, *arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(
            self._binary,
            *arguments,
            cwd=folder,
            env=opa_environment(folder),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(check_seconds_max):
                output, complaint = await process.communicate()
        finally:
            await _stopped(process)
        if process.returncode != 0:
            self._complaint = complaint[-complaint_bytes_max:]
            raise PolicyEngineUnavailable(detail=f"opa {arguments[0]} failed")
        return output


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _keys(folder: Path) -> loopback.Loopback:
    return loopback.create(folder, now=datetime.datetime.now(datetime.UTC))


def _free_port() -> int:
    # Another process may take the port before the child does: then the child ends and gets another one, and who took
    # it can not answer under the child's keys.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    if not isinstance(port, int):
        raise Bug(detail="a port is not a number")
    return port


async def _healthy(server: OpaServer, process: asyncio.subprocess.Process) -> None:
    while not await server.is_healthy():
        if process.returncode is not None:
            raise PolicyEngineUnavailable(detail="the policy child ended at its start")
        await asyncio.sleep(poll_seconds)


async def _watched(server: OpaServer, process: asyncio.subprocess.Process) -> None:
    """Until the process ends, or says nothing of its health for too long: a child that hangs is of no use."""
    loop = asyncio.get_running_loop()
    heard = loop.time()
    while loop.time() - heard <= silent_seconds_max:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(watch_seconds):
                await process.wait()
                return
        if await server.is_healthy():
            heard = loop.time()
    _log.error("the policy child is silent and is ended")


async def _stopped(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(stop_seconds_max):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
