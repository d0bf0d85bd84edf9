"""What an officer is told of overlays, exemptions and rules: the gateway's word, as values.

A revision is named by the digest of its files; `check_files` holds what came back against the name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from carnet.core.errors import StatementInvalid
from carnet.core.overlay import overlay_digest
from carnet.v1 import policies_pb2 as pb

E = TypeVar("E", bound=StrEnum)


class RevisionState(StrEnum):
    """Where a revision is in its life."""

    DRAFT = "draft"
    APPROVED = "approved"
    ACTIVE = "active"
    RETIRED = "retired"


class ExemptionState(StrEnum):
    """How an exemption stands."""

    ASKED = "asked"
    APPROVED = "approved"
    REVOKED = "revoked"
    EXPIRED = "expired"
    USED_UP = "used_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One revision of the tenant's overlay. `files` are there when it was asked for alone."""

    name: str
    overlay: str
    state: RevisionState
    shadow: bool
    comment: str
    author: str
    approver: str
    activator: str
    created_ns: int
    approved_ns: int
    activated_ns: int
    bundle: str
    files: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the gateway found of a revision: findings as (check, text), and what it looked at."""

    findings: tuple[tuple[str, str], ...]
    checks: tuple[str, ...]
    tests_passed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One decision that a shadow took otherwise."""

    decision: str
    time_ns: int
    live_verdict: str
    shadow_verdict: str
    newly_permitted: tuple[str, ...]
    newly_denied: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleInForce:
    """One rule that decides for the tenant, or will or did."""

    id: str
    title: str
    stage: str
    effect: str
    citations: tuple[str, ...]
    status: str
    review_by: str
    exemptible: bool
    overlay: str
    in_force: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an exemption is asked for. No class or purpose means any; `expires_ns` is 90 days ahead at most."""

    rule: str
    places: tuple[str, ...]
    reason: str
    expires_ns: int
    uses_max: int
    classes: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    ticket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """One exemption, as it stands."""

    name: str
    state: ExemptionState
    wanted: Wanted
    requester: str
    approvers: tuple[str, ...]
    quorum: int
    created_ns: int
    uses: int


def check_files(revision: Revision, files: Mapping[str, bytes]) -> None:
    """Raise `StatementInvalid` unless a revision's name is that of these files."""
    if revision.name.rpartition("/")[2] != overlay_digest(revision.overlay, files).hex():
        raise StatementInvalid("The revision is not of these files.")


def revision_of(message: pb.Revision) -> Revision:
    """A revision from its message. Raises `StatementInvalid`."""
    return Revision(
        name=message.name,
        overlay=message.overlay,
        state=_state(RevisionState, pb.Revision.State.Name, message.state),
        shadow=message.shadow,
        comment=message.comment,
        author=message.author,
        approver=message.approver,
        activator=message.activator,
        created_ns=message.created_ns,
        approved_ns=message.approved_ns,
        activated_ns=message.activated_ns,
        bundle=message.bundle,
        files=tuple((file.path, file.data) for file in message.files),
    )


def exemption_of(message: pb.Exemption) -> Exemption:
    """An exemption from its message. Raises `StatementInvalid`."""
    return Exemption(
        name=message.name,
        state=_state(ExemptionState, pb.Exemption.State.Name, message.state),
        wanted=Wanted(
            rule=message.rule,
            places=tuple(message.places),
            classes=tuple(message.classes),
            purposes=tuple(message.purposes),
            reason=message.reason,
            ticket=message.ticket,
            expires_ns=message.expires_ns,
            uses_max=message.uses_max,
        ),
        requester=message.requester,
        approvers=tuple(message.approvers),
        quorum=message.quorum,
        created_ns=message.created_ns,
        uses=message.uses,
    )


def difference_of(message: pb.Difference) -> Difference:
    """A difference from its message."""
    return Difference(
        decision=message.decision,
        time_ns=message.time_ns,
        live_verdict=message.live_verdict,
        shadow_verdict=message.shadow_verdict,
        newly_permitted=tuple(message.newly_permitted),
        newly_denied=tuple(message.newly_denied),
        rules=tuple(message.rules),
    )


def rule_of(message: pb.Rule) -> RuleInForce:
    """A rule from its message."""
    return RuleInForce(
        id=message.id,
        title=message.title,
        stage=message.stage,
        effect=message.effect,
        citations=tuple(message.citations),
        status=message.status,
        review_by=message.review_by,
        exemptible=message.exemptible,
        overlay=message.overlay,
        in_force=message.in_force,
    )


def _state(kind: type[E], name: Callable[[Any], str], number: int) -> E:
    try:
        return kind[name(number).removeprefix("STATE_")]
    except (KeyError, ValueError) as error:
        raise StatementInvalid("The gateway names a state that is not known here.") from error
