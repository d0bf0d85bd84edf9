"""Attacks on the way of a policy bundle: what is unsigned, changed, older or stale is not taken. Each has a control."""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from carnet.core.document import canonical
from carnet.core.errors import CarnetError, CredentialInvalid, PolicyEngineUnavailable
from gateway.publishing import bundle_of
from gateway.storage.bundles import BundleOutdated, BundleStore
from policy import bundle, release, signing
from policy.bundle import Bundle
from policy.engines.child import SupervisedOpa
from policy.engines.choice import OwnEngine
from policy.engines.current import CurrentPolicy
from policy.engines.embedded import EmbeddedEngine
from policy.signing import SIGNATURES, BundleUnsigned, PolicyKey, public_key
from tests.fixtures.client_double import ClientDouble, facts
from tests.fixtures.gateway_process import SECOND, World, gateway_of
from tests.fixtures.releases import (
    BUNDLE,
    DAY,
    KEY,
    KEYS,
    OTHER,
    STAMP,
    Files,
    packed,
    tampered,
    token_of,
    variant,
    with_token,
)
from tests.opa_support import NOW, opa_binary, query_of, runner_of

RULE = "carnet/main/main.rego"


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def parts_of(files: Files) -> tuple[dict[str, Any], dict[str, Any], str]:
    head, body, tail = token_of(files).split(".")
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "===")) for part in (head, body))
    return header, claims, tail


def resigned(change: Callable[[dict[str, Any]], object], key: PolicyKey = KEY) -> Callable[[Files], None]:
    """The claims changed, and signed by a key."""

    def apply(files: Files) -> None:
        _, claims, _ = parts_of(files)
        change(claims)
        with_token(files, key.token(json.dumps(claims).encode()))

    return apply


def headed(**header: Any) -> Callable[[Files], None]:
    """Another header over the claims, with the old signature or an HMAC under the public key."""

    def apply(files: Files) -> None:
        body, tail = token_of(files).split(".")[1:]
        head = encoded(json.dumps(header).encode())
        if header.get("alg") == "HS256":
            tail = encoded(hmac.digest(KEY.public_pem(), f"{head}.{body}".encode(), hashlib.sha256))
        if header.get("alg") == "none":
            tail = ""
        with_token(files, f"{head}.{body}.{tail}")

    return apply


def refused(data: bytes) -> None:
    with pytest.raises(BundleUnsigned) as caught:
        release.read(data, KEYS)
    assert caught.value.reason == "SIGNATURE_INVALID"


def test_the_control_a_release_is_read_as_it_was_packed() -> None:
    found = release.read(packed(), KEYS)
    assert (found.stamp, found.keyid) == (STAMP, KEY.keyid)
    assert found.bundle == replace(BUNDLE, schemas=found.bundle.schemas, expires_ns=STAMP.expires_ns)
    assert found.bundle.schemas.documents == BUNDLE.schemas.documents
    assert release.read(tampered(lambda files: None, sign=KEY), KEYS).bundle.revision == BUNDLE.revision


def test_a_bundle_without_a_signature() -> None:
    refused(tampered(lambda files: files.pop(SIGNATURES)))


def test_a_bundle_that_another_key_signed() -> None:
    refused(packed(key=OTHER))
    assert release.read(packed(key=OTHER), {OTHER.keyid: OTHER.public}).keyid == OTHER.keyid


def test_another_key_signs_under_the_trusted_keyid() -> None:
    refused(tampered(resigned(lambda claims: claims.update(keyid=KEY.keyid), key=OTHER)))


KEYIDS: dict[str, Callable[[Files], None]] = {
    "none in the claims": resigned(lambda claims: claims.pop("keyid")),
    "an empty one": resigned(lambda claims: claims.update(keyid="")),
    "a null": resigned(lambda claims: claims.update(keyid=None)),
    "one that nobody trusts": resigned(lambda claims: claims.update(keyid="policy-0000000000000000")),
    "another in the header": headed(alg="ES256", kid=OTHER.keyid, typ="JWT"),
}


@pytest.mark.parametrize("name", sorted(KEYIDS))
def test_a_signature_whose_keyid_is_missing_or_another(name: str) -> None:
    refused(tampered(KEYIDS[name]))
    assert release.read(tampered(resigned(lambda claims: None)), KEYS).keyid == KEY.keyid


