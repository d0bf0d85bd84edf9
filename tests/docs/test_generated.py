"""What docs/ says of states, errors, exit codes, bounds, calls and files is what the code says."""

import pytest

from carnet.core import errors, lifecycle, limits
from carnet.core.encoding import StatementKind
from carnet.v1 import decisions_pb2, jobs_pb2, policies_pb2, runners_pb2
from tests.docs.pages import ROOT, generated, with_generated
from tests.docs.tables import PAGES, PARTS, amount, first_words

PLACES = [(name, part) for name in PAGES for part in generated((ROOT / name).read_text("utf-8"))]


@pytest.mark.parametrize(("page", "part"), PLACES, ids=lambda value: value)
def test_the_page_says_what_the_code_says(page: str, part: str) -> None:
    written = generated((ROOT / page).read_text("utf-8"))[part]
    assert written == PARTS[part](), "run `python -m tests.docs.tables` from the checkout's root"


def test_every_part_that_can_be_made_stands_on_a_page() -> None:
    assert sorted(part for _, part in PLACES) == sorted(PARTS)


def test_control_a_part_that_drifted_is_noticed_and_written_anew() -> None:
    text = "before\n<!-- generated: exits -->\n| 0 | all is well |\n<!-- end: exits -->\nafter\n"
    assert generated(text)["exits"] != PARTS["exits"]()
    mended = with_generated(text, {"exits": PARTS["exits"]()})
    assert generated(mended)["exits"] == PARTS["exits"]()
    assert mended.startswith("before\n")
    assert mended.endswith("after\n")


def test_every_legal_pair_of_state_and_event_is_a_line() -> None:
    lines = PARTS["transitions"]().splitlines()[2:]
    assert len(lines) == len(lifecycle.TABLE)
    assert "| RUNNING | `ReceiptArrived` |" in PARTS["transitions"]()
    assert not [line for line in lines if line.endswith("|  |")], "a pair that leads nowhere"


def test_every_reason_of_core_is_a_line() -> None:
    found = PARTS["reasons"]()
    families = (errors.CallerError, errors.PeerError, errors.Refused, errors.Unavailable, errors.Bug)
    below = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, families) and e not in families]
    assert len(below) > 30
    assert [error.reason for error in below if f"| `{error.reason}` |" not in found] == []


def test_every_bound_and_every_call_is_a_line() -> None:
    named = [name for name in vars(limits) if name.islower() and not name.startswith("_")]
    assert [name for name in named if f"| `{name}` |" not in PARTS["bounds"]()] == []
    files = (jobs_pb2, runners_pb2, decisions_pb2, policies_pb2)
    methods = [m for f in files for s in f.DESCRIPTOR.services_by_name.values() for m in s.methods]
    assert [m.name for m in methods if f".{m.name}` |" not in PARTS["services"]()] == []


def test_amounts_are_said_in_the_largest_whole_unit() -> None:
    said = {name: amount(name, value) for name, value in (("a_bytes", 65536), ("a_bytes_max", 1168), ("b_seconds", 60))}
    assert said == {"a_bytes": "64 KiB", "a_bytes_max": "1168 B", "b_seconds": "60 s"}
    assert amount("b_seconds_max", 7 * 86_400) == "7 d"
    assert amount("c_max", 65536) == "65,536"


def test_a_file_is_told_by_the_first_words_of_its_docstring() -> None:
    assert first_words('"""Lease: who may. A grant names it. More."""') == "Lease: who may. A grant names it."
    assert first_words('"""A paragraph\nthat goes on.\n\nAnother."""') == "A paragraph that goes on."


def test_every_module_says_what_it_is() -> None:
    assert [line for line in PARTS["tree"]().splitlines() if line.endswith("|  |")] == []


def test_every_kind_of_statement_is_in_the_table_of_statements() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text("utf-8")
    assert [kind for kind in StatementKind if text.count(f"| `{kind}` |") != 1] == []
