"""What comes home: log records and results, opened only from a runner that the client itself listed.

- An attempt's Start is taken from a runner whose chain leads to a pinned operator, that is among the recipients,
  under a grant of the pinned gateway; it must be signed by that runner's leaf.
- Log records carry one sequence over both streams; a gap, a repeat or a record after the final one is an error.
- A result is opened only after its receipt was verified; each segment is held against the digest that was signed.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from carnet import statements
from carnet.core import limits
from carnet.core.credential import judge_chain
from carnet.core.document import parse
from carnet.core.envelope import ResultOpener, open_log, unwrap_result_root
from carnet.core.errors import EnvelopeUnopened, FieldInvalid, StatementInvalid
from carnet.core.hybrid import HybridPrivateKey
from carnet.core.job import Addendum, Manifest, find_recipient
from carnet.core.lease import Grant
from carnet.core.receipt import Receipt, ResultObject, check_start
from carnet.pins import Pins
from carnet.proof import VerifiedReceipt
from carnet.v1 import jobs_pb2
from carnet.verdict import open_gateway
from carnet.wire import signed_from_proto

STREAMS: Final = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A piece of the job's output, as it was written: not necessarily a whole line."""

    attempt: int
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """One result: its name as the job gave it, its size in bytes, and its bytes or where they were put."""

    name: str
    size: int
    data: bytes
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """How far the log of an attempt was read, and whether its final record came. Attempt 0: there was none."""

    attempt: int
    records: int
    complete: bool

    def check(self, receipt: Receipt) -> None:
        """Raise `StatementInvalid` unless what was read is the whole log that the receipt names."""
        if (self.attempt, self.records, self.complete) != (receipt.attempt, receipt.log_records, True):
            raise StatementInvalid("The log that came is not the whole log that the receipt names.")


class Attempt:
    """Opens the log records of one attempt, in order."""

    def __init__(self, root: bytes | bytearray, *, number: int, manifest_digest: bytes, grant_digest: bytes) -> None:
        self._root = root
        self._number = number
        self._manifest_digest = manifest_digest
        self._grant_digest = grant_digest
        self._next = 0
        self._ended = False

    @property
    def number(self) -> int:
        """Which attempt of the job this is, from 1."""
        return self._number

    @property
    def end(self) -> LogEnd:
        """How far the log was read."""
        return LogEnd(attempt=self._number, records=self._next, complete=self._ended)

    @classmethod
    def open_started(
        cls,
        started: jobs_pb2.AttemptStarted,
        manifest: Manifest,
        key: HybridPrivateKey,
        *,
        pins: Pins,
        addenda: tuple[Addendum, ...] = (),
        now_ns: int,
    ) -> "Attempt":
        """Judge who began the attempt, and open its result root. Raises a `PeerError` naming what was wrong."""
        runner = judge_chain(tuple(started.chain), pins.operators, now_ns=now_ns)
        grant = open_gateway(statements.GRANT, signed_from_proto(started.grant), pins=pins.gateway)
        start = statements.START.open(signed_from_proto(started.start), runner.key)
        name = str(runner.id)
        _check_grant(grant, manifest, spiffe_id=name, attempt=started.attempt)
        find_recipient(manifest, addenda, spiffe_id=name, kid=grant.kid)
        check_start(start, manifest_digest=manifest.digest, grant_digest=grant.digest, spiffe_id=name)
        root = unwrap_result_root(
            key,
            start.result_wrap,
            manifest_digest=manifest.digest,
            grant_digest=grant.digest,
            spiffe_id=name,
        )
        return cls(root, number=grant.attempt, manifest_digest=manifest.digest, grant_digest=grant.digest)

    def open(self, record: jobs_pb2.LogRecord) -> LogLine | None:
        """The output in a record, or None for the final one and for another attempt's."""
        if record.attempt != self._number:
            return None
        if self._ended or record.sequence != self._next:
            raise StatementInvalid("The log has a gap, a repeat, or goes on after its end.")
        data = open_log(
            self._root,
            record.ciphertext,
            manifest_digest=self._manifest_digest,
            grant_digest=self._grant_digest,
            stream=record.stream,
            sequence=record.sequence,
            final=record.final,
        )
        self._next += 1
        self._ended = record.final
        if record.final:
            return None
        return LogLine(attempt=self._number, stream=STREAMS[record.stream], data=data)


def _check_grant(grant: Grant, manifest: Manifest, *, spiffe_id: str, attempt: int) -> None:
    if (grant.manifest_digest, grant.spiffe_id, grant.attempt) != (manifest.digest, spiffe_id, attempt):
        raise StatementInvalid("The grant is of another job, runner or attempt.")


