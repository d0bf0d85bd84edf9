"""Decision: what policy answered, and what may be built on it. It can only ever be narrowed.

- A body (`carnet.decision/v1`) is the engine's answer: positive and complete. Without verdict, permitted set, evaluated
  rules, revisions and validity it does not parse, so the absence of a denial never permits anything.
- An obligation that is not in `OBLIGATIONS` makes the whole decision unusable (fail closed).
- `permits` is the one question about a place; a region (ISO 3166-2) follows its country unless a rule blocked it.
- Under `review` nothing is permitted: `permitted` then lists what would be, once enough persons have approved the job.
- `narrow` takes two bodies and keeps only what both permit; nothing in this module adds a place.
- The record around a body is signed by the gateway; a Permit is its short form for one runner.

    body = parse_body(data)
    check_usable(body, now_ns=now)
    body.permits("FR")
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carnet.core import limits
from carnet.core.document import Document, parse
from carnet.core.errors import ApprovalRequired, FieldInvalid, PolicyDenied, StatementInvalid
from carnet.core.facts import check_jurisdiction, country_of
from carnet.core.runner import Isolation

SCHEMA: Final = "carnet.decision/v1"
body_bytes_max: Final = 256 * limits.KIB


class Verdict(StrEnum):
    """The word of a decision."""

    PERMIT = "permit"
    DENY = "deny"
    REVIEW = "review"


class Effect(StrEnum):
    """What a rule did."""

    DENY = "deny"
    OBLIGE = "oblige"
    WARN = "warn"


class Enforcer(StrEnum):
    """Who must see to an obligation."""

    CLIENT = "client"
    GATEWAY = "gateway"
    RUNNER = "runner"


OBLIGATIONS: Final[dict[str, Enforcer]] = {
    "recipients_max": Enforcer.CLIENT,
    "isolation_min": Enforcer.RUNNER,
    "network_none": Enforcer.RUNNER,
    "retention_days_max": Enforcer.GATEWAY,
    "approval": Enforcer.GATEWAY,
}

Parameter = str | int | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """A duty that comes with a permission. `value` is a number or a word, as its type says."""

    type: str
    value: str | int
    rule: str
    citations: tuple[str, ...]
    enforcer: Enforcer


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerObligation:
    """A duty as a permit names it: a number for counts, a word for levels, and no rule text."""

    type: str
    number: int
    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What one rule did: where, by which citation, with which parameters, and what would make it permitted."""

    rule: str
    effect: Effect
    jurisdictions: tuple[str, ...]
    citations: tuple[str, ...]
    message: str
    parameters: tuple[tuple[str, Parameter], ...]
    fix: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExemptionUsed:
    """An exemption without which a place that is permitted would be blocked by its rule. It ends at `expires_ns`."""

    id: str
    rule: str
    expires_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Revisions:
    """Digests of the rules and of the data that answered, as `sha256:` and 64 hex digits."""

    rules: str
    data: str

    @property
    def bundle(self) -> str:
        """The name of rules and data together: the revision of the bundle that holds both."""
        return "sha256:" + hashlib.sha256(f"{self.rules}\n{self.data}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionBody:
    """The engine's whole answer for one job's facts, equal byte for byte on replay.

    `reasons` are about the places that the job asks about; `reasons_elsewhere` are of the rules that keep out none of
    them, for whoever asks about another place.
    """

    payload: bytes
    verdict: Verdict
    permitted: tuple[str, ...]
    blocked: tuple[tuple[str, tuple[str, ...]], ...]
    obligations: tuple[Obligation, ...]
    reasons: tuple[Reason, ...]
    rules_evaluated: tuple[str, ...]
    exemptions_used: tuple[ExemptionUsed, ...]
    unverified_rows_used: tuple[str, ...]
    valid_until_ns: int
    revisions: Revisions
    disclaimer: str
    reasons_elsewhere: tuple[Reason, ...] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the body's bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()

    def permits(self, jurisdiction: str) -> bool:
        """Whether a place is permitted. A region that a rule blocked by name does not follow its country."""
        return self.verdict is Verdict.PERMIT and self.lists(jurisdiction)

    def lists(self, jurisdiction: str) -> bool:
        """Whether a place is permitted, or would be once the job is approved."""
        if any(jurisdiction in places for _, places in self.blocked):
            return False
        return jurisdiction in self.permitted or country_of(jurisdiction) in self.permitted


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerVerdict:
    """Stage 2: what policy says of one runner, by the SHA-256 of its facts.

    `unverified_rows_used` are those of this stage; the decision body names those of the first.
    """

    spiffe_id: str
    jurisdiction: str
    card_digest: bytes
    permitted: bool
    obligations: tuple[Obligation, ...]
    reasons: tuple[Reason, ...]
    valid_until_ns: int
    unverified_rows_used: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortlistEntry:
    """One runner of the short list, as the signed record names it."""

    spiffe_id: str
    jurisdiction: str
    card_digest: bytes
    permitted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """What the gateway signs around a body. Identity = SHA-256 of its payload bytes.

    `unverified_rows_used` are those that stage 2 used beside the body's, for any of the runners.
    """

    payload: bytes
    id: bytes
    tenant_id: bytes
    body_digest: bytes
    facts_digest: bytes
    gateway_facts_digest: bytes
    engine: str
    engine_version: str
    evaluated_ns: int
    valid_until_ns: int
    shortlist: tuple[ShortlistEntry, ...]
    unverified_rows_used: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the record's bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """The short form of a decision for one runner; it names no tenant and no rule."""

    payload: bytes
    manifest_digest: bytes
    facts_digest: bytes
    spiffe_id: str
    card_digest: bytes
    jurisdiction: str
    obligations: tuple[RunnerObligation, ...]
    prepare_decision_digest: bytes
    record_digest: bytes
    body_digest: bytes
    valid_until_ns: int

    @property
    def digest(self) -> bytes:
        """SHA-256 over the permit's bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


def parse_body(data: bytes) -> DecisionBody:
    """Parse `carnet.decision/v1`. Raises `FieldInvalid` on any other bytes."""
    top = parse(data, bytes_max=body_bytes_max)
    top.text("schema", choices={SCHEMA})
    body = DecisionBody(
        payload=bytes(data),
        verdict=Verdict(top.text("verdict", choices=set(Verdict))),
        permitted=_places(top, "permitted"),
        blocked=_blocked(top.document("blocked")),
        obligations=tuple(obligation(d) for d in top.documents("obligations")),
        reasons=tuple(reason(d) for d in top.documents("reasons", items_max=1024)),
        rules_evaluated=tuple(sorted(top.texts("rules_evaluated", items_max=1024))),
        exemptions_used=tuple(_exemption_used(d) for d in top.documents("exemptions_used")),
        unverified_rows_used=tuple(sorted(top.texts("unverified_rows_used", items_max=4096))),
        valid_until_ns=top.integer("valid_until_ns", low=1),
        revisions=_revisions(top.document("revisions")),
        disclaimer=top.text("disclaimer"),
        reasons_elsewhere=_reasons_elsewhere(top) if top.has("reasons_elsewhere") else (),
    )
    top.close()
    _check_body(body)
    return body


def check_usable(body: DecisionBody, *, now_ns: int) -> None:
    """Raise `PolicyDenied` unless the body permits something now, under obligations that are all known."""
    check_obligations(body.obligations)
    if body.verdict is not Verdict.PERMIT:
        raise PolicyDenied(metadata={"verdict": body.verdict})
    if not body.permitted:
        raise PolicyDenied("The decision permits no jurisdiction.")
    if now_ns >= body.valid_until_ns:
        raise PolicyDenied("The decision is no longer valid; prepare the job again.")


def check_submittable(body: DecisionBody, *, now_ns: int) -> None:
    """Raise `PolicyDenied` unless a new job may be handed in: to run now, or to wait for its approval.

    A permission that rests on approvals is another job's: `ApprovalRequired`.
    """
    if body.verdict is not Verdict.REVIEW:
        check_usable(body, now_ns=now_ns)
        if approvals_needed(body.obligations):
            raise ApprovalRequired("The decision is of a job that was approved; this one was not.")
        return
    check_obligations(body.obligations)
    if not body.permitted or not approvals_needed(body.obligations):
        raise PolicyDenied("The decision says nothing that could be approved.", metadata={"verdict": body.verdict})
    if now_ns >= body.valid_until_ns:
        raise PolicyDenied("The decision is no longer valid; prepare the job again.")


def check_obligations(obligations: tuple[Obligation, ...]) -> None:
    """Raise `PolicyDenied` where an obligation is unknown, or another enforcer's than the table says."""
    for found in obligations:
        if OBLIGATIONS.get(found.type) is not found.enforcer:
            raise PolicyDenied(f"The obligation {found.type} is not known here.", metadata={"obligation": found.type})


def narrow(before: DecisionBody, after: DecisionBody) -> tuple[str, ...]:
    """The places that both bodies permit, sorted: a later answer can remove places, and never add one."""
    return tuple(sorted(place for place in before.permitted if before.permits(place) and after.permits(place)))


def both_permit(before: DecisionBody, after: DecisionBody, jurisdiction: str) -> bool:
    """Whether one place is permitted by both. `narrow` alone can not say it of a region that one of them blocked."""
    return before.permits(jurisdiction) and after.permits(jurisdiction)


def unverified_rows(body: DecisionBody, record: DecisionRecord) -> tuple[str, ...]:
    """All that a decision used and nobody verified, of both stages, sorted."""
    return tuple(sorted({*body.unverified_rows_used, *record.unverified_rows_used}))


def unverified_rows_of(verdicts: Iterable[RunnerVerdict]) -> tuple[str, ...]:
    """What the second stage used and nobody verified, sorted: as a record names it."""
    return tuple(sorted({row for verdict in verdicts for row in verdict.unverified_rows_used}))


def recipients_max(obligations: tuple[Obligation, ...]) -> int:
    """How many recipients a job may be wrapped for: the least of the obligations, else the default."""
    found = [o.value for o in obligations if o.type == "recipients_max" and isinstance(o.value, int)]
    return min([*found, limits.recipients_default])


def approvals_needed(obligations: tuple[Obligation, ...]) -> int:
    """How many other persons must approve the job: the greatest of the obligations, else none."""
    return max([o.value for o in obligations if o.type == "approval" and isinstance(o.value, int)], default=0)


def for_runner(obligations: tuple[Obligation, ...]) -> tuple[RunnerObligation, ...]:
    """The duties that the runner must see to, as its permit names them: sorted, each once."""
    found = {(o.type, o.value) for o in obligations if o.enforcer is Enforcer.RUNNER}
    return tuple(
        RunnerObligation(
            type=kind, number=value if isinstance(value, int) else 0, word=value if isinstance(value, str) else ""
        )
        for kind, value in sorted(found, key=str)
    )


def check_permit_obligations(obligations: tuple[RunnerObligation, ...]) -> None:
    """Raise `PolicyDenied` where a permit holds a duty that a runner does not know."""
    for found in obligations:
        if OBLIGATIONS.get(found.type) is not Enforcer.RUNNER:
            raise PolicyDenied(f"The obligation {found.type} is not known here.", metadata={"obligation": found.type})


def obligation(document: Document) -> Obligation:
    """Read one obligation object."""
    kind = document.text("type")
    word = document.text("value", choices=set(Isolation)) if kind == "isolation_min" else document.integer("value")
    found = Obligation(
        type=kind,
        value=word,
        rule=document.text("rule"),
        citations=document.texts("citations"),
        enforcer=Enforcer(document.text("enforcer", choices=set(Enforcer))),
    )
    document.close()
    return found


def reason(document: Document) -> Reason:
    """Read one reason object."""
    found = Reason(
        rule=document.text("rule"),
        effect=Effect(document.text("effect", choices=set(Effect))),
        jurisdictions=_places(document, "jurisdictions"),
        citations=document.texts("citations"),
        message=document.text("message"),
        parameters=_parameters(document.document("parameters")),
        fix=document.texts("fix", bytes_max=1024),
    )
    document.close()
    return found


def _check_body(body: DecisionBody) -> None:
    if not body.rules_evaluated:
        raise FieldInvalid("rules_evaluated must not be empty", metadata={"field": "rules_evaluated"})
    if body.verdict is Verdict.DENY and body.permitted:
        raise FieldInvalid("a denial permits a place", metadata={"field": "permitted"})
    if body.verdict is Verdict.REVIEW and not body.permitted:
        raise FieldInvalid("there is nothing to review", metadata={"field": "permitted"})
    blocked = {place for _, places in body.blocked for place in places}
    if blocked & set(body.permitted):
        raise FieldInvalid("a blocked place is permitted", metadata={"field": "permitted"})
    if not {rule for rule, _ in body.blocked} <= set(body.rules_evaluated):
        raise FieldInvalid("a rule blocked that was not evaluated", metadata={"field": "blocked"})
    if any(_is_of_none(said, body.blocked) for said in body.reasons_elsewhere):
        raise FieldInvalid("a reason is of no rule that blocks its places", metadata={"field": "reasons_elsewhere"})
    if any(used.expires_ns < body.valid_until_ns for used in body.exemptions_used):
        raise FieldInvalid("the answer outlives an exemption", metadata={"field": "valid_until_ns"})


def _is_of_none(said: Reason, blocked: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
    places = set(said.jurisdictions)
    return said.effect is not Effect.DENY or not places or not places <= set(dict(blocked).get(said.rule, ()))


def _reasons_elsewhere(document: Document) -> tuple[Reason, ...]:
    return tuple(reason(d) for d in document.documents("reasons_elsewhere", items_max=1024))


def _blocked(document: Document) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((rule, _places(document, rule)) for rule in sorted(document.names()))


def _parameters(document: Document) -> tuple[tuple[str, Parameter], ...]:
    return tuple((name, _parameter(document, name)) for name in sorted(document.names()))


def _parameter(document: Document, name: str) -> Parameter:
    match document.kind(name):
        case "text":
            return document.text(name, bytes_max=1024)
        case "integer":
            return document.integer(name)
        case "list":
            return document.texts(name, items_max=1024)
        case _:
            document.refuse(name, "must be a string, an integer or a list of strings")


def _exemption_used(document: Document) -> ExemptionUsed:
    found = ExemptionUsed(
        id=document.text("id"), rule=document.text("rule"), expires_ns=document.integer("expires_ns", low=1)
    )
    document.close()
    return found


def _revisions(document: Document) -> Revisions:
    found = Revisions(rules=document.text("rules"), data=document.text("data"))
    document.close()
    return found


def _places(document: Document, name: str) -> tuple[str, ...]:
    codes = document.texts(name, items_max=1024, bytes_max=6)
    for i, code in enumerate(codes):
        check_jurisdiction(code, path=document.path(f"{name}[{i}]"))
    return tuple(sorted(codes))


def check_record(record: DecisionRecord, body: DecisionBody, *, facts_digest: bytes, now_ns: int) -> None:
    """Raise `StatementInvalid` unless the record is of this body and these facts, and valid now."""
    if record.body_digest != body.digest:
        raise StatementInvalid("The decision record is not of this body.")
    if record.facts_digest != facts_digest:
        raise StatementInvalid("The decision record is of other facts.")
    if record.valid_until_ns > body.valid_until_ns or now_ns >= record.valid_until_ns:
        raise StatementInvalid("The decision record is not valid now.")
