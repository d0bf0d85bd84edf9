"""OpaServer: a real OPA, asked through opa-python-client, with each of the client's flaws wrapped.

- Three fixed paths and health; any other request is a `Bug` before it leaves. Nothing is ever uploaded.
- No proxy and no netrc from the environment, no redirect followed, no plain HTTP beyond loopback.
- One deadline over everything (`limits.policy_seconds_max`); retries on connect errors only, since then nothing was
  sent; answers are read up to `answer_bytes_max` and parsed strictly (no repeated keys, no floats).
- An undefined answer has no `result`, and is refused. Built-in errors are strict. The provenance must name exactly the
  bundle that is expected, and an OPA that knows how to check bundles (1.21.3 or newer).
- Every failure is `PolicyEngineUnavailable`. A breaker stops asking a server that is down, and tries again by itself.

    engine = OpaServer(endpoint=Endpoint.of("http://127.0.0.1:8181"), bundle=Bundle.load())
    body = await engine.decide(query)
    await engine.close()
"""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from opa_client.opa_async import AsyncOpaClient

from carnet.core import limits
from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.document import Json, parse
from carnet.core.errors import Bug, FieldInvalid, PolicyEngineUnavailable
from carnet.core.runner import RunnerFacts
from policy.bundle import Bundle
from policy.engine import JobQuery, mask_document
from policy.engines.answers import answer_bytes_max, body_of, mask_of, verdicts_of
from policy.engines.breaker import Breaker, Unreachable
from policy.masking import MaskRule

connect_attempts_max: Final = 3
connect_pause_seconds: Final = 0.05
connections_max: Final = 8
version_min: Final = (1, 21, 3)

