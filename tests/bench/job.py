"""A whole job in a container, through the running system, against `docker run` of the same image and command.

- A job: prepare (policy is asked), seal, submit (durable), dispatch (policy is asked again), lease, fetch, a hardened
  cage, sealed log and result home, receipt verified. `docker run --rm IMAGE COMMAND` is the CLI, from start to exit.
- By turns, one after the other, on one engine. The command prints a line: all that is measured is what is around it.
- `framed` travels sealed, through the launcher in the cage; `raw` is the image's own command with a file on its stdin.
- Where the time went is from the gateway's events and the runner's receipt, whose clocks are this machine's.

    ./dev bench job [--runs 12] [--long]
"""

import argparse
import asyncio
import os
import shutil
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from carnet.answers import Event
from carnet.client import Client
from carnet.context import load_context
from carnet.core.job import Mode
from carnet.outbox import Work, WorkFile
from tests.bench.support.measure import quotients, ratio, say, value
from tests.bench.support.system import facts, whole_system

COMMAND: Final = ("python3", "-c", "print(6 * 7)")
TARGET: Final = 1.3
UNIT: Final = "s/s"


@dataclass(slots=True)
class Stages:
    """Seconds of each stage of each job, in the order in which they come."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, marks: list[tuple[str, float]]) -> None:
        """Each mark ends the stage of its name and begins the next; the first one only begins."""
        for (_, before), (name, at) in pairwise(marks):
            self.seconds.setdefault(name, []).append(at - before)


async def docker_run() -> float:
    """Seconds of one `docker run`."""
    program = shutil.which("docker")
    assert program is not None
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        program,
        "run",
        "--rm",
        os.environ["CARNET_BASE_IMAGE"],
        *COMMAND,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode != 0 or out != b"42\n":
        raise RuntimeError(f"docker run ended with {process.returncode}")
    return seconds


async def carnet_run(client: Client, work: Work, stages: Stages | None = None) -> float:
    """Seconds of one job, from its facts to its verified receipt."""
    began, marks = time.perf_counter(), [("begin", time.time())]
    prepared = await client.prepare(work.facts)
    marks.append(("prepare", time.time()))
    sealed = await client.seal(work, prepared)
    marks.append(("seal", time.time()))
    name = await client.submit(sealed)
    marks.append(("submit", time.time()))
    events: dict[str, float] = {}
    async with aclosing(client.watch(name)) as items:
        async for item in items:
            if isinstance(item, Event):
                events[item.kind] = item.time_ns / 1e9
    heard = time.time()
    outcome = await client.result(name)
    seconds, ended = time.perf_counter() - began, time.time()
    if not outcome.succeeded:
        raise RuntimeError("a job failed")
    receipt = outcome.receipt.receipt
    if stages is not None:
        marks += [
            ("claim", events["claimed"]),
            ("grant_lease_fetch_open", events["started"]),
            ("container_create", receipt.started_ns / 1e9),
            ("container_run", receipt.ended_ns / 1e9),
            ("deliver", events["receipt_arrived"]),
            ("watch", heard),
            ("fetch_and_verify", ended),
        ]
        stages.add(marks)
    return seconds


async def measured(client: Client, runs: int) -> tuple[dict[str, list[float]], Stages]:
    """Seconds of each way, run by run, by turns, and the stages of the framed jobs."""
    stages = Stages()
    framed = Work(facts=facts(), command=COMMAND)
    raw = Work(facts=facts(), command=COMMAND, files=(WorkFile(name="stdin", source=b"-"),), mode=Mode.RAW)
    ways: list[tuple[str, Callable[[], Awaitable[float]]]] = [
        ("docker_run", docker_run),
        ("framed", lambda: carnet_run(client, framed, stages)),
        ("raw", lambda: carnet_run(client, raw)),
    ]
    seconds: dict[str, list[float]] = {name: [] for name, _ in ways}
    for _, way in ways:
        await way()
    stages.seconds.clear()
    for run in range(runs):
        for name, way in ways[run % 3 :] + ways[: run % 3]:
            seconds[name].append(await way())
        say(f"run {run + 1}: " + ", ".join(f"{name} {figures[-1]:.3f} s" for name, figures in seconds.items()))
    return seconds, stages


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="./dev bench job", description="A whole job against docker run.")
    parser.add_argument("--runs", type=int, default=12)
    parser.add_argument("--long", action="store_true", help="60 runs")
    found = parser.parse_args()
    if shutil.which("docker") is None:
        say("missing: the docker command line, which is what a job is compared with")
        sys.exit(2)
    async with whole_system() as system, Client(load_context(system.context)) as client:
        seconds, stages = await measured(client, 60 if found.long else found.runs)
    for name in ("framed", "raw"):
        ratios = quotients(seconds[name], seconds["docker_run"])
        ratio("job", f"{name}_job_over_docker_run", ratios, better="lower", target=TARGET, unit=UNIT)
    for name, figures in seconds.items():
        value("job", f"{name}_seconds", figures, unit="s")
    for name, figures in stages.seconds.items():
        value("job", f"stage_{name}", figures, unit="s")


if __name__ == "__main__":
    asyncio.run(main())