HEADERS: dict[str, Callable[[Files], None]] = {
    "alg none": headed(alg="none", kid=KEY.keyid, typ="JWT"),
    "an HMAC under the public key": headed(alg="HS256", kid=KEY.keyid, typ="JWT"),
    "a stronger word for the same": headed(alg="ES384", kid=KEY.keyid, typ="JWT"),
    "small letters": headed(alg="es256", kid=KEY.keyid, typ="JWT"),
    "no algorithm": headed(kid=KEY.keyid, typ="JWT"),
    "a key of its own": headed(alg="ES256", kid=KEY.keyid, typ="JWT", jwk={"kty": "EC"}),
    "critical extensions": headed(alg="ES256", kid=KEY.keyid, typ="JWT", crit=["b64"], b64=False),
}


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_a_header_chooses_the_algorithm(name: str) -> None:
    refused(tampered(HEADERS[name]))


def signature(change: Callable[[bytes], bytes]) -> Callable[[Files], None]:
    def apply(files: Files) -> None:
        head, body, tail = token_of(files).split(".")
        with_token(files, f"{head}.{body}.{encoded(change(base64.urlsafe_b64decode(tail + '==')))}")

    return apply


FORMS: dict[str, Callable[[Files], object]] = {
    "no token": lambda files: with_token(files),
    "two tokens": lambda files: with_token(files, token_of(files), token_of(files) + "A"),
    "a plugin": lambda files: with_token(files, token_of(files), plugin="lax"),
    "two parts": lambda files: with_token(files, token_of(files).rpartition(".")[0]),
    "no signature": lambda files: with_token(files, token_of(files).rpartition(".")[0] + "."),
    "padding": lambda files: with_token(files, token_of(files) + "=="),
    "loose bits at the end": lambda files: with_token(files, token_of(files)[:-1] + "_"),
    "a signature of nothing": signature(lambda data: bytes(64)),
    "a signature in DER": signature(lambda data: b"\x30" + data),
    "half a signature": signature(lambda data: data[:32]),
    "a bit of the signature": signature(lambda data: bytes([data[0] ^ 1]) + data[1:]),
    "no JSON": lambda files: files.update({SIGNATURES: b"signed"}),
    "another scope": resigned(lambda claims: claims.update(scope="carnet.other")),
    "no scope": resigned(lambda claims: claims.pop("scope")),
    "a claim of its own": resigned(lambda claims: claims.update(exclude=["*"])),
    "another digest": resigned(lambda claims: claims["files"][0].update(algorithm="MD5")),
    "no digest": resigned(lambda claims: claims["files"][0].pop("algorithm")),
}


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_signature_in_another_form(name: str) -> None:
    refused(tampered(FORMS[name]))


def emptied(name: str) -> Callable[[Files], object]:
    return lambda files: files.update({name: b"package carnet.main\n"})


