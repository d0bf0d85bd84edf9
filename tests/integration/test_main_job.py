"""One job, end to end, through every role: what a tenant can do, and what it can not."""

import asyncio
import os
import secrets
from dataclasses import replace

import pytest
from docker import APIClient

from carnet import proof
from carnet.answers import Event
from carnet.client import Client
from carnet.core.errors import FieldInvalid, JobNotCancellable, NotFound, PageTokenInvalid, PeerError
from carnet.core.job import JobState
from carnet.core.receipt import ExitClass
from carnet.inbox import LogLine
from tests.fixtures.system import MIB, SYSTEM, CarnetDev, Seen, follow, needed, raw, run, script, submitted, until

pytestmark = SYSTEM

COUNT = """
import sys, time
data = open("numbers.txt").read().split()
print("read", len(data), flush=True)
time.sleep(1.2)
print("warned", file=sys.stderr, flush=True)
open("out/sum.txt", "w").write(str(sum(map(int, data))))
"""


def containers_of(system: CarnetDev) -> list[str]:
    """The ids of all containers that this system's runners have."""
    engine = APIClient(base_url=os.environ["DOCKER_HOST"], version="auto")
    names = {runner.id.runner for runner in system.running.pki.runners}
    try:
        found = engine.containers(all=True, filters={"label": "carnet.agent"})
        return [str(c["Id"]) for c in found if c["Labels"]["carnet.agent"] in names]
    finally:
        engine.close()


async def test_a_job_runs_and_its_log_results_and_receipt_come_home_verified(
    carnet_dev: CarnetDev, client: Client
) -> None:
    outcome, seen = await run(client, script(carnet_dev.facts(), COUNT, **{"numbers.txt": b"1 2 3 4"}))
    assert outcome.succeeded
    assert {result.name: result.data for result in outcome.results} == {"sum.txt": b"10"}
    assert seen.kinds == ["accepted", "claimed", "started", "receipt_arrived"]
    assert seen.log == b"read 4\nwarned\n"
    verified = proof.verify(proof.from_file(outcome.receipt_file), pins=carnet_dev.load().pins)
    assert verified == outcome.receipt
    assert verified.receipt.image == carnet_dev.image
    assert verified.receipt.jurisdiction == verified.runner.id.jurisdiction in {"FR", "DE", "US"}
    assert verified.receipt.log_records == len([item for item in seen.items if isinstance(item, LogLine)]) + 1


async def test_the_log_comes_while_the_job_is_running(carnet_dev: CarnetDev, client: Client) -> None:
    code = "import time\nfor i in range(3):\n print(i, flush=True)\n time.sleep(0.8)"
    loop, came = asyncio.get_running_loop(), list[tuple[str, float]]()

    def observe(item: Event | LogLine) -> None:
        came.append((item.kind if isinstance(item, Event) else "log", loop.time()))

    await client.run(script(carnet_dev.facts(), code), observe=observe)
    logs = [at for kind, at in came if kind == "log"]
    ended = next(at for kind, at in came if kind == "receipt_arrived")
    assert len(logs) == 3
    assert ended - logs[0] > 2, "the first record was opened while the job ran on"


async def test_a_receipt_file_in_which_one_byte_was_changed_does_not_verify(
    carnet_dev: CarnetDev, client: Client
) -> None:
    outcome, _ = await run(client, script(carnet_dev.facts(), "print(1)"))
    message = proof.from_file(outcome.receipt_file)
    pins = carnet_dev.load().pins
    proof.verify(message, pins=pins)
    for part in ("manifest", "permit", "grant", "start", "receipt", "status", "card", "tenant_key_set"):
        forged = proof.from_file(outcome.receipt_file)
        statement = getattr(forged, part)
        statement.payload = statement.payload[:-1] + bytes([statement.payload[-1] ^ 1])
        with pytest.raises(PeerError):
            proof.verify(forged, pins=pins)


async def test_a_raw_job_runs_an_image_that_has_nothing_but_its_own_command(
    carnet_dev: CarnetDev, client: Client
) -> None:
    busybox = needed("CARNET_BUSYBOX_IMAGE")["CARNET_BUSYBOX_IMAGE"]
    work = raw(carnet_dev.facts(image=busybox), ("sort", "-n"), b"3\n1\n2\n")
    outcome, seen = await run(client, work)
    assert outcome.succeeded
    bytes_home = b"".join(result.data for result in outcome.results) or seen.log
    assert bytes_home == b"1\n2\n3\n"
    assert outcome.receipt.receipt.image == busybox


