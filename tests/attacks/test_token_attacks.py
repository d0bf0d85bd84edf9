"""Tokens that a lax judge takes. Each differs from a good one in one thing; the good one is the control."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from carnet.core.errors import PeerError, StoreUnavailable, TokenAudience, TokenExpired, TokenInvalid
from carnet.core.statement import Signer
from certs import issuer
from certs.folder import Folder
from gateway import tokens
from gateway.tokens import TokenJudge
from tests.fixtures.identity import NOW, NOW_NS, operator
from tests.fixtures.tokens import AUDIENCE, CERTIFICATE, ISSUER, NOW_S, TENANT, Clock, Issuer, Keys

GOOD = Issuer()
OTHER = Issuer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def judge(clock: Clock) -> TokenJudge:
    return GOOD.judge(clock)


async def test_control_the_good_token_is_taken(judge: TokenJudge) -> None:
    claims = await judge.judge(GOOD.token(), CERTIFICATE)
    assert (claims.tenant_id, claims.subject, claims.client_id) == (TENANT, "dr. weber", "ward-7")
    assert (claims.issuer, claims.token_id, claims.expires_ns) == (ISSUER, "token-1", (NOW_S + 600) * 10**9)


HEADERS: dict[str, dict[str, object]] = {
    "alg none": {"alg": "none"},
    "alg switched to ES384": {"alg": "ES384"},
    "alg in lower case": {"alg": "es256"},
    "alg missing": {"alg": None},
    "key in the header": {"jwk": {"kty": "EC"}},
    "key by URL": {"jku": "https://evil.example/jwks.json"},
    "certificate by URL": {"x5u": "https://evil.example/x"},
    "certificate in the header": {"x5c": ["MII"]},
    "critical extension": {"crit": ["exp"]},
    "b64 false": {"b64": False, "crit": ["b64"]},
    "b64 false, not critical": {"b64": False},
    "compressed": {"zip": "DEF"},
    "an ID token": {"typ": "JWT"},
    "no type": {"typ": None},
    "no kid": {"kid": None},
    "kid is a path": {"kid": "../../../../dev/null"},
    "kid is SQL": {"kid": "' OR 1=1 --"},
    "kid is a list": {"kid": ["x"]},
    "kid is 5 KiB": {"kid": "k" * 5120},
}


@pytest.mark.parametrize("changes", HEADERS.values(), ids=HEADERS)
async def test_a_header_that_brings_its_own_rules_is_refused(judge: TokenJudge, changes: dict[str, object]) -> None:
    with pytest.raises(TokenInvalid):
        await judge.judge(GOOD.token(header=GOOD.header(**changes)), CERTIFICATE)


@pytest.mark.parametrize("name", ["an ID token", "key in the header", "key by URL", "compressed"])
def test_control_the_library_alone_takes_such_a_header(name: str) -> None:
    token = GOOD.token(header=GOOD.header(**HEADERS[name]))
    assert jwt.PyJWS().decode(token, key=GOOD.private.public_key(), algorithms=["ES256"])


async def test_a_token_signed_with_the_public_key_as_a_secret_is_refused(judge: TokenJudge) -> None:
    public = GOOD.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = ".".join(issuer.encode(json.dumps(p).encode()) for p in (GOOD.header(alg="HS256"), GOOD.claims()))
    code = hmac.new(public, signed.encode(), "sha256").digest()
    # The control: whoever lets the header choose the algorithm verifies it.
    assert hmac.compare_digest(code, hmac.new(public, signed.encode(), hashlib.sha256).digest())
    with pytest.raises(TokenInvalid):
        await judge.judge(f"{signed}.{issuer.encode(code)}", CERTIFICATE)


async def test_a_token_with_no_signature_or_anothers_is_refused(judge: TokenJudge) -> None:
    head, body, _ = GOOD.token().split(".")
    foreign = OTHER.token(header=GOOD.header())
    for token in (f"{head}.{body}.", f"{head}.{body}", foreign, f"{head}.{body}.{issuer.encode(bytes(64))}"):
        with pytest.raises(TokenInvalid):
            await judge.judge(token, CERTIFICATE)


async def test_control_without_the_signature_check_anothers_would_pass(
    judge: TokenJudge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "check_signature", lambda token, key, algorithm: None)
    assert await judge.judge(OTHER.token(header=GOOD.header()), CERTIFICATE)


CLAIMS: dict[str, tuple[dict[str, object], type[PeerError]]] = {
    "aud missing": ({"aud": None}, TokenInvalid),
    "aud of another": ({"aud": "other"}, TokenAudience),
    "aud with one more": ({"aud": [AUDIENCE, "other"]}, TokenAudience),
    "aud empty": ({"aud": []}, TokenAudience),
    "iss look-alike": ({"iss": ISSUER + "/"}, TokenInvalid),
    "iss in a list": ({"iss": [ISSUER]}, TokenInvalid),
    "iss missing": ({"iss": None}, TokenInvalid),
    "exp text": ({"exp": str(NOW_S + 600)}, TokenInvalid),
    "exp with a fraction": ({"exp": NOW_S + 600.5}, TokenInvalid),
    "exp in year 9999": ({"exp": 253402300799}, TokenInvalid),
    "exp beyond 64 bits": ({"exp": 10**30}, TokenInvalid),
    "exp missing": ({"exp": None}, TokenInvalid),
    "exp a flag": ({"exp": True}, TokenInvalid),
    "exp past": ({"iat": NOW_S - 600, "exp": NOW_S - 11}, TokenExpired),
    "exp before iat": ({"exp": NOW_S - 5}, TokenInvalid),
    "iat ahead": ({"iat": NOW_S + 11}, TokenInvalid),
    "iat missing": ({"iat": None}, TokenInvalid),
    "iat negative": ({"iat": -1}, TokenInvalid),
    "nbf ahead": ({"nbf": NOW_S + 11}, TokenInvalid),
    "nbf text": ({"nbf": "now"}, TokenInvalid),
    "sub missing": ({"sub": None}, TokenInvalid),
    "sub a number": ({"sub": 7}, TokenInvalid),
    "jti missing": ({"jti": None}, TokenInvalid),
    "client_id missing": ({"client_id": None}, TokenInvalid),
    "client_id unknown": ({"client_id": "ward-8"}, TokenInvalid),
    "cnf missing": ({"cnf": None}, TokenInvalid),
    "cnf of another certificate": ({"cnf": {"x5t#S256": issuer.encode(bytes(32))}}, TokenInvalid),
    "cnf of another kind": ({"cnf": {"jkt": issuer.encode(bytes(32))}}, TokenInvalid),
    "roles repeat": ({"roles": ["a", "a"]}, TokenInvalid),
}


@pytest.mark.parametrize(("changes", "error"), CLAIMS.values(), ids=CLAIMS)
async def test_a_token_with_a_wrong_claim_is_refused(
    judge: TokenJudge, changes: dict[str, object], error: type[PeerError]
) -> None:
    with pytest.raises(error):
        await judge.judge(GOOD.token(claims=GOOD.claims(**changes)), CERTIFICATE)


@pytest.mark.parametrize("name", ["aud with one more", "exp text", "exp with a fraction", "exp in year 9999"])
def test_control_the_library_alone_takes_such_a_claim(name: str) -> None:
    claims = GOOD.claims(**CLAIMS[name][0])
    key = GOOD.private.public_key()
    assert jwt.decode(GOOD.token(claims=claims), key=key, algorithms=["ES256"], audience=AUDIENCE, leeway=10**9)


async def test_a_claim_can_not_name_the_tenant(judge: TokenJudge) -> None:
    token = GOOD.token(claims=GOOD.claims(tenant_id="ff" * 16, tenant="other"))
    assert (await judge.judge(token, CERTIFICATE)).tenant_id == TENANT


async def test_a_stolen_token_over_another_certificate_is_refused_even_after_its_owner_used_it(
    judge: TokenJudge,
) -> None:
    token = GOOD.token()
    assert await judge.judge(token, CERTIFICATE)
    with pytest.raises(TokenInvalid):
        await judge.judge(token, b"the thief's certificate")
    assert await judge.judge(token, CERTIFICATE)


async def test_a_token_id_never_serves_two_certificates(judge: TokenJudge) -> None:
    other = b"another client's certificate"
    bound = {"x5t#S256": issuer.encode(hashlib.sha256(other).digest())}
    assert await judge.judge(GOOD.token(), CERTIFICATE)
    with pytest.raises(TokenInvalid):
        await judge.judge(GOOD.token(claims=GOOD.claims(cnf=bound)), other)
    assert await judge.judge(GOOD.token(claims=GOOD.claims(cnf=bound, jti="token-2")), other)


async def test_a_remembered_token_expires_all_the_same(judge: TokenJudge, clock: Clock) -> None:
    token = GOOD.token()
    assert await judge.judge(token, CERTIFICATE)
    clock.advance(609)
    assert await judge.judge(token, CERTIFICATE)
    clock.advance(1)
    with pytest.raises(TokenExpired):
        await judge.judge(token, CERTIFICATE)


def _twice(text: str, name: str) -> str:
    return text.replace(f'"{name}"', f'"{name}": "x", "{name}"', 1)


TEXTS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "claim twice": lambda h, c: (h, _twice(c, "sub")),
    "header field twice": lambda h, c: (_twice(h, "alg"), c),
    "deep JSON": lambda h, c: (h, c[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}"),
    "NaN": lambda h, c: (h, c[:-1] + ', "x": NaN}'),
    "lone surrogate": lambda h, c: (h, c[:-1] + ', "x": "\\ud800"}'),
    "8 KiB and more": lambda h, c: (h, c[:-1] + ', "x": "' + "x" * 8192 + '"}'),
    "a list": lambda h, c: (h, f"[{c}]"),
    "not JSON": lambda h, c: (h, "foo"),
}


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS)
async def test_json_that_parsers_disagree_on_is_refused(
    judge: TokenJudge, change: Callable[[str, str], tuple[str, str]]
) -> None:
    with pytest.raises(TokenInvalid):
        await judge.judge(GOOD.sign(*change(json.dumps(GOOD.header()), json.dumps(GOOD.claims()))), CERTIFICATE)


async def test_loose_base64_is_refused(judge: TokenJudge) -> None:
    token = GOOD.token()
    head, body, signature = token.split(".")
    spare = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = spare[spare.index(signature[-1]) ^ 1]
    for changed in (
        f"{head}.{body}.{signature}==",
        f"{head}.{body}.{signature[:-1]}{last}",
        f" {token}",
        f"{token}\n",
        f"{head}.{body}.{signature[:10]} {signature[10:]}",
        f"{head}.{body}.{signature}.{signature}",
        token.replace(head, base64.b64encode(json.dumps(GOOD.header()).encode()).decode()) + "=",
        f"{head}\ud800.{body}.{signature}",
        "",
        "..",
    ):
        with pytest.raises(TokenInvalid):
            await judge.judge(changed, CERTIFICATE)


def test_control_the_library_alone_takes_padding() -> None:
    assert jwt.PyJWS().decode(GOOD.token() + "==", key=GOOD.private.public_key(), algorithms=["ES256"])


async def test_an_empty_list_of_issuers_permits_nobody(clock: Clock) -> None:
    with pytest.raises(TokenInvalid):
        await TokenJudge((), audience=AUDIENCE, clock=clock).judge(GOOD.token(), CERTIFICATE)


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"key_ops": ["sign"]},
        {"key_ops": ["verify", "sign"]},
        {"alg": "ES384"},
        {"d": "AAAA"},
        {"kty": "oct", "k": "AAAA"},
        {"crv": "P-384"},
        {"x": "AAAA"},
        {"x": issuer.encode(bytes(32))},
    ],
)
async def test_a_key_of_another_use_kind_or_shape_verifies_nothing(clock: Clock, change: dict[str, object]) -> None:
    entry = {**json.loads(GOOD.jwks)["keys"][0], **change}
    judge = GOOD.judge(clock, keys=Keys(json.dumps({"keys": [entry]}).encode()))
    with pytest.raises((TokenInvalid, StoreUnavailable)):
        await judge.judge(GOOD.token(), CERTIFICATE)


async def test_a_set_with_a_repeated_kid_verifies_nothing(clock: Clock) -> None:
    mine, theirs = (json.loads(i.jwks)["keys"][0] for i in (GOOD, OTHER))
    judge = GOOD.judge(clock, keys=Keys(json.dumps({"keys": [mine, {**theirs, "kid": mine["kid"]}]}).encode()))
    with pytest.raises(StoreUnavailable):
        await judge.judge(GOOD.token(), CERTIFICATE)


async def test_a_storm_of_unknown_kids_reads_the_set_once_in_thirty_seconds(clock: Clock) -> None:
    keys = Keys(GOOD.jwks)
    judge = GOOD.judge(clock, keys=keys)
    for number in range(200):
        with pytest.raises(TokenInvalid):
            await judge.judge(GOOD.token(header=GOOD.header(kid=f"kid-{number}")), CERTIFICATE)
    assert keys.readings == 1
    assert await judge.judge(GOOD.token(), CERTIFICATE)
    clock.advance(30)
    with pytest.raises(TokenInvalid):
        await judge.judge(GOOD.token(header=GOOD.header(kid="kid-201")), CERTIFICATE)
    assert keys.readings == 2


async def test_the_development_issuers_token_is_taken(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "issuer")
    folder.write_secret("issuer.key.pem", Signer.generate().to_pem())
    authority = operator()
    token = issuer.mint(
        folder.path, client_id="ward-7", audience=AUDIENCE, certificate_pem=authority.certificate_pem, now=NOW
    )
    judge = Issuer(issuer.read_key(folder.path)).judge(Clock())
    claims = await judge.judge(token, authority.certificate_der)
    assert (claims.subject, claims.expires_ns) == ("developer", NOW_NS + 600 * 10**9)
