"""Manifests and addenda: a value that exists is legal, and contradicts its facts nowhere."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.errors import EnvelopeMalformed, FactsMismatch, FieldInvalid
from carnet.core.facts import JobFacts, Resources, parse_facts
from carnet.core.job import (
    Addendum,
    JobState,
    LogMode,
    Manifest,
    Mode,
    Recipient,
    SealedObject,
    check_facts,
    find_recipient,
)
from carnet.core.runner import Isolation

HOUR = 3600 * 10**9
IMAGE = "registry.example/train@sha256:" + "a" * 64


def facts(**constraints: Any) -> JobFacts:
    document = {
        "schema": "carnet.facts/v1",
        "purpose": "training",
        "controller": {"entity": "Klinik", "country": "DE", "sectors": ["health"], "public_body": False},
        "data": {
            "classes": ["health"],
            "subject_jurisdictions": ["DE"],
            "origin_jurisdiction": "DE",
            "records": 1,
            "pseudonymised": True,
        },
        "transfer": {"mechanisms": [], "importers": []},
        "technology": {"controlled": "no", "itar": "no", "eccns": [], "eu_codes": [], "licences": []},
        "end_user": {"entity": "Klinikum Musterstadt", "country": "DE", "parent_country": "DE", "use": "civil"},
        "constraints": {"only": [], "never": [], "parent_never": [], "isolation_min": "container", **constraints},
        "image": IMAGE,
        "resources": {"cpu_millis": 1000, "memory_bytes": limits.GIB, "work_bytes": limits.GIB, "gpus": 0},
        "caps": {"seconds": 600, "price_micro_usd": 1, "attempts": 2},
    }
    return parse_facts(json.dumps(document).encode())


def recipient(number: int = 1, place: str = "FR") -> Recipient:
    return Recipient(
        spiffe_id=f"spiffe://gpu.example/j/{place}/runner/{number}",
        jurisdiction=place,
        kid=bytes([number]) * 32,
        key_statement_digest=b"s" * 32,
    )


def sealed(number: int = 0, size: int = 10) -> SealedObject:
    return SealedObject(id=number, size=size, segment_digests=(b"d" * 32,))


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "payload": b"manifest",
        "version": 1,
        "suite": 1,
        "job_id": b"j" * 16,
        "tenant_id": b"t" * 16,
        "nonce": b"n" * 16,
        "created_ns": HOUR,
        "not_after_ns": 2 * HOUR,
        "facts_digest": facts().digest,
        "decision_digest": b"d" * 32,
        "image": IMAGE,
        "mode": Mode.FRAMED,
        "command": (),
        "resources": Resources(cpu_millis=1000, memory_bytes=limits.GIB, work_bytes=limits.GIB, gpus=0),
        "seconds_max": 600,
        "isolation_min": Isolation.CONTAINER,
        "template_digest": b"p" * 32,
        "allowed_jurisdictions": ("DE", "FR"),
        "recipients": (recipient(1), recipient(2, "DE")),
        "objects": (sealed(0), sealed(1)),
        "root_commit": b"c" * 32,
        "result_public": b"r" * limits.hybrid_public_bytes,
        "attempts_max": 2,
        "log_mode": LogMode.SEALED,
    }
    return Manifest(**{**values, **changes})


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("another version", {"version": 2}),
    ("another suite", {"suite": 2}),
    ("a short job id", {"job_id": b"j" * 15}),
    ("a long tenant id", {"tenant_id": b"t" * 17}),
    ("an empty nonce", {"nonce": b""}),
    ("a short facts digest", {"facts_digest": b"f" * 31}),
    ("a short decision digest", {"decision_digest": b""}),
    ("a short template digest", {"template_digest": b"t"}),
    ("a long root commitment", {"root_commit": b"c" * 33}),
    ("a short result key", {"result_public": b"r" * (limits.hybrid_public_bytes - 1)}),
    ("no time at all", {"not_after_ns": HOUR}),
    ("an end before the beginning", {"not_after_ns": 0}),
    ("more than a day", {"not_after_ns": HOUR + limits.manifest_seconds_max * 10**9 + 1}),
    ("unsorted places", {"allowed_jurisdictions": ("FR", "DE")}),
    ("a place twice", {"allowed_jurisdictions": ("DE", "FR", "FR")}),
    ("no places but recipients", {"allowed_jurisdictions": ()}),
    ("a recipient elsewhere", {"recipients": (recipient(1, "US"),)}),
    ("a region where its country is listed", {"recipients": (recipient(1, "FR-75"),)}),
    ("a key twice", {"recipients": (recipient(1), recipient(1))}),
    ("too many recipients", {"recipients": tuple(recipient(n) for n in range(limits.recipients_max + 1))}),
    ("no object 0", {"objects": ()}),
    ("a gap between objects", {"objects": (sealed(0), sealed(2))}),
    ("objects out of order", {"objects": (sealed(1), sealed(0))}),
    ("no attempt", {"attempts_max": 0}),
    ("too many attempts", {"attempts_max": limits.attempts_max + 1}),
]


@pytest.mark.parametrize(("what", "changes"), WRONG, ids=[what for what, _ in WRONG])
def test_a_manifest_with_a_fault_does_not_exist(what: str, changes: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeMalformed):
        manifest(**changes)


def test_control_the_manifest_without_the_fault_exists() -> None:
    assert manifest().digest == hashlib.sha256(b"manifest").digest()
    manifest(not_after_ns=HOUR + limits.manifest_seconds_max * 10**9)
    manifest(recipients=(), allowed_jurisdictions=())
    manifest(recipients=tuple(recipient(n) for n in range(limits.recipients_max)))


def test_a_place_that_is_no_place_is_refused() -> None:
    with pytest.raises(FieldInvalid):
        manifest(allowed_jurisdictions=("EUROPE",), recipients=())
    with pytest.raises(FieldInvalid):
        recipient(1, "fr")


@pytest.mark.parametrize("changes", [{"kid": b"k" * 31}, {"key_statement_digest": b""}], ids=lambda c: next(iter(c)))
def test_a_recipients_digests_are_32_bytes(changes: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeMalformed):
        replace(recipient(), **changes)


@pytest.mark.parametrize(
    ("number", "size", "segments"),
    [
        (-1, 0, 1),
        (limits.objects_max, 0, 1),
        (0, -1, 1),
        (0, limits.object_bytes_max + 1, 1),
        (0, 0, 0),
        (0, limits.segment_bytes, 2),
        (0, limits.segment_bytes + 1, 1),
    ],
)
def test_an_objects_segments_fit_its_size(number: int, size: int, segments: int) -> None:
    with pytest.raises(EnvelopeMalformed):
        SealedObject(id=number, size=size, segment_digests=(b"d" * 32,) * segments)


@pytest.mark.parametrize(
    ("size", "segments"), [(0, 1), (1, 1), (limits.segment_bytes, 1), (limits.segment_bytes + 1, 2)]
)
def test_an_empty_object_still_has_a_segment(size: int, segments: int) -> None:
    SealedObject(id=0, size=size, segment_digests=(b"d" * 32,) * segments)
    with pytest.raises(EnvelopeMalformed):
        SealedObject(id=0, size=size, segment_digests=(b"d" * 31,) * segments)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("facts_digest", {"facts_digest": b"x" * 32}),
        ("image", {"image": IMAGE.replace("a" * 64, "b" * 64)}),
        ("resources", {"resources": Resources(cpu_millis=2000, memory_bytes=1, work_bytes=1, gpus=8)}),
        ("seconds", {"seconds_max": 601}),
        ("attempts", {"attempts_max": 3}),
        ("isolation_min", {"isolation_min": Isolation.PROCESS}),
    ],
)
def test_attack_a_manifest_asks_for_more_than_was_judged(field: str, changes: dict[str, Any]) -> None:
    check_facts(manifest(), facts())
    with pytest.raises(FactsMismatch) as error:
        check_facts(manifest(**changes), facts())
    assert error.value.metadata == {"field": field}


def test_attack_a_manifest_allows_a_place_outside_only() -> None:
    narrow = facts(only=["DE"])
    with pytest.raises(FactsMismatch) as error:
        check_facts(manifest(facts_digest=narrow.digest), narrow)
    assert error.value.metadata == {"field": "only"}
    wide = facts(only=["DE", "FR"])
    check_facts(manifest(facts_digest=wide.digest), wide)


def test_a_region_is_inside_an_only_that_names_its_country_and_not_the_reverse() -> None:
    country, region = facts(only=["FR"]), facts(only=["FR-75"])
    in_paris = {"allowed_jurisdictions": ("FR-75",), "recipients": ()}
    check_facts(manifest(facts_digest=country.digest, **in_paris), country)
    with pytest.raises(FactsMismatch):
        check_facts(manifest(facts_digest=region.digest, allowed_jurisdictions=("FR",), recipients=()), region)


def addendum(**changes: Any) -> Addendum:
    values: dict[str, Any] = {
        "payload": b"addendum",
        "manifest_digest": manifest().digest,
        "sequence": 1,
        "previous_digest": b"",
        "decision_digest": b"d" * 32,
        "recipients": (recipient(9),),
    }
    return Addendum(**{**values, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"sequence": 0},
        {"sequence": limits.addenda_max + 1},
        {"recipients": ()},
        {"recipients": (recipient(9), recipient(9))},
        {"recipients": tuple(recipient(n) for n in range(limits.recipients_max + 1))},
    ],
    ids=["sequence 0", "too many addenda", "nobody", "a key twice", "too many"],
)
def test_an_addendum_with_a_fault_does_not_exist(changes: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeMalformed):
        addendum(**changes)


def test_a_recipient_is_found_by_runner_and_key_together() -> None:
    addenda = (addendum(),)
    assert addenda[0].digest == hashlib.sha256(b"addendum").digest()
    for listed in (recipient(1), recipient(9)):
        assert find_recipient(manifest(), addenda, spiffe_id=listed.spiffe_id, kid=listed.kid) == listed
    for spiffe_id, kid in ((recipient(1).spiffe_id, recipient(9).kid), (recipient(3).spiffe_id, recipient(3).kid)):
        with pytest.raises(EnvelopeMalformed):
            find_recipient(manifest(), addenda, spiffe_id=spiffe_id, kid=kid)


def test_five_states_are_the_end() -> None:
    assert {state for state in JobState if state.terminal} == {
        JobState.SUCCEEDED,
        JobState.FAILED,
        JobState.DENIED,
        JobState.CANCELLED,
        JobState.EXPIRED,
    }
