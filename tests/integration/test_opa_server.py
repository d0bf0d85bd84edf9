"""OPA down, slow, or answering nonsense: POLICY_ENGINE_UNAVAILABLE, and service returns by itself.

The server at the other end of the wire is a double that misbehaves as told; the control is that it answers well.
"""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from carnet.core.errors import PolicyEngineUnavailable
from policy.engines import breaker
from policy.engines.answers import answer_bytes_max
from policy.engines.breaker import failures_max, open_seconds
from policy.engines.opa import Endpoint, OpaServer
from tests.opa_answers import BODY, BUNDLE, PROVENANCE, RUNNERS, VERDICTS
from tests.opa_support import query_of

Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]
GOOD: dict[str, Any] = {"result": BODY, "provenance": PROVENANCE}


def says(document: Any, *, status: int = 200) -> Behaviour:
    text = document if isinstance(document, str) else json.dumps(document)

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, text=text, content_type="application/json")

    return answer


def provenance(**changes: Any) -> dict[str, Any]:
    return GOOD | {"provenance": PROVENANCE | changes}


async def never(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def dribble(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" ")
        await asyncio.sleep(0.05)


async def too_long(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(answer_bytes_max // 2**16 + 2):
        await response.write(b" " * 2**16)
    return response


async def hangs_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(json.dumps(GOOD).encode()[:500])
    assert request.transport is not None
    request.transport.close()
    return response


class Wire:
    """A server on loopback that behaves as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = says(GOOD)
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def start(self) -> None:
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        self.bodies.append(await request.read())
        return await self.behaviour(request)  # type: ignore[arg-type]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    found = Wire()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def engine(wire: Wire) -> AsyncIterator[OpaServer]:
    found = OpaServer(endpoint=Endpoint(host="127.0.0.1", port=wire.port), bundle=BUNDLE, seconds_max=1.0)
    yield found
    await found.close()


async def test_the_control_a_good_server_is_believed(wire: Wire, engine: OpaServer) -> None:
    body = await engine.decide(query_of())
    assert body.permits("DE")
    assert (engine.name, engine.version) == ("opa", "1.22.2")
    wire.behaviour = says({"result": VERDICTS, "provenance": PROVENANCE})
    verdicts = await engine.judge(query_of(), RUNNERS)
    assert [verdict.permitted for verdict in verdicts] == [True, False]
    sent = json.loads(wire.bodies[-1])["input"]
    assert [runner["jurisdiction"] for runner in sent["runners"]] == ["DE", "FR"]


NONSENSE: dict[str, Behaviour] = {
    "an empty object": says({}),
    "an undefined decision": says({"provenance": PROVENANCE}),
    "a null decision": says(GOOD | {"result": None}),
    "a bare yes": says(GOOD | {"result": True}),
    "an allow of another policy": says(GOOD | {"result": {"allow": True}}),
    "a list": says([GOOD]),
    "no JSON": says("permit"),
    "half of it": says(json.dumps(GOOD)[:-40]),
    "nothing": says(""),
    "a repeated key": says(json.dumps(GOOD)[:-1] + ', "result": {}}'),
    "a float": says(json.dumps(GOOD).replace('"verdict": "permit"', '"verdict": 1.0', 1)),
    "not a number": says(json.dumps(GOOD).replace('"permit"', "NaN", 1)),
    "no provenance": says({"result": BODY}),
    "an empty provenance": says(GOOD | {"provenance": {}}),
    "provenance of no bundle": says(provenance(bundles={})),
    "another revision": says(provenance(bundles={"bundle": {"revision": "sha256:" + "0" * 64}})),
    "a revision in the old place": says(provenance(bundles={}, revision=BUNDLE.revision)),
    "a second bundle": says(provenance(bundles=PROVENANCE["bundles"] | {"other": {"revision": "1"}})),
    "an OPA that can be fooled by a bundle": says(provenance(version="1.21.2")),
    "an OPA of no version": says(provenance(version="latest")),
    "a decision of other rules": says(
        GOOD | {"result": BODY | {"revisions": {"rules": "sha256:" + "0" * 64, "data": BODY["revisions"]["data"]}}}
    ),
    "an internal error": says({"code": "internal_error"}, status=500),
    "an internal error that looks like an answer": says(GOOD, status=500),
    "unavailable": says({}, status=503),
    "not authorised": says({}, status=401),
    "an accepted": says(GOOD, status=202),
    "too much": too_long,
    "a hang-up": hangs_up,
    "a cut": cut_short,
    "silence": never,
    "a dribble": dribble,
}


@pytest.mark.parametrize("name", sorted(NONSENSE))
async def test_nonsense_is_unavailable_and_service_returns_by_itself(wire: Wire, engine: OpaServer, name: str) -> None:
    wire.behaviour = NONSENSE[name]
    async with asyncio.timeout(5):
        with pytest.raises(PolicyEngineUnavailable) as caught:
            await engine.decide(query_of())
    assert caught.value.reason == "POLICY_ENGINE_UNAVAILABLE"
    with pytest.raises(PolicyEngineUnavailable):
        await engine.judge(query_of(), RUNNERS)
    wire.behaviour = says(GOOD)
    assert (await engine.decide(query_of())).permits("DE")


async def test_an_answer_is_asked_for_once_whatever_comes(wire: Wire, engine: OpaServer) -> None:
    for behaviour in (says({}, status=500), says({}, status=502), says({}, status=504), hangs_up):
        wire.behaviour = behaviour
        wire.requests.clear()
        with pytest.raises(PolicyEngineUnavailable):
            await engine.decide(query_of())
        assert len(wire.requests) == 1


async def test_a_slow_server_costs_one_deadline_and_no_more(wire: Wire, engine: OpaServer) -> None:
    wire.behaviour = never
    started = time.monotonic()
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())
    assert time.monotonic() - started < 3.0


async def test_a_server_that_is_down_is_unavailable_and_used_again_once_it_is_up(wire: Wire, engine: OpaServer) -> None:
    await wire.stop()
    for _ in range(failures_max):
        with pytest.raises(PolicyEngineUnavailable):
            await engine.decide(query_of())
    await wire.start()
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())
    assert wire.requests == [], "the breaker is open: nothing is asked"
    await asyncio.sleep(open_seconds)
    assert (await engine.decide(query_of())).permits("DE")


async def test_a_server_that_comes_up_while_it_is_dialled_is_asked(wire: Wire, engine: OpaServer) -> None:
    await wire.stop()
    asking = asyncio.create_task(engine.decide(query_of()))
    await asyncio.sleep(0.01)
    await wire.start()
    assert (await asking).permits("DE")


async def test_a_port_that_takes_and_never_answers_opens_the_breaker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(host="127.0.0.1", port=listener.getsockname()[1])
        engine = OpaServer(endpoint=endpoint, bundle=BUNDLE, seconds_max=0.2)
        for _ in range(failures_max):
            with pytest.raises(breaker.Unreachable):
                await engine.decide(query_of())
        with pytest.raises(PolicyEngineUnavailable) as caught:
            await engine.decide(query_of())
        assert not isinstance(caught.value, breaker.Unreachable)
        assert not await engine.is_healthy()
        await engine.close()


async def test_health_is_the_servers_own_word(wire: Wire, engine: OpaServer) -> None:
    wire.behaviour = says({})
    assert await engine.is_healthy()
    assert wire.requests == [("GET", "/health")]
    wire.behaviour = says({}, status=500)
    assert not await engine.is_healthy()


async def test_a_closed_engine_opens_nothing_again(wire: Wire, engine: OpaServer) -> None:
    await engine.close()
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())
    assert wire.requests == []
