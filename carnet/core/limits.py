"""Every bound in the system, with its unit in its name. A value from outside is compared with one of these, once."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB

# --- statements and envelopes (docs/protocol.md, "Bounds") ------------------------------------------------------
facts_bytes_max: Final = 64 * KIB
statement_bytes_max: Final = 64 * KIB
manifest_bytes_max: Final = 256 * KIB
recipients_max: Final = 16
owners_max: Final = 64
recipients_default: Final = 3
objects_max: Final = 1024
segments_max: Final = 65_536
segment_bytes: Final = 64 * MIB
object_bytes_max: Final = 1024 * GIB
payload_bytes_max: Final = 1024 * GIB
index_bytes_max: Final = 256 * KIB
chain_certificates_max: Final = 4
certificate_bytes_max: Final = 8 * KIB
chunk_bytes: Final = 256 * KIB
chunk_bytes_max: Final = 512 * KIB
message_bytes_max: Final = 1 * MIB
wrap_bytes: Final = 1120 + 32 + 16  # X-Wing encapsulation, 32-byte root, AES-GCM tag
hybrid_public_bytes: Final = 1184 + 32
hybrid_seed_bytes: Final = 32
sealed_bytes_min: Final = 1120 + 16  # X-Wing encapsulation and AES-GCM tag around nothing
input_bytes_max: Final = 192 * KIB
event_bytes_max: Final = 384 * KIB
attempts_max: Final = 8
addenda_max: Final = 16

# --- time -------------------------------------------------------------------------------------------------------
clock_skew_seconds_max: Final = 30
manifest_seconds_max: Final = 24 * 3600
seal_seconds_max: Final = 3600
open_seconds_max: Final = 25 * 3600
leaf_seconds_max: Final = 24 * 3600
status_seconds_max: Final = 3600
decision_seconds_max: Final = 600
lease_seconds: Final = 60
lease_seconds_min: Final = 10
lease_renew_seconds: Final = 20
lease_margin_seconds: Final = 5
recipient_absent_seconds: Final = 300
upload_seconds_max: Final = 3600
exemption_seconds_max: Final = 90 * 24 * 3600
request_id_seconds: Final = 24 * 3600
token_seconds_max: Final = 15 * 60
token_leeway_seconds: Final = 10
token_bytes_max: Final = 8 * KIB
jwks_bytes_max: Final = 64 * KIB

# --- logs and results -------------------------------------------------------------------------------------------
log_flush_seconds: Final = 0.2
log_record_bytes_max: Final = 64 * KIB
log_bytes_max: Final = 64 * MIB
log_records_max: Final = 1_000_000
result_bytes_max: Final = 16 * GIB
result_objects_max: Final = 1024
name_bytes_max: Final = 255

# --- services ---------------------------------------------------------------------------------------------------
retention_days: Final = 30
decision_days: Final = 365
decision_days_max: Final = 3650
screening_days: Final = 30
screening_days_max: Final = 366
page_size_default: Final = 50
page_size_max: Final = 1000
store_batch_max: Final = 256
store_queue_max: Final = 4096
policy_seconds_max: Final = 5.0
shortlist_max: Final = 32
exemptions_max: Final = 32
exemption_bytes_max: Final = 1536
approval_quorum_max: Final = 8
runners_max: Final = 100_000
