"""SubmitJob of a small payload, durable on return, against the same stream to a server that does nothing.

- Both sides get the same messages (header, sealed segments, trailer) of jobs that were sealed before the clock starts,
  over mutual TLS, from the same client code, with as many in flight; the other one is idle meanwhile.
- The gateway is a real process with SQLite: token and certificate, decision, manifest and key set verified, ciphertext
  and row synced, a leaf in the signed log. The no-op server is a grpc.aio process with the same credentials.
- The runners are stopped once the decision is there, so that no container takes part; the jobs of a run are cancelled
  after it, off the clock, so that each run finds the same queue.
- CPU is user and system time of the server's process alone, from /proc: it is less moved by neighbours than speed is.

    ./dev bench submit [--jobs 150] [--in-flight 16] [--runs 5] [--payload 4096] [--long]
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc.aio

from carnet.client import Client
from carnet.context import Context, load_context
from carnet.core.errors import CarnetError
from carnet.outbox import Work, WorkFile
from carnet.tls import channel_credentials, open_channel
from carnet.v1.jobs_pb2 import SubmitJobRequest, SubmitJobResponse
from carnet.v1.jobs_pb2_grpc import JobsStub
from carnet.wire import signed_to_proto
from certs.system import Development
from tests.bench.support.measure import quotients, ratio, say, value
from tests.bench.support.system import facts, whole_system

if TYPE_CHECKING:
    from carnet.v1.jobs_pb2_grpc import JobsAsyncStub  # in the stubs only

TARGET: Final = 0.45
CALL_SECONDS_MAX: Final = 60.0
QUIET_SECONDS: Final = 30.0
TICKS: Final = os.sysconf("SC_CLK_TCK")

Messages = list[SubmitJobRequest]


@dataclass(slots=True)
class Side:
    """One of the two servers: how to call it, and what was measured."""

    stub: "JobsAsyncStub"
    pid: int
    speeds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    async def run(self, jobs: list[Messages], metadata: tuple[tuple[str, str], ...], in_flight: int) -> list[str]:
        """Submit all of them; the names of the jobs."""
        waiting, seconds, names = iter(jobs), list[float](), list[str]()

        async def sender() -> None:
            for messages in waiting:
                began = time.perf_counter()
                call = self.stub.SubmitJob(stream(messages), timeout=CALL_SECONDS_MAX, metadata=metadata)
                response: SubmitJobResponse = await call
                seconds.append(time.perf_counter() - began)
                names.append(response.job.name)

        cpu, began = cpu_seconds(self.pid), time.perf_counter()
        await asyncio.gather(*(sender() for _ in range(in_flight)))
        self.speeds.append(len(jobs) / (time.perf_counter() - began))
        self.cpu.append((cpu_seconds(self.pid) - cpu) / len(jobs) * 1e6)
        self.latencies.append(statistics.median(seconds) * 1e3)
        return names


async def stream(messages: Messages) -> AsyncIterator[SubmitJobRequest]:
    """One submission."""
    for message in messages:
        yield message


async def sealed_jobs(client: Client, count: int, payload: int) -> list[Messages]:
    """So many different jobs under one decision, as they go over the wire."""
    work = Work(facts=facts(), command=("true",), files=(WorkFile(name="data", source=os.urandom(payload)),))
    prepared = await client.prepare(work.facts)
    found = []
    for _ in range(count):
        sealed = await client.seal(work, prepared)
        header = SubmitJobRequest.Header(
            job_id=sealed.manifest.job_id,
            facts=sealed.facts.payload,
            decision=signed_to_proto(sealed.decided.signed),
            body=sealed.decided.body.payload,
            request_id=str(uuid.uuid4()),
        )
        chunks = [
            SubmitJobRequest.Chunk(object=object_id, segment=segment, data=path.read_bytes())
            for object_id, segment, path in sealed.segments()
        ]
        trailer = SubmitJobRequest.Trailer(
            manifest=signed_to_proto(sealed.signed),
            tenant_key_set=signed_to_proto(sealed.key_set),
            wraps=sealed.wraps,
            self_wrap=sealed.self_wrap,
        )
        parts = [SubmitJobRequest(chunk=chunk) for chunk in chunks]
        found.append([SubmitJobRequest(header=header), *parts, SubmitJobRequest(trailer=trailer)])
        sealed.discard()
    return found


async def stop_runners(system: Development) -> None:
    """End the three runners, which this benchmark started, and wait until they are gone."""
    for pid in system.runner_pids.values():
        os.kill(pid, signal.SIGTERM)
    async with asyncio.timeout(QUIET_SECONDS):
        while any(alive(pid) for pid in system.runner_pids.values()):
            await asyncio.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5), stat: fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.asynccontextmanager
async def noop_server(pki: Path, answer_bytes: int) -> AsyncIterator[tuple[str, int]]:
    """The server that does nothing: its address and pid."""
    program = Path(__file__).parent / "support" / "noop.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(program),
        str(pki),
        str(answer_bytes),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            address = (await process.stdout.readline()).decode().strip()
        yield address, process.pid
    finally:
        process.stdin.close()
        await process.wait()


@contextlib.asynccontextmanager
async def channel(context: Context, target: str) -> AsyncIterator["JobsAsyncStub"]:
    """A client's connection to either server."""
    gateway = context.pins.gateway
    credentials = channel_credentials(gateway_ca=gateway.ca, certificate=context.certificate, private_key=context.key)
    opened = open_channel(target, credentials, server_name=gateway.server_name)
    try:
        yield JobsStub(opened)
    finally:
        await opened.close()


