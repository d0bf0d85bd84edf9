"""Runner: what a runner says of itself, what its operator says of it, and what policy may hear of it.

- A RunnerCard is signed by the runner's leaf key: capacity, devices, isolation facts, prices.
- Ownership and status are signed by the operator's CA: who owns the operator, and that the leaf still stands.
- A KeyStatement is signed by the leaf: the epoch key that jobs are wrapped for.
- `facts` puts together what stage 2 of policy hears. The runner's country and the operator's parent are two facts.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from carnet.core import limits
from carnet.core.document import Document, canonical, parse
from carnet.core.errors import StatementInvalid
from carnet.core.facts import TRISTATE, check_jurisdiction, country_of

# On a card's list: every image. For development; an operator names what it lets in.
ANY_IMAGE: Final = "*"


class Isolation(StrEnum):
    """Isolation levels, weakest first."""

    PROCESS = "process"
    CONTAINER = "container"
    GVISOR = "gvisor"
    MICROVM = "microvm"
    TEE = "tee"

    def at_least(self, floor: "Isolation") -> bool:
        """Whether this level is as strong as the floor, or stronger."""
        order = list(Isolation)
        return order.index(self) >= order.index(floor)


class Evidence(StrEnum):
    """How the place of a runner is known; weakest first."""

    SELF = "self"
    OPERATOR = "operator"
    AUDITED = "audited"
    MEASURED = "measured"
    ATTESTED = "attested"


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU: its UUID, model name, and memory in bytes."""

    uuid: str
    model: str
    memory_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerCard:
    """What the runner offers, signed by its leaf. Prices are micro-USD a second of one slot."""

    payload: bytes
    spiffe_id: str
    issued_ns: int
    expires_ns: int
    agent_version: str
    slots: int
    cpu_millis: int
    memory_bytes: int
    work_bytes: int
    devices: tuple[Device, ...]
    isolation: Isolation
    isolation_facts: tuple[str, ...]
    template_digest: bytes
    images: tuple[str, ...]
    price_micro_usd_second: int

    @property
    def digest(self) -> bytes:
        """SHA-256 over the card's bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()

    def takes_image(self, image: str) -> bool:
        """Whether the list names the image, as repository@digest or by its digest alone. An empty list takes none."""
        return bool({image, image.rpartition("@")[2], ANY_IMAGE} & set(self.images))


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A country whose persons together hold a share of the operator, in whole percent, rounded up."""

    country: str
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who stands behind a runner, signed by the operator's CA. `entity` is the operator's trust domain.

    `covered_person` is `yes`, `no` or `unknown` (28 CFR 202.211); `certifications` are words such as HDS, C5, PCI-DSS.
    """

    payload: bytes
    trust_domain: str
    entity: str
    country: str
    parent_entity: str
    parent_country: str
    issued_ns: int
    expires_ns: int
    owners: tuple[Owner, ...] = ()
    covered_person: str = "unknown"
    certifications: tuple[str, ...] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the statement's bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStatus:
    """The operator's word that one leaf certificate still stands; at most an hour old when it is used."""

    payload: bytes
    spiffe_id: str
    certificate_digest: bytes
    good: bool
    issued_ns: int
    expires_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyStatement:
    """The epoch key that jobs are wrapped for, signed by the leaf. `kid` = SHA-256(public)."""

    payload: bytes
    spiffe_id: str
    leaf_key_digest: bytes
    public: bytes
    not_before_ns: int
    seal_until_ns: int
    open_until_ns: int

    def __post_init__(self) -> None:
        if len(self.public) != limits.hybrid_public_bytes:
            raise StatementInvalid("An epoch key must be 1216 bytes.")
        if not self.not_before_ns < self.seal_until_ns <= self.open_until_ns:
            raise StatementInvalid("The times of a key statement must rise.")
        if self.seal_until_ns - self.not_before_ns > limits.seal_seconds_max * 10**9:
            raise StatementInvalid("A key statement may be sealed to for an hour at most.")
        if self.open_until_ns - self.not_before_ns > limits.open_seconds_max * 10**9:
            raise StatementInvalid("An epoch key may be opened for 25 hours at most.")

    @property
    def kid(self) -> bytes:
        """SHA-256 of the public key, 32 bytes."""
        return hashlib.sha256(self.public).digest()

    @property
    def digest(self) -> bytes:
        """SHA-256 over the statement's bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerFacts:
    """What stage 2 of policy hears of one runner."""

    spiffe_id: str
    jurisdiction: str
    operator: str
    operator_country: str
    parent_country: str
    evidence: Evidence
    isolation: Isolation
    gpus: int
    card_digest: bytes
    owners: tuple[Owner, ...] = ()
    covered_person: str = "unknown"
    certifications: tuple[str, ...] = ()
    gpu_models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_jurisdiction(self.jurisdiction)

    @property
    def country(self) -> str:
        """The ISO 3166-1 part of the runner's jurisdiction."""
        return country_of(self.jurisdiction)

    def document(self) -> bytes:
        """The canonical JSON that goes into policy, less the card's digest (it would defeat the cache)."""
        return canonical(
            {
                "spiffe_id": self.spiffe_id,
                "jurisdiction": self.jurisdiction,
                "country": self.country,
                "operator": {
                    "entity": self.operator,
                    "country": self.operator_country,
                    "parent_country": self.parent_country,
                    "owners": [{"country": owner.country, "percent": owner.percent} for owner in self.owners],
                    "covered_person": self.covered_person,
                    "certifications": list(self.certifications),
                },
                "evidence": self.evidence,
                "isolation": self.isolation,
                "gpus": self.gpus,
                "gpu_models": list(self.gpu_models),
            }
        )


