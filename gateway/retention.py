"""Retention: ciphertext that is past its time is removed.

- A payload goes when its job ends: its wraps are destroyed then, and nobody can open it. `sweep` removes what a crash
  left of one.
- Results stay for `limits.retention_days` after the job ended, or for as long as the decision that it was sealed under
  allows (`retention_days_max`), whichever is shorter. Decisions, receipts and the log stay.
"""

from carnet.core import limits
from carnet.core.decision import Obligation, parse_body
from gateway.lives import ENDED
from gateway.storage.blobs import BlobStore, Payload, Result
from gateway.storage.records import JobKey, StoredJob
from gateway.storage.store import Store

DAY_NS = 24 * 3600 * 10**9


async def sweep(store: Store, blobs: BlobStore, *, now_ns: int) -> int:
    """Remove what is past its time, of every job that has ended; how many results went.

    What is kept is asked of the disk, so that a round costs as much as there is to keep, and not as much as ever ran.
    """
    removed = 0
    for key in await blobs.jobs():
        job = await store.job(key)
        if job is not None and job.life.state in ENDED:
            removed += await _sweep_job(store, blobs, job, now_ns=now_ns)
    return removed


async def _sweep_job(store: Store, blobs: BlobStore, job: StoredJob, *, now_ns: int) -> int:
    await blobs.delete(Payload(key=job.key, manifest_digest=job.manifest_digest))
    results = [result for result in _results(job.key, job.life.attempt) if await blobs.sizes(result)]
    if not results or now_ns < job.updated_ns + await _days(store, job) * DAY_NS:
        return 0
    for result in results:
        await blobs.delete(result)
    return len(results)


def _results(key: JobKey, attempts: int) -> list[Result]:
    return [Result(key=key, attempt=number) for number in range(1, attempts + 1)]


async def _days(store: Store, job: StoredJob) -> int:
    decision = await store.decision(job.decision_digest)
    if decision is None:
        return 0
    return days_of(parse_body(decision.body).obligations)


def days_of(obligations: tuple[Obligation, ...]) -> int:
    """The days that results may be kept."""
    found = [o.value for o in obligations if o.type == "retention_days_max" and isinstance(o.value, int)]
    return min([*found, limits.retention_days])
