"""The supervised child: started on its bundle alone, read-only, locked to us, and back by itself when it dies."""

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from carnet.core.errors import PolicyEngineUnavailable
from policy.bundle import Bundle
from policy.engines import child
from policy.engines.child import SupervisedOpa
from tests.opa_support import opa_binary, query_of

pytestmark = pytest.mark.opa

BUNDLE = Bundle.load()


@pytest.fixture
async def engine() -> AsyncIterator[SupervisedOpa]:
    found = SupervisedOpa(binary=opa_binary(), bundle=BUNDLE)
    await found.start()
    yield found
    await found.close()


def process_of(engine: SupervisedOpa) -> int:
    assert engine.process_id is not None
    return engine.process_id


def arguments_of(engine: SupervisedOpa) -> list[str]:
    return Path(f"/proc/{process_of(engine)}/cmdline").read_bytes().decode().split("\0")


def environment_of(engine: SupervisedOpa) -> bytes:
    return Path(f"/proc/{process_of(engine)}/environ").read_bytes()


def address_of(engine: SupervisedOpa) -> str:
    arguments = arguments_of(engine)
    return "https://" + arguments[arguments.index("--addr") + 1]


def folder_of(engine: SupervisedOpa) -> Path:
    return Path(f"/proc/{process_of(engine)}/cwd").readlink()


def our_context(engine: SupervisedOpa) -> ssl.SSLContext:
    folder = folder_of(engine)
    context = ssl.create_default_context(cafile=folder / "authority.pem")
    context.load_cert_chain(folder / "client.pem", folder / "client.key")
    return context


async def test_a_child_that_is_killed_comes_back_by_itself(engine: SupervisedOpa) -> None:
    assert (await engine.decide(query_of())).permits("DE")
    before = process_of(engine)
    os.kill(before, signal.SIGKILL)
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())
    async with asyncio.timeout(30):
        while True:
            try:
                body = await engine.decide(query_of())
                break
            except PolicyEngineUnavailable:
                await asyncio.sleep(0.1)
    assert body.permits("DE")
    assert process_of(engine) != before


async def test_a_child_that_hangs_is_no_answer_within_the_deadline() -> None:
    engine = SupervisedOpa(binary=opa_binary(), bundle=BUNDLE, seconds_max=1.0)
    await engine.start()
    stopped = process_of(engine)
    try:
        os.kill(stopped, signal.SIGSTOP)
        async with asyncio.timeout(5):
            with pytest.raises(PolicyEngineUnavailable):
                await engine.decide(query_of())
        os.kill(stopped, signal.SIGCONT)
        assert (await engine.decide(query_of())).permits("DE")
    finally:
        os.kill(stopped, signal.SIGCONT)
        await engine.close()


async def test_a_child_that_hangs_for_good_is_ended_and_another_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "silent_seconds_max", 2.0)
    monkeypatch.setattr(child, "watch_seconds", 0.2)
    engine = SupervisedOpa(binary=opa_binary(), bundle=BUNDLE, seconds_max=1.0)
    await engine.start()
    try:
        hung = process_of(engine)
        os.kill(hung, signal.SIGSTOP)
        assert await serves_again(engine)
        assert process_of(engine) != hung
        with pytest.raises(ProcessLookupError):
            os.kill(hung, 0)
        # The control: one that is well is left alone for longer than it may be silent.
        well = process_of(engine)
        await asyncio.sleep(3)
        assert process_of(engine) == well
    finally:
        await engine.close()


async def serves_again(engine: SupervisedOpa) -> bool:
    for _ in range(300):
        with contextlib.suppress(PolicyEngineUnavailable):
            return (await engine.decide(query_of())).permits("DE")
        await asyncio.sleep(0.1)
    return False


async def test_closing_ends_the_process_and_removes_its_folder() -> None:
    engine = SupervisedOpa(binary=opa_binary(), bundle=BUNDLE)
    await engine.start()
    ended, folder = process_of(engine), folder_of(engine)
    assert folder.stat().st_mode & 0o077 == 0
    await engine.close()
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(ended, 0)
    with pytest.raises(PolicyEngineUnavailable):
        await engine.decide(query_of())


async def test_the_child_listens_on_loopback_and_hears_nothing_of_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CARNET_TEST_SECRET", "canary-of-the-environment")
    engine = SupervisedOpa(binary=opa_binary(), bundle=BUNDLE)
    await engine.start()
    try:
        environment = environment_of(engine)
        assert b"canary" not in environment
        names = {pair.partition(b"=")[0] for pair in environment.split(b"\0") if pair}
        # The interpreter that becomes OPA may set the last one for itself.
        assert names - {b"LC_CTYPE"} == {b"HOME", b"GOGC", b"GOMEMLIMIT"}
        assert address_of(engine).startswith("https://127.0.0.1:")
        assert "PRIVATE" not in " ".join(arguments_of(engine))
    finally:
        await engine.close()


async def test_who_has_no_certificate_of_ours_is_not_heard(engine: SupervisedOpa) -> None:
    context = ssl.create_default_context(cafile=folder_of(engine) / "authority.pem")
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get(address_of(engine) + "/health", ssl=context)
        async with session.get(address_of(engine) + "/health", ssl=our_context(engine)) as control:
            assert control.status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/policies/mine"),
        ("PUT", "/v1/data/carnet/tables/adequacy"),
        ("PATCH", "/v1/data"),
        ("DELETE", "/v1/policies/carnet"),
        ("GET", "/v1/policies"),
        ("GET", "/v1/data"),
        ("POST", "/v1/data"),
        ("POST", "/v1/query"),
        ("POST", "/v1/compile"),
        ("GET", "/v1/config"),
    ],
)
async def test_the_child_is_read_only_even_for_us(engine: SupervisedOpa, method: str, path: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, address_of(engine) + path, json={}, ssl=our_context(engine)) as answer,
    ):
        assert answer.status in {401, 403}
    assert (await engine.decide(query_of())).permits("DE")


async def test_a_policy_outside_the_profile_does_not_start() -> None:
    rules = BUNDLE.rules | {"carnet/bad/bad.rego": b"package carnet.bad\n\nfound := time.now_ns()\n"}
    engine = SupervisedOpa(binary=opa_binary(), bundle=replace(BUNDLE, rules=rules))
    with pytest.raises(PolicyEngineUnavailable, match=r".*") as caught:
        await engine.start()
    assert "time.now_ns" in caught.value.detail
    assert engine.process_id is None


async def test_a_binary_that_is_no_opa_does_not_start(tmp_path: Path) -> None:
    for binary in (tmp_path / "missing", Path(shutil.which("true") or "/bin/true")):
        engine = SupervisedOpa(binary=binary, bundle=BUNDLE)
        with pytest.raises(PolicyEngineUnavailable):
            await engine.start()
