"""Development PKI: every party's keys, certificates, statements and pins in one directory, in one call.

- Three operators (FR, DE, US) with a CA of their own and one runner each, the gateway, one tenant, one token issuer.
- A second call keeps every root, id and long-lived key, and renews what is short-lived: leaves, status, ownership
  facts, the tenant's key set, the gateway's certificate. Leaves keep their key; they live 24 hours.
- Writes are whole or not at all; secrets are 0600 in directories of 0700. Nothing here is for production: one directory
  holds what must never meet on one machine.
- `status` is the operators' process: it signs the status of every runner anew every twenty minutes.

    python -m certs.development build DIRECTORY
    python -m certs.development status DIRECTORY
"""

import argparse
import asyncio
import base64
import secrets
import signal
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet import statements, wire
from carnet.core.credential import LeafKind, RunnerId, TenantKey, TenantKeySet, read_leaf
from carnet.core.document import Json, canonical
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.runner import Owner
from carnet.core.statement import Signer
from carnet.tls import certificate_to_pem, chain_from_pem, read_private_key
from certs import issuer
from certs.authority import (
    CertificateAuthority,
    GatewayAuthority,
    OperatorAuthority,
    OwnershipRecord,
    TenantAuthority,
    to_ns,
)
from certs.folder import Folder

GATEWAY: Final = "gateway.carnet.test"
ORIGIN: Final = "gateway.carnet.test/log"
TENANT: Final = "hospital.example"
CLIENT: Final = "ward-7"
status_seconds: Final = 20 * 60
key_set_days: Final = 30

