"""PolicyEngine: the one question that the gateway has for policy, in two stages, and what it sends along.

- Stage 1 (`decide`) hears the job's facts and what the gateway adds, and answers with a whole decision body. Stage 2
  (`judge`) hears a short list of runners as well, in one batch, and answers for each, in the order asked.
- Only the facets that rules read go in: an answer is the same for all jobs that are equal in them.
- What the decision log does not show of a decision (`mask`) is the policy's own answer too, and the same for equals.
- Time goes in as `now_ns` and never comes out: on replay the body is equal byte for byte.
- Whatever goes wrong with an engine is `PolicyEngineUnavailable`; there is no answer that was not checked.

    body = await engine.decide(JobQuery(facts=facts, gateway=gateway_facts, now_ns=now))
    verdicts = await engine.judge(query, runners)
"""

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from carnet.core import limits
from carnet.core.decision import DecisionBody, Revisions, RunnerVerdict
from carnet.core.document import Document, Json, canonical, parse
from carnet.core.facts import JobFacts
from carnet.core.runner import RunnerFacts
from policy.masking import MaskRule

DECISION_PATH: Final = "carnet/main/body"


class Screening(StrEnum):
    """What denied-party screening said of requester, exporter and end user, the least favourable of it.

    `off`: this gateway screens nobody, and decisions say so.
    """

    CLEAR = "clear"
    HIT = "hit"
    UNKNOWN = "unknown"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """How many records of a category an exporter sent out in the trailing twelve months (28 CFR 202.205)."""

    category: str
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantedExemption:
    """An exemption that was approved, as policy hears of it: a rule, where and for what it does not bind, until when.

    No class or purpose means any. It never matches from `expires_ns` on.
    """

    id: str
    rule: str
    places: tuple[str, ...]
    classes: tuple[str, ...]
    purposes: tuple[str, ...]
    expires_ns: int

    def document(self) -> dict[str, Json]:
        """For an engine."""
        return {
            "id": self.id,
            "rule": self.rule,
            "places": [*sorted(self.places)],
            "classes": [*sorted(self.classes)],
            "purposes": [*sorted(self.purposes)],
            "expires_ns": self.expires_ns,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayFacts:
    """What the gateway adds to a job's facts. The ids are opaque; the digest is shown to the client.

    `overlay` is the tenant's own, by name, or nothing; `approvals` is how many persons approved this very job.
    `screened_by` is the digest of the results that screening went by, or nothing; no rule hears of it.
    """

    issuer: str
    subject: str
    tenant: str
    roles: tuple[str, ...]
    screening: Screening
    screened_by: str = ""
    volumes: tuple[Volume, ...] = ()
    overlay: str = ""
    exemptions: tuple[GrantedExemption, ...] = ()
    approvals: int = 0

    def document(self) -> bytes:
        """The canonical bytes of `carnet.gateway-facts/v1`."""
        requester: Json = {
            "issuer": self.issuer,
            "subject": self.subject,
            "tenant": self.tenant,
            "roles": [*sorted(self.roles)],
        }
        return canonical(
            {
                "schema": "carnet.gateway-facts/v1",
                "requester": requester,
                "screening": self.screening.value,
                "screened_by": self.screened_by or None,
                "volumes": {volume.category: volume.records for volume in self.volumes},
                "overlay": self.overlay or None,
                "exemptions": [exemption.document() for exemption in self.exemptions],
                "approvals": self.approvals,
            }
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 over the document's bytes, 32 bytes."""
        return hashlib.sha256(self.document()).digest()

    @classmethod
    def parse(cls, data: bytes) -> "GatewayFacts":
        """Read what `document` wrote. Raises `FieldInvalid`."""
        top = parse(data, bytes_max=limits.facts_bytes_max)
        top.text("schema", choices={"carnet.gateway-facts/v1"})
        requester, volumes = top.document("requester"), top.document("volumes")
        found = cls(
            issuer=requester.text("issuer"),
            subject=requester.text("subject"),
            tenant=requester.text("tenant"),
            roles=requester.texts("roles"),
            screening=Screening(top.text("screening", choices=set(Screening))),
            screened_by="" if top.null("screened_by") else top.text("screened_by"),
            volumes=tuple(Volume(category=name, records=volumes.integer(name)) for name in sorted(volumes.names())),
            overlay="" if top.null("overlay") else top.text("overlay"),
            exemptions=tuple(exemption_of(entry) for entry in top.documents("exemptions")),
            approvals=top.integer("approvals"),
        )
        requester.close()
        top.close()
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """One job, as policy hears of it, at a time in ns since 1970 UTC."""

    facts: JobFacts
    gateway: GatewayFacts
    now_ns: int

    def facets(self) -> dict[str, Json]:
        """The part of the facts that rules read. A rule that needs another fact adds it here and to the schema."""
        return {
            "job": {
                "purpose": self.facts.purpose,
                "controller": _controller(self.facts),
                "data": _data(self.facts),
                "transfer": _transfer(self.facts),
                "technology": _technology(self.facts),
                "end_user": _end_user(self.facts),
                "constraints": _constraints(self.facts),
            },
            "gateway": {
                "screening": self.gateway.screening.value,
                "volumes": {volume.category: volume.records for volume in self.gateway.volumes},
                "overlay": self.gateway.overlay,
                "exemptions": [e.document() for e in sorted(self.gateway.exemptions, key=lambda e: e.id)],
                "approvals": self.gateway.approvals,
            },
        }

    @property
    def overlay(self) -> str:
        """The overlay that decides with the rules of all, by name; nothing where there is none."""
        return self.gateway.overlay

    @property
    def facets_digest(self) -> bytes:
        """SHA-256 over the canonical facets, 32 bytes: what a stage-1 answer depends on, but for the time."""
        return hashlib.sha256(canonical(self.facets())).digest()

    def document(self, runners: tuple[RunnerFacts, ...] = ()) -> dict[str, Json]:
        """The document `carnet.input/v1`; with runners for stage 2."""
        context: Json = {"now_ns": self.now_ns}
        found: dict[str, Json] = {"schema": "carnet.input/v1", "context": context, **self.facets()}
        return found | {"runners": [json.loads(runner.document()) for runner in runners]} if runners else found


def mask_document(query: JobQuery, body: DecisionBody) -> dict[str, Json]:
    """What an engine hears when it is asked for the mask of a decision: OPA's event, as far as a mask may read it."""
    return {"path": DECISION_PATH, "input": query.document(), "result": json.loads(body.payload)}


class PolicyEngine(Protocol):
    """An engine that answers with checked documents, or raises `PolicyEngineUnavailable`, and nothing else."""

    @property
    def name(self) -> str:
        """The engine's name, as the decision record gives it."""

    @property
    def version(self) -> str:
        """The version that gave the last answer, or `unknown` before the first."""

    @property
    def revisions(self) -> Revisions:
        """The rules and the data that every answer is from."""

    async def decide(self, query: JobQuery) -> DecisionBody:
        """Stage 1: where the job may run, under which obligations, and why."""

    async def judge(self, query: JobQuery, runners: tuple[RunnerFacts, ...]) -> tuple[RunnerVerdict, ...]:
        """Stage 2: each runner of a short list (at most `limits.shortlist_max`), in the order given."""

    async def mask(self, query: JobQuery, body: DecisionBody) -> tuple[MaskRule, ...]:
        """What the decision log must not show of this decision (`system.log.mask`)."""

    async def close(self) -> None:
        """Let go of everything. The engine is not used afterwards."""


def exemption_of(document: Document) -> GrantedExemption:
    """Read what `GrantedExemption.document` wrote. Raises `FieldInvalid`."""
    found = GrantedExemption(
        id=document.text("id"),
        rule=document.text("rule"),
        places=document.texts("places"),
        classes=document.texts("classes"),
        purposes=document.texts("purposes"),
        expires_ns=document.integer("expires_ns"),
    )
    document.close()
    return found


def _controller(facts: JobFacts) -> Json:
    return {
        "country": facts.controller.country,
        "sectors": list(facts.controller.sectors),
        "public_body": facts.controller.public_body,
    }


def _data(facts: JobFacts) -> Json:
    return {
        "classes": list(facts.data.classes),
        "subject_jurisdictions": list(facts.data.subject_jurisdictions),
        "origin_jurisdiction": facts.data.origin_jurisdiction,
        "records": facts.data.records,
        "pseudonymised": facts.data.pseudonymised,
    }


def _transfer(facts: JobFacts) -> Json:
    return {
        "mechanisms": [
            {
                "type": mechanism.type,
                "importer": mechanism.importer,
                "countries": list(mechanism.countries),
                "assessment_completed": mechanism.assessment_completed,
                "expires_ns": mechanism.expires_ns,
            }
            for mechanism in facts.transfer.mechanisms
        ],
        "importers": [
            {
                "entity": importer.entity,
                "dpf_certified": importer.dpf_certified,
                "uk_bridge": importer.uk_bridge,
                "swiss_certified": importer.swiss_certified,
            }
            for importer in facts.transfer.importers
        ],
    }


def _technology(facts: JobFacts) -> Json:
    return {
        "controlled": facts.technology.controlled,
        "itar": facts.technology.itar,
        "eccns": list(facts.technology.eccns),
        "eu_codes": list(facts.technology.eu_codes),
        "licences": [
            {
                "id": licence.id,
                "authority": licence.authority,
                "codes": list(licence.codes),
                "countries": list(licence.countries),
                "end_users": list(licence.end_users),
                "expires_ns": licence.expires_ns,
            }
            for licence in facts.technology.licences
        ],
    }


def _end_user(facts: JobFacts) -> Json:
    return {
        "entity": facts.end_user.entity,
        "country": facts.end_user.country,
        "parent_country": facts.end_user.parent_country,
        "use": facts.end_user.use,
    }


def _constraints(facts: JobFacts) -> Json:
    return {
        "only": list(facts.constraints.only),
        "never": list(facts.constraints.never),
        "parent_never": list(facts.constraints.parent_never),
        "isolation_min": facts.constraints.isolation_min,
    }
