"""A malicious runner on its Attach stream: forged papers, messages out of order, floods. Driven by hand, under TLS.

The control of each attack is the same double, honest: it attaches, is shown to clients, and brings a job home.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from carnet import statements
from carnet.core.credential import LeafKind, read_leaf
from carnet.core.errors import CarnetError
from carnet.core.runner import KeyStatement
from carnet.core.statement import Signed, Signer
from carnet.tls import read_private_key
from carnet.v1 import runners_pb2 as pb
from carnet.wire import signed_from_bytes
from certs.authority import OperatorAuthority
from gateway import runners
from tests.fixtures.client_double import ClientDouble, facts
from tests.fixtures.gateway_process import ON_ITS_LOOP, SECOND, GatewayProcess, World, gateway_of, until
from tests.fixtures.runner_double import RunnerDouble, active, renewal

pytestmark = ON_ITS_LOOP

HOUR = 3600
SMALL_WINDOW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1024))


@pytest_asyncio.fixture(loop_scope="module")
async def runner(gateway_process: GatewayProcess) -> AsyncIterator[RunnerDouble]:
    async with RunnerDouble(gateway_process) as found:
        yield found


async def refused(runner: RunnerDouble, *messages: pb.AttachRequest) -> str:
    """The reason that a stream which begins so is ended with."""
    stream = runner.stream(*messages)
    with pytest.raises(CarnetError) as caught:
        await stream.await_item("nothing")
    return caught.value.reason


async def brings_a_job_home(runner: RunnerDouble) -> None:
    """The control: honest, the same runner attaches and works."""
    async with ClientDouble(runner.gateway) as client:
        attached = await runner.attach()
        name = await client.submitted()
        work = runner.attempt(await attached.offer())
        await runner.finish(work)
        assert (await client.client.result(name)).succeeded


def operator(runner: RunnerDouble, index: int = 0) -> OperatorAuthority:
    """The CA of an operator: one that turned malicious, or another one's."""
    domain = runner.gateway.world.runners[index].id.trust_domain
    home = runner.gateway.world.directory / "operators" / domain
    return OperatorAuthority.load(
        domain, private_pem=read_private_key(home / "ca.key.pem"), certificate_pem=(home / "ca.pem").read_bytes()
    )


def statement_of(runner: RunnerDouble, index: int, name: str) -> Signed:
    return signed_from_bytes((runner.gateway.world.runners[index].directory / f"{name}.stmt").read_bytes())


def status(runner: RunnerDouble, *, good: bool = True, age: float = 0, ca: int = 0) -> Signed:
    """A status of this runner's leaf, as old as this, signed by this operator."""
    leaf = read_leaf(runner.chain[0], LeafKind.RUNNER)
    return operator(runner, ca).sign_status(leaf, good=good, now=datetime.now(UTC) - timedelta(seconds=age))


def card(runner: RunnerDouble, by: Signer | None = None, **changes: Any) -> Signed:
    return statements.CARD.sign(runner.card(**changes), by or runner.leaf)[1]


def key(runner: RunnerDouble, by: Signer | None = None, **changes: Any) -> Signed:
    unsigned: KeyStatement = runner.key_statement(**changes)
    return statements.KEY_STATEMENT.sign(unsigned, by or runner.leaf)[1]


def other(runner: RunnerDouble) -> str:
    return str(runner.gateway.world.runners[1].id)


def altered(signed: Signed) -> Signed:
    return replace(signed, payload=signed.payload[:-1] + bytes([signed.payload[-1] ^ 1]))


def doubled(runner: RunnerDouble) -> Signed:
    """A card with its name twice: protobuf would take the second, silently."""
    said = runner.card()
    payload = statements.CARD.sign(said, runner.leaf)[0].payload
    return runner.leaf.sign(statements.CARD.kind, payload + b"\x0a\x01x")


def fresh_leaf(runner: RunnerDouble) -> dict[str, Any]:
    """Another certificate of the same runner, good in every respect, and not the connection's."""
    leaf = Signer.generate()
    certificate = operator(runner).issue_runner(runner.id, leaf.public_der, now=datetime.now(UTC))
    found = read_leaf(certificate, LeafKind.RUNNER)
    return {
        "chain": (certificate,),
        "status": operator(runner).sign_status(found, good=True, now=datetime.now(UTC)),
        "card": card(runner, leaf),
        "key_statement": key(runner, leaf, leaf_key_digest=leaf.keyid),
    }


def papers_of_another(runner: RunnerDouble) -> dict[str, Any]:
    """All that another operator's runner shows, overheard."""
    them = RunnerDouble(runner.gateway, 1)
    shown = them.presented()
    return {name: getattr(shown, name) for name in ("chain", "status", "ownership", "card", "key_statement")}