@pytest.mark.parametrize(
    ("code", "changes", "exit_class"),
    [
        ("raise SystemExit(3)", {}, ExitClass.JOB_FAILED),
        ("import time\ntime.sleep(60)", {"caps": {"seconds": 2}}, ExitClass.TIMEOUT),
        ("x = bytearray(400 * 2**20)", {"resources": {"memory_bytes": 64 * MIB}}, ExitClass.OOM),
        ("for i in range(1100): open(f'out/{i}', 'w')", {}, ExitClass.OUTPUT_LIMIT),
    ],
    ids=lambda value: value.value if isinstance(value, ExitClass) else "",
)
async def test_how_a_job_failed_is_told_apart_and_is_in_its_receipt(
    carnet_dev: CarnetDev, client: Client, code: str, changes: dict[str, object], exit_class: ExitClass
) -> None:
    outcome, seen = await run(client, script(carnet_dev.facts(**changes), code))
    assert not outcome.succeeded
    assert outcome.receipt.receipt.exit_class is exit_class
    assert (seen.events[-1].state, seen.events[-1].attempt) == (JobState.FAILED, 1)
    summary = await client.job(outcome.name)
    assert (summary.state, summary.reason) == (JobState.FAILED, exit_class.value.upper())
    if exit_class is ExitClass.JOB_FAILED:
        assert outcome.receipt.receipt.exit_code == 3


async def test_a_cancelled_job_ends_cancelled_and_its_container_is_gone(carnet_dev: CarnetDev, client: Client) -> None:
    name = await submitted(client, script(carnet_dev.facts(), "import time\nprint('up', flush=True)\ntime.sleep(25)"))
    seen = Seen()
    following = asyncio.create_task(follow(client, name, seen))

    async def up() -> bool:
        return b"up" in seen.log

    await until(up)
    assert containers_of(carnet_dev), "the control: a running job has a container"
    asked = await client.cancel(name)
    assert asked.state in (JobState.CANCELLING, JobState.CANCELLED)
    await following
    assert seen.events[-1].state is JobState.CANCELLED

    async def gone() -> bool:
        return not containers_of(carnet_dev)

    await until(gone, seconds=10)
    assert (await client.job(name)).state is JobState.CANCELLED
    with pytest.raises(JobNotCancellable):
        await client.cancel(name)
    with pytest.raises(NotFound):
        await client.result(name)


async def test_two_jobs_at_once_do_not_get_in_each_other_s_way(carnet_dev: CarnetDev, client: Client) -> None:
    works = [
        script(carnet_dev.facts(), f"import time\ntime.sleep(1)\nprint({i})\nopen('out/r', 'w').write('{i}')")
        for i in range(2)
    ]
    both = await asyncio.gather(*(run(client, work) for work in works))
    for i, (outcome, seen) in enumerate(both):
        assert outcome.succeeded
        assert seen.log == f"{i}\n".encode()
        assert [result.data for result in outcome.results] == [str(i).encode()]
    first, second = (outcome.receipt.receipt for outcome, _ in both)
    assert first.started_ns < second.ended_ns
    assert second.started_ns < first.ended_ns, "they ran at the same time"


async def test_the_list_of_jobs_comes_in_pages_newest_first(carnet_dev: CarnetDev, client: Client) -> None:
    names = [(await run(client, script(carnet_dev.facts(), "pass")))[0].name for _ in range(3)]
    page = await client.jobs(page_size=2)
    assert [job.name for job in page.jobs] == [names[2], names[1]]
    rest = await client.jobs(page_size=1000, page_token=page.next_page_token)
    assert rest.jobs[0].name == names[0]
    assert rest.next_page_token == ""
    with pytest.raises(PageTokenInvalid):
        await client.jobs(page_token=page.next_page_token[:-4] + "AAAA")


async def test_a_job_s_documents_are_given_back_to_its_owner(carnet_dev: CarnetDev, client: Client) -> None:
    prepared = await client.prepare(carnet_dev.facts())
    sealed = await client.seal(script(carnet_dev.facts(), "pass"), prepared)
    name = await client.submit(sealed)
    assert (await client.written(name)).manifest == sealed.manifest
    await follow(client, name, Seen())


async def test_another_tenant_s_job_is_answered_like_one_that_is_not_there(
    carnet_dev: CarnetDev, client: Client
) -> None:
    outcome, _ = await run(client, script(carnet_dev.facts(), "pass"))
    _, tenant, _, job = outcome.name.split("/")
    foreign = f"tenants/{secrets.token_hex(16)}/jobs/{job}"
    unknown = f"tenants/{tenant}/jobs/{secrets.token_hex(16)}"
    for name in (foreign, unknown):
        for ask in (client.job, client.cancel, client.result):
            with pytest.raises(NotFound):
                await ask(name)
        with pytest.raises(NotFound):
            await follow(client, name, Seen())
    with pytest.raises(FieldInvalid):
        await client.job(outcome.name.upper())


async def test_a_watch_of_a_job_that_has_ended_ends_wherever_it_begins(carnet_dev: CarnetDev, client: Client) -> None:
    outcome, seen = await run(client, script(carnet_dev.facts(), "print(1)"))
    again = await follow(client, outcome.name, Seen(), seconds=10)
    assert (again.kinds, again.log) == (seen.kinds, seen.log)


async def test_an_offered_runner_with_another_sandbox_profile_is_turned_down_by_the_client(
    carnet_dev: CarnetDev,
) -> None:
    context = replace(carnet_dev.load(), template_digest=bytes(32))
    async with Client(context) as suspicious:
        prepared = await suspicious.prepare(carnet_dev.facts())
    assert prepared.runners == ()
    assert {rejection.by for rejection in prepared.rejected} == {"client"}
