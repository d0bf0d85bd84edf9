"""Connections and certificates that gRPC's own handshake takes, on real listeners; the gate refuses each call.

The control of each is the same call to the same listener without the gate: it is answered.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet import tls
from carnet.core.credential import RunnerId
from carnet.core.errors import CredentialInvalid
from carnet.core.statement import Signer
from carnet.pins import Pins, load_pins
from certs import development, issuer
from certs.authority import OperatorAuthority, TenantAuthority
from certs.folder import Folder
from gateway.gate import Gate, Revocations
from gateway.identity import EnterpriseAdmission, RunnerAdmission
from gateway.jwks import Algorithm, FileSource
from gateway.tokens import IssuerConfig, TokenJudge
from tests.fixtures.identity import Forgery, uri_of
from tests.fixtures.listener import SLOW, TICK, WHO, Listener, ask, bearer, connect, keep, listen, reason_of
from tests.fixtures.tokens import Clock

NOW = datetime.now(UTC).replace(microsecond=0)
AUDIENCE = "carnet"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return development.build(tmp_path_factory.mktemp("pki"), now=NOW).directory


@pytest.fixture
def pins(pki: Path) -> Pins:
    return load_pins(pki / "pins.json")


@pytest.fixture
def clock() -> Clock:
    return Clock(now_ns=int(NOW.timestamp()) * 10**9)


@pytest.fixture
def revocations() -> Revocations:
    return Revocations()


@pytest.fixture
async def bare(pki: Path, pins: Pins) -> AsyncIterator[Listener]:
    roots = tuple(root for anchor in pins.operators for root in anchor.roots)
    async with listen(pki, (*roots, *pins.tenants[0].roots)) as listener:
        yield listener


@pytest.fixture
async def gated(pki: Path, pins: Pins, clock: Clock, revocations: Revocations) -> AsyncIterator[Listener]:
    """The runner listener; it takes the tenant's CA too in its handshake, so that the gate has it all to judge."""
    roots = tuple(root for anchor in pins.operators for root in anchor.roots)
    gate = Gate(RunnerAdmission(pins.operators, clock=clock), revocations=revocations, clock=clock)
    async with listen(pki, (*roots, *pins.tenants[0].roots), gate) as listener:
        yield listener


@pytest.fixture
async def enterprise(pki: Path, pins: Pins, clock: Clock, revocations: Revocations) -> AsyncIterator[Listener]:
    tenant = pins.tenants[0]
    clients = dict.fromkeys(tenant.client_ids, tenant.tenant_id) | {"ward-of-another": bytes(16)}
    config = IssuerConfig(
        issuer=tenant.issuer,
        algorithm=Algorithm.ES256,
        keys=FileSource(pki / "issuer/jwks.json"),
        clients=clients,
    )
    judge = TokenJudge((config,), audience=AUDIENCE, clock=clock)
    gate = Gate(EnterpriseAdmission(pins.tenants, judge, clock=clock), revocations=revocations, clock=clock)
    async with listen(pki, tenant.roots, gate) as listener:
        yield listener


def operator(pki: Path, trust_domain: str = "gpu-fr.example") -> OperatorAuthority:
    folder = pki / "operators" / trust_domain
    return OperatorAuthority.load(
        trust_domain,
        private_pem=(folder / "ca.key.pem").read_bytes(),
        certificate_pem=(folder / "ca.pem").read_bytes(),
    )


def runner_home(pki: Path, trust_domain: str = "gpu-fr.example") -> Path:
    return next((pki / "operators" / trust_domain / "runners").iterdir())


def runner_files(pki: Path) -> tuple[Path, Path]:
    return runner_home(pki) / "chain.pem", runner_home(pki) / "key.pem"


def client_files(pki: Path) -> tuple[Path, Path]:
    return pki / "tenant/client.pem", pki / "tenant/client.key.pem"


def mint(pki: Path, *, certificate: Path | None = None, client_id: str = development.CLIENT) -> str:
    pem = (certificate or client_files(pki)[0]).read_bytes()
    return issuer.mint(pki / "issuer", client_id=client_id, audience=AUDIENCE, certificate_pem=pem, now=NOW)


