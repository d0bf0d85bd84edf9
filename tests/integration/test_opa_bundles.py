"""A real OPA takes our signed bundles and no others, by file and over its own protocol; answers follow."""

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from carnet.core.errors import PolicyEngineUnavailable
from gateway.bundleserver import BundleServer
from gateway.publishing import Publishing
from gateway.storage.bundles import BundleStore
from policy import archive, release, signing
from policy.bundle import Bundle
from policy.engines.choice import OwnEngine, ServerByUrl
from policy.engines.current import CurrentPolicy
from policy.engines.opa import Endpoint
from policy.release import canonical
from policy.signing import SCOPE, SIGNATURES, PolicyKey
from tests.fixtures.client_double import ClientDouble, facts
from tests.fixtures.gateway_process import World, gateway_of, until
from tests.fixtures.opa_follower import Follower, follower, free_port
from tests.fixtures.releases import BUNDLE, KEY, OTHER, packed, tampered, variant, with_token
from tests.opa_support import NOW, opa_binary, query_of, runner_of

pytestmark = pytest.mark.opa

SEPARATORS = {
    "word": 'a\u2028b\u2029c<>&\x7f\u00e9\U0001f600 "quoted" \\ \x01\b\f\n\r\t',
    "\u00e9": [1, -2, None, True],
}


def builds(folder: Path, data: bytes, *, keyid: str = KEY.keyid, scope: str = SCOPE) -> str:
    """Empty where a real OPA verifies the archive and loads it, else what it said."""
    (folder / "bundle.tar.gz").write_bytes(data)
    (folder / "public.pem").write_bytes(KEY.public_pem())
    verifying = ["--verification-key", "public.pem", "--verification-key-id", keyid, "--scope", scope]
    ended = subprocess.run(
        [opa_binary(), "build", "--bundle", "bundle.tar.gz", "--signing-alg", "ES256", *verifying, "-o", "out.tar.gz"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return ended.stdout + ended.stderr if ended.returncode else ""


def test_a_real_opa_verifies_our_signature(tmp_path: Path) -> None:
    assert builds(tmp_path, packed()) == ""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(tampered(lambda files: files.pop(SIGNATURES)), "missing .signatures.json", id="unsigned"),
        pytest.param(packed(key=OTHER), "failed to verify", id="another key"),
        pytest.param(tampered(lambda files: with_token(files)), "missing", id="no token"),
        pytest.param(
            tampered(lambda files: files.update({"data.json": b"{}"})), "digest mismatch", id="a file changed"
        ),
        pytest.param(
            tampered(lambda files: files.update({"carnet/a.rego": b"package carnet.a\n"})),
            "not included",
            id="a file added",
        ),
        pytest.param(tampered(lambda files: files.pop("carnet/ofac/ofac.rego")), "not found", id="a file removed"),
    ],
)
def test_a_real_opa_refuses_what_we_refuse(tmp_path: Path, data: bytes, said: str) -> None:
    assert said in builds(tmp_path, data)
    with pytest.raises(signing.BundleUnsigned):
        release.read(data, {KEY.keyid: KEY.public})


def test_a_real_opa_holds_the_scope(tmp_path: Path) -> None:
    assert "scope mismatch" in builds(tmp_path, packed(), scope="another")


def test_our_digests_are_those_that_a_real_opa_signs(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    folder.mkdir()
    BUNDLE.write(folder)
    (folder / "data.json").write_bytes(json.dumps(SEPARATORS, indent=2, ensure_ascii=False).encode())
    (tmp_path / "key.pem").write_bytes(KEY.to_pem())
    claims = {"keyid": KEY.keyid, "scope": SCOPE, "iss": "opa", "iat": 1}
    (tmp_path / "claims.json").write_text(json.dumps(claims))
    subprocess.run(
        [opa_binary(), "sign", "--signing-key", tmp_path / "key.pem", "--signing-alg", "ES256",
         "--claims-file", tmp_path / "claims.json", "--bundle", "."],
        cwd=folder, check=True, timeout=60,
    )  # fmt: skip
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert signing.verify(files, {KEY.keyid: KEY.public}) == KEY.keyid
    claims = _claims(files)
    ours = {name: signing.digest(name, data) for name, data in files.items() if name != SIGNATURES}
    assert {entry["name"]: entry["hash"] for entry in claims["files"]} == ours
    files["data.json"] = canonical(SEPARATORS | {"word": "another"})
    with pytest.raises(signing.BundleUnsigned):
        signing.verify(files, {KEY.keyid: KEY.public})


def _claims(files: dict[str, bytes]) -> dict[str, Any]:
    body = json.loads(files[SIGNATURES])["signatures"][0].split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "==="))
    return found


