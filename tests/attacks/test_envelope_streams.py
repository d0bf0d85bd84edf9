"""Attacks on sealed segments: the gateway holds all ciphertext, and cuts, swaps, replays and replaces it.

Each attack fails here. Each control takes the one check away in the test and shows that the attack then works.
"""

import hashlib
import os
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from carnet.core import envelope, segment
from carnet.core.envelope import SegmentOpener, SegmentSealer, open_bytes, open_log, seal_bytes, seal_log
from carnet.core.errors import EnvelopeUnopened
from carnet.core.job import SealedObject
from carnet.core.segment import Opener

ROOT = hashlib.sha256(b"root").digest()
MD = hashlib.sha256(b"manifest").digest()
GRANT = hashlib.sha256(b"grant").digest()
JOB, OTHER_JOB = b"j" * 16, b"k" * 16
PLAIN = bytes(i % 251 for i in range(40_000))
HEADER, CHUNK = 56, 16_400


def names(**changes: Any) -> dict[str, Any]:
    return {"job_id": JOB, "object_id": 1, "index": 0, "last": True} | changes


def sealed(data: bytes = PLAIN, **changes: Any) -> bytes:
    sealer = SegmentSealer(ROOT, **names(**changes))
    return sealer.update(data) + sealer.finish()


def opened(ciphertext: bytes, **changes: Any) -> bytes:
    opener = SegmentOpener(ROOT, **names(**changes))
    return opener.update(ciphertext) + opener.finish()


def without_an_end(opener: Opener) -> bytes:
    """What an opener that trusts whatever it has got would do at the end."""
    return b""