_DECIDE: Final = ("carnet.main", "body")
_JUDGE: Final = ("carnet.runners", "answer")
_MASK: Final = ("system.log", "mask")
_ALLOWED: Final = frozenset({
    ("POST", "/v1/data/carnet/main/body"),
    ("POST", "/v1/data/carnet/runners/answer"),
    ("POST", "/v1/data/system/log/mask"),
    ("GET", "/health"),
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where an OPA listens. Without a TLS context the host must be a loopback address."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.tls is None and not _is_loopback(self.host):
            raise FieldInvalid("plain HTTP to OPA is for loopback only", metadata={"field": "policy.url"})

    @classmethod
    def of(cls, url: str, *, tls: ssl.SSLContext | None = None) -> "Endpoint":
        """From `http://host:port` or `https://host:port`, and no more. Raises `FieldInvalid`."""
        try:
            parts = urlsplit(url)
            port = parts.port or 8181
        except ValueError as error:
            raise FieldInvalid("the OPA URL is not one", metadata={"field": "policy.url"}) from error
        extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
        if parts.scheme not in {"http", "https"} or not parts.hostname or extra:
            raise FieldInvalid("the OPA URL must be http(s)://host:port", metadata={"field": "policy.url"})
        if parts.scheme == "http":
            return cls(host=parts.hostname, port=port)
        return cls(host=parts.hostname, port=port, tls=tls or ssl.create_default_context())


class OpaServer:
    """A `PolicyEngine` over one OPA server that runs exactly the given bundle."""

    def __init__(
        self,
        *,
        endpoint: Endpoint,
        bundle: Bundle,
        seconds_max: float = limits.policy_seconds_max,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoint = endpoint
        self._bundle = bundle
        self._seconds_max = seconds_max
        self._breaker = Breaker(clock)
        self._client: _Client | None = None
        self._closed = False
        self._version = "unknown"

    @property
    def name(self) -> str:
        """`opa`."""
        return "opa"

    @property
    def version(self) -> str:
        """The version in the last answer's provenance, or `unknown` before the first."""
        return self._version

    @property
    def revisions(self) -> Revisions:
        """The rules and data that are expected, and so are those of every answer."""
        return self._bundle.revisions

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1. Raises `PolicyEngineUnavailable`, or `FieldInvalid` where the query is not one."""
        result = await self._ask(_DECIDE, self._checked(query.document()))
        return body_of(result, bundle=self._bundle, now_ns=query.now_ns, overlay=query.overlay)

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2, in one question. Raises like `decide`, and `Bug` for more than a short list."""
        if len(runners) > limits.shortlist_max:
            raise Bug(detail=f"{len(runners)} runners are no short list")
        if not runners:
            return ()
        result = await self._ask(_JUDGE, self._checked(query.document(runners)))
        return verdicts_of(result, bundle=self._bundle, runners=runners, now_ns=query.now_ns, overlay=query.overlay)

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """What the decision log does not show. Raises `PolicyEngineUnavailable`."""
        return mask_of(await self._ask(_MASK, mask_document(query, body)))

    async def is_healthy(self) -> bool:
        """Whether the server says that it serves its bundle."""
        try:
            async with asyncio.timeout(self._seconds_max):
                return bool(await (await self._open()).check_health(query={"bundles": "true"}))
        except TimeoutError:
            return False

    async def is_serving(self) -> bool:
        """Whether the server runs the expected bundle, and that one alone."""
        try:
            async with asyncio.timeout(self._seconds_max):
                answer = await self._connected(_DECIDE, {})
            _check_provenance(answer, expected=self._bundle.revision)
        except (PolicyEngineUnavailable, TimeoutError, aiohttp.ClientError, OSError):
            return False
        return True

    async def close(self) -> None:
        """Close the connections."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.close_connection()

    def _checked(self, document: dict[str, Json]) -> dict[str, Json]:
        self._bundle.schemas.check("input", document)
        return document

    async def _ask(self, question: tuple[str, str], document: dict[str, Json]) -> Json:
        with self._breaker.guard():
            try:
                async with asyncio.timeout(self._seconds_max):
                    answer = await self._connected(question, document)
            except (TimeoutError, aiohttp.ClientError, OSError) as error:
                raise Unreachable(detail=f"OPA: {type(error).__name__}") from error
        self._version = _check_provenance(answer, expected=self._bundle.revision)
        if "result" not in answer:
            raise PolicyEngineUnavailable(detail="OPA: the answer is undefined")
        result: Json = answer["result"]
        return result

    async def _connected(self, question: tuple[str, str], document: dict[str, Json]) -> dict[str, Any]:
        package, rule = question
        parameters = {"provenance": "true", "strict-builtin-errors": "true"}
        for attempt in range(1, connect_attempts_max + 1):
            try:
                client = await self._open()
                found: dict[str, Any] = await client.query_rule(document, package, rule, query_params=parameters)
            except aiohttp.ClientConnectorError:
                if attempt == connect_attempts_max:
                    raise
                await asyncio.sleep(connect_pause_seconds * attempt)
            else:
                return found
        raise Bug(detail="unreachable")

    async def _open(self) -> "_Client":
        # A question that is still being tried again must not open what was closed.
        if self._closed:
            raise PolicyEngineUnavailable(detail="OPA: closed")
        if self._client is None:
            client = _Client(endpoint=self._endpoint, seconds_max=self._seconds_max)
            await client._init_session()
            self._client = client
        return self._client


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What the library may see of a response: a status, and bytes that were read within the bound."""

    status: int
    data: bytes

    def raise_for_status(self) -> None:
        if self.status != 200:
            raise PolicyEngineUnavailable(detail=f"OPA: status {self.status}")

    async def json(self) -> Any:
        try:
            parse(self.data, bytes_max=answer_bytes_max)
        except FieldInvalid as error:
            raise PolicyEngineUnavailable(detail=f"OPA: {error.text}") from error
        return json.loads(self.data)


class _Client(AsyncOpaClient):  # type: ignore[misc]  # the library ships no types
    """The library's client with its transport replaced: our session, our bounds, four requests and no other."""

    def __init__(self, *, endpoint: Endpoint, seconds_max: float) -> None:
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        super().__init__(host=host, port=endpoint.port, ssl=endpoint.tls is not None, retries=0, timeout=seconds_max)
        self._tls = endpoint.tls

    async def _init_session(self) -> None:
        self._connector = aiohttp.TCPConnector(ssl=self._tls or False, limit=connections_max)
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            headers={"Accept-Encoding": "identity"},
            timeout=aiohttp.ClientTimeout(total=self.timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )

    @asynccontextmanager
    async def _request(self, method: str, url: str, **options: Any) -> AsyncIterator[_Answer]:
        if (method, urlsplit(url).path) not in _ALLOWED:
            raise Bug(detail=f"{method} {urlsplit(url).path} is not asked of OPA")
        async with self._session.request(method, url, allow_redirects=False, **options) as response:
            yield _Answer(status=response.status, data=await _bounded(response))


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    data = bytearray()
    async for part in response.content.iter_chunked(64 * limits.KIB):
        data += part
        if len(data) > answer_bytes_max:
            raise PolicyEngineUnavailable(detail="OPA: the answer is too long")
    return bytes(data)


def _check_provenance(answer: dict[str, Any], *, expected: str) -> str:
    provenance = answer.get("provenance")
    if not isinstance(provenance, dict) or _revisions(provenance.get("bundles")) != [expected]:
        raise PolicyEngineUnavailable(detail=f"OPA: does not serve the bundle {expected} alone")
    version = str(provenance.get("version"))
    if _version(version) < version_min:
        raise PolicyEngineUnavailable(detail="OPA: the version is older than 1.21.3, or unknown")
    return version


def _revisions(bundles: Any) -> list[object]:
    found = list(bundles.values()) if isinstance(bundles, dict) else []
    return [bundle.get("revision") if isinstance(bundle, dict) else None for bundle in found]


def _version(text: str) -> tuple[int, ...]:
    numbers = text.split("-")[0].split(".")
    return tuple(int(n) for n in numbers) if all(n.isascii() and n.isdigit() and len(n) < 6 for n in numbers) else ()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
