"""Event: one line of the decision log, in OPA's own shape with ours beside it, masked.

- What OPA's sinks read is where OPA writes it: labels, decision_id, bundles, path, input, result, erased, masked,
  requested_by, timestamp, metrics. What only Carnet knows stands under `carnet`.
- Input and result are those of stage 1, as the engine heard and said them, after the mask; the rest names no fact of
  the job. `requested_by` is the tenant: who of it asked is in the gateway's facts, by digest in the record.
- `carnet.record` is the digest of the signed record, so that an event is of one decision and no other.

    data = event_bytes(decided, rules)
"""

import datetime
import json
import uuid
from dataclasses import dataclass
from typing import Final

from carnet.core.decision import DecisionBody, DecisionRecord, unverified_rows
from carnet.core.document import Json, canonical
from policy.engine import DECISION_PATH, JobQuery
from policy.masking import MaskRule, apply

BUNDLE_NAME: Final = "carnet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A decision to be logged: the question, the answer, the signed record, when it was made, and who logs it."""

    query: JobQuery
    body: DecisionBody
    record: DecisionRecord
    stage: str
    origin: str


def event_bytes(decided: Decided, rules: tuple[MaskRule, ...]) -> bytes:
    """The event in canonical JSON. What `rules` say is not in it."""
    body, record = decided.body, decided.record
    result: Json = json.loads(body.payload)
    shown = apply(rules, asked=decided.query.document(), answered=result)
    found: dict[str, Json] = {
        "labels": {"id": decided.origin, "version": record.engine_version},
        "decision_id": str(uuid.UUID(bytes=record.id)),
        "bundles": {BUNDLE_NAME: {"revision": body.revisions.bundle}},
        "path": DECISION_PATH,
        "erased": [*shown.erased],
        "masked": [*shown.masked],
        "requested_by": f"tenants/{record.tenant_id.hex()}",
        "timestamp": timestamp(record.evaluated_ns),
        "metrics": {},
        "carnet": _ours(decided),
    }
    found |= {"input": shown.input} if shown.input is not None else {}
    found |= {"result": shown.result} if shown.result is not None else {}
    return canonical(found)


def timestamp(time_ns: int) -> str:
    """A time in ns since 1970 UTC as RFC 3339 with nine digits, as OPA writes one."""
    seconds, rest = divmod(time_ns, 10**9)
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def _ours(decided: Decided) -> dict[str, Json]:
    body, record = decided.body, decided.record
    said = (*body.reasons, *body.reasons_elsewhere)
    return {
        "engine": record.engine,
        "stage": decided.stage,
        "verdict": body.verdict.value,
        "valid_until_ns": record.valid_until_ns,
        "rules": [*body.rules_evaluated],
        "citations": [*sorted({citation for reason in said for citation in reason.citations})],
        "obligations": [{"type": duty.type, "value": duty.value, "rule": duty.rule} for duty in body.obligations],
        "unverified_rows": [*unverified_rows(body, record)],
        "exemptions_used": [
            {"id": used.id, "rule": used.rule, "expires_ns": used.expires_ns} for used in body.exemptions_used
        ],
        "record": record.digest.hex(),
    }
