"""A sealed job's two frames, header and trailer, beside its segments: kept until the gateway has the job.

- `keep` makes the folder whole and durable before anything is sent: after a crash or a long outage another process
  sends the very same bytes. Sealing again would make another job.
- `load` takes nothing on faith: the decision is the pinned gateway's, the manifest a key's of the own tenant, the
  decision and the facts those that the manifest names, and there is a file for every segment.
- The request id follows from the job id: however often a job is sent, it is one submission.

    await asyncio.to_thread(keep, sealed)
    sealed = load(folder, pins=context.pins, tenant_id=context.tenant_id, now_ns=now_ns)
"""

import os
import uuid
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from carnet.authorship import open_written
from carnet.core.errors import FieldInvalid
from carnet.core.facts import parse_facts
from carnet.outbox import SealedJob
from carnet.pins import Pins
from carnet.v1 import jobs_pb2 as pb
from carnet.verdict import open_decision
from carnet.wire import signed_from_proto, signed_to_proto

_HEADER: Final = "header"
_TRAILER: Final = "trailer"
_frame_bytes_max: Final = 4 * 1024 * 1024


def header_of(sealed: SealedJob) -> pb.SubmitJobRequest.Header:
    """The frame before the segments."""
    return pb.SubmitJobRequest.Header(
        job_id=sealed.manifest.job_id,
        facts=sealed.facts.payload,
        decision=signed_to_proto(sealed.decided.signed),
        body=sealed.decided.body.payload,
        request_id=str(uuid.UUID(bytes=sealed.manifest.job_id, version=4)),
    )


def trailer_of(sealed: SealedJob) -> pb.SubmitJobRequest.Trailer:
    """The frame after the segments."""
    return pb.SubmitJobRequest.Trailer(
        manifest=signed_to_proto(sealed.signed),
        tenant_key_set=signed_to_proto(sealed.key_set),
        wraps=sealed.wraps,
        self_wrap=sealed.self_wrap,
    )


def keep(sealed: SealedJob) -> None:
    """Write both frames, and sync every file of the folder. Blocks; a second time changes nothing."""
    folder = sealed.directory
    if (folder / _TRAILER).exists():
        return
    (folder / _HEADER).write_bytes(header_of(sealed).SerializeToString())
    unfinished = folder / f"{_TRAILER}.part"
    unfinished.write_bytes(trailer_of(sealed).SerializeToString())
    for path in folder.iterdir():
        _sync(path)
    unfinished.rename(folder / _TRAILER)
    _sync(folder)
    _sync(folder.parent)


def load(folder: Path, *, pins: Pins, tenant_id: bytes, now_ns: int) -> SealedJob:
    """A job that `keep` wrote. Raises `FieldInvalid` where there is none, or the `PeerError` of what is wrong."""
    header, trailer = pb.SubmitJobRequest.Header(), pb.SubmitJobRequest.Trailer()
    for name, frame in ((_HEADER, header), (_TRAILER, trailer)):
        try:
            frame.ParseFromString(_read(folder / name))
        except (OSError, DecodeError) as error:
            raise FieldInvalid(f"{folder} does not hold a sealed job.", metadata={"field": name}) from error
    signed, key_set = signed_from_proto(trailer.manifest), signed_from_proto(trailer.tenant_key_set)
    written = open_written(key_set, signed, tenants=(pins.tenant(tenant_id),), now_ns=now_ns)
    sealed = SealedJob(
        directory=folder,
        facts=parse_facts(header.facts),
        decided=open_decision(pb.Decision(record=header.decision, body=header.body), pins=pins.gateway),
        manifest=written.manifest,
        signed=signed,
        key_set=key_set,
        wraps=tuple(trailer.wraps),
        self_wrap=trailer.self_wrap,
    )
    _check(sealed)
    return sealed


def _check(sealed: SealedJob) -> None:
    named = (sealed.manifest.facts_digest, sealed.manifest.decision_digest)
    if named != (sealed.facts.digest, sealed.decided.record.digest):
        raise FieldInvalid("The facts or the decision are not those of the manifest.", metadata={"field": _HEADER})
    if not all(path.is_file() for _, _, path in sealed.segments()):
        raise FieldInvalid("A segment of the job is missing.", metadata={"field": "segments"})


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_frame_bytes_max + 1)
    if len(data) > _frame_bytes_max:
        raise FieldInvalid(f"{path} is too large.", metadata={"field": path.name})
    return data


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
