"""The bundle server speaks OPA's protocol, on loopback, and nothing else; who waits is told of the next archive."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from carnet.core.errors import FieldInvalid
from gateway import bundleserver
from gateway.bundleserver import PATH, BundleServer


@pytest.fixture
async def server() -> AsyncIterator[tuple[BundleServer, str]]:
    found = BundleServer()
    address = await found.listen("127.0.0.1:0")
    yield found, address
    await found.close()


async def get(address: str, path: str = PATH, **headers: str) -> tuple[int, bytes, str]:
    async with (
        aiohttp.ClientSession(headers={name.replace("_", "-"): value for name, value in headers.items()}) as session,
        session.get(f"http://{address}{path}") as answer,
    ):
        return answer.status, await answer.read(), answer.headers.get("ETag", "")


async def raw(address: str, request: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_the_archive_that_was_offered_last_is_served_with_its_tag(server: tuple[BundleServer, str]) -> None:
    bundles, address = server
    assert (await get(address))[0] == 404, "nothing was offered yet"
    bundles.offer(b"one")
    status, body, tag = await get(address)
    assert (status, body) == (200, b"one")
    assert (await get(address, If_None_Match=tag))[:2] == (304, b"")
    assert (await get(address, If_None_Match=f'"old", {tag}'))[:2] == (304, b"")
    bundles.offer(b"two")
    assert (await get(address, If_None_Match=tag))[:2] == (200, b"two")


async def test_who_waits_long_is_answered_at_the_next_offer(server: tuple[BundleServer, str]) -> None:
    bundles, address = server
    bundles.offer(b"one")
    tag = (await get(address))[2]
    waiting = asyncio.create_task(get(address, If_None_Match=tag, Prefer="modes=snapshot,delta;wait=30"))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    bundles.offer(b"two")
    async with asyncio.timeout(5):
        assert (await waiting)[:2] == (200, b"two")


async def test_who_waits_and_gets_nothing_new_is_told_so(server: tuple[BundleServer, str]) -> None:
    bundles, address = server
    bundles.offer(b"one")
    tag = (await get(address))[2]
    assert (await get(address, If_None_Match=tag, Prefer="modes=snapshot;wait=1"))[:2] == (304, b"")
    assert (await get(address, Prefer="wait=30"))[:2] == (200, b"one"), "who has nothing does not wait"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /bundles/carnet.tar.gz HTTP/1.1", b"200"),
        (b"GET /bundles/other.tar.gz HTTP/1.1", b"404"),
        (b"GET /bundles/../bundles/carnet.tar.gz HTTP/1.1", b"404"),
        (b"GET / HTTP/1.1", b"404"),
        (b"PUT /bundles/carnet.tar.gz HTTP/1.1", b"405"),
        (b"POST /bundles/carnet.tar.gz HTTP/1.1", b"405"),
        (b"GET /bundles/carnet.tar.gz", b"400"),
        (b"\xff\xfe", b"400"),
        (b"GET  HTTP/1.1", b"404"),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1", b"400"),
    ],
)
async def test_one_path_is_served_and_nothing_is_taken_in(
    server: tuple[BundleServer, str], request_line: bytes, status: bytes
) -> None:
    bundles, address = server
    bundles.offer(b"one")
    answer = await raw(address, request_line + b"\r\nHost: x\r\n\r\n")
    assert answer.split(b" ")[1] == status
    assert (await get(address))[:2] == (200, b"one")


async def test_who_says_nothing_is_hung_up_on(
    server: tuple[BundleServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundleserver, "request_seconds_max", 0.1)
    assert await raw(server[1], b"GET /bundles") == b""


async def test_more_callers_than_the_bound_are_sent_away(
    server: tuple[BundleServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundleserver, "callers_max", 1)
    bundles, address = server
    bundles.offer(b"one")
    tag = (await get(address))[2]
    waiting = asyncio.create_task(get(address, If_None_Match=tag, Prefer="wait=30"))
    await asyncio.sleep(0.1)
    assert (await get(address))[0] == 503
    bundles.offer(b"two")
    assert (await waiting)[0] == 200
    assert (await get(address))[0] == 200


async def test_closing_hangs_up_on_who_waits() -> None:
    found = BundleServer()
    address = await found.listen("127.0.0.1:0")
    found.offer(b"one")
    tag = (await get(address))[2]
    waiting = asyncio.create_task(get(address, If_None_Match=tag, Prefer="wait=30"))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(5):
        await found.close()
        with pytest.raises(aiohttp.ClientError):
            await waiting


@pytest.mark.parametrize(
    "place", ["0.0.0.0:0", "192.0.2.1:80", "localhost:0", "127.0.0.1", "127.0.0.1:x", ":0", "[::]:0"]
)
async def test_bundles_are_served_on_loopback_only(place: str) -> None:
    with pytest.raises(FieldInvalid, match="loopback"):
        await BundleServer().listen(place)
