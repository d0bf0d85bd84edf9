"""The journal: what it says after a crash, whatever the crash left."""

import json
import stat
from pathlib import Path

import pytest

from sandbox.journal import Journal, Step

FIRST, SECOND = b"\1" * 32, b"\2" * 32


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal.jsonl", clock=lambda: 7)


def test_an_attempt_is_open_until_it_was_cleaned(journal: Journal) -> None:
    assert journal.open_attempts() == frozenset()
    journal.note(FIRST, Step.LEASED)
    journal.note(SECOND, Step.LEASED)
    journal.note(FIRST, Step.ACCEPTED)
    assert journal.open_attempts() == {FIRST, SECOND}
    journal.note(FIRST, Step.CLEANED)
    assert journal.open_attempts() == {SECOND}


def test_a_torn_last_line_is_dropped(journal: Journal, tmp_path: Path) -> None:
    journal.note(FIRST, Step.RUNNING)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    journal.note(FIRST, Step.CLEANED)
    for end in range(len(whole) + 1, len(path.read_bytes()) - 1):
        (tmp_path / "torn.jsonl").write_bytes(path.read_bytes()[:end])
        assert Journal(tmp_path / "torn.jsonl", clock=lambda: 7).open_attempts() == {FIRST}
    assert journal.open_attempts() == frozenset()


@pytest.mark.parametrize("line", [b"\0\xff", b"{}", b"[]", b'{"grant": "zz", "step": "leased"}', b"7"])
def test_a_line_that_is_not_one_is_passed_over(journal: Journal, tmp_path: Path, line: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(line + b"\n")
    journal.note(FIRST, Step.LEASED)
    assert journal.open_attempts() == {FIRST}


def test_a_line_holds_a_digest_a_step_and_a_time_and_no_more(journal: Journal, tmp_path: Path) -> None:
    journal.note(FIRST, Step.SEALED)
    path = tmp_path / "journal.jsonl"
    assert json.loads(path.read_text()) == {"grant": FIRST.hex(), "step": "sealed", "time_ns": 7}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_compact_starts_over(journal: Journal) -> None:
    journal.note(FIRST, Step.LEASED)
    journal.compact()
    journal.compact()
    assert journal.open_attempts() == frozenset()
