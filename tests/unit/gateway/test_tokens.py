"""The key cache, the sources of key sets, and what the judge remembers."""

import asyncio
import http.server
import json
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from carnet.core import limits
from carnet.core.errors import FieldInvalid, QuotaExceeded, StoreUnavailable, TokenInvalid
from certs import development, issuer
from gateway import tokens
from gateway.jwks import Algorithm, FileSource, HttpsSource, KeyCache, parse_jwks
from tests.fixtures.tokens import CERTIFICATE, Clock, Issuer, Keys

GOOD = Issuer()
KID = issuer.kid_of(GOOD.private)


def cache(keys: Keys, clock: Clock) -> KeyCache:
    return KeyCache(keys, algorithm=Algorithm.ES256, clock=clock)


async def test_a_set_serves_ten_minutes_without_a_second_reading() -> None:
    keys, clock = Keys(GOOD.jwks), Clock()
    found = cache(keys, clock)
    for _ in range(3):
        assert await found.find(KID) == GOOD.private.public_key()
        clock.advance(299)
    assert keys.readings == 1
    clock.advance(10)
    await found.find(KID)
    assert keys.readings == 2


@pytest.mark.parametrize("broken", [b"", b"{}", b"x" * (limits.jwks_bytes_max + 1)])
async def test_a_set_that_can_not_be_read_again_serves_an_hour_and_no_longer(broken: bytes) -> None:
    keys, clock = Keys(GOOD.jwks), Clock()
    found = cache(keys, clock)
    await found.find(KID)
    keys.fails, keys.data = not broken, broken
    clock.advance(3599)
    assert await found.find(KID)
    clock.advance(1)
    with pytest.raises(StoreUnavailable):
        await found.find(KID)
    keys.fails, keys.data = False, GOOD.jwks
    clock.advance(30)
    assert await found.find(KID)


async def test_a_rotated_key_is_found_and_the_old_one_is_gone() -> None:
    keys, clock, new = Keys(GOOD.jwks), Clock(), Issuer()
    found = cache(keys, clock)
    await found.find(KID)
    keys.data = new.jwks
    clock.advance(31)
    assert await found.find(issuer.kid_of(new.private)) == new.private.public_key()
    with pytest.raises(TokenInvalid):
        await found.find(KID)


async def test_many_callers_at_once_cause_one_reading() -> None:
    keys = Keys(GOOD.jwks)
    found = cache(keys, Clock())
    await asyncio.gather(*(found.find(KID) for _ in range(50)))
    assert keys.readings == 1


def test_keys_of_each_pinned_algorithm_are_read_and_others_left_out() -> None:
    numbers = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key().public_numbers()
    n, e = (issuer.encode(v.to_bytes((v.bit_length() + 7) // 8, "big")) for v in (numbers.n, numbers.e))
    x = issuer.encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
    entries = [
        {"kty": "RSA", "kid": "r", "n": n, "e": e, "alg": "RS256", "use": "sig"},
        {"kty": "OKP", "kid": "o", "crv": "Ed25519", "x": x},
        {"kty": "RSA", "kid": "enc", "n": n, "e": e, "use": "enc", "x5c": ["MII"]},
        *json.loads(GOOD.jwks)["keys"],
    ]
    data = json.dumps({"keys": entries}).encode()
    assert [set(parse_jwks(data, a)) for a in (Algorithm.RS256, Algorithm.EDDSA, Algorithm.ES256)] == [
        {"r"},
        {"o"},
        {KID},
    ]


def test_a_short_rsa_key_refuses_the_set() -> None:
    entry = {"kty": "RSA", "kid": "r", "n": issuer.encode(b"\xc1" * 128), "e": "AQAB"}
    with pytest.raises(FieldInvalid):
        parse_jwks(json.dumps({"keys": [entry]}).encode(), Algorithm.RS256)


async def test_a_file_is_a_source(tmp_path: Path) -> None:
    (tmp_path / "jwks.json").write_bytes(GOOD.jwks)
    assert await FileSource(tmp_path / "jwks.json").read() == GOOD.jwks
    with pytest.raises(OSError, match="No such file"):
        await FileSource(tmp_path / "other.json").read()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://a.example/x", "ftp://a.example/x", "https://u@a.example/", "https:///x", "x"]
)
def test_only_a_plain_https_url_is_a_source(url: str) -> None:
    with pytest.raises(FieldInvalid):
        HttpsSource(url)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the path says."""

    def do_GET(self) -> None:
        status, body = {"/jwks": (200, GOOD.jwks), "/big": (200, b"x" * 2**20), "/moved": (302, b"")}[self.path]
        self.send_response(status)
        self.send_header("Location", "/jwks")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name is the library's
        pass


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    development.build(directory, now=datetime.now(UTC))
    return directory


@pytest.fixture(scope="module")
def port(pki: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "gateway/server.pem", pki / "gateway/server.key.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)


def trusting(pki: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pki / "gateway/ca.pem"))
    context.check_hostname = False  # the test certificate names gateway.carnet.test, and the server is on loopback
    return context


async def test_an_https_url_is_a_source(pki: Path, port: int) -> None:
    assert await HttpsSource(f"https://127.0.0.1:{port}/jwks", context=trusting(pki)).read() == GOOD.jwks


async def test_a_redirect_is_not_followed_and_a_large_answer_is_cut(pki: Path, port: int) -> None:
    with pytest.raises(OSError, match="302"):
        await HttpsSource(f"https://127.0.0.1:{port}/moved", context=trusting(pki)).read()
    data = await HttpsSource(f"https://127.0.0.1:{port}/big", context=trusting(pki)).read()
    assert len(data) == limits.jwks_bytes_max + 1


async def test_a_server_that_does_not_verify_is_no_source(port: int) -> None:
    with pytest.raises(ssl.SSLError):
        await HttpsSource(f"https://127.0.0.1:{port}/jwks").read()


async def test_a_remembered_token_needs_no_signature_check(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    check = tokens.check_signature

    def counting(token: str, key: ec.EllipticCurvePublicKey, algorithm: Algorithm) -> None:
        counted.append(token)
        check(token, key, algorithm)

    monkeypatch.setattr(tokens, "check_signature", counting)
    judge = GOOD.judge(Clock())
    assert await judge.judge(GOOD.token(), CERTIFICATE) == await judge.judge(GOOD.token(), CERTIFICATE)
    token = GOOD.token()
    for _ in range(3):
        await judge.judge(token, CERTIFICATE)
    assert len(counted) == 3


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "token_cache_max", 2)
    monkeypatch.setattr(tokens, "token_ids_max", 3)
    clock = Clock()
    judge = GOOD.judge(clock)
    for number in range(3):
        await judge.judge(GOOD.token(claims=GOOD.claims(jti=f"t{number}")), CERTIFICATE)
    assert len(judge._accepted) == 2
    with pytest.raises(QuotaExceeded):
        await judge.judge(GOOD.token(claims=GOOD.claims(jti="t3")), CERTIFICATE)
    clock.advance(611)
    later = clock.now_ns // 10**9
    await judge.judge(GOOD.token(claims=GOOD.claims(jti="t4", iat=later, exp=later + 60)), CERTIFICATE)
    assert len(judge._token_ids) == 1
