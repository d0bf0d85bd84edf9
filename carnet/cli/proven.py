"""What a verified receipt proves, in words and as JSON: the same facts in both."""

from typing import Final

from carnet.cli.output import dollars, seconds, when
from carnet.core.document import Json
from carnet.core.receipt import Meter
from carnet.proof import VerifiedReceipt

UNMEASURED: Final = "unavailable"


def proven_pairs(proven: VerifiedReceipt, *, origin: str) -> tuple[tuple[str, str], ...]:
    """Names and values for a person. `origin` is the pinned name of the log."""
    receipt, manifest = proven.receipt, proven.manifest
    return (
        ("job", job_of(proven)),
        ("outcome", f"{receipt.exit_class}, exit code {receipt.exit_code}, attempt {receipt.attempt}"),
        ("image", receipt.image),
        ("jurisdiction", receipt.jurisdiction),
        ("runner", f"{receipt.spiffe_id} of {proven.runner.id.trust_domain}"),
        ("isolation", f"{receipt.isolation}, profile {receipt.template_digest.hex()}"),
        ("permitted", ", ".join(proven.dispatched.permitted)),
        ("rules", proven.dispatched.revisions.rules),
        ("rule data", proven.dispatched.revisions.data),
        ("prepared under", f"record {manifest.decision_digest.hex()}, body {proven.prepared.digest.hex()}"),
        ("dispatched under", f"record {receipt.record_digest.hex()}, body {proven.dispatched.digest.hex()}"),
        ("facts", proven.facts.digest.hex()),
        ("manifest", manifest.digest.hex()),
        ("receipt", receipt.digest.hex()),
        ("started", when(receipt.started_ns)),
        ("ended", when(receipt.ended_ns)),
        ("took", _took(receipt.meter)),
        ("price", dollars(receipt.meter.price_micro_usd)),
        ("results", str(result_count(proven))),
        ("in the log", f"entry {proven.outcome_index} of {origin}, {when(proven.outcome_ns)}"),
    )


def proven_document(proven: VerifiedReceipt, *, origin: str) -> dict[str, Json]:
    """The same as JSON: digests in hex, times in ns since 1970 UTC, money in micro-USD."""
    receipt, manifest = proven.receipt, proven.manifest
    return {
        "verified": True,
        "job": job_of(proven),
        "exit_class": str(receipt.exit_class),
        "exit_code": receipt.exit_code,
        "attempt": receipt.attempt,
        "image": receipt.image,
        "jurisdiction": receipt.jurisdiction,
        "runner": receipt.spiffe_id,
        "operator": proven.runner.id.trust_domain,
        "isolation": str(receipt.isolation),
        "template_digest": receipt.template_digest.hex(),
        "permitted": list(proven.dispatched.permitted),
        "revisions": {"rules": proven.dispatched.revisions.rules, "data": proven.dispatched.revisions.data},
        "prepared": {"record_digest": manifest.decision_digest.hex(), "body_digest": proven.prepared.digest.hex()},
        "dispatched": {"record_digest": receipt.record_digest.hex(), "body_digest": proven.dispatched.digest.hex()},
        "facts_digest": proven.facts.digest.hex(),
        "manifest_digest": manifest.digest.hex(),
        "receipt_digest": receipt.digest.hex(),
        "started_ns": receipt.started_ns,
        "ended_ns": receipt.ended_ns,
        "meter": {
            "wall_ms": receipt.meter.wall_ms,
            "cpu_ms": receipt.meter.cpu_ms,
            "cpu_method": receipt.meter.cpu_method,
            "memory_peak_bytes": receipt.meter.memory_peak_bytes,
            "memory_method": receipt.meter.memory_method,
            "gpu_ms": receipt.meter.gpu_ms,
            "energy_mj": receipt.meter.energy_mj,
            "energy_method": receipt.meter.energy_method,
            "price_micro_usd": receipt.meter.price_micro_usd,
        },
        "results": result_count(proven),
        "log": {"origin": origin, "outcome_index": proven.outcome_index, "outcome_ns": proven.outcome_ns},
    }


def _took(meter: Meter) -> str:
    measured = meter.cpu_method != UNMEASURED
    cpu = f"{seconds(meter.cpu_ms)} ({meter.cpu_method})" if measured else "was not measured"
    return f"{seconds(meter.wall_ms)}; processor time {cpu}"


def job_of(proven: VerifiedReceipt) -> str:
    """The job's name."""
    return f"tenants/{proven.manifest.tenant_id.hex()}/jobs/{proven.manifest.job_id.hex()}"


def result_count(proven: VerifiedReceipt) -> int:
    """How many files came home; object 0 is their index."""
    return max(0, len(proven.receipt.results) - 1)
