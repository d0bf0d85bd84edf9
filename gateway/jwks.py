"""JWKS: the keys of one token issuer, read strictly, kept for a while, fetched rarely.

- A repeated kid, a private or symmetric key, or loose base64url refuses the whole set. Keys for another use or another
  algorithm than the one pinned for the issuer are left out.
- A set is fresh for ten minutes. Where it can not be read again it serves for an hour after its last reading, then
  nothing does. An unknown kid causes one more reading in thirty seconds at most, whoever asks.
- From a file, or from one fixed https URL: certificates verified, no redirects, no proxies, 64 KiB at most.

    keys = KeyCache(FileSource(Path("jwks.json")), algorithm=Algorithm.ES256, clock=time.time_ns)
    key = await keys.find(kid)
"""

import asyncio
import base64
import binascii
import http.client
import ssl
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from carnet.core import limits
from carnet.core.document import Document, parse
from carnet.core.errors import FieldInvalid, StoreUnavailable, TokenInvalid

jwks_keys_max: Final = 32
jwks_fresh_seconds: Final = 600
jwks_stale_seconds_max: Final = 3600
jwks_reread_seconds: Final = 30
jwks_fetch_seconds_max: Final = 5
rsa_bits_min: Final = 2048
rsa_bits_max: Final = 8192

_SECOND_NS: Final = 10**9
_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_SECRET: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_TYPES: Final = frozenset({"EC", "OKP", "RSA"})
_ROCA_PRIMES: Final = (11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157)
_POWERS: Final = {prime: {pow(65537, k, prime) for k in range(prime)} for prime in _ROCA_PRIMES}

PublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey | rsa.RSAPublicKey


class Algorithm(StrEnum):
    """The signature algorithms that an issuer may be pinned to; none is symmetric."""

    ES256 = "ES256"
    EDDSA = "EdDSA"
    RS256 = "RS256"


class KeysUnavailable(StoreUnavailable):
    """The keys of the token issuer can not be read; try again later."""


class KeySource(Protocol):
    """Where a key set comes from."""

    async def read(self) -> bytes:
        """The set's bytes, 64 KiB at most. Raises `OSError` where it can not be read."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """A key set in a file of this machine."""

    path: Path

    async def read(self) -> bytes:
        """The file's bytes, one more than the bound at most."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(limits.jwks_bytes_max + 1)


class HttpsSource:
    """A key set at one https URL; its server is verified under `context`, the system's roots where it is None."""

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme != "https" or not parts.hostname or parts.username or parts.password or parts.fragment:
            raise FieldInvalid("The URL of a key set must be https, with no user and no fragment.")
        self._host, self._port = parts.hostname, parts.port or 443
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._context = context or ssl.create_default_context()

    async def read(self) -> bytes:
        """The body of a 200; anything else, a redirect too, raises `OSError`."""
        return await asyncio.wait_for(asyncio.to_thread(self._read), timeout=2 * jwks_fetch_seconds_max)

    def _read(self) -> bytes:
        connection = http.client.HTTPSConnection(
            self._host, self._port, timeout=jwks_fetch_seconds_max, context=self._context
        )
        try:
            connection.request("GET", self._path, headers={"Accept": "application/jwk-set+json, application/json"})
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    raise OSError(f"the key set answers with status {response.status}")
                return response.read(limits.jwks_bytes_max + 1)
        except http.client.HTTPException as error:
            raise OSError("the key set's answer is not HTTP") from error
        finally:
            connection.close()


