"""The gateway, put together: the only place where its parts are joined.

    gateway = await Gateway.start(config)
    await gateway.serve(stop)

Order of start: store, policy (with every active overlay; signed, kept, offered to an OPA that fetches it), sweep of
what was never accepted, dispatch, listeners. A part that does not come up stops the start with its error; nothing
listens before everything that it needs is there.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final, Self

import grpc
import grpc.aio
import structlog
from grpc_reflection.v1alpha import reflection

from carnet.core.decision import Reason
from carnet.core.statement import Signer
from carnet.pins import Pins, load_pins
from carnet.tls import SERVER_OPTIONS, read_private_key, read_secret, server_credentials
from gateway import deliveries, dispatch, intake, offering, preparing, recipients, retention, returns
from gateway.approvals import Approvals
from gateway.auditlog import AuditLog, load_log_key
from gateway.bells import Bells
from gateway.bundleserver import BundleServer
from gateway.composition import Composition
from gateway.config import GatewayConfig, Listener, Policy
from gateway.decisionlog import DecisionLog
from gateway.decisions import Decisions
from gateway.decisions import Parts as DecisionParts
from gateway.exemptions import Exemptions
from gateway.gate import Admission, Gate, Revocations
from gateway.health import SERVICE_NAME, Health
from gateway.identity import EnterpriseAdmission, RunnerAdmission
from gateway.jobs import Jobs
from gateway.judge import Judge
from gateway.jwks import Algorithm, FileSource, HttpsSource, KeySource
from gateway.keysets import KeySets
from gateway.ledger import Ledger
from gateway.lives import Lives
from gateway.metrics import Metrics
from gateway.pages import PageTokens
from gateway.policies import Parts as PolicyParts
from gateway.policies import Policies
from gateway.publishing import Publishing, bundle_of
from gateway.revisions import Parts as RevisionParts
from gateway.revisions import Revisions
from gateway.roster import Roster
from gateway.runners import Runners
from gateway.shadow import Shadow
from gateway.standing import Standing
from gateway.storage import queries
from gateway.storage.blobs import BlobStore
from gateway.storage.bundles import BundleStore
from gateway.storage.decisionlog import ForgetEvents
from gateway.storage.operations import Batch, ForgetRequests
from gateway.storage.store import SqliteStore
from gateway.storage.wraps import WrapKeys, day_of
from gateway.tidying import Tidying
from gateway.tokens import IssuerConfig, TokenJudge
from policy.bundle import Bundle
from policy.engine import PolicyEngine
from policy.engines.cache import CachedPolicy
from policy.engines.choice import chosen, find_opa
from policy.engines.current import CurrentPolicy
from policy.rendering import Renderer, Sentence
from policy.signing import PolicyKey

page_key_bytes: Final = 32
grace_seconds: Final = 5.0
request_seconds: Final = 24 * 3600

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a gateway listens."""

    enterprise: str
    runner: str
    metrics: str
    bundles: str


