"""Masking is OPA's own: what a real OPA writes to its decision log is what is written here, on both engines."""

import asyncio
import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from carnet.core.decision import DecisionRecord
from carnet.core.errors import PolicyEngineUnavailable
from policy.bundle import Bundle
from policy.engine import JobQuery, Volume
from policy.engines.choice import EngineName, opened
from policy.event import Decided, event_bytes
from policy.masking import apply, mask_rules
from tests.opa_support import clauses, hospital, opa_binary, query_of

pytestmark = pytest.mark.opa

BUNDLE = Bundle.load()
start_seconds = 20.0

ECHO = """package carnet.echo

answer := input.answered
"""
MASKS = """package system.log

mask contains rule if some rule in input.input.rules
"""
ASKED: dict[str, Any] = {
    "a": {"b": [{"c": 1, "d": 2}, [1, 2, 3], "x"], "e": None, "f/g": 1, "h i": {"j": 2}},
    "list": [1, [2, 3], {"k": 4}],
    "word": "w",
}
ANSWERED: dict[str, Any] = {"r": {"s": [1, 2]}, "t": "u"}
CASES: dict[str, list[Any]] = {
    "nothing": [],
    "a field": ["/input/asked/a/e", "/result/t"],
    "what is not there": ["/input/asked/none", "/input/asked/word/deeper", "/result/r/s/9", "/nd_builtin_cache/x"],
    "an item of a list, which shrinks": ["/input/asked/list/0", "/input/asked/a/b/1/2"],
    "two items of one list": ["/input/asked/a/b/0", "/input/asked/a/b/1"],
    "an item by a strange number": ["/input/asked/list/01", "/input/asked/list/+1", "/input/asked/list/-1"],
    "a field of an item": ["/input/asked/a/b/0/c", "/input/asked/list/2/k"],
    "an item of the result": ["/result/r/s/0"],
    "the whole result": ["/result"],
    "the whole input": ["/input"],
    "the whole input and then a part of it": ["/input", "/input/asked/word"],
    "a name that a path escapes": ["/input/asked/h i/j", "/input/asked/f/g", "/input/asked/f%2Fg"],
    "an upsert": [{"op": "upsert", "path": "/input/asked/word", "value": "masked"}],
    "an upsert of what is not there": [{"op": "upsert", "path": "/input/new/path/here", "value": {"n": [1]}}],
    "an upsert through a word": [{"op": "upsert", "path": "/input/asked/word/x/y", "value": 1}],
    "an upsert into a list": [{"op": "upsert", "path": "/input/asked/list/1/0", "value": "m"}],
    "an upsert beyond a list": [{"op": "upsert", "path": "/input/asked/list/7", "value": "m"}],
    "an upsert without a value": [{"op": "upsert", "path": "/result/t"}],
    "an upsert of the whole result": [{"op": "upsert", "path": "/result", "value": {"only": "this"}}],
    "a removal in full": [{"op": "remove", "path": "/input/asked/word"}],
    "removals before upserts, in the order of paths": [
        {"op": "upsert", "path": "/input/asked/a/e", "value": 2},
        "/input/asked/word",
        {"op": "remove", "path": "/input/asked/a/e"},
        {"op": "upsert", "path": "/input/asked/a/b", "value": "gone"},
        "/input/asked/a/b/0",
    ],
    "the same place twice": [
        {"op": "upsert", "path": "/input/asked/word", "value": "b"},
        {"op": "upsert", "path": "/input/asked/word", "value": "a"},
    ],
}


class Logging:
    """An OPA on loopback that writes its decision log to a file."""

    def __init__(self, port: int, log: Path) -> None:
        self._port = port
        self._log = log

    def ask(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        """Ask, and the event that was logged for it."""
        before = len(self._events())
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/v1/data/{path}",
            data=json.dumps({"input": document}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200
        ends = time.monotonic() + 5
        while len(found := self._events()) == before:
            assert time.monotonic() < ends, "nothing was logged"
            time.sleep(0.02)
        return found[-1]

    def _events(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("type") == "openpolicyagent.org/decision_logs"]


@contextmanager
def logging(folder: Path, *arguments: str) -> Iterator[Logging]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "opa.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                opa_binary(), "run", "--server", "--addr", f"127.0.0.1:{port}", "--skip-version-check",
                "--log-format", "json", "--set", "decision_logs.console=true", *arguments,
            ],
            cwd=folder,
            env={"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )  # fmt: skip
    try:
        _wait(port, process)
        yield Logging(port, log)
    finally:
        process.terminate()
        process.wait(10)


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    ends = time.monotonic() + start_seconds
    while time.monotonic() < ends and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health?bundles", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    pytest.fail("OPA did not come up")


@pytest.fixture(scope="module")
def echoing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logging]:
    folder = tmp_path_factory.mktemp("masks")
    (folder / "echo.rego").write_text(ECHO)
    (folder / "masks.rego").write_text(MASKS)
    with logging(folder, "echo.rego", "masks.rego") as found:
        yield found


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logging]:
    folder = tmp_path_factory.mktemp("product")
    (folder / "bundle").mkdir()
    BUNDLE.write(folder / "bundle")
    with logging(folder, "--bundle", "bundle") as found:
        yield found


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_mask_does_here_what_it_does_in_opa(echoing: Logging, name: str) -> None:
    document = {"asked": ASKED, "answered": ANSWERED, "rules": CASES[name]}
    theirs = echoing.ask("carnet/echo/answer", document)
    ours = apply(mask_rules(CASES[name]), asked=document, answered=ANSWERED)
    assert (ours.input, ours.result) == (theirs.get("input"), theirs.get("result"))
    assert [*ours.erased] == theirs.get("erased", [])
    assert [*ours.masked] == theirs.get("masked", [])