def key_between(runner: RunnerDouble, start: int) -> Signed:
    now_ns = runner.gateway.clock() + start * SECOND
    until_ns = now_ns + (HOUR - 1) * SECOND
    return key(runner, not_before_ns=now_ns, seal_until_ns=until_ns, open_until_ns=until_ns)


def late(runner: RunnerDouble, seconds: int) -> int:
    return runner.gateway.clock() + seconds * SECOND


Forge = Callable[[RunnerDouble], dict[str, Any]]
PAPERS: dict[str, tuple[Forge, str]] = {
    "a card by another key": (lambda r: {"card": card(r, Signer.generate())}, "SIGNATURE_INVALID"),
    "a card of another runner": (lambda r: {"card": card(r, spiffe_id=other(r))}, "STATEMENT_INVALID"),
    "a card that was altered": (lambda r: {"card": altered(card(r))}, "SIGNATURE_INVALID"),
    "a card with a name twice": (lambda r: {"card": doubled(r)}, "ENVELOPE_MALFORMED"),
    "a card that is over": (
        lambda r: {"card": card(r, issued_ns=late(r, -HOUR), expires_ns=late(r, -1))},
        "STATEMENT_INVALID",
    ),
    "a card of tomorrow": (lambda r: {"card": card(r, issued_ns=late(r, HOUR))}, "STATEMENT_INVALID"),
    "a key statement for a card": (lambda r: {"card": key(r)}, "SIGNATURE_INVALID"),
    "a key by another key": (lambda r: {"key_statement": key(r, Signer.generate())}, "SIGNATURE_INVALID"),
    "a key of another runner": (lambda r: {"key_statement": key(r, spiffe_id=other(r))}, "CERT_INVALID"),
    "a key of another leaf": (lambda r: {"key_statement": key(r, leaf_key_digest=bytes(32))}, "CERT_INVALID"),
    "a key of tomorrow": (lambda r: {"key_statement": key_between(r, 24 * HOUR)}, "CERT_INVALID"),
    "a key that is over": (lambda r: {"key_statement": key_between(r, -HOUR)}, "CERT_INVALID"),
    "an older key of another runner's hand": (
        lambda r: {"older_keys": (key(r, Signer.generate()),)},
        "SIGNATURE_INVALID",
    ),
    "a status that is stale": (lambda r: {"status": status(r, age=HOUR + 1)}, "CERT_REVOKED"),
    "a status of tomorrow": (lambda r: {"status": status(r, age=-HOUR)}, "CERT_REVOKED"),
    "a status that revokes it": (lambda r: {"status": status(r, good=False)}, "CERT_REVOKED"),
    "a status by another operator": (lambda r: {"status": status_by_another(r)}, "SIGNATURE_INVALID"),
    "another runner's status": (lambda r: {"status": statement_of(r, 1, "status")}, "SIGNATURE_INVALID"),
    "a status by the runner itself": (lambda r: {"status": self_signed(r)}, "SIGNATURE_INVALID"),
    "another operator's owners": (lambda r: {"ownership": statement_of(r, 1, "ownership")}, "SIGNATURE_INVALID"),
    "no certificate that is one": (lambda r: {"chain": (b"\x30\x03\x02\x01\x01",)}, "CERT_INVALID"),
    "five certificates": (lambda r: {"chain": r.chain * 5}, "FIELD_INVALID"),
    "a certificate that is too large": (lambda r: {"chain": (bytes(20_000),)}, "CERT_INVALID"),
    "another certificate than the connection's": (fresh_leaf, "CERT_INVALID"),
    "another runner's papers, whole": (papers_of_another, "CERT_INVALID"),
}


def status_by_another(runner: RunnerDouble) -> Signed:
    leaf = read_leaf(runner.chain[0], LeafKind.RUNNER)
    return operator(runner, 1).sign_status(leaf, good=True, now=datetime.now(UTC))


def self_signed(runner: RunnerDouble) -> Signed:
    said = statements.STATUS.parse(statement_of(runner, 0, "status").payload)
    return statements.STATUS.sign(said, runner.leaf)[1]


@pytest.mark.parametrize(("forge", "reason"), PAPERS.values(), ids=PAPERS.keys())
async def test_papers_with(runner: RunnerDouble, forge: Forge, reason: str) -> None:
    assert await refused(runner, runner.credentials(**forge(runner))) == reason
    assert (await runner.attach()) is not None, "control: with its own papers it is let in"


@pytest.mark.parametrize(
    ("forge", "reason"), [PAPERS["a status that revokes it"], PAPERS["a card by another key"]], ids=["status", "card"]
)
async def test_bad_papers_shown_later_end_the_stream_too(runner: RunnerDouble, forge: Forge, reason: str) -> None:
    assert await refused(runner, runner.credentials(), active(), runner.credentials(**forge(runner))) == reason
    await brings_a_job_home(runner)


