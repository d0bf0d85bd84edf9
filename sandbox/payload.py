"""Payload: fetched as ciphertext, opened with the wrap, fed to the cage as a stream.

- Every byte that arrives is held against the segments that the client signed; a cut stream goes on where it broke, for
  as long as the attempt has time. A store that is busy, and bytes that are no message, are cuts too.
- The root that comes out of the wrap is compared with the commitment in the manifest before anything is opened.
- Segments are opened while they are fed: no plaintext on disk, bounded memory at any size.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Final

from carnet.core import limits
from carnet.core.document import parse
from carnet.core.envelope import unwrap_root, unwrap_root_addendum
from carnet.core.errors import LeaseLost, PayloadDigestMismatch
from carnet.core.job import Manifest, Mode
from carnet.core.root import check_root
from carnet.core.segment import SegmentOpener
from carnet.patience import AGAIN
from carnet.rpc import AnswerMalformed
from sandbox import frames
from sandbox.epoch import EpochKeys
from sandbox.link import Link
from sandbox.offer import AcceptedOffer, Self
from sandbox.spool import SegmentFile, Spool, segments_of

arguments_max: Final = 4096
pause_seconds: Final = 1.0


async def fetch(
    link: Link, spool: Spool, manifest: Manifest, *, grant_digest: bytes, stopped: Callable[[], bool]
) -> None:
    """Bring the payload onto the disk, as ciphertext. Raises `PayloadDigestMismatch`, or what the gateway says."""
    for object_id, segment, digest, size in segments_of(manifest):
        file = await asyncio.to_thread(spool.begin, object_id, segment)
        try:
            while file.size < size:
                await _fetch_some(link, file, (object_id, segment), size, grant_digest=grant_digest, stopped=stopped)
            await asyncio.to_thread(file.finish, digest)
        finally:
            file.close()


async def _fetch_some(
    link: Link,
    file: SegmentFile,
    at: tuple[int, int],
    size: int,
    *,
    grant_digest: bytes,
    stopped: Callable[[], bool],
) -> None:
    before = file.size
    payload = link.payload(grant_digest, object_id=at[0], segment=at[1], offset=file.size)
    try:
        async with contextlib.aclosing(payload) as chunks:
            async for place, data in chunks:
                if place != (*at, file.size):
                    raise PayloadDigestMismatch("The gateway sent another part of the payload than was asked for.")
                if file.size + len(data) > size:
                    raise PayloadDigestMismatch("A payload segment is longer than the client signed.")
                if stopped():
                    raise LeaseLost
                await asyncio.to_thread(file.add, data)
    except (*AGAIN, AnswerMalformed):
        if stopped():
            raise
        await asyncio.sleep(pause_seconds)
        return
    if file.size == before:
        raise PayloadDigestMismatch("A payload segment is shorter than the client signed.")


def unwrap(offer: AcceptedOffer, keys: EpochKeys, runner: Self) -> bytearray:
    """The job's root. Raises `EnvelopeUnopened`, or `RecipientKeyExpired` where the key is gone."""
    manifest = offer.manifest
    private = keys.private(offer.grant.kid)
    if offer.addendum_digest is None:
        root = unwrap_root(
            private,
            offer.wrap,
            manifest_digest=manifest.digest,
            spiffe_id=runner.spiffe_id,
            jurisdiction=runner.jurisdiction,
            kid=offer.grant.kid,
        )
    else:
        root = unwrap_root_addendum(
            private,
            offer.wrap,
            manifest_digest=manifest.digest,
            addendum_digest=offer.addendum_digest,
            spiffe_id=runner.spiffe_id,
            jurisdiction=runner.jurisdiction,
            kid=offer.grant.kid,
        )
    check_root(root, manifest)
    return root


async def stdin(manifest: Manifest, spool: Spool, root: bytearray) -> AsyncIterator[bytes]:
    """What goes into the cage: the launcher's frames, or in mode raw the one file as it is."""
    if manifest.mode is Mode.RAW:
        async for data in _opened(manifest, spool, root, 1):
            yield data
        return
    yield index_frame(b"".join([data async for data in _opened(manifest, spool, root, 0)]))
    for item in manifest.objects[1:]:
        async for data in _opened(manifest, spool, root, item.id):
            for frame in frames.chunk(item.id, data):
                yield frame
    yield frames.END


def index_frame(plain: bytes) -> bytes:
    """The launcher's first frame from the sealed index. Raises `FieldInvalid` where it is not one."""
    document = parse(plain, bytes_max=limits.index_bytes_max)
    environment = document.document("environment")
    files = [
        frames.File(
            id=row.integer("id", low=1, high=limits.objects_max),
            name=row.text("name", bytes_max=limits.name_bytes_max),
            size=row.integer("size", high=limits.object_bytes_max),
        )
        for row in document.documents("files", items_max=limits.objects_max)
    ]
    return frames.index(
        argv=document.strings("argv", items_max=arguments_max, bytes_max=limits.index_bytes_max),
        environment={name: environment.text(name, bytes_max=limits.index_bytes_max) for name in environment.names()},
        files=files,
    )


async def _opened(manifest: Manifest, spool: Spool, root: bytearray, object_id: int) -> AsyncIterator[bytes]:
    count = len(manifest.objects[object_id].segment_digests)
    for segment in range(count):
        opener = SegmentOpener(
            root, job_id=manifest.job_id, object_id=object_id, index=segment, last=segment == count - 1
        )
        pieces = spool.read(object_id, segment)
        while (ciphertext := await asyncio.to_thread(next, pieces, b"")) != b"":
            if data := await asyncio.to_thread(opener.update, ciphertext):
                yield data
        if data := opener.finish():
            yield data
