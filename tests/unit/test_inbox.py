"""What comes home: logs in their order, results under signed digests, from a listed runner."""

from pathlib import Path
from typing import Any

import pytest

from carnet import proof
from carnet.core.envelope import result_key
from carnet.core.errors import CarnetError, EnvelopeUnopened, StatementInvalid
from carnet.inbox import Attempt, ResultFile, ResultReader, _publish
from carnet.v1 import jobs_pb2
from tests.fixtures.malicious_gateway import Held, fetched, receipt_file, watched
from tests.fixtures.parties import Cage, Parties


def attempt(parties: Parties, held: Held, **changes: Any) -> Attempt:
    started = next(item.started for item in watched(held) if item.HasField("started"))
    for name, value in changes.items():
        setattr(started, name, value)
    key = result_key(parties.tenant.master, held.job.manifest.job_id)
    return Attempt.open_started(started, held.job.manifest, key, pins=parties.pins, now_ns=parties.clock())


def records(held: Held) -> list[jobs_pb2.LogRecord]:
    return [item.log for item in watched(held) if item.HasField("log")]


def chunks(parties: Parties, held: Held) -> list[jobs_pb2.FetchResultResponse.Chunk]:
    return [part.chunk for part in fetched(parties, held) if part.HasField("chunk")]


def reader(parties: Parties, held: Held, directory: Path | None = None) -> ResultReader:
    verified = proof.verify(receipt_file(parties, held), pins=parties.pins)
    return ResultReader(verified, result_key(parties.tenant.master, held.job.manifest.job_id), directory)


def read(found: ResultReader, parts: list[jobs_pb2.FetchResultResponse.Chunk]) -> tuple[ResultFile, ...]:
    for part in parts:
        found.take(part)
    return found.finish()


def test_a_log_opens_in_its_order(parties: Parties, recorded: tuple[Held, ...]) -> None:
    opened = attempt(parties, recorded[0])
    lines = [opened.open(record) for record in records(recorded[0])]
    assert b"".join(line.data for line in lines if line is not None) == Cage().output
    assert lines[-1] is None, "the final record has no output"


def test_attack_a_log_with_a_gap_a_repeat_or_more_after_its_end(parties: Parties, recorded: tuple[Held, ...]) -> None:
    found = records(recorded[0])
    assert len(found) >= 2
    for wrong in (found[1:], [found[0], found[0]], [*found, found[-1]]):
        opened = attempt(parties, recorded[0])
        with pytest.raises(StatementInvalid):
            [opened.open(record) for record in wrong]


def test_attack_a_record_of_another_job(parties: Parties, recorded: tuple[Held, ...]) -> None:
    with pytest.raises(EnvelopeUnopened):
        attempt(parties, recorded[0]).open(records(recorded[1])[0])


def test_attack_an_attempt_by_another_number_or_chain(parties: Parties, recorded: tuple[Held, ...]) -> None:
    with pytest.raises(CarnetError):
        attempt(parties, recorded[0], attempt=2)
    started = next(item.started for item in watched(recorded[0]) if item.HasField("started"))
    del started.chain[:]
    started.chain.extend(parties.runners["DE"].presented.chain)
    key = result_key(parties.tenant.master, recorded[0].job.manifest.job_id)
    with pytest.raises(CarnetError):
        Attempt.open_started(started, recorded[0].job.manifest, key, pins=parties.pins, now_ns=parties.clock())


def test_results_come_home_by_name_into_memory_or_a_folder(
    parties: Parties, recorded: tuple[Held, ...], tmp_path: Path
) -> None:
    (result,) = read(reader(parties, recorded[0]), chunks(parties, recorded[0]))
    assert (result.name, result.data) == ("answer.txt", Cage().result)
    (filed,) = read(reader(parties, recorded[0], tmp_path), chunks(parties, recorded[0]))
    assert filed.path == tmp_path / "answer.txt"
    assert (tmp_path / "answer.txt").read_bytes() == Cage().result
    assert [path.name for path in tmp_path.iterdir()] == ["answer.txt"]


def test_attack_results_that_are_missing_doubled_or_out_of_order(parties: Parties, recorded: tuple[Held, ...]) -> None:
    parts = chunks(parties, recorded[0])
    for wrong in ([], parts[:-1], parts[1:], [*parts, parts[-1]], list(reversed(parts))):
        with pytest.raises(StatementInvalid):
            read(reader(parties, recorded[0]), wrong)


def test_attack_a_result_of_another_job_or_with_one_bit_changed(parties: Parties, recorded: tuple[Held, ...]) -> None:
    with pytest.raises(CarnetError):
        read(reader(parties, recorded[0]), chunks(parties, recorded[1]))
    parts = chunks(parties, recorded[0])
    parts[-1].data = parts[-1].data[:-1] + bytes([parts[-1].data[-1] ^ 1])
    with pytest.raises(StatementInvalid):
        read(reader(parties, recorded[0]), parts)


def test_a_result_never_overwrites_a_file(parties: Parties, recorded: tuple[Held, ...], tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_bytes(b"mine")
    with pytest.raises(StatementInvalid):
        read(reader(parties, recorded[0], tmp_path), chunks(parties, recorded[0]))
    assert (tmp_path / "answer.txt").read_bytes() == b"mine"


def test_attack_a_result_whose_folder_is_another_results_file(tmp_path: Path) -> None:
    first, second = tmp_path / ".result-1", tmp_path / ".result-2"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert _publish(first, "a").read_bytes() == b"one"
    with pytest.raises(StatementInvalid, match="can not be a file here"):
        _publish(second, "a/b")
    # Control: under a name of its own it is put in place.
    assert _publish(second, "b/a").read_bytes() == b"two"
