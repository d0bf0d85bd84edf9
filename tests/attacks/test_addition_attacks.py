"""A malicious client adds recipients to a job that waits: addenda out of order, of other jobs, for others' keys.

Each is refused with its reason and leaves nothing behind; the control is the honest addition to the very same job,
which is then brought home by the runner that was added.
"""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
import pytest_asyncio

from carnet import statements
from carnet.core.encoding import StatementKind
from carnet.core.errors import CarnetError
from carnet.core.statement import Signed, Signer
from carnet.v1 import jobs_pb2 as pb
from carnet.wire import signed_to_proto
from tests.fixtures.client_double import ClientDouble, facts
from tests.fixtures.gateway_process import ON_ITS_LOOP, GatewayProcess
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


Forge = Callable[[Waiting], pb.AddRecipientsRequest]
ADDENDA: dict[str, tuple[Forge, str]] = {
    "another job's manifest": (lambda w: w.saying(manifest_digest=bytes(32)), "STATEMENT_INVALID"),
    "a number that is skipped": (lambda w: w.saying(sequence=2), "STATEMENT_INVALID"),
    "another one before it": (lambda w: w.saying(previous_digest=bytes(32)), "STATEMENT_INVALID"),
    "another decision": (lambda w: w.saying(decision_digest=bytes(32)), "FACTS_MISMATCH"),
    "a key that was listed before": (known_key, "STATEMENT_INVALID"),
    "a runner that the decision never saw": (to_a_stranger, "FACTS_MISMATCH"),
    "a place that the manifest excludes": (abroad, "STATEMENT_INVALID"),
    "more recipients than are allowed": (crowd, "FACTS_MISMATCH"),
    "a signature of nobody": (lambda w: w.saying(by=Signer.generate()), "CERT_INVALID"),
    "a manifest in its place": (lambda w: w.request(manifest_of(w)), "SIGNATURE_INVALID"),
    "a wrap too many": (lambda w: w.request(wraps=list(w.addition.wraps) * 2), "FIELD_INVALID"),
    "a wrap cut short": (lambda w: w.request(wraps=[b"short"]), "FIELD_INVALID"),
    "no wrap": (lambda w: w.request(wraps=[]), "FIELD_INVALID"),
    "another body": (lambda w: w.request(body=b"{}"), "STATEMENT_INVALID"),
}


def manifest_of(waiting: Waiting) -> Signed:
    return waiting.client.tenant.signer.sign(StatementKind.MANIFEST, waiting.addition.signed.payload)


@pytest.mark.parametrize(("forge", "reason"), ADDENDA.values(), ids=ADDENDA.keys())
async def test_an_addendum_with(waiting: Waiting, forge: Forge, reason: str) -> None:
    assert await waiting.refused(forge(waiting)) == reason
    await waiting.comes_home()


async def test_a_decision_about_other_facts_adds_nobody(waiting: Waiting) -> None:
    other = await waiting.client.client.prepare(facts(purpose="training"))
    unsigned = replace(waiting.addition.addendum, payload=b"", decision_digest=other.decided.record.digest)
    _, signed = statements.ADDENDUM.sign(unsigned, waiting.client.tenant.signer)
    request = waiting.request(signed, decision=signed_to_proto(other.decided.signed), body=other.decided.body.payload)
    assert await waiting.refused(request) == "STATEMENT_INVALID"
    await waiting.comes_home()


async def test_an_addendum_is_taken_once_and_only_while_the_job_waits(waiting: Waiting) -> None:
    await waiting.comes_home()
    before = waiting.client.gateway.left()
    with pytest.raises(CarnetError) as caught:
        await waiting.client.call("AddRecipients", waiting.request())
    assert caught.value.reason == "JOB_NOT_WAITING"
    assert waiting.client.gateway.left() == before


async def test_a_wrap_for_another_key_reaches_nobody_and_harms_nobody(waiting: Waiting) -> None:
    """The gateway can not see whom a wrap is for. Its runner can not open it, and says so: the job waits again."""
    stolen = waiting.request(wraps=[secrets.token_bytes(len(waiting.addition.wraps[0]))])
    await waiting.client.call("AddRecipients", stolen)
    offer = await waiting.attached.offer()
    assert offer.wrap == stolen.wraps[0], "it is handed out as it came"
    assert len({r.spiffe_id for r in waiting.addition.addendum.recipients}) == 1
