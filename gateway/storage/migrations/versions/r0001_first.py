"""The first tables: jobs and what belongs to them, decisions, wraps, requests, and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "r0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size"),
    )
    op.create_table(
        "decisions",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("facts_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_table(
        "decision_log",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("bundle", sa.String(length=71), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=True),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["decisions.digest"],
        ),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index("decision_log_by_tenant", "decision_log", ["tenant_id", "created_ns", "digest"], unique=False)
    op.create_table(
        "decision_events",
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("event", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_input", sa.LargeBinary(), nullable=False),
        sa.Column("until_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["digest"],
            ["decision_log.digest"],
        ),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.create_index(op.f("ix_decision_events_until_ns"), "decision_events", ["until_ns"], unique=False)
    op.create_table(
        "entries",
        sa.Column(
            "leaf_index", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False
        ),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=True),
        sa.Column("subject", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("leaf_index"),
    )
    op.create_index("entries_by_job", "entries", ["tenant_id", "job_id"], unique=False)
    op.create_index("entries_by_subject", "entries", ["subject"], unique=False)
    op.create_table(
        "key_sequences",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    op.create_table(
        "nodes",
        sa.Column("place", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("place"),
    )
    op.create_table(
        "requests",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("request_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("body_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "request_id"),
    )
    op.create_index(op.f("ix_requests_created_ns"), "requests", ["created_ns"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("manifest_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("decision_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("updated_ns", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("events_next", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("attempts_max", sa.Integer(), nullable=False),
        sa.Column("deadline_ns", sa.BigInteger(), nullable=False),
        sa.Column("contenders", sa.Text(), nullable=False),
        sa.Column("waits_for", sa.Text(), nullable=False),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("cause", sa.String(length=32), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("lease_attempt", sa.Integer(), nullable=True),
        sa.Column("lease_spiffe_id", sa.Text(), nullable=True),
        sa.Column("lease_grant_digest", sa.LargeBinary(length=32), nullable=True),
        sa.Column("lease_deadline_ns", sa.BigInteger(), nullable=True),
        sa.Column("lease_permit_until_ns", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["decision_digest"],
            ["decisions.digest"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id"),
    )
    op.create_index("jobs_by_decision", "jobs", ["decision_digest"], unique=False)
    op.create_index("jobs_by_state", "jobs", ["state", "waits_for"], unique=False)
    op.create_index("jobs_by_tenant", "jobs", ["tenant_id", "created_ns", "job_id"], unique=False)
    op.create_table(
        "addenda",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_key_set", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "sequence"),
    )
    op.create_table(
        "attempts",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("spiffe_id", sa.Text(), nullable=False),
        sa.Column("jurisdiction", sa.String(length=6), nullable=False),
        sa.Column("kid", sa.LargeBinary(length=32), nullable=False),
        sa.Column("grant_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("decision_digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("permit", sa.LargeBinary(), nullable=False),
        sa.Column("grant_statement", sa.LargeBinary(), nullable=False),
        sa.Column("chain", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.LargeBinary(), nullable=False),
        sa.Column("ownership", sa.LargeBinary(), nullable=False),
        sa.Column("card", sa.LargeBinary(), nullable=False),
        sa.Column("start", sa.LargeBinary(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.Column("log_next", sa.BigInteger(), nullable=False),
        sa.Column("log_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["decision_digest"],
            ["decisions.digest"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "attempt"),
        sa.UniqueConstraint("grant_digest"),
    )
    op.create_table(
        "documents",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("tenant_key_set", sa.LargeBinary(), nullable=False),
        sa.Column("self_wrap", sa.LargeBinary(), nullable=False),
        sa.Column("requester", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id"),
    )
    op.create_table(
        "events",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("event_index", sa.BigInteger(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("runner", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "event_index"),
    )
    op.create_table(
        "wraps",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("kid", sa.LargeBinary(length=32), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "kid"),
    )
    op.create_index(op.f("ix_wraps_day"), "wraps", ["day"], unique=False)
    op.create_table(
        "volumes",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("counterparty", sa.String(length=255), nullable=False),
        sa.Column("category", sa.String(length=64), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "counterparty", "category"),
    )
    op.create_index("volumes_by_tenant", "volumes", ["tenant_id", "created_ns"], unique=False)
    op.create_table(
        "log_records",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("log_index", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("stream", sa.Integer(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id", "attempt"],
            ["attempts.tenant_id", "attempts.job_id", "attempts.attempt"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "log_index"),
    )
    op.create_index(
        "log_records_by_sequence", "log_records", ["tenant_id", "job_id", "attempt", "sequence"], unique=True
    )
    op.create_table(
        "exemptions",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("exemption_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("places", sa.Text(), nullable=False),
        sa.Column("classes", sa.Text(), nullable=False),
        sa.Column("purposes", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("ticket", sa.Text(), nullable=False),
        sa.Column("requester_issuer", sa.Text(), nullable=False),
        sa.Column("requester_subject", sa.Text(), nullable=False),
        sa.Column("quorum", sa.Integer(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("expires_ns", sa.BigInteger(), nullable=False),
        sa.Column("uses_max", sa.Integer(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "exemption_id"),
    )
    op.create_index("exemptions_by_tenant", "exemptions", ["tenant_id", "created_ns", "exemption_id"], unique=False)
    op.create_table(
        "overlays",
        sa.Column("overlay", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.PrimaryKeyConstraint("overlay"),
    )
    op.create_table(
        "exemption_approvals",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("exemption_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "exemption_id"],
            ["exemptions.tenant_id", "exemptions.exemption_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "exemption_id", "issuer", "subject"),
    )
    op.create_table(
        "policy_revisions",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("overlay", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("shadow", sa.Boolean(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("author_issuer", sa.Text(), nullable=False),
        sa.Column("author_subject", sa.Text(), nullable=False),
        sa.Column("approver_issuer", sa.Text(), nullable=False),
        sa.Column("approver_subject", sa.Text(), nullable=False),
        sa.Column("activator_issuer", sa.Text(), nullable=False),
        sa.Column("activator_subject", sa.Text(), nullable=False),
        sa.Column("created_ns", sa.BigInteger(), nullable=False),
        sa.Column("approved_ns", sa.BigInteger(), nullable=False),
        sa.Column("activated_ns", sa.BigInteger(), nullable=False),
        sa.Column("bundle", sa.String(length=80), nullable=False),
        sa.Column("compared", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["overlay"],
            ["overlays.overlay"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest"),
    )
    op.create_index(
        "policy_revisions_by_tenant", "policy_revisions", ["tenant_id", "created_ns", "digest"], unique=False
    )
    op.create_table(
        "exemption_uses",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("exemption_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "exemption_id"],
            ["exemptions.tenant_id", "exemptions.exemption_id"],
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "exemption_id", "job_id"),
    )
    op.create_index("exemption_uses_by_job", "exemption_uses", ["tenant_id", "job_id"], unique=False)
    op.create_table(
        "job_approvals",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("job_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.job_id"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "issuer", "subject"),
    )
    op.create_table(
        "policy_files",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("files", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"],
            ["policy_revisions.tenant_id", "policy_revisions.digest"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest"),
    )
    op.create_table(
        "shadow_differences",
        sa.Column("tenant_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("decision", sa.LargeBinary(length=32), nullable=False),
        sa.Column("time_ns", sa.BigInteger(), nullable=False),
        sa.Column("live_verdict", sa.String(length=16), nullable=False),
        sa.Column("shadow_verdict", sa.String(length=16), nullable=False),
        sa.Column("newly_permitted", sa.Text(), nullable=False),
        sa.Column("newly_denied", sa.Text(), nullable=False),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "digest"],
            ["policy_revisions.tenant_id", "policy_revisions.digest"],
        ),
        sa.PrimaryKeyConstraint("tenant_id", "digest", "decision"),
    )
    op.create_index(
        "shadow_differences_by_time", "shadow_differences", ["tenant_id", "digest", "time_ns", "decision"], unique=False
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_index("shadow_differences_by_time", table_name="shadow_differences")
    op.drop_table("shadow_differences")
    op.drop_table("policy_files")
    op.drop_table("job_approvals")
    op.drop_index("exemption_uses_by_job", table_name="exemption_uses")
    op.drop_table("exemption_uses")
    op.drop_index("policy_revisions_by_tenant", table_name="policy_revisions")
    op.drop_table("policy_revisions")
    op.drop_table("exemption_approvals")
    op.drop_table("overlays")
    op.drop_index("exemptions_by_tenant", table_name="exemptions")
    op.drop_table("exemptions")
    op.drop_index("log_records_by_sequence", table_name="log_records")
    op.drop_table("log_records")
    op.drop_index("volumes_by_tenant", table_name="volumes")
    op.drop_table("volumes")
    op.drop_index(op.f("ix_wraps_day"), table_name="wraps")
    op.drop_table("wraps")
    op.drop_table("events")
    op.drop_table("documents")
    op.drop_table("attempts")
    op.drop_table("addenda")
    op.drop_index("jobs_by_tenant", table_name="jobs")
    op.drop_index("jobs_by_state", table_name="jobs")
    op.drop_index("jobs_by_decision", table_name="jobs")
    op.drop_table("jobs")
    op.drop_index(op.f("ix_requests_created_ns"), table_name="requests")
    op.drop_table("requests")
    op.drop_table("nodes")
    op.drop_table("key_sequences")
    op.drop_index("entries_by_subject", table_name="entries")
    op.drop_index("entries_by_job", table_name="entries")
    op.drop_table("entries")
    op.drop_index("ix_decision_events_until_ns", table_name="decision_events")
    op.drop_table("decision_events")
    op.drop_index("decision_log_by_tenant", table_name="decision_log")
    op.drop_table("decision_log")
    op.drop_table("decisions")
    op.drop_table("checkpoints")