FIRST = "spiffe://gpu-fr.example/j/FR/runner/6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d"
GOOD = Forgery(start=NOW - timedelta(seconds=30))
FORGERIES = {
    "no extended key usage": replace(GOOD, usages=()),
    "a CA as leaf": replace(GOOD, ca=True, cert_sign=True),
    "two SPIFFE ids": GOOD.named(FIRST, FIRST.replace("gpu-fr", "gpu-de")),
    "a DNS name beside the id": replace(GOOD, names=(uri_of(FIRST), x509.DNSName("gateway.carnet.test"))),
    "no name": replace(GOOD, names=()),
    "another country than its path": replace(GOOD, countries=("DE",)),
    "another operator's trust domain": replace(GOOD.named(FIRST.replace("gpu-fr", "gpu-de")), countries=("FR",)),
    "a jurisdiction that is not the operator's": replace(GOOD.named(FIRST.replace("/FR/", "/US/")), countries=("US",)),
    "a client's path": GOOD.named("spiffe://gpu-fr.example/client/x"),
    "two days long": replace(GOOD, seconds=48 * 3600),
}


def forged(pki: Path, folder: Path, forgery: Forgery) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    certificate = replace(forgery, public=private.public_key()).sign(operator(pki))
    return keep(Folder(folder / "forged"), certificate, Signer(private).to_pem())


async def test_control_the_good_runner_is_known_by_its_name(pki: Path, tmp_path: Path, gated: Listener) -> None:
    async with connect(pki, gated, *forged(pki, tmp_path, GOOD)) as channel:
        assert await ask(channel) == FIRST.encode()
    async with connect(pki, gated, *runner_files(pki)) as channel:
        assert RunnerId.parse((await ask(channel)).decode()).runner == runner_home(pki).name


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_certificate_that_the_handshake_takes_is_refused_on_each_call(
    name: str, pki: Path, tmp_path: Path, bare: Listener, gated: Listener
) -> None:
    files = forged(pki, tmp_path, FORGERIES[name])
    async with connect(pki, bare, *files) as channel:
        assert await ask(channel) == b"nobody"
    async with connect(pki, gated, *files) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
    assert (caught.value.code(), reason_of(caught.value)) == (grpc.StatusCode.UNAUTHENTICATED, "CERT_INVALID")


async def test_no_certificate_or_an_unknown_cas_is_not_let_in(
    pki: Path, tmp_path: Path, bare: Listener, gated: Listener
) -> None:
    stranger = TenantAuthority.create("hospital.example", now=NOW)
    signer = Signer.generate()
    leaf = stranger.issue_client("ward-7", signer.public_der, now=NOW)
    for listener in (bare, gated):
        async with connect(pki, listener, *keep(Folder(tmp_path / "x"), leaf, signer.to_pem())) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel, seconds=2)
        anonymous = grpc.ssl_channel_credentials((pki / "gateway/ca.pem").read_bytes())
        async with tls.open_channel(
            f"127.0.0.1:{listener.port}", anonymous, server_name=development.GATEWAY
        ) as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await ask(channel, seconds=2)


