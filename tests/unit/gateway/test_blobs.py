"""Ciphertext on disk: whole or not at all, resumable, bounded, and under no name that a caller chooses."""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from carnet.core import limits
from carnet.core.errors import (
    EnvelopeMalformed,
    LeaseLost,
    NotFound,
    PayloadDigestMismatch,
    QuotaExceeded,
    StoreUnavailable,
)
from carnet.core.job import SealedObject
from gateway.storage import blobs as storage
from gateway.storage import segments
from gateway.storage.blobs import BlobStore, Payload, Result
from gateway.storage.records import JobKey
from gateway.storage.segments import Position, Segment

KEY = JobKey(tenant_id=b"\1" * 16, job_id=b"\2" * 16)
PAYLOAD = Payload(key=KEY, manifest_digest=b"\3" * 32)
RESULT = Result(key=KEY, attempt=1)


@pytest.fixture
async def blobs(tmp_path: Path) -> AsyncIterator[BlobStore]:
    found = BlobStore(tmp_path / "blobs")
    yield found
    found.close()


def objects(*contents: Sequence[bytes]) -> list[SealedObject]:
    return [
        SealedObject(
            id=i,
            size=(len(parts) - 1) * limits.segment_bytes + 1,
            segment_digests=tuple(hashlib.sha256(part).digest() for part in parts),
        )
        for i, parts in enumerate(contents)
    ]


async def put(blobs: BlobStore, payload: Payload, *contents: Sequence[bytes], chunk: int = 300_000) -> None:
    async with blobs.upload() as upload:
        for object_id, parts in enumerate(contents):
            for segment, part in enumerate(parts):
                for start in range(0, len(part), chunk):
                    await upload.write(part[start : start + chunk], object_id=object_id, segment=segment)
        await upload.publish(payload, objects(*contents))


async def send(
    blobs: BlobStore,
    parts: Sequence[tuple[int, int, bytes]],
    signed: Sequence[SealedObject],
    *,
    bytes_max: int = limits.payload_bytes_max,
) -> None:
    async with blobs.upload(bytes_max=bytes_max) as upload:
        for object_id, segment, data in parts:
            await upload.write(data, object_id=object_id, segment=segment)
        await upload.publish(PAYLOAD, signed)


async def get(blobs: BlobStore, blob: Payload | Result, at: Position) -> bytes:
    chunks = [chunk async for chunk in blobs.read(blob, at)]
    assert all(0 < len(chunk) <= limits.chunk_bytes for chunk in chunks)
    return b"".join(chunks)


async def test_a_payload_reads_back_from_any_offset(blobs: BlobStore) -> None:
    index, first, second = b"i" * 99, secrets.token_bytes(3_000_001), secrets.token_bytes(70_000)
    await put(blobs, PAYLOAD, [index], [first, second])
    assert await get(blobs, PAYLOAD, Position()) == index
    assert await get(blobs, PAYLOAD, Position(object_id=1)) == first
    assert await get(blobs, PAYLOAD, Position(object_id=1, offset=2_000_000)) == first[2_000_000:]
    assert await get(blobs, PAYLOAD, Position(object_id=1, segment=1, offset=70_000)) == b""
    assert await blobs.sizes(PAYLOAD) == ((0, 0, 99), (1, 0, 3_000_001), (1, 1, 70_000))
    with pytest.raises(NotFound):
        await get(blobs, PAYLOAD, Position(object_id=2))


async def test_only_its_owner_can_read_what_is_stored(blobs: BlobStore, tmp_path: Path) -> None:
    await put(blobs, PAYLOAD, [b"x"])
    modes = {path: path.stat().st_mode & 0o777 for path in (tmp_path / "blobs").rglob("*")}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


async def test_an_upload_that_breaks_off_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    async def break_off() -> None:
        async with blobs.upload() as upload:
            await upload.write(bytes(2 * limits.MIB), object_id=0, segment=0)
            assert list((tmp_path / "blobs/uploads").iterdir())
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await break_off()
    assert list((tmp_path / "blobs/uploads").iterdir()) == []
    assert await blobs.sizes(PAYLOAD) == ()


async def test_an_upload_whose_caller_is_cancelled_leaves_nothing(blobs: BlobStore, tmp_path: Path) -> None:
    async def upload() -> None:
        async with blobs.upload() as found:
            for segment in range(1000):
                await found.write(bytes(limits.MIB), object_id=0, segment=segment)

    for delay in (0.0, 0.002, 0.01, 0.03):
        task = asyncio.ensure_future(upload())
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.05)
        assert list((tmp_path / "blobs/uploads").iterdir()) == []


@pytest.mark.parametrize(
    "signed",
    [
        objects([b"one"], [b"twO"]),
        objects([b"one"]),
        objects([b"one"], [b"two"], [b"three"]),
        objects([b"two"], [b"one"]),
        objects([b"one", b"two"]),
    ],
)
async def test_a_payload_that_is_not_the_signed_one_is_refused(
    blobs: BlobStore, tmp_path: Path, signed: list[SealedObject]
) -> None:
    with pytest.raises(PayloadDigestMismatch):
        await send(blobs, [(0, 0, b"one"), (1, 0, b"two")], signed)
    assert list((tmp_path / "blobs/uploads").iterdir()) == []
    assert await blobs.sizes(PAYLOAD) == ()


@pytest.mark.parametrize("places", [[(0, 1)], [(1, 0)], [(0, 0), (0, 2)], [(0, 0), (1, 1)], [(0, 0), (2, 0)]])
async def test_segments_out_of_order_are_refused(blobs: BlobStore, places: list[tuple[int, int]]) -> None:
    with pytest.raises(EnvelopeMalformed):
        await send(blobs, [(object_id, segment, b"data") for object_id, segment in places], [])


