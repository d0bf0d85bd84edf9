"""Facts from the command line: what a person declares with options, as a `carnet.facts/v1` document.

- Nothing is guessed in the job's favour: data about people needs its subjects and its number of records named.
- What has a default is shown by `--print-facts`; what options can not say (transfer bases, licences) goes into a
  facts file.
- The document is held against the same rules as a file before it is sent.

    facts = build_facts(declaration, image="sha256:...", controller="hospital.example")
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Final

from cyclopts import Group, Parameter

from carnet.cli.places import places, words
from carnet.core import limits
from carnet.core.document import Json
from carnet.core.errors import FieldInvalid
from carnet.core.facts import SCHEMA, parse_facts

# Data that is about nobody. Public data may be about people, so it is not here.
ABOUT_NOBODY: Final = frozenset({"non_personal", "synthetic", "technical"})
UNITS: Final = {"": 1, "KIB": limits.KIB, "MIB": limits.MIB, "GIB": limits.GIB, "KB": 10**3, "MB": 10**6, "GB": 10**9}

_SIZE: Final = re.compile(r"([0-9]{1,15})\s*([A-Za-z]*)")
_FACTS: Final = Group("What the job is about", sort_key=1)
_SIZES: Final = Group("What the job gets", sort_key=2)


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What `carnet run` and `carnet job prepare` take in place of a facts file."""

    data_class: Annotated[
        tuple[str, ...],
        Parameter(name="--data-class", group=_FACTS, help="What the data is: health, personal, technical, ... (often)"),
    ] = ()
    origin: Annotated[str, Parameter(group=_FACTS, help="The country that the data comes from.")] = ""
    subjects: Annotated[
        tuple[str, ...], Parameter(group=_FACTS, help="Where the people live whom the data is about.")
    ] = ()
    records: Annotated[int | None, Parameter(group=_FACTS, help="About how many people or records.")] = None
    pseudonymised: Annotated[bool, Parameter(group=_FACTS, help="Names were replaced by codes.")] = False
    purpose: Annotated[str, Parameter(group=_FACTS, help="training, inference, analytics, ...")] = "other"
    controller: Annotated[str, Parameter(group=_FACTS, help="Who decides about the data; else the tenant.")] = ""
    controller_country: Annotated[str, Parameter(group=_FACTS, help="Its country; else the origin.")] = ""
    sector: Annotated[tuple[str, ...], Parameter(group=_FACTS, help="health, bank, public, ... (often)")] = ()
    public_body: Annotated[bool, Parameter(group=_FACTS, help="The controller is a public body.")] = False
    controlled: Annotated[
        str,
        Parameter(group=_FACTS, help="Software or technology under export control is in it: yes, no, unknown."),
    ] = ""
    itar: Annotated[str, Parameter(group=_FACTS, help="Of the US Munitions List: yes, no; else as --controlled.")] = ""
    eccn: Annotated[tuple[str, ...], Parameter(group=_FACTS, help="US control numbers: EAR99, 3A090, ... (often)")] = ()
    eu_code: Annotated[tuple[str, ...], Parameter(group=_FACTS, help="EU dual-use codes: 5A002, ... (often)")] = ()
    end_user: Annotated[str, Parameter(group=_FACTS, help="Who uses the results; else the controller.")] = ""
    end_user_country: Annotated[str, Parameter(group=_FACTS, help="Its country; else the controller's.")] = ""
    end_user_parent: Annotated[str, Parameter(group=_FACTS, help="Where its ultimate parent sits; ZZ: unknown.")] = "ZZ"
    end_use: Annotated[str, Parameter(group=_FACTS, help="civil, military, wmd, surveillance, unknown.")] = "unknown"
    only: Annotated[tuple[str, ...], Parameter(group=_FACTS, help="Run in these places only: DE, EEA, EU, ...")] = ()
    never: Annotated[tuple[str, ...], Parameter(group=_FACTS, help="Never run in these places.")] = ()
    parent_never: Annotated[
        tuple[str, ...], Parameter(group=_FACTS, help="Never on a runner whose operator's parent is in these.")
    ] = ()
    isolation: Annotated[str, Parameter(group=_FACTS, help="The least: container, gvisor, microvm, tee.")] = "container"
    cpu: Annotated[str, Parameter(group=_SIZES, help="Processors, such as 1.5.")] = "1"
    memory: Annotated[str, Parameter(group=_SIZES, help="Memory, such as 512MiB.")] = "512MiB"
    work: Annotated[str, Parameter(group=_SIZES, help="Space for files, such as 64MiB.")] = "64MiB"
    gpus: Annotated[int, Parameter(group=_SIZES)] = 0
    seconds: Annotated[int, Parameter(group=_SIZES, help="The longest that one attempt may run.")] = 600
    price_max: Annotated[str, Parameter(group=_SIZES, help="The most that one attempt may cost, in USD.")] = "1"
    attempts: Annotated[int, Parameter(group=_SIZES, help="On how many runners it may be tried.")] = 2