class KeyCache:
    """The keys of one issuer, by kid."""

    def __init__(self, source: KeySource, *, algorithm: Algorithm, clock: Callable[[], int]) -> None:
        self._source = source
        self._algorithm = algorithm
        self._clock = clock
        self._keys: Mapping[str, PublicKey] = {}
        self._read_ns: int | None = None
        self._asked_ns: int | None = None
        self._reading = asyncio.Lock()

    async def find(self, kid: str) -> PublicKey:
        """The key of this id. Raises `TokenInvalid` where there is none, `KeysUnavailable` where no set is in reach."""
        if not self._younger(self._read_ns, jwks_fresh_seconds) or kid not in self._keys:
            await self._reread()
        if not self._younger(self._read_ns, jwks_stale_seconds_max):
            raise KeysUnavailable
        key = self._keys.get(kid)
        if key is None:
            raise TokenInvalid(detail="unknown kid")
        return key

    async def _reread(self) -> None:
        async with self._reading:
            if self._younger(self._asked_ns, jwks_reread_seconds):
                return
            self._asked_ns = self._clock()
            try:
                self._keys = parse_jwks(await self._source.read(), self._algorithm)
            except (OSError, TimeoutError, FieldInvalid):
                return  # what was read before serves on until it is stale
            self._read_ns = self._asked_ns

    def _younger(self, moment_ns: int | None, seconds: int) -> bool:
        return moment_ns is not None and 0 <= self._clock() - moment_ns < seconds * _SECOND_NS


def parse_jwks(data: bytes, algorithm: Algorithm) -> Mapping[str, PublicKey]:
    """Read a JWK set (RFC 7517, section 5). Raises `FieldInvalid`, and nothing else, on any bytes."""
    document = parse(data, bytes_max=limits.jwks_bytes_max)
    keys: dict[str, PublicKey | None] = {}
    for entry in document.documents("keys", items_max=jwks_keys_max):
        if secret := _SECRET.intersection(entry.names()):
            entry.refuse(min(secret), "has no place in a public key set")
        kid = entry.text("kid")
        if kid in keys:
            entry.refuse("kid", "must not repeat")
        keys[kid] = _key(entry, algorithm)
    return {kid: key for kid, key in keys.items() if key is not None}


def decode(text: str) -> bytes:
    """base64url in its one form, without padding (RFC 7515, section 2). Raises `FieldInvalid`."""
    if not set(text) <= _ALPHABET:
        raise FieldInvalid("A value is not base64url.")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise FieldInvalid("A value is not base64url.") from error
    # Spare bits at the end would give one value many texts.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != text.encode():
        raise FieldInvalid("A value is not base64url in its one form.")
    return data


def _key(entry: Document, algorithm: Algorithm) -> PublicKey | None:
    kind, curve = _KINDS[algorithm]
    fits = entry.text("kty", choices=_TYPES) == kind
    if curve and fits:
        fits = entry.text("crv") == curve
    if entry.has("alg"):
        fits &= entry.text("alg") == algorithm
    if entry.has("use"):
        fits &= entry.text("use") == "sig"
    if entry.has("key_ops"):
        fits &= entry.texts("key_ops") == ("verify",)
    return _READERS[algorithm](entry) if fits else None


def _read_es256(entry: Document) -> PublicKey:
    x, y = (_number(entry, name, octets=32) for name in ("x", "y"))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        entry.refuse("x", "is not on the curve")


def _read_eddsa(entry: Document) -> PublicKey:
    return Ed25519PublicKey.from_public_bytes(_number(entry, "x", octets=32).to_bytes(32, "big"))


def _read_rs256(entry: Document) -> PublicKey:
    modulus, exponent = _number(entry, "n"), _number(entry, "e")
    if not rsa_bits_min <= modulus.bit_length() <= rsa_bits_max or _is_roca(modulus):
        entry.refuse("n", "has an unacceptable size or form")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except (ValueError, UnsupportedAlgorithm):
        entry.refuse("n", "is not an RSA key")


def _is_roca(modulus: int) -> bool:
    # Keys of a faulty chip (CVE-2017-15361): the modulus is a power of 65537 modulo every small prime.
    return all(modulus % prime in powers for prime, powers in _POWERS.items())


def _number(entry: Document, name: str, *, octets: int | None = None) -> int:
    data = decode(entry.text(name, bytes_max=2048))
    if octets is not None and len(data) != octets:
        entry.refuse(name, f"must be {octets} bytes")
    return int.from_bytes(data, "big")


_KINDS: Final = {
    Algorithm.ES256: ("EC", "P-256"),
    Algorithm.EDDSA: ("OKP", "Ed25519"),
    Algorithm.RS256: ("RSA", ""),
}
_READERS: Final[Mapping[Algorithm, Callable[[Document], PublicKey]]] = {
    Algorithm.ES256: _read_es256,
    Algorithm.EDDSA: _read_eddsa,
    Algorithm.RS256: _read_rs256,
}
