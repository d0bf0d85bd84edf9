"""Credentials: who a chain speaks for, judged against pinned anchors, and whether it still stands.

- The anchor is chosen by the trust domain that the leaf names, and the chain must end in a root of that anchor alone:
  no CA can speak for another operator, and no tenant's CA for another tenant.
- An operator's anchor lists the jurisdictions that it may name, word for word. No anchor, no root or no jurisdiction
  permits nothing.
- The jurisdiction is the operator's claim, bound to its CA. Nothing here proves where hardware stands.
- Status, ownership facts and key statements are judged for one identity, after their signatures were verified: the
  first two under `issuer_key` (the CA that signed the leaf), the last under `key` (the leaf).
- What does not hold raises `CredentialInvalid`; `CredentialRevoked` where the status is not good or not fresh.

    identity = judge_chain(chain, anchors, now_ns=now_ns)
    check_status(statements.STATUS.open(signed, identity.issuer_key), identity, now_ns=now_ns)
"""

from dataclasses import dataclass
from typing import Final, TypeVar

from carnet.core import limits
from carnet.core.certificate import Leaf, LeafKind, judge_leaf, read_leaf, verify_chain
from carnet.core.errors import CredentialInvalid, CredentialRevoked, FieldInvalid
from carnet.core.facts import TRISTATE, check_jurisdiction
from carnet.core.keyset import TenantKey, TenantKeySet, check_key_set
from carnet.core.runner import KeyStatement, Ownership, RunnerStatus
from carnet.core.spiffe import RunnerId, SpiffeId, check_trust_domain
from carnet.core.statement import VerifyingKey

__all__ = [
    "Anchor",
    "ClientAnchor",
    "Identity",
    "Leaf",
    "LeafKind",
    "RunnerId",
    "SpiffeId",
    "TenantKey",
    "TenantKeySet",
    "check_key_set",
    "check_key_statement",
    "check_ownership",
    "check_status",
    "judge_chain",
    "judge_client",
    "judge_leaf",
    "read_leaf",
]

_SECOND_NS: Final = 10**9
_SKEW_NS: Final = limits.clock_skew_seconds_max * _SECOND_NS

