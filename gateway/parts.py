"""What a gateway is made of, and in which order it comes up.

    parts = await Parts.open(config, stack, clock=time.time_ns)

What is kept (`Kept`) comes first, then what decides (`Law`: the policy with every active overlay; signed, kept, offered
to an OPA that fetches it), then what moves jobs. A part that does not come up stops the start with its error; what came
up before it is closed by the stack.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

import structlog

from carnet.core.statement import Signer
from carnet.pins import Pins, load_pins
from carnet.tls import read_private_key
from gateway import dispatch, offering
from gateway import revisions as revising
from gateway.auditlog import AuditLog, load_log_key
from gateway.bells import Bells
from gateway.bundleserver import BundleServer
from gateway.composition import Composition
from gateway.config import GatewayConfig, Policy, Screening
from gateway.decisionlog import DecisionLog
from gateway.exemptions import Exemptions
from gateway.health import Health
from gateway.judge import Judge
from gateway.keysets import KeySets
from gateway.ledger import Ledger
from gateway.lives import Lives
from gateway.metrics import Metrics
from gateway.publishing import Publishing, bundle_of
from gateway.revisions import Revisions
from gateway.roster import Roster
from gateway.screening import Screens
from gateway.shadow import Shadow
from gateway.standing import Standing
from gateway.storage import queries
from gateway.storage.blobs import BlobStore
from gateway.storage.bundles import BundleStore
from gateway.storage.store import SqliteStore
from gateway.storage.wraps import WrapKeys
from gateway.words import WordBook
from policy.bundle import Bundle
from policy.engine import PolicyEngine
from policy.engines.cache import CachedPolicy
from policy.engines.choice import chosen, find_opa
from policy.engines.current import CurrentPolicy
from policy.linting import find_regal
from policy.signing import PolicyKey

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What outlives the process."""

    store: SqliteStore
    log: AuditLog
    blobs: BlobStore
    wraps: WrapKeys
    bundles: BundleStore
    key_sets: KeySets

    @classmethod
    async def open(cls, config: GatewayConfig, stack: AsyncExitStack, *, origin: str, health: Health) -> Self:
        """Open it, and sweep what was never accepted."""
        store = await SqliteStore.open(
            config.state / "gateway.db",
            origin=origin,
            log_key=load_log_key(config.keys.log),
            failed=lambda: health.fail("the store has stopped"),
        )
        stack.push_async_callback(store.close)
        blobs = BlobStore(config.state / "blobs")
        stack.callback(blobs.close)
        await blobs.sweep(await store.read(queries.job_keys))
        return cls(
            store=store,
            log=AuditLog(store),
            blobs=blobs,
            wraps=WrapKeys(config.state / "wrap-keys"),
            bundles=BundleStore(config.state / "bundles"),
            key_sets=await KeySets.load(store),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """The policy that is live, what stands beside it, and what changes it."""

    policy: CurrentPolicy
    engine: PolicyEngine
    server: BundleServer
    composition: Composition
    shadow: Shadow
    revisions: Revisions
    exemptions: Exemptions
    standing: Standing
    ledger: Ledger
    words: WordBook

    @classmethod
    async def open(
        cls, config: GatewayConfig, stack: AsyncExitStack, *, kept: Kept, metrics: Metrics, clock: Callable[[], int]
    ) -> Self:
        """The bundle that the operator named, with every overlay that is active, in a running engine."""
        store, server = kept.store, BundleServer()
        base = await bundle_of(config.policy.bundle, config.policy.keys, kept.bundles)
        composition = Composition(store, base)
        key = PolicyKey.from_pem(read_private_key(config.keys.policy))
        publishing = Publishing(kept.bundles, key, server, clock=clock)
        policy = await _policy(config.policy, await composition.restore(), publishing)
        stack.push_async_callback(policy.close)
        _log.info("policy bundle", revision=policy.bundle.revision, keyid=key.keyid)
        _log.info("policy engine", engine=policy.name, version=policy.version, asked=config.policy.engine.value)
        engine = CachedPolicy(engine=policy)
        stack.push_async_callback(engine.close)
        shadow = Shadow(store, composition, metrics)
        await shadow.start()
        stack.push_async_callback(shadow.close)
        opa = config.policy.opa or find_opa()
        changes = revising.Parts(
            store=store,
            policy=policy,
            composition=composition,
            shadow=shadow,
            opa=opa,
            regal=find_regal(),
            clock=clock,
        )
        screens = await _screens(config.screening, stack, clock=clock)
        exemptions = Exemptions(store, live=lambda: policy.bundle, quorum=config.exemptions.quorum, clock=clock)
        return cls(
            policy=policy,
            engine=engine,
            server=server,
            composition=composition,
            shadow=shadow,
            revisions=Revisions(changes),
            exemptions=exemptions,
            standing=Standing(store, exemptions, overlay_of=composition.overlay_of, screens=screens),
            ledger=Ledger(store, policy.bundle, clock=clock),
            words=WordBook(lambda: policy.bundle),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All of it."""

    pins: Pins
    kept: Kept
    law: Law
    judge: Judge
    decisions: DecisionLog
    roster: Roster
    lives: Lives
    bells: Bells
    dispatch: dispatch.Dispatch
    metrics: Metrics
    health: Health
    clock: Callable[[], int]

    @classmethod
    async def open(cls, config: GatewayConfig, stack: AsyncExitStack, *, clock: Callable[[], int]) -> Self:
        """Bring everything up but the listeners; jobs that were accepted before go on."""
        pins, health, metrics, roster, bells = load_pins(config.pins), Health(), Metrics(), Roster(), Bells()
        config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = await Kept.open(config, stack, origin=pins.gateway.origin, health=health)
        law = await Law.open(config, stack, kept=kept, metrics=metrics, clock=clock)
        signer = Signer.from_pem(read_private_key(config.keys.decision))
        days, tenant_days = config.decisions.days, config.decisions.tenant_days
        judge = Judge(law.engine, signer, clock=clock)
        decisions = DecisionLog(law.engine, pins, days=days, tenant_days=tenant_days, clock=clock)
        lives = Lives(kept.store, bells, metrics, clock=clock)
        loop = dispatch.Dispatch(
            offering.Parts(
                store=kept.store,
                lives=lives,
                wraps=kept.wraps,
                blobs=kept.blobs,
                roster=roster,
                standing=law.standing,
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
            pins=pins,
            kept=kept,
            law=law,
            judge=judge,
            decisions=decisions,
            roster=roster,
            lives=lives,
            bells=bells,
            dispatch=loop,
            metrics=metrics,
            health=health,
            clock=clock,
        )


async def _screens(config: Screening, stack: AsyncExitStack, *, clock: Callable[[], int]) -> Screens | None:
    if config.results is None:
        return None
    screens = await Screens.open(config.results, days=config.days, clock=clock)
    looking = asyncio.create_task(screens.run(), name="screening")
    stack.callback(looking.cancel)
    return screens


async def _policy(config: Policy, bundle: Bundle, publishing: Publishing) -> CurrentPolicy:
    starter = chosen(config.engine, url=config.url, binary=config.opa)
    return await CurrentPolicy.open(starter, bundle=bundle, publish=publishing.publish)
