"""Receipts at their very bounds, and how they say what is wrong."""

from dataclasses import replace

import pytest

from carnet.core import limits
from carnet.core.errors import StatementInvalid
from carnet.core.receipt import ExitClass, ResultObject, check_start
from tests.unit.core.test_receipt import RECEIPT, START, check


def result(*, number: int = 0, size: int = 1, digests: tuple[bytes, ...] = (b"d" * 32,)) -> ResultObject:
    return ResultObject(id=number, size=size, segment_digests=digests)


@pytest.mark.parametrize(("number", "size"), [(0, 0), (limits.result_objects_max, limits.result_bytes_max)])
def test_a_result_may_be_empty_and_as_large_as_its_bound(number: int, size: int) -> None:
    assert result(number=number, size=size).size == size


@pytest.mark.parametrize(
    ("number", "size"), [(-1, 1), (limits.result_objects_max + 1, 1), (0, -1), (0, limits.result_bytes_max + 1)]
)
def test_a_result_out_of_bounds_is_none(number: int, size: int) -> None:
    with pytest.raises(StatementInvalid):
        result(number=number, size=size)


def test_every_segment_of_a_result_has_a_whole_digest() -> None:
    for digests in ((), (b"d" * 31,), (b"d" * 32, b"d" * 31), (b"d" * 33, b"d" * 32)):
        with pytest.raises(StatementInvalid):
            result(digests=digests)


def test_an_attempt_may_end_when_it_started_and_not_before() -> None:
    check(replace(RECEIPT, ended_ns=RECEIPT.started_ns))
    with pytest.raises(StatementInvalid, match="before it started"):
        check(replace(RECEIPT, ended_ns=RECEIPT.started_ns - 1))


def test_what_differs_is_named_with_the_statement_that_it_is_in() -> None:
    with pytest.raises(StatementInvalid, match=r"The receipt's image is another\."):
        check(replace(RECEIPT, image="other"))
    with pytest.raises(StatementInvalid, match=r"The Start's runner is another\."):
        check_start(START, manifest_digest=START.manifest_digest, grant_digest=START.grant_digest, spiffe_id="other")


def test_the_words_for_an_end_are_those_that_tools_and_refusals_know() -> None:
    words = "succeeded job_failed timeout oom output_limit cancelled lease_lost infra_lost"
    assert [member.value for member in ExitClass] == words.split()
