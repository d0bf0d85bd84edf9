"""The cage on a real engine: what it runs, how it ends, and what is left of it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from docker import APIClient

from carnet.core.errors import ImageDigestRequired, ImageNotAllowed, SandboxUnavailable
from carnet.core.job import Mode
from carnet.core.receipt import ExitClass
from carnet.core.runner import Isolation
from sandbox.cage import template_digest
from sandbox.docker import DockerEngine
from sandbox.outcome import Stop
from tests.fixtures.cage import MIB, SHAPE, UID, LooseEngine, Run, leftovers

pytestmark = pytest.mark.docker


async def test_a_framed_job_reads_its_files_writes_its_log_and_returns_its_results(
    engine: DockerEngine, base_image: str
) -> None:
    script = """
import os, sys
print(open("data/input.txt").read(), end="")
print("careful", file=sys.stderr)
out = os.environ["CARNET_OUTPUT"]
os.mkdir(out + "/deep")
open(out + "/b.bin", "wb").write(bytes(range(256)) * 4096)
open(out + "/deep/a.txt", "w").write("answer")
open(out + "/empty", "w").close()
"""
    files = {"data/input.txt": b"hello\n", "data/empty": b"", "big": os.urandom(3 * MIB)}
    outcome, record = await Run(image=base_image, script=script, files=files).on(engine)
    assert (outcome.exit, outcome.code, outcome.oom_killed) == (ExitClass.SUCCEEDED, 0, False)
    assert record.log == {"stdout": b"hello\n", "stderr": b"careful\n"}
    assert record.results == {"b.bin": bytes(range(256)) * 4096, "deep/a.txt": b"answer", "empty": b""}
    assert record.ended == ["b.bin", "deep/a.txt", "empty"]
    assert outcome.started_ns < outcome.ended_ns
    assert len(outcome.profile_digest) == 32
    assert leftovers() == []


async def test_a_raw_job_takes_the_payload_as_stdin_and_its_stdout_is_the_result(
    engine: DockerEngine, busybox_image: str
) -> None:
    async def payload() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"x" * 131_072

    argv = ("/bin/busybox", "sh", "-c", "/bin/busybox md5sum; echo done >&2")
    run = Run(image=busybox_image, mode=Mode.RAW, argv=argv, stdin=payload())
    outcome, record = await run.on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.SUCCEEDED, 0)
    assert record.results == {"stdout": b"b561f87202d04959e37588ee05cf5b10  -\n"}
    assert record.log["stderr"] == b"done\n"
    assert record.ended == ["stdout"]


async def test_the_meter_gives_cpu_time_and_memory_of_a_job_that_lives_long_enough(
    engine: DockerEngine, base_image: str
) -> None:
    script = "import time\nkept = b'x' * 20_000_000\nend = time.time() + 1.6\nwhile time.time() < end: pass"
    outcome, _ = await Run(image=base_image, script=script).on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert outcome.meter.wall_method == "engine-times"
    assert 1600 <= outcome.meter.wall_ms < 15_000
    assert outcome.meter.cpu_ms is not None
    assert 100 < outcome.meter.cpu_ms < 5000
    assert outcome.meter.memory_peak_bytes is not None
    assert 20_000_000 < outcome.meter.memory_peak_bytes <= SHAPE.memory_bytes
    assert (outcome.meter.energy_mj, outcome.meter.energy_method) == (None, "unavailable")


async def test_a_code_other_than_zero_is_the_jobs_failure(engine: DockerEngine, base_image: str) -> None:
    outcome, _ = await Run(image=base_image, script="raise SystemExit(7)").on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.JOB_FAILED, 7)


async def test_a_command_that_is_not_there_is_the_jobs_failure(engine: DockerEngine, base_image: str) -> None:
    outcome, record = await Run(image=base_image, argv=("/no/such/command",)).on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.JOB_FAILED, 127)
    assert b"does not start" in record.log["stderr"]


@pytest.mark.parametrize("cause", [ExitClass.CANCELLED, ExitClass.LEASE_LOST, ExitClass.INFRA_LOST])
async def test_a_stop_from_outside_ends_the_job_with_its_cause(
    engine: DockerEngine, busybox_image: str, cause: ExitClass
) -> None:
    stop = Stop()
    asyncio.get_running_loop().call_later(0.7, stop.set, cause)
    argv = ("/bin/busybox", "sleep", "60")
    outcome, _ = await Run(image=busybox_image, mode=Mode.RAW, argv=argv).on(engine, stop)
    assert (outcome.exit, outcome.code) == (cause, 137)
    assert outcome.meter.wall_ms < 20_000
    assert leftovers() == []


async def test_a_cancelled_task_leaves_no_container(engine: DockerEngine, busybox_image: str) -> None:
    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "sleep", "60"), label="task")
    task = asyncio.create_task(run.on(engine))
    while not await asyncio.to_thread(leftovers, "task"):  # noqa: ASYNC110  (the engine has no event for us)
        await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leftovers("task") == []


async def test_an_error_of_the_payload_kills_the_job_and_reaches_the_caller(
    engine: DockerEngine, busybox_image: str
) -> None:
    async def payload() -> AsyncIterator[bytes]:
        yield b"x"
        raise ZeroDivisionError

    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "cat"), stdin=payload())
    with pytest.raises(ZeroDivisionError):
        await run.on(engine)
    assert leftovers() == []


async def test_orphans_are_found_by_their_label_and_removed(engine: DockerEngine, busybox_image: str) -> None:
    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "sleep", "60"), label="orphan")
    other = await engine.create(replace(run, label="other").spec())
    running, created = await engine.create(run.spec()), await engine.create(run.spec())
    await engine.start(running)
    assert set(await engine.remove_orphans(label="carnet.test", value="orphan")) == {running, created}
    assert leftovers("orphan") == []
    assert leftovers("other") == [other]
    await engine.remove(other)


async def test_the_probe_shows_that_the_profile_holds(engine: DockerEngine, base_image: str) -> None:
    facts = await engine.probe(image_id=base_image, uid=UID, isolation=Isolation.CONTAINER)
    assert facts.template_digest == template_digest()
    assert {"profile=strict-1", "runtime=runc", "network=none", "seccomp=strict-1"} <= set(facts.lines())


@pytest.mark.parametrize(
    ("guard", "named"),
    [
        ({"SecurityOpt": ["no-new-privileges:true", "seccomp=unconfined"]}, "io_uring_setup works"),
        ({"SecurityOpt": []}, "NoNewPrivs is another"),
        ({"ReadonlyRootfs": False}, "/ is mounted otherwise"),
        ({"NetworkMode": "host"}, "there is a network interface"),
        ({"CapDrop": []}, "CapBnd is another"),
        ({"Ulimits": []}, "the limits of core and files are others"),
        ({"PidsLimit": 600}, "the limit of processes does not hold"),
        ({"Memory": 400 * MIB, "MemorySwap": 400 * MIB}, "the limit of memory does not hold"),
    ],
)
async def test_the_probe_names_a_guard_that_is_off(base_image: str, guard: dict[str, object], named: str) -> None:
    loose = LooseEngine(lambda _, host: host.update(guard))  # type: ignore[arg-type]
    with pytest.raises(SandboxUnavailable) as raised:
        await loose.probe(image_id=base_image, uid=UID, isolation=Isolation.CONTAINER)
    loose.close()
    assert named in raised.value.detail


@pytest.mark.parametrize(
    ("answer", "field", "value", "named"),
    [("HostConfig", "Privileged", True, "Privileged"), ("Warnings", "Warnings", ["no swap limit"], "warns")],
)
async def test_a_container_that_differs_or_comes_with_a_warning_is_refused_and_removed(
    busybox_image: str, answer: str, field: str, value: object, named: str
) -> None:
    class Careless(DockerEngine):
        async def _call(self, work, *, seconds=20.0):  # type: ignore[no-untyped-def]
            found = await super()._call(work, seconds=seconds)
            if isinstance(found, dict) and answer in found:
                (found[answer] if isinstance(found[answer], dict) else found)[field] = value
            return found

    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "true"), label="careless")
    careless = Careless(None)
    with pytest.raises(SandboxUnavailable) as raised:
        await run.on(careless)
    careless.close()
    assert named in raised.value.detail
    assert leftovers("careless") == []


async def test_an_engine_that_goes_away_in_mid_job_is_infrastructure_lost_and_leaves_an_orphan(
    engine: DockerEngine, busybox_image: str, tmp_path: Path
) -> None:
    real, connections = os.environ["DOCKER_HOST"].removeprefix("unix://"), []
    begun = asyncio.Event()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(real)
        connections.extend([writer, inner_writer])
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer, seen=begun))
        inner_writer.close()
        writer.close()

    server = await asyncio.start_unix_server(forward, str(tmp_path / "d.sock"))
    fragile = DockerEngine(f"unix://{tmp_path}/d.sock")
    argv = ("/bin/busybox", "sh", "-c", "echo begun; /bin/busybox sleep 60")
    task = asyncio.create_task(Run(image=busybox_image, mode=Mode.RAW, argv=argv, label="fragile").on(fragile))
    await asyncio.wait_for(begun.wait(), 20)
    # What has come this far is read by the runner before it finds the line cut.
    await asyncio.sleep(0.5)
    server.close()
    (tmp_path / "d.sock").unlink(missing_ok=True)
    for connection in connections:
        connection.close()
    outcome, record = await asyncio.wait_for(task, 20)
    fragile.close()
    assert (outcome.exit, outcome.code) == (ExitClass.INFRA_LOST, None)
    assert record.results == {"stdout": b"begun\n"}
    assert record.ended == []
    assert len(await engine.remove_orphans(label="carnet.test", value="fragile")) == 1


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, seen: asyncio.Event | None = None
) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            if seen is not None and b"begun\n" in data:
                seen.set()
            writer.write(data)
            await writer.drain()
        # A job without input ends one direction of its stream; its output still comes by the other.
        writer.write_eof()


async def test_gpus_that_the_engine_can_not_give_are_an_error_and_not_a_failed_job(
    engine: DockerEngine, busybox_image: str
) -> None:
    shape = replace(SHAPE, gpus=("GPU-00000000-0000-0000-0000-000000000000",))
    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "true"), shape=shape)
    with pytest.raises(SandboxUnavailable) as raised:
        await run.on(engine)
    assert "GPU" in raised.value.text
    assert "could not select device driver" in raised.value.detail
    assert leftovers() == []


async def test_an_engine_that_is_not_there_is_an_error(tmp_path: object) -> None:
    engine = DockerEngine(f"unix://{tmp_path}/none.sock")
    with pytest.raises(SandboxUnavailable):
        await engine.facts()
    engine.close()


def test_an_engine_beyond_the_machine_is_refused() -> None:
    with pytest.raises(SandboxUnavailable):
        DockerEngine("tcp://127.0.0.1:2375")


async def test_a_level_without_its_runtime_is_refused(engine: DockerEngine) -> None:
    facts = await engine.facts()
    facts.check(Isolation.CONTAINER)
    bare = replace(facts, runtimes=("runc",), limits={**facts.limits, "swap": False})
    with pytest.raises(SandboxUnavailable) as raised:
        bare.check(Isolation.GVISOR)
    assert "runtime for gvisor" in raised.value.detail
    assert "swap" in raised.value.detail


@pytest.mark.parametrize("reference", ["busybox", "busybox:latest", "sha256:abc", ""])
async def test_an_image_named_by_anything_but_a_digest_is_refused(engine: DockerEngine, reference: str) -> None:
    with pytest.raises(ImageDigestRequired):
        await engine.image_id(reference)


async def test_an_image_that_is_not_here_is_refused(engine: DockerEngine) -> None:
    with pytest.raises(ImageNotAllowed):
        await engine.image_id("sha256:" + "0" * 64)


@pytest.mark.parametrize("change", ["VOLUME /data", "ENV https_proxy=http://user:password@192.0.2.1"])
async def test_an_image_with_a_volume_or_a_proxy_is_refused(
    engine: DockerEngine, busybox_image: str, change: str
) -> None:
    client = APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
    container = client.create_container(busybox_image, ["x"])["Id"]
    made = client.commit(container, changes=change)["Id"]
    client.remove_container(container)
    try:
        with pytest.raises(ImageNotAllowed):
            await engine.image_id(made)
    finally:
        client.remove_image(made)
        client.close()
