"""Manifests, addenda and objects at their very bounds, and the words that are stored and sent."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from carnet.core import limits
from carnet.core.errors import EnvelopeMalformed, FactsMismatch
from carnet.core.job import Addendum, JobState, LogMode, Mode, SealedObject, check_facts
from carnet.core.receipt import ExitClass
from carnet.v1 import jobs_pb2, statements_pb2
from tests.unit.core.test_job import facts, manifest, recipient, sealed

HOUR = 3600 * 10**9


def words(names: Iterable[str], prefix: str) -> set[str]:
    return {name.removeprefix(prefix).lower() for name in names} - {"unspecified"}


def test_every_word_is_the_protocols_name_in_lower_case() -> None:
    assert set(JobState) == words(jobs_pb2.Job.State.keys(), "STATE_")
    assert set(Mode) == words(statements_pb2.Mode.keys(), "MODE_")
    assert set(LogMode) == words(statements_pb2.LogMode.keys(), "LOG_MODE_")
    assert set(ExitClass) == words(statements_pb2.ExitClass.keys(), "EXIT_CLASS_")


def test_an_object_may_be_as_large_as_its_bound_and_every_segment_has_a_whole_digest() -> None:
    segments = limits.object_bytes_max // limits.segment_bytes
    largest = SealedObject(id=1023, size=limits.object_bytes_max, segment_digests=(b"d" * 32,) * segments)
    with pytest.raises(EnvelopeMalformed):
        replace(largest, size=limits.object_bytes_max + 1, segment_digests=(b"d" * 32,) * (segments + 1))
    two = SealedObject(id=0, size=limits.segment_bytes + 1, segment_digests=(b"d" * 32,) * 2)
    with pytest.raises(EnvelopeMalformed):
        replace(two, segment_digests=(b"d" * 32, b"d" * 31))


def test_a_job_has_sixteen_addenda_at_most() -> None:
    last = Addendum(
        payload=b"",
        manifest_digest=b"m" * 32,
        sequence=limits.addenda_max,
        previous_digest=b"p" * 32,
        decision_digest=b"d" * 32,
        recipients=(recipient(),),
    )
    assert last.sequence == 16
    with pytest.raises(EnvelopeMalformed):
        replace(last, sequence=17)


@pytest.mark.parametrize(
    ("only", "allowed"),
    [(["FR-75"], ("FR-75",)), (["FR"], ("FR-75",)), (["FR", "DE"], ("DE", "FR"))],
)
def test_a_manifest_may_allow_what_the_facts_name_or_a_region_of_it(only: list[str], allowed: tuple[str, ...]) -> None:
    permitted = facts(only=only)
    check_facts(manifest(facts_digest=permitted.digest, allowed_jurisdictions=allowed, recipients=()), permitted)


@pytest.mark.parametrize(
    ("never", "allowed"),
    [
        (["FR"], ("FR",)),
        (["FR"], ("FR-75",)),
        (["FR-75"], ("FR-75",)),
        (["FR"], ("DE", "FR")),
        (["FR", "US"], ("DE", "FR-75")),
    ],
)
def test_attack_a_manifest_allows_a_place_that_the_facts_exclude(never: list[str], allowed: tuple[str, ...]) -> None:
    excluding = facts(never=never)
    with pytest.raises(FactsMismatch) as error:
        check_facts(manifest(facts_digest=excluding.digest, allowed_jurisdictions=allowed, recipients=()), excluding)
    assert error.value.metadata == {"field": "never"}
    check_facts(manifest(facts_digest=excluding.digest, allowed_jurisdictions=("DE",), recipients=()), excluding)


def test_a_manifest_may_be_valid_for_as_little_as_a_nanosecond() -> None:
    assert manifest(not_after_ns=HOUR + 1).not_after_ns - manifest().created_ns == 1


def test_a_manifest_has_one_to_1024_objects() -> None:
    assert len(manifest(objects=(sealed(0),)).objects) == 1
    every = tuple(sealed(i) for i in range(limits.objects_max))
    assert len(manifest(objects=every).objects) == 1024


def test_a_manifest_has_one_to_eight_attempts() -> None:
    for attempts in (1, 8):
        assert manifest(attempts_max=attempts).attempts_max == attempts