async def test_one_artefact_answers_alike_on_both_engines() -> None:
    found = release.read(packed(), {KEY.keyid: KEY.public}).bundle
    embedded, child = await OwnEngine(None).first(found), await OwnEngine(opa_binary()).first(found)
    try:
        here, there = await embedded.decide(query_of()), await child.decide(query_of())
        assert here.payload == there.payload
        runners = (runner_of("DE"), runner_of("US"))
        assert await embedded.judge(query_of(), runners) == await child.judge(query_of(), runners)
    finally:
        await embedded.close()
        await child.close()


async def test_a_child_follows_and_one_that_does_not_start_changes_nothing() -> None:
    async def ignore(_: Bundle) -> None: ...

    policy = await CurrentPolicy.open(OwnEngine(opa_binary()), bundle=BUNDLE, publish=ignore)
    try:
        before = await policy.decide(query_of())
        await policy.activate(variant())
        assert (await policy.decide(query_of())).revisions == variant().revisions
        rules = BUNDLE.rules | {"carnet/bad/bad.rego": b"package carnet.bad\n\nfound := time.now_ns()\n"}
        with pytest.raises(PolicyEngineUnavailable):
            await policy.activate(replace(BUNDLE, rules=rules))
        assert (await policy.decide(query_of())).revisions == variant().revisions
        await policy.activate(BUNDLE)
        assert (await policy.decide(query_of())).payload == before.payload
    finally:
        await policy.close()


@dataclass(frozen=True, kw_only=True)
class Followed:
    """A gateway's policy over an OPA that fetches its bundles."""

    policy: CurrentPolicy
    server: BundleServer
    bundles: BundleStore
    opa: Follower


@pytest.fixture
async def followed(tmp_path: Path) -> AsyncIterator[Followed]:
    opa_binary()  # skipped here, before anything is open
    server, bundles = BundleServer(), BundleStore(tmp_path / "bundles")
    address = await server.listen("127.0.0.1:0")
    publishing = Publishing(bundles, KEY, server, clock=lambda: NOW)
    folder = tmp_path / "opa"
    folder.mkdir()
    async with follower(folder, bundles=address, key=KEY) as opa:
        starter = ServerByUrl(Endpoint.of(opa.url), follow_seconds=20)
        policy = await CurrentPolicy.open(starter, bundle=BUNDLE, publish=publishing.publish)
        try:
            await _answers(policy)
            yield Followed(policy=policy, server=server, bundles=bundles, opa=opa)
        finally:
            await policy.close()
            await server.close()


async def _answers(policy: CurrentPolicy) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                await policy.decide(query_of())
            except PolicyEngineUnavailable:
                await asyncio.sleep(0.1)
            else:
                return


async def _refusal(policy: CurrentPolicy) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                await policy.decide(query_of())
                await asyncio.sleep(0.1)
            except PolicyEngineUnavailable as error:
                return error.detail


async def _listens(opa: Follower) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", opa.port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.1)
            else:
                writer.close()
                return await writer.wait_closed()


async def _logged(opa: Follower, word: str) -> None:
    async with asyncio.timeout(20):
        while True:
            if word in opa.log:
                return
            await asyncio.sleep(0.1)


async def test_answers_follow_an_activation_and_every_bundle_is_kept(followed: Followed) -> None:
    assert (await followed.policy.decide(query_of())).revisions == BUNDLE.revisions
    await followed.policy.activate(variant())
    assert (await followed.policy.decide(query_of())).revisions == variant().revisions
    await followed.policy.activate(BUNDLE)
    assert (await followed.policy.decide(query_of())).revisions == BUNDLE.revisions
    for bundle in (BUNDLE, variant()):
        kept = release.read(await followed.bundles.read(bundle.revision), {KEY.keyid: KEY.public})
        assert kept.bundle.revision == bundle.revision