A = TypeVar("A", "Anchor", "ClientAnchor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A pinned operator: its trust domain, its CAs' certificates in DER, and the jurisdictions that it may name."""

    trust_domain: str
    roots: tuple[bytes, ...]
    jurisdictions: tuple[str, ...]

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        for jurisdiction in self.jurisdictions:
            _check_place(jurisdiction)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientAnchor:
    """A pinned tenant: its trust domain and its CAs' certificates in DER."""

    trust_domain: str
    roots: tuple[bytes, ...]

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A runner whose chain was judged. `key` is the leaf's, `issuer_key` that of the CA which signed the leaf."""

    id: RunnerId
    certificate_digest: bytes
    key: VerifyingKey
    not_after_ns: int
    chain: tuple[bytes, ...]
    issuer_key: VerifyingKey


def judge_chain(chain: tuple[bytes, ...], anchors: tuple[Anchor, ...], *, now_ns: int) -> Identity:
    """The runner that a chain (DER, leaf first) speaks for. Raises `CredentialInvalid`."""
    if not 1 <= len(chain) <= limits.chain_certificates_max:
        raise CredentialInvalid("The certificate chain is empty or too long.")
    leaf = judge_leaf(chain[0], LeafKind.RUNNER, now_ns=now_ns)
    runner = RunnerId.of(leaf.id)
    anchor = _anchor(runner.trust_domain, anchors)
    if runner.jurisdiction not in anchor.jurisdictions:
        raise CredentialInvalid("The operator may not name this jurisdiction.")
    return Identity(
        id=runner,
        certificate_digest=leaf.certificate_digest,
        key=leaf.key,
        not_after_ns=leaf.not_after_ns,
        chain=chain,
        issuer_key=verify_chain(chain, anchor.roots, now_ns=now_ns),
    )


def judge_client(certificate: bytes, anchors: tuple[ClientAnchor, ...], *, now_ns: int) -> Leaf:
    """The client that a certificate (DER), signed by a pinned CA of its tenant, names. Raises `CredentialInvalid`."""
    leaf = judge_leaf(certificate, LeafKind.CLIENT, now_ns=now_ns)
    verify_chain((certificate,), _anchor(leaf.id.trust_domain, anchors).roots, now_ns=now_ns)
    return leaf


def check_status(status: RunnerStatus, identity: Identity, *, now_ns: int) -> None:
    """The operator says, within the last hour, that this very leaf stands. The signature was verified before."""
    if status.spiffe_id != str(identity.id) or status.certificate_digest != identity.certificate_digest:
        raise CredentialInvalid("The status belongs to another certificate.")
    if not status.good:
        raise CredentialRevoked("The operator has revoked the certificate.")
    age_ns = now_ns - status.issued_ns
    if not -_SKEW_NS <= age_ns <= limits.status_seconds_max * _SECOND_NS or now_ns >= status.expires_ns:
        raise CredentialRevoked("The status of the certificate is not fresh.")


def check_ownership(ownership: Ownership, identity: Identity, *, now_ns: int) -> None:
    """The facts are about this runner's operator, and are live. The signature was verified before."""
    if ownership.trust_domain != identity.id.trust_domain:
        raise CredentialInvalid("The ownership facts belong to another operator.")
    if not ownership.entity or not ownership.parent_entity:
        raise CredentialInvalid("The ownership facts name nobody.")
    for country in (ownership.country, ownership.parent_country):
        _check_place(country)
        if len(country) != 2:
            raise CredentialInvalid("An owner's country is an ISO 3166-1 code.")
    _check_owners(ownership)
    if not ownership.issued_ns - _SKEW_NS <= now_ns < ownership.expires_ns:
        raise CredentialInvalid("The ownership facts are not live.")


def _check_owners(ownership: Ownership) -> None:
    countries = [owner.country for owner in ownership.owners]
    for country in countries:
        _check_place(country)
    if any(len(country) != 2 for country in countries) or len(set(countries)) != len(countries):
        raise CredentialInvalid("Each owner's country is named once, by its ISO 3166-1 code.")
    if any(owner.percent > 100 for owner in ownership.owners) or len(countries) > limits.owners_max:
        raise CredentialInvalid("The owners' shares are out of bounds.")
    if ownership.covered_person not in TRISTATE:
        raise CredentialInvalid("An operator is a covered person, or not, or that is unknown.")
    words = ownership.certifications
    if len(set(words)) != len(words) or len(words) > limits.owners_max or any(not 0 < len(w) <= 64 for w in words):
        raise CredentialInvalid("The operator's certifications are out of bounds.")


def check_key_statement(statement: KeyStatement, identity: Identity, *, now_ns: int) -> None:
    """The epoch key is this leaf's, and may be sealed to now. The signature was verified before, under the leaf."""
    if statement.spiffe_id != str(identity.id) or statement.leaf_key_digest != identity.key.keyid:
        raise CredentialInvalid("The key statement belongs to another runner.")
    if not statement.not_before_ns - _SKEW_NS <= now_ns < statement.seal_until_ns:
        raise CredentialInvalid("The key statement may not be sealed to now.")
    if statement.seal_until_ns > identity.not_after_ns:
        raise CredentialInvalid("The key statement outlives its certificate.")


def _anchor(trust_domain: str, anchors: tuple[A, ...]) -> A:
    # Two anchors for one trust domain would make the order of a file a matter of trust.
    found = [anchor for anchor in anchors if anchor.trust_domain == trust_domain]
    if len(found) != 1:
        raise CredentialInvalid("The trust domain is not pinned.")
    return found[0]


def _check_place(code: str) -> None:
    try:
        check_jurisdiction(code)
    except FieldInvalid as error:
        raise CredentialInvalid("A code is not one of ISO 3166.") from error
