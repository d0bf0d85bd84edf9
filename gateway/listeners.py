"""The listeners: who may connect to which service, and where.

Each gRPC listener trusts the roots of its own peers and no others (tenants at one, operators at the other), and has
one gate that every call passes. Every address is loopback unless the operator says otherwise.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
from grpc_reflection.v1alpha import reflection

from carnet.tls import SERVER_OPTIONS, read_secret, server_credentials
from gateway import metricsserver, services
from gateway.config import GatewayConfig, Listener
from gateway.gate import Admission, Gate, Revocations
from gateway.health import SERVICE_NAME
from gateway.identity import EnterpriseAdmission, RunnerAdmission
from gateway.jwks import Algorithm, FileSource, HttpsSource, KeySource
from gateway.pages import PageTokens
from gateway.parts import Parts
from gateway.tokens import IssuerConfig, TokenJudge

page_key_bytes: Final = 32
grace_seconds: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a gateway listens; empty where it does not."""

    enterprise: str
    runner: str
    metrics: str
    bundles: str


class Listeners:
    """Opens the listeners of one gateway; the stack closes them."""

    def __init__(self, parts: Parts, config: GatewayConfig, stack: AsyncExitStack) -> None:
        self._parts = parts
        self._config = config
        self._stack = stack
        self._revocations = Revocations()

    async def open(self) -> Addresses:
        """Listen everywhere."""
        return Addresses(
            enterprise=await self._enterprise(),
            runner=await self._runner(),
            metrics=await self._metrics(),
            bundles=await self._bundles(),
        )

    async def _enterprise(self) -> str:
        parts, config = self._parts, self._config
        pages = PageTokens(read_secret(config.keys.page, bytes_max=page_key_bytes))
        server = self._server(EnterpriseAdmission(parts.pins.tenants, self._tokens(), clock=parts.clock))
        names = (
            services.jobs(parts, pages).register(server),
            services.decisions(parts, pages).register(server),
            services.changes(parts, pages).register(server),
        )
        roots = tuple(root for tenant in parts.pins.tenants for root in tenant.roots)
        return await self._listen(server, config.enterprise, roots, names)

    async def _runner(self) -> str:
        parts = self._parts
        server = self._server(RunnerAdmission(parts.pins.operators, clock=parts.clock))
        names = (services.runners(parts).register(server),)
        roots = tuple(root for anchor in parts.pins.operators for root in anchor.roots)
        return await self._listen(server, self._config.runner, roots, names)

    async def _metrics(self) -> str:
        listen = self._config.metrics.listen
        server = await metricsserver.listen(listen, self._parts.metrics.text)
        self._stack.callback(server.close)
        return f"{listen.rpartition(':')[0]}:{server.sockets[0].getsockname()[1]}"

    async def _bundles(self) -> str:
        listen = self._config.policy.serve
        if listen is None:
            return ""
        server = self._parts.law.server
        self._stack.push_async_callback(server.close)
        return await server.listen(listen)

    def _server(self, admission: Admission) -> grpc.aio.Server:
        gate = Gate(
            admission,
            revocations=self._revocations,
            clock=self._parts.clock,
            observe=self._parts.metrics.count_call,
        )
        return grpc.aio.server(interceptors=[gate], options=SERVER_OPTIONS)

    async def _listen(
        self, server: grpc.aio.Server, listener: Listener, roots: tuple[bytes, ...], names: tuple[str, ...]
    ) -> str:
        health = self._parts.health
        answering = health.add(server, names)
        if self._config.reflection:
            known = (*names, SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(known, server)
        credentials = server_credentials(certificate=listener.certificate, private_key=listener.key, client_roots=roots)
        port = server.add_secure_port(listener.listen, credentials)
        await server.start()
        self._stack.push_async_callback(server.stop, grace_seconds)
        await health.serve(answering)
        return f"{listener.listen.rpartition(':')[0]}:{port}"

    def _tokens(self) -> TokenJudge:
        tokens, tenants = self._config.tokens, self._parts.pins.tenants
        issuer = IssuerConfig(
            issuer=tokens.issuer,
            algorithm=Algorithm.ES256,
            keys=_key_source(tokens.jwks),
            clients={client: tenant.tenant_id for tenant in tenants for client in tenant.client_ids},
        )
        return TokenJudge((issuer,), audience=tokens.audience, clock=self._parts.clock)


def _key_source(place: str) -> KeySource:
    return HttpsSource(place) if "://" in place else FileSource(Path(place))