async def test_messages_out_of_order_or_of_nothing_end_the_stream(runner: RunnerDouble) -> None:
    digest = bytes(32)
    unknown = pb.AttachRequest(ended=pb.AttachRequest.Ended(grant_digest=digest))
    unknown.ended.exit_class = 77  # type: ignore[assignment]  # an enum on the wire is open
    short = pb.AttachRequest(renewal=pb.AttachRequest.RenewalAsk(grant_digest=b"short", sequence=1))
    first = runner.credentials()
    begun: dict[str, tuple[pb.AttachRequest, ...]] = {
        "ENVELOPE_MALFORMED": (active(),),
        "FIELD_INVALID": (pb.AttachRequest(),),
    }
    for reason, messages in begun.items():
        assert await refused(runner, *messages) == reason
    assert await refused(runner, first, pb.AttachRequest()) == "FIELD_INVALID"
    assert await refused(runner, first, short) == "FIELD_INVALID"
    assert await refused(runner, first, renewal(digest, 0)) == "FIELD_INVALID"
    assert await refused(runner, first, unknown) == "ENVELOPE_MALFORMED"
    ended = runner.stream()
    ended.end()
    with pytest.raises(CarnetError) as caught:
        await ended.hear()
    assert caught.value.reason == "ENVELOPE_MALFORMED"
    await brings_a_job_home(runner)


async def test_a_stream_that_never_shows_papers_is_ended(runner: RunnerDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runners, "opening_seconds_max", 0.2)
    assert await refused(runner) == "ENVELOPE_MALFORMED"
    await brings_a_job_home(runner)


async def test_a_second_stream_takes_the_place_of_the_first(runner: RunnerDouble) -> None:
    first = await runner.attach()
    await brings_a_job_home(runner)  # over a second stream
    with pytest.raises(EOFError):
        await first.await_item("nothing")


async def test_a_card_that_claims_everything_costs_nobody_anything(runner: RunnerDouble) -> None:
    boast = runner.card(
        slots=2**32 - 1, cpu_millis=2**32 - 1, memory_bytes=2**64 - 1, work_bytes=2**64 - 1,
        price_micro_usd_second=2**64 - 1, expires_ns=2**64 - 1, agent_version="\x1b[31m" + "x" * 4000,
    )  # fmt: skip
    signed = statements.CARD.sign(boast, runner.leaf)[1]
    await runner.attach(slots=2**32 - 1, card=signed)
    async with ClientDouble(runner.gateway) as client:
        prepared = await client.client.prepare(facts())
        assert prepared.runners == ()
        assert runner.name in {rejection.runner for rejection in prepared.rejected}
    await brings_a_job_home(runner)


async def test_a_runner_that_floods_and_never_reads_is_let_go(
    gateway_process: GatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asks for time under grants of nobody: each is answered, and nobody reads the answers."""
    monkeypatch.setattr(runners, "unread_seconds_max", 0.2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with RunnerDouble(gateway_process, options=SMALL_WINDOW) as runner:
        stream = await runner.attach()
        stream.say(*(renewal(number.to_bytes(32), 1) for number in range(20_000)))
        async with RunnerDouble(gateway_process, 1) as honest:
            await brings_a_job_home(honest)
        async with ClientDouble(gateway_process) as client:

            async def gone() -> bool:
                return runner.name not in await known(client)

            await until(gone, seconds=30)
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown_kib < 64 * 1024, "what it does not read is bounded"
        await brings_a_job_home(runner)


async def known(client: ClientDouble) -> set[str]:
    """Every runner that the gateway speaks of."""
    prepared = await client.client.prepare(facts())
    return {r.spiffe_id for r in prepared.runners} | {r.runner for r in prepared.rejected}


async def test_a_flood_from_one_that_reads_is_answered_in_order_and_starves_nobody(runner: RunnerDouble) -> None:
    stream = await runner.attach()

    async def flood() -> int:
        for number in range(1, 300):
            answer = await runner.renew(stream, number.to_bytes(32), 1)
            assert answer.revoked.grant_digest == number.to_bytes(32)
        return number

    async with RunnerDouble(runner.gateway, 1) as honest:
        asked, _ = await asyncio.gather(flood(), brings_a_job_home(honest))
    assert asked == 299


async def test_a_status_that_went_stale_on_an_open_stream_gets_no_job(world: World, policy_url: str) -> None:
    async with gateway_of(world, policy_url) as gateway, RunnerDouble(gateway) as runner:
        stale = runner.credentials(status=status(runner, age=HOUR - 120))
        stream = runner.stream(stale, active(0))
        assert (await stream.hear()).HasField("attached")
        async with ClientDouble(gateway) as client:
            name = await client.submitted()
            gateway.clock.advance(180)
            stream.say(active(2))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stream.offer(), 2.5)
            # Control: with a fresh status the job goes out on the very same stream.
            again = runner.stream(runner.credentials(), active(2))
            work = runner.attempt(await again.offer())
            await runner.finish(work)
            assert (await client.client.result(name)).succeeded
