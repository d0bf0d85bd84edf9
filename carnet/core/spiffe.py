"""SPIFFE ids: the names of runners, clients and gateways (SPIFFE-ID.md, sections 2.1 to 2.3).

- `spiffe://<trust domain>/<path>`, at most 2048 bytes. The trust domain is lower case, with no user and no port; the
  path has at least one segment, none of them empty, `.` or `..`, no escapes, no query, no fragment, no trailing `/`.
- A runner names its jurisdiction: `spiffe://<operator>/j/<ISO 3166-1[-2]>/runner/<uuid>`.
- A client is `spiffe://<tenant>/client/<name>`, a gateway is `spiffe://<gateway>/gateway/<name>`.
- Any text parses, or raises `CredentialInvalid`; what parses prints as the very same text.

    RunnerId.parse("spiffe://gpu-fr.example/j/FR/runner/6f1c...").jurisdiction
"""

import re
from dataclasses import dataclass
from typing import Final

from carnet.core.errors import CredentialInvalid, FieldInvalid
from carnet.core.facts import check_jurisdiction, country_of

spiffe_bytes_max: Final = 2048

_PREFIX: Final = "spiffe://"
_TRUST_DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT: Final = re.compile(r"[A-Za-z0-9._-]+")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpiffeId:
    """A trust domain and a path that starts with `/`."""

    trust_domain: str
    path: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        first, *segments = self.path.split("/")
        if first or not segments or any(not _is_segment(segment) for segment in segments):
            raise CredentialInvalid("The path of a SPIFFE id is malformed.")
        if len(str(self)) > spiffe_bytes_max:
            raise CredentialInvalid("A SPIFFE id is too long.")

    def __str__(self) -> str:
        return f"{_PREFIX}{self.trust_domain}{self.path}"

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of the path."""
        return tuple(self.path.split("/")[1:])

    @classmethod
    def parse(cls, text: str) -> "SpiffeId":
        """Read an id. Raises `CredentialInvalid`, and nothing else, on any text."""
        if len(text) > spiffe_bytes_max or not text.startswith(_PREFIX):
            raise CredentialInvalid("A SPIFFE id is too long or has another scheme.")
        trust_domain, slash, path = text.removeprefix(_PREFIX).partition("/")
        return cls(trust_domain=trust_domain, path=slash + path)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerId:
    """A runner: its operator's trust domain, the jurisdiction claimed for it, and a lower-case UUID."""

    trust_domain: str
    jurisdiction: str
    runner: str

    def __post_init__(self) -> None:
        check_trust_domain(self.trust_domain)
        try:
            check_jurisdiction(self.jurisdiction)
        except FieldInvalid as error:
            raise CredentialInvalid("A runner id names no jurisdiction.") from error
        if not _UUID.fullmatch(self.runner):
            raise CredentialInvalid("A runner id must end in a lower-case UUID.")

    def __str__(self) -> str:
        return f"{_PREFIX}{self.trust_domain}/j/{self.jurisdiction}/runner/{self.runner}"

    @property
    def country(self) -> str:
        """The ISO 3166-1 part of the jurisdiction."""
        return country_of(self.jurisdiction)

    @classmethod
    def parse(cls, text: str) -> "RunnerId":
        """Read a runner's id. Raises `CredentialInvalid`, and nothing else, on any text."""
        return cls.of(SpiffeId.parse(text))

    @classmethod
    def of(cls, spiffe_id: SpiffeId) -> "RunnerId":
        """The runner that an id names. Raises `CredentialInvalid` where it names something else."""
        match spiffe_id.segments:
            case ("j", jurisdiction, "runner", runner):
                return cls(trust_domain=spiffe_id.trust_domain, jurisdiction=jurisdiction, runner=runner)
        raise CredentialInvalid("The SPIFFE id does not name a runner.")


def check_trust_domain(text: str) -> str:
    """A trust domain by shape: lower case, digits, `.`, `-`, `_`. Raises `CredentialInvalid`."""
    if not _TRUST_DOMAIN.fullmatch(text):
        raise CredentialInvalid("The trust domain of a SPIFFE id is malformed.")
    return text


def _is_segment(text: str) -> bool:
    return bool(_SEGMENT.fullmatch(text)) and text not in (".", "..")
