"""JobFacts: every field is read once, and refused with its path when it is missing, of another kind, or unknown."""

import copy
import hashlib
import json
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.errors import FieldInvalid
from carnet.core.facts import check_jurisdiction, country_of, parse_facts

DIGEST = "sha256:" + "a" * 64
DOCUMENT: dict[str, Any] = {
    "schema": "carnet.facts/v1",
    "purpose": "training",
    "controller": {"entity": "Klinik", "country": "DE", "sectors": ["research", "health"], "public_body": False},
    "data": {
        "classes": ["personal", "health"],
        "subject_jurisdictions": ["DE", "AT"],
        "origin_jurisdiction": "DE",
        "records": 569,
        "pseudonymised": True,
    },
    "transfer": {
        "mechanisms": [
            {
                "type": "SCC",
                "importer": "gpu-us.example",
                "countries": ["US"],
                "assessment_completed": True,
                "expires_ns": 2_000_000_000_000_000_000,
            }
        ],
        "importers": [
            {
                "entity": "gpu-us.example",
                "dpf_certified": "unknown",
                "uk_bridge": "unknown",
                "swiss_certified": "unknown",
            }
        ],
    },
    "technology": {
        "controlled": "yes",
        "itar": "no",
        "eccns": ["5D002", "4E091"],
        "eu_codes": ["5D002"],
        "licences": [
            {
                "id": "D-1",
                "authority": "BIS",
                "codes": ["4E091"],
                "countries": ["FR", "DE"],
                "end_users": ["Klinik"],
                "expires_ns": 2_000_000_000_000_000_000,
            }
        ],
    },
    "end_user": {"entity": "Klinik", "country": "DE", "parent_country": "ZZ", "use": "civil"},
    "constraints": {"only": ["FR", "DE"], "never": ["UA-43"], "parent_never": ["US"], "isolation_min": "container"},
    "image": f"registry.example/train@{DIGEST}",
    "resources": {"cpu_millis": 1000, "memory_bytes": 256 * limits.MIB, "work_bytes": 64 * limits.MIB, "gpus": 0},
    "caps": {"seconds": 600, "price_micro_usd": 1_000_000, "attempts": 3},
}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every field of the document, nested ones too."""
    found: list[tuple[str | int, ...]] = [path] if path and isinstance(path[-1], str) else []
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        found += paths(inner, (*path, name))
    return found


def words(path: tuple[str | int, ...]) -> str:
    """`("data", "classes", 0)` as `data.classes[0]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def changed(path: tuple[str | int, ...], value: Any) -> bytes:
    """The document with one field set."""
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return json.dumps(document).encode()


def refused(data: bytes) -> str:
    """The path that the parser names."""
    with pytest.raises(FieldInvalid) as error:
        parse_facts(data)
    return error.value.metadata["field"]


def test_a_document_is_read_whole_and_its_lists_are_sorted() -> None:
    data = json.dumps(DOCUMENT).encode()
    facts = parse_facts(data)
    assert facts.digest == hashlib.sha256(data).digest()
    assert facts.payload == data
    assert facts.controller.sectors == ("health", "research")
    assert facts.data.classes == ("health", "personal")
    assert facts.data.subject_jurisdictions == ("AT", "DE")
    assert facts.transfer.mechanisms[0].type == "SCC"
    assert facts.transfer.importers[0].dpf_certified == "unknown"
    assert facts.constraints.only == ("DE", "FR")
    assert (facts.resources.cpu_millis, facts.caps.attempts, facts.purpose) == (1000, 3, "training")


@pytest.mark.parametrize("path", paths(DOCUMENT), ids=words)
def test_each_field_is_needed(path: tuple[str | int, ...]) -> None:
    document = copy.deepcopy(DOCUMENT)
    inner: Any = document
    for part in path[:-1]:
        inner = inner[part]
    del inner[path[-1]]
    assert refused(json.dumps(document).encode()) == words(path)


@pytest.mark.parametrize("path", paths(DOCUMENT), ids=words)
@pytest.mark.parametrize("kind", ["null", "other kind"])
def test_each_field_of_another_kind_is_refused_with_its_path(path: tuple[str | int, ...], kind: str) -> None:
    assert refused(changed(path, None if kind == "null" else _other_kind(path))) == words(path)


def _other_kind(path: tuple[str | int, ...]) -> Any:
    inner: Any = DOCUMENT
    for part in path:
        inner = inner[part]
    return "yes" if isinstance(inner, bool | int) else 1


@pytest.mark.parametrize(
    "path",
    [(), ("controller",), ("data",), ("transfer",), ("transfer", "mechanisms", 0), ("transfer", "importers", 0),
     ("technology",), ("technology", "licences", 0), ("end_user",), ("constraints",), ("resources",), ("caps",)],
    ids=lambda path: words(path) or "top",
)  # fmt: skip
def test_an_unknown_field_is_refused_wherever_it_is(path: tuple[str | int, ...]) -> None:
    assert refused(changed((*path, "zz_unknown"), 1)) == words((*path, "zz_unknown"))


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("schema", "carnet.facts/v2", "schema"),
        ("purpose", "espionage", "purpose"),
        ("controller.country", "de", "controller.country"),
        ("controller.country", "DEU", "controller.country"),
        ("controller.country", "DE-BE", "controller.country"),
        ("controller.sectors", ["piracy"], "controller.sectors[0]"),
        ("controller.entity", "", "controller.entity"),
        ("controller.entity", "x" * 257, "controller.entity"),
        ("data.classes", [], "data.classes"),
        ("data.classes", ["health", "health"], "data.classes"),
        ("data.classes", ["health", "gossip"], "data.classes[1]"),
        ("data.subject_jurisdictions", ["DE", "de"], "data.subject_jurisdictions[1]"),
        ("data.subject_jurisdictions", ["DE"] * 301, "data.subject_jurisdictions"),
        ("data.records", -1, "data.records"),
        ("data.records", 10**15 + 1, "data.records"),
        ("transfer.mechanisms.0.type", "GOODWILL", "transfer.mechanisms[0].type"),
        ("transfer.mechanisms.0.countries", ["USA"], "transfer.mechanisms[0].countries[0]"),
        ("transfer.mechanisms.0.expires_ns", 0, "transfer.mechanisms[0].expires_ns"),
        ("transfer.importers.0.dpf_certified", "maybe", "transfer.importers[0].dpf_certified"),
        ("transfer.importers.0.uk_bridge", "maybe", "transfer.importers[0].uk_bridge"),
        ("transfer.importers.0.swiss_certified", "", "transfer.importers[0].swiss_certified"),
        ("technology.controlled", "perhaps", "technology.controlled"),
        ("technology.controlled", "no", "technology.controlled"),
        ("technology.itar", True, "technology.itar"),
        ("technology.eccns", ["EAR98"], "technology.eccns[0]"),
        ("technology.eccns", ["5D002", "5D002"], "technology.eccns"),
        ("technology.eu_codes", ["5D02"], "technology.eu_codes[0]"),
        ("technology.licences.0.authority", "BAFA", "technology.licences[0].authority"),
        ("technology.licences.0.codes", ["all"], "technology.licences[0].codes[0]"),
        ("technology.licences.0.expires_ns", 0, "technology.licences[0].expires_ns"),
        ("end_user.country", "Germany", "end_user.country"),
        ("end_user.parent_country", "", "end_user.parent_country"),
        ("end_user.use", "fun", "end_user.use"),
        ("constraints.only", ["EU-"], "constraints.only[0]"),
        ("constraints.never", ["UA-4333"], "constraints.never[0]"),
        ("constraints.parent_never", ["US-CA"], "constraints.parent_never[0]"),
        ("constraints.isolation_min", "none", "constraints.isolation_min"),
        ("image", "registry.example/train:latest", "image"),
        ("image", f"registry.example/train@{DIGEST.upper()}", "image"),
        ("image", f"{DIGEST}\n", "image"),
        ("resources.cpu_millis", 9, "resources.cpu_millis"),
        ("resources.memory_bytes", 16 * limits.MIB - 1, "resources.memory_bytes"),
        ("resources.work_bytes", 0, "resources.work_bytes"),
        ("resources.gpus", 65, "resources.gpus"),
        ("caps.seconds", 0, "caps.seconds"),
        ("caps.seconds", limits.manifest_seconds_max + 1, "caps.seconds"),
        ("caps.price_micro_usd", -1, "caps.price_micro_usd"),
        ("caps.attempts", 0, "caps.attempts"),
        ("caps.attempts", limits.attempts_max + 1, "caps.attempts"),
    ],
)
def test_a_value_out_of_bounds_is_refused_with_its_path(path: str, value: Any, named: str) -> None:
    parts = tuple(int(part) if part.isdigit() else part for part in path.split("."))
    assert refused(changed(parts, value)) == named


@pytest.mark.parametrize("image", [DIGEST, f"python@{DIGEST}", f"registry.example:5000/a/b@{DIGEST}"])
def test_an_image_is_named_by_its_digest(image: str) -> None:
    assert parse_facts(changed(("image",), image)).image == image


def test_an_error_never_shows_the_value() -> None:
    with pytest.raises(FieldInvalid) as error:
        parse_facts(changed(("purpose",), "a-secret-purpose"))
    assert "a-secret-purpose" not in error.value.text + error.value.detail + str(error.value.metadata)


def test_facts_above_the_bound_are_refused_before_they_are_parsed() -> None:
    assert refused(b" " * (limits.facts_bytes_max + 1)) == "document"


@pytest.mark.parametrize("code", ["FR", "UA-43", "US-CA", "GB-ENG"])
def test_a_jurisdiction_is_a_country_or_a_region(code: str) -> None:
    assert check_jurisdiction(code) == code
    assert country_of(code) == code[:2]


@pytest.mark.parametrize("code", ["", "F", "fr", "FRA", "FR-", "FR-ABCD", "FR\n", "ÄÖ", "F1", "EU-a"])
def test_another_shape_is_no_jurisdiction(code: str) -> None:
    with pytest.raises(FieldInvalid):
        check_jurisdiction(code)


@pytest.mark.parametrize(
    "control",
    [
        {"itar": "yes"},
        {"itar": "unknown"},
        {"eccns": ["3A090.a"]},
        {"eccns": ["EAR99", "5D002"]},
        {"eu_codes": ["5A002"]},
    ],
)
def test_what_names_a_control_is_not_declared_free(control: dict[str, Any]) -> None:
    free = {"controlled": "no", "itar": "no", "eccns": ["EAR99"], "eu_codes": [], "licences": []}
    assert parse_facts(changed(("technology",), free)).technology.controlled == "no", "the control"
    assert refused(changed(("technology",), free | control)) == "technology.controlled"
