"""Any bytes to any method of a running gateway, over TLS with real credentials: a typed status, and bounded memory.

Never UNKNOWN and never INTERNAL: those are the gateway's own failures. After each storm the same gateway still brings
an honest job home, and nothing of the storm is left.
"""

import asyncio
import resource
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from carnet.v1 import decisions_pb2, jobs_pb2, policies_pb2, runners_pb2
from tests.fixtures.client_double import ClientDouble, facts, hostile_addition, submission
from tests.fixtures.gateway_process import ON_ITS_LOOP, GatewayProcess, World, bounded, gateway_of
from tests.fixtures.listener import reason_of
from tests.fixtures.runner_double import RunnerDouble, active, renewal
from tests.fuzz.methods import METHODS
from tests.fuzz.shapes import messages, mutated

pytestmark = [*ON_ITS_LOOP, pytest.mark.timeout(900)]

NAME = "tenants/" + "0a" * 16 + "/jobs/" + "0b" * 16
REQUEST = "6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d"
NEVER = frozenset({"UNKNOWN", "INTERNAL", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "BUG", "ILLEGAL_TRANSITION"})
# grpc.aio's own words on a call that ended while it was still sending: it loses the status that came.
LOST = "Internal error from Core"
call_seconds = 10.0


@dataclass(kw_only=True)
class Peers:
    """A client and a runner with real credentials, and honest requests of each method."""

    client: ClientDouble
    runner: RunnerDouble
    honest: dict[str, list[bytes]]

    async def send(self, name: str, parts: list[bytes]) -> str:
        """How a call with these bytes ended: OK, or the reason; a status of its own where gRPC itself refused."""
        method = METHODS[name]
        channel = self.runner._channel if name.startswith("Runners.") else self.client._channel
        kind: Any = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[method.streams_in, method.streams_out]
        asked: Any = _each(parts) if method.streams_in else parts[0]
        call = kind(method.path)(asked, timeout=call_seconds, metadata=self.client.metadata)
        try:
            if method.streams_out:
                async for _ in call:
                    pass
            else:
                await call
        except grpc.aio.AioRpcError as error:
            # What this client loses by itself, `failures` finds: it counts what the gateway says.
            return "LOST" if error.details() == LOST else reason_of(error)
        return "OK"

    async def failures(self) -> list[str]:
        """What the gateway counts as its own failures."""
        reader, writer = await asyncio.open_connection(*self.client.gateway.gateway.addresses.metrics.split(":"))
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        lines = (await reader.read()).decode().splitlines()
        writer.close()
        return [line for line in lines if '"BUG"' in line or '"ILLEGAL_TRANSITION"' in line]

    async def a_job_comes_home(self) -> None:
        """The control: the gateway still does its work."""
        attached = await self.runner.attach()
        name, done = await self.client.submitted(), b""
        while not name.endswith(done.hex() or "-"):
            work = self.runner.attempt(await attached.offer())
            await self.runner.finish(work)
            done = work.manifest.job_id
        assert (await self.client.client.result(name)).succeeded
        await attached.close()


