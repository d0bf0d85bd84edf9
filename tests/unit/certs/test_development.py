"""The development PKI: one call makes it, a second one renews what is short-lived and keeps the rest."""

import asyncio
import json
import stat
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from carnet import statements, tls, wire
from carnet.core.credential import Identity, check_key_set, check_ownership, check_status, judge_chain, judge_client
from carnet.core.errors import CredentialInvalid, CredentialRevoked
from carnet.core.statement import Signer
from carnet.pins import load_pins
from certs import development
from certs.authority import OperatorAuthority, TenantAuthority, to_ns
from certs.folder import Folder
from tests.fixtures.identity import NOW, RUNNER


def judge_all(pki: development.DevelopmentPki, now: datetime) -> list[Identity]:
    """Every runner judged as a client judges it, by nothing but the files."""
    pins, now_ns, found = load_pins(pki.pins), to_ns(now), []
    for runner in pki.runners:
        chain = tls.chain_from_pem((runner.directory / "chain.pem").read_bytes())
        identity = judge_chain(chain, pins.operators, now_ns=now_ns)
        assert identity.key.keyid == Signer.from_pem((runner.directory / "key.pem").read_bytes()).keyid
        status = wire.signed_from_bytes((runner.directory / "status.stmt").read_bytes())
        check_status(statements.STATUS.open(status, identity.issuer_key), identity, now_ns=now_ns)
        facts = wire.signed_from_bytes((runner.directory / "ownership.stmt").read_bytes())
        check_ownership(statements.OWNERSHIP.open(facts, identity.issuer_key), identity, now_ns=now_ns)
        found.append(identity)
    return found


def test_every_party_verifies_by_the_pins_alone(tmp_path: Path) -> None:
    pki = development.build(tmp_path / "pki", now=NOW)
    assert [i.id.jurisdiction for i in judge_all(pki, NOW)] == ["FR", "DE", "US"]
    tenant = load_pins(pki.pins).tenant(pki.tenant_id)
    client = tls.certificate_from_pem((pki.directory / "tenant/client.pem").read_bytes())
    leaf = judge_client(client, (tenant.anchor,), now_ns=to_ns(NOW))
    assert str(leaf.id) == "spiffe://hospital.example/client/ward-7"
    signed = wire.signed_from_bytes((pki.directory / "tenant/key-set.stmt").read_bytes())
    key_set = statements.KEY_SET.open(signed, tenant.root)
    check_key_set(key_set, tenant_id=pki.tenant_id, sequence_seen=0, now_ns=to_ns(NOW))
    signer = Signer.from_pem((pki.directory / "tenant/signing.key.pem").read_bytes())
    assert key_set.find(signer.keyid, now_ns=to_ns(NOW)).keyid == signer.keyid


def test_a_second_call_renews_the_short_lived_and_keeps_roots_ids_and_secrets(tmp_path: Path) -> None:
    first = development.build(tmp_path / "pki", now=NOW)
    before, pins = contents(tmp_path), first.pins.read_bytes()
    later = NOW + timedelta(days=3)
    with pytest.raises(CredentialInvalid):
        judge_all(first, later)
    second = development.build(tmp_path / "pki", now=later)
    assert judge_all(second, later)
    assert (second.runners, second.tenant_id) == (first.runners, first.tenant_id)
    assert second.pins.read_bytes() == pins
    renewed = {path.name for path, data in contents(tmp_path).items() if before[path] != data}
    assert renewed == {"chain.pem", "status.stmt", "ownership.stmt", "server.pem", "client.pem", "key-set.stmt"}


def contents(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_secrets_are_closed_and_nothing_is_left_over(tmp_path: Path) -> None:
    development.build(tmp_path / "pki", now=NOW)
    secret = {"ca.key.pem", "key.pem", "server.key.pem", "decision.key.pem", "log.key.pem", "page.key", "root.key.pem"}
    secret |= {"signing.key.pem", "client.key.pem", "master.key", "issuer.key.pem", "policy.key.pem", "compliance.key"}
    for path in (tmp_path / "pki").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert not path.name.startswith(".")
        assert mode == (0o700 if path.is_dir() else 0o600 if path.name in secret else 0o644), path
        if path.is_file() and b"PRIVATE" in path.read_bytes():
            assert path.name in secret
    assert {p.name for p in (tmp_path / "pki").rglob("*") if p.name in secret} == secret


def test_status_goes_stale_and_is_signed_anew(tmp_path: Path) -> None:
    pki = development.build(tmp_path / "pki", now=NOW)
    later = NOW + timedelta(minutes=61)
    with pytest.raises(CredentialRevoked):
        judge_all(pki, later)
    assert development.sign_statuses(pki.directory, now=later) == 3
    assert judge_all(pki, later)


async def test_the_status_process_signs_at_once_and_ends_on_sigterm(tmp_path: Path) -> None:
    pki = development.build(tmp_path / "pki", now=NOW)
    path = pki.runners[2].directory / "status.stmt"
    before = path.read_bytes()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "certs.development", "status", str(pki.directory)
    )
    async with asyncio.timeout(20):
        while path.read_bytes() == before:  # noqa: ASYNC110  # another process writes it
            await asyncio.sleep(0.05)
        process.terminate()
        assert await process.wait() == 0


def test_the_build_command_makes_a_pki_that_stands_now(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "certs.development", "build", str(tmp_path / "pki")]
    assert subprocess.run(command, timeout=30, check=True, capture_output=True).stdout == b""
    assert len(json.loads((tmp_path / "pki/pins.json").read_bytes())["operators"]) == 3


def test_an_authority_names_its_own_trust_domain_alone_and_a_day_at_most() -> None:
    authority, public = OperatorAuthority.create("gpu-de.example", now=NOW), Signer.generate().public_der
    with pytest.raises(CredentialInvalid, match="own trust domain"):
        authority.issue_runner(RUNNER, public, now=NOW)
    tenant = TenantAuthority.create("hospital.example", now=NOW)
    for seconds in (0, 24 * 3600 + 1):
        with pytest.raises(CredentialInvalid, match="24 hours"):
            tenant.issue_client("ward-7", public, now=NOW, seconds=seconds)
    with pytest.raises(CredentialInvalid):
        tenant.issue_client("../x", public, now=NOW)


def test_an_authority_with_anothers_key_is_refused() -> None:
    one, other = (OperatorAuthority.create("gpu-de.example", now=NOW) for _ in range(2))
    with pytest.raises(CredentialInvalid):
        OperatorAuthority.load("gpu-de.example", private_pem=other.signer.to_pem(), certificate_pem=one.certificate_pem)


def test_an_open_secret_or_a_link_to_one_is_not_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "x")
    folder.write_secret("key.pem", Signer.generate().to_pem())
    assert tls.read_private_key(folder.path / "key.pem")
    (folder.path / "link.pem").symlink_to(folder.path / "key.pem")
    with pytest.raises(CredentialInvalid):
        tls.read_private_key(folder.path / "link.pem")
    for mode in (0o640, 0o604, 0o660):
        (folder.path / "key.pem").chmod(mode)
        with pytest.raises(CredentialInvalid, match="0600"):
            tls.read_private_key(folder.path / "key.pem")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(tmp_path / "x")
    folder.write_public("status.stmt", b"old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk"):
        folder.write_public("status.stmt", b"new")
    assert [p.name for p in folder.path.iterdir()] == ["status.stmt"]
    assert folder.read("status.stmt") == b"old"


def fail(self: Path, target: Path) -> None:
    raise OSError("disk")
