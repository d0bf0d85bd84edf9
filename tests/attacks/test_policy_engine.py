"""Attacks on the way between gateway and policy engine. Each has a control that shows the attack can work."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opa_client.opa_async import AsyncOpaClient

from carnet.core.errors import Bug, CallerError, FieldInvalid, PolicyEngineUnavailable
from carnet.core.facts import parse_facts
from policy.engines.breaker import failures_max
from policy.engines.opa import Endpoint, OpaServer
from tests.integration.test_opa_server import GOOD, Wire, hangs_up, says
from tests.opa_answers import BUNDLE, RUNNERS
from tests.opa_support import hospital, query_of

CANARY = "canary-importer.example"
ALLOWED = {
    ("POST", "/v1/data/carnet/main/body"),
    ("POST", "/v1/data/carnet/runners/answer"),
    ("GET", "/health"),
}


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    found = Wire()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def rogue() -> AsyncIterator[Wire]:
    found = Wire()
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def engine(wire: Wire) -> AsyncIterator[OpaServer]:
    found = OpaServer(endpoint=Endpoint(host="127.0.0.1", port=wire.port), bundle=BUNDLE, seconds_max=1.0)
    yield found
    await found.close()


async def test_a_proxy_in_the_environment_reads_the_questions(
    wire: Wire, rogue: Wire, engine: OpaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{rogue.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    await engine.decide(query_of())
    assert rogue.requests == []
    async with aiohttp.ClientSession(trust_env=True) as session:
        await session.get(f"http://127.0.0.1:{wire.port}/health")
    assert rogue.requests, "the control: who trusts the environment goes through the proxy"


async def test_a_redirect_sends_the_question_to_another_host(wire: Wire, rogue: Wire, engine: OpaServer) -> None:
    async def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": f"http://127.0.0.1:{rogue.port}{request.path}"})

    wire.behaviour = redirect
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())
    assert rogue.requests == []
    async with AsyncOpaClient(host="127.0.0.1", port=wire.port) as library:
        await library.query_rule({}, "carnet.main", "body")
    assert rogue.requests, "the control: the library alone follows"


async def test_a_rejected_question_makes_the_client_upload_policy(wire: Wire, engine: OpaServer) -> None:
    for behaviour in (says(GOOD), says({"code": "invalid_parameter"}, status=400), says({}), hangs_up):
        wire.behaviour = behaviour
        for ask in (engine.decide(query_of()), engine.judge(query_of(), RUNNERS), engine.is_healthy()):
            try:
                await ask
            except PolicyEngineUnavailable:
                continue
    assert {(method, path) for method, path in wire.requests} == ALLOWED
    wire.behaviour = says({})
    async with AsyncOpaClient(host="127.0.0.1", port=wire.port) as library:
        await library.update_policy_from_string("package x", "x")
    assert ("PUT", "/v1/policies/x") in wire.requests, "the control: the library alone uploads"


@pytest.mark.parametrize("call", ["update_policy_from_string", "update_policy_from_url", "update_or_create_data"])
async def test_code_of_ours_uploads_through_the_library_by_mistake(wire: Wire, engine: OpaServer, call: str) -> None:
    client = await engine._open()
    argument: Any = {} if call == "update_or_create_data" else f"http://127.0.0.1:{wire.port}/x"
    with pytest.raises(Bug):
        await getattr(client, call)(argument, "x")
    with pytest.raises(Bug):
        await client.query_rule({}, "system.main")
    assert wire.requests == []


async def test_a_poisoned_job_that_breaks_its_own_evaluation_shuts_out_the_other_jobs(
    wire: Wire, engine: OpaServer
) -> None:
    wire.behaviour = says({"code": "internal_error"}, status=500)
    for _ in range(failures_max * 3):
        with pytest.raises(PolicyEngineUnavailable):
            await engine.decide(query_of())
    wire.behaviour = says(GOOD)
    assert (await engine.decide(query_of())).permits("DE")


async def test_an_error_tells_what_the_facts_said(
    wire: Wire, engine: OpaServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    document = hospital(
        transfer={
            "importers": [
                {"entity": CANARY, "dpf_certified": "no", "uk_bridge": "unknown", "swiss_certified": "unknown"}
            ]
        }
    )
    for behaviour in (says({"message": CANARY}, status=400), says(GOOD | {"result": {CANARY: 1}}), hangs_up):
        wire.behaviour = behaviour
        with pytest.raises(PolicyEngineUnavailable) as caught:
            await engine.decide(query_of(document))
        error = caught.value
        assert CANARY not in error.text + error.detail + str(error.metadata) + caplog.text
    assert any(CANARY.encode() in body for body in wire.bodies), "the control: the question did hold it"


async def test_many_callers_wait_behind_a_dead_engine(wire: Wire) -> None:
    async def silence(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    wire.behaviour = silence
    engine = OpaServer(endpoint=Endpoint(host="127.0.0.1", port=wire.port), bundle=BUNDLE, seconds_max=0.5)
    async with asyncio.timeout(5):
        found = await asyncio.gather(*[engine.decide(query_of()) for _ in range(50)], return_exceptions=True)
    assert all(isinstance(error, PolicyEngineUnavailable) for error in found)
    await engine.close()


FACTS = json.dumps(hospital())


@pytest.mark.parametrize(
    "text",
    [
        FACTS.replace('"purpose"', '"purpose": "inference", "purpose"', 1),
        FACTS.replace('"records": 569', '"records": 1e400'),
        FACTS.replace('"records": 569', '"records": 18446744073709551617'),
        FACTS.replace('"records": 569', '"records": NaN'),
        FACTS.replace('"records": 569', '"records": 569.0'),
        FACTS.replace("klinikum", "klini\\u0000kum"),
        FACTS.replace("klinikum", "\\ud800"),
        FACTS.replace('"health"', '"unheard_of"'),
        FACTS[:-1] + ', "surprise": 1}',
    ],
)
def test_facts_that_engines_would_read_differently(text: str) -> None:
    assert text != FACTS
    with pytest.raises((FieldInvalid, CallerError)):
        parse_facts(text.encode())
    assert parse_facts(FACTS.encode()).purpose == "training", "the control"
