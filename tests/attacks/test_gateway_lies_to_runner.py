"""A malicious gateway against a runner: real agent, real link, real TLS; one answer is a lie, and nothing is opened.

Silence is a lie too: what was opened in time is stopped when the time that was given is over.

Every lie is told with the gateway's own good keys wherever keys help. The control of each takes the named check away
and shows that a cage is then started with what the gateway chose.
"""

import asyncio
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from carnet import authorship, statements
from carnet.core import envelope, limits
from carnet.core.decision import RunnerObligation
from carnet.core.encoding import ctx
from carnet.core.envelope import HybridPrivateKey, HybridPublicKey, wrap_root
from carnet.core.errors import CredentialInvalid, RecipientKeyExpired, StatementInvalid
from carnet.core.job import Addendum, Recipient
from carnet.core.lease import HeldLease
from carnet.core.receipt import ExitClass
from carnet.core.statement import Signer, VerifyingKey
from carnet.v1 import runners_pb2, statements_pb2
from carnet.wire import logged_to_proto, signed_to_proto
from sandbox import offer as offers
from sandbox import payload, spool, worker
from sandbox.agent import Agent, offer_from
from sandbox.epoch import EpochKeys
from sandbox.link import Link
from sandbox.offer import Memory, judge_offer
from sandbox.outcome import Outcome, Stop
from tests.fixtures.malicious_gateway import Held, MaliciousGateway, running, serving
from tests.fixtures.parties import SECOND, SECRET, Cage, LogBook, Parties, facts, nothing, resigned, trusting

MEMORY = json.loads(facts())["resources"]["memory_bytes"]
OTHER = hashlib.sha256(b"other").digest()
Patches = tuple[tuple[object, str, object], ...]