async def test_an_unsigned_bundle_at_the_place_of_ours_is_refused_by_opa(followed: Followed) -> None:
    before = await followed.policy.decide(query_of())
    files = archive.unpacked(packed(variant()))
    del files[SIGNATURES]
    followed.server.offer(archive.packed(files))
    await _logged(followed.opa, "missing .signatures.json")
    assert (await followed.policy.decide(query_of())).payload == before.payload, "it keeps the one that it had"


async def test_a_bundle_that_another_key_signed_is_refused_by_opa(followed: Followed) -> None:
    before = await followed.policy.decide(query_of())
    followed.server.offer(packed(variant(), key=OTHER))
    await _logged(followed.opa, "failed to verify JWT signature")
    assert (await followed.policy.decide(query_of())).payload == before.payload


async def test_an_older_bundle_at_the_place_of_ours_is_refused_by_the_gateway(followed: Followed) -> None:
    await followed.policy.activate(variant())
    assert await followed.policy.decide(query_of()), "the control"
    followed.server.offer(await followed.bundles.read(BUNDLE.revision))
    assert variant().revision in await _refusal(followed.policy)
    followed.server.offer(packed(variant()))
    await _answers(followed.policy)


async def test_a_bundle_that_opa_can_not_load_is_taken_back(followed: Followed) -> None:
    broken = Bundle.of(
        rules=BUNDLE.rules | {"carnet/main/more.rego": b'package carnet.main\n\nwrong := 1 + "a"\n'},
        tables=BUNDLE.tables,
        schemas=BUNDLE.schemas,
        expires_ns=None,
    )
    followed.policy._starter._follow_seconds = 3.0  # type: ignore[attr-defined]
    with pytest.raises(PolicyEngineUnavailable):
        await followed.policy.activate(broken)
    await _answers(followed.policy)
    assert (await followed.policy.decide(query_of())).revisions == BUNDLE.revisions


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/v1/policies/mine"),
        ("DELETE", "/v1/policies/carnet"),
        ("GET", "/v1/policies"),
        ("PUT", "/v1/data/carnet/tables/adequacy"),
        ("PATCH", "/v1/data"),
        ("GET", "/v1/data"),
        ("POST", "/v1/data"),
        ("POST", "/v1/query"),
        ("GET", "/v1/config"),
        ("GET", "/v1/status"),
    ],
)
async def test_an_opa_that_follows_is_read_only(followed: Followed, method: str, path: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, followed.opa.url + path, json={}) as answer,
    ):
        assert answer.status in {401, 403}
    assert (await followed.policy.decide(query_of())).permits("DE")


async def test_an_opa_that_has_no_bundle_yet_takes_none_from_a_stranger(tmp_path: Path) -> None:
    async with follower(tmp_path, bundles="127.0.0.1:1", key=KEY) as opa, aiohttp.ClientSession() as session:
        await _logged(opa, "Bundle load failed")
        await _listens(opa)
        for method, path in (("PUT", "/v1/policies/mine"), ("PUT", "/v1/data/carnet"), ("GET", "/v1/data")):
            async with session.request(method, opa.url + path, json={}) as answer:
                assert answer.status in {401, 403, 500}


async def test_a_whole_gateway_serves_its_bundle_to_an_opa_that_follows(world: World, tmp_path: Path) -> None:
    opa_binary()
    key = PolicyKey.from_pem((world.directory / "gateway" / "policy.key.pem").read_bytes())
    port = free_port()
    async with (
        gateway_of(world, f"http://127.0.0.1:{port}", serve="127.0.0.1:0") as gateway,
        ClientDouble(gateway) as client,
    ):
        with pytest.raises(PolicyEngineUnavailable):
            await client.client.prepare(facts())

        async def prepared() -> bool:
            try:
                return not (await client.client.prepare(facts())).denied
            except PolicyEngineUnavailable:
                return False

        async with follower(tmp_path, bundles=gateway.gateway.addresses.bundles, key=key, port=port):
            await until(prepared, seconds=40)
        kept = (gateway.state / "bundles" / f"{BUNDLE.revision.removeprefix('sha256:')}.tar.gz").read_bytes()
        assert release.read(kept, {key.keyid: key.public}).bundle.revision == BUNDLE.revision
