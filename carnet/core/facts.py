"""JobFacts: all that policy may hear of a job, in the client's own bytes (`carnet.facts/v1`).

- The bytes are parsed once; `facts_digest` is SHA-256 over exactly those bytes; decision, manifest and permit name it.
- Unknown fields, unknown words and repeated keys are refused; `unknown` is a legal value where the field says so,
  and policy always counts it as unfavourable.
- Times are nanoseconds since 1970 UTC, money is micro-USD, sizes are bytes. No floats.

    facts = parse_facts(data)
    facts.digest, facts.data.classes, facts.constraints.only
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from carnet.core import limits
from carnet.core.document import Document, parse, refuse

SCHEMA: Final = "carnet.facts/v1"

PURPOSES: Final = frozenset({"training", "inference", "analytics", "simulation", "rendering", "other"})
DATA_CLASSES: Final = frozenset({
    "personal", "health", "genetic", "biometric", "financial", "criminal", "children", "special_category",
    "non_personal", "public", "synthetic", "payment_card", "technical", "omic", "geolocation", "identifiers",
    "us_government_related", "cn_important", "criminal_justice",
})  # fmt: skip
SECTORS: Final = frozenset(
    {
        "health", "bank", "insurance", "payment", "public", "criminal_justice", "defence", "energy", "telecom",
        "research", "other",
    }
)  # fmt: skip
MECHANISMS: Final = frozenset({
    "SCC", "BCR", "IDTA", "UK_ADDENDUM", "CN_ASSESSMENT", "CN_CONTRACT", "CN_CERTIFICATION", "SA_CLAUSES", "SA_BINDING",
})  # fmt: skip
AUTHORITIES: Final = frozenset({"BIS", "DDTC", "EU", "NATIONAL"})
END_USES: Final = frozenset({"civil", "military", "wmd", "surveillance", "unknown"})
TRISTATE: Final = frozenset({"yes", "no", "unknown"})

_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_JURISDICTION: Final = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_JURISDICTION_CHARS_MAX: Final = 6
_CONTROL_CODE: Final = re.compile(r"EAR99|[0-9][A-E][0-9]{3}(\.[a-z0-9]{1,4}){0,6}")
_IMAGE: Final = re.compile(r"([a-z0-9][a-z0-9._:/-]{0,254}@)?sha256:[0-9a-f]{64}")


def check_jurisdiction(code: str, *, path: str = "jurisdiction") -> str:
    """An ISO 3166-1 alpha-2 code, or an ISO 3166-2 one (`FR`, `UA-43`), by shape. Raises `FieldInvalid`."""
    if len(code) > _JURISDICTION_CHARS_MAX or not _is_jurisdiction(code):
        refuse(path, "must be an ISO 3166-1 alpha-2 or ISO 3166-2 code")
    return code


@lru_cache(8192)
def _is_jurisdiction(code: str) -> bool:
    return _JURISDICTION.fullmatch(code) is not None


def country_of(code: str) -> str:
    """The ISO 3166-1 part of a jurisdiction."""
    return code[:2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller:
    """Who decides about the data (GDPR Art. 4(7)) and where it is established."""

    entity: str
    country: str
    sectors: tuple[str, ...]
    public_body: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What the payload holds, about whom, and from where."""

    classes: tuple[str, ...]
    subject_jurisdictions: tuple[str, ...]
    origin_jurisdiction: str
    records: int
    pseudonymised: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mechanism:
    """A transfer basis under GDPR Art. 46: standard clauses or binding rules with one importer."""

    type: str
    importer: str
    countries: tuple[str, ...]
    assessment_completed: bool
    expires_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Importer:
    """A US importer, and whether it is certified under the Data Privacy Framework, its UK extension (the data bridge)
    and the Swiss one, as the exporter checked: `yes`, `no` or `unknown`."""

    entity: str
    dpf_certified: str
    uk_bridge: str
    swiss_certified: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """On which bases the data may leave."""

    mechanisms: tuple[Mechanism, ...]
    importers: tuple[Importer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """An export licence: whose, for which control codes, countries and end users, and its last moment."""

    id: str
    authority: str
    codes: tuple[str, ...]
    countries: tuple[str, ...]
    end_users: tuple[str, ...]
    expires_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Technology:
    """What of the job is software or technology under export control. `eccns` after 15 CFR 774, `eu_codes` after
    Annex I of Regulation (EU) 2021/821, `itar` after 22 CFR 121. `controlled` is `yes`, `no` or `unknown`."""

    controlled: str
    itar: str
    eccns: tuple[str, ...]
    eu_codes: tuple[str, ...]
    licences: tuple[Licence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class EndUser:
    """Who uses what the job yields, where they are and where their ultimate parent has its headquarters, and for what.
    `ZZ` is a country that is not known."""

    entity: str
    country: str
    parent_country: str
    use: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """The organisation's own limits. An empty `only` sets no limit; `never` always wins."""

    only: tuple[str, ...]
    never: tuple[str, ...]
    parent_never: tuple[str, ...]
    isolation_min: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """What one attempt gets."""

    cpu_millis: int
    memory_bytes: int
    work_bytes: int
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The most that one attempt may take: seconds of running, micro-USD, and attempts in all."""

    seconds: int
    price_micro_usd: int
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """The parsed document, with the bytes it came from."""

    payload: bytes
    purpose: str
    controller: Controller
    data: DataFacts
    transfer: Transfer
    technology: Technology
    end_user: EndUser
    constraints: Constraints
    image: str
    resources: Resources
    caps: Caps

    @property
    def digest(self) -> bytes:
        """SHA-256 over the client's own bytes, 32 bytes."""
        return hashlib.sha256(self.payload).digest()


def parse_facts(data: bytes) -> JobFacts:
    """Parse `carnet.facts/v1`. Raises `FieldInvalid`, with the field's path, on anything else."""
    top = parse(data, bytes_max=limits.facts_bytes_max)
    top.text("schema", choices={SCHEMA})
    facts = JobFacts(
        payload=bytes(data),
        purpose=top.text("purpose", choices=PURPOSES),
        controller=_controller(top.document("controller")),
        data=_data(top.document("data")),
        transfer=_transfer(top.document("transfer")),
        technology=_technology(top.document("technology")),
        end_user=_end_user(top.document("end_user")),
        constraints=_constraints(top.document("constraints")),
        image=_image(top),
        resources=_resources(top.document("resources")),
        caps=_caps(top.document("caps")),
    )
    top.close()
    return facts


def _controller(document: Document) -> Controller:
    found = Controller(
        entity=document.text("entity"),
        country=_country(document, "country"),
        sectors=tuple(sorted(document.texts("sectors", choices=SECTORS))),
        public_body=document.flag("public_body"),
    )
    document.close()
    return found


def _data(document: Document) -> DataFacts:
    classes = document.texts("classes", choices=DATA_CLASSES)
    if not classes:
        document.refuse("classes", "must name at least one class")
    found = DataFacts(
        classes=tuple(sorted(classes)),
        subject_jurisdictions=_countries(document, "subject_jurisdictions"),
        origin_jurisdiction=_country(document, "origin_jurisdiction"),
        records=document.integer("records", high=10**15),
        pseudonymised=document.flag("pseudonymised"),
    )
    document.close()
    return found


def _transfer(document: Document) -> Transfer:
    found = Transfer(
        mechanisms=tuple(_mechanism(d) for d in document.documents("mechanisms", items_max=64)),
        importers=tuple(_importer(d) for d in document.documents("importers", items_max=64)),
    )
    document.close()
    return found


def _mechanism(document: Document) -> Mechanism:
    found = Mechanism(
        type=document.text("type", choices=MECHANISMS),
        importer=document.text("importer"),
        countries=_countries(document, "countries"),
        assessment_completed=document.flag("assessment_completed"),
        expires_ns=document.integer("expires_ns", low=1),
    )
    document.close()
    return found


def _importer(document: Document) -> Importer:
    found = Importer(
        entity=document.text("entity"),
        dpf_certified=document.text("dpf_certified", choices=TRISTATE),
        uk_bridge=document.text("uk_bridge", choices=TRISTATE),
        swiss_certified=document.text("swiss_certified", choices=TRISTATE),
    )
    document.close()
    return found


def _technology(document: Document) -> Technology:
    found = Technology(
        controlled=document.text("controlled", choices=TRISTATE),
        itar=document.text("itar", choices=TRISTATE),
        eccns=_control_codes(document, "eccns"),
        eu_codes=_control_codes(document, "eu_codes"),
        licences=tuple(_licence(d) for d in document.documents("licences", items_max=64)),
    )
    free = found.itar == "no" and set(found.eccns) <= {"EAR99"} and not found.eu_codes
    if found.controlled == "no" and not free:
        document.refuse("controlled", "must not be `no` where itar, eccns or eu_codes name a control")
    document.close()
    return found


def _licence(document: Document) -> Licence:
    found = Licence(
        id=document.text("id"),
        authority=document.text("authority", choices=AUTHORITIES),
        codes=_control_codes(document, "codes"),
        countries=_countries(document, "countries"),
        end_users=tuple(sorted(document.texts("end_users", items_max=64))),
        expires_ns=document.integer("expires_ns", low=1),
    )
    document.close()
    return found


def _end_user(document: Document) -> EndUser:
    found = EndUser(
        entity=document.text("entity"),
        country=_country(document, "country"),
        parent_country=_country(document, "parent_country"),
        use=document.text("use", choices=END_USES),
    )
    document.close()
    return found


def _constraints(document: Document) -> Constraints:
    found = Constraints(
        only=_jurisdictions(document, "only"),
        never=_jurisdictions(document, "never"),
        parent_never=_countries(document, "parent_never"),
        isolation_min=document.text("isolation_min", choices={"process", "container", "gvisor", "microvm", "tee"}),
    )
    document.close()
    return found


def _image(document: Document) -> str:
    reference = document.text("image", bytes_max=512)
    if not _IMAGE.fullmatch(reference):
        document.refuse("image", "must be repository@sha256:digest, or a bare sha256: id in development")
    return reference


def _resources(document: Document) -> Resources:
    found = Resources(
        cpu_millis=document.integer("cpu_millis", low=10, high=1_024_000),
        memory_bytes=document.integer("memory_bytes", low=16 * limits.MIB, high=16 * 1024 * limits.GIB),
        work_bytes=document.integer("work_bytes", low=limits.MIB, high=1024 * limits.GIB),
        gpus=document.integer("gpus", high=64),
    )
    document.close()
    return found


def _caps(document: Document) -> Caps:
    found = Caps(
        seconds=document.integer("seconds", low=1, high=limits.manifest_seconds_max),
        price_micro_usd=document.integer("price_micro_usd", high=10**15),
        attempts=document.integer("attempts", low=1, high=limits.attempts_max),
    )
    document.close()
    return found


def _country(document: Document, name: str) -> str:
    code = document.text(name, bytes_max=2)
    if not _COUNTRY.fullmatch(code):
        document.refuse(name, "must be an ISO 3166-1 alpha-2 code")
    return code


def _control_codes(document: Document, name: str) -> tuple[str, ...]:
    codes = document.texts(name, items_max=64, bytes_max=32)
    for i, code in enumerate(codes):
        if not _CONTROL_CODE.fullmatch(code):
            document.refuse(f"{name}[{i}]", "must be a control code such as EAR99, 3A090.a or 5A002")
    return tuple(sorted(codes))


def _countries(document: Document, name: str) -> tuple[str, ...]:
    codes = document.texts(name, items_max=300, bytes_max=2)
    for i, code in enumerate(codes):
        if not _COUNTRY.fullmatch(code):
            document.refuse(f"{name}[{i}]", "must be an ISO 3166-1 alpha-2 code")
    return tuple(sorted(codes))


def _jurisdictions(document: Document, name: str) -> tuple[str, ...]:
    codes = document.texts(name, items_max=300, bytes_max=6)
    for i, code in enumerate(codes):
        check_jurisdiction(code, path=document.path(f"{name}[{i}]"))
    return tuple(sorted(codes))
