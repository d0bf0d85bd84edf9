"""The answers of `carnet job` in words and as JSON: how a job stands, and where one may run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from carnet.cli.output import ListFormat, dollars, say, show, show_json, show_pairs, when
from carnet.cli.preparing import next_steps
from carnet.core.document import Json

if TYPE_CHECKING:
    from carnet.answers import JobSummary, Prepared


def show_summary(job: "JobSummary", output: ListFormat) -> None:
    """One job on stdout, in the format asked for."""
    if output == "json":
        show_json(summary_document(job))
    elif output == "name":
        show(job.name)
    else:
        show_pairs(
            (
                ("job", job.name),
                ("state", f"{job.state}" + (f" ({job.reason})" if job.reason else "")),
                ("attempt", str(job.attempt)),
                ("runner", job.runner),
                ("jurisdiction", job.jurisdiction),
                ("created", when(job.created_ns)),
                ("updated", when(job.updated_ns)),
                ("manifest", job.manifest_digest.hex()),
            )
        )


def summary_document(job: "JobSummary") -> dict[str, Json]:
    """A job as JSON."""
    return {
        "name": job.name,
        "state": str(job.state),
        "reason": job.reason,
        "attempt": job.attempt,
        "runner": job.runner,
        "jurisdiction": job.jurisdiction,
        "created_ns": job.created_ns,
        "updated_ns": job.updated_ns,
        "manifest_digest": job.manifest_digest.hex(),
    }


def show_prepared(prepared: "Prepared", facts: Path | None) -> None:
    """The answer to prepare on stdout; after a denial, what to do next on stderr."""
    from carnet.cli.decided import decision_lines

    decided = prepared.decided
    for line in decision_lines(decided.body, beside=decided.record.unverified_rows_used):
        show(line.text, style=line.style)
    for runner in prepared.runners:
        price = dollars(runner.card.price_micro_usd_second)
        show(f"  runner  {runner.spiffe_id} in {runner.jurisdiction}, {runner.card.isolation}, {price} a second")
    for refused in prepared.rejected:
        where = f" in {refused.jurisdiction}" if refused.jurisdiction else ""
        show(f"  not     {refused.runner or 'a runner'}{where}: {refused.reason}: {refused.text} ({refused.by})")
    if prepared.denied:
        for step in next_steps(facts):
            say(step)


def prepared_document(prepared: "Prepared") -> dict[str, Json]:
    """The answer to prepare as JSON, with the whole decision."""
    from carnet.cli.decided import would_permit

    record, body = prepared.decided.record, prepared.decided.body
    decision: Json = json.loads(body.payload)
    return {
        "verdict": str(body.verdict),
        "permitted": list(body.permitted),
        "would_permit": {rule: list(alone) for rule, alone in would_permit(body).items()},
        "facts_digest": prepared.facts.digest.hex(),
        "record": {
            "id": record.id.hex(),
            "digest": record.digest.hex(),
            "engine": record.engine,
            "engine_version": record.engine_version,
            "evaluated_ns": record.evaluated_ns,
            "valid_until_ns": record.valid_until_ns,
        },
        "runners": [
            {
                "runner": runner.spiffe_id,
                "jurisdiction": runner.jurisdiction,
                "operator": runner.identity.id.trust_domain,
                "isolation": str(runner.card.isolation),
                "price_micro_usd_second": runner.card.price_micro_usd_second,
            }
            for runner in prepared.runners
        ],
        "rejected": [
            {
                "runner": refused.runner,
                "jurisdiction": refused.jurisdiction,
                "reason": refused.reason,
                "text": refused.text,
                "by": refused.by,
            }
            for refused in prepared.rejected
        ],
        "decision": decision,
    }
