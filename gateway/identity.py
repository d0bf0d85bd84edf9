"""Identity: who calls, on each listener, from the certificate of the connection and the token of the call.

- Enterprise listener: a client certificate under the CA of a pinned tenant, and a bearer token that is bound to it and
  whose client belongs to the same tenant. Runner listener: a leaf under the CA of a pinned operator.
- Every call is judged, not every connection: a connection outlives its certificate. What is costly (the chain) is kept
  by certificate; time is looked at each time.
- The certificate that is used for TLS must be signed by a pinned CA itself: gRPC does not show intermediates.
- Health and reflection need the certificate and no token; nobody's name is known to them.
- Services ask `caller()` or `runner()`; both raise `Bug` where the gate let nobody in.

    gate = Gate(EnterpriseAdmission(pins.tenants, tokens, clock=clock), revocations=revocations, clock=clock)
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from carnet.core import limits
from carnet.core.credential import Anchor, Identity, Leaf, RunnerId, judge_chain, judge_client
from carnet.core.errors import Bug, CredentialInvalid, RoleRequired, TokenInvalid
from carnet.pins import TenantPins
from carnet.tls import certificate_from_pem, peer_pem
from gateway.gate import Admitted, Context
from gateway.tokens import TokenJudge

certificate_cache_max: Final = 4096
certificate_cache_seconds: Final = 300

_OPEN: Final = ("/grpc.health.v1.Health/", "/grpc.reflection.v1.", "/grpc.reflection.v1alpha.")
_LEEWAY_NS: Final = limits.token_leeway_seconds * 10**9
_CACHE_NS: Final = certificate_cache_seconds * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An enterprise's client, by certificate and token. `expires_ns` is when the first of the two ends."""

    tenant_id: bytes
    subject: str
    client_id: str
    issuer: str
    roles: tuple[str, ...]
    certificate_digest: bytes
    expires_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPeer:
    """A runner of a pinned operator, by the certificate of its connection; its status was not looked at."""

    id: RunnerId
    certificate_digest: bytes
    expires_ns: int


_caller: ContextVar[Caller] = ContextVar("carnet_caller")
_runner: ContextVar[RunnerPeer] = ContextVar("carnet_runner")


def caller() -> Caller:
    """The client whose call is being answered."""
    try:
        return _caller.get()
    except LookupError as error:
        raise Bug(detail="a service asks for a caller that nobody admitted") from error


def runner() -> RunnerPeer:
    """The runner whose call is being answered."""
    try:
        return _runner.get()
    except LookupError as error:
        raise Bug(detail="a service asks for a runner that nobody admitted") from error


def check_role(who: Caller, role: str) -> None:
    """Raise `RoleRequired` unless the caller's token names this role."""
    if role not in who.roles:
        raise RoleRequired(metadata={"role": role})


class EnterpriseAdmission:
    """Admits clients of pinned tenants with a token that is bound to their certificate."""

    def __init__(self, tenants: tuple[TenantPins, ...], tokens: TokenJudge, *, clock: Callable[[], int]) -> None:
        self._tenants = {tenant.trust_domain: tenant for tenant in tenants}
        self._anchors = tuple(tenant.anchor for tenant in tenants)
        self._tokens = tokens
        self._clock = clock
        self._judged: _Judged[tuple[bytes, Leaf]] = _Judged(self._judge, clock=clock)

    async def admit(self, context: Context, method: str) -> Admitted:
        """Raises `ClientCertificateRequired`, `CredentialInvalid`, or what `TokenJudge.judge` raises."""
        certificate, leaf = self._judged.get(peer_pem(context.auth_context()))
        leaf.check_time(now_ns=self._clock())
        if method.startswith(_OPEN):
            return Admitted(certificate_digest=leaf.certificate_digest, certificate_ns=leaf.not_after_ns)
        claims = await self._tokens.judge(_bearer(context), certificate)
        if claims.tenant_id != self._tenants[leaf.id.trust_domain].tenant_id:
            raise TokenInvalid(detail="token and certificate belong to two tenants")
        admitted = Admitted(
            certificate_digest=leaf.certificate_digest,
            certificate_ns=leaf.not_after_ns,
            token_ns=claims.expires_ns + _LEEWAY_NS,
        )
        found = Caller(
            tenant_id=claims.tenant_id,
            subject=claims.subject,
            client_id=claims.client_id,
            issuer=claims.issuer,
            roles=claims.roles,
            certificate_digest=leaf.certificate_digest,
            expires_ns=admitted.expires_ns,
        )
        _caller.set(found)
        return admitted

    def _judge(self, certificate: bytes) -> tuple[bytes, Leaf]:
        return certificate, judge_client(certificate, self._anchors, now_ns=self._clock())


class RunnerAdmission:
    """Admits runners of pinned operators."""

    def __init__(self, operators: tuple[Anchor, ...], *, clock: Callable[[], int]) -> None:
        self._operators = operators
        self._clock = clock
        self._judged: _Judged[Identity] = _Judged(self._judge, clock=clock)

    async def admit(self, context: Context, method: str) -> Admitted:
        """Raises `ClientCertificateRequired` or `CredentialInvalid`."""
        identity = self._judged.get(peer_pem(context.auth_context()))
        if self._clock() >= identity.not_after_ns:
            raise CredentialInvalid("The certificate has expired.")
        if not method.startswith(_OPEN):
            found = RunnerPeer(
                id=identity.id,
                certificate_digest=identity.certificate_digest,
                expires_ns=identity.not_after_ns,
            )
            _runner.set(found)
        return Admitted(certificate_digest=identity.certificate_digest, certificate_ns=identity.not_after_ns)

    def _judge(self, certificate: bytes) -> Identity:
        return judge_chain((certificate,), self._operators, now_ns=self._clock())


T = TypeVar("T")


class _Judged(Generic[T]):
    """What certificates were judged to be, for five minutes; refusals are not kept."""

    def __init__(self, judge: Callable[[bytes], T], *, clock: Callable[[], int]) -> None:
        self._judge = judge
        self._clock = clock
        self._kept: OrderedDict[bytes, tuple[int, T]] = OrderedDict()

    def get(self, pem: bytes) -> T:
        """What the judge says of this certificate. Raises what it raises."""
        name, now_ns = hashlib.sha256(pem).digest(), self._clock()
        kept_ns, found = self._kept.get(name, (0, None))
        if found is None or not 0 <= now_ns - kept_ns < _CACHE_NS:
            found = self._judge(certificate_from_pem(pem))
            self._kept[name] = (now_ns, found)
            while len(self._kept) > certificate_cache_max:
                self._kept.popitem(last=False)
        return found


def _bearer(context: Context) -> str:
    values = [value for name, value in context.invocation_metadata() or () if name == "authorization"]
    if len(values) != 1 or not isinstance(values[0], str):
        raise TokenInvalid(detail="the call needs exactly one authorization entry")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise TokenInvalid(detail="the authorization is not a bearer token")
    return token
