"""Sealing: what a cage says is sealed at once, in one sequence, and opens with the client's half alone."""

import asyncio
import secrets
from pathlib import Path

import pytest

from carnet.core import limits
from carnet.core.document import parse
from carnet.core.envelope import ResultOpener, open_log
from carnet.core.errors import EnvelopeMalformed, EnvelopeUnopened
from carnet.core.job import LogMode
from sandbox.sealing import SealedRecord, Sealing
from sandbox.spool import Spool

MD, GRANT = b"m" * 32, b"g" * 32


class Bench:
    def __init__(self, folder: Path, log_mode: LogMode = LogMode.SEALED) -> None:
        self.root = bytearray(secrets.token_bytes(32))
        self.spool = Spool(folder)
        self.records: list[SealedRecord] = []
        self.sealing = Sealing(
            self.root,
            self.spool,
            manifest_digest=MD,
            grant_digest=GRANT,
            log_mode=log_mode,
            emit=self.records.append,
        )

    def log(self, record: SealedRecord, grant: bytes = GRANT) -> bytes:
        return open_log(
            self.root,
            record.ciphertext,
            manifest_digest=MD,
            grant_digest=grant,
            stream=record.stream,
            sequence=record.sequence,
            final=record.final,
        )

    def result(self, object_id: int) -> bytes:
        opener = ResultOpener(
            self.root, manifest_digest=MD, grant_digest=GRANT, object_id=object_id, index=0, last=True
        )
        return opener.update(b"".join(self.spool.read_result(object_id, 0, 0))) + opener.finish()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "spool")


async def test_both_streams_share_one_sequence_that_ends_with_a_final_record(bench: Bench) -> None:
    await bench.sealing.output("stdout", b"out")
    await bench.sealing.output("stderr", b"err")
    await bench.sealing.finish()
    assert [(r.sequence, r.stream, r.final) for r in bench.records] == [(0, 1, False), (1, 2, False), (2, 0, True)]
    assert [bench.log(record) for record in bench.records] == [b"out", b"err", b""]
    assert bench.sealing.log_records == 3


async def test_output_is_flushed_while_the_job_runs(bench: Bench) -> None:
    await bench.sealing.output("stdout", b"early")
    assert bench.records == []
    await asyncio.sleep(limits.log_flush_seconds * 2)
    assert [bench.log(record) for record in bench.records] == [b"early"]
    await bench.sealing.finish()


async def test_a_large_output_is_cut_into_records_of_bounded_size(bench: Bench) -> None:
    data = secrets.token_bytes(3 * limits.log_record_bytes_max + 5)
    await bench.sealing.output("stdout", data)
    await bench.sealing.finish()
    opened = [bench.log(record) for record in bench.records[:-1]]
    assert b"".join(opened) == data
    assert max(map(len, opened)) <= limits.log_record_bytes_max


async def test_no_log_is_kept_where_the_client_wants_none(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "quiet", LogMode.NONE)
    await bench.sealing.output("stdout", b"secret")
    await bench.sealing.finish()
    assert [record.final for record in bench.records] == [True]


async def test_results_are_named_in_a_sealed_index(bench: Bench) -> None:
    await bench.sealing.result_begin("weights.bin", 6)
    for part in (b"abc", b"def"):
        await bench.sealing.result_chunk(part)
    await bench.sealing.result_end()
    await bench.sealing.result_begin("empty", 0)
    await bench.sealing.result_end()
    objects = await bench.sealing.finish()
    assert [(o.id, len(o.segment_digests)) for o in objects] == [(0, 1), (1, 1), (2, 1)]
    assert (bench.result(1), bench.result(2)) == (b"abcdef", b"")
    rows = parse(bench.result(0), bytes_max=10_000).documents("objects", items_max=10)
    assert [row.text("name") for row in rows] == ["weights.bin", "empty"]


async def test_a_result_that_was_begun_and_not_ended_is_dropped(bench: Bench) -> None:
    await bench.sealing.result_begin("half", 10)
    await bench.sealing.result_chunk(b"12345")
    objects = await bench.sealing.finish()
    assert [o.id for o in objects] == [0]
    assert b"half" not in bench.result(0)


async def test_a_result_of_another_size_than_announced_is_refused(bench: Bench) -> None:
    await bench.sealing.result_begin("wrong", 3)
    await bench.sealing.result_chunk(b"12345")
    with pytest.raises(EnvelopeMalformed):
        await bench.sealing.result_end()


async def test_nothing_on_disk_is_plaintext(bench: Bench, tmp_path: Path) -> None:
    canary = b"canary" * 50
    await bench.sealing.result_begin("canary-name", len(canary))
    await bench.sealing.result_chunk(canary)
    await bench.sealing.result_end()
    await bench.sealing.finish()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "spool").iterdir())
    assert b"canary" not in stored
    assert bench.result(1) == canary


async def test_attack_a_record_is_shown_under_another_attempt(bench: Bench) -> None:
    await bench.sealing.output("stdout", b"out")
    await bench.sealing.finish()
    with pytest.raises(EnvelopeUnopened):
        bench.log(bench.records[0], grant=b"h" * 32)
