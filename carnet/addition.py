"""Adding recipients to a job that any replica of the client sealed: an addendum, and a wrap for each.

- The root comes out of the self-wrap, which anyone could have made: it counts only once the manifest was verified under
  the tenant's own keys, and the root compared with the manifest's commitment.
- The addendum names the one before it, and the fresh decision; it stays within the places that the manifest allows.
- A key that is listed already is left out. The root is wiped.
"""

from dataclasses import dataclass

from carnet import statements
from carnet.authorship import Written
from carnet.core.decision import check_usable, recipients_max
from carnet.core.envelope import open_self_wrap, result_key, wrap_root_addendum
from carnet.core.errors import NoCapacity
from carnet.core.hybrid import HybridPublicKey
from carnet.core.job import Addendum, Manifest, Recipient
from carnet.core.root import check_root, wipe
from carnet.core.statement import Signed
from carnet.outbox import TenantKeys
from carnet.verdict import Decided
from carnet.vetting import VettedRunner


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """A signed addendum, and the wraps in the order of its recipients."""

    addendum: Addendum
    signed: Signed
    wraps: tuple[bytes, ...]


def add(
    written: Written,
    self_wrap: bytes,
    decided: Decided,
    runners: tuple[VettedRunner, ...],
    *,
    keys: TenantKeys,
    now_ns: int,
) -> Addition:
    """Wrap the job for vetted runners under a fresh decision. Raises `EnvelopeUnopened` or `NoCapacity`."""
    check_usable(decided.body, now_ns=now_ns)
    chosen = _choose(written, decided, runners)
    manifest = written.manifest
    root = open_self_wrap(result_key(keys.master, manifest.job_id), self_wrap, manifest_digest=manifest.digest)
    try:
        check_root(root, manifest)
        addendum, signed = statements.ADDENDUM.sign(_addendum(written, decided, chosen), keys.signer)
        wraps = tuple(_wrap(root, manifest, addendum, runner) for runner in chosen)
    finally:
        wipe(root)
    return Addition(addendum=addendum, signed=signed, wraps=wraps)


def _choose(written: Written, decided: Decided, runners: tuple[VettedRunner, ...]) -> tuple[VettedRunner, ...]:
    manifest = written.manifest
    listed = {r.kid for r in manifest.recipients} | {r.kid for a in written.addenda for r in a.recipients}
    fresh = [r for r in runners if r.key.kid not in listed and r.jurisdiction in manifest.allowed_jurisdictions]
    if not fresh:
        raise NoCapacity("No further runner in an allowed place can take the job.")
    return tuple(fresh[: recipients_max(decided.body.obligations)])


def _addendum(written: Written, decided: Decided, runners: tuple[VettedRunner, ...]) -> Addendum:
    before = written.addenda[-1].digest if written.addenda else written.manifest.digest
    return Addendum(
        payload=b"",
        manifest_digest=written.manifest.digest,
        sequence=len(written.addenda) + 1,
        previous_digest=before,
        decision_digest=decided.record.digest,
        recipients=tuple(
            Recipient(
                spiffe_id=runner.spiffe_id,
                jurisdiction=runner.jurisdiction,
                kid=runner.key.kid,
                key_statement_digest=runner.key.digest,
            )
            for runner in runners
        ),
    )


def _wrap(root: bytearray, manifest: Manifest, addendum: Addendum, runner: VettedRunner) -> bytes:
    return wrap_root_addendum(
        HybridPublicKey(runner.key.public),
        root,
        manifest_digest=manifest.digest,
        addendum_digest=addendum.digest,
        spiffe_id=runner.spiffe_id,
        jurisdiction=runner.jurisdiction,
        kid=runner.key.kid,
    )
