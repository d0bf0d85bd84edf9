"""Who wrote a job: manifest and addenda held against the tenant's keys, under a root that the reader pinned.

- The key set is signed by the pinned root of its tenant; one with a lower sequence than was seen before is refused.
- Manifest and addenda are signed by live keys of that set; addenda follow each other without gaps, each naming the one
  before it (the first names the manifest), stay within the jurisdictions that the manifest allows, and list no key
  that was listed before.

    written = open_written(key_set, manifest, addenda, tenants=pins.tenants, now_ns=now)
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from carnet import statements
from carnet.core.errors import SignatureInvalid, StatementInvalid
from carnet.core.job import Addendum, Manifest
from carnet.core.keyset import TenantKeySet, check_key_set
from carnet.core.statement import Signed, VerifyingKey
from carnet.pins import TenantPins

key_sets_max: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A job's signed metadata, verified."""

    key_set: TenantKeySet
    manifest: Manifest
    addenda: tuple[Addendum, ...]

    @property
    def decision_digests(self) -> frozenset[bytes]:
        """The prepare decisions that manifest and addenda name."""
        return frozenset({self.manifest.decision_digest, *(a.decision_digest for a in self.addenda)})


def open_written(
    key_set: Signed,
    manifest: Signed,
    addenda: tuple[Signed, ...] = (),
    *,
    tenants: tuple[TenantPins, ...],
    sequence_seen: int = 0,
    now_ns: int,
) -> Written:
    """Verify all of it. Raises a `PeerError` or `EnvelopeMalformed` that names what does not hold."""
    tenant = next((t for t in tenants if t.root.keyid == key_set.keyid), None)
    if tenant is None:
        raise SignatureInvalid("The tenant key set is not signed by a pinned tenant root.")
    keys = _key_set(key_set, tenant.root)
    check_key_set(keys, tenant_id=tenant.tenant_id, sequence_seen=sequence_seen, now_ns=now_ns)
    opened = statements.MANIFEST.open(manifest, keys.find(manifest.keyid, now_ns=now_ns))
    if opened.tenant_id != tenant.tenant_id:
        raise StatementInvalid("The manifest is of another tenant.")
    more = tuple(statements.ADDENDUM.open(a, keys.find(a.keyid, now_ns=now_ns)) for a in addenda)
    _check_addenda(opened, more)
    return Written(key_set=keys, manifest=opened, addenda=more)


@lru_cache(maxsize=key_sets_max)
def _key_set(signed: Signed, root: VerifyingKey) -> TenantKeySet:
    """What a root signed, kept for these very bytes, signature and key; a refusal is never kept."""
    return statements.KEY_SET.open(signed, root)


def _check_addenda(manifest: Manifest, addenda: tuple[Addendum, ...]) -> None:
    before, kids = manifest.digest, {r.kid for r in manifest.recipients}
    for sequence, addendum in enumerate(addenda, start=1):
        expected = (manifest.digest, sequence, before)
        if (addendum.manifest_digest, addendum.sequence, addendum.previous_digest) != expected:
            raise StatementInvalid("An addendum is of another job, or out of its order.")
        if any(r.jurisdiction not in manifest.allowed_jurisdictions for r in addendum.recipients):
            raise StatementInvalid("An addendum names a recipient outside the allowed jurisdictions.")
        if kids & {r.kid for r in addendum.recipients}:
            raise StatementInvalid("An addendum names a key that was listed before.")
        kids |= {r.kid for r in addendum.recipients}
        before = addendum.digest