def questions() -> dict[str, JobQuery]:
    importer = {"entity": "Klinik", "dpf_certified": "yes", "uk_bridge": "unknown", "swiss_certified": "unknown"}
    licence = {
        "id": "L-1", "authority": "BIS", "codes": ["3A090.a"], "countries": ["US"], "end_users": ["Werk"],
        "expires_ns": 2**62,
    }  # fmt: skip
    bulk = hospital(data={"classes": ["health"], "subject_jurisdictions": ["US"], "records": 31_337})
    sent = query_of(bulk)
    weighed = replace(sent.gateway, volumes=(Volume(category="health", records=5),))
    return {
        "an ordinary job": query_of(),
        "names everywhere": query_of(
            hospital(
                transfer={"importers": [importer], "mechanisms": [clauses(["IN"])]},
                technology={"controlled": "yes", "eccns": ["3A090.a"], "licences": [licence]},
            )
        ),
        "a denial": query_of(hospital(constraints={"only": ["US"]})),
        "counts in a reason": replace(sent, gateway=weighed),
    }


@pytest.mark.parametrize("engine", ["opa", "embedded"])
def test_opas_own_masked_event_and_ours_are_one_on_both_engines(
    product: Logging, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    found = asyncio.run(_events(EngineName(engine)))
    assert any("/result/reasons" in event["masked"] for event in found.values())
    for name, query in questions().items():
        theirs, ours = product.ask("carnet/main/body", query.document()), found[name]
        for field in ("input", "result", "erased", "masked", "path"):
            assert ours[field] == theirs.get(field, []), (name, field)
        assert [*ours["bundles"].values()] == [*theirs["bundles"].values()]
        assert "Klinik" not in json.dumps(ours)
        assert "31337" not in json.dumps(ours)


async def _events(name: EngineName) -> dict[str, Any]:
    engine = await opened(name, bundle=BUNDLE)
    try:
        found = {}
        for title, query in questions().items():
            body = await engine.decide(query)
            record = DecisionRecord(
                payload=b"record",
                id=bytes(16),
                tenant_id=bytes(16),
                body_digest=body.digest,
                facts_digest=query.facts.digest,
                gateway_facts_digest=query.gateway.digest,
                engine=engine.name,
                engine_version=engine.version,
                evaluated_ns=query.now_ns,
                valid_until_ns=body.valid_until_ns,
                shortlist=(),
            )
            decided = Decided(query=query, body=body, record=record, stage="prepared", origin="gateway.test/log")
            found[title] = json.loads(event_bytes(decided, await engine.mask(query, body)))
        return found
    finally:
        await engine.close()


def test_where_an_opa_logs_the_question_for_the_mask_nothing_of_the_decision_is_shown(product: Logging) -> None:
    question = {"path": "carnet/main/body", "input": query_of().document(), "result": {"reasons": []}}
    event = product.ask("system/log/mask", question)
    assert "input" not in event
    assert "result" not in event


@pytest.mark.parametrize("engine", ["opa", "embedded"])
@pytest.mark.parametrize(
    "text",
    [
        "package system.log\n\nother := 1\n",
        'package system.log\n\nmask contains "/labels/id"\n',
        'package system.log\n\nmask contains {"op": "hide", "path": "/input"}\n',
        "package system.log\n\nmask contains 1\n",
        'package system.log\n\nmask := "/input"\n',
    ],
)
def test_a_mask_that_is_none_gives_no_line(engine: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARNET_OPA", str(opa_binary()))
    rules = BUNDLE.rules | {"system/log/log.rego": text.encode()}
    bundle = Bundle.of(rules=rules, tables=BUNDLE.tables, schemas=BUNDLE.schemas, expires_ns=None)

    async def ask() -> None:
        asked = await opened(EngineName(engine), bundle=bundle)
        try:
            body = await asked.decide(query_of())
            with pytest.raises(PolicyEngineUnavailable):
                await asked.mask(query_of(), body)
        finally:
            await asked.close()

    asyncio.run(ask())
