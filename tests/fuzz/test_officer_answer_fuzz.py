"""Any bytes as an answer to a compliance officer, over TLS: the gateway's fault, never a crash of who reads.

A double with the gateway's certificate says what a real gateway said of a decision, and what one would say of revisions
and exemptions; in between the answer is drawn, or changed.
"""

import asyncio
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from carnet import officer as officers
from carnet import policyofficer, rpc, tls
from carnet.client import Client
from carnet.core.errors import CarnetError, GatewayUnavailable, PeerError
from carnet.core.overlay import overlay_digest
from carnet.officer import Officer
from carnet.policyanswers import Wanted
from carnet.policyofficer import PolicyOfficer
from carnet.v1 import decisions_pb2, policies_pb2
from carnet.v1.decisions_pb2_grpc import DecisionsStub
from tests.fixtures.gateway_process import bounded
from tests.fixtures.officers import office, officer_context
from tests.fixtures.parties import Parties, facts
from tests.fuzz.methods import METHODS, Method
from tests.fuzz.shapes import messages, recipes

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

GARBAGE = b"\xff\xff\xff"
FILES = {"rules.rego": b"package carnet.org.klinikum\n"}
WANTED = Wanted(rule="GDPR-44", places=("US",), reason="A trial.", expires_ns=2**60, uses_max=1)
OF_OFFICERS = {name: method for name, method in METHODS.items() if name.startswith(("Decisions.", "Policies."))}
memory_kib_max = 200 * 1024


@dataclass(kw_only=True)
class Parrot:
    """Answers every method of an officer's services with the same bytes, time after time."""

    answers: dict[str, bytes]
    decision: str
    revision: str
    address: str = ""
    changed: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """One for each service."""
        found: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for name, method in OF_OFFICERS.items():
            service, _, verb = method.path[1:].partition("/")
            found.setdefault(service, {})[verb] = self._handler(name, method)
        return [grpc.method_handlers_generic_handler(service, verbs) for service, verbs in found.items()]

    def _handler(self, name: str, method: Method) -> grpc.RpcMethodHandler:
        def answer() -> bytes:
            return self.changed.get(name, bytes)(self.answers[name])

        async def one(request: bytes, context: Any) -> bytes:
            return answer()

        async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
            yield answer()

        return (
            grpc.unary_stream_rpc_method_handler(many)  # type: ignore[arg-type]
            if method.streams_out
            else grpc.unary_unary_rpc_method_handler(one)
        )


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The double, and who asks it."""

    parties: Parties
    parrot: Parrot
    folder: Path

    def officer(self) -> PolicyOfficer:
        """One that has seen nothing of the log yet."""
        return PolicyOfficer(officer_context(self.parties, self.parrot.address, self.folder))


async def decided(parties: Parties, folder: Path) -> dict[str, Message]:
    """What a real gateway says of a decision that it took."""
    async with office(parties, folder) as found:
        async with Client(found.client()) as client:
            record = (await client.prepare(facts())).decided.record
        name = f"tenants/{record.tenant_id.hex()}/decisions/{record.digest.hex()}"
        async with Officer(found.officer()) as officer:
            assert officer._channel is not None
            stub = DecisionsStub(officer._channel)
            bearer = found.officer().bearer()
            request = decisions_pb2.GetDecisionRequest(name=name)
            entry = await stub.GetDecision(request, metadata=bearer, timeout=20)
            archive = await officer.bundle(entry.bundle)
    page = decisions_pb2.ListDecisionsResponse(decisions=[entry])
    return {
        "Decisions.GetDecision": entry,
        "Decisions.ListDecisions": page,
        "Decisions.ExportDecisions": entry,
        "Decisions.FetchBundle": decisions_pb2.FetchBundleResponse(data=archive),
    }


def changes_of(tenant_id: bytes) -> dict[str, Message]:
    """What a gateway would say of a revision and of an exemption."""
    of_tenant = f"tenants/{tenant_id.hex()}"
    revision = policies_pb2.Revision(
        name=f"{of_tenant}/revisions/{overlay_digest('klinikum', FILES).hex()}",
        overlay="klinikum",
        state=policies_pb2.Revision.STATE_DRAFT,
        author="ada",
        files=[policies_pb2.PolicyFile(path=path, data=data) for path, data in FILES.items()],
    )
    exemption = policies_pb2.Exemption(
        name=f"{of_tenant}/exemptions/1", state=policies_pb2.Exemption.STATE_ASKED, rule=WANTED.rule, requester="ada"
    )
    verbs = ("CreateRevision", "GetRevision", "ApproveRevision", "ActivateRevision", "ShadowRevision")
    return {
        **{f"Policies.{verb}": revision for verb in (*verbs, "RollbackRevision")},
        **{f"Policies.{verb}Exemption": exemption for verb in ("Create", "Approve", "Revoke")},
        "Policies.CheckRevision": policies_pb2.CheckRevisionResponse(checks=["tests"], tests_passed=1),
        "Policies.ListRevisions": policies_pb2.ListRevisionsResponse(revisions=[revision]),
        "Policies.ListDifferences": policies_pb2.ListDifferencesResponse(
            compared=1, differences=[policies_pb2.Difference(decision="a", live_verdict="permit")]
        ),
        "Policies.ListRules": policies_pb2.ListRulesResponse(bundle="sha256:0", rules=[policies_pb2.Rule(id="A")]),
        "Policies.ListExemptions": policies_pb2.ListExemptionsResponse(exemptions=[exemption]),
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(parties: Parties, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("officer")
    honest = await decided(parties, folder) | changes_of(parties.voice.tenant_id)
    entry, revision = honest["Decisions.GetDecision"], honest["Policies.GetRevision"]
    assert isinstance(entry, decisions_pb2.DecisionEntry)
    assert isinstance(revision, policies_pb2.Revision)
    answers = {name: message.SerializeToString() for name, message in honest.items()}
    parrot = Parrot(answers=answers, decision=entry.name, revision=revision.name)
    server = grpc.aio.server(options=tls.SERVER_OPTIONS)
    server.add_generic_rpc_handlers(parrot.handlers())
    credentials = tls.server_credentials(
        certificate=parties.pki / "gateway/server.pem",
        private_key=parties.pki / "gateway/server.key.pem",
        client_roots=tuple(root for tenant in parties.pins.tenants for root in tenant.roots),
    )
    parrot.address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', credentials)}"
    await server.start()
    try:
        yield Stage(parties=parties, parrot=parrot, folder=folder)
    finally:
        await server.stop(grace=None)


Ask = Callable[[PolicyOfficer, Parrot], Awaitable[object]]


async def exported(officer: PolicyOfficer, parrot: Parrot) -> object:
    return [found async for found in officer.export()]


async def listed_revisions(officer: PolicyOfficer, parrot: Parrot) -> object:
    return await anext(officer.revisions(), None)


async def listed_exemptions(officer: PolicyOfficer, parrot: Parrot) -> object:
    return await anext(officer.exemptions(), None)


ASKED: dict[str, Ask] = {
    "Decisions.ListDecisions": lambda officer, parrot: officer.decisions(),
    "Decisions.GetDecision": lambda officer, parrot: officer.decision(parrot.decision),
    "Decisions.ExportDecisions": exported,
    "Decisions.FetchBundle": lambda officer, parrot: officer.bundle("sha256:0"),
    "Policies.CreateRevision": lambda officer, parrot: officer.submit("klinikum", FILES),
    "Policies.GetRevision": lambda officer, parrot: officer.revision(parrot.revision),
    "Policies.ListRevisions": listed_revisions,
    "Policies.CheckRevision": lambda officer, parrot: officer.check(parrot.revision),
    "Policies.ApproveRevision": lambda officer, parrot: officer.approve(parrot.revision),
    "Policies.ActivateRevision": lambda officer, parrot: officer.activate(parrot.revision),
    "Policies.ShadowRevision": lambda officer, parrot: officer.shadow(parrot.revision, shadow=True),
    "Policies.RollbackRevision": lambda officer, parrot: officer.roll_back(parrot.revision),
    "Policies.ListDifferences": lambda officer, parrot: officer.differences(parrot.revision),
    "Policies.ListRules": lambda officer, parrot: officer.rules(),
    "Policies.CreateExemption": lambda officer, parrot: officer.ask(WANTED),
    "Policies.ApproveExemption": lambda officer, parrot: officer.approve_exemption("tenants/x/exemptions/1"),
    "Policies.RevokeExemption": lambda officer, parrot: officer.revoke("tenants/x/exemptions/1"),
    "Policies.ListExemptions": listed_exemptions,
}


async def test_every_method_that_an_officer_calls_is_fuzzed() -> None:
    assert set(OF_OFFICERS) == set(ASKED)


async def told(stage: Stage, name: str) -> CarnetError | None:
    """What an officer raises, if anything. Raises whatever is not Carnet's."""
    async with stage.officer() as officer, asyncio.timeout(20):
        try:
            await ASKED[name](officer, stage.parrot)
        except CarnetError as error:
            return error
    return None