async def cancel(client: Client, names: list[str]) -> None:
    """Take the jobs of a run off the queue."""
    for start in range(0, len(names), 16):
        await asyncio.gather(*(client.cancel(name) for name in names[start : start + 16]))


async def measured(system: Development, found: argparse.Namespace) -> tuple[Side, Side]:
    """The gateway's side, and the side of the server that does nothing."""
    context = load_context(system.context)
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(Client(context))
        say(f"sealing {found.jobs * (found.runs + 1)} jobs of {found.payload} bytes")
        jobs = await sealed_jobs(client, found.jobs * (found.runs + 1), found.payload)
        await stop_runners(system)
        stub = await stack.enter_async_context(channel(context, system.enterprise))
        gateway = Side(stub=stub, pid=system.gateway_pid)
        noop: Side | None = None
        for run, batch in enumerate(batches(jobs, found.jobs)):
            metadata = (("authorization", "Bearer " + context.token.read_text(encoding="ascii").strip()),)
            if noop is None:
                first: SubmitJobResponse = await stub.SubmitJob(
                    stream(batch.pop()), timeout=CALL_SECONDS_MAX, metadata=metadata
                )
                address, pid = await stack.enter_async_context(noop_server(system.pki.directory, first.ByteSize()))
                noop = Side(stub=await stack.enter_async_context(channel(context, address)), pid=pid)
                await cancel(client, [first.job.name])
            sides = (gateway, noop) if run % 2 else (noop, gateway)
            for side in sides:
                names = await side.run(batch, metadata, found.in_flight)
                if side is gateway:
                    await cancel(client, names)
            say(f"run {run}: gateway {gateway.speeds[-1]:.0f}/s, no-op {noop.speeds[-1]:.0f}/s")
    assert noop is not None
    for side in (gateway, noop):
        # The first run warms connections and caches.
        del side.speeds[0], side.cpu[0], side.latencies[0]
    return gateway, noop


def batches(jobs: list[Messages], size: int) -> Iterator[list[Messages]]:
    """The jobs of each run."""
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="./dev bench submit", description="Durable SubmitJob against a no-op server.")
    parser.add_argument("--jobs", type=int, default=150, help="of each run")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--payload", type=int, default=4096, help="bytes")
    parser.add_argument("--long", action="store_true", help="1000 jobs a run, 9 runs")
    found = parser.parse_args()
    if found.long:
        found.jobs, found.runs = 1000, 9
    try:
        async with whole_system() as system:
            gateway, noop = await measured(system, found)
    except (CarnetError, grpc.aio.AioRpcError, TimeoutError) as error:
        say(f"not measured: {error!r}")
        sys.exit(1)
    speed = quotients(gateway.speeds, noop.speeds)
    ratio("submit", "durable_stream_over_noop", speed, better="higher", target=TARGET, unit="qps/qps")
    ratio("submit", "server_cpu_over_noop", quotients(gateway.cpu, noop.cpu), better="lower", target=None, unit="us/us")
    for name, side in (("gateway", gateway), ("noop", noop)):
        value("submit", f"{name}_speed", side.speeds, unit="1/s")
        value("submit", f"{name}_cpu", side.cpu, unit="us")
        value("submit", f"{name}_p50", side.latencies, unit="ms")


if __name__ == "__main__":
    asyncio.run(main())
