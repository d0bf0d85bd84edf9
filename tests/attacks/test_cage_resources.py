"""Attacks on the host's resources from inside a cage. Each has a control: the same attack with that guard off works."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from carnet.core.job import Mode
from carnet.core.receipt import ExitClass
from sandbox.docker import DockerEngine
from sandbox.outcome import Stop
from tests.fixtures.cage import CAPS, MIB, SHAPE, LooseEngine, Run, leftovers

pytestmark = pytest.mark.docker

FORK_BOMB = """
import os, signal, time
children = []
try:
    while len(children) < 90:
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        children.append(child)
except OSError:
    pass
print(len(children), end="")
"""
MEMORY_BOMB = "kept = []\nwhile sum(map(len, kept)) < 300_000_000: kept.append(b'x' * 1_000_000)\nprint('ate it all')"
CHILD_BOMB = f"""
import os
child = os.fork()
if not child:
    exec({MEMORY_BOMB!r})
    os._exit(0)
os.waitpid(child, 0)
print("the parent is well")
"""
FILL_BYTES = """
size = 0
try:
    with open("/work/fill", "wb", buffering=0) as file:
        while size < 64 * 2**20: size += file.write(b"x" * 65536)
except OSError as error:
    pass
print(size, end="")
"""
FILL_INODES = """
import os
made = 0
try:
    while made < 70_000:
        os.close(os.open(f"/tmp/{made}", os.O_CREAT | os.O_WRONLY)); made += 1
except OSError:
    pass
print(made, end="")
"""
BIG = replace(SHAPE, memory_bytes=512 * MIB)


async def test_a_fork_bomb_stops_at_the_limit_of_processes(engine: DockerEngine, base_image: str) -> None:
    run = Run(image=base_image, script=FORK_BOMB, shape=BIG)
    outcome, record = await run.on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert 20 < int(record.log["stdout"]) < SHAPE.pids
    control = LooseEngine(lambda _, host: host.update({"PidsLimit": 600}))
    _, record = await run.on(control)
    control.close()
    assert int(record.log["stdout"]) == 90


async def test_a_memory_bomb_is_killed_and_called_out_of_memory(engine: DockerEngine, base_image: str) -> None:
    run = Run(image=base_image, script=MEMORY_BOMB)
    outcome, record = await run.on(engine)
    assert (outcome.exit, outcome.oom_killed) == (ExitClass.OOM, True)
    assert record.log["stdout"] == b""
    outcome, record = await replace(run, shape=BIG).on(engine)
    assert (outcome.exit, record.log["stdout"]) == (ExitClass.SUCCEEDED, b"ate it all\n")


async def test_a_memory_bomb_in_a_child_is_out_of_memory_though_the_parent_ends_with_zero(
    engine: DockerEngine, base_image: str
) -> None:
    run = Run(image=base_image, script=CHILD_BOMB)
    outcome, record = await run.on(engine)
    assert (outcome.exit, outcome.code, outcome.oom_killed) == (ExitClass.OOM, 0, True)
    assert record.log["stdout"] == b"the parent is well\n"
    outcome, _ = await replace(run, shape=BIG).on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.SUCCEEDED, 0)


async def test_a_full_work_folder_stops_at_its_size(engine: DockerEngine, base_image: str) -> None:
    run = Run(image=base_image, script=FILL_BYTES, shape=BIG)
    outcome, record = await run.on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert SHAPE.work_bytes // 2 < int(record.log["stdout"]) <= SHAPE.work_bytes
    _, record = await replace(run, shape=replace(BIG, work_bytes=128 * MIB)).on(engine)
    assert int(record.log["stdout"]) == 64 * MIB


async def test_a_flood_of_empty_files_stops_at_the_limit_of_inodes(engine: DockerEngine, base_image: str) -> None:
    run = Run(image=base_image, script=FILL_INODES, shape=BIG)
    _, record = await run.on(engine)
    assert 1000 < int(record.log["stdout"]) < 4096
    control = LooseEngine(lambda _, host: host["Tmpfs"].update({"/tmp": "rw,size=64m,mode=1777"}))  # type: ignore
    _, record = await run.on(control)
    control.close()
    assert int(record.log["stdout"]) > 4096


@pytest.mark.parametrize(
    "script",
    [
        "import os\nwhile True: os.write(1, b'x' * 65536)",
        "import os\nwhile True: os.write(2, b'y')",
        "import os\nwhile True: os.write(1, bytes([1, 0, 0, 0, 0, 0, 0, 8]) * 64)",
    ],
    ids=["fast", "single bytes on stderr", "looks like the engine's frames"],
)
async def test_a_flood_of_log_ends_at_its_cap_within_seconds(
    engine: DockerEngine, base_image: str, script: str
) -> None:
    began = time.monotonic()
    outcome, record = await Run(image=base_image, script=script, seconds=60).on(engine)
    assert outcome.exit is ExitClass.OUTPUT_LIMIT
    assert time.monotonic() - began < 20
    assert sum(map(len, record.log.values())) <= CAPS.log_bytes_max
    assert leftovers() == []


async def test_a_flood_of_raw_output_ends_at_its_cap_within_seconds(engine: DockerEngine, busybox_image: str) -> None:
    began = time.monotonic()
    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "yes"), seconds=60)
    outcome, record = await run.on(engine)
    assert outcome.exit is ExitClass.OUTPUT_LIMIT
    assert time.monotonic() - began < 20
    assert len(record.results["stdout"]) <= CAPS.result_bytes_max
    assert record.ended == []


async def test_a_flood_that_nobody_reads_can_still_be_killed(engine: DockerEngine, busybox_image: str) -> None:
    class Stuck:
        async def output(self, stream: str, data: bytes) -> None:
            await asyncio.sleep(60)

        async def result_begin(self, name: str, size: int | None) -> None: ...

        async def result_chunk(self, data: bytes) -> None:
            await asyncio.sleep(60)

        async def result_end(self) -> None: ...

    run = Run(image=busybox_image, mode=Mode.RAW, argv=("/bin/busybox", "yes"))
    began = time.monotonic()
    outcome = await engine.run(run.spec(), stdin=run.job(), sink=Stuck(), caps=CAPS, timeout_seconds=2.0, stop=Stop())
    assert (outcome.exit, outcome.code) == (ExitClass.TIMEOUT, 137)
    assert time.monotonic() - began < 10
    assert leftovers() == []


async def test_too_many_results_or_too_large_ones_are_over_the_cap(engine: DockerEngine, base_image: str) -> None:
    many = "for n in range(17): open(f'/work/out/{n:02}', 'w').write('x')"
    outcome, record = await Run(image=base_image, script=many).on(engine)
    assert (outcome.exit, len(record.ended)) == (ExitClass.OUTPUT_LIMIT, 16)
    large = "open('/work/out/large', 'wb').write(bytes(5 * 2**20))"
    outcome, record = await Run(image=base_image, script=large).on(engine)
    assert (outcome.exit, record.results) == (ExitClass.OUTPUT_LIMIT, {})
    roomy = replace(CAPS, result_bytes_max=6 * MIB)
    outcome, _ = await Run(image=base_image, script=large, caps=roomy).on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED


async def test_a_job_that_ignores_every_signal_ends_at_its_time_limit(engine: DockerEngine, base_image: str) -> None:
    script = """
