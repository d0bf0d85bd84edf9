"""The life of a job, as a table: `advance(job, event, now_ns) -> job, effects`.

Rules:
- Everything that may happen to a job is in `TABLE`; a pair that is not there raises `IllegalTransition`. Nothing is
  ignored silently, and nothing outside this module changes a job's state.
- The table names a rule for each legal pair of state and event. A rule is pure; it may look at the job, the event and
  `now_ns`, and returns the next job and the effects that the gateway must carry out, in order.
- A job is offered to its recipients in the client's order, each once. A lost attempt goes to the next; when no
  recipient is left the job waits in NEEDS_RECIPIENTS; when no attempt is left it has failed.
- CANCELLING remembers why (`cause`); whatever arrives meanwhile, the job ends by that cause.
- A terminal job accepts nothing: a late result raises `LeaseLost`, so that it can be recorded as refused.

    job, effects = advance(job, Claimed(spiffe_id="spiffe://..."), now_ns=now)
    for effect in effects: ...
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from carnet.core import limits
from carnet.core.errors import IllegalTransition, LeaseLost
from carnet.core.job import JobState as State
from carnet.core.receipt import ExitClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One recipient of the job, as the lifecycle sees it. `spent` once it was tried or may never be."""

    spiffe_id: str
    jurisdiction: str
    kid: bytes
    spent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job's place in its life. `attempt` is the fencing token: 0 before the first, then strictly rising."""

    state: State = State.PENDING
    attempt: int = 0
    attempts_max: int = 1
    deadline_ns: int
    contenders: tuple[Contender, ...] = ()
    runner: str = ""
    cause: State | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not 1 <= self.attempts_max <= limits.attempts_max or not 0 <= self.attempt <= self.attempts_max:
            raise IllegalTransition("A job's attempts are out of bounds.")
        if len({c.kid for c in self.contenders}) != len(self.contenders):
            raise IllegalTransition("A job lists the same recipient twice.")
        if self.state is State.CANCELLING and self.cause is None:
            raise IllegalTransition("A job that is being cancelled needs a cause.")

    @property
    def next_contender(self) -> Contender | None:
        """The recipient to offer the job to, in the client's order."""
        return next((c for c in self.contenders if not c.spent), None)

    @property
    def current(self) -> Contender | None:
        """The recipient that holds the attempt, if one does: of two keys of one runner, the one tried last."""
        return next((c for c in reversed(self.contenders) if c.spiffe_id == self.runner and c.spent), None)


# --- events: what can happen -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The upload is complete and durable. `approval` where the decision asks for a second person first."""

    approval: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadFailed:
    """The upload broke or took too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A second person approved the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRefused:
    """A second person refused the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """Policy permits the job on this recipient now, and its runner has room."""

    spiffe_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientDenied:
    """Policy no longer permits this recipient."""

    spiffe_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeniedForAll:
    """Policy no longer permits the job at all."""

    reason: str = "POLICY_DENIED"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientGone:
    """This recipient can not open the job any more: its runner was restarted, or is away or not vouched for."""

    spiffe_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The runner's Start arrived under the live lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptLost:
    """The offer was refused, the lease ran out, or the runner's host failed."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptArrived:
    """The runner's Receipt arrived under the live lease."""

    exit_class: ExitClass


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAsked:
    """The owner cancelled the job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalDenied:
    """Policy was asked again at a renewal, and denied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """The job's time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientsAdded:
    """The client added recipients."""

    contenders: tuple[Contender, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptClosed:
    """The runner confirmed that it stopped, or its lease ran out while the job was being cancelled."""


Event = (
    Accepted
    | UploadFailed
    | Approved
    | ApprovalRefused
    | Claimed
    | RecipientDenied
    | DeniedForAll
    | RecipientGone
    | Started
    | AttemptLost
    | ReceiptArrived
    | CancelAsked
    | RenewalDenied
    | DeadlinePassed
    | RecipientsAdded
    | AttemptClosed
)


# --- effects: what the gateway must do ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueue:
    """Look for a recipient to offer the job to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Offer the job to this recipient, as this attempt."""

    contender: Contender
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoke:
    """Tell the runner of the attempt to stop."""

    spiffe_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DropUpload:
    """Remove all that was stored of the upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropWraps:
    """Destroy the wraps: no recipient may open the job any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOutcome:
    """Append the job's one outcome leaf."""

    state: State
    reason: str


Effect = Enqueue | Offer | Revoke | DropUpload | DropWraps | LogOutcome
Step = tuple[Job, tuple[Effect, ...]]


def advance(job: Job, event: Event, *, now_ns: int) -> Step:
    """The job after an event, and what must be done. Raises `IllegalTransition`, or `LeaseLost` on a late result."""
    rule = TABLE.get((job.state, type(event)))
    if rule is None:
        if isinstance(event, ReceiptArrived | Started):
            raise LeaseLost(detail=f"{type(event).__name__} in {job.state}")
        raise IllegalTransition(detail=f"{type(event).__name__} in {job.state}")
    return rule(job, event, now_ns)


# --- rules -------------------------------------------------------------------------------------------------------


def _end(job: Job, state: State, reason: str = "") -> Step:
    ended = replace(job, state=state, reason=reason)
    return ended, (DropWraps(), LogOutcome(state=state, reason=reason))


def _accept(job: Job, event: Event, _: int) -> Step:
    assert isinstance(event, Accepted)
    if event.approval:
        return replace(job, state=State.AWAITING_APPROVAL), ()
    return _requeue(job)


def _drop(job: Job, _: Event, __: int) -> Step:
    return replace(job, state=State.FAILED, reason="UPLOAD_FAILED"), (DropUpload(),)


def _approve(job: Job, _: Event, __: int) -> Step:
    return replace(job, state=State.NEEDS_RECIPIENTS), ()


