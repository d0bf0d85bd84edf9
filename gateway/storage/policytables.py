"""The tables of overlays, exemptions, approvals and shadows; the rules are those of `tables.py`."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from gateway.storage.tables import metadata, of_job

overlays: Final = Table(
    "overlays",
    metadata,
    Column("overlay", String(32), primary_key=True),
    Column("tenant_id", LargeBinary(16), nullable=False),
)

policy_revisions: Final = Table(
    "policy_revisions",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("overlay", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("shadow", Boolean, nullable=False),
    Column("comment", Text, nullable=False),
    Column("author_issuer", Text, nullable=False),
    Column("author_subject", Text, nullable=False),
    Column("approver_issuer", Text, nullable=False),
    Column("approver_subject", Text, nullable=False),
    Column("activator_issuer", Text, nullable=False),
    Column("activator_subject", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("approved_ns", BigInteger, nullable=False),
    Column("activated_ns", BigInteger, nullable=False),
    Column("bundle", String(80), nullable=False),
    Column("compared", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "digest"),
    ForeignKeyConstraint(["overlay"], ["overlays.overlay"]),
    Index("policy_revisions_by_tenant", "tenant_id", "created_ns", "digest"),
)

policy_files: Final = Table(
    "policy_files",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("files", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "digest"),
    ForeignKeyConstraint(["tenant_id", "digest"], ["policy_revisions.tenant_id", "policy_revisions.digest"]),
)

shadow_differences: Final = Table(
    "shadow_differences",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("decision", LargeBinary(32), nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("live_verdict", String(16), nullable=False),
    Column("shadow_verdict", String(16), nullable=False),
    Column("newly_permitted", Text, nullable=False),
    Column("newly_denied", Text, nullable=False),
    Column("rules", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "digest", "decision"),
    ForeignKeyConstraint(["tenant_id", "digest"], ["policy_revisions.tenant_id", "policy_revisions.digest"]),
    Index("shadow_differences_by_time", "tenant_id", "digest", "time_ns", "decision"),
)

exemptions: Final = Table(
    "exemptions",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("exemption_id", LargeBinary(16), nullable=False),
    Column("rule", String(64), nullable=False),
    Column("places", Text, nullable=False),
    Column("classes", Text, nullable=False),
    Column("purposes", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("requester_issuer", Text, nullable=False),
    Column("requester_subject", Text, nullable=False),
    Column("quorum", Integer, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Column("uses_max", Integer, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    PrimaryKeyConstraint("tenant_id", "exemption_id"),
    Index("exemptions_by_tenant", "tenant_id", "created_ns", "exemption_id"),
)


def _of_exemption() -> tuple[Column[bytes], Column[bytes], ForeignKeyConstraint]:
    return (
        Column("tenant_id", LargeBinary(16), nullable=False),
        Column("exemption_id", LargeBinary(16), nullable=False),
        ForeignKeyConstraint(["tenant_id", "exemption_id"], ["exemptions.tenant_id", "exemptions.exemption_id"]),
    )


exemption_approvals: Final = Table(
    "exemption_approvals",
    metadata,
    *_of_exemption(),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "exemption_id", "issuer", "subject"),
)

exemption_uses: Final = Table(
    "exemption_uses",
    metadata,
    *_of_exemption(),
    Column("job_id", LargeBinary(16), nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "exemption_id", "job_id"),
    ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.job_id"]),
    Index("exemption_uses_by_job", "tenant_id", "job_id"),
)

job_approvals: Final = Table(
    "job_approvals",
    metadata,
    *of_job(),
    Column("issuer", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "issuer", "subject"),
)