def facts(
    *, spiffe_id: str, jurisdiction: str, trust_domain: str, card: RunnerCard, ownership: Ownership | None
) -> RunnerFacts:
    """What policy hears of a runner. Without ownership facts the countries behind it are unknown (`ZZ`)."""
    return RunnerFacts(
        spiffe_id=spiffe_id,
        jurisdiction=jurisdiction,
        operator=trust_domain,
        operator_country=ownership.country if ownership else "ZZ",
        parent_country=ownership.parent_country if ownership else "ZZ",
        evidence=Evidence.OPERATOR,
        isolation=card.isolation,
        gpus=len(card.devices),
        card_digest=card.digest,
        owners=ownership.owners if ownership else (),
        covered_person=ownership.covered_person if ownership else "unknown",
        certifications=tuple(sorted(ownership.certifications)) if ownership else (),
        gpu_models=tuple(sorted({device.model for device in card.devices})),
    )


def parse_runner(data: bytes) -> RunnerFacts:
    """A runner's facts from the document that `RunnerFacts.document` wrote. Raises `FieldInvalid`."""
    top = parse(data, bytes_max=limits.facts_bytes_max)
    operator = top.document("operator")
    found = RunnerFacts(
        spiffe_id=top.text("spiffe_id", bytes_max=2048),
        jurisdiction=top.text("jurisdiction"),
        operator=operator.text("entity"),
        operator_country=operator.text("country"),
        parent_country=operator.text("parent_country"),
        evidence=Evidence(top.text("evidence", choices=set(Evidence))),
        isolation=Isolation(top.text("isolation", choices=set(Isolation))),
        gpus=top.integer("gpus", high=1024),
        card_digest=bytes(32),
        owners=tuple(_owner(owner) for owner in operator.documents("owners", items_max=limits.owners_max)),
        covered_person=operator.text("covered_person", choices=TRISTATE),
        certifications=tuple(sorted(operator.texts("certifications", items_max=limits.owners_max, bytes_max=64))),
        gpu_models=tuple(sorted(top.texts("gpu_models"))),
    )
    if top.text("country") != found.country:
        top.refuse("country", "must be the country of the jurisdiction")
    operator.close()
    top.close()
    return found


def _owner(document: Document) -> Owner:
    found = Owner(country=document.text("country", bytes_max=2), percent=document.integer("percent", high=100))
    document.close()
    return found