async def test_a_segment_and_a_payload_have_a_bound(blobs: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QuotaExceeded):
        await send(blobs, [(0, 0, bytes(10))], objects([bytes(10)]), bytes_max=9)
    monkeypatch.setattr(segments, "segment_sealed_bytes_max", 9)
    with pytest.raises(EnvelopeMalformed):
        await put(blobs, PAYLOAD, [bytes(10)])


async def test_the_same_payload_twice_stays_and_another_has_its_own_place(blobs: BlobStore, tmp_path: Path) -> None:
    other = Payload(key=KEY, manifest_digest=b"\4" * 32)
    await asyncio.gather(*(put(blobs, PAYLOAD, [b"same"]) for _ in range(8)), put(blobs, other, [b"other"]))
    assert await get(blobs, PAYLOAD, Position()) == b"same"
    await blobs.delete(other)
    await blobs.delete(other)
    assert await get(blobs, PAYLOAD, Position()) == b"same"
    assert list((tmp_path / "blobs/uploads").iterdir()) == []


async def test_results_resume_where_they_are_and_keep_their_digests(tmp_path: Path) -> None:
    first = BlobStore(tmp_path / "blobs")
    upload = await first.results(RESULT)
    await upload.write(Position(), b"index")
    await upload.write(Position(object_id=1), b"abc")
    assert await upload.sync() == Position(object_id=1, offset=3)
    first.close()

    again = BlobStore(tmp_path / "blobs")
    upload = await again.results(RESULT)
    assert upload.written == Position(object_id=1, offset=3)
    await upload.write(Position(), b"index")
    await upload.write(Position(object_id=1, offset=1), b"bcdef")
    with pytest.raises(EnvelopeMalformed):
        await upload.write(Position(object_id=1, offset=9), b"gap")
    await upload.write(Position(object_id=1, segment=1), b"tail")
    expected = tuple(
        Segment(object_id=o, index=i, size=len(data), digest=hashlib.sha256(data).digest())
        for o, i, data in ((0, 0, b"index"), (1, 0, b"abcdef"), (1, 1, b"tail"))
    )
    assert await upload.finish() == expected
    assert await upload.finish() == expected
    assert await get(again, RESULT, Position(object_id=1)) == b"abcdef"
    await upload.close()
    again.close()


async def test_what_was_found_after_a_restart_is_synced_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process died after it wrote and before it synced: the bytes are in the files, and maybe nowhere else."""
    first = BlobStore(tmp_path / "blobs")
    upload = await first.results(RESULT)
    await upload.write(Position(), b"index")
    await upload.write(Position(object_id=1), b"abc")
    first.close()
    synced, fsync = list[int](), os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    again = BlobStore(tmp_path / "blobs")
    upload = await again.results(RESULT)
    files = {path.stat().st_ino for path in (tmp_path / "blobs" / RESULT.path).iterdir()}
    assert len(files) == 2
    assert files <= set(synced)
    await upload.close()
    again.close()


async def test_a_newer_stream_takes_the_results_over(blobs: BlobStore) -> None:
    old = await blobs.results(RESULT)
    await old.write(Position(), b"abc")
    new = await blobs.results(RESULT)
    with pytest.raises(LeaseLost):
        await old.write(Position(offset=3), b"???")
    await old.close()
    await new.write(Position(offset=3), b"def")
    assert await get(blobs, RESULT, Position()) == b"abcdef"
    await new.close()
    other = await blobs.results(Result(key=KEY, attempt=2), bytes_max=3)
    with pytest.raises(QuotaExceeded):
        await other.write(Position(), b"abcd")


async def test_a_payload_is_published_though_the_folder_of_its_job_goes_meanwhile(
    blobs: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, gone = storage.make_folder, 0

    def made_and_gone(path: Path) -> None:
        nonlocal gone
        honest(path)
        if gone < 2 and path.name == KEY.job_id.hex():
            gone += 1
            path.rmdir()

    monkeypatch.setattr(storage, "make_folder", made_and_gone)
    await put(blobs, PAYLOAD, [b"kept"])
    assert gone == 2
    assert await get(blobs, PAYLOAD, Position()) == b"kept"


async def test_a_sweep_removes_what_no_job_has(blobs: BlobStore, tmp_path: Path) -> None:
    orphan = Payload(key=KEY, manifest_digest=b"\4" * 32)
    stranger = Result(key=JobKey(tenant_id=KEY.tenant_id, job_id=b"\5" * 16), attempt=1)
    await put(blobs, PAYLOAD, [b"kept"])
    await put(blobs, orphan, [b"orphan"])
    for result in (RESULT, stranger):
        upload = await blobs.results(result)
        await upload.write(Position(), b"result")
        await upload.close()
    (tmp_path / "blobs/uploads/cut-off").mkdir()
    (tmp_path / "blobs/uploads/cut-off/0000-00000000").write_bytes(b"half")
    assert await blobs.sweep({(KEY, PAYLOAD.manifest_digest)}) == 3
    assert await get(blobs, PAYLOAD, Position()) == b"kept"
    assert await get(blobs, RESULT, Position()) == b"result"
    assert await blobs.sizes(orphan) == await blobs.sizes(stranger) == ()
    assert list((tmp_path / "blobs/uploads").iterdir()) == []


async def test_a_disk_that_refuses_is_unavailable(tmp_path: Path) -> None:
    blobs = BlobStore(tmp_path / "blobs")
    (tmp_path / "blobs/uploads").rmdir()
    (tmp_path / "blobs/uploads").write_bytes(b"not a folder")
    with pytest.raises(StoreUnavailable):
        await send(blobs, [(0, 0, bytes(2 * limits.MIB))], [])
    blobs.close()