async def test_a_clients_certificate_is_no_runner_and_a_runners_no_client(
    pki: Path, gated: Listener, enterprise: Listener
) -> None:
    async with connect(pki, gated, *client_files(pki)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
    assert reason_of(caught.value) == "CERT_INVALID"
    async with connect(pki, enterprise, *runner_files(pki)) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(channel, token=mint(pki), seconds=2)


async def test_a_tenants_ca_can_not_issue_a_runner(pki: Path, tmp_path: Path, gated: Listener) -> None:
    tenant = TenantAuthority.load(
        "hospital.example",
        private_pem=(pki / "tenant/ca.key.pem").read_bytes(),
        certificate_pem=(pki / "tenant/ca.pem").read_bytes(),
    )
    private = ec.generate_private_key(ec.SECP256R1())
    leaf = replace(GOOD, public=private.public_key()).sign(tenant)
    async with connect(pki, gated, *keep(Folder(tmp_path / "x"), leaf, Signer(private).to_pem())) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
    assert reason_of(caught.value) == "CERT_INVALID"


async def test_a_certificate_that_expires_during_the_connection_serves_no_further_call(
    pki: Path, tmp_path: Path, bare: Listener, gated: Listener, clock: Clock
) -> None:
    # The handshake goes by the machine's clock and the gate by the test's: here they agree, or neither end is known.
    began = datetime.now(UTC).replace(microsecond=0)
    brief = replace(GOOD, start=began - timedelta(seconds=30), seconds=40)
    clock.now_ns = int(began.timestamp()) * 10**9
    files = forged(pki, tmp_path, brief)
    async with connect(pki, bare, *files) as loose, connect(pki, gated, *files) as channel:
        assert await ask(loose)
        assert await ask(channel) == FIRST.encode()
        await asyncio.sleep(10.5 - (datetime.now(UTC) - began).total_seconds())
        clock.now_ns = int(datetime.now(UTC).timestamp()) * 10**9
        assert await ask(loose), "the control: the connection outlives its certificate"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
    assert reason_of(caught.value) == "CERT_INVALID"


async def end_of(call: grpc.aio.UnaryStreamCall[bytes, bytes]) -> grpc.aio.AioRpcError:
    """Read a stream to its error."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(read_on(call), timeout=10)
    return caught.value


async def read_on(call: grpc.aio.UnaryStreamCall[bytes, bytes]) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def test_a_stream_ends_when_its_certificate_expires(
    pki: Path, tmp_path: Path, gated: Listener, clock: Clock
) -> None:
    clock.advance(24 * 3600 - 32.0)
    async with connect(pki, gated, *forged(pki, tmp_path, GOOD)) as channel:
        call = channel.unary_stream(TICK)(b"?")
        assert await call.read() == FIRST.encode()
        error = await end_of(call)
    assert reason_of(error) == "CERT_INVALID"


async def test_a_stream_ends_when_its_token_expires(pki: Path, enterprise: Listener, clock: Clock) -> None:
    clock.advance(608.0)
    async with connect(pki, enterprise, *client_files(pki)) as channel:
        call = channel.unary_stream(TICK)(b"?", metadata=bearer(mint(pki)))
        assert await call.read() == b"developer"
        error = await end_of(call)
    assert reason_of(error) == "TOKEN_EXPIRED"


@pytest.mark.parametrize("method", [TICK, SLOW])
async def test_revoking_a_certificate_ends_its_streams_at_once_and_refuses_the_next_call(
    pki: Path, gated: Listener, revocations: Revocations, pins: Pins, method: str
) -> None:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"?"
            await asyncio.sleep(0.02)

    async with connect(pki, gated, *runner_files(pki)) as channel:
        call = channel.unary_stream(TICK)(b"?") if method == TICK else channel.stream_stream(SLOW)(forever())
        assert await call.read()
        digest = sha256(tls.certificate_from_pem(runner_files(pki)[0].read_bytes())).digest()
        revocations.revoke(bytes(32))
        assert await call.read(), "the control: revoking another certificate ends nothing"
        revocations.revoke(digest)
        assert reason_of(await end_of(call)) == "CERT_REVOKED"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel)
    assert reason_of(caught.value) == "CERT_REVOKED"


async def test_a_token_of_one_tenant_with_the_certificate_of_another_is_refused(
    pki: Path, enterprise: Listener
) -> None:
    async with connect(pki, enterprise, *client_files(pki)) as channel:
        assert await ask(channel, token=mint(pki)) == b"developer"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, token=mint(pki, client_id="ward-of-another"))
    assert reason_of(caught.value) == "TOKEN_INVALID"


async def test_a_stolen_token_over_another_clients_connection_is_refused(
    pki: Path, tmp_path: Path, enterprise: Listener
) -> None:
    tenant = TenantAuthority.load(
        "hospital.example",
        private_pem=(pki / "tenant/ca.key.pem").read_bytes(),
        certificate_pem=(pki / "tenant/ca.pem").read_bytes(),
    )
    signer = Signer.generate()
    files = keep(Folder(tmp_path / "thief"), tenant.issue_client("thief", signer.public_der, now=NOW), signer.to_pem())
    async with connect(pki, enterprise, *files) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, token=mint(pki))
        assert reason_of(caught.value) == "TOKEN_INVALID"
        assert await ask(channel, token=mint(pki, certificate=files[0])), "the control: a token of its own"


@pytest.mark.parametrize(
    "metadata",
    [
        [],
        [("authorization", "Bearer")],
        [("authorization", "Basic {token}")],
        [("authorization", "{token}")],
        [("authorization", "Bearer {token}"), ("authorization", "Bearer {token}")],
        [("authorization-bin", b"Bearer x")],
    ],
)
async def test_a_call_without_exactly_one_bearer_token_is_refused(
    pki: Path, enterprise: Listener, metadata: Sequence[tuple[str, str | bytes]]
) -> None:
    filled = [(k, v.format(token=mint(pki)) if isinstance(v, str) else v) for k, v in metadata]
    async with connect(pki, enterprise, *client_files(pki)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(WHO)(b"?", timeout=5, metadata=filled)
    assert reason_of(caught.value) == "TOKEN_INVALID"


@pytest.mark.parametrize("make", [runner_files, client_files])
async def test_a_runner_or_client_can_not_pose_as_the_gateway(
    pki: Path, pins: Pins, make: Callable[[Path], tuple[Path, Path]]
) -> None:
    server = grpc.aio.server()
    certificate, private_key = make(pki)
    credentials = tls.server_credentials(
        certificate=certificate, private_key=private_key, client_roots=pins.tenants[0].roots
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=5)):
        pass
    async with connect(pki, Listener(server=server, port=port), *client_files(pki)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, seconds=2)
    assert caught.value.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    await server.stop(grace=None)


async def test_the_gateways_certificate_serves_no_other_name(pki: Path, bare: Listener) -> None:
    async with connect(pki, bare, *client_files(pki)) as channel:
        assert await ask(channel)
    async with connect(pki, bare, *client_files(pki), server_name="other.carnet.test") as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await ask(channel, seconds=2)


def call_over(version: ssl.TLSVersion, port: int, pki: Path) -> bytes:
    """A gRPC call with frames made by hand (RFC 9113, section 4), over one version of TLS; what comes back."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    context.load_verify_locations(pki / "gateway/ca.pem")
    context.load_cert_chain(*runner_files(pki))
    context.set_alpn_protocols(["h2"])
    names = {":method": "POST", ":scheme": "https", ":path": WHO, ":authority": "x", "te": "trailers"}
    names |= {"content-type": "application/grpc", "grpc-timeout": "5S"}
    block = b"".join(b"\0" + _text(k) + _text(v) for k, v in names.items())
    message = b"\0" + struct.pack(">I", 1) + b"?"
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=development.GATEWAY) as connection,
    ):
        frames = _frame(4, 0, 0, b"") + _frame(1, 4, 1, block) + _frame(0, 1, 1, message)
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frames)
        data = b""
        while b"grpc-status" not in data:
            data += connection.recv(65536) or b"grpc-status: none"
        return data


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


