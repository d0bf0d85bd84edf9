"""Overlays and exemptions as the messages that they are answered with."""

from collections.abc import Mapping

from carnet.v1 import policies_pb2 as pb
from gateway.storage.policyrecords import Person, RevisionKey, StoredDifference, StoredExemption, StoredRevision
from policy.bundle import Rule
from policy.checking import Report


def revision_name(key: RevisionKey) -> str:
    """`tenants/{tenant}/revisions/{digest}`, both in hex."""
    return f"tenants/{key.tenant_id.hex()}/revisions/{key.digest.hex()}"


def revision_key(name: str) -> RevisionKey:
    """The key of a name whose form was checked."""
    _, tenant, _, digest = name.split("/")
    return RevisionKey(tenant_id=bytes.fromhex(tenant), digest=bytes.fromhex(digest))


def exemption_key(name: str) -> tuple[bytes, bytes]:
    """Tenant and id of a name whose form was checked."""
    _, tenant, _, exemption = name.split("/")
    return bytes.fromhex(tenant), bytes.fromhex(exemption)


def person_text(person: Person | None) -> str:
    """A person as officers read it: `subject (issuer)`; nobody is empty."""
    return f"{person.subject} ({person.issuer})" if person is not None else ""


def revision_message(revision: StoredRevision, files: Mapping[str, bytes] | None = None) -> pb.Revision:
    """A revision; with its files where they were asked for."""
    return pb.Revision(
        name=revision_name(revision.key),
        overlay=revision.overlay,
        state=pb.Revision.State.Value(f"STATE_{revision.state.name}"),
        shadow=revision.shadow,
        comment=revision.comment,
        author=person_text(revision.author),
        approver=person_text(revision.approver),
        activator=person_text(revision.activator),
        created_ns=revision.created_ns,
        approved_ns=revision.approved_ns,
        activated_ns=revision.activated_ns,
        bundle=revision.bundle,
        files=[pb.PolicyFile(path=path, data=data) for path, data in sorted((files or {}).items())],
    )


def report_message(report: Report) -> pb.CheckRevisionResponse:
    """What was found of a revision."""
    return pb.CheckRevisionResponse(
        findings=[pb.Finding(check=finding.check, text=finding.text) for finding in report.findings],
        checks=report.checks,
        tests_passed=report.tests_passed,
    )


def exemption_message(exemption: StoredExemption, *, now_ns: int) -> pb.Exemption:
    """An exemption, as it stands at a time."""
    return pb.Exemption(
        name=f"tenants/{exemption.tenant_id.hex()}/exemptions/{exemption.exemption_id.hex()}",
        state=pb.Exemption.State.Value(f"STATE_{exemption.state_at(now_ns).name}"),
        rule=exemption.rule,
        places=exemption.places,
        classes=exemption.classes,
        purposes=exemption.purposes,
        reason=exemption.reason,
        ticket=exemption.ticket,
        requester=person_text(exemption.requester),
        approvers=[person_text(person) for person in exemption.approvers],
        quorum=exemption.quorum,
        created_ns=exemption.created_ns,
        expires_ns=exemption.expires_ns,
        uses_max=exemption.uses_max,
        uses=exemption.uses,
    )


def difference_message(difference: StoredDifference) -> pb.Difference:
    """One decision that a shadow took otherwise."""
    tenant_id = difference.revision.tenant_id
    return pb.Difference(
        decision=f"tenants/{tenant_id.hex()}/decisions/{difference.decision.hex()}",
        revision=revision_name(difference.revision),
        time_ns=difference.time_ns,
        live_verdict=difference.live_verdict,
        shadow_verdict=difference.shadow_verdict,
        newly_permitted=difference.newly_permitted,
        newly_denied=difference.newly_denied,
        rules=difference.rules,
    )


def rule_message(rule: Rule, *, now_ns: int) -> pb.Rule:
    """One rule, as its METADATA states it."""
    return pb.Rule(
        id=rule.id,
        title=rule.title,
        stage=rule.stage,
        effect=rule.effect,
        citations=rule.citations,
        status=rule.status,
        review_by=rule.review_by,
        exemptible=rule.exemptible,
        overlay=rule.overlay,
        in_force=rule.in_force(now_ns),
    )