import os, signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
os.setsid() if os.getpid() != os.getsid(0) else None
while True: time.sleep(1)
"""
    began = time.monotonic()
    outcome, _ = await Run(image=base_image, script=script, seconds=1.5).on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.TIMEOUT, 137)
    assert time.monotonic() - began < 10


async def test_a_job_that_closes_its_output_and_runs_on_ends_at_its_time_limit(
    engine: DockerEngine, base_image: str
) -> None:
    script = "import os, time\nfor fd in (0, 1, 2): os.close(fd)\ntime.sleep(60)"
    outcome, _ = await Run(image=base_image, script=script, seconds=1.5).on(engine)
    assert outcome.exit is ExitClass.TIMEOUT


async def test_what_a_job_leaves_running_ends_with_it(engine: DockerEngine, base_image: str) -> None:
    script = """
import os, time
if not os.fork():
    os.setsid()
    while True:
        open("/work/out/grows", "ab").write(b"x" * 1000)
        time.sleep(0.001)
time.sleep(0.2)
"""
    began = time.monotonic()
    outcome, record = await Run(image=base_image, script=script).on(engine)
    assert outcome.exit is ExitClass.SUCCEEDED
    assert record.ended == ["grows"]
    assert time.monotonic() - began < 10


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65536


async def test_a_job_that_never_reads_a_large_payload_ends_at_its_time_limit(
    engine: DockerEngine, busybox_image: str
) -> None:
    argv = ("/bin/busybox", "sleep", "60")
    run = Run(image=busybox_image, mode=Mode.RAW, argv=argv, stdin=_endless(), seconds=1.5)
    began = time.monotonic()
    outcome, _ = await run.on(engine)
    assert (outcome.exit, outcome.code) == (ExitClass.TIMEOUT, 137)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(("code", "exit_class"), [("0", ExitClass.SUCCEEDED), ("3", ExitClass.JOB_FAILED)])
async def test_a_job_that_ends_before_it_reads_its_payload_ends_with_its_own_code(
    engine: DockerEngine, busybox_image: str, code: str, exit_class: ExitClass
) -> None:
    argv = ("/bin/busybox", "sh", "-c", f"exit {code}")
    run = Run(image=busybox_image, mode=Mode.RAW, argv=argv, stdin=_endless())
    outcome, _ = await run.on(engine)
    assert (outcome.exit, outcome.code) == (exit_class, int(code))
