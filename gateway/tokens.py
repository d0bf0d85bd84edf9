"""Tokens: an enterprise's access token judged strictly (RFC 9068, RFC 8705, RFC 8725). The only file that knows PyJWT.

- A compact JWS of 8 KiB at most; strict base64url and strict JSON; `typ` is `at+jwt`; `kid` is known to the issuer's
  key set; the header holds nothing that could bring a key, a critical extension or another encoding.
- One algorithm is pinned for each issuer, never a symmetric one; the header's must equal it.
- `iss aud exp iat sub jti client_id cnf` are there, times are integers, it lives 15 minutes at most, clocks differ by
  10 seconds at most; `aud` is this gateway and nobody else.
- It is bound to the certificate of the connection (`cnf.x5t#S256`). Used on many calls, it is not refused when seen
  again, but one jti never serves two certificates.
- The tenant comes from the pinned map of (issuer, client id), never from a claim.
- All failures are one `TokenInvalid` outwardly, but for a token whose signature held: `TokenExpired`, `TokenAudience`.

    judge = TokenJudge((IssuerConfig(...),), audience="carnet", clock=time.time_ns)
    claims = await judge.judge(token, peer.certificate)
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import jwt

from carnet.core import limits
from carnet.core.document import Document, parse
from carnet.core.errors import FieldInvalid, QuotaExceeded, TokenAudience, TokenExpired, TokenInvalid
from gateway.jwks import Algorithm, KeyCache, KeySource, PublicKey, decode

token_cache_max: Final = 4096
token_ids_max: Final = 65_536
roles_max: Final = 64

_SECOND_NS: Final = 10**9
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_HEADERS: Final = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerConfig:
    """A pinned issuer: its name, its one algorithm, where its keys are, and the tenant (16 bytes) of each client id."""

    issuer: str
    algorithm: Algorithm
    keys: KeySource
    clients: Mapping[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What an accepted token says, and the tenant that its client belongs to."""

    tenant_id: bytes
    issuer: str
    client_id: str
    subject: str
    roles: tuple[str, ...]
    token_id: str
    issued_ns: int
    expires_ns: int


