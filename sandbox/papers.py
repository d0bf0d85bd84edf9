"""Papers: what a runner signs about an attempt. The Start before the first log record, the Receipt when all is sealed.

- The Start carries the result root, wrapped for the client's result key alone.
- A receipt says what the host saw: exit, times and meter are never the job's word.
"""

import hashlib
import json

from carnet import statements
from carnet.core.envelope import wrap_result_root
from carnet.core.hybrid import HybridPublicKey
from carnet.core.receipt import Meter, Receipt, ResultObject, Start
from carnet.core.statement import Signed, Signer
from sandbox.meter import MeterReading
from sandbox.offer import AcceptedOffer, Self
from sandbox.outcome import Outcome


def make_start(
    offer: AcceptedOffer, runner: Self, result_root: bytearray, *, leaf: Signer, now_ns: int
) -> tuple[Start, Signed]:
    """The word that the attempt begins."""
    manifest = offer.manifest
    wrap = wrap_result_root(
        HybridPublicKey(manifest.result_public),
        result_root,
        manifest_digest=manifest.digest,
        grant_digest=offer.grant.digest,
        spiffe_id=runner.spiffe_id,
    )
    unsigned = Start(
        payload=b"",
        manifest_digest=manifest.digest,
        grant_digest=offer.grant.digest,
        spiffe_id=runner.spiffe_id,
        result_wrap=wrap,
        started_ns=now_ns,
    )
    return statements.START.sign(unsigned, leaf)


def make_receipt(
    offer: AcceptedOffer,
    runner: Self,
    start: Start,
    outcome: Outcome,
    results: tuple[ResultObject, ...],
    *,
    log_records: int,
    leaf: Signer,
) -> tuple[Receipt, Signed]:
    """The word on how it ended."""
    manifest, permit, grant = offer.manifest, offer.permit, offer.grant
    unsigned = Receipt(
        payload=b"",
        job_id=manifest.job_id,
        manifest_digest=manifest.digest,
        grant_digest=grant.digest,
        permit_digest=permit.digest,
        start_digest=start.digest,
        decision_digest=permit.prepare_decision_digest,
        record_digest=permit.record_digest,
        spiffe_id=runner.spiffe_id,
        jurisdiction=runner.jurisdiction,
        isolation=runner.card.isolation,
        template_digest=runner.card.template_digest,
        profile_digest=outcome.profile_digest,
        image=manifest.image,
        attempt=grant.attempt,
        started_ns=outcome.started_ns,
        ended_ns=outcome.ended_ns,
        exit_class=outcome.exit,
        exit_code=outcome.code if outcome.code is not None else -1,
        results=results,
        log_records=log_records,
        evidence_digest=hashlib.sha256(json.dumps(runner.card.isolation_facts).encode()).digest(),
        meter=meter_of(outcome.meter, price_micro_usd_second=runner.card.price_micro_usd_second),
    )
    return statements.RECEIPT.sign(unsigned, leaf)


def meter_of(reading: MeterReading, *, price_micro_usd_second: int) -> Meter:
    """The meter of a receipt: what the host measured, and the price of the seconds begun."""
    seconds = -(-reading.wall_ms // 1000)
    return Meter(
        wall_ms=reading.wall_ms,
        cpu_ms=reading.cpu_ms or 0,
        memory_peak_bytes=reading.memory_peak_bytes or 0,
        gpu_ms=reading.gpu_ms or 0,
        energy_mj=reading.energy_mj or 0,
        energy_method=reading.energy_method,
        price_micro_usd=seconds * price_micro_usd_second,
        cpu_method=reading.cpu_method,
        memory_method=reading.memory_method,
    )
