"""Files and documents from beyond a trust border: any bytes raise a typed error; a changed receipt proves no more."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carnet import proof
from carnet.context import load_context
from carnet.core.decision import parse_body
from carnet.core.document import parse
from carnet.core.errors import CallerError, CarnetError, FieldInvalid, PeerError
from carnet.core.facts import parse_facts
from carnet.pins import Pins, parse_pins
from carnet.tls import chain_from_pem
from carnet.v1 import jobs_pb2
from gateway.screening import parse_results
from policy.engine import GatewayFacts
from tests.fixtures.client_double import ClientDouble, facts
from tests.fixtures.gateway_process import ON_ITS_LOOP, GatewayProcess, World, bounded
from tests.fixtures.runner_double import RunnerDouble
from tests.fuzz.shapes import messages, mutated

pytestmark = pytest.mark.timeout(900)

Parser = Callable[[bytes], object]
BODY = json.dumps({
    "schema": "carnet.decision/v1", "verdict": "permit", "permitted": ["DE", "FR"], "blocked": {"US": ["a.rule"]},
    "obligations": [], "reasons": [], "rules_evaluated": ["carnet.baseline"], "exemptions_used": [],
    "unverified_rows_used": [],
    "valid_until_ns": 2**62, "revisions": {"rules": "sha256:" + "0" * 64, "data": "sha256:" + "0" * 64},
    "disclaimer": "Not legal advice.",
}).encode()  # fmt: skip
SCREENED = json.dumps({
    "schema": "carnet.screening/v1",
    "results": [
        {"entity": "klinikum.example", "result": "clear", "as_of": "2026-11-26",
         "list": {"name": "EU consolidated", "digest": "sha256:" + "0" * 64}},
    ],
}).encode()  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())
DOCUMENTS: dict[str, tuple[Parser, bytes]] = {
    "facts": (parse_facts, facts()),
    "a decision's body": (parse_body, BODY),
    "what the gateway adds": (GatewayFacts.parse, b'{"schema":"carnet.gateway-facts/v1"}'),
    "screening results": (parse_results, SCREENED),
    "any document": (lambda data: parse(data, bytes_max=10_000), b'{"a":[1,{"b":null}]}'),
}


@pytest.mark.parametrize(("read", "honest"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_any_bytes_are_a_document_or_an_invalid_field_in(read: Parser, honest: bytes) -> None:
    @bounded(normal=80, full=10_000)
    @given(st.binary(max_size=200) | JSON | mutated(honest))
    def check(data: bytes) -> None:
        text = with_error(read, data, FieldInvalid)
        assert len(text) < 4096
        assert text.isprintable()

    check()


def test_any_bytes_are_pins_or_an_invalid_field(world: World) -> None:
    honest = world.pins_path.read_bytes()
    parse_pins(honest)

    @bounded(normal=80, full=4000)
    @given(st.binary(max_size=200) | JSON | mutated(honest))
    def check(data: bytes) -> None:
        with_error(parse_pins, data, FieldInvalid)

    check()


def test_any_bytes_are_certificates_or_one_error(world: World) -> None:
    honest = (world.runners[0].directory / "chain.pem").read_bytes()

    @bounded(normal=80, full=4000)
    @given(st.binary(max_size=200) | mutated(honest))
    def check(data: bytes) -> None:
        with_error(chain_from_pem, data, PeerError)

    check()


def test_any_bytes_are_a_context_or_an_invalid_field(world: World, tmp_path: Path) -> None:
    path = tmp_path / "context.json"
    fields = dict.fromkeys(("gateway", "certificate", "key", "signing_key", "key_set", "master_key", "token"), "x")
    honest = fields | {"pins": str(world.pins_path), "tenant_id": "0" * 32, "template_digest": "0" * 64, "outbox": "o"}
    path.write_text(json.dumps(honest))
    load_context(path)

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return load_context(path)

    @bounded(normal=80, full=4000)
    @given(st.binary(max_size=200) | JSON | mutated(json.dumps(honest).encode()))
    def check(data: bytes) -> None:
        with_error(read, data, FieldInvalid)

    check()


def with_error(read: Parser, data: bytes, kind: type[CarnetError]) -> str:
    """The error's text, or nothing where the bytes are what they should be. Raises any other error."""
    try:
        read(data)
    except kind as error:
        return error.text
    return ""


# --- receipt files ------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def receipt_file(gateway_process: GatewayProcess) -> bytes:
    """The receipt file of a job that ran."""
    async with RunnerDouble(gateway_process) as runner, ClientDouble(gateway_process) as client:
        attached = await runner.attach()
        name = await client.submitted()
        await runner.finish(runner.attempt(await attached.offer()))
        return (await client.client.result(name)).receipt_file


def verifies(data: bytes, pins: Pins) -> bool:
    """Whether bytes prove a job. Raises anything but the errors that say no."""
    try:
        proof.verify(proof.from_file(data), pins=pins)
    except (PeerError, CallerError):
        return False
    return True


class TestReceiptFiles:
    """What `carnet audit verify` reads."""

    pytestmark = ON_ITS_LOOP

    async def test_a_changed_receipt_file_proves_nothing_else(self, receipt_file: bytes, world: World) -> None:
        assert verifies(receipt_file, world.pins), "control: untouched, it does"
        honest = proof.verify(proof.from_file(receipt_file), pins=world.pins)

        @bounded(normal=80, full=10_000)
        @given(mutated(receipt_file))
        def check(data: bytes) -> None:
            # Bytes around the statements (an unknown field, a hint) may differ; what is proven may not.
            if verifies(data, world.pins):
                assert proof.verify(proof.from_file(data), pins=world.pins) == honest

        check()

    async def test_any_message_is_no_receipt(self, world: World) -> None:
        @settings(bounded(normal=40, full=3000), suppress_health_check=[HealthCheck.too_slow])
        @given(messages(jobs_pb2.ReceiptFile, depth=2))
        def check(message: jobs_pb2.ReceiptFile) -> None:
            assert not verifies(proof.to_file(message), world.pins)

        check()

    async def test_any_bytes_are_no_receipt(self, world: World) -> None:
        @bounded(normal=80, full=10_000)
        @given(st.binary(max_size=200))
        def check(data: bytes) -> None:
            assert not verifies(data, world.pins)
            assert not verifies(proof.FORMAT + data, world.pins)

        check()
