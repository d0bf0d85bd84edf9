"""The gate on a real enterprise listener: what passes it, what it asks for, and how errors leave."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from carnet import tls
from carnet.core.credential import LeafKind
from carnet.core.errors import Bug, ClientCertificateRequired, CredentialInvalid
from carnet.pins import load_pins
from certs import development, issuer
from certs.authority import to_ns
from gateway import identity
from gateway.gate import Gate, Revocations
from gateway.identity import EnterpriseAdmission
from gateway.jwks import Algorithm, FileSource
from gateway.tokens import IssuerConfig, TokenJudge
from tests.fixtures.listener import FAIL, TAKEN, TICK, ask, bearer, echo, reason_of
from tests.fixtures.tokens import Clock

NOW = datetime.now(UTC)
CLOCK = Clock(now_ns=to_ns(NOW))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return development.build(tmp_path_factory.mktemp("pki"), now=NOW).directory


@pytest.fixture
def token(pki: Path) -> str:
    pem = (pki / "tenant/client.pem").read_bytes()
    return issuer.mint(
        pki / "issuer", client_id="ward-7", audience="carnet", certificate_pem=pem, now=NOW, subject="dr. weber"
    )


@pytest.fixture
async def channel(pki: Path) -> AsyncIterator[grpc.aio.Channel]:
    tenant = load_pins(pki / "pins.json").tenants[0]
    config = IssuerConfig(
        issuer=tenant.issuer,
        algorithm=Algorithm.ES256,
        keys=FileSource(pki / "issuer/jwks.json"),
        clients=dict.fromkeys(tenant.client_ids, tenant.tenant_id),
    )
    judge = TokenJudge((config,), audience="carnet", clock=CLOCK)
    gate = Gate(EnterpriseAdmission((tenant,), judge, clock=CLOCK), revocations=Revocations(), clock=CLOCK)
    server = grpc.aio.server(interceptors=[gate], options=tls.SERVER_OPTIONS)
    server.add_generic_rpc_handlers((echo(),))
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    reflection.enable_server_reflection(("carnet.test.Echo", reflection.SERVICE_NAME), server)
    credentials = tls.server_credentials(
        certificate=pki / "gateway/server.pem",
        private_key=pki / "gateway/server.key.pem",
        client_roots=tenant.roots,
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    client = tls.channel_credentials(
        gateway_ca=(pki / "gateway/ca.pem").read_bytes(),
        certificate=pki / "tenant/client.pem",
        private_key=pki / "tenant/client.key.pem",
    )
    async with tls.open_channel(f"127.0.0.1:{port}", client, server_name=development.GATEWAY) as found:
        yield found
    await server.stop(grace=None)


async def test_a_client_with_certificate_and_token_is_known_by_its_subject(
    channel: grpc.aio.Channel, token: str
) -> None:
    assert await ask(channel, token=token) == b"dr. weber"
    call = channel.unary_stream(TICK)(b"?", metadata=bearer(token))
    assert [await call.read(), await call.read()] == [b"dr. weber"] * 2
    call.cancel()


async def test_health_and_reflection_need_no_token(channel: grpc.aio.Channel) -> None:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=5)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    listed = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]), timeout=5)
    names = [service.name for answer in [await listed.read()] for service in answer.list_services_response.service]
    assert "carnet.test.Echo" in names
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel)
    assert reason_of(caught.value) == "TOKEN_INVALID"


async def test_a_unary_call_without_a_deadline_is_refused(channel: grpc.aio.Channel, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, token=token, seconds=None)
    assert (caught.value.code(), reason_of(caught.value)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "DEADLINE_REQUIRED",
    )


async def test_an_error_of_ours_leaves_with_its_reason_and_one_that_is_not_leaves_with_no_text(
    channel: grpc.aio.Channel, token: str
) -> None:
    for method, code, reason in (
        (TAKEN, grpc.StatusCode.ALREADY_EXISTS, "JOB_ID_TAKEN"),
        (FAIL, grpc.StatusCode.INTERNAL, "BUG"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask(channel, method, token=token)
        assert (caught.value.code(), reason_of(caught.value)) == (code, reason)
        assert "canary" not in str(caught.value.details())


async def test_an_unknown_method_is_not_implemented(channel: grpc.aio.Channel, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel, "/carnet.test.Echo/Other", token=token)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_service_that_nobody_was_admitted_to_finds_no_caller() -> None:
    for name in (identity.caller, identity.runner):
        with pytest.raises(Bug):
            name()


def test_the_peer_of_a_call_is_judged_from_what_grpc_says_of_it(pki: Path) -> None:
    pem = (pki / "tenant/client.pem").read_bytes()
    good = {"x509_pem_cert": [pem], "ssl_tls_version": [b"TLSv1.3"]}
    peer = tls.check_peer(good, LeafKind.CLIENT, now_ns=to_ns(NOW))
    assert str(peer.leaf.id) == "spiffe://hospital.example/client/ward-7"
    for change in ({"x509_pem_cert": []}, {"x509_pem_cert": [b""]}, {"x509_pem_cert": [pem, pem]}):
        with pytest.raises(ClientCertificateRequired):
            tls.check_peer({**good, **change}, LeafKind.CLIENT, now_ns=to_ns(NOW))
    for change in ({"ssl_tls_version": [b"TLSv1.2"]}, {"ssl_tls_version": []}, {"x509_pem_cert": [pem + pem]}):
        with pytest.raises(CredentialInvalid):
            tls.check_peer({**good, **change}, LeafKind.CLIENT, now_ns=to_ns(NOW))
    with pytest.raises(ClientCertificateRequired):
        tls.check_peer({}, LeafKind.CLIENT, now_ns=to_ns(NOW))
