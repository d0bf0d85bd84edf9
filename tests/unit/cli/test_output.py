"""What is printed: data on stdout, the rest on stderr, nothing that a terminal would obey, nothing that is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carnet.cli.output import codes, dollars, plain, say, seconds, show, show_json, show_pairs, show_table, warn, when

HOSTILE = "ok\x1b[2K\x1b[32mVERIFIED\x1b[0m\r\n\x9b31m\u202eevil"


@given(st.text())
def test_attack_no_text_holds_what_a_terminal_obeys(text: str) -> None:
    assert plain(text).isprintable()
    assert len(plain(text)) == len(text)


@pytest.mark.parametrize("printing", [say, warn, show, lambda text: show_pairs([("name", text)])])
def test_attack_a_stranger_s_escape_sequence_never_reaches_the_terminal(
    printing: object, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "\x1b" in HOSTILE, "the control: it holds one"
    assert callable(printing)
    printing(HOSTILE)
    out, err = capfd.readouterr()
    assert "VERIFIED" in out + err
    assert not set("\x1b\x9b\r\u202e") & set(out + err)
    assert (out + err).count("\n") == 1


def test_attack_a_table_s_cells_are_plain_too(capfd: pytest.CaptureFixture[str]) -> None:
    show_table(("name",), [(HOSTILE,)])
    assert "\x1b" not in capfd.readouterr().out


def test_data_goes_to_stdout_and_progress_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    show("data [bold]not markup[/bold] :smile:")
    say("progress")
    show_json({"a": ["é", 1]})
    out, err = capfd.readouterr()
    assert out.startswith("data [bold]not markup[/bold] :smile:\n")
    assert json.loads(out.partition("\n")[2]) == {"a": ["é", 1]}
    assert err == "progress\n"


def test_a_long_value_is_never_cut(capfd: pytest.CaptureFixture[str]) -> None:
    name = "tenants/" + "0" * 32 + "/jobs/" + "1" * 32
    show_table(("job", "state", "why"), [(name, "succeeded", "x" * 90)])
    show("y" * 500)
    out = capfd.readouterr().out
    assert name in out
    assert "x" * 90 in out
    assert "y" * 500 in out


def test_numbers_are_exact() -> None:
    assert dollars(1_000_250) == "1.000250 USD"
    assert dollars(7) == "0.000007 USD"
    assert seconds(61_005) == "61.005 s"
    assert when(0) == "1970-01-01T00:00:00Z"


def test_a_long_list_of_places_says_how_many_more() -> None:
    assert codes(()) == "nowhere"
    assert codes(("DE", "FR")) == "DE, FR"
    assert codes(tuple(f"A{chr(65 + i)}" for i in range(15))).endswith("AL and 3 more")
