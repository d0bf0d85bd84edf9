"""Attacks on the policy child from the same machine. Each has a control that shows the attack can work."""

import asyncio
import contextlib
import datetime
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from carnet.core.errors import PolicyEngineUnavailable
from policy.engines import loopback
from policy.engines.loopback import Loopback
from policy.engines.opa import Endpoint, OpaServer
from tests.integration.test_opa_server import GOOD
from tests.opa_answers import BUNDLE
from tests.opa_support import query_of


def keys(folder: Path) -> Loopback:
    folder.mkdir()
    return loopback.create(folder, now=datetime.datetime.now(datetime.UTC))


@asynccontextmanager
async def answering(tls: Loopback, heard: list[bytes]) -> AsyncIterator[int]:
    """Something that took the child's port, and says yes to everything under the keys that it has."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.certificate, tls.key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        data = json.dumps(GOOD).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_another_process_takes_the_childs_port_and_permits_everything(tmp_path: Path) -> None:
    ours, theirs = keys(tmp_path / "ours"), keys(tmp_path / "theirs")
    heard: list[bytes] = []
    async with answering(theirs, heard) as port:
        engine = OpaServer(
            endpoint=Endpoint(host="127.0.0.1", port=port, tls=ours.client), bundle=BUNDLE, seconds_max=2.0
        )
        with pytest.raises(PolicyEngineUnavailable):
            await engine.decide(query_of())
        await engine.close()
    assert heard == [], "not a byte of the question was sent"


async def test_the_control_who_has_the_childs_keys_is_believed(tmp_path: Path) -> None:
    ours = keys(tmp_path / "ours")
    heard: list[bytes] = []
    async with answering(ours, heard) as port:
        engine = OpaServer(
            endpoint=Endpoint(host="127.0.0.1", port=port, tls=ours.client), bundle=BUNDLE, seconds_max=2.0
        )
        assert (await engine.decide(query_of())).permits("DE")
        await engine.close()
    assert len(heard) == 1


async def test_the_childs_own_certificate_is_used_to_pose_as_the_gateway(tmp_path: Path) -> None:
    ours = keys(tmp_path / "ours")
    context = ssl.create_default_context(cafile=ours.authority, purpose=ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(ours.certificate, ours.key)
    accepted: list[str] = []

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append("a caller")
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    posing = ssl.create_default_context(cafile=ours.authority)
    posing.load_cert_chain(ours.certificate, ours.key)

    async def greet(client: ssl.SSLContext) -> None:
        # Under TLS 1.3 a client learns of its refusal with the first read, or by the end of it.
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
            with contextlib.closing(writer):
                await reader.read()

    try:
        await greet(posing)
        assert accepted == []
        await greet(ours.client)
        assert accepted == ["a caller"], "the control"
    finally:
        server.close()
        await server.wait_closed()
