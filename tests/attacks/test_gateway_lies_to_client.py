"""A malicious gateway against a client: the real client over real TLS; one answer is a lie, and the client finds it.

The gateway signs with its own good keys, and logs what it likes in its own log. Each lie names the words by which it is
refused; its control takes the named check away, and then the client believes it.
"""

import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet import client as clients
from carnet import inbox, statements, vetting
from carnet.answers import Denied, Event, Outcome, Prepared
from carnet.checkpoints import SeenLog
from carnet.client import Client
from carnet.core import credential
from carnet.core.certificate import LeafKind, read_leaf
from carnet.core.envelope import (
    HybridPrivateKey,
    HybridPublicKey,
    ResultSealer,
    open_log,
    result_key,
    seal_log,
    unwrap_result_root,
    wrap_result_root,
)
from carnet.core.errors import (
    CarnetError,
    EnvelopeMalformed,
    EnvelopeUnopened,
    NoCapacity,
    ProofInvalid,
    StatementInvalid,
)
from carnet.core.facts import parse_facts
from carnet.core.job import JobState
from carnet.core.runner import Isolation
from carnet.core.statement import Signer, VerifyingKey
from carnet.inbox import Attempt, LogEnd, LogLine, ResultReader
from carnet.v1 import jobs_pb2
from carnet.wire import logged_to_proto, signed_to_proto
from certs.authority import OperatorAuthority
from tests.fixtures.malicious_gateway import Held, fetched, serving
from tests.fixtures.parties import (
    SECOND,
    Cage,
    LogBook,
    Parties,
    body,
    facts,
    nothing,
    resigned,
    trusting,
    with_any_body,
    work,
)

Patches = tuple[tuple[object, str, object], ...]
VERIFY: Patches = ((VerifyingKey, "verify", trusting),)
HOUR = 3600 * SECOND


async def prepared(parties: Parties, lie: Callable[[Any], Any] | None, **changes: Any) -> Prepared:
    """What a client makes of the answer to prepare."""
    lies = {"prepare": lie} if lie is not None else {}
    async with serving(parties, lies) as double, Client(parties.context(double.address)) as client:
        double.permitted = ("FR", "DE")
        return await client.prepare(facts(**changes))


async def test_control_an_honest_gateway_offers_two_runners(parties: Parties) -> None:
    found = await prepared(parties, None)
    assert [runner.jurisdiction for runner in found.runners] == ["FR", "DE"]
    assert found.rejected == ()


# --- the German runner is not what the gateway says ----------------------------------------------------------------

Change = Callable[[Parties, Any], None]


def restate(name: str, codec: Any, *, by: str, **changes: Any) -> Change:
    """A statement of the candidate, changed, signed by somebody."""

    def change(parties: Parties, candidate: Any) -> None:
        german = parties.runners["DE"]
        signer = {
            "leaf": german.leaf.signer,
            "operator": german.authority.signer,
            "gateway": parties.voice.signer,
            "other runner": parties.runners["FR"].leaf.signer,
        }[by]
        value = codec.parse(getattr(candidate, name).payload)
        made = {key: said(parties, value) if callable(said) else said for key, said in changes.items()}
        getattr(candidate, name).CopyFrom(signed_to_proto(resigned(codec, value, signer, **made)))

    return change


def french_part(name: str) -> Change:
    """A part of another runner in its place."""

    def change(parties: Parties, candidate: Any) -> None:
        getattr(candidate, name).CopyFrom(getattr(parties.runners["FR"].candidate, name))

    return change


def another_ca(parties: Parties, candidate: Any) -> None:
    """A CA that the gateway made, with the operator's name, a leaf of the runner's name, and statements for it."""
    german, now = parties.runners["DE"], datetime.now(UTC)
    forger = OperatorAuthority.create(german.id.trust_domain, now=now - timedelta(days=1))
    leaf = forger.issue_runner(german.id, german.leaf.signer.public_der, now=now)
    candidate.chain[0] = leaf
    candidate.status.CopyFrom(signed_to_proto(forger.sign_status(read_leaf(leaf, LeafKind.RUNNER), good=True, now=now)))
    ownership = statements.OWNERSHIP.parse(candidate.ownership.payload)
    candidate.ownership.CopyFrom(signed_to_proto(resigned(statements.OWNERSHIP, ownership, forger.signer)))


def french_chain(parties: Parties, candidate: Any) -> None:
    candidate.chain[0] = parties.runners["FR"].presented.chain[0]


def in_the_past(parties: Parties, value: Any) -> int:
    return time.time_ns() - 2 * HOUR + 60 * SECOND


def an_hour_ago(parties: Parties, value: Any) -> int:
    return time.time_ns() - HOUR


def in_an_hour(parties: Parties, value: Any) -> int:
    return time.time_ns() + HOUR