@dataclass(frozen=True, kw_only=True)
class Lie:
    """What is told, by which words it is refused, and which checks stand in its way."""

    name: str
    reason: str
    text: str
    offer: Callable[["Told", runners_pb2.Offer], runners_pb2.Offer] = lambda told, honest: honest
    dispatch: dict[str, Any] = field(default_factory=dict)
    payload: Callable[[list[Any]], list[Any]] = lambda honest: honest
    patches: Patches = ()
    late: bool = False  # found after the offer was accepted, and before anything is opened


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a lie can use."""

    parties: Parties
    double: MaliciousGateway
    held: Held


def altered(name: str, change: Callable[[Any], None]) -> Callable[[Told, runners_pb2.Offer], runners_pb2.Offer]:
    def lie(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
        change(getattr(honest, name))
        return honest

    return lie


def plain(chunks: list[Any]) -> list[Any]:
    for chunk in chunks:
        chunk.data = (b"import os; os.system('id') #" * 100_000)[: len(chunk.data)]
    return chunks


def flipped(chunks: list[Any]) -> list[Any]:
    chunks[-1].data = chunks[-1].data[:-1] + bytes([chunks[-1].data[-1] ^ 1])
    return chunks


def moved(chunks: list[Any]) -> list[Any]:
    for chunk in chunks:
        chunk.object = 1 - chunk.object
    return chunks


def cut(chunks: list[Any]) -> list[Any]:
    # Resumed where it stopped, it stops again: what is left never comes.
    chunks[-1].data = b"" if chunks[-1].offset else chunks[-1].data[:10]
    return chunks


def longer(chunks: list[Any]) -> list[Any]:
    chunks[-1].data += b"more"
    return chunks


def by_another_log(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    book = LogBook(told.parties.pins.gateway.origin, Ed25519PrivateKey.generate())
    logged = book.add(bytes(honest.decision.entry))
    grant = statements.GRANT.parse(honest.grant.payload)
    signed = resigned(statements.GRANT, grant, told.parties.voice.signer, checkpoint=logged.checkpoint.encode())
    honest.grant.CopyFrom(signed_to_proto(signed))
    honest.decision.CopyFrom(logged_to_proto(logged))
    assert told.held.dispatched is not None
    told.held.dispatched = replace(told.held.dispatched, grant=statements.GRANT.parse(signed.payload))
    return honest


def newer_checkpoint(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    told.parties.voice.leaf("noise")
    honest.decision.CopyFrom(logged_to_proto(told.parties.voice.log.prove(honest.decision.index)))
    return honest


def other_tenants_root(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    key_set = statements.KEY_SET.parse(honest.tenant_key_set.payload)
    signed = resigned(statements.KEY_SET, key_set, Signer.generate())
    honest.tenant_key_set.CopyFrom(signed_to_proto(replace(signed, keyid=honest.tenant_key_set.keyid)))
    return honest


def swapped_wrap(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    honest.wrap = told.held.job.wraps[1]
    return honest


def zeros(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    honest.wrap = bytes(limits.wrap_bytes)
    return honest


def no_wrap(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    honest.wrap = b""
    return honest


def chosen_root(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    runner, manifest = told.parties.runners["FR"], told.held.job.manifest
    key = statements.KEY_STATEMENT.parse(runner.presented.key_statement.payload)
    honest.wrap = wrap_root(
        HybridPublicKey(key.public),
        OTHER,
        manifest_digest=manifest.digest,
        spiffe_id=runner.name,
        jurisdiction="FR",
        kid=key.kid,
    )
    return honest


def forged_addendum(told: Told, honest: runners_pb2.Offer) -> runners_pb2.Offer:
    manifest = told.held.job.manifest
    unsigned = Addendum(
        payload=b"",
        manifest_digest=manifest.digest,
        sequence=1,
        previous_digest=manifest.digest,
        decision_digest=manifest.decision_digest,
        recipients=(
            Recipient(
                spiffe_id=told.parties.runners["US"].name,
                jurisdiction="DE",
                kid=OTHER,
                key_statement_digest=OTHER,
            ),
        ),
    )
    signed = statements.ADDENDUM.sign(unsigned, told.parties.voice.signer)[1]
    honest.addenda.append(signed_to_proto(replace(signed, keyid=honest.manifest.keyid)))
    return honest


def edited(statement: Any, before: bytes, after: bytes) -> None:
    assert before in statement.payload
    assert len(before) == len(after)
    statement.payload = statement.payload.replace(before, after)


def more_memory(statement: Any) -> None:
    manifest = statements_pb2.Manifest.FromString(statement.payload)
    manifest.resources.memory_bytes *= 2
    statement.payload = manifest.SerializeToString(deterministic=True)


DUTY = RunnerObligation(type="delete_before_noon", number=1, word="")
VERIFY: Patches = ((VerifyingKey, "verify", trusting),)
PERMIT: Patches = ((offers, "_check_permit", nothing),)
GRANT: Patches = ((offers, "_check_grant", nothing),)
LOGGED: Patches = ((offers, "_check_logged", nothing), (offers, "_check_history", nothing))
# A wrap is bound to the manifest, so that an altered one needs a loose wrap too before anything is opened.
WRAP: Patches = ((envelope, "_wrap_info", lambda *_: ctx("self", b"")),)
SHARED = HybridPrivateKey.from_seed(bytes(range(32)))
_wrap, _unwrap = HybridPublicKey.wrap, HybridPrivateKey.unwrap
# One key for everybody; with `WRAP`, whoever has a wrap opens it.
ONE_KEY: Patches = (
    (HybridPublicKey, "wrap", lambda self, root, *, info: _wrap(HybridPublicKey(SHARED.public), root, info=info)),
    (HybridPrivateKey, "unwrap", lambda self, wrap, *, info: _unwrap(SHARED, wrap, info=info)),
)
# A runner that goes on without a key.
KEYLESS: Patches = ((worker, "unwrap", lambda *_: bytearray(32)),)
DIGEST: Patches = ((spool.SegmentFile, "finish", lambda self, digest: self.close()),)


async def whatever_comes(
    link: Link,
    file: spool.SegmentFile,
    at: tuple[int, int],
    size: int,
    *,
    grant_digest: bytes,
    stopped: Callable[[], bool],
) -> None:
    """What the gateway sends is taken for the whole of what was asked for."""
    async for _, data in link.payload(grant_digest, object_id=at[0], segment=at[1], offset=0):
        file.add(data)
    file.add(bytes(max(0, size - file.size)))


def current_key(self: EpochKeys, kid: bytes) -> HybridPrivateKey:
    """A runner that looks at no key id."""
    return HybridPrivateKey.from_seed(bytes(self._epochs[0].seed))


ANYTHING: Patches = ((payload, "_fetch_some", whatever_comes), *DIGEST)

LIES = [
    Lie(
        name="the permit is for another country",
        reason="STATEMENT_INVALID",
        text="The permit's jurisdiction is another.",
        dispatch={"permit": {"jurisdiction": "DE"}},
        patches=PERMIT,
    ),
    Lie(
        name="the permit is of other facts",
        reason="STATEMENT_INVALID",
        text="The permit's facts is another.",
        dispatch={"permit": {"facts_digest": OTHER}},
        patches=PERMIT,
    ),
    Lie(
        name="the permit is of another job",
        reason="STATEMENT_INVALID",
        text="The permit's manifest is another.",
        dispatch={"permit": {"manifest_digest": OTHER}},
        patches=PERMIT,
    ),
    Lie(
        name="the permit is of another card",
        reason="STATEMENT_INVALID",
        text="The permit's card is another.",
        dispatch={"permit": {"card_digest": OTHER}},
        patches=PERMIT,
    ),
    Lie(
        name="the permit is of a decision that the client never saw",
        reason="STATEMENT_INVALID",
        text="The permit names a decision that the client did not seal under.",
        dispatch={"permit": {"prepare_decision_digest": OTHER}},
        patches=PERMIT,
    ),
    Lie(
        name="the permit has run out",
        reason="STATEMENT_INVALID",
        text="The permit or the manifest is not valid now.",
        dispatch={"permit": {"valid_until_ns": 1}},
        patches=PERMIT,
    ),
    Lie(
        name="the permit holds a duty that nobody knows",
        reason="POLICY_DENIED",
        text="The obligation delete_before_noon is not known here.",
        dispatch={"permit": {"obligations": (DUTY,)}},
        patches=((offers, "check_permit_obligations", nothing),),
    ),
    Lie(
        name="the permit was edited after it was signed",
        reason="SIGNATURE_INVALID",
        text="A signature does not verify under the key that was expected.",
        offer=altered("permit", lambda permit: edited(permit, b"FR", b"DE")),
        patches=(*VERIFY, *PERMIT, *GRANT, *LOGGED),
    ),
    Lie(
        name="the grant is another runner's",
        reason="STATEMENT_INVALID",
        text="The grant's runner is another.",
        dispatch={"grant": {"spiffe_id": "spiffe://gpu-us.example/j/US/runner/6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d"}},
        patches=GRANT,
    ),
    Lie(
        name="the grant is of another permit",
        reason="STATEMENT_INVALID",
        text="The grant's permit is another.",
        dispatch={"grant": {"permit_digest": OTHER}},
        patches=GRANT,
    ),
    Lie(
        name="the grant is of another job",
        reason="STATEMENT_INVALID",
        text="The grant's manifest is another.",
        dispatch={"grant": {"manifest_digest": OTHER}},
        patches=GRANT,
    ),
    Lie(
        name="the grant goes on after the last attempt",
        reason="STATEMENT_INVALID",
        text="The grant's attempt is beyond what the manifest allows.",
        dispatch={"grant": {"attempt": 3}},
        patches=GRANT,
    ),
    Lie(
        name="the grant is for a key that the client did not list",
        reason="ENVELOPE_MALFORMED",
        text="This runner and key are not among the recipients.",
        dispatch={"grant": {"kid": OTHER}},
        patches=((offers, "_addendum", nothing), (EpochKeys, "private", current_key), *WRAP),
    ),
    Lie(
        name="the leaf commits to another permit",
        reason="STATEMENT_INVALID",
        text="The log entry commits to another permit.",
        dispatch={"leaf": {"permit": OTHER}},
        patches=LOGGED,
    ),
    Lie(
        name="the leaf commits to another decision",
        reason="STATEMENT_INVALID",
        text="The log entry commits to another record.",
        dispatch={"leaf": {"record": OTHER}},
        patches=LOGGED,
    ),
    Lie(
        name="the decision is proven under another checkpoint than the grant's",
        reason="STATEMENT_INVALID",
        text="The decision is proven under another checkpoint than the grant's.",
        offer=newer_checkpoint,
        patches=LOGGED,
    ),
    Lie(
        name="the decision is in a log of somebody else's",
        reason="PROOF_INVALID",
        text="A proof of the audit log does not verify.",
        offer=by_another_log,
        patches=LOGGED,
    ),
    Lie(
        name="the leaf was altered after it was logged",
        reason="PROOF_INVALID",
        text="A proof of the audit log does not verify.",
        offer=altered("decision", lambda logged: setattr(logged, "entry", logged.entry[:-1] + b"\0")),
        patches=LOGGED,
    ),
    Lie(
        name="the path to the leaf is empty",
        reason="PROOF_INVALID",
        text="A proof of the audit log does not verify.",
        offer=altered("decision", lambda logged: logged.ClearField("path")),
        patches=LOGGED,
    ),
    Lie(
        name="the image was swapped in the manifest",
        reason="SIGNATURE_INVALID",
        text="A signature does not verify under the key that was expected.",
        offer=altered("manifest", lambda manifest: edited(manifest, b"5a5a", b"6666")),
        patches=(*VERIFY, *PERMIT, *GRANT, *WRAP),
    ),
    Lie(
        name="the resources were swapped in the manifest",
        reason="SIGNATURE_INVALID",
        text="A signature does not verify under the key that was expected.",
        offer=altered("manifest", more_memory),
        patches=(*VERIFY, *PERMIT, *GRANT, *WRAP),
    ),
    Lie(
        name="the tenant's keys are signed by a root that was never pinned",
        reason="SIGNATURE_INVALID",
        text="A signature does not verify under the key that was expected.",
        offer=other_tenants_root,
        patches=VERIFY,
    ),
    Lie(
        name="an addendum that the gateway signed adds a recipient",
        reason="SIGNATURE_INVALID",
        text="A signature does not verify under the key that was expected.",
        offer=forged_addendum,
        patches=VERIFY,
    ),
    Lie(
        name="the wrap is of another recipient",
        reason="ENVELOPE_UNOPENED",
        text="The envelope can not be opened.",
        offer=swapped_wrap,
        patches=(*WRAP, *ONE_KEY),
        late=True,
    ),
    Lie(
        name="the wrap is withheld",
        reason="ENVELOPE_UNOPENED",
        text="The envelope can not be opened.",
        offer=no_wrap,
        patches=KEYLESS,
        late=True,
    ),
    Lie(
        name="the wrap is nothing but zeros",
        reason="ENVELOPE_UNOPENED",
        text="The envelope can not be opened.",
        offer=zeros,
        patches=KEYLESS,
        late=True,
    ),
    Lie(
        name="the wrap holds a root that the gateway chose",
        reason="ENVELOPE_UNOPENED",
        text="The envelope can not be opened.",
        offer=chosen_root,
        patches=((payload, "check_root", nothing),),
        late=True,
    ),
    Lie(
        name="plaintext comes in the place of ciphertext",
        reason="PAYLOAD_DIGEST_MISMATCH",
        text="A payload segment differs from the digest that the client signed.",
        payload=plain,
        patches=DIGEST,
        late=True,
    ),
    Lie(
        name="one bit of the last segment is flipped",
        reason="PAYLOAD_DIGEST_MISMATCH",
        text="A payload segment differs from the digest that the client signed.",
        payload=flipped,
        patches=DIGEST,
        late=True,
    ),
    Lie(
        name="segments come in another order",
        reason="PAYLOAD_DIGEST_MISMATCH",
        text="The gateway sent another part of the payload than was asked for.",
        payload=moved,
        patches=ANYTHING,
        late=True,
    ),
    Lie(
        name="a segment is truncated",
        reason="PAYLOAD_DIGEST_MISMATCH",
        text="A payload segment is shorter than the client signed.",
        payload=cut,
        patches=ANYTHING,
        late=True,
    ),
    Lie(
        name="a segment goes on after its end",
        reason="PAYLOAD_DIGEST_MISMATCH",
        text="A payload segment is longer than the client signed.",
        payload=longer,
        patches=ANYTHING,
        late=True,
    ),
]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What came of it."""

    opened: list[bytes]
    refused: list[str]
    texts: set[tuple[str, str]]
    done: bool
    images: list[str]
    memory: list[int]


