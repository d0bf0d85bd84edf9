"""What a client is told: the answer to prepare, how a job stands, what happened to it, and how it ended.

- `Prepared`, `Outcome`: verified by the client itself before they exist.
- `Event`, `JobSummary`, `Rejection`: the gateway's word, good for showing; nothing is built on it.

    prepared = await client.prepare(facts)
    if prepared.denied:
        print(prepared.decided.body.reasons)
"""

from dataclasses import dataclass, field

from carnet.core.decision import Reason, Verdict
from carnet.core.errors import CarnetError, JobFailed, NoCapacity, PolicyDenied, StatementInvalid
from carnet.core.facts import JobFacts
from carnet.core.job import JobState
from carnet.core.receipt import ExitClass
from carnet.inbox import ResultFile
from carnet.proof import VerifiedReceipt
from carnet.v1 import jobs_pb2
from carnet.verdict import Decided
from carnet.vetting import VettedRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDenial:
    """What a rule says of a runner or a place: the sentence, its citations, and what would make it permitted."""

    rule: str
    text: str
    citations: tuple[str, ...]
    fix: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A runner that will not be used, and why: what is first in the way, all of it in words, and what policy says.

    `by` says whether the gateway or the client itself turned it down.
    """

    runner: str
    jurisdiction: str
    reason: str
    text: str
    by: str
    denials: tuple[RuleDenial, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The answer to prepare: the decision, the runners that the client itself vetted, and what was turned down.

    `words` is what the gateway says of rules in the way of places that were asked about, by rule: good for showing.
    """

    facts: JobFacts
    decided: Decided
    runners: tuple[VettedRunner, ...]
    rejected: tuple[Rejection, ...]
    words: dict[str, RuleDenial] = field(default_factory=dict)

    @property
    def denied(self) -> bool:
        """Whether policy permits the job nowhere."""
        return self.decided.body.verdict is Verdict.DENY

    @property
    def waits(self) -> bool:
        """Whether other persons must approve the job before it may run."""
        return self.decided.body.verdict is Verdict.REVIEW


class Denied(PolicyDenied):
    """Policy does not permit this job."""

    def __init__(self, prepared: Prepared) -> None:
        super().__init__(metadata={"verdict": prepared.decided.body.verdict})
        self.prepared = prepared

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """What each rule did."""
        return self.prepared.decided.body.reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a job."""

    index: int
    time_ns: int
    kind: str
    state: JobState
    attempt: int
    runner: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended: its receipt, verified, the receipt file, and the opened results."""

    name: str
    receipt: VerifiedReceipt
    receipt_file: bytes
    results: tuple[ResultFile, ...]

    @property
    def succeeded(self) -> bool:
        """Whether the job itself succeeded."""
        return self.receipt.receipt.exit_class is ExitClass.SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSummary:
    """How one job stands. `reason` says why it ended without success, `runner` and `jurisdiction` who has it."""

    name: str
    state: JobState
    created_ns: int
    updated_ns: int
    attempt: int
    runner: str
    jurisdiction: str
    reason: str
    manifest_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """Some of a tenant's jobs, newest first; an empty token means that there are no more."""

    jobs: tuple[JobSummary, ...]
    next_page_token: str


def rejection_of(message: jobs_pb2.Rejected) -> Rejection:
    """A rejection as the gateway tells it."""
    return Rejection(
        runner=message.runner,
        jurisdiction=message.jurisdiction,
        reason=message.reason,
        text=message.text,
        by="gateway",
        denials=tuple(map(denial_of, message.denials)),
    )


def denial_of(message: jobs_pb2.RuleDenial) -> RuleDenial:
    """What a rule says, as the gateway tells it."""
    return RuleDenial(rule=message.rule, text=message.text, citations=tuple(message.citations), fix=tuple(message.fix))


def ended_without_receipt(last: Event | None) -> CarnetError:
    """The error for a job that ended with no receipt to fetch."""
    if last is None:
        return StatementInvalid("The gateway ended the watch without an event.")
    text = f"The job ended {last.state}" + (f" ({last.reason})." if last.reason else ".")
    metadata = {"state": str(last.state)}
    match last.state:
        case JobState.DENIED:
            return PolicyDenied("Policy no longer permits this job.", metadata=metadata)
        case JobState.FAILED:
            return NoCapacity(text, metadata=metadata)
        case _:
            return JobFailed(text, metadata=metadata)


def event_of(message: jobs_pb2.JobEvent) -> Event:
    """An event from its message."""
    return Event(
        index=message.index,
        time_ns=message.time_ns,
        kind=message.kind,
        state=state_of(message.state),
        attempt=message.attempt,
        runner=message.runner,
        reason=message.reason,
    )


def summary_of(message: jobs_pb2.Job) -> JobSummary:
    """A summary from its message."""
    return JobSummary(
        name=message.name,
        state=state_of(message.state),
        created_ns=message.created_ns,
        updated_ns=message.updated_ns,
        attempt=message.attempt,
        runner=message.runner,
        jurisdiction=message.jurisdiction,
        reason=message.reason,
        manifest_digest=message.manifest_digest,
    )


def state_of(number: "jobs_pb2.Job.State.ValueType") -> JobState:
    """The state of a number. Raises `StatementInvalid` for one that is not known here."""
    try:
        return JobState[jobs_pb2.Job.State.Name(number).removeprefix("STATE_")]
    except (KeyError, ValueError) as error:
        raise StatementInvalid("The gateway names a state that is not known here.") from error
