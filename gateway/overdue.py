"""What is overdue in a job's life: the one event, if any, that the sweep of dispatch must bring about now.

- A lease that ran out; a claim that never got its grant; a deadline that passed; a stop that nobody is left to confirm.
- A runner that came back without the key of its attempt: its old process is gone, and the attempt with it.
"""

from carnet.core.job import JobState as State
from carnet.core.lifecycle import AttemptClosed, AttemptLost, DeadlinePassed, Event
from gateway.roster import Roster
from gateway.storage.records import StoredJob


def overdue(job: StoredJob, roster: Roster, *, now_ns: int, lease_seconds: int) -> Event | None:
    """The event that is due."""
    lost = _lost(job, roster, now_ns=now_ns, lease_seconds=lease_seconds)
    if lost:
        return AttemptClosed() if job.life.state is State.CANCELLING else AttemptLost(reason=lost)
    if now_ns >= job.life.deadline_ns and job.life.state is not State.CANCELLING:
        return DeadlinePassed()
    return None


def _lost(job: StoredJob, roster: Roster, *, now_ns: int, lease_seconds: int) -> str:
    if job.lease is None:
        if job.life.state is State.CANCELLING:
            return "NO_GRANT"
        waited_ns = now_ns - job.updated_ns
        return "NO_GRANT" if job.life.state is State.DISPATCHING and waited_ns > lease_seconds * 10**9 else ""
    if not job.lease.live(now_ns=now_ns):
        return "LEASE_EXPIRED"
    presence, current = roster.find(job.lease.spiffe_id), job.life.current
    restarted = presence is not None and current is not None and not presence.runner.opens(current.kid)
    return "RUNNER_RESTARTED" if restarted else ""