@pytest.mark.parametrize("chunks", [0, 1, 2])
def test_a_segment_truncated_at_a_chunk_is_refused(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = sealed()[: HEADER + chunks * CHUNK]
    with pytest.raises(EnvelopeUnopened):
        opened(cut)
    # Control: an opener that never asks for the end takes the beginning of a job for the whole.
    monkeypatch.setattr(Opener, "finish", without_an_end)
    assert opened(cut) == PLAIN[: chunks * 16_384]


def test_an_object_that_lost_its_last_segments_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first = sealed(index=0, last=False)
    with pytest.raises(EnvelopeUnopened):
        opened(first, last=True)
    # Control: without the flag in the context the first of two segments passes for a whole object.
    bound = segment._segment
    monkeypatch.setattr(segment, "_segment", lambda job, obj, index, last: bound(job, obj, index, True))
    assert opened(sealed(index=0, last=False), last=True) == PLAIN


@pytest.mark.parametrize(
    ("change", "loose"),
    [
        ({"index": 1}, lambda bound: lambda job, obj, index, last: bound(job, obj, 0, last)),
        ({"object_id": 2}, None),
        ({"job_id": OTHER_JOB}, None),
    ],
    ids=["swapped segments", "segment of another object", "segment of another job"],
)
def test_a_segment_in_another_place_is_refused(
    change: dict[str, Any], loose: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvelopeUnopened):
        opened(sealed(), **change)
    # Control: with one key and one context for all of them, each would open in the place of the other.
    if loose is not None:
        monkeypatch.setattr(segment, "_segment", loose(segment._segment))
    else:
        monkeypatch.setattr(segment, "_segment", lambda *_: b"")
        monkeypatch.setattr(segment, "_object_key", lambda *_: bytearray(32))
    assert opened(sealed(), **change) == PLAIN


def test_chunks_swapped_doubled_or_dropped_inside_a_segment_are_refused() -> None:
    whole = sealed()
    head, rest = whole[:HEADER], whole[HEADER:]
    a, b, c = rest[:CHUNK], rest[CHUNK : 2 * CHUNK], rest[2 * CHUNK :]
    for pieces in ((b, a, c), (a, a, b, c), (a, a, c), (a, c), (b, c), (c,), (a, b, b), (a, b, c, c)):
        with pytest.raises(EnvelopeUnopened):
            opened(head + b"".join(pieces))
    # Control: the same pieces in their own order open.
    assert opened(head + a + b + c) == PLAIN


def test_plaintext_where_an_envelope_is_expected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # CVE-2024-22193 in vantage6: a server took input that was never encrypted.
    told = SealedObject(id=1, size=len(PLAIN), segment_digests=(hashlib.sha256(PLAIN).digest(),))
    with pytest.raises(EnvelopeUnopened):
        open_bytes(ROOT, job_id=JOB, sealed=told, segments=[PLAIN])
    with pytest.raises(EnvelopeUnopened):
        opened(PLAIN)
    # Control: an opener that hands on what it can not decrypt would run it.
    monkeypatch.setattr(Opener, "update", lambda self, data: bytes(data))
    monkeypatch.setattr(Opener, "finish", without_an_end)
    assert opened(PLAIN) == PLAIN


def test_ciphertext_other_than_the_signed_one_is_refused_though_it_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    # A recipient that colludes with the gateway has the root, and seals an object of its own under it.
    told, _ = seal_bytes(ROOT, job_id=JOB, object_id=1, data=b"the client's script")
    forged, segments = seal_bytes(ROOT, job_id=JOB, object_id=1, data=b"another's script...")
    assert forged.size == told.size
    with pytest.raises(EnvelopeUnopened):
        open_bytes(ROOT, job_id=JOB, sealed=told, segments=segments)
    # Control: a reader whose hash tells no two segments apart runs it.
    one_for_all = SimpleNamespace(sha256=lambda _: SimpleNamespace(digest=lambda: told.segment_digests[0]))
    monkeypatch.setattr(envelope, "hashlib", one_for_all)
    assert open_bytes(ROOT, job_id=JOB, sealed=told, segments=segments) == b"another's script..."


def test_plaintext_in_a_buffer_after_a_failure_there_is_none() -> None:
    secret = os.urandom(16_384)
    ciphertext = bytearray(sealed(secret))
    ciphertext[HEADER + CHUNK - 1] ^= 1
    given = bytearray(ciphertext)
    opener = SegmentOpener(ROOT, **names())
    with pytest.raises(EnvelopeUnopened) as caught:
        opener.update(given)
    assert given == ciphertext
    traces = [
        value for frame in frames(caught.value) for value in frame.values() if isinstance(value, bytes | bytearray)
    ]
    assert given in traces
    assert not any(secret[i : i + 64] in bytes(trace) for trace in traces for i in range(0, len(secret), 64))
    # Control: the same message through the library's `update_into` leaves what was never verified in the buffer.
    key = bytes(segment._object_key(ROOT, JOB, 1))
    left = bytearray(2 * CHUNK)
    with pytest.raises(InvalidTag):
        Cobblestone256Decryptor(key, segment._segment(JOB, 1, 0, True)).update_into(bytes(ciphertext), left)
    assert secret[:1000] in bytes(left)


def frames(error: BaseException) -> list[dict[str, Any]]:
    """The local values of Carnet's own frames that the error carries."""
    found, trace = [], error.__traceback__
    while trace is not None:
        if "carnet" in trace.tb_frame.f_globals.get("__name__", ""):
            found.append(dict(trace.tb_frame.f_locals))
        trace = trace.tb_next
    return found


def log_names(**changes: Any) -> dict[str, Any]:
    place = {"manifest_digest": MD, "grant_digest": GRANT, "stream": 1, "sequence": 0, "final": False}
    return place | changes


def test_log_records_moved_doubled_or_passed_for_the_last_are_refused() -> None:
    records = [seal_log(ROOT, b"line %d" % i, **log_names(sequence=i)) for i in range(3)]
    for at, other in ((0, 1), (1, 0), (2, 1), (1, 2)):
        with pytest.raises(EnvelopeUnopened):
            open_log(ROOT, records[other], **log_names(sequence=at))
    with pytest.raises(EnvelopeUnopened):
        open_log(ROOT, records[2], **log_names(stream=0, sequence=2, final=True))
    # Control: each opens in its own place.
    assert [open_log(ROOT, r, **log_names(sequence=i)) for i, r in enumerate(records)] == [
        b"line 0",
        b"line 1",
        b"line 2",
    ]


def test_a_log_of_another_attempt_is_refused() -> None:
    record = seal_log(ROOT, b"accuracy 0.99", **log_names())
    with pytest.raises(EnvelopeUnopened):
        open_log(ROOT, record, **log_names(grant_digest=MD))
    # Control: under the grant of its own attempt it opens.
    assert open_log(ROOT, record, **log_names()) == b"accuracy 0.99"