class TokenJudge:
    """Judges tokens for one audience. An empty tuple of issuers permits nobody."""

    def __init__(self, issuers: tuple[IssuerConfig, ...], *, audience: str, clock: Callable[[], int]) -> None:
        self._issuers = {config.issuer: config for config in issuers}
        if len(self._issuers) != len(issuers):
            raise FieldInvalid("An issuer must not be named twice.")
        self._keys = {c.issuer: KeyCache(c.keys, algorithm=c.algorithm, clock=clock) for c in issuers}
        self._audience = audience
        self._clock = clock
        self._accepted: OrderedDict[bytes, Claims] = OrderedDict()
        self._token_ids: OrderedDict[tuple[str, str], tuple[bytes, int]] = OrderedDict()

    async def judge(self, token: str, certificate: bytes) -> Claims:
        """The claims of a token that came over a connection with this certificate (DER).

        Raises `TokenInvalid`, `TokenExpired`, `TokenAudience`, `KeysUnavailable`, or `QuotaExceeded` where the list of
        token ids is full.
        """
        thumbprint = hashlib.sha256(certificate).digest()
        fingerprint = hashlib.sha256(thumbprint + token.encode(errors="surrogatepass")).digest()
        claims = self._accepted.get(fingerprint)
        if claims is None:
            claims = await self._judge(token, thumbprint)
            self._remember(fingerprint, claims)
        _check_expiry(claims.expires_ns, now_ns=self._clock())
        return claims

    async def _judge(self, token: str, thumbprint: bytes) -> Claims:
        try:
            jws = read_jws(token)
            config = self._issuer_of(jws)
            key = await self._keys[config.issuer].find(jws.kid)
            check_signature(token, key, config.algorithm)
            claims = self._claims(parse(jws.payload, bytes_max=limits.token_bytes_max), config, thumbprint)
        except FieldInvalid as error:
            raise TokenInvalid(detail=error.text) from error
        self._bind(claims, thumbprint)
        return claims

    def _issuer_of(self, jws: "Jws") -> IssuerConfig:
        # Read before it is verified, and used for nothing but the choice of the pinned key set.
        config = self._issuers.get(parse(jws.payload, bytes_max=limits.token_bytes_max).text("iss"))
        if config is None or jws.algorithm != config.algorithm or jws.type not in _TYPES:
            raise TokenInvalid(detail="issuer, algorithm or type is not a pinned one")
        return config

    def _claims(self, claims: Document, config: IssuerConfig, thumbprint: bytes) -> Claims:
        _check_audience(claims, self._audience)
        issued, expires = self._times(claims)
        client_id = claims.text("client_id")
        tenant_id = config.clients.get(client_id)
        if tenant_id is None or claims.text("iss") != config.issuer:
            raise TokenInvalid(detail="the client id is not pinned for this issuer")
        if decode(claims.document("cnf").text("x5t#S256")) != thumbprint:
            raise TokenInvalid(detail="the token is bound to another certificate")
        return Claims(
            tenant_id=tenant_id,
            issuer=config.issuer,
            client_id=client_id,
            subject=claims.text("sub"),
            roles=claims.texts("roles", items_max=roles_max) if claims.has("roles") else (),
            token_id=claims.text("jti"),
            issued_ns=issued * _SECOND_NS,
            expires_ns=expires * _SECOND_NS,
        )

    def _times(self, claims: Document) -> tuple[int, int]:
        issued, expires = claims.integer("iat"), claims.integer("exp")
        latest = self._clock() // _SECOND_NS + limits.token_leeway_seconds
        not_before = claims.integer("nbf") if claims.has("nbf") else issued
        if issued > latest or not_before > latest:
            raise TokenInvalid(detail="the token is not valid yet")
        if not 0 < expires - issued <= limits.token_seconds_max:
            raise TokenInvalid(detail="the token lives too long")
        _check_expiry(expires * _SECOND_NS, now_ns=self._clock())
        return issued, expires

    def _bind(self, claims: Claims, thumbprint: bytes) -> None:
        name = (claims.issuer, claims.token_id)
        bound, _ = self._token_ids.get(name, (thumbprint, 0))
        if bound != thumbprint:
            raise TokenInvalid(detail="the token id was used with another certificate")
        if len(self._token_ids) >= token_ids_max and name not in self._token_ids:
            self._forget_expired()
        self._token_ids[name] = (thumbprint, claims.expires_ns)

    def _forget_expired(self) -> None:
        oldest = self._clock() - limits.token_leeway_seconds * _SECOND_NS
        live = {name: kept for name, kept in self._token_ids.items() if kept[1] > oldest}
        if len(live) >= token_ids_max:
            raise QuotaExceeded(detail="the list of token ids is full")
        self._token_ids = OrderedDict(live)

    def _remember(self, fingerprint: bytes, claims: Claims) -> None:
        self._accepted[fingerprint] = claims
        while len(self._accepted) > token_cache_max:
            self._accepted.popitem(last=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jws:
    """The parts of a compact JWS whose signature was not verified."""

    algorithm: str
    type: str
    kid: str
    payload: bytes


def read_jws(token: str) -> Jws:
    """Split and read a compact JWS. Raises `FieldInvalid` or `TokenInvalid`, and nothing else, on any text."""
    if len(token) > limits.token_bytes_max:
        raise TokenInvalid(detail="the token is too large")
    parts = token.split(".")
    if len(parts) != 3:
        raise TokenInvalid(detail="the token is not a compact JWS")
    header_bytes, payload, _ = (decode(part) for part in parts)
    header = parse(header_bytes, bytes_max=limits.token_bytes_max)
    if set(header.names()) - _HEADERS:
        raise TokenInvalid(detail="the header holds what it must not")
    return Jws(
        algorithm=header.text("alg"),
        type=header.text("typ").lower() if header.has("typ") else "",
        kid=header.text("kid"),
        payload=payload,
    )


def check_signature(token: str, key: PublicKey, algorithm: Algorithm) -> None:
    """The token is signed by this key with this algorithm. Raises `TokenInvalid`."""
    try:
        jwt.PyJWS(algorithms=[algorithm]).decode_complete(token, key=key, algorithms=[algorithm])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise TokenInvalid(detail="the signature does not verify") from error


def _check_audience(claims: Document, audience: str) -> None:
    found = claims.texts("aud", items_max=16) if claims.kind("aud") == "list" else (claims.text("aud"),)
    if found != (audience,):
        raise TokenAudience


def _check_expiry(expires_ns: int, *, now_ns: int) -> None:
    if now_ns >= expires_ns + limits.token_leeway_seconds * _SECOND_NS:
        raise TokenExpired
