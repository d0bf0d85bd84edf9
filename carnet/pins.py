"""Pins: whom this party trusts, read once from one JSON file that its owner wrote. Never filled by the gateway's word.

- Strict JSON: unknown and repeated fields, loose base64 and certificates that do not parse are refused.
- Two entries for one trust domain or one tenant are refused: the order of a file is no matter of trust.
- A party that does not need a section has an empty list there, which permits nothing.

    pins = load_pins(Path("pins.json"))
    identity = judge_chain(chain, pins.operators, now_ns=now_ns)
"""

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from carnet.core import limits
from carnet.core.credential import Anchor, ClientAnchor
from carnet.core.document import Document, parse, refuse
from carnet.core.errors import CredentialInvalid, EnvelopeMalformed, FieldInvalid
from carnet.core.hybrid import HybridPublicKey
from carnet.core.spiffe import check_trust_domain
from carnet.core.statement import VerifyingKey
from carnet.tls import certificate_from_pem

pins_bytes_max: Final = 4 * limits.MIB
pins_items_max: Final = 1024

_PEM_BYTES_MAX: Final = 2 * limits.certificate_bytes_max
_HYBRID_TEXT_MAX: Final = 2 * limits.hybrid_public_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayPins:
    """The gateway: its log's origin, keys for decisions and log, its CA in PEM, and the name in its certificate.

    `policy_keys` are those that its policy bundles are signed with, as SubjectPublicKeyInfo: officers replay by them.
    """

    origin: str
    decision_keys: tuple[VerifyingKey, ...]
    log_keys: tuple[Ed25519PublicKey, ...]
    ca: bytes
    server_name: str
    policy_keys: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantPins:
    """A tenant: its opaque id, root for key sets, CAs (DER) for clients, and its token issuer with client ids.

    `compliance_key` is the hybrid public key that the inputs of its decisions are sealed for, or nothing.
    """

    tenant_id: bytes
    trust_domain: str
    root: VerifyingKey
    roots: tuple[bytes, ...]
    issuer: str
    client_ids: tuple[str, ...]
    compliance_key: bytes = b""

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)

    @property
    def anchor(self) -> ClientAnchor:
        """What a client certificate of this tenant is judged against."""
        return ClientAnchor(trust_domain=self.trust_domain, roots=self.roots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """All that one party trusts. `operator_names` are for people, in the order of `operators`."""

    gateway: GatewayPins
    operators: tuple[Anchor, ...]
    operator_names: tuple[str, ...]
    tenants: tuple[TenantPins, ...]

    def tenant(self, tenant_id: bytes) -> TenantPins:
        """The tenant of this id. Raises `CredentialInvalid` where none is pinned."""
        for found in self.tenants:
            if found.tenant_id == tenant_id:
                return found
        raise CredentialInvalid("The tenant is not pinned.")


def load_pins(path: Path) -> Pins:
    """Read the pins in a file. Raises `FieldInvalid`, and `OSError` where the file can not be read."""
    return parse_pins(path.read_bytes())


def parse_pins(data: bytes) -> Pins:
    """Read pins from their bytes. Raises `FieldInvalid`, and nothing else, on any bytes."""
    try:
        return _pins(parse(data, bytes_max=pins_bytes_max))
    except CredentialInvalid as error:
        raise FieldInvalid(error.text, metadata={"field": "document"}) from error


def _pins(document: Document) -> Pins:
    gateway = _gateway(document.document("gateway"))
    operators = [_operator(entry) for entry in document.documents("operators", items_max=pins_items_max)]
    tenants = tuple(_tenant(entry) for entry in document.documents("tenants", items_max=pins_items_max))
    document.close()
    _distinct("operators", (anchor.trust_domain for anchor, _ in operators))
    _distinct("tenants", (tenant.trust_domain for tenant in tenants))
    _distinct("tenants", (tenant.tenant_id.hex() for tenant in tenants))
    return Pins(
        gateway=gateway,
        operators=tuple(anchor for anchor, _ in operators),
        operator_names=tuple(name for _, name in operators),
        tenants=tenants,
    )


def _gateway(document: Document) -> GatewayPins:
    pins = GatewayPins(
        origin=document.text("origin"),
        decision_keys=tuple(_key(text, document, "decision_keys") for text in document.texts("decision_keys")),
        log_keys=tuple(_log_key(text, document) for text in document.texts("log_keys")),
        ca=_ca(document).encode(),
        server_name=document.text("server_name"),
        policy_keys=_policy_keys(document),
    )
    document.close()
    return pins


def _policy_keys(document: Document) -> tuple[bytes, ...]:
    if not document.has("policy_keys"):
        return ()
    return tuple(_key(text, document, "policy_keys").public_der for text in document.texts("policy_keys"))


def _operator(document: Document) -> tuple[Anchor, str]:
    roots = document.texts("roots", items_max=16, bytes_max=_PEM_BYTES_MAX)
    anchor = Anchor(
        trust_domain=document.text("trust_domain"),
        roots=tuple(certificate_from_pem(pem.encode()) for pem in roots),
        jurisdictions=document.texts("jurisdictions"),
    )
    name = document.text("name")
    document.close()
    return anchor, name


def _tenant(document: Document) -> TenantPins:
    tenant_id = document.text("tenant_id", bytes_max=32)
    if len(tenant_id) != 32 or set(tenant_id) - set("0123456789abcdef"):
        document.refuse("tenant_id", "must be 32 lower-case hexadecimal digits")
    root = _key(document.text("root"), document, "root")
    pins = TenantPins(
        tenant_id=bytes.fromhex(tenant_id),
        trust_domain=document.text("trust_domain"),
        root=root,
        roots=(certificate_from_pem(_ca(document).encode()),),
        issuer=document.text("issuer"),
        client_ids=document.texts("client_ids"),
        compliance_key=_compliance_key(document),
    )
    document.close()
    return pins


def _ca(document: Document) -> str:
    text = document.text("ca", bytes_max=_PEM_BYTES_MAX)
    certificate_from_pem(text.encode())
    return text


def _key(text: str, document: Document, name: str) -> VerifyingKey:
    return VerifyingKey.from_der(_bytes(text, document, name))


def _compliance_key(document: Document) -> bytes:
    if not document.has("compliance_key"):
        return b""
    data = _bytes(document.text("compliance_key", bytes_max=_HYBRID_TEXT_MAX), document, "compliance_key")
    try:
        return HybridPublicKey(data).data
    except EnvelopeMalformed:
        document.refuse("compliance_key", "must be a hybrid public key of 1216 bytes in base64")


def _log_key(text: str, document: Document) -> Ed25519PublicKey:
    data = _bytes(text, document, "log_keys")
    if len(data) != 32:
        document.refuse("log_keys", "must be 32 bytes in base64")
    return Ed25519PublicKey.from_public_bytes(data)


def _bytes(text: str, document: Document, name: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        document.refuse(name, "must be base64")
    if base64.b64encode(data).decode() != text:
        document.refuse(name, "must be base64 in its one form")
    return data


def _distinct(path: str, names: Iterable[str]) -> None:
    found = list(names)
    if len(set(found)) != len(found):
        refuse(path, "must not repeat an entry")