def changes(name: str) -> "st.SearchStrategy[Callable[[bytes], bytes]]":
    """Raw bytes, any message of the method's own, or the honest answer changed."""
    made = messages(OF_OFFICERS[name].answer).map(lambda message: message.SerializeToString())
    return (st.binary(max_size=120) | made).map(lambda data: lambda _: data) | recipes()


@pytest.mark.parametrize("name", ASKED)
async def test_an_officer_blames_the_gateway_for_any_bytes_that_answer(stage: Stage, name: str) -> None:
    assert await told(stage, name) is None, "control: the honest answer is taken"
    loop, before, said = asyncio.get_running_loop(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, set[str]()

    @bounded(normal=100, full=5000)
    @given(changes(name))
    def check(change: Callable[[bytes], bytes]) -> None:
        stage.parrot.changed = {name: change}
        error = asyncio.run_coroutine_threadsafe(told(stage, name), loop).result(30)
        assert error is None or isinstance(error, PeerError | GatewayUnavailable), repr(error)
        said.add(error.reason if error is not None else "OK")

    await asyncio.to_thread(check)
    stage.parrot.changed = {}
    assert said - {"OK"}, "control: something was refused"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < memory_kib_max
    assert await told(stage, name) is None


@pytest.mark.parametrize("name", ASKED)
async def test_bytes_that_are_no_message_are_the_gateways_fault_to_an_officer(
    stage: Stage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.parrot.changed = {name: lambda _: GARBAGE}
    try:
        assert isinstance(await told(stage, name), rpc.AnswerMalformed)
        # Control: gRPC's own reader answers with nothing at all, which is an error of Python's where it is looked at.
        for module in (officers, policyofficer):
            monkeypatch.setattr(module, "strict", lambda channel: channel)
        with pytest.raises((AttributeError, TypeError)):
            await told(stage, name)
    finally:
        stage.parrot.changed = {}