def in_the_future(parties: Parties, value: Any) -> int:
    return time.time_ns() + HOUR // 2


def french_key(parties: Parties, value: Any) -> bytes:
    return statements.KEY_STATEMENT.parse(parties.runners["FR"].presented.key_statement.payload).public


def own_key(parties: Parties, value: Any) -> bytes:
    return HybridPrivateKey.from_seed(bytes(32)).public


STATUS, KEY, CARD, OWNED = statements.STATUS, statements.KEY_STATEMENT, statements.CARD, statements.OWNERSHIP
OWN_KEY: Patches = ((clients, "check_own_key", nothing),)
# A client that does not ask whose the statements are.
IDENTITY: Patches = (
    *OWN_KEY,
    (clients, "check_candidate", nothing),
    *((vetting, name, nothing) for name in ("check_key_statement", "check_status", "check_ownership", "check_card")),
)
SIGNATURE = "A signature does not verify under the key that was expected."
CANDIDATES: dict[str, tuple[Change, str, Patches]] = {
    "with a key of the gateway's own, signed by the gateway": (
        restate("key_statement", KEY, by="gateway", public=own_key),
        SIGNATURE,
        VERIFY,
    ),
    "with a key statement signed by another runner's leaf": (
        restate("key_statement", KEY, by="other runner", public=own_key),
        SIGNATURE,
        VERIFY,
    ),
    "with a key statement signed by the operator's CA": (
        restate("key_statement", KEY, by="operator", public=own_key),
        SIGNATURE,
        VERIFY,
    ),
    "with the key of another runner under its own name": (
        restate("key_statement", KEY, by="leaf", public=french_key),
        "The runner shows the key of another runner.",
        OWN_KEY,
    ),
    "with the key statement of another runner": (french_part("key_statement"), SIGNATURE, (*VERIFY, *IDENTITY)),
    "with a key that may no longer be sealed to": (
        restate(
            "key_statement",
            KEY,
            by="leaf",
            not_before_ns=in_the_past,
            seal_until_ns=an_hour_ago,
            open_until_ns=in_an_hour,
        ),
        "The key statement may not be sealed to now.",
        ((vetting, "check_key_statement", nothing),),
    ),
    "with a key that may not be sealed to yet": (
        restate("key_statement", KEY, by="leaf", not_before_ns=in_the_future, seal_until_ns=in_an_hour),
        "The key statement may not be sealed to now.",
        ((vetting, "check_key_statement", nothing),),
    ),
    "with a key statement of another leaf": (
        restate("key_statement", KEY, by="leaf", leaf_key_digest=bytes(32)),
        "The key statement belongs to another runner.",
        ((vetting, "check_key_statement", nothing),),
    ),
    "with a certificate of a CA that was never pinned": (
        another_ca,
        "The certificate chain does not verify.",
        ((credential, "verify_chain", lambda chain, roots, *, now_ns: _forger(chain)), *VERIFY),
    ),
    "with the certificate of another runner": (french_chain, SIGNATURE, (*VERIFY, *IDENTITY)),
    "with a status that hides a revocation two hours old": (
        restate("status", STATUS, by="operator", issued_ns=in_the_past),
        "The status of the certificate is not fresh.",
        ((vetting, "check_status", nothing),),
    ),
    "with a status of another certificate": (
        restate("status", STATUS, by="operator", certificate_digest=bytes(32)),
        "The status belongs to another certificate.",
        ((vetting, "check_status", nothing),),
    ),
    "with a status that says revoked": (
        restate("status", STATUS, by="operator", good=False),
        "The operator has revoked the certificate.",
        ((vetting, "check_status", nothing),),
    ),
    "with a status that the gateway signed": (restate("status", STATUS, by="gateway"), SIGNATURE, VERIFY),
    "with a card that the gateway improved": (
        restate("card", CARD, by="gateway", slots=2),
        SIGNATURE,
        (*VERIFY, (clients, "check_candidate", nothing)),
    ),
    "with a card that was not judged": (
        restate("card", CARD, by="leaf", slots=2),
        "The signed decision does not permit this runner with this card.",
        ((clients, "check_candidate", nothing),),
    ),
    "with the sandbox profile of nobody": (
        restate("card", CARD, by="leaf", template_digest=bytes(32)),
        "The runner works by another sandbox profile than the one that this client pinned.",
        ((clients, "check_candidate", nothing),),
    ),
    "with weaker isolation than the facts ask for": (
        restate("card", CARD, by="leaf", isolation=Isolation.PROCESS),
        "The runner's isolation is below what the facts ask for.",
        ((clients, "check_candidate", nothing),),
    ),
    "with owners that the gateway named": (
        restate("ownership", OWNED, by="gateway", parent_country="US"),
        SIGNATURE,
        VERIFY,
    ),
    "with owners of another operator": (
        restate("ownership", OWNED, by="operator", trust_domain="gpu-fr.example"),
        "The ownership facts belong to another operator.",
        ((vetting, "check_ownership", nothing),),
    ),
}


