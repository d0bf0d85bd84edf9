"""Screening results: read strictly, the least favourable counts, and a file that is bad or gone clears nobody."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from carnet.core.errors import FieldInvalid
from gateway import screening
from gateway.screening import ResultsUnavailable, Screens, parse_results
from policy.engine import Screening

NOW = 1_795_305_600 * 10**9  # 2026-11-22
DAY = 86_400 * 10**9


class Clock:
    """A time that the test moves."""

    now_ns = NOW

    def __call__(self) -> int:
        return self.now_ns


def result(result: str = "clear", *, of: str = "sdn", as_of: str = "2026-11-22", **party: str) -> dict[str, Any]:
    """One result, of a subject or an entity."""
    return {**party, "result": result, "list": {"name": of, "digest": "sha256:" + "0" * 64}, "as_of": as_of}


def document(*results: dict[str, Any]) -> bytes:
    return json.dumps({"schema": "carnet.screening/v1", "results": results}).encode()


CLEAR = (result(subject="alice"), result(entity="Exporter"), result(entity="User"))


def replaced(path: Path, data: bytes) -> None:
    """Write a file as an operator should: whole."""
    path.with_suffix(".new").write_bytes(data)
    os.replace(path.with_suffix(".new"), path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "screening.json"
    found.write_bytes(document(*CLEAR))
    return found


def word(screens: Screens, subject: str = "alice", *entities: str) -> Screening:
    return screens.word(subject=subject, entities=entities or ("Exporter", "User"))


async def test_a_job_is_clear_where_every_party_is(path: Path, clock: Clock) -> None:
    assert word(await Screens.open(path, days=30, clock=clock)) is Screening.CLEAR


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((result("hit", entity="User", of="other"),), Screening.HIT),
        ((result("unknown", entity="User", of="other"),), Screening.UNKNOWN),
        ((result("unknown", subject="alice", of="other"), result("hit", entity="Exporter", of="other")), Screening.HIT),
        ((result(entity="User", of="other"),), Screening.CLEAR),
        ((result("hit", entity="Somebody else"),), Screening.CLEAR),
        ((result(entity="User", of="other", as_of="2026-10-22"),), Screening.UNKNOWN),
        ((result(entity="User", of="other", as_of="2026-10-23"),), Screening.CLEAR),
        ((result(entity="User", of="other", as_of="2026-11-23"),), Screening.UNKNOWN),
        ((result("hit", entity="User", of="other", as_of="1999-01-01"),), Screening.HIT),
    ],
    ids=["hit", "unknown", "hit over unknown", "two lists", "another's", "old", "old enough", "of tomorrow", "old hit"],
)
async def test_the_least_favourable_counts(
    path: Path, clock: Clock, more: tuple[dict[str, Any], ...], said: Screening
) -> None:
    replaced(path, document(*CLEAR, *more))
    assert word(await Screens.open(path, days=30, clock=clock)) is said


@pytest.mark.parametrize("parties", [("bob", "Exporter", "User"), ("alice", "exporter"), ("alice", "Exporter", "X")])
async def test_who_is_not_in_the_file_is_unknown(path: Path, clock: Clock, parties: tuple[str, ...]) -> None:
    assert word(await Screens.open(path, days=30, clock=clock), *parties) is Screening.UNKNOWN


async def test_a_name_of_an_entity_is_none_of_a_subject(path: Path, clock: Clock) -> None:
    screens = await Screens.open(path, days=30, clock=clock)
    assert word(screens, "Exporter", "Exporter") is Screening.UNKNOWN
    assert word(screens, "alice", "alice") is Screening.UNKNOWN


async def test_a_clear_result_ends_with_its_days(path: Path, clock: Clock) -> None:
    screens = await Screens.open(path, days=1, clock=clock)
    clock.now_ns = NOW + DAY
    assert word(screens) is Screening.CLEAR
    clock.now_ns = NOW + 2 * DAY
    assert word(screens) is Screening.UNKNOWN


async def test_a_change_is_seen(path: Path, clock: Clock) -> None:
    screens = await Screens.open(path, days=30, clock=clock)
    before = screens.digest
    await screens.look()
    assert (word(screens), screens.digest) == (Screening.CLEAR, before)
    replaced(path, document(*CLEAR[:2], result("hit", entity="User")))
    assert word(screens) is Screening.CLEAR
    await screens.look()
    assert word(screens) is Screening.HIT
    assert screens.digest != before


async def test_a_file_that_turns_bad_or_goes_says_nothing_of_anybody_until_it_is_whole(
    path: Path, clock: Clock, tmp_path: Path
) -> None:
    screens = await Screens.open(path, days=30, clock=clock)
    replaced(path, document(*CLEAR)[:-1])
    with capture_logs() as said:
        for _ in range(2):
            await screens.look()
            with pytest.raises(ResultsUnavailable):
                word(screens)
    assert [entry["log_level"] for entry in said] == ["error"], "it is said once"
    assert "alice" not in str(said)
    replaced(path, document(*CLEAR))
    await screens.look()
    assert word(screens) is Screening.CLEAR
    os.rename(path, tmp_path / "away")
    await screens.look()
    with pytest.raises(ResultsUnavailable):
        word(screens)
    os.rename(tmp_path / "away", path)
    await screens.look()
    assert word(screens) is Screening.CLEAR


async def test_a_look_that_fails_in_any_way_clears_nobody_and_is_tried_again(
    path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    screens = await Screens.open(path, days=30, clock=clock)
    turns = 0

    async def fail() -> None:
        raise MemoryError

    async def pause(_: float) -> None:
        nonlocal turns
        turns += 1
        if turns > 2:
            raise StopAsyncIteration

    monkeypatch.setattr(screens, "look", fail)
    monkeypatch.setattr(screening.asyncio, "sleep", pause)
    with pytest.raises((RuntimeError, StopAsyncIteration)):
        await screens.run()
    assert turns == 3
    with pytest.raises(ResultsUnavailable):
        word(screens)


@pytest.mark.parametrize("data", [None, b"", b"{}", document(*CLEAR)[:-1]], ids=["none", "empty", "bare", "cut"])
async def test_a_gateway_does_not_start_on_a_bad_file(path: Path, clock: Clock, data: bytes | None) -> None:
    if data is None:
        os.unlink(path)
    else:
        replaced(path, data)
    with pytest.raises(FieldInvalid):
        await Screens.open(path, days=30, clock=clock)


GOOD = result(subject="alice")
BAD: dict[str, bytes] = {
    "no schema": json.dumps({"results": []}).encode(),
    "another schema": json.dumps({"schema": "carnet.screening/v2", "results": []}).encode(),
    "no results": json.dumps({"schema": "carnet.screening/v1"}).encode(),
    "results that are none": json.dumps({"schema": "carnet.screening/v1", "results": {}}).encode(),
    "a field more": json.dumps({"schema": "carnet.screening/v1", "results": [], "more": 1}).encode(),
    "a field more in a result": document(GOOD | {"more": 1}),
    "a field more in a list": document(GOOD | {"list": {**GOOD["list"], "more": 1}}),
    "a party of both kinds": document(GOOD | {"entity": "Exporter"}),
    "a party of none": document({name: GOOD[name] for name in ("result", "list", "as_of")}),
    "an empty party": document(GOOD | {"subject": ""}),
    "a party that is a number": document(GOOD | {"subject": 7}),
    "off": document(GOOD | {"result": "off"}),
    "another word": document(GOOD | {"result": "CLEAR"}),
    "no list": document({name: GOOD[name] for name in ("subject", "result", "as_of")}),
    "a list without a name": document(GOOD | {"list": {"name": "", "digest": GOOD["list"]["digest"]}}),
    "a list without a digest": document(GOOD | {"list": {"name": "sdn"}}),
    "a digest of another kind": document(GOOD | {"list": {"name": "sdn", "digest": "md5:" + "0" * 64}}),
    "a short digest": document(GOOD | {"list": {"name": "sdn", "digest": "sha256:00"}}),
    "a digest in capitals": document(GOOD | {"list": {"name": "sdn", "digest": "sha256:" + "A" * 64}}),
    "a day that is none": document(GOOD | {"as_of": "2026-02-30"}),
    "a day in another form": document(GOOD | {"as_of": "20261122"}),
    "a time": document(GOOD | {"as_of": "2026-11-22T00:00:00Z"}),
    "the same list twice": document(GOOD, GOOD | {"result": "hit"}),
    "a name that repeats": document(GOOD).replace(b'"subject"', b'"subject": "bob", "subject"'),
    "a NUL": document(GOOD | {"subject": "a\0b"}),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_a_file_is_refused_that_has(data: bytes) -> None:
    with pytest.raises(FieldInvalid):
        parse_results(data)


def test_the_file_has_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse_results(document(GOOD)).by_party, "the control of all that is refused"
    monkeypatch.setattr(screening, "results_max", 1)
    assert parse_results(document(GOOD))
    with pytest.raises(FieldInvalid):
        parse_results(document(*CLEAR))
    monkeypatch.setattr(screening, "bytes_max", 10)
    with pytest.raises(FieldInvalid):
        parse_results(document(GOOD))