async def tell(parties: Parties, state: Path, lie: Lie | None) -> Seen:
    """Offer a job to the French runner, with a lie or without, until it is over."""
    runner, cage = parties.runners["FR"], Cage()
    with capture_logs() as logs:
        async with serving(parties) as double:
            held = double.take(parties.sealed("FR", "DE"))
            if lie is not None:
                told = Told(parties=parties, double=double, held=held)
                double.lies = {
                    "offer": lambda honest: lie.offer(told, honest),
                    "dispatch": lambda _: lie.dispatch,
                    "payload": lie.payload,
                }
            async with running(parties, runner, double.address, cage, state):
                await double.until_attached(runner)
                await double.offer(held, runner)
                await double.until(lambda: double.refused or double.ended or held.done.is_set())
    said = {(e["reason"], e.get("text") or e.get("detail", "")) for e in logs if "reason" in e}
    return Seen(
        opened=cage.opened,
        refused=double.refused,
        texts=said,
        done=held.done.is_set(),
        images=cage.asked,
        memory=cage.memory,
    )


async def test_control_an_honest_gateway_gets_its_job_done(parties: Parties, tmp_path: Path) -> None:
    seen = await tell(parties, tmp_path, None)
    assert seen.done
    assert len(seen.opened) == 1
    assert SECRET in seen.opened[0]
    assert (seen.refused, seen.texts) == ([], set())


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
async def test_a_runner_opens_nothing_when(lie: Lie, parties: Parties, tmp_path: Path) -> None:
    # Control: test_control_without_the_check_the_runner_opens_though tells the same lie once its checks are away.
    seen = await tell(parties, tmp_path, lie)
    assert seen.opened == []
    assert not seen.done
    assert (lie.reason, lie.text) in seen.texts
    assert seen.refused == ([] if lie.late else [lie.reason])


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
async def test_control_without_the_check_the_runner_opens_though(
    lie: Lie, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lie.patches
    for place, name, loose in lie.patches:
        monkeypatch.setattr(place, name, loose)
    seen = await tell(parties, tmp_path, lie)
    assert len(seen.opened) == 1
    # What the client signed was not what ran.
    assert any("6666" in image for image in seen.images) == ("image" in lie.name)
    assert seen.memory == [2 * MEMORY if "resources" in lie.name else MEMORY]


async def test_an_offer_that_was_taken_is_not_taken_again(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def twice(state: Path) -> tuple[int, list[str]]:
        runner, cage = parties.runners["FR"], Cage()
        async with (
            serving(parties) as double,
            running(parties, runner, double.address, cage, state),
        ):
            held = double.take(parties.sealed("FR"))
            await double.until_attached(runner)
            await double.offer(held, runner)
            await double.until(lambda: held.done.is_set() and runner.name in double.free)
            assert held.dispatched is not None
            message = parties.voice.offer(held.job, runner, held.dispatched)
            held.done.clear()
            double.free.clear()
            double.attached[runner.name].put_nowait(runners_pb2.AttachResponse(offer=message))
            await double.until(lambda: double.refused or held.done.is_set())
            return len(cage.opened), double.refused

    with capture_logs() as logs:
        assert await twice(tmp_path / "one") == (1, ["STATEMENT_INVALID"])
    assert any(e.get("text") == "This attempt, or a later one, was seen before." for e in logs)
    # Control: a runner that remembers nothing runs the job twice.
    monkeypatch.setattr(offers, "_check_replay", nothing)
    assert await twice(tmp_path / "two") == (2, [])


@pytest.mark.parametrize("attempt", [1, 2])
def test_an_attempt_reused_or_lower_is_refused_under_any_grant(
    attempt: int, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, job, memory = parties.runners["FR"], parties.sealed("FR"), Memory()

    def judge(number: int) -> None:
        given = parties.voice.dispatch(job, runner, attempt=number)
        found = judge_offer(
            offer_from(parties.voice.offer(job, runner, given)),
            runner=runner.self,
            pins=parties.pins,
            memory=memory,
            now_ns=time.time_ns(),
        )
        memory.note(found)

    judge(2)
    with pytest.raises(StatementInvalid, match="was seen before"):
        judge(attempt)
    # Control: without its memory the runner takes it.
    monkeypatch.setattr(offers, "_check_replay", nothing)
    judge(attempt)


def test_a_replayed_offer_finds_no_key_after_a_restart(parties: Parties, tmp_path: Path) -> None:
    # A restarted runner remembers no attempt; its keys are gone with its memory.
    own = Parties.build(tmp_path)
    runner, job = own.runners["FR"], own.sealed("FR")
    kid = job.manifest.recipients[0].kid
    # Control: before the restart the very same key opens.
    assert runner.keys.private(kid).kid == kid
    runner.restart()
    with pytest.raises(RecipientKeyExpired):
        runner.keys.private(kid)


@pytest.mark.parametrize("minutes", [-5, 5])
def test_a_manifest_from_a_clock_five_minutes_off_is_refused(
    minutes: int, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, job = parties.runners["FR"], parties.sealed("FR")
    manifest = job.manifest
    now_ns = time.time_ns()
    made = now_ns - minutes * 60 * SECOND  # the runner's clock is behind, or the manifest ended five minutes ago
    times: dict[str, Any] = {
        -5: {"created_ns": made, "not_after_ns": made + 3600 * SECOND},
        5: {"created_ns": made - 3600 * SECOND, "not_after_ns": made},
    }[minutes]
    moved, signed = statements.MANIFEST.sign(replace(manifest, **times), parties.tenant.signer)
    late = replace(job, manifest=moved, signed=signed)
    given = parties.voice.dispatch(late, runner)

    def judge() -> None:
        judge_offer(
            offer_from(parties.voice.offer(late, runner, given)),
            runner=runner.self,
            pins=parties.pins,
            memory=Memory(),
            now_ns=now_ns,
        )

    with pytest.raises(StatementInvalid, match="not valid now"):
        judge()
    # Control: without the comparison of clocks it is taken.
    monkeypatch.setattr(offers, "_check_permit", nothing)
    judge()


def test_an_older_key_set_than_one_that_was_seen_is_refused(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    runner, job = parties.runners["FR"], parties.sealed("FR")
    memory = Memory(sequences={job.manifest.tenant_id: 2})
    message = parties.voice.offer(job, runner, parties.voice.dispatch(job, runner))

    def judge() -> None:
        judge_offer(offer_from(message), runner=runner.self, pins=parties.pins, memory=memory, now_ns=time.time_ns())

    with pytest.raises(CredentialInvalid, match="older than one"):
        judge()
    # Control: a set with a revoked key would come back.
    monkeypatch.setattr(authorship, "check_key_set", nothing)
    judge()


def to_anybody(self: Agent, message: runners_pb2.AttachResponse.Renewed) -> None:
    """An agent that takes time for one attempt as time for every other."""
    renewal = statements.RENEWAL.parse(message.renewal.payload)
    for found in self._workers.values():
        found.renewed(replace(renewal, grant_digest=found.grant_digest))


RENEWALS: dict[str, tuple[dict[str, Any], Patches]] = {
    "to another ask": (
        {"sequence": 7},
        ((HeldLease, "answer", lambda self, renewal: replace(self, deadline=self.asked_at + 50)),),
    ),
    "signed by a stranger": ({}, VERIFY),
    "of another grant": ({"grant_digest": OTHER}, ((Agent, "_renewed", to_anybody),)),
}


@pytest.mark.parametrize("lie", RENEWALS)
async def test_time_that_was_not_given_lets_nothing_be_opened(
    lie: str, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "renewal_seconds", 0.3)
    changes, patches = RENEWALS[lie]

    def renewal(honest: runners_pb2.AttachResponse) -> runners_pb2.AttachResponse:
        said = statements.RENEWAL.parse(honest.renewed.renewal.payload)
        signer = Signer.generate() if lie == "signed by a stranger" else parties.voice.signer
        signed = resigned(statements.RENEWAL, said, signer, **changes)
        signed = replace(signed, keyid=parties.voice.signer.keyid)
        honest.renewed.renewal.CopyFrom(signed_to_proto(signed))
        return honest

    async def opened(state: Path, lies: dict[str, Any]) -> int:
        runner, cage = parties.runners["FR"], Cage()
        async with (
            serving(parties, lies) as double,
            running(parties, runner, double.address, cage, state),
        ):
            held = double.take(parties.sealed("FR"))
            await double.until_attached(runner)
            await double.offer(held, runner)
            await double.until(lambda: double.ended or held.done.is_set())
        return len(cage.opened)

    assert await opened(tmp_path / "one", {"renewal": renewal}) == 0
    # Control: a runner that takes any answer begins to work.
    for place, name, loose in patches:
        monkeypatch.setattr(place, name, loose)
    assert await opened(tmp_path / "two", {"renewal": renewal}) == 1


given_seconds = 1.5  # what renewal 1 leaves the runner, its margin taken off
late_seconds_max = 2.0  # well inside of that margin: the gateway gives the job to nobody else before
work_seconds = 4.0


@dataclass(kw_only=True)
class SlowCage(Cage):
    """A job whose result is there soon, and that works on; stopped as an engine stops it. `stopped` says why, when."""

    stopped: list[tuple[ExitClass, float]] = field(default_factory=list)

    async def run(self, *arguments: Any, stop: Stop, **more: Any) -> Outcome:
        """Work for four seconds, or until it is stopped."""
        outcome = await super().run(*arguments, stop=stop, **more)
        with contextlib.suppress(TimeoutError):
            cause = await asyncio.wait_for(stop.wait(), work_seconds)
            self.stopped.append((cause, time.monotonic()))
            return replace(outcome, exit=cause, code=None)
        return outcome


class LatePayload(MaliciousGateway):
    """A gateway that keeps the payload back until the time that it gave is over."""

    async def FetchPayload(self, request: Any, context: Any) -> AsyncIterator[runners_pb2.FetchPayloadResponse]:  # noqa: N802
        await asyncio.sleep(given_seconds + 0.5)
        async for chunk in super().FetchPayload(request, context):
            yield chunk


@dataclass(kw_only=True)
class Short:
    """Answers renewal 1 with little time, and no later ask. `asked` is when each ask came, on the monotonic clock."""

    parties: Parties
    asked: list[float] = field(default_factory=list)

    def __call__(self, honest: runners_pb2.AttachResponse) -> runners_pb2.AttachResponse | None:
        self.asked.append(time.monotonic())
        if len(self.asked) > 1:
            return None
        said = statements.RENEWAL.parse(honest.renewed.renewal.payload)
        duration_ms = int((given_seconds + limits.lease_margin_seconds) * 1000)
        signed = resigned(statements.RENEWAL, said, self.parties.voice.signer, duration_ms=duration_ms)
        honest.renewed.renewal.CopyFrom(signed_to_proto(signed))
        return honest


async def left_alone(
    parties: Parties, state: Path, cage: Cage, *, kind: type[MaliciousGateway] = MaliciousGateway
) -> tuple[Held, list[float]]:
    """A job that is offered, given little time once, and then hears nothing; when the runner asked for more."""
    runner, short = parties.runners["FR"], Short(parties=parties)
    async with (
        serving(parties, {"renewal": short}, kind=kind) as double,
        running(parties, runner, double.address, cage, state),
    ):
        held = double.take(parties.sealed("FR"))
        await double.until_attached(runner)
        await double.offer(held, runner)
        await double.until(lambda: runner.name not in double.free and short.asked)
        await double.until(lambda: runner.name in double.free)
    assert (double.refused, double.ended) == ([], [])
    return held, short.asked


async def test_a_job_is_stopped_when_its_time_is_over_and_the_gateway_is_silent(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "lease_renew_seconds", 0.4)
    cage = SlowCage()
    held, asked = await left_alone(parties, tmp_path / "one", cage)
    assert len(cage.opened) == 1
    assert len(asked) > 2, "it asked again, and heard nothing"
    ((cause, at),) = cage.stopped
    assert cause is ExitClass.LEASE_LOST
    assert given_seconds - 0.5 < at - asked[0] < given_seconds + late_seconds_max
    assert (held.receipt, held.results, held.done.is_set()) == (None, {}, False)
    # Control: a runner that never looks at its time works on, and delivers what it made.
    monkeypatch.setattr(HeldLease, "live", lambda self, *, monotonic: True)
    cage = SlowCage()
    held, _ = await left_alone(parties, tmp_path / "two", cage)
    assert (cage.stopped, held.done.is_set()) == ([], True)
    assert held.results


async def test_a_payload_that_comes_when_the_time_is_over_is_not_opened(
    parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cage = Cage()
    held, _ = await left_alone(parties, tmp_path / "one", cage, kind=LatePayload)
    assert (cage.opened, held.done.is_set()) == ([], False)
    # Control: without the look at the time it is opened.
    monkeypatch.setattr(HeldLease, "live", lambda self, *, monotonic: True)
    held, _ = await left_alone(parties, tmp_path / "two", cage, kind=LatePayload)
    assert (len(cage.opened), held.done.is_set()) == (1, True)