async def _each(parts: list[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def _of_officers(tenant: str) -> dict[str, list[Message]]:
    """What officers ask: the fuzzer's caller has all roles, so what is behind them is reached."""
    revision, exemption = f"{tenant}/revisions/{'0c' * 32}", f"{tenant}/exemptions/{'0d' * 16}"
    file = policies_pb2.PolicyFile(path="overlay.rego", data=b"package carnet.org.fuzzed")
    named: dict[str, Message] = {
        "CreateRevision": policies_pb2.CreateRevisionRequest(overlay="fuzzed", files=[file], request_id=REQUEST),
        "CheckRevision": policies_pb2.CheckRevisionRequest(name=revision),
        "ApproveRevision": policies_pb2.ApproveRevisionRequest(name=revision, request_id=REQUEST),
        "ActivateRevision": policies_pb2.ActivateRevisionRequest(name=revision, request_id=REQUEST),
        "ShadowRevision": policies_pb2.ShadowRevisionRequest(name=revision, shadow=True, request_id=REQUEST),
        "RollbackRevision": policies_pb2.RollbackRevisionRequest(name=revision, request_id=REQUEST),
        "GetRevision": policies_pb2.GetRevisionRequest(name=revision),
        "ListRevisions": policies_pb2.ListRevisionsRequest(page_size=3),
        "ListDifferences": policies_pb2.ListDifferencesRequest(name=revision, page_size=3),
        "ListRules": policies_pb2.ListRulesRequest(),
        "CreateExemption": policies_pb2.CreateExemptionRequest(
            rule="EU-GDPR-CHV", places=["US"], reason="fuzzed", expires_ns=2**60, uses_max=1, request_id=REQUEST
        ),
        "ApproveExemption": policies_pb2.ApproveExemptionRequest(name=exemption, request_id=REQUEST),
        "RevokeExemption": policies_pb2.RevokeExemptionRequest(name=exemption, request_id=REQUEST),
        "ListExemptions": policies_pb2.ListExemptionsRequest(page_size=3),
    }
    return {
        "Decisions.GetDecision": [decisions_pb2.GetDecisionRequest(name=f"{tenant}/decisions/{'0e' * 32}")],
        "Decisions.ListDecisions": [decisions_pb2.ListDecisionsRequest(page_size=3)],
        "Decisions.ExportDecisions": [decisions_pb2.ExportDecisionsRequest(from_ns=1)],
        "Decisions.FetchBundle": [decisions_pb2.FetchBundleRequest(revision="sha256:" + "0" * 64)],
        **{f"Policies.{name}": [message] for name, message in named.items()},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peers(gateway_process: GatewayProcess) -> AsyncIterator[Peers]:
    async with RunnerDouble(gateway_process) as runner, ClientDouble(gateway_process) as client:
        attached = await runner.attach(slots=0)
        sealed = await client.sealed()
        name = await client.submitted()
        await attached.close()
        digest = bytes(32)
        deliver = runners_pb2.DeliverResultRequest
        honest: dict[str, list[Message]] = {
            "Jobs.PrepareJob": [jobs_pb2.PrepareJobRequest(facts=facts())],
            "Jobs.SubmitJob": list(submission(sealed)),
            "Jobs.GetJob": [jobs_pb2.GetJobRequest(name=name)],
            "Jobs.ListJobs": [jobs_pb2.ListJobsRequest(page_size=3)],
            "Jobs.CancelJob": [jobs_pb2.CancelJobRequest(name=NAME, request_id=REQUEST)],
            "Jobs.WatchJob": [jobs_pb2.WatchJobRequest(name=NAME, event_index=1)],
            "Jobs.FetchResult": [jobs_pb2.FetchResultRequest(name=name, object=1)],
            "Jobs.AddRecipients": [hostile_addition(client, sealed, name)],
            "Jobs.ApproveJob": [jobs_pb2.ApproveJobRequest(name=NAME, manifest_digest=digest, request_id=REQUEST)],
            "Jobs.RefuseJob": [jobs_pb2.RefuseJobRequest(name=NAME, request_id=REQUEST)],
            **_of_officers(NAME.partition("/jobs/")[0]),
            "Runners.Attach": [runner.credentials(), active(0), renewal(digest)],
            "Runners.FetchPayload": [runners_pb2.FetchPayloadRequest(grant_digest=digest, offset=2**64 - 1)],
            "Runners.DeliverResult": [deliver(open=deliver.Open(grant_digest=digest))],
        }
        assert set(honest) == set(METHODS), "a method that is answered has an honest request here"
        wire = {name: [message.SerializeToString() for message in found] for name, found in honest.items()}
        yield Peers(client=client, runner=runner, honest=wire)


def parts_for(name: str, honest: list[bytes]) -> "st.SearchStrategy[list[bytes]]":
    """Bytes, messages, and honest requests of which one part was changed."""
    any_message = messages(METHODS[name].asked).map(lambda message: message.SerializeToString())
    single = st.binary(max_size=120) | any_message | st.sampled_from(honest).flatmap(mutated)
    changed = st.tuples(st.integers(0, len(honest) - 1), st.data()).map(lambda _: honest)
    some = st.lists(single, min_size=1, max_size=3)
    begun = st.builds(lambda count, rest: honest[:count] + rest, st.integers(0, len(honest)), some)
    return some if not METHODS[name].streams_in else some | begun | changed.flatmap(lambda _: begun)


@pytest.mark.parametrize("name", METHODS)
async def test_any_bytes_are_answered_with_a_typed_status_by(peers: Peers, name: str) -> None:
    before, memory = peers.client.gateway.left(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loop, answers = asyncio.get_running_loop(), set[str]()

    @bounded(normal=40, full=5000)
    @given(parts_for(name, peers.honest[name]))
    def check(parts: list[bytes]) -> None:
        answer = asyncio.run_coroutine_threadsafe(peers.send(name, parts), loop).result(30)
        assert answer not in NEVER
        answers.add(answer)

    await asyncio.to_thread(check)
    assert answers - {"OK", "LOST"}, "control: something was refused"
    assert await peers.failures() == []
    after = peers.client.gateway.left()
    grown = {table: after[table] - before[table] for table in after if after[table] != before[table]}
    if name == "Runners.Attach":
        # Honest papers and a state with room make a runner, which is offered the job that waits.
        grown.pop("attempts", None), grown.pop("events", None)
    if name in ("Policies.CreateRevision", "Policies.CreateExemption"):
        # A draft, or an exemption that is asked for, of which only an id was changed is a good one: it is taken, once.
        assert grown.pop("requests", 0) < 100
    # A submission of which nothing but a wrap or a request id was changed is a good one: the same job, each time.
    taken = grown.get("jobs", 0)
    whole = {"jobs": 1, "documents": 1, "wraps": 1, "events": 1, "requests": 1, "payloads files": 2}
    assert grown == (whole if taken and name == "Jobs.SubmitJob" else {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 * 1024
    await peers.a_job_comes_home()


async def test_honest_requests_are_answered_control(peers: Peers) -> None:
    for name in ("Jobs.PrepareJob", "Jobs.GetJob", "Jobs.ListJobs", "Jobs.SubmitJob", "Runners.Attach"):
        assert await peers.send(name, peers.honest[name]) == "OK", name


@pytest.mark.parametrize("name", ["Jobs.PrepareJob", "Jobs.SubmitJob", "Runners.Attach"])
async def test_a_message_beyond_the_bound_is_refused_before_it_is_read(peers: Peers, name: str) -> None:
    gateway, world = peers.client.gateway, peers.client.gateway.world
    large = (("grpc.max_send_message_length", -1),)
    enterprise = not name.startswith("Runners.")
    home = peers.client.tenant.home
    target = gateway.gateway.addresses.enterprise if enterprise else gateway.gateway.addresses.runner
    certificate = home / "client.pem" if enterprise else peers.runner.home / "chain.pem"
    key = home / "client.key.pem" if enterprise else peers.runner.home / "key.pem"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with world.channel(target, certificate, key, large) as channel:
        kind: Any = channel.stream_unary if METHODS[name].streams_in else channel.unary_unary
        asked: Any = _each([bytes(32 * 2**20)]) if METHODS[name].streams_in else bytes(32 * 2**20)
        call = kind(METHODS[name].path)(
            asked, timeout=call_seconds, metadata=peers.client.metadata, compression=grpc.Compression.Gzip
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
    assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 256 * 1024
    await peers.a_job_comes_home()


async def test_bytes_that_are_no_message_are_refused_behind_the_gate(
    world: World, policy_url: str, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = b"\xff\xff\xff"
    for name in METHODS:
        assert await peers.send(name, [garbage]) == "ENVELOPE_MALFORMED", name
    # Control: without the gate's own reader gRPC answers by itself, with the text of a Python exception.
    monkeypatch.setattr("gateway.gate._reader", lambda parse: parse)
    async with gateway_of(world, policy_url) as bare, ClientDouble(bare) as client:
        call: Any = client._channel.unary_unary(METHODS["Jobs.GetJob"].path)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(garbage, timeout=call_seconds, metadata=client.metadata)
    assert caught.value.code() in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