async def test_a_call_over_tls_1_2_is_refused(pki: Path, bare: Listener, gated: Listener) -> None:
    old, new = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    refusal = b"must use TLS 1.3"
    assert b"nobody" in await asyncio.to_thread(call_over, old, bare.port, pki), "gRPC alone takes TLS 1.2"
    assert b"spiffe://" in await asyncio.to_thread(call_over, new, gated.port, pki)
    assert refusal in await asyncio.to_thread(call_over, old, gated.port, pki)


def test_an_ed25519_or_open_key_is_not_used(pki: Path, tmp_path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder = Folder(tmp_path / "x")
    folder.write_secret("key.pem", pem)
    folder.write_public("open.pem", client_files(pki)[1].read_bytes())
    for name in ("key.pem", "open.pem", "missing.pem"):
        with pytest.raises(CredentialInvalid):
            tls.channel_credentials(
                gateway_ca=(pki / "gateway/ca.pem").read_bytes(),
                certificate=client_files(pki)[0],
                private_key=folder.path / name,
            )


def test_a_listener_with_no_roots_is_not_opened(pki: Path) -> None:
    with pytest.raises(CredentialInvalid):
        tls.server_credentials(
            certificate=pki / "gateway/server.pem", private_key=pki / "gateway/server.key.pem", client_roots=()
        )
