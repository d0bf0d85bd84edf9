"""A malicious client adds recipients to a job that waits: addenda out of order, of other jobs, for others' keys.

Each is refused with its reason and leaves nothing behind: the honest addition to the very same job is taken then, and
brought home by the runner that was added. Its control takes the named check away, and the gateway takes it.
"""

import json
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from carnet import authorship, statements
from carnet.core.encoding import StatementKind
from carnet.core.errors import CarnetError
from carnet.core.job import Addendum
from carnet.core.keyset import TenantKeySet
from carnet.core.lifecycle import Job
from carnet.core.statement import Signed, Signer, VerifyingKey
from carnet.v1 import jobs_pb2 as pb
from carnet.wire import signed_to_proto
from gateway import lives, recipients, validation
from gateway.recipients import Recipients
from gateway.storage.operations import InsertWraps
from gateway.storage.records import JobKey, SealedWrap, StoredJob
from gateway.storage.wraps import day_of
from tests.fixtures.client_double import ClientDouble, facts
from tests.fixtures.gateway_process import ON_ITS_LOOP, GatewayProcess
from tests.fixtures.parties import SECOND, nothing, trusting, with_any_body
from tests.fixtures.waiting import Waiting, waiting_for

pytestmark = ON_ITS_LOOP


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(gateway_process: GatewayProcess) -> AsyncIterator[ClientDouble]:
    async with ClientDouble(gateway_process) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="module")
async def waiting(client: ClientDouble) -> AsyncIterator[Waiting]:
    async with waiting_for(client) as found:
        yield found


def known_key(waiting: Waiting) -> pb.AddRecipientsRequest:
    return waiting.saying(recipients=waiting.written.manifest.recipients)


def to_a_stranger(waiting: Waiting) -> pb.AddRecipientsRequest:
    """A recipient that the decision never saw, in a place that the manifest allows."""
    name = str(waiting.client.gateway.world.runners[1].id)
    one = waiting.addition.addendum.recipients[0]
    return waiting.saying(recipients=(replace(one, spiffe_id=name, jurisdiction="DE"),))


def abroad(waiting: Waiting) -> pb.AddRecipientsRequest:
    one = waiting.addition.addendum.recipients[0]
    return waiting.saying(recipients=(replace(one, jurisdiction="KP"),))


def crowd(waiting: Waiting) -> pb.AddRecipientsRequest:
    one = waiting.addition.addendum.recipients[0]
    many = tuple(replace(one, kid=secrets.token_bytes(32)) for _ in range(16))
    request = waiting.saying(recipients=many)
    request.wraps.extend(list(request.wraps) * 15)
    return request


def other_body(waiting: Waiting) -> pb.AddRecipientsRequest:
    """The body that was signed, but for its end."""
    longer = json.loads(waiting.prepared.decided.body.payload)
    longer["valid_until_ns"] += 3600 * SECOND
    return waiting.request(body=json.dumps(longer).encode())


def manifest_of(waiting: Waiting) -> Signed:
    return waiting.client.tenant.signer.sign(StatementKind.MANIFEST, waiting.addition.signed.payload)


def any_key(self: TenantKeySet, keyid: bytes, *, now_ns: int) -> VerifyingKey:
    """A key set that knows every key id."""
    return VerifyingKey.from_der(self.keys[0].public)


def sealed_anyhow(
    self: Recipients, job: StoredJob, addendum: Addendum, wraps: tuple[bytes, ...], now_ns: int
) -> tuple[SealedWrap, ...]:
    """Wraps and recipients in pairs, as far as both go."""
    pairs = zip(addendum.recipients, wraps, strict=False)
    return tuple(self._parts.wraps.seal(job.key, wrap, kid=r.kid, day=day_of(now_ns)) for r, wrap in pairs)


def new_wraps_only(*, key: JobKey, wraps: tuple[SealedWrap, ...]) -> InsertWraps:
    """A store that has a wrap for each key already: its own key would refuse the second one."""
    return InsertWraps(key=key, wraps=())


def unchanged(life: Job, event: object, *, now_ns: int) -> tuple[Job, tuple[()]]:
    """A life in which every event is legal, and none of them matters."""
    return life, ()


