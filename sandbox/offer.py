"""An offer, judged by the runner itself before anything is opened.

Rules, all of them held before a byte of the job is fetched:
- The manifest is signed by a client of a tenant whose root this operator pinned; a key set older than one seen is
  refused.
- Permit and grant are signed by the pinned gateway, of this very manifest, runner, key and card; the dispatch
  decision's leaf is in the log under the checkpoint that the grant names, and commits to the permit.
- Runner, permit, recipient entry and certificate name one jurisdiction, and the manifest allows it.
- The attempt is above every attempt that this process has seen of the same job, under any key.
- Image, mode, resources, isolation and sandbox profile are what this runner can honour; every obligation is known.
"""

from dataclasses import dataclass, field
from typing import Final

from carnet import statements
from carnet.authorship import Written, open_written
from carnet.core import limits
from carnet.core.decision import Permit, RunnerObligation, check_permit_obligations
from carnet.core.errors import FieldInvalid, ImageNotAllowed, Refused, StatementInvalid
from carnet.core.job import Manifest, find_recipient
from carnet.core.lease import Grant
from carnet.core.runner import Isolation, RunnerCard
from carnet.core.statement import Signed
from carnet.pins import Pins
from carnet.verdict import check_commits, open_gateway, open_logged
from carnet.wire import Logged