CHANGES: dict[str, Callable[[Files], object]] = {
    "a rule added": lambda files: files.update({"carnet/main/more.rego": b"package carnet.main\n"}),
    "a rule removed": lambda files: files.pop("carnet/ofac/ofac.rego"),
    "a rule changed": emptied(RULE),
    "a rule renamed": lambda files: files.update({"carnet/main/again.rego": files.pop(RULE)}),
    "a row changed": lambda files: files.update(
        {"data.json": files["data.json"].replace(b'"KP"', b'"FR"').replace(b'"KP":', b'"FR":')}
    ),
    "the end put off": lambda files: files.update(
        {".manifest": files[".manifest"].replace(str(STAMP.expires_ns).encode(), str(2**62).encode())}
    ),
    "a schema loosened": lambda files: files.update({"schema/decision.json": b"{}"}),
    "a list that names a file twice": resigned(lambda claims: claims["files"].append(claims["files"][0])),
    "a list without a file": resigned(lambda claims: claims["files"].pop()),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_file_is_added_removed_or_changed_after_signing(name: str) -> None:
    before = tampered(lambda files: None)
    assert tampered(CHANGES[name]) != before, "the control: the change is one"
    assert release.read(before, KEYS)
    refused(tampered(CHANGES[name]))


def without_china(data: bytes) -> bytes:
    """The rows as they are, and a list that lacks one: the rules read the list."""
    found = json.loads(data)
    del found["carnet"]["tables"]["memberships"]["lists"]["EAR_D5"]["EAR_D5/CN"]
    return canonical(found)


def test_a_signer_that_is_trusted_can_not_hide_what_is_loaded() -> None:
    for change in (
        lambda files: files.update({"more/data.json": b'{"a": 1}'}),
        lambda files: files.update({"patch.json": b'{"data": []}'}),
        lambda files: files.update({"policy.wasm": b"\0asm"}),
        lambda files: files.update({"data.json": files["data.json"].replace(b":", b": ")}),
        lambda files: files.update({"data.json": without_china(files["data.json"])}),
        lambda files: files.update({".manifest": files[".manifest"].replace(b'"carnet",', b"")}),
        lambda files: files.pop("schema/input.json"),
        lambda files: files.update({"schema/input.json": b'{"$ref": "https://example.org/any.json"}'}),
        lambda files: files.update({"schema/input.json": b'{"type": "any"}'}),
    ):
        with pytest.raises(CarnetError) as caught:
            release.read(tampered(change, sign=KEY), KEYS)
        assert caught.value.reason == "FIELD_INVALID"


async def answered(kind: str, found: Bundle) -> bool:
    """Whether an engine answers from a bundle."""
    engine: SupervisedOpa | EmbeddedEngine = EmbeddedEngine(bundle=found, seconds_max=60)
    if kind == "opa":
        engine = SupervisedOpa(binary=opa_binary(), bundle=found, seconds_max=60)
    await engine.start()
    try:
        await engine.decide(query_of())
    except PolicyEngineUnavailable:
        return False
    finally:
        await engine.close()
    return True


@pytest.mark.opa
@pytest.mark.parametrize("kind", ["opa", "embedded"])
async def test_data_that_lacks_its_lists_takes_everybody_off_them(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await answered(kind, BUNDLE), "the control: with its lists it answers"
    monkeypatch.setattr(bundle, "LISTED", ())
    assert b'"lists":' not in canonical(BUNDLE.data())
    assert not await answered(kind, BUNDLE)


def test_every_list_that_a_rule_names_is_there() -> None:
    text = b"\n".join(BUNDLE.rules.values()).decode()
    named = set(re.findall(r'links\.(?:members|codes)\("(\w+)"\)', text))
    assert len(named) > 10
    assert named <= {row["group"] for table in bundle.LISTED for row in BUNDLE.rows(table).values()}


def test_a_key_that_is_not_on_p_256_is_no_policy_key() -> None:
    wide = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(CredentialInvalid):
        PolicyKey(wide)
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----", KEY.to_pem()):
        with pytest.raises(CredentialInvalid):
            public_key(pem)
    assert signing.keyid_of(public_key(KEY.public_pem())) == KEY.keyid


@pytest.fixture
def bundles(tmp_path: Path) -> BundleStore:
    return BundleStore(tmp_path / "bundles")


@pytest.fixture
def keys(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for key in (KEY, OTHER):
        found[key.keyid] = tmp_path / f"{key.keyid}.pem"
        found[key.keyid].write_bytes(key.public_pem())
    return found


async def test_an_older_bundle_is_put_back(tmp_path: Path, keys: dict[str, Path], bundles: BundleStore) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(packed(sequence=8))
    assert (await bundle_of(path, keys, bundles)).revision == BUNDLE.revision
    assert await bundle_of(path, keys, bundles), "the control: the same one again, after a restart"
    after_restart = BundleStore(tmp_path / "bundles")
    for old in (packed(variant(), sequence=7), packed(variant(), sequence=7, key=OTHER)):
        path.write_bytes(old)
        with pytest.raises(BundleOutdated, match="sequence 7") as caught:
            await bundle_of(path, keys, after_restart)
        assert caught.value.metadata == {"sequence": "7", "seen": "8"}
    path.write_bytes(packed(variant(), sequence=9))
    assert (await bundle_of(path, keys, after_restart)).revision == variant().revision


async def test_a_second_bundle_takes_the_sequence_of_the_first(
    tmp_path: Path, keys: dict[str, Path], bundles: BundleStore
) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(packed())
    await bundle_of(path, keys, bundles)
    path.write_bytes(packed(variant()))
    with pytest.raises(BundleOutdated):
        await bundle_of(path, keys, bundles)


async def test_the_mark_of_the_newest_bundle_is_spoilt(
    tmp_path: Path, keys: dict[str, Path], bundles: BundleStore
) -> None:
    path = tmp_path / "bundle.tar.gz"
    path.write_bytes(packed())
    await bundle_of(path, keys, bundles)
    (tmp_path / "bundles" / "outside.json").write_bytes(b"{}")
    with pytest.raises(BundleOutdated):
        await bundle_of(path, keys, bundles)


async def test_a_bundle_of_a_trusted_signer_that_the_gate_refuses(
    tmp_path: Path, keys: dict[str, Path], bundles: BundleStore
) -> None:
    path = tmp_path / "bundle.tar.gz"
    rules = BUNDLE.rules | {"carnet/main/more.rego": b"package carnet.main\n\nnow := time.now_ns()\n"}
    path.write_bytes(
        packed(type(BUNDLE).of(rules=rules, tables=BUNDLE.tables, schemas=BUNDLE.schemas, expires_ns=None))
    )
    with pytest.raises(CarnetError, match=r"now_ns"):
        await bundle_of(path, keys, bundles)
    path.write_bytes(packed())
    assert await bundle_of(path, keys, bundles), "what was refused left no mark"


async def ignore(_: object) -> None:
    """Publish to nobody."""


async def test_a_bundle_that_has_expired_still_answers() -> None:
    bundle = replace(BUNDLE, expires_ns=NOW + DAY)
    policy = await CurrentPolicy.open(OwnEngine(None), bundle=bundle, publish=ignore)
    runners = (runner_of("DE"),)
    try:
        body = await policy.decide(query_of(now_ns=NOW + DAY - 1))
        (verdict,) = await policy.judge(query_of(now_ns=NOW + DAY - 1), runners)
        assert body.permits("DE"), "the control: the last moment before its end"
        assert (body.valid_until_ns, verdict.valid_until_ns) == (NOW + DAY, NOW + DAY)
        for now_ns in (NOW + DAY, NOW + 2 * DAY):
            with pytest.raises(PolicyEngineUnavailable, match="expired"):
                await policy.decide(query_of(now_ns=now_ns))
            with pytest.raises(PolicyEngineUnavailable, match="expired"):
                await policy.judge(query_of(now_ns=now_ns), runners)
    finally:
        await policy.close()


async def test_a_whole_gateway_on_a_bundle_that_expires_decides_nothing_more(
    world: World, tmp_path: Path, keys: dict[str, Path]
) -> None:
    path, now_ns = tmp_path / "bundle.tar.gz", time.time_ns()
    path.write_bytes(packed(variant(), issued_ns=now_ns, expires_ns=now_ns + 60 * SECOND))
    async with (
        gateway_of(world, None, engine="embedded", bundle=path, keys=keys) as gateway,
        ClientDouble(gateway) as client,
    ):
        prepared = await client.client.prepare(facts())
        assert prepared.decided.body.revisions == variant().revisions, "the control: it runs the bundle of the file"
        assert prepared.decided.record.valid_until_ns <= now_ns + 60 * SECOND
        gateway.clock.advance(61)
        for document in (facts(), facts(purpose="training")):
            with pytest.raises(PolicyEngineUnavailable, match="expired"):
                await client.client.prepare(document)


async def test_a_whole_gateway_does_not_start_on_a_bundle_of_a_stranger(
    world: World, tmp_path: Path, keys: dict[str, Path]
) -> None:
    path = tmp_path / "bundle.tar.gz"
    stranger = PolicyKey.generate()
    for data in (packed(key=stranger), tampered(lambda files: files.pop(SIGNATURES)), b"no archive"):
        path.write_bytes(data)
        with pytest.raises(CarnetError) as caught:
            async with gateway_of(world, None, engine="embedded", bundle=path, keys=keys):
                pytest.fail("it started")
        assert caught.value.reason in {"SIGNATURE_INVALID", "FIELD_INVALID"}
