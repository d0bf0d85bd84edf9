"""Lines of the decision log, as values, and what may be asked of the store about them.

Rules:
- A line stands beside its decision, written in the batch that inserts it: what decided, and how, without the facts.
- Event and sealed input are for a time: past `until_ns` they are removed, and the line says no more than the decision.
- Neither is parsed here; the event was masked before, and nobody at the gateway can open the sealed input.
"""

from dataclasses import dataclass
from enum import StrEnum

from carnet.core import limits
from carnet.core.decision import Verdict
from gateway.storage.records import check_bound, check_size, check_times


class Stage(StrEnum):
    """When a decision was made: for a client that asked, or for the runner that is about to get the job."""

    PREPARED = "prepared"
    DISPATCHED = "dispatched"


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLine:
    """One decision, by the digest of its record. `job_id` is empty for one that was prepared; `bundle` a revision."""

    digest: bytes
    tenant_id: bytes
    stage: Stage
    verdict: Verdict
    bundle: str
    created_ns: int
    job_id: bytes = b""

    def __post_init__(self) -> None:
        check_size("digest", self.digest, 32)
        check_size("tenant_id", self.tenant_id, 16)
        check_size("job_id", self.job_id, 16 if self.job_id else 0)
        check_times(self.created_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEvent:
    """What is kept of a decision for a time: the masked event, and the input sealed for a tenant that has a key."""

    digest: bytes
    event: bytes
    sealed_input: bytes
    until_ns: int

    def __post_init__(self) -> None:
        check_size("digest", self.digest, 32)
        check_bound("event", self.event, limits.event_bytes_max)
        check_bound("sealed_input", self.sealed_input, limits.input_bytes_max + limits.sealed_bytes_min)
        check_times(self.until_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogDecision:
    """A line and its event. The same decision again changes nothing; it must be in the store, or in the batch."""

    line: DecisionLine
    event: DecisionEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetEvents:
    """Remove events and sealed inputs whose time has passed."""

    now_ns: int