def _claim(job: Job, event: Event, _: int) -> Step:
    assert isinstance(event, Claimed)
    contender = _unspent(job, event.spiffe_id)
    claimed = replace(
        _spend(job, contender), state=State.DISPATCHING, attempt=job.attempt + 1, runner=contender.spiffe_id
    )
    return claimed, (Offer(contender=contender, attempt=claimed.attempt),)


def _pass_over(job: Job, event: Event, _: int) -> Step:
    assert isinstance(event, RecipientDenied | RecipientGone)
    return _requeue(_spend(job, _unspent(job, event.spiffe_id)))


def _start(job: Job, _: Event, __: int) -> Step:
    return replace(job, state=State.RUNNING), ()


def _lose(job: Job, event: Event, _: int) -> Step:
    assert isinstance(event, AttemptLost)
    revoke = Revoke(spiffe_id=job.runner, reason="LEASE_LOST")
    if job.attempt >= job.attempts_max:
        failed, effects = _end(replace(job, runner=""), State.FAILED, event.reason)
        return failed, (revoke, *effects)
    queued, effects = _requeue(replace(job, runner=""))
    return queued, (revoke, *effects)


def _receive(job: Job, event: Event, now_ns: int) -> Step:
    assert isinstance(event, ReceiptArrived)
    if event.exit_class is ExitClass.SUCCEEDED:
        return _end(job, State.SUCCEEDED)
    if event.exit_class in (ExitClass.INFRA_LOST, ExitClass.LEASE_LOST):
        return _lose(job, AttemptLost(reason=event.exit_class.value.upper()), now_ns)
    return _end(job, State.FAILED, event.exit_class.value.upper())


def _deny(job: Job, event: Event, _: int) -> Step:
    return _end(job, State.DENIED, event.reason if isinstance(event, DeniedForAll) else "POLICY_DENIED")


def _cancel(job: Job, _: Event, __: int) -> Step:
    return _end(job, State.CANCELLED)


def _expire(job: Job, _: Event, __: int) -> Step:
    return _end(job, State.EXPIRED, "DEADLINE")


def _stop_for(cause: State, reason: str) -> "Rule":
    def rule(job: Job, _: Event, __: int) -> Step:
        """Revoke the attempt; the job ends once its runner, or its lease, says so."""
        stopping = replace(job, state=State.CANCELLING, cause=cause, reason=reason)
        return stopping, (DropWraps(), Revoke(spiffe_id=job.runner, reason="CANCELLED"))

    return rule


def _close(job: Job, _: Event, __: int) -> Step:
    assert job.cause is not None
    return _end(job, job.cause, job.reason)


def _add(job: Job, event: Event, _: int) -> Step:
    assert isinstance(event, RecipientsAdded)
    if any(contender.spent for contender in event.contenders):
        raise IllegalTransition(detail="a new recipient can not be spent")
    return _requeue(replace(job, contenders=job.contenders + event.contenders))


def _requeue(job: Job) -> Step:
    if job.next_contender is None:
        return replace(job, state=State.NEEDS_RECIPIENTS), ()
    return replace(job, state=State.QUEUED), (Enqueue(),)


def _unspent(job: Job, spiffe_id: str) -> Contender:
    for contender in job.contenders:
        if contender.spiffe_id == spiffe_id and not contender.spent:
            return contender
    raise IllegalTransition(detail="no such recipient is left")


def _spend(job: Job, contender: Contender) -> Job:
    contenders = tuple(replace(c, spent=True) if c is contender else c for c in job.contenders)
    return replace(job, contenders=contenders)


Rule = Callable[[Job, Event, int], Step]

_stop_cancelled = _stop_for(State.CANCELLED, "")
_stop_denied = _stop_for(State.DENIED, "POLICY_DENIED")
_stop_expired = _stop_for(State.EXPIRED, "DEADLINE")

TABLE: Final[dict[tuple[State, type[Event]], Rule]] = {
    (State.PENDING, Accepted): _accept,
    (State.PENDING, UploadFailed): _drop,
    (State.AWAITING_APPROVAL, Approved): _approve,
    (State.AWAITING_APPROVAL, ApprovalRefused): _deny,
    (State.AWAITING_APPROVAL, CancelAsked): _cancel,
    (State.AWAITING_APPROVAL, DeadlinePassed): _expire,
    (State.QUEUED, Claimed): _claim,
    (State.QUEUED, RecipientDenied): _pass_over,
    (State.QUEUED, RecipientGone): _pass_over,
    (State.QUEUED, DeniedForAll): _deny,
    (State.QUEUED, CancelAsked): _cancel,
    (State.QUEUED, DeadlinePassed): _expire,
    (State.DISPATCHING, Started): _start,
    (State.DISPATCHING, AttemptLost): _lose,
    (State.DISPATCHING, RenewalDenied): _stop_denied,
    (State.DISPATCHING, CancelAsked): _stop_cancelled,
    (State.DISPATCHING, DeadlinePassed): _stop_expired,
    (State.RUNNING, ReceiptArrived): _receive,
    (State.RUNNING, AttemptLost): _lose,
    (State.RUNNING, RenewalDenied): _stop_denied,
    (State.RUNNING, CancelAsked): _stop_cancelled,
    (State.RUNNING, DeadlinePassed): _stop_expired,
    (State.NEEDS_RECIPIENTS, RecipientsAdded): _add,
    (State.NEEDS_RECIPIENTS, CancelAsked): _cancel,
    (State.NEEDS_RECIPIENTS, DeadlinePassed): _expire,
    (State.CANCELLING, AttemptClosed): _close,
    (State.CANCELLING, AttemptLost): _close,
    (State.CANCELLING, ReceiptArrived): _close,
}