def _forger(chain: tuple[bytes, ...]) -> VerifyingKey:
    return Signer.generate().verifying_key()


def shown(parties: Parties, change: Change) -> Callable[[Any], Any]:
    """A lie about the German runner, which comes last."""

    def lie(honest: jobs_pb2.PrepareJobResponse) -> jobs_pb2.PrepareJobResponse:
        change(parties, honest.candidates[-1])
        return honest

    return lie


@pytest.mark.parametrize("name", CANDIDATES)
async def test_a_client_seals_for_no_runner(name: str, parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    change, text, patches = CANDIDATES[name]
    found = await prepared(parties, shown(parties, change))
    assert [runner.jurisdiction for runner in found.runners] == ["FR"]
    assert [(r.by, r.text) for r in found.rejected] == [("client", text)]
    # Control: without the check the client would seal for it, as whoever the gateway says that it is.
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    again = await prepared(parties, shown(parties, change))
    assert len(again.runners) == 2
    assert again.rejected == ()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c.Clear(),
        lambda c: setattr(c.status, "keyid", b"short"),
        lambda c: setattr(c.card, "payload", b""),
    ],
    ids=["empty", "with a short key id", "with an empty card"],
)
async def test_a_malformed_candidate_is_turned_down_alone_and_by_the_client(
    spoil: Callable[[Any], None], parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    def first(honest: jobs_pb2.PrepareJobResponse) -> jobs_pb2.PrepareJobResponse:
        honest.candidates.insert(0, honest.candidates[-1])
        spoil(honest.candidates[0])
        return honest

    found = await prepared(parties, first)
    assert [runner.jurisdiction for runner in found.runners] == ["FR", "DE"]
    assert [r.by for r in found.rejected] == ["client"]
    # Control: as it was blamed before, one malformed statement ends the whole answer, and the caller is told off.
    monkeypatch.setattr(clients, "reading", contextlib.nullcontext)
    with pytest.raises(EnvelopeMalformed):
        await prepared(parties, first)


async def test_a_crowd_of_candidates_is_not_looked_at(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    def crowd(honest: jobs_pb2.PrepareJobResponse) -> jobs_pb2.PrepareJobResponse:
        honest.candidates.extend(jobs_pb2.Candidate() for _ in range(10_000))
        return honest

    with pytest.raises(StatementInvalid, match="more candidates"):
        await prepared(parties, crowd)
    # Control: without the bound each of them is judged.
    monkeypatch.setattr(clients.limits, "shortlist_max", 2**20)
    assert len((await prepared(parties, crowd)).rejected) == 10_000


@pytest.mark.parametrize(
    ("constraints", "text"),
    [
        ({"only": ["FR"]}, "The runner is outside the places that the facts allow."),
        ({"never": ["DE"]}, "The runner is in a place that the facts exclude."),
        ({"parent_never": ["DE"]}, "The runner's operator belongs to a country that the facts exclude."),
    ],
    ids=["outside of only", "in never", "owned from parent_never"],
)
async def test_a_decision_that_widens_the_places_does_not_widen_the_clients_own_list(
    constraints: dict[str, Any], text: str, parties: Parties, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = await prepared(parties, None, constraints=constraints)
    assert [runner.jurisdiction for runner in found.runners] == ["FR"]
    assert [r.text for r in found.rejected] == [text]
    # Control: a client that took the gateway's word alone would seal for Germany.
    monkeypatch.setattr(clients, "check_candidate", nothing)
    assert len((await prepared(parties, None, constraints=constraints)).runners) == 2


async def test_a_runner_in_a_place_that_the_decision_does_not_permit_is_not_sealed_for(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    def american(honest: Any) -> Any:
        honest.candidates.append(parties.runners["US"].candidate)
        return honest

    found = await prepared(parties, american)
    assert [r.text for r in found.rejected] == ["The decision does not permit the runner's jurisdiction."]
    # Control: without the comparison the American runner is offered the job.
    monkeypatch.setattr(clients, "check_candidate", nothing)
    assert [runner.jurisdiction for runner in (await prepared(parties, american)).runners] == ["FR", "DE", "US"]


# --- the decision is not what the gateway says ---------------------------------------------------------------------

Lie = Callable[[Parties, jobs_pb2.PrepareJobResponse], None]


def decided(parties: Parties, honest: Any, data: bytes = b"", document: bytes = b"", **changes: Any) -> None:
    runners = [parties.runners["DE"], parties.runners["FR"]]
    told = parse_facts(data or facts())
    honest.decision.CopyFrom(parties.voice.decide(told, runners, body=document or body("DE", "FR"), **changes))


def edited_body(parties: Parties, honest: Any) -> None:
    decided(parties, honest, document=body())
    honest.decision.body = body("DE", "FR")


def body_of_other_rules(parties: Parties, honest: Any) -> None:
    honest.decision.body = body("DE", "FR", revisions={"rules": "sha256:" + "1" * 64, "data": "sha256:" + "1" * 64})


def unlogged(parties: Parties, honest: Any) -> None:
    honest.decision.ClearField("logged")


def other_leaf(parties: Parties, honest: Any) -> None:
    leaf = parties.voice.leaf("decision.prepared", record=bytes(32), body=bytes(32), facts=bytes(32))
    honest.decision.logged.CopyFrom(logged_to_proto(leaf))


def stranger(parties: Parties, honest: Any) -> None:
    record = statements.DECISION.parse(honest.decision.record.payload)
    signed = resigned(statements.DECISION, record, Signer.generate())
    honest.decision.record.CopyFrom(signed_to_proto(replace(signed, keyid=parties.voice.signer.keyid)))


CHECK: Patches = ((clients, "check_record", nothing),)
LOGGED: Patches = ((Client, "_check_logged", nothing),)
BODY: Patches = ((clients, "open_decision", with_any_body), *CHECK)
DECISIONS: dict[str, tuple[Lie, type[CarnetError], str, Patches]] = {
    "of other facts": (
        lambda p, h: decided(p, h, data=facts(purpose="training")),
        StatementInvalid,
        "The decision record is of other facts.",
        CHECK,
    ),
    "of another tenant": (
        lambda p, h: decided(p, h, tenant_id=bytes(16)),
        StatementInvalid,
        "The decision is another tenant's.",
        ((clients, "check_tenant", nothing),),
    ),
    "that denies, shown with a body that permits": (
        edited_body,
        StatementInvalid,
        "The decision record is not of this body.",
        BODY,
    ),
    "with the body of other rules": (body_of_other_rules, StatementInvalid, "The decision record is not of", BODY),
    "that has run out": (
        lambda p, h: decided(p, h, valid_until_ns=time.time_ns() - SECOND),
        StatementInvalid,
        "The decision record is not valid now.",
        CHECK,
    ),
    "that lasts longer than its body": (
        lambda p, h: decided(p, h, valid_until_ns=time.time_ns() + 24 * HOUR),
        StatementInvalid,
        "The decision record is not valid now.",
        CHECK,
    ),
    "signed by somebody else": (stranger, CarnetError, SIGNATURE, VERIFY),
    "without its entry in the log": (unlogged, StatementInvalid, "The decision came without its entry", LOGGED),
    "with the entry of another": (other_leaf, StatementInvalid, "The log entry commits to another record.", LOGGED),
}


@pytest.mark.parametrize("name", DECISIONS)
async def test_a_client_believes_no_decision(name: str, parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    lie, error, text, patches = DECISIONS[name]

    def told(honest: Any) -> Any:
        lie(parties, honest)
        return honest

    with pytest.raises(error, match=text.replace(".", r"\.")):
        await prepared(parties, told)
    # Control: without the check it is believed.
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    assert await prepared(parties, told)


async def test_a_denial_and_an_empty_list_seal_nothing(parties: Parties) -> None:
    def emptied(honest: Any) -> Any:
        del honest.candidates[:]
        return honest

    async with serving(parties) as double, Client(parties.context(double.address)) as client:
        double.permitted = ()
        with pytest.raises(Denied):
            await client.seal(work(), await client.prepare(facts()))
        double.permitted = ("FR",)
        double.lies = {"prepare": emptied}
        with pytest.raises(NoCapacity):
            await client.seal(work(), await client.prepare(facts()))
        # Control: the same client seals once a runner is shown.
        double.lies = {}
        sealed = await client.seal(work(), await client.prepare(facts()))
        assert [r.jurisdiction for r in sealed.manifest.recipients] == ["FR"]
        sealed.discard()


# --- acceptance ----------------------------------------------------------------------------------------------------


def other_log(parties: Parties, honest: jobs_pb2.SubmitJobResponse) -> None:
    book = LogBook(parties.pins.gateway.origin, Ed25519PrivateKey.generate())
    honest.accepted.CopyFrom(logged_to_proto(book.add(bytes(honest.accepted.entry))))


def other_accepted(parties: Parties, honest: jobs_pb2.SubmitJobResponse) -> None:
    honest.accepted.CopyFrom(logged_to_proto(parties.voice.leaf("job.accepted", job_id=bytes(16), manifest=bytes(32))))


def other_manifest(parties: Parties, honest: jobs_pb2.SubmitJobResponse) -> None:
    job_id = bytes.fromhex(honest.job.name.rpartition("/")[2])
    honest.accepted.CopyFrom(logged_to_proto(parties.voice.leaf("job.accepted", job_id=job_id, manifest=bytes(32))))


def no_leaf(parties: Parties, honest: jobs_pb2.SubmitJobResponse) -> None:
    honest.ClearField("accepted")


def other_name(parties: Parties, honest: jobs_pb2.SubmitJobResponse) -> None:
    honest.job.name = honest.job.name[:-2] + "00"


ACCEPTANCES: dict[str, tuple[Any, type[CarnetError], str, Patches]] = {
    "in a log of its own": (other_log, ProofInvalid, "does not verify", ()),
    "of another job": (other_accepted, StatementInvalid, "is not the job.accepted entry of this job", ()),
    "of another manifest": (other_manifest, StatementInvalid, "commits to another manifest", ()),
    "without a leaf": (no_leaf, ProofInvalid, "does not verify", ()),
    "under another name": (
        other_name,
        StatementInvalid,
        "The gateway answered with another job.",
        ((clients, "_check_name", nothing),),
    ),
}


@pytest.mark.parametrize("name", ACCEPTANCES)
async def test_a_forged_acceptance_is_not_believed(
    name: str, parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    lie, error, text, patches = ACCEPTANCES[name]

    def told(honest: Any) -> Any:
        lie(parties, honest)
        return honest

    async with (
        serving(parties, {"submit": told}) as double,
        Client(parties.context(double.address)) as client,
    ):
        sealed = await client.seal(work(), await client.prepare(facts()))
        with pytest.raises(error, match=text):
            await client.submit(sealed)
        # What was not accepted is still there to be sent again.
        assert sealed.directory.is_dir()
        # Control: with the checks away the lie is believed, and the sealed job is thrown away.
        for place, attribute, loose in patches or (
            (clients, "check_commits", nothing),
            (SeenLog, "open", nothing),
        ):
            monkeypatch.setattr(place, attribute, loose)
        assert await client.submit(sealed)
        assert not sealed.directory.exists()


# --- what comes home -----------------------------------------------------------------------------------------------


async def watch(
    parties: Parties, recorded: tuple[Held, ...], lie: Callable[[list[Any]], list[Any]] | None
) -> list[Event | LogLine]:
    lies = {"watch": lie} if lie is not None else {}
    async with serving(parties, lies, recorded) as double, Client(parties.context(double.address)) as client:
        return [item async for item in client.watch(recorded[0].name)]


def logs_of(items: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Before, log, and after."""
    at = [i for i, item in enumerate(items) if item.HasField("log")]
    return items[: at[0]], items[at[0] : at[-1] + 1], items[at[-1] + 1 :]


def without_the_first(items: list[Any]) -> list[Any]:
    before, log, after = logs_of(items)
    return [*before, *log[1:], *after]


def without_the_last(items: list[Any]) -> list[Any]:
    before, log, after = logs_of(items)
    return [*before, *log[:-1], *after]


def without_any(items: list[Any]) -> list[Any]:
    before, _, after = logs_of(items)
    return [*before, *after]


def doubled(items: list[Any]) -> list[Any]:
    before, log, after = logs_of(items)
    return [*before, log[0], *log, *after]


def turned(items: list[Any]) -> list[Any]:
    before, log, after = logs_of(items)
    return [*before, *reversed(log), *after]


def goes_on(items: list[Any]) -> list[Any]:
    before, log, after = logs_of(items)
    return [*before, *log, log[0], *after]


def called_final(items: list[Any]) -> list[Any]:
    before, log, after = logs_of(items)
    log[0].log.final = True
    return [*before, log[0], *after]


def in_plaintext(items: list[Any]) -> list[Any]:
    _, log, _ = logs_of(items)
    log[0].log.ciphertext = b"accuracy: 0.99\n"
    return items


def loose_order(self: Attempt, record: jobs_pb2.LogRecord) -> LogLine | None:
    self._next, self._ended = record.sequence, False
    return _open(self, record)


_open = Attempt.open
ORDER: Patches = ((Attempt, "open", loose_order), (clients, "_after", lambda index, wanted: index + 1))
END: Patches = ((Client, "_log_ended", nothing),)


def any_end(root: bytes, record: bytes, *, final: bool, **place: Any) -> bytes:
    """A record that is opened with no look at what it was sealed as."""
    return open_log(root, record, final=place["stream"] == 0, **place)


def handed_on(root: bytes, record: bytes, **place: Any) -> bytes:
    """What can not be opened is handed on as it is."""
    try:
        return open_log(root, record, **place)
    except EnvelopeUnopened:
        return record


FINAL: Patches = ((inbox, "open_log", any_end),)
HANDED_ON: Patches = ((inbox, "open_log", handed_on),)
GAP = "The log has a gap, a repeat, or goes on after its end."
LOGS: dict[str, tuple[Any, str, Patches]] = {
    "without its first record": (without_the_first, GAP, ORDER),
    "with a record twice": (doubled, GAP, ORDER),
    "in another order": (turned, GAP, (*ORDER, *END)),
    "that goes on after its end": (goes_on, GAP, (*ORDER, *END)),
    "without its final record": (without_the_last, "The log ended without its final record.", END),
    "that is empty": (without_any, "The log ended without its final record.", END),
    "with a record passed for the final one": (called_final, "The envelope can not be opened.", FINAL),
    "in plaintext": (in_plaintext, "The envelope can not be opened.", HANDED_ON),
}


@pytest.mark.parametrize("name", LOGS)
async def test_a_client_takes_no_log(
    name: str, parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lie, text, patches = LOGS[name]
    with pytest.raises(CarnetError, match=text.replace(".", r"\.")):
        await watch(parties, recorded, lie)
    # Control: without the check what the gateway left of the log, or put in its place, passes for all of it.
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    assert await watch(parties, recorded, lie)


async def test_a_log_that_is_shorter_than_the_receipt_says_is_found_with_the_result(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(items: list[Any]) -> list[Any]:
        items = without_the_last(items)
        items[-1].event.state = jobs_pb2.Job.STATE_FAILED
        return items

    async def result() -> object:
        async with (
            serving(parties, {"watch": failed}, recorded) as double,
            Client(parties.context(double.address)) as client,
        ):
            async for _ in client.watch(recorded[0].name):
                pass
            return await client.result(recorded[0].name)

    with pytest.raises(StatementInvalid, match="not the whole log that the receipt names"):
        await result()
    # Control: without the comparison a cut log of a job that "failed" passes for all that it said.
    monkeypatch.setattr(LogEnd, "check", nothing)
    assert await result()


async def test_an_earlier_attempt_does_not_come_back(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(items: list[Any]) -> list[Any]:
        before, log, after = logs_of(items)
        earlier = jobs_pb2.WatchJobResponse()
        earlier.CopyFrom(before[-1])
        earlier.started.attempt = 0
        return [*before, *log, earlier, *after]

    with pytest.raises(StatementInvalid, match="went back to an earlier attempt"):
        await watch(parties, recorded, again)
    # Control: as the same attempt it changes nothing.
    assert await watch(parties, recorded, lambda items: items[:4] + items[3:])


@pytest.mark.parametrize("kind", ["event", "log"])
async def test_an_index_that_no_stream_can_go_on_from_is_the_gateways_fault(
    kind: str, parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lie(items: list[Any]) -> list[Any]:
        for item in items:
            if item.HasField(kind):
                getattr(item, kind).index = 2**64 - 1
        return items

    with pytest.raises(StatementInvalid, match="beyond any index"):
        await watch(parties, recorded, lie)
    # Control: without the bound the number after it is an error of Python's.
    monkeypatch.setattr(clients, "_after", lambda index, wanted: index + 1)
    with pytest.raises(ValueError, match="out of range"):
        await watch(parties, recorded, lie)


FORGED = b"accuracy: 0.99\n"


def begun(
    parties: Parties,
    held: Held,
    items: list[Any],
    *,
    place: str = "FR",
    by: Signer | None = None,
    says: bytes = b"",
    **grant: Any,
) -> list[Any]:
    """An attempt of the gateway's making: a grant, a Start by a runner or somebody else, and a log sealed for it.

    Whoever began it drew the result root: all that stands against its log is who that was.
    """
    before, log, after = logs_of(items)
    runner, started = parties.runners[place], before[-1].started
    manifest, root = held.job.manifest, secrets.token_bytes(32)
    given = statements.GRANT.parse(started.grant.payload)
    signed_grant = resigned(statements.GRANT, given, parties.voice.signer, spiffe_id=runner.name, **grant)
    names: dict[str, Any] = {"manifest_digest": manifest.digest, "grant_digest": signed_grant.digest}
    start = resigned(
        statements.START,
        statements.START.parse(started.start.payload),
        by or runner.leaf.signer,
        spiffe_id=runner.name,
        grant_digest=says or signed_grant.digest,
        result_wrap=wrap_result_root(HybridPublicKey(manifest.result_public), root, spiffe_id=runner.name, **names),
    )
    started.chain[0] = runner.presented.chain[0]
    started.grant.CopyFrom(signed_to_proto(signed_grant))
    started.start.CopyFrom(signed_to_proto(start))
    line, end = log[0], log[-1]
    line.log.attempt = end.log.attempt = grant.get("attempt", started.attempt)
    line.log.ciphertext = seal_log(root, FORGED, stream=1, sequence=0, final=False, **names)
    end.log.sequence = 1
    end.log.ciphertext = seal_log(root, b"", stream=0, sequence=1, final=True, **names)
    return [*before, line, end, *after]


Begin = Callable[[Parties, Held, list[Any]], list[Any]]
STARTS: dict[str, tuple[Begin, str, Patches]] = {
    "whose Start the gateway signed": (lambda p, h, i: begun(p, h, i, by=p.voice.signer), SIGNATURE, VERIFY),
    "on a runner that the client did not list": (
        lambda p, h, i: begun(p, h, i, place="US"),
        "This runner and key are not among the recipients.",
        ((inbox, "find_recipient", nothing),),
    ),
    "under the grant of another job": (
        lambda p, h, i: begun(p, h, i, manifest_digest=bytes(32)),
        "The grant is of another job, runner or attempt.",
        ((inbox, "_check_grant", nothing),),
    ),
    "under the grant of another attempt": (
        lambda p, h, i: begun(p, h, i, attempt=2),
        "The grant is of another job, runner or attempt.",
        ((inbox, "_check_grant", nothing),),
    ),
    "under a grant that the runner never had": (
        lambda p, h, i: begun(p, h, i, says=bytes(32)),
        "The Start's grant is another.",
        ((inbox, "check_start", nothing),),
    ),
}


@pytest.mark.parametrize("name", STARTS)
async def test_a_client_opens_the_log_of_no_attempt(
    name: str, parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, text, patches = STARTS[name]

    def lie(items: list[Any]) -> list[Any]:
        return begin(parties, recorded[0], items)

    with pytest.raises(CarnetError, match=text.replace(".", r"\.")):
        await watch(parties, recorded, lie)
    # Control: without the check the client shows what the gateway wrote as the output of its job.
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    shown = [item for item in await watch(parties, recorded, lie) if isinstance(item, LogLine)]
    assert [line.data for line in shown] == [FORGED]


async def test_the_outcome_is_the_receipts_and_never_the_last_events(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failed(items: list[Any]) -> list[Any]:
        items[-1].event.state = jobs_pb2.Job.STATE_FAILED
        items[-1].event.reason = "JOB_FAILED"
        return items

    async with (
        serving(parties, {"watch": failed}, recorded) as double,
        Client(parties.context(double.address)) as client,
    ):
        events = [item async for item in client.watch(recorded[0].name) if isinstance(item, Event)]
        assert events[-1].state is JobState.FAILED
        assert (await client.result(recorded[0].name)).succeeded
        # Control: an outcome that is told by the last event is whatever the gateway says.
        monkeypatch.setattr(Outcome, "succeeded", property(lambda _: events[-1].state is JobState.SUCCEEDED))
        assert not (await client.result(recorded[0].name)).succeeded


async def result(
    parties: Parties, recorded: tuple[Held, ...], lie: Callable[[list[Any]], list[Any]] | None, directory: Path | None
) -> Any:
    lies = {"result": lie} if lie is not None else {}
    async with serving(parties, lies, recorded) as double, Client(parties.context(double.address)) as client:
        return await client.result(recorded[0].name, directory)


async def test_control_an_honest_gateway_brings_the_result_home(
    parties: Parties, recorded: tuple[Held, ...], tmp_path: Path
) -> None:
    outcome = await result(parties, recorded, None, None)
    assert [(r.name, r.data) for r in outcome.results] == [("answer.txt", Cage().result)]


def swapped_segments(items: list[Any]) -> list[Any]:
    items[1].chunk.data, items[2].chunk.data = items[2].chunk.data, items[1].chunk.data
    return items


def exchanged(items: list[Any]) -> list[Any]:
    items[1].CopyFrom(items[2])
    return items


def short(items: list[Any]) -> list[Any]:
    return items[:-1]


def truncated(items: list[Any]) -> list[Any]:
    items[-1].chunk.data = items[-1].chunk.data[:-1]
    return items


def more(items: list[Any]) -> list[Any]:
    extra = jobs_pb2.FetchResultResponse(chunk=jobs_pb2.FetchResultResponse.Chunk(object=2, data=b"more"))
    return [*items, extra]


def plain_result(items: list[Any]) -> list[Any]:
    items[-1].chunk.data = b"forty-six"
    return items


def results_first(items: list[Any]) -> list[Any]:
    return items[::-1]


DIFFERS = "A result segment differs from the digest that the runner signed."


class HandedOn:
    """An opener that hands on what it can not open."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def update(self, data: bytes) -> bytes:
        return data

    def finish(self) -> bytes:
        return b""


def named(self: ResultReader) -> tuple[tuple[int, str, int], ...]:
    """An index that names whatever came."""
    return tuple((number, "answer.txt", 0) for number in self._plain if number)


DIGEST: Patches = ((inbox, "_check_digest", nothing),)
# The digests stand first. Behind them a segment that is not this one does not open, and the index would not be one.
SEGMENTS: Patches = (*DIGEST, (inbox, "ResultOpener", HandedOn), (ResultReader, "_index", named))
WHOLE: Patches = ((inbox, "_check_whole", nothing), (ResultReader, "_index", named))
RESULTS: dict[str, tuple[Any, str, Patches]] = {
    "with two segments swapped": (swapped_segments, DIFFERS, SEGMENTS),
    "in another order": (exchanged, DIFFERS, (*SEGMENTS, (inbox, "_check_offset", nothing))),
    "with one missing": (short, "Results are missing.", WHOLE),
    "truncated": (truncated, DIFFERS, SEGMENTS),
    "with more than the receipt names": (more, "There are more results than the receipt names.", WHOLE),
    "in plaintext": (plain_result, DIFFERS, SEGMENTS),
}


@pytest.mark.parametrize("name", RESULTS)
async def test_a_client_takes_no_results(
    name: str, parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    lie, text, patches = RESULTS[name]
    with pytest.raises(StatementInvalid, match=text.replace(".", r"\.")):
        await result(parties, recorded, lie, None)
    # Control: without the check the client takes what came for what the runner sent.
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    outcome = await result(parties, recorded, lie, None)
    answers = [found.data for found in outcome.results]
    assert answers != [Cage().result] or name == "with more than the receipt names"


async def test_results_that_were_sealed_anew_after_their_receipt_are_not_taken(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner that sealed them helps the gateway: it knows the root, and everything but the receipt is as it was."""
    held, other = recorded[0], b"forty-six"
    assert held.dispatched is not None
    names: dict[str, Any] = {
        "manifest_digest": held.job.manifest.digest,
        "grant_digest": held.dispatched.grant.digest,
    }
    start = statements.START.parse(held.start.payload)
    key = result_key(parties.tenant.master, held.job.manifest.job_id)
    root = unwrap_result_root(key, start.result_wrap, spiffe_id=start.spiffe_id, **names)
    sealer = ResultSealer(root, object_id=1, index=0, last=True, **names)
    anew = sealer.update(other) + sealer.finish()

    def lie(items: list[Any]) -> list[Any]:
        items[-1].chunk.data = anew
        return items

    with pytest.raises(StatementInvalid, match="differs from the digest"):
        await result(parties, recorded, lie, None)
    # Control: it opens, and it fits the index; without the digests it is the job's result.
    for place, attribute, loose in DIGEST:
        monkeypatch.setattr(place, attribute, loose)
    assert [found.data for found in (await result(parties, recorded, lie, None)).results] == [other]


@pytest.mark.parametrize(
    ("lie", "text"),
    [(results_first, "Results came before their receipt."), (lambda items: [], "The gateway sent no receipt.")],
    ids=["before their receipt", "without one"],
)
async def test_results_are_not_opened(lie: Any, text: str, parties: Parties, recorded: tuple[Held, ...]) -> None:
    """Without a verified receipt there is no root to open them with, and no digest to hold them against."""
    with pytest.raises(StatementInvalid, match=text.replace(".", r"\.")):
        await result(parties, recorded, lie, None)


async def test_the_results_of_two_jobs_are_not_swapped(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = fetched(parties, recorded[1])
    with pytest.raises(StatementInvalid, match="The gateway answered with another job"):
        await result(parties, recorded, lambda _: other, None)

    def half(items: list[Any]) -> list[Any]:
        return [items[0], *other[1:]]

    with pytest.raises(StatementInvalid, match="differs from the digest"):
        await result(parties, recorded, half, None)
    # Control: every signature of the other job's receipt is good; only its name tells that it is another's.
    monkeypatch.setattr(clients, "_check_name", nothing)
    assert (await result(parties, recorded, lambda _: other, None)).receipt.manifest == recorded[1].job.manifest


async def test_another_jobs_manifest_is_not_taken_for_this_ones(
    parties: Parties, recorded: tuple[Held, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(honest: jobs_pb2.Job) -> jobs_pb2.Job:
        honest.manifest.CopyFrom(signed_to_proto(recorded[1].job.signed))
        return honest

    async def written() -> Any:
        async with (
            serving(parties, {"job": other}, recorded) as double,
            Client(parties.context(double.address)) as client,
        ):
            return await client.written(recorded[0].name)

    with pytest.raises(StatementInvalid, match="The gateway answered with another job"):
        await written()
    # Control: it is signed by the tenant's own key.
    monkeypatch.setattr(clients, "_check_name", nothing)
    assert (await written()).manifest == recorded[1].job.manifest
