"""TenantKeySet: which client keys speak for a tenant, signed by the tenant's root.

- A set has a sequence; whoever has seen a higher one refuses a lower one. It expires, and so does each key in it.
- A key is found by its keyid, SHA-256 of its SubjectPublicKeyInfo; a keyid is a hint and proves nothing.

    check_key_set(key_set, tenant_id=manifest.tenant_id, sequence_seen=seen, now_ns=now_ns)
    statements.MANIFEST.open(signed, key_set.find(signed.keyid, now_ns=now_ns))
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from carnet.core.errors import CredentialInvalid, StatementInvalid
from carnet.core.statement import VerifyingKey

tenant_keys_max: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKey:
    """One signing key of a tenant: SubjectPublicKeyInfo in DER, and when it ends."""

    public: bytes
    not_after_ns: int

    @property
    def keyid(self) -> bytes:
        """SHA-256 of the public key's DER bytes, 32 bytes."""
        return hashlib.sha256(self.public).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeySet:
    """The keys of one tenant, in the bytes that its root signed."""

    payload: bytes
    tenant_id: bytes
    sequence: int
    expires_ns: int
    keys: tuple[TenantKey, ...]

    def __post_init__(self) -> None:
        if len(self.tenant_id) != 16 or self.sequence < 1:
            raise StatementInvalid("A key set needs a tenant id of 16 bytes and a sequence from 1.")
        if not 1 <= len(self.keys) <= tenant_keys_max:
            raise StatementInvalid("A key set holds 1 to 64 keys.")
        if len({key.public for key in self.keys}) != len(self.keys):
            raise StatementInvalid("A key set must not repeat a key.")

    def find(self, keyid: bytes, *, now_ns: int) -> VerifyingKey:
        """The key of this id. Raises `CredentialInvalid` where there is none, it has ended, or it is not P-256."""
        for key in self.keys:
            if key.keyid == keyid and now_ns < key.not_after_ns:
                return VerifyingKey.from_der(key.public)
        raise CredentialInvalid("No live key of the tenant has this id.")


def check_key_set(key_set: TenantKeySet, *, tenant_id: bytes, sequence_seen: int, now_ns: int) -> None:
    """The set is this tenant's, no older than one seen before, and live. Raises `CredentialInvalid`."""
    if key_set.tenant_id != tenant_id:
        raise CredentialInvalid("The key set belongs to another tenant.")
    if key_set.sequence < sequence_seen:
        raise CredentialInvalid("The key set is older than one that was seen before.")
    if now_ns >= key_set.expires_ns:
        raise CredentialInvalid("The key set has expired.")
