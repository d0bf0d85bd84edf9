"""One finding of `carnet doctor` each: pins, keys, certificate, token, and what only some need."""

import base64
import http.client
import os
import shutil
import socket
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from carnet.cli.exits import ExitCode
from carnet.cli.output import when
from carnet.core.document import Json
from carnet.core.errors import CarnetError, FieldInvalid

if TYPE_CHECKING:
    from carnet.context import Context

socket_seconds: Final = 2.0
claims_bytes_max: Final = 16 * 1024


class State(StrEnum):
    """Whether something is here, is missing, or is absent and not needed by everyone."""

    OK = "ok"
    MISSING = "missing"
    ABSENT = "absent"


_STYLES: Final = {State.OK: "green", State.MISSING: "red", State.ABSENT: "yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked for; `code` is what its lack ends with."""

    name: str
    state: State
    text: str
    fix: str = ""
    code: ExitCode = ExitCode.OK

    @classmethod
    def ok(cls, name: str, text: str) -> "Finding":
        """It is here."""
        return cls(name=name, state=State.OK, text=text)

    @classmethod
    def missing(cls, name: str, text: str, *, fix: str, code: ExitCode) -> "Finding":
        """It is needed, and not here."""
        return cls(name=name, state=State.MISSING, text=text, fix=fix, code=code)

    @property
    def style(self) -> str:
        """How it looks where there are colours."""
        return _STYLES[self.state]

    def document(self) -> Json:
        """The finding as JSON."""
        return {"name": self.name, "state": str(self.state), "text": self.text, "fix": self.fix}


def pins(context: "Context") -> Finding:
    """Whether the pins name this tenant and at least one operator: with none, nothing could run anywhere."""
    names = ", ".join(context.pins.operator_names)
    fix = "get the pins from those whom you trust, not from the gateway"
    try:
        tenant = context.pins.tenant(context.tenant_id)
    except CarnetError as error:
        return Finding.missing("pins", error.text, fix=fix, code=ExitCode.USAGE)
    if not context.pins.operators:
        return Finding.missing("pins", "no operator is pinned", fix=fix, code=ExitCode.USAGE)
    return Finding.ok("pins", f"tenant {tenant.trust_domain}; operators {names}; log {context.pins.gateway.origin}")


def keys(context: "Context") -> Finding:
    """Whether the tenant's keys are there and closed to others."""
    from carnet.tls import read_private_key

    fix = "chmod 600 the key files of the context"
    try:
        context.keys()
        read_private_key(context.key)
    except CarnetError as error:
        text = f"{error.text} {error.detail}".strip()
        return Finding.missing("keys", text, fix=fix, code=ExitCode.UNAUTHENTICATED)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}"
        return Finding.missing("keys", text, fix=fix, code=ExitCode.UNAUTHENTICATED)
    return Finding.ok("keys", "signing key, key set, master key and TLS key; closed to others")


def certificate(context: "Context") -> Finding:
    """Whether the client certificate is one, and lives."""
    from carnet.core.certificate import LeafKind, judge_leaf
    from carnet.tls import chain_from_pem

    try:
        chain = chain_from_pem(context.certificate.read_bytes())
        leaf = judge_leaf(chain[0], LeafKind.CLIENT, now_ns=time.time_ns())
    except (CarnetError, OSError, IndexError) as error:
        text = error.text if isinstance(error, CarnetError) else f"{context.certificate} can not be read"
        fix = "renew it with your tenant's CA; `carnet dev` renews on start"
        return Finding.missing("certificate", text, fix=fix, code=ExitCode.UNAUTHENTICATED)
    return Finding.ok("certificate", f"{leaf.id}, until {when(leaf.not_after_ns)}")


def token(context: "Context") -> Finding:
    """Whether the token is there, and for how long it says that it is good. It is not verified here."""
    fix = "whatever renews the token has stopped; start it again"
    try:
        seconds = expiry_seconds(context.token) - int(time.time())
    except CarnetError as error:
        return Finding.missing("token", error.text, fix=fix, code=ExitCode.UNAUTHENTICATED)
    if seconds <= 0:
        return Finding.missing("token", f"expired {-seconds} s ago", fix=fix, code=ExitCode.UNAUTHENTICATED)
    return Finding.ok("token", f"good for {seconds} s more, by its own word")


def expiry_seconds(path: Path) -> int:
    """The `exp` claim of a JWT in a file, in seconds since 1970 UTC (RFC 7519, 4.1.4). Raises `FieldInvalid`."""
    import json

    # Not core.document: another's token may hold floats and whatever else its issuer likes.
    try:
        claims = path.read_text(encoding="ascii").strip().split(".")[1]
        if len(claims) > claims_bytes_max:
            raise ValueError
        found = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return int(found["exp"])
    except OSError as error:
        raise FieldInvalid(f"{path} can not be read.") from error
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise FieldInvalid(f"{path} holds no token with an expiry.") from error


def engine() -> Finding:
    """Whether a Docker engine answers: runners on this machine need one."""
    where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if _answers(where):
        return Finding.ok("docker", f"answers at {where}")
    fix = "needed only to run runners here (`carnet dev`): install Docker, or set DOCKER_HOST"
    return Finding(name="docker", state=State.ABSENT, text=f"no engine answers at {where}", fix=fix)


def opa() -> Finding:
    """Whether there is an OPA binary: a gateway or `carnet policy` on this machine needs one."""
    named = os.environ.get("CARNET_OPA")
    found = shutil.which(named or "opa")
    if found:
        return Finding.ok("opa", found)
    fix = "needed only for policy and gateway here: put `opa` on PATH, or its file in CARNET_OPA"
    return Finding(name="opa", state=State.ABSENT, text=f"{named or 'opa'} is not there", fix=fix)


def _answers(where: str) -> bool:
    scheme, _, path = where.partition("://")
    if scheme != "unix":
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(socket_seconds)
        try:
            connection.connect(path)
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
            response = http.client.HTTPResponse(connection)
            response.begin()
        except (OSError, http.client.HTTPException):
            return False
        return response.status == http.client.OK