Forge = Callable[[Waiting], pb.AddRecipientsRequest]
Patches = tuple[tuple[object, str, object], ...]
CHAIN: Patches = ((authorship, "_check_addenda", nothing),)
LISTED: Patches = ((recipients, "_check_recipients", nothing),)
VERIFY: Patches = ((VerifyingKey, "verify", trusting),)
PAIRS: Patches = (*LISTED, (Recipients, "_seal", sealed_anyhow), (validation, "check", nothing))
RECORD: Patches = ((recipients, "check_record", nothing),)
ADDENDA: dict[str, tuple[Forge, str, Patches]] = {
    "another job's manifest": (lambda w: w.saying(manifest_digest=bytes(32)), "STATEMENT_INVALID", CHAIN),
    "a number that is skipped": (lambda w: w.saying(sequence=2), "STATEMENT_INVALID", CHAIN),
    "another one before it": (lambda w: w.saying(previous_digest=bytes(32)), "STATEMENT_INVALID", CHAIN),
    "another decision": (
        lambda w: w.saying(decision_digest=bytes(32)),
        "FACTS_MISMATCH",
        ((recipients, "_check_named", nothing),),
    ),
    "a key that was listed before": (
        known_key,
        "STATEMENT_INVALID",
        (*CHAIN, *LISTED, (recipients, "InsertWraps", new_wraps_only), (lives, "advance", unchanged)),
    ),
    "a runner that the decision never saw": (to_a_stranger, "FACTS_MISMATCH", LISTED),
    "a place that the manifest excludes": (abroad, "STATEMENT_INVALID", (*CHAIN, *LISTED)),
    "more recipients than are allowed": (crowd, "FACTS_MISMATCH", LISTED),
    "a signature of nobody": (
        lambda w: w.saying(by=Signer.generate()),
        "CERT_INVALID",
        (*VERIFY, (TenantKeySet, "find", any_key)),
    ),
    "a manifest in its place": (lambda w: w.request(manifest_of(w)), "SIGNATURE_INVALID", VERIFY),
    "a wrap too many": (lambda w: w.request(wraps=list(w.addition.wraps) * 2), "FIELD_INVALID", PAIRS),
    "a wrap cut short": (lambda w: w.request(wraps=[b"short"]), "FIELD_INVALID", PAIRS),
    "no wrap": (lambda w: w.request(wraps=[]), "FIELD_INVALID", PAIRS),
    "another body": (
        other_body,
        "STATEMENT_INVALID",
        ((recipients, "open_decision", with_any_body), *RECORD),
    ),
}


@pytest.mark.parametrize("name", ADDENDA)
async def test_an_addendum_with(name: str, waiting: Waiting) -> None:
    # Control: test_control_without_the_check_a_gateway_takes_an_addendum_with sends the same once its checks are away.
    forge, reason, _ = ADDENDA[name]
    assert await waiting.refused(forge(waiting)) == reason
    await waiting.comes_home()


@pytest.mark.parametrize("name", ADDENDA)
async def test_control_without_the_check_a_gateway_takes_an_addendum_with(
    name: str, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge, _, patches = ADDENDA[name]
    for place, attribute, loose in patches:
        monkeypatch.setattr(place, attribute, loose)
    before = waiting.client.gateway.rows("addenda")
    await waiting.client.call("AddRecipients", forge(waiting))
    assert waiting.client.gateway.rows("addenda") == before + 1


async def test_a_decision_about_other_facts_adds_nobody(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    other = await waiting.client.client.prepare(facts(purpose="training"))
    unsigned = replace(waiting.addition.addendum, payload=b"", decision_digest=other.decided.record.digest)
    _, signed = statements.ADDENDUM.sign(unsigned, waiting.client.tenant.signer)
    request = waiting.request(signed, decision=signed_to_proto(other.decided.signed), body=other.decided.body.payload)
    assert await waiting.refused(request) == "STATEMENT_INVALID"
    # Control: a permission for anything would do.
    monkeypatch.setattr(recipients, "check_record", nothing)
    await waiting.client.call("AddRecipients", request)
    assert (await waiting.attached.offer()).addenda[0] == request.addendum


async def test_an_addendum_is_taken_only_while_the_job_waits(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    await waiting.client.call("AddRecipients", waiting.request())
    first = waiting.addition.addendum
    fresh = replace(first.recipients[0], kid=secrets.token_bytes(32))
    second = waiting.saying(sequence=2, previous_digest=first.digest, recipients=(fresh,))

    async def refused() -> str:
        before = waiting.client.gateway.rows("addenda")
        with pytest.raises(CarnetError) as caught:
            await waiting.client.call("AddRecipients", second)
        assert waiting.client.gateway.rows("addenda") == before
        return caught.value.reason

    assert await refused() == "JOB_NOT_WAITING"
    # Behind the look at its state stands the table of its life.
    monkeypatch.setattr(recipients, "_check_waits", nothing)
    assert await refused() == "JOB_NOT_WAITING"
    # Control: with neither, whoever holds the tenant's key adds recipients to a job that has one.
    monkeypatch.setattr(lives, "advance", unchanged)
    await waiting.client.call("AddRecipients", second)


async def test_an_addendum_is_taken_once(waiting: Waiting) -> None:
    honest = await waiting.comes_home()
    before = waiting.client.gateway.left()
    assert (await waiting.client.call("AddRecipients", honest)).name == waiting.name, "its answer may have been lost"
    with pytest.raises(CarnetError) as caught:
        await waiting.client.call("AddRecipients", waiting.request())
    assert caught.value.reason == "JOB_NOT_WAITING"
    other = waiting.saying(sequence=2)
    other.request_id = honest.request_id
    with pytest.raises(CarnetError) as caught:
        await waiting.client.call("AddRecipients", other)
    assert caught.value.reason == "REQUEST_ID_REUSED"
    assert waiting.client.gateway.left() == before


async def test_a_wrap_for_another_key_reaches_nobody_and_harms_nobody(waiting: Waiting) -> None:
    """The gateway can not see whom a wrap is for. Its runner can not open it, and says so: the job waits again."""
    stolen = waiting.request(wraps=[secrets.token_bytes(len(waiting.addition.wraps[0]))])
    await waiting.client.call("AddRecipients", stolen)
    offer = await waiting.attached.offer()
    assert offer.wrap == stolen.wraps[0], "it is handed out as it came"
    assert len({r.spiffe_id for r in waiting.addition.addendum.recipients}) == 1
