"""The tables of the store, as the newest migration leaves them; a test holds both together.

Rules:
- Portable SQL only: the same tables on SQLite and PostgreSQL.
- What changes often (`jobs`) is apart from what is written once (`documents`, `decisions`, `attempts`).
- Ids and digests are bytes; times are nanoseconds since 1970 UTC in 64 bits.
- The audit log is `entries` (the leaves), `nodes` (every perfect subtree, by its place in the tree) and `checkpoints`
  (one signed note a size).
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

metadata: Final = MetaData()

# SQLite keeps a table in the order of an INTEGER key itself; a BIGINT key would be a second tree.
_Place: Final = BigInteger().with_variant(Integer(), "sqlite")


def of_job() -> tuple[Column[bytes], Column[bytes], ForeignKeyConstraint]:
    """The columns that name a job, for a table of what belongs to it."""
    return (
        Column("tenant_id", LargeBinary(16), nullable=False),
        Column("job_id", LargeBinary(16), nullable=False),
        ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.job_id"]),
    )


decisions: Final = Table(
    "decisions",
    metadata,
    Column("digest", LargeBinary(32), primary_key=True),
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("record", LargeBinary, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("facts_digest", LargeBinary(32), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
)

decision_log: Final = Table(
    "decision_log",
    metadata,
    Column("digest", LargeBinary(32), ForeignKey("decisions.digest"), primary_key=True),
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("stage", String(16), nullable=False),
    Column("verdict", String(16), nullable=False),
    Column("bundle", String(71), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("job_id", LargeBinary(16)),
    Index("decision_log_by_tenant", "tenant_id", "created_ns", "digest"),
)

decision_events: Final = Table(
    "decision_events",
    metadata,
    Column("digest", LargeBinary(32), ForeignKey("decision_log.digest"), primary_key=True),
    Column("event", LargeBinary, nullable=False),
    Column("sealed_input", LargeBinary, nullable=False),
    Column("until_ns", BigInteger, nullable=False, index=True),
)

jobs: Final = Table(
    "jobs",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("job_id", LargeBinary(16), nullable=False),
    Column("manifest_digest", LargeBinary(32), nullable=False),
    Column("decision_digest", LargeBinary(32), ForeignKey("decisions.digest"), nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("updated_ns", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("events_next", BigInteger, nullable=False),
    Column("state", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempts_max", Integer, nullable=False),
    Column("deadline_ns", BigInteger, nullable=False),
    Column("contenders", Text, nullable=False),
    Column("waits_for", Text, nullable=False),
    Column("runner", Text, nullable=False),
    Column("cause", String(32)),
    Column("reason", Text, nullable=False),
    Column("lease_attempt", Integer),
    Column("lease_spiffe_id", Text),
    Column("lease_grant_digest", LargeBinary(32)),
    Column("lease_deadline_ns", BigInteger),
    Column("lease_permit_until_ns", BigInteger),
    PrimaryKeyConstraint("tenant_id", "job_id"),
    Index("jobs_by_tenant", "tenant_id", "created_ns", "job_id"),
    Index("jobs_by_decision", "decision_digest"),
    Index("jobs_by_state", "state", "waits_for"),
)

documents: Final = Table(
    "documents",
    metadata,
    *of_job(),
    Column("facts", LargeBinary, nullable=False),
    Column("manifest", LargeBinary, nullable=False),
    Column("tenant_key_set", LargeBinary, nullable=False),
    Column("self_wrap", LargeBinary, nullable=False),
    Column("requester", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id"),
)

addenda: Final = Table(
    "addenda",
    metadata,
    *of_job(),
    Column("sequence", Integer, nullable=False),
    Column("statement", LargeBinary, nullable=False),
    Column("tenant_key_set", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "sequence"),
)

key_sequences: Final = Table(
    "key_sequences",
    metadata,
    Column("tenant_id", LargeBinary(16), primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

events: Final = Table(
    "events",
    metadata,
    *of_job(),
    Column("event_index", BigInteger, nullable=False),
    Column("time_ns", BigInteger, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("state", String(32), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("runner", Text, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "event_index"),
)

attempts: Final = Table(
    "attempts",
    metadata,
    *of_job(),
    Column("attempt", Integer, nullable=False),
    Column("spiffe_id", Text, nullable=False),
    Column("jurisdiction", String(6), nullable=False),
    Column("kid", LargeBinary(32), nullable=False),
    Column("grant_digest", LargeBinary(32), nullable=False, unique=True),
    Column("decision_digest", LargeBinary(32), ForeignKey("decisions.digest"), nullable=False),
    Column("permit", LargeBinary, nullable=False),
    Column("grant_statement", LargeBinary, nullable=False),
    Column("chain", LargeBinary, nullable=False),
    Column("status", LargeBinary, nullable=False),
    Column("ownership", LargeBinary, nullable=False),
    Column("card", LargeBinary, nullable=False),
    Column("start", LargeBinary, nullable=False),
    Column("receipt", LargeBinary, nullable=False),
    Column("log_next", BigInteger, nullable=False),
    Column("log_bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "attempt"),
)

log_records: Final = Table(
    "log_records",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("job_id", LargeBinary(16), nullable=False),
    Column("log_index", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("stream", Integer, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "log_index"),
    ForeignKeyConstraint(
        ["tenant_id", "job_id", "attempt"], ["attempts.tenant_id", "attempts.job_id", "attempts.attempt"]
    ),
    Index("log_records_by_sequence", "tenant_id", "job_id", "attempt", "sequence", unique=True),
)

wraps: Final = Table(
    "wraps",
    metadata,
    *of_job(),
    Column("kid", LargeBinary(32), nullable=False),
    Column("day", Date, nullable=False, index=True),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "kid"),
)

volumes: Final = Table(
    "volumes",
    metadata,
    *of_job(),
    Column("counterparty", String(255), nullable=False),
    Column("category", String(64), nullable=False),
    Column("records", BigInteger, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    PrimaryKeyConstraint("tenant_id", "job_id", "counterparty", "category"),
    Index("volumes_by_tenant", "tenant_id", "created_ns"),
)

requests: Final = Table(
    "requests",
    metadata,
    Column("tenant_id", LargeBinary(16), nullable=False),
    Column("request_id", LargeBinary(16), nullable=False),
    Column("body_digest", LargeBinary(32), nullable=False),
    Column("response", LargeBinary, nullable=False),
    Column("created_ns", BigInteger, nullable=False, index=True),
    PrimaryKeyConstraint("tenant_id", "request_id"),
)

entries: Final = Table(
    "entries",
    metadata,
    Column("leaf_index", _Place, primary_key=True, autoincrement=False),
    Column("kind", String(64), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("tenant_id", LargeBinary(16)),
    Column("job_id", LargeBinary(16)),
    Column("subject", LargeBinary(32)),
    Index("entries_by_job", "tenant_id", "job_id"),
    Index("entries_by_subject", "subject"),
)

nodes: Final = Table(
    "nodes",
    metadata,
    Column("place", _Place, primary_key=True, autoincrement=False),
    Column("hash", LargeBinary(32), nullable=False),
)

checkpoints: Final = Table(
    "checkpoints",
    metadata,
    Column("size", _Place, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)