C = TypeVar("C", bound=CertificateAuthority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator of the development PKI."""

    trust_domain: str
    name: str
    jurisdiction: str
    parent: str


OPERATORS: Final = (
    Operator(trust_domain="gpu-fr.example", name="GPU France", jurisdiction="FR", parent="holding.gpu-fr.example"),
    Operator(trust_domain="gpu-de.example", name="GPU Deutschland", jurisdiction="DE", parent="holding.gpu-de.example"),
    Operator(trust_domain="gpu-us.example", name="GPU America", jurisdiction="US", parent="holding.gpu-us.example"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentRunner:
    """A runner's id, and the directory with chain.pem, key.pem, status.stmt and ownership.stmt."""

    id: RunnerId
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentPki:
    """Where everything is."""

    directory: Path
    pins: Path
    tenant_id: bytes
    runners: tuple[DevelopmentRunner, ...]


def build(directory: Path, *, now: datetime) -> DevelopmentPki:
    """Make the whole PKI, or renew what is short-lived in the one that is there."""
    root = Folder(directory)
    operators = [_operator(root / "operators" / operator.trust_domain, operator, now) for operator in OPERATORS]
    gateway = _gateway(root / "gateway", now)
    tenant, tenant_id = _tenant(root / "tenant", now)
    _issuer(root / "issuer")
    pins: dict[str, Json] = {
        "gateway": gateway,
        "operators": [entry for entry, _ in operators],
        "tenants": [tenant],
    }
    root.write_public("pins.json", canonical(pins))
    return DevelopmentPki(
        directory=directory,
        pins=directory / "pins.json",
        tenant_id=tenant_id,
        runners=tuple(runner for _, runner in operators),
    )


def sign_statuses(directory: Path, *, now: datetime) -> int:
    """Sign the status of every runner anew; how many there are."""
    count = 0
    for operator in OPERATORS:
        folder = Folder(directory) / "operators" / operator.trust_domain
        authority = _authority(folder, OperatorAuthority, operator.trust_domain, now)
        for path in sorted((folder / "runners").path.iterdir()):
            _write_status(Folder(path), authority, now)
            count += 1
    return count


async def keep_signing(directory: Path, stop: asyncio.Event) -> None:
    """Sign every status now and every twenty minutes, until `stop`. A failure ends it: statuses then go stale."""
    while not stop.is_set():
        await asyncio.to_thread(sign_statuses, directory, now=datetime.now(UTC))
        try:
            await asyncio.wait_for(stop.wait(), timeout=status_seconds)
        except TimeoutError:
            continue


def _operator(folder: Folder, operator: Operator, now: datetime) -> tuple[dict[str, Json], DevelopmentRunner]:
    authority = _authority(folder, OperatorAuthority, operator.trust_domain, now)
    runners = folder / "runners"
    name = next((path.name for path in sorted(runners.path.iterdir())), str(uuid.uuid4()))
    runner = RunnerId(trust_domain=operator.trust_domain, jurisdiction=operator.jurisdiction, runner=name)
    home = runners / name
    leaf = authority.issue_runner(runner, _signer(home, "key.pem").public_der, now=now)
    home.write_public("chain.pem", certificate_to_pem(leaf))
    record = OwnershipRecord(
        entity=operator.trust_domain,
        country=operator.jurisdiction,
        parent_entity=operator.parent,
        parent_country=operator.jurisdiction,
        owners=(Owner(country=operator.jurisdiction, percent=100),),
        covered_person="no",
    )
    home.write_public("ownership.stmt", wire.signed_to_bytes(authority.sign_ownership(record, now=now)))
    _write_status(home, authority, now)
    pins: dict[str, Json] = {
        "trust_domain": operator.trust_domain,
        "name": operator.name,
        "roots": [authority.certificate_pem.decode()],
        "jurisdictions": [operator.jurisdiction],
    }
    return pins, DevelopmentRunner(id=runner, directory=home.path)


def _write_status(home: Folder, authority: OperatorAuthority, now: datetime) -> None:
    chain = chain_from_pem((home.path / "chain.pem").read_bytes())
    signed = authority.sign_status(read_leaf(chain[0], LeafKind.RUNNER), good=True, now=now)
    home.write_public("status.stmt", wire.signed_to_bytes(signed))


def _gateway(folder: Folder, now: datetime) -> dict[str, Json]:
    authority = _authority(folder, GatewayAuthority, GATEWAY, now)
    server = authority.issue_server(GATEWAY, _signer(folder, "server.key.pem").public_der, now=now)
    folder.write_public("server.pem", certificate_to_pem(server))
    decision = _signer(folder, "decision.key.pem")
    log = serialization.load_pem_private_key(folder.keep("log.key.pem", _new_log_key), password=None)
    assert isinstance(log, Ed25519PrivateKey)
    folder.keep("page.key", _new_secret)
    policy = _signer(folder, "policy.key.pem")
    return {
        "origin": ORIGIN,
        "decision_keys": [_base64(decision.public_der)],
        "policy_keys": [_base64(policy.public_der)],
        "log_keys": [_base64(log.public_key().public_bytes_raw())],
        "ca": authority.certificate_pem.decode(),
        "server_name": GATEWAY,
    }


def _tenant(folder: Folder, now: datetime) -> tuple[dict[str, Json], bytes]:
    root, signing = _signer(folder, "root.key.pem"), _signer(folder, "signing.key.pem")
    key_set = _key_set(folder, root, signing, now)
    authority = _authority(folder, TenantAuthority, TENANT, now)
    client = authority.issue_client(CLIENT, _signer(folder, "client.key.pem").public_der, now=now)
    folder.write_public("client.pem", certificate_to_pem(client))
    folder.keep("master.key", _new_secret)
    compliance = HybridPrivateKey.from_seed(folder.keep("compliance.key", _new_secret))
    pins: dict[str, Json] = {
        "tenant_id": key_set.tenant_id.hex(),
        "trust_domain": TENANT,
        "root": _base64(root.public_der),
        "ca": authority.certificate_pem.decode(),
        "issuer": issuer.ISSUER,
        "client_ids": [CLIENT],
        "compliance_key": _base64(compliance.public),
    }
    return pins, key_set.tenant_id


def _key_set(folder: Folder, root: Signer, signing: Signer, now: datetime) -> TenantKeySet:
    data = folder.read("key-set.stmt")
    before = statements.KEY_SET.open(wire.signed_from_bytes(data), root.verifying_key()) if data else None
    expires_ns = to_ns(now + timedelta(days=key_set_days))
    key_set, signed = statements.KEY_SET.sign(
        TenantKeySet(
            payload=b"",
            tenant_id=before.tenant_id if before else secrets.token_bytes(16),
            sequence=before.sequence + 1 if before else 1,
            expires_ns=expires_ns,
            keys=(TenantKey(public=signing.public_der, not_after_ns=expires_ns),),
        ),
        root,
    )
    folder.write_public("key-set.stmt", wire.signed_to_bytes(signed))
    return key_set


def _issuer(folder: Folder) -> None:
    _signer(folder, "issuer.key.pem")
    folder.write_public("jwks.json", issuer.jwks(issuer.read_key(folder.path)))


def _authority(folder: Folder, kind: type[C], trust_domain: str, now: datetime) -> C:
    certificate = folder.read("ca.pem")
    if certificate is None:
        made = kind.create(trust_domain, now=now)
        # The key first: a certificate on disk means that its key is there too.
        folder.write_secret("ca.key.pem", made.signer.to_pem())
        folder.write_public("ca.pem", made.certificate_pem)
        return made
    private = read_private_key(folder.path / "ca.key.pem")
    return kind.load(trust_domain, private_pem=private, certificate_pem=certificate)


def _signer(folder: Folder, name: str) -> Signer:
    return Signer.from_pem(folder.keep(name, lambda: Signer.generate().to_pem()))


def _new_log_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _new_secret() -> bytes:
    return secrets.token_bytes(32)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _serve_status(directory: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await keep_signing(directory, stop)


def main(arguments: list[str]) -> int:
    """The two commands of this module; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m certs.development", description="A PKI for development.")
    parser.add_argument("command", choices=("build", "status"))
    parser.add_argument("directory", type=Path)
    found = parser.parse_args(arguments)
    if found.command == "build":
        build(found.directory, now=datetime.now(UTC))
    else:
        asyncio.run(_serve_status(found.directory))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
