"""Whatever is written in whatever order: acknowledged writes are there exactly once, and the log has no gap."""

import asyncio
import hashlib
import tempfile
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carnet.core.audit import check_logged
from carnet.core.errors import JobIdTaken
from carnet.core.job import JobState
from gateway.storage import queries
from gateway.storage.operations import Batch, RememberRequest, UpdateJob, Written
from gateway.storage.records import Conflict, NewEntry, NewEvent
from gateway.storage.store import SqliteStore
from tests.fixtures.stored import ORIGIN, TENANT, accepted, decided, job, open_store

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
STATES = [state for state in JobState if state is not JobState.CANCELLING]  # which needs a cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One write of one client: which job, which of two manifests, and what is done once it is there."""

    job: int
    manifest: int
    state: JobState
    leaves: int
    request: int | None
    pause: int


ACTS = st.lists(
    st.builds(
        Act,
        job=st.integers(0, 4),
        manifest=st.integers(0, 1),
        state=st.sampled_from(STATES),
        leaves=st.integers(0, 3),
        request=st.none() | st.integers(0, 3),
        pause=st.integers(0, 3),
    ),
    max_size=40,
)


class Books:
    """What the clients were told."""

    def __init__(self) -> None:
        self.leaves: dict[int, bytes] = {}
        self.inserted: Counter[bytes] = Counter()
        self.steps: Counter[bytes] = Counter()
        self.answered: Counter[int] = Counter()

    def note(self, batch: Batch, written: Written) -> None:
        if not written.applied:
            assert written.logged == ()
            return
        assert len(written.logged) == len(batch.entries)
        for entry, logged in zip(batch.entries, written.logged, strict=True):
            assert logged.index not in self.leaves
            assert logged.entry == entry.data
            check_logged(
                logged.entry, logged.index, logged.path, logged.checkpoint, origin=ORIGIN, public=KEY.public_key()
            )
            self.leaves[logged.index] = entry.data


async def play(store: SqliteStore, books: Books, number: int, act: Act) -> None:
    """Insert a job (or find it there), then move it on, with as many leaves as the act says."""
    for _ in range(act.pause):
        await asyncio.sleep(0)
    job_id = hashlib.sha256(b"job %d" % act.job).digest()[:16]
    batch = accepted(job(job_id, manifest=b"%d" % act.manifest))
    batch = replace(batch, entries=tuple(NewEntry(kind="x", data=b"%d %d" % (number, i)) for i in range(act.leaves)))
    try:
        written = await store.write(batch)
    except JobIdTaken:
        return
    books.note(batch, written)
    books.inserted[job_id] += written.applied
    found = written.jobs[0]
    event = NewEvent.of("step", found.life, time_ns=number)
    moved = Batch(
        operations=(UpdateJob(job=replace(found, life=replace(found.life, state=act.state)), events=(event,)),),
        entries=(NewEntry(kind="x", data=b"step %d" % number),),
    )
    if act.request is not None:
        request = RememberRequest(
            tenant_id=TENANT, request_id=bytes([act.request] * 16), body_digest=bytes(32), response=b"", created_ns=1
        )
        moved = replace(moved, operations=(*moved.operations, request))
    try:
        done = await store.write(moved)
    except Conflict:
        return
    books.note(moved, done)
    books.steps[job_id] += done.applied
    if act.request is not None:
        books.answered[act.request] += done.applied


async def check(store: SqliteStore, books: Books) -> None:
    """The rows say what the clients were told, no more and no less."""
    leaves = await store.read(queries.entries, start=0, limit=1000)
    assert {leaf.index: leaf.data for leaf in leaves} == books.leaves | {0: b"decision"}
    assert [leaf.index for leaf in leaves] == list(range(len(leaves)))
    assert set(books.inserted.values()) <= {0, 1}
    assert set(books.answered.values()) <= {0, 1}
    for stored in await store.read(queries.jobs_of, TENANT, limit=100):
        steps = books.steps[stored.key.job_id]
        assert books.inserted[stored.key.job_id] == 1
        assert (stored.version, stored.events_next) == (1 + steps, 1 + steps)
        events = await store.read(queries.events, stored.key)
        assert [event.index for event in events] == list(range(1 + steps))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(acts=ACTS)
def test_acknowledged_writes_are_there_exactly_once_and_the_log_has_no_gap(acts: list[Act]) -> None:
    async def run(path: Path) -> None:
        store = await open_store(path, KEY)
        await store.write(decided())
        books = Books()
        await asyncio.gather(*(play(store, books, number, act) for number, act in enumerate(acts)))
        await check(store, books)
        await store.close()
        again = await open_store(path, KEY)
        await check(again, books)
        await again.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder) / "store.db"))