class ResultReader:
    """Takes result chunks in order, checks each segment against the signed digest, and opens it. Blocks."""

    def __init__(self, verified: VerifiedReceipt, key: HybridPrivateKey, directory: Path | None) -> None:
        self.verified = verified
        self._directory = directory
        self._root = unwrap_result_root(
            key,
            verified.start.result_wrap,
            manifest_digest=verified.manifest.digest,
            grant_digest=verified.grant.digest,
            spiffe_id=verified.start.spiffe_id,
        )
        self._place = (0, 0)
        self._segment = bytearray()
        self._plain: dict[int, bytes | Path] = {}
        self._out: BinaryIO | None = None

    @property
    def position(self) -> tuple[int, int, int]:
        """Object, segment and offset of the next byte that is wanted."""
        return (*self._place, len(self._segment))

    def take(self, chunk: jobs_pb2.FetchResultResponse.Chunk) -> None:
        """One chunk of ciphertext."""
        place = (chunk.object, chunk.segment)
        if place != self._place:
            self._close_segment()
            if place != self._place:
                raise StatementInvalid("Result segments came out of order.")
        _check_offset(chunk, len(self._segment))
        if len(self._segment) + len(chunk.data) > limits.segment_bytes + limits.MIB:
            raise StatementInvalid("A result segment is too large.")
        self._segment += chunk.data

    def finish(self) -> tuple[ResultFile, ...]:
        """The results by name, once every segment was opened. Raises `StatementInvalid` where one is missing."""
        objects = self.verified.receipt.results
        if objects and self._place != (len(objects), 0):
            self._close_segment()
        _check_whole(self._place, self._segment, objects)
        return tuple(self._named(*row) for row in self._index()) if objects else ()

    def _close_segment(self) -> None:
        objects = self.verified.receipt.results
        object_id, index = self._place
        if object_id >= len(objects):
            raise StatementInvalid("There are more results than the receipt names.")
        item = objects[object_id]
        _check_digest(self._segment, item.segment_digests[index])
        self._open(item, index)
        self._segment.clear()
        last = index == len(item.segment_digests) - 1
        self._place = (object_id + 1, 0) if last else (object_id, index + 1)

    def _open(self, item: ResultObject, index: int) -> None:
        last = index == len(item.segment_digests) - 1
        opener = ResultOpener(
            self._root,
            manifest_digest=self.verified.manifest.digest,
            grant_digest=self.verified.grant.digest,
            object_id=item.id,
            index=index,
            last=last,
        )
        plain = opener.update(bytes(self._segment)) + opener.finish()
        before = self._plain.get(item.id, b"")
        if self._directory is None or item.id == 0:
            assert isinstance(before, bytes)
            self._plain[item.id] = before + plain
        else:
            self._plain[item.id] = self._append(item.id, index, plain)

    def _append(self, object_id: int, index: int, plain: bytes) -> Path:
        assert self._directory is not None
        path = self._directory / f".result-{object_id}"
        if index == 0:  # a fetch that broke may have left its part of this result
            path.unlink(missing_ok=True)
        with path.open("ab" if index else "xb") as out:
            out.write(plain)
        return path

    def _index(self) -> tuple[tuple[int, str, int], ...]:
        data = self._plain.get(0)
        if not isinstance(data, bytes):
            raise EnvelopeUnopened
        try:
            document = parse(data, bytes_max=limits.index_bytes_max * 4)
            rows = tuple(
                (row.integer("id"), row.text("name", bytes_max=limits.name_bytes_max), row.integer("size"))
                for row in document.documents("objects", items_max=limits.result_objects_max)
            )
        except FieldInvalid as error:
            raise StatementInvalid("The index of results is not one.", metadata=error.metadata) from error
        if [row[0] for row in rows] != list(range(1, len(self.verified.receipt.results))):
            raise StatementInvalid("The index of results does not name the results.")
        return rows

    def _named(self, object_id: int, name: str, size: int) -> ResultFile:
        found = self._plain[object_id]
        if isinstance(found, bytes):
            return ResultFile(name=name, size=size, data=found, path=None)
        return ResultFile(name=name, size=size, data=b"", path=_publish(found, name))


def _check_offset(chunk: jobs_pb2.FetchResultResponse.Chunk, wanted: int) -> None:
    if chunk.offset != wanted:
        raise StatementInvalid("Result chunks came out of order.")


def _check_digest(segment: bytearray, digest: bytes) -> None:
    if hashlib.sha256(segment).digest() != digest:
        raise StatementInvalid("A result segment differs from the digest that the runner signed.")


def _check_whole(place: tuple[int, int], left: bytearray, objects: tuple[ResultObject, ...]) -> None:
    if place != (len(objects), 0):
        raise StatementInvalid("Results are missing.")
    if left:
        raise StatementInvalid("There are more results than the receipt names.")


def _publish(path: Path, name: str) -> Path:
    # The name is the job's word: only a plain file name in this very folder is taken.
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\\" in name:
        raise StatementInvalid("A result has a name that can not be a file here.")
    target = path.parent.joinpath(*parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() or target.is_symlink():
            raise StatementInvalid("A result would overwrite a file.", metadata={"name": name})
        return path.rename(target)
    except (FileExistsError, NotADirectoryError) as error:
        raise StatementInvalid("A result has a name that can not be a file here.") from error
