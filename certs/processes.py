"""Processes: the programs of one development system, each with its log. Stopped by pid, and by nothing else."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Final

stop_seconds: Final = 20.0


class StartFailed(RuntimeError):
    """A process did not come up; its last words are in its log."""


class Processes:
    """Python programs by name."""

    def __init__(self, logs: Path) -> None:
        logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._logs = logs
        self._running: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, name: str, *arguments: str) -> None:
        """Start a Python program under a name."""
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self, name: str) -> int:
        """The pid of a process."""
        return self._running[name].pid

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a process."""
        os.kill(self.pid(name), number)

    async def kill(self, name: str) -> None:
        """SIGKILL a process, and wait until it is gone."""
        process = self._running.pop(name)
        process.kill()
        await process.wait()

    def check(self) -> None:
        """Raise `StartFailed` where a process has ended that nobody stopped."""
        for name, process in self._running.items():
            if process.returncode is not None:
                words = (self._logs / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
                raise StartFailed(f"{name} ended with code {process.returncode}: " + " | ".join(words))

    async def stop(self) -> None:
        """Stop all of them, last first; one that does not go is killed."""
        for process in reversed(self._running.values()):
            if process.returncode is None:
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
        for process in self._running.values():
            try:
                await asyncio.wait_for(process.wait(), stop_seconds)
            except TimeoutError:
                process.kill()
                await process.wait()