def build_facts(declared: Declaration, *, image: str, controller: str) -> bytes:
    """The facts document, checked. `controller` stands where none was declared. Raises `FieldInvalid`."""
    classes = words(declared.data_class)
    _check_declared(declared, classes)
    entity, country = declared.controller or controller, declared.controller_country or declared.origin
    document: dict[str, Json] = {
        "schema": SCHEMA,
        "purpose": declared.purpose,
        "controller": {
            "entity": entity,
            "country": country,
            "sectors": _texts(words(declared.sector)),
            "public_body": declared.public_body,
        },
        "data": {
            "classes": _texts(classes),
            "subject_jurisdictions": _texts(places(declared.subjects)),
            "origin_jurisdiction": declared.origin,
            "records": declared.records or 0,
            "pseudonymised": declared.pseudonymised,
        },
        "transfer": {"mechanisms": [], "importers": []},
        "technology": {
            "controlled": declared.controlled,
            "itar": declared.itar or ("no" if declared.controlled == "no" else "unknown"),
            "eccns": _texts(words(declared.eccn)),
            "eu_codes": _texts(words(declared.eu_code)),
            "licences": [],
        },
        "end_user": {
            "entity": declared.end_user or entity,
            "country": declared.end_user_country or country,
            "parent_country": declared.end_user_parent,
            "use": declared.end_use,
        },
        "constraints": {
            "only": _texts(places(declared.only)),
            "never": _texts(places(declared.never)),
            "parent_never": _texts(places(declared.parent_never)),
            "isolation_min": declared.isolation,
        },
        "image": image,
        "resources": _resources(declared),
        "caps": {
            "seconds": declared.seconds,
            "price_micro_usd": scaled(declared.price_max, 10**6, option="--price-max"),
            "attempts": declared.attempts,
        },
    }
    facts = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    parse_facts(facts)
    return facts


def scaled(text: str, scale: int, *, option: str) -> int:
    """A decimal number in whole parts of 1/scale, exactly. Raises `FieldInvalid`."""
    try:
        value = Decimal(text) * scale
    except ArithmeticError:
        value = Decimal("NaN")
    if not value.is_finite() or not 0 <= value < 2**63 or value != value.to_integral_value():
        raise FieldInvalid(f"{option} must be a number such as 1.5.", metadata={"field": option})
    return int(value)


def size(text: str, *, option: str) -> int:
    """A size in bytes, from `512MiB`. Raises `FieldInvalid`."""
    found = _SIZE.fullmatch(text.strip())
    unit = UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None:
        raise FieldInvalid(f"{option} must be a size such as 512MiB or 2GiB.", metadata={"field": option})
    return int(found[1]) * unit


def _check_declared(declared: Declaration, classes: tuple[str, ...]) -> None:
    if not classes:
        raise FieldInvalid("Say what the data is with --data-class, or give --facts.", metadata={"field": "data_class"})
    if not declared.origin:
        raise FieldInvalid("Say where the data comes from with --origin.", metadata={"field": "origin"})
    if not declared.controlled:
        raise FieldInvalid(
            "Say with --controlled yes, no or unknown whether software or technology under export control is in it.",
            metadata={"field": "controlled"},
        )
    if set(classes) <= ABOUT_NOBODY:
        return
    if not words(declared.subjects):
        raise FieldInvalid("Data about people needs --subjects: where they live.", metadata={"field": "subjects"})
    if declared.records is None:
        raise FieldInvalid("Data about people needs --records: how many.", metadata={"field": "records"})


def _resources(declared: Declaration) -> dict[str, Json]:
    return {
        "cpu_millis": scaled(declared.cpu, 1000, option="--cpu"),
        "memory_bytes": size(declared.memory, option="--memory"),
        "work_bytes": size(declared.work, option="--work"),
        "gpus": declared.gpus,
    }


def _texts(values: tuple[str, ...]) -> list[Json]:
    return list(values)
