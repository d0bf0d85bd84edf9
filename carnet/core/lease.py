"""Lease: who may work on a job now. A grant names the attempt; only renewals give time.

- A Grant is immutable: manifest, attempt (the fencing token, strictly rising), runner, key, permit, and a checkpoint
  of the log that covers the dispatch decision's leaf. It gives no time at all.
- A Renewal answers one ask of the runner, by the runner's own sequence number. The runner's deadline is the monotonic
  time at which it asked + duration - margin; the gateway's is its own time + duration + margin, durable before the
  reply.
- No renewal reaches past the permit's `valid_until_ns`.
- A lease lasts `limits.lease_seconds`, or less where the gateway is so configured (two margins at least); the runner
  asks again after a third of what it was given.
- `Lease` is the gateway's side, `HeldLease` the runner's; both are values that take `now`.
"""

import hashlib
from dataclasses import dataclass, replace

from carnet.core import limits
from carnet.core.errors import Bug, LeaseLost, StatementInvalid

SECOND = 10**9
ask_again_seconds = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One attempt of one job on one runner, signed by the gateway."""

    payload: bytes
    manifest_digest: bytes
    attempt: int
    spiffe_id: str
    kid: bytes
    permit_digest: bytes
    checkpoint: bytes
    issued_ns: int

    def __post_init__(self) -> None:
        if not 1 <= self.attempt <= 2**31 or len(self.manifest_digest) != 32 or len(self.permit_digest) != 32:
            raise StatementInvalid("A grant's attempt or digests are out of bounds.")

    @property
    def digest(self) -> bytes:
        """SHA-256 over the signed bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """Time for a grant: an answer to the runner's ask `sequence`."""

    payload: bytes
    grant_digest: bytes
    sequence: int
    duration_ms: int

    def __post_init__(self) -> None:
        if self.sequence < 1 or not 0 < self.duration_ms <= limits.lease_seconds * 1000:
            raise StatementInvalid("A renewal's sequence or duration is out of bounds.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The gateway's side: the attempt that may deliver, until `deadline_ns` of the gateway's clock."""

    attempt: int
    spiffe_id: str
    grant_digest: bytes
    deadline_ns: int
    permit_until_ns: int

    def live(self, *, now_ns: int) -> bool:
        """Whether the runner may still hold this lease."""
        return now_ns < self.deadline_ns

    def renew(self, *, now_ns: int, lease_seconds: int = limits.lease_seconds) -> "tuple[Lease, int]":
        """The extended lease and the duration in ms to tell the runner. Raises `LeaseLost` once it has run out."""
        if not self.live(now_ns=now_ns):
            raise LeaseLost
        until_ns = min(now_ns + _checked(lease_seconds) * SECOND, self.permit_until_ns)
        duration_ms = (until_ns - now_ns) // 10**6
        if duration_ms <= limits.lease_margin_seconds * 1000:
            raise LeaseLost("The permit of this attempt has run out.")
        deadline_ns = max(self.deadline_ns, until_ns + limits.lease_margin_seconds * SECOND)
        return replace(self, deadline_ns=deadline_ns), duration_ms

    def check_fence(self, *, attempt: int, spiffe_id: str, grant_digest: bytes, now_ns: int) -> None:
        """Raise `LeaseLost` unless this attempt of this runner is the live one."""
        same = (attempt, spiffe_id, grant_digest) == (self.attempt, self.spiffe_id, self.grant_digest)
        if not same or not self.live(now_ns=now_ns):
            raise LeaseLost


def grant_lease(
    *,
    attempt: int,
    spiffe_id: str,
    grant_digest: bytes,
    permit_until_ns: int,
    now_ns: int,
    lease_seconds: int = limits.lease_seconds,
) -> Lease:
    """A fresh lease: live for one lease time, in which the runner must ask for renewal 1."""
    deadline_ns = now_ns + (_checked(lease_seconds) + limits.lease_margin_seconds) * SECOND
    return Lease(
        attempt=attempt,
        spiffe_id=spiffe_id,
        grant_digest=grant_digest,
        deadline_ns=deadline_ns,
        permit_until_ns=permit_until_ns,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLease:
    """The runner's side, on its monotonic clock. It holds nothing until renewal 1 was answered."""

    grant_digest: bytes
    asked_sequence: int = 0
    asked_at: float = 0.0
    deadline: float = 0.0
    given: float = 0.0

    def ask(self, *, monotonic: float) -> "HeldLease":
        """The lease with one more ask under way."""
        return replace(self, asked_sequence=self.asked_sequence + 1, asked_at=monotonic)

    def answer(self, renewal: Renewal) -> "HeldLease":
        """The lease with the time that this renewal gives. Raises `StatementInvalid` for any but the last ask."""
        if renewal.grant_digest != self.grant_digest or renewal.sequence != self.asked_sequence:
            raise StatementInvalid("The renewal does not answer the last ask.")
        deadline = self.asked_at + renewal.duration_ms / 1000 - limits.lease_margin_seconds
        return replace(self, deadline=max(self.deadline, deadline), given=renewal.duration_ms / 1000)

    def live(self, *, monotonic: float) -> bool:
        """Whether work may go on."""
        return monotonic < self.deadline

    @property
    def ask_next(self) -> float:
        """When to ask again, on the monotonic clock: after a third of what was last given; soon, before the first."""
        pause = min(float(limits.lease_renew_seconds), self.given / 3) if self.given else float(ask_again_seconds)
        return self.asked_at + pause


def _checked(lease_seconds: int) -> int:
    if not limits.lease_seconds_min <= lease_seconds <= limits.lease_seconds:
        raise Bug(detail="a lease's length is out of bounds")
    return lease_seconds