SECOND: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What the gateway offers; nothing of it is verified yet. The wrap is 1168 bytes."""

    key_set: Signed
    manifest: Signed
    addenda: tuple[Signed, ...]
    permit: Signed
    grant: Signed
    decision: Logged
    wrap: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedOffer:
    """A job that this runner may work on, once it holds time for it."""

    written: Written
    permit: Permit
    grant: Grant
    wrap: bytes
    addendum_digest: bytes | None

    @property
    def manifest(self) -> Manifest:
        """The signed manifest."""
        return self.written.manifest


@dataclass(slots=True, kw_only=True)
class Memory:
    """What this process has seen: the highest attempt of each job until it can not be offered again, and key sets."""

    attempts: dict[tuple[bytes, bytes], tuple[int, int]] = field(default_factory=dict)
    sequences: dict[bytes, int] = field(default_factory=dict)

    def note(self, offer: AcceptedOffer) -> None:
        """Remember an offer that was accepted."""
        manifest, keys = offer.manifest, offer.written.key_set
        until_ns = manifest.not_after_ns + limits.clock_skew_seconds_max * SECOND
        self.attempts[manifest.tenant_id, manifest.digest] = (offer.grant.attempt, until_ns)
        self.sequences[keys.tenant_id] = max(keys.sequence, self.sequences.get(keys.tenant_id, 0))

    def forget(self, *, now_ns: int) -> None:
        """Drop what can not be offered any more."""
        self.attempts = {key: seen for key, seen in self.attempts.items() if now_ns < seen[1]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Self:
    """What the runner is: its name, place, and the card that it signed."""

    spiffe_id: str
    jurisdiction: str
    card: RunnerCard


def judge_offer(offer: Offer, *, runner: Self, pins: Pins, memory: Memory, now_ns: int) -> AcceptedOffer:
    """Judge an offer. Raises the error that names what was wrong; nothing was opened then."""
    permit = open_gateway(statements.PERMIT, offer.permit, pins=pins.gateway)
    grant = open_gateway(statements.GRANT, offer.grant, pins=pins.gateway)
    tenant = next((t for t in pins.tenants if t.root.keyid == offer.key_set.keyid), None)
    written = open_written(
        offer.key_set,
        offer.manifest,
        offer.addenda,
        tenants=pins.tenants,
        sequence_seen=memory.sequences.get(tenant.tenant_id, 0) if tenant is not None else 0,
        now_ns=now_ns,
    )
    _check_grant(grant, permit, written.manifest, runner)
    _check_permit(permit, written, runner, now_ns=now_ns)
    _check_logged(offer.decision, grant, permit, written.manifest, pins=pins)
    _check_replay(grant, written.manifest, memory, now_ns=now_ns)
    _check_shape(written.manifest, permit.obligations, runner.card)
    return AcceptedOffer(
        written=written,
        permit=permit,
        grant=grant,
        wrap=offer.wrap,
        addendum_digest=_addendum(written, runner, grant),
    )


def _check_grant(grant: Grant, permit: Permit, manifest: Manifest, runner: Self) -> None:
    expected: dict[str, tuple[object, object]] = {
        "manifest": (grant.manifest_digest, manifest.digest),
        "permit": (grant.permit_digest, permit.digest),
        "runner": (grant.spiffe_id, runner.spiffe_id),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise StatementInvalid(f"The grant's {name} is another.", metadata={"field": name})
    if not 1 <= grant.attempt <= manifest.attempts_max:
        raise StatementInvalid("The grant's attempt is beyond what the manifest allows.")


def _check_permit(permit: Permit, written: Written, runner: Self, *, now_ns: int) -> None:
    manifest = written.manifest
    expected: dict[str, tuple[object, object]] = {
        "manifest": (permit.manifest_digest, manifest.digest),
        "facts": (permit.facts_digest, manifest.facts_digest),
        "runner": (permit.spiffe_id, runner.spiffe_id),
        "card": (permit.card_digest, runner.card.digest),
        "jurisdiction": (permit.jurisdiction, runner.jurisdiction),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise StatementInvalid(f"The permit's {name} is another.", metadata={"field": name})
    if permit.prepare_decision_digest not in written.decision_digests:
        raise StatementInvalid("The permit names a decision that the client did not seal under.")
    if permit.jurisdiction not in manifest.allowed_jurisdictions:
        raise StatementInvalid("The manifest does not allow this jurisdiction.")
    skew_ns = limits.clock_skew_seconds_max * SECOND
    if now_ns >= permit.valid_until_ns or not manifest.created_ns - skew_ns <= now_ns < manifest.not_after_ns:
        raise StatementInvalid("The permit or the manifest is not valid now.")
    check_permit_obligations(permit.obligations)


def _check_logged(logged: Logged, grant: Grant, permit: Permit, manifest: Manifest, *, pins: Pins) -> None:
    if logged.checkpoint.encode() != grant.checkpoint:
        raise StatementInvalid("The decision is proven under another checkpoint than the grant's.")
    entry, _ = open_logged(logged, pins=pins.gateway)
    check_commits(
        entry,
        kind="decision.dispatched",
        job_id=manifest.job_id,
        record=permit.record_digest,
        body=permit.body_digest,
        permit=permit.digest,
    )


def _check_replay(grant: Grant, manifest: Manifest, memory: Memory, *, now_ns: int) -> None:
    memory.forget(now_ns=now_ns)
    seen, _ = memory.attempts.get((manifest.tenant_id, manifest.digest), (0, 0))
    if grant.attempt <= seen:
        raise StatementInvalid("This attempt, or a later one, was seen before.")


def _check_shape(manifest: Manifest, obligations: tuple[RunnerObligation, ...], card: RunnerCard) -> None:
    if manifest.template_digest != card.template_digest:
        raise StatementInvalid("The job asks for another sandbox profile.", metadata={"field": "template"})
    floors = [manifest.isolation_min, *(_level(o) for o in obligations if o.type == "isolation_min")]
    if not all(card.isolation.at_least(floor) for floor in floors):
        raise Refused("This runner's isolation is below what the job asks for.", metadata={"field": "isolation"})
    need = manifest.resources
    enough = (
        need.cpu_millis <= card.cpu_millis,
        need.memory_bytes <= card.memory_bytes,
        need.work_bytes <= card.work_bytes,
        need.gpus <= len(card.devices),
    )
    if not all(enough):
        raise FieldInvalid("The job asks for more than this runner has.", metadata={"field": "resources"})
    if not card.takes_image(manifest.image):
        raise ImageNotAllowed(metadata={"field": "image"})


def _level(obligation: RunnerObligation) -> Isolation:
    try:
        return Isolation(obligation.word)
    except ValueError:
        raise StatementInvalid("The permit names an unknown isolation level.") from None


def _addendum(written: Written, runner: Self, grant: Grant) -> bytes | None:
    """The addendum that lists this runner and key, or None for the manifest. Raises where neither does."""
    recipient = find_recipient(written.manifest, written.addenda, spiffe_id=runner.spiffe_id, kid=grant.kid)
    if recipient.jurisdiction != runner.jurisdiction:
        raise StatementInvalid("The recipient entry names another jurisdiction.")
    if recipient in written.manifest.recipients:
        return None
    return next(a.digest for a in written.addenda if recipient in a.recipients)
