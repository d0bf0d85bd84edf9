"""Segments and log records: sizes, slices, digests, and what an opener lets go of."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from carnet.core import limits
from carnet.core.envelope import (
    ResultOpener,
    ResultSealer,
    SegmentOpener,
    SegmentSealer,
    ciphertext_size,
    open_log,
    seal_log,
    segment_sizes,
)
from carnet.core.errors import Bug, EnvelopeMalformed, EnvelopeUnopened
from carnet.core.segment import Opener, Sealer

ROOT = bytes(range(32))
MD = hashlib.sha256(b"manifest").digest()
GRANT = hashlib.sha256(b"grant").digest()
JOB = bytes(16)
PLAIN = bytes(i % 251 for i in range(100_000))


def sealer(*, index: int = 0, last: bool = True) -> SegmentSealer:
    return SegmentSealer(ROOT, job_id=JOB, object_id=1, index=index, last=last)


def opener(*, root: bytes = ROOT, index: int = 0, last: bool = True) -> SegmentOpener:
    return SegmentOpener(root, job_id=JOB, object_id=1, index=index, last=last)


def slices(data: bytes, size: int) -> Iterator[memoryview]:
    view = memoryview(data)
    return (view[i : i + size] for i in range(0, len(data), size))


def seal(data: bytes, *, size: int = 2**20) -> bytes:
    one = sealer()
    return b"".join(map(one.update, slices(data, size))) + one.finish()


@pytest.mark.parametrize("size", [1, 16_384, 33_333, 2**20])
def test_slices_of_any_size_give_the_same_plaintext(size: int) -> None:
    data = PLAIN if size > 1 else PLAIN[:20_000]
    ciphertext = seal(data, size=size)
    for other in (1 if size == 1 else 999, 16_400, 2**20):
        one = opener()
        plain = b"".join(map(one.update, slices(ciphertext, other))) + one.finish()
        assert plain == data


def test_the_digest_is_of_all_ciphertext_and_only_there_at_the_end() -> None:
    one = sealer()
    ciphertext = one.update(PLAIN)
    with pytest.raises(Bug):
        _ = one.digest
    ciphertext += one.finish()
    assert one.digest == hashlib.sha256(ciphertext).digest()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 32_768, 40_000, 49_152])
def test_the_size_of_ciphertext_is_known_before(size: int) -> None:
    assert len(seal(PLAIN[:size])) == ciphertext_size(size)


def test_the_sizes_of_segments_add_up_to_the_object() -> None:
    full = limits.segment_bytes
    assert list(segment_sizes(0)) == [0]
    assert list(segment_sizes(1)) == [1]
    assert list(segment_sizes(full)) == [full]
    assert list(segment_sizes(full + 1)) == [full, 1]
    assert list(segment_sizes(3 * full)) == [full] * 3
    assert next(segment_sizes(limits.object_bytes_max)) == full


def test_a_segment_never_grows_beyond_its_bound() -> None:
    key, context = bytearray(32), b"context"
    small = Sealer(bytearray(key), context, bytes_max=10)
    small.update(bytes(10))
    with pytest.raises(EnvelopeMalformed):
        small.update(b"x")
    large = Sealer(bytearray(key), context)
    ciphertext = large.update(bytes(20_000)) + large.finish()
    with pytest.raises(EnvelopeUnopened):
        Opener(bytearray(key), context, bytes_max=10).update(ciphertext)


def test_the_key_is_wiped_once_the_cipher_has_it() -> None:
    for kind in (Sealer, Opener):
        key = bytearray(b"k" * 32)
        kind(key, b"context")
        assert key == bytes(32)


def test_the_same_plaintext_never_gives_the_same_ciphertext() -> None:
    heads = {seal(b"same")[:24] for _ in range(1000)}
    assert len(heads) == 1000


def test_after_its_first_failure_an_opener_gives_nothing_more() -> None:
    ciphertext = seal(PLAIN)
    broken = opener()
    with pytest.raises(EnvelopeUnopened):
        broken.update(ciphertext[:60] + b"\0" + ciphertext[61:])
    for ask in (lambda: broken.update(ciphertext), broken.finish):
        with pytest.raises(EnvelopeUnopened):
            ask()


def test_after_its_end_an_opener_gives_nothing_more() -> None:
    done = opener()
    done.update(seal(PLAIN))
    done.finish()
    for ask in (lambda: done.update(b"x"), done.finish):
        with pytest.raises(EnvelopeUnopened):
            ask()


def result_names(**changes: Any) -> dict[str, Any]:
    return {"manifest_digest": MD, "grant_digest": GRANT, "object_id": 0, "index": 0, "last": True} | changes


def test_a_result_opens_under_its_own_attempt_only() -> None:
    one = ResultSealer(ROOT, **result_names())
    ciphertext = one.update(PLAIN) + one.finish()
    assert one.digest == hashlib.sha256(ciphertext).digest()
    right = ResultOpener(ROOT, **result_names())
    assert right.update(ciphertext) + right.finish() == PLAIN
    changes: list[dict[str, Any]] = [
        {"manifest_digest": GRANT}, {"grant_digest": MD}, {"object_id": 1}, {"index": 1}, {"last": False},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(EnvelopeUnopened):
            ResultOpener(ROOT, **result_names(**change)).update(ciphertext)
    with pytest.raises(EnvelopeUnopened):
        opener().update(ciphertext)


def log_names(**changes: Any) -> dict[str, Any]:
    names: dict[str, Any] = {"manifest_digest": MD, "grant_digest": GRANT, "stream": 1, "sequence": 7, "final": False}
    return names | changes


def test_a_log_record_opens_in_its_own_place_only() -> None:
    record = seal_log(ROOT, b"epoch 1\n", **log_names())
    assert open_log(ROOT, record, **log_names()) == b"epoch 1\n"
    changes: list[dict[str, Any]] = [
        {"manifest_digest": GRANT}, {"grant_digest": MD}, {"stream": 2}, {"sequence": 6}, {"sequence": 8},
        {"stream": 0, "final": True}, {"final": True}, {"stream": 0}, {"stream": 3}, {"sequence": -1},
        {"sequence": 2**64},
    ]  # fmt: skip
    for change in changes:
        with pytest.raises(EnvelopeUnopened):
            open_log(ROOT, record, **log_names(**change))
    for data in (b"", b"epoch 1\n", record[:-1], record + b"\0", record + record):
        with pytest.raises(EnvelopeUnopened):
            open_log(ROOT, data, **log_names())


def test_the_final_record_is_stream_0_and_may_be_empty() -> None:
    last = log_names(stream=0, sequence=2**64 - 1, final=True)
    assert open_log(ROOT, seal_log(ROOT, b"", **last), **last) == b""


def test_a_log_record_holds_64_kib_and_no_more() -> None:
    full = bytes(limits.log_record_bytes_max)
    assert open_log(ROOT, seal_log(ROOT, full, **log_names()), **log_names()) == full
    with pytest.raises(EnvelopeMalformed):
        seal_log(ROOT, full + b"x", **log_names())


def test_a_log_record_without_a_place_is_a_bug() -> None:
    for stream, final in itertools.product((0, 1, 2, 3), (False, True)):
        if final != (stream == 0) or stream == 3:
            with pytest.raises(Bug):
                seal_log(ROOT, b"", **log_names(stream=stream, final=final))
    with pytest.raises(Bug):
        seal_log(ROOT, b"", **log_names(sequence=2**64))
