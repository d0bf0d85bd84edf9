"""How an attempt's end is classed, what its output may cost, and what its meter says."""

import pytest

from carnet.core.errors import Bug, QuotaExceeded
from carnet.core.job import Mode
from carnet.core.receipt import ExitClass
from sandbox.cage import Caps
from sandbox.meter import Meter
from sandbox.outcome import Stop, classify
from sandbox.outputs import collector
from tests.fixtures.cage import Record

CAPS = Caps(log_bytes_max=1000, result_bytes_max=1000, result_objects_max=2)


@pytest.mark.parametrize(
    ("cause", "code", "oom_killed", "complete", "expected"),
    [
        (None, 0, False, True, ExitClass.SUCCEEDED),
        (None, 0, False, False, ExitClass.INFRA_LOST),
        (None, 0, True, True, ExitClass.OOM),
        (None, 137, True, False, ExitClass.OOM),
        (None, 137, False, False, ExitClass.JOB_FAILED),
        (None, 1, False, True, ExitClass.JOB_FAILED),
        (None, None, False, False, ExitClass.INFRA_LOST),
        (ExitClass.TIMEOUT, 137, False, False, ExitClass.TIMEOUT),
        (ExitClass.TIMEOUT, 137, True, False, ExitClass.TIMEOUT),
        (ExitClass.TIMEOUT, None, False, False, ExitClass.INFRA_LOST),
        (ExitClass.LEASE_LOST, None, False, False, ExitClass.LEASE_LOST),
        (ExitClass.CANCELLED, 0, False, True, ExitClass.CANCELLED),
        (ExitClass.OUTPUT_LIMIT, 137, True, False, ExitClass.OUTPUT_LIMIT),
    ],
)
def test_an_end_is_classed_by_what_the_host_knows(
    cause: ExitClass | None, code: int | None, oom_killed: bool, complete: bool, expected: ExitClass
) -> None:
    assert classify(cause=cause, code=code, oom_killed=oom_killed, complete=complete) is expected


async def test_the_first_cause_of_a_stop_wins() -> None:
    stop = Stop()
    stop.set(ExitClass.LEASE_LOST)
    stop.set(ExitClass.CANCELLED)
    assert await stop.wait() is stop.cause is ExitClass.LEASE_LOST
    with pytest.raises(Bug):
        stop.set(ExitClass.SUCCEEDED)


async def test_log_is_capped_and_small_pieces_cost_as_much_as_larger_ones() -> None:
    record = Record()
    output = collector(Mode.RAW, record, CAPS)
    for _ in range(15):
        await output.feed("stderr", b"x")
    with pytest.raises(QuotaExceeded):
        await output.feed("stderr", b"x")
    assert record.log["stderr"] == b"x" * 15


async def test_raw_output_is_one_result_which_is_capped_and_only_whole_at_the_end() -> None:
    record = Record()
    output = collector(Mode.RAW, record, CAPS)
    await output.feed("stdout", b"x" * 600)
    await output.feed("stdout", b"y" * 400)
    assert (record.results, record.ended) == ({"stdout": b"x" * 600 + b"y" * 400}, [])
    with pytest.raises(QuotaExceeded):
        await output.feed("stdout", b"z")
    assert await output.finish()
    assert record.ended == ["stdout"]


async def test_a_raw_job_that_writes_nothing_has_an_empty_result() -> None:
    record = Record()
    assert await collector(Mode.RAW, record, CAPS).finish()
    assert (record.results, record.ended) == ({"stdout": b""}, ["stdout"])


async def test_framed_output_that_has_no_exit_is_not_complete() -> None:
    output = collector(Mode.FRAMED, Record(), CAPS)
    await output.feed("stdout", b"\x11\0\0\0\1x")
    assert not await output.finish()
    await output.feed("stdout", b'\x16\0\0\0\x0a{"code":0}')
    assert await output.finish()


def test_the_meter_takes_the_engines_times_and_the_last_sample() -> None:
    meter = Meter(gpus=2)
    meter.sample(
        {"cpu_stats": {"cpu_usage": {"total_usage": 5_000_000}}, "memory_stats": {"usage": 10, "max_usage": 30}}
    )
    meter.sample(
        {"cpu_stats": {"cpu_usage": {"total_usage": 9_000_000}}, "memory_stats": {"usage": 20, "max_usage": 30}}
    )
    meter.sample({"cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}})
    state = {"StartedAt": "2026-11-22T10:00:00.123456789Z", "FinishedAt": "2026-11-22T10:00:01.62345678Z"}
    reading = meter.reading(state=state, elapsed_ms=7)
    assert (reading.wall_ms, reading.wall_method, reading.gpu_ms) == (1500, "engine-times", 3000)
    assert (reading.cpu_ms, reading.cpu_method) == (9, "cgroup-last-of-2-samples")
    assert (reading.memory_peak_bytes, reading.memory_method) == (30, "cgroup-peak")
    assert (reading.energy_mj, reading.energy_method) == (None, "unavailable")


def test_a_meter_without_samples_says_unavailable_and_not_zero() -> None:
    reading = Meter(gpus=0).reading(state={"StartedAt": "0001-01-01T00:00:00Z"}, elapsed_ms=7)
    assert (reading.wall_ms, reading.wall_method) == (7, "runner-clock")
    assert (reading.cpu_ms, reading.cpu_method) == (None, "unavailable")
    assert (reading.memory_peak_bytes, reading.memory_method) == (None, "unavailable")


def test_the_peak_is_the_largest_sample_where_the_engine_has_no_peak() -> None:
    meter = Meter(gpus=0)
    for usage in (10, 40, 20):
        meter.sample({"cpu_stats": {"cpu_usage": {"total_usage": 1}}, "memory_stats": {"usage": usage}})
    reading = meter.reading(state={}, elapsed_ms=1)
    assert (reading.memory_peak_bytes, reading.memory_method) == (40, "cgroup-sampled")