class Gateway:
    """One gateway process."""

    def __init__(self, stack: AsyncExitStack, addresses: Addresses, tidy: "asyncio.Task[None]") -> None:
        self._stack = stack
        self._tidy = tidy
        self.addresses = addresses

    @classmethod
    async def start(cls, config: GatewayConfig, *, clock: Callable[[], int] = time.time_ns) -> Self:
        """Join everything, and listen. Raises what the first part that does not come up raises."""
        async with AsyncExitStack() as stack:
            parts = await _Parts.open(config, stack, clock=clock)
            enterprise = await parts.listen_enterprise(config)
            runner = await parts.listen_runner(config)
            metrics = await parts.listen_metrics(config.metrics.listen)
            bundles = await parts.listen_bundles(config.policy.serve)
            tidy = asyncio.create_task(parts.tidying().run(), name="tidy")
            addresses = Addresses(enterprise=enterprise, runner=runner, metrics=metrics, bundles=bundles)
            _log.info("gateway ready", action="start", **asdict(addresses))
            return cls(stack.pop_all(), addresses, tidy)

    async def serve(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        await stop.wait()
        await self.close()

    async def close(self) -> None:
        """Take no more calls, let what is under way end, write what waits."""
        self._tidy.cancel()
        await self._stack.aclose()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    stack: AsyncExitStack
    pins: Pins
    store: SqliteStore
    log: AuditLog
    blobs: BlobStore
    wraps: WrapKeys
    roster: Roster
    judge: Judge
    decisions: DecisionLog
    ledger: Ledger
    key_sets: KeySets
    exemptions: Exemptions
    standing: Standing
    composition: Composition
    shadow: Shadow
    revisions: Revisions
    bells: Bells
    metrics: Metrics
    lives: Lives
    dispatch: dispatch.Dispatch
    revocations: Revocations
    bundles: BundleStore
    policy: CurrentPolicy
    server: BundleServer
    health: Health
    clock: Callable[[], int]

    @classmethod
    async def open(cls, config: GatewayConfig, stack: AsyncExitStack, *, clock: Callable[[], int]) -> "_Parts":
        pins = load_pins(config.pins)
        config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        bundles, server = BundleStore(config.state / "bundles"), BundleServer()
        key = PolicyKey.from_pem(read_private_key(config.keys.policy))
        base = await bundle_of(config.policy.bundle, config.policy.keys, bundles)
        health = Health()
        store = await SqliteStore.open(
            config.state / "gateway.db",
            origin=pins.gateway.origin,
            log_key=load_log_key(config.keys.log),
            failed=lambda: health.fail("the store has stopped"),
        )
        stack.push_async_callback(store.close)
        composition = Composition(store, base)
        publishing = Publishing(bundles, key, server, clock=clock)
        policy = await _policy(config.policy, await composition.restore(), publishing)
        _log.info("policy bundle", revision=policy.bundle.revision, keyid=key.keyid)
        stack.push_async_callback(policy.close)
        engine = await _engine(config.policy, policy)
        stack.push_async_callback(engine.close)
        blobs = BlobStore(config.state / "blobs")
        stack.callback(blobs.close)
        await blobs.sweep(await store.read(queries.job_keys))
        signer = Signer.from_pem(read_private_key(config.keys.decision))
        wraps, roster, bells, metrics = WrapKeys(config.state / "wrap-keys"), Roster(), Bells(), Metrics()
        judge = Judge(engine, signer, clock=clock)
        decisions = DecisionLog(
            engine, pins, days=config.decisions.days, tenant_days=config.decisions.tenant_days, clock=clock
        )
        lives = Lives(store, bells, metrics, clock=clock)
        exemptions = Exemptions(store, live=lambda: policy.bundle, quorum=config.exemptions.quorum, clock=clock)
        standing = Standing(store, exemptions, overlay_of=composition.overlay_of)
        shadow = Shadow(store, composition, metrics)
        await shadow.start()
        stack.push_async_callback(shadow.close)
        revisions = Revisions(
            RevisionParts(
                store=store,
                policy=policy,
                composition=composition,
                shadow=shadow,
                opa=config.policy.opa or find_opa(),
                clock=clock,
            )
        )
        loop = dispatch.Dispatch(
            offering.Parts(
                store=store,
                lives=lives,
                wraps=wraps,
                blobs=blobs,
                roster=roster,
                standing=standing,
                judge=judge,
                decisions=decisions,
                signer=signer,
                metrics=metrics,
                clock=clock,
                lease_seconds=config.lease.seconds,
            )
        )
        await loop.start()
        stack.push_async_callback(loop.close)
        return cls(
            stack=stack,
            pins=pins,
            store=store,
            log=AuditLog(store),
            blobs=blobs,
            wraps=wraps,
            roster=roster,
            judge=judge,
            decisions=decisions,
            ledger=Ledger(store, policy.bundle, clock=clock),
            key_sets=await KeySets.load(store),
            exemptions=exemptions,
            standing=standing,
            composition=composition,
            shadow=shadow,
            revisions=revisions,
            bells=bells,
            metrics=metrics,
            lives=lives,
            dispatch=loop,
            revocations=Revocations(),
            bundles=bundles,
            policy=policy,
            server=server,
            health=health,
            clock=clock,
        )

    async def listen_enterprise(self, config: GatewayConfig) -> str:
        """The enterprise listener: Jobs and Decisions."""
        admission = EnterpriseAdmission(self.pins.tenants, self._tokens(config), clock=self.clock)
        taken = intake.Intake(
            intake.Parts(
                store=self.store,
                log=self.log,
                blobs=self.blobs,
                wraps=self.wraps,
                ledger=self.ledger,
                standing=self.standing,
                exemptions=self.exemptions,
                judge=self.judge,
                pins=self.pins,
                key_sets=self.key_sets,
                render=lambda reason: self._in_words(reason).text,
                adopt=self.dispatch.adopt,
                knows=lambda key: self.lives.find(key) is not None,
                clock=self.clock,
            )
        )
        home = returns.Returns(returns.Parts(store=self.store, log=self.log, blobs=self.blobs, bells=self.bells))
        pages = PageTokens(read_secret(config.keys.page, bytes_max=page_key_bytes))
        server = self._server(admission)
        name = Jobs(
            self.store,
            preparing.Preparing(
                preparing.Parts(
                    store=self.store,
                    roster=self.roster,
                    judge=self.judge,
                    ledger=self.ledger,
                    standing=self.standing,
                    shadow=self.shadow,
                    metrics=self.metrics,
                    decisions=self.decisions,
                    in_words=self._in_words,
                    clock=self.clock,
                )
            ),
            taken,
            recipients.Recipients(
                recipients.Parts(
                    store=self.store,
                    lives=self.lives,
                    wraps=self.wraps,
                    ledger=self.ledger,
                    key_sets=self.key_sets,
                    standing=self.standing,
                    exemptions=self.exemptions,
                    judge=self.judge,
                    pins=self.pins,
                    clock=self.clock,
                )
            ),
            Approvals(self.store, self.lives, clock=self.clock),
            home,
            self.lives,
            pages=pages,
            clock=self.clock,
        ).register(server)
        officers = Decisions(DecisionParts(store=self.store, log=self.log, bundles=self.bundles, pages=pages))
        changes = Policies(
            PolicyParts(
                store=self.store,
                policy=self.policy,
                composition=self.composition,
                revisions=self.revisions,
                exemptions=self.exemptions,
                pages=pages,
                clock=self.clock,
            )
        )
        names = (name, officers.register(server), changes.register(server))
        roots = tuple(root for tenant in self.pins.tenants for root in tenant.roots)
        return await self._listen(server, config.enterprise, roots, names=names, reflect=config.reflection)

    async def listen_runner(self, config: GatewayConfig) -> str:
        """The runner listener: Runners."""
        admission = RunnerAdmission(self.pins.operators, clock=self.clock)
        home = deliveries.Deliveries(
            deliveries.Parts(
                store=self.store,
                blobs=self.blobs,
                lives=self.lives,
                metrics=self.metrics,
                ring=self.bells.ring,
                clock=self.clock,
            )
        )
        server = self._server(admission)
        service = Runners(self.roster, self.dispatch, home, self.metrics, self.pins, clock=self.clock)
        name = service.register(server)
        roots = tuple(root for anchor in self.pins.operators for root in anchor.roots)
        return await self._listen(server, config.runner, roots, names=(name,), reflect=config.reflection)

    async def listen_bundles(self, listen: str | None) -> str:
        """The live bundle for an OPA that fetches it, where one does; else nowhere."""
        if listen is None:
            return ""
        self.stack.push_async_callback(self.server.close)
        return await self.server.listen(listen)

    async def listen_metrics(self, listen: str) -> str:
        """Prometheus text over plain HTTP; meant for loopback."""
        host, _, port = listen.rpartition(":")
        server = await asyncio.start_server(self._answer_metrics, host, int(port))
        self.stack.callback(server.close)
        return f"{host}:{server.sockets[0].getsockname()[1]}"

    def tidying(self) -> Tidying:
        """What forgets what is no longer needed."""
        return Tidying(
            {
                "ciphertext": lambda: retention.sweep(self.store, self.blobs, now_ns=self.clock()),
                "wrap keys": self._sweep_wrap_keys,
                "requests and events": self._forget,
            },
            failed=self.metrics.task_failures.inc,
        )

    async def _sweep_wrap_keys(self) -> None:
        days = await self.store.read(queries.wrap_days)
        await asyncio.to_thread(self.wraps.sweep, needed=days, today=day_of(self.clock()))

    async def _forget(self) -> None:
        before_ns = self.clock() - request_seconds * 10**9
        forgotten = (ForgetRequests(before_ns=before_ns), ForgetEvents(now_ns=self.clock()))
        await self.store.write(Batch(operations=forgotten))

    def _in_words(self, reason: Reason) -> Sentence:
        return Renderer(bundle=self.policy.bundle, language="en").reason(reason)

    def _server(self, admission: Admission) -> grpc.aio.Server:
        gate = Gate(admission, revocations=self.revocations, clock=self.clock, observe=self.metrics.count_call)
        return grpc.aio.server(interceptors=[gate], options=SERVER_OPTIONS)

    async def _listen(
        self,
        server: grpc.aio.Server,
        listener: Listener,
        roots: tuple[bytes, ...],
        *,
        names: tuple[str, ...],
        reflect: bool,
    ) -> str:
        answering = self.health.add(server, names)
        if reflect:
            known = (*names, SERVICE_NAME, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(known, server)
        credentials = server_credentials(certificate=listener.certificate, private_key=listener.key, client_roots=roots)
        port = server.add_secure_port(listener.listen, credentials)
        await server.start()
        self.stack.push_async_callback(server.stop, grace_seconds)
        await self.health.serve(answering)
        return f"{listener.listen.rpartition(':')[0]}:{port}"

    async def _answer_metrics(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(grace_seconds):
                line = await reader.readline()
                found = line.startswith((b"GET /metrics ", b"GET / "))
                status = HTTPStatus.OK if found else HTTPStatus.NOT_FOUND
                body = self.metrics.text() if found else b""
                head = f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: text/plain; version=0.0.4\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
                await writer.drain()
        except (TimeoutError, ConnectionError, ValueError):
            pass  # a reader that does not read gets nothing
        finally:
            writer.close()

    def _tokens(self, config: GatewayConfig) -> TokenJudge:
        clients = {client: tenant.tenant_id for tenant in self.pins.tenants for client in tenant.client_ids}
        issuer = IssuerConfig(
            issuer=config.tokens.issuer,
            algorithm=Algorithm.ES256,
            keys=_key_source(config.tokens.jwks),
            clients=clients,
        )
        return TokenJudge((issuer,), audience=config.tokens.audience, clock=self.clock)


async def _policy(config: Policy, bundle: Bundle, publishing: Publishing) -> CurrentPolicy:
    starter = chosen(config.engine, url=config.url, binary=config.opa)
    return await CurrentPolicy.open(starter, bundle=bundle, publish=publishing.publish)


async def _engine(config: Policy, current: CurrentPolicy) -> PolicyEngine:
    _log.info("policy engine", engine=current.name, version=current.version, asked=config.engine.value)
    return CachedPolicy(engine=current)


def _key_source(place: str) -> KeySource:
    return HttpsSource(place) if "://" in place else FileSource(Path(place))
