"""A bundle with overlays: ours is as it was, each overlay stands apart, and the revisions cover all of it."""

import json
from pathlib import Path

import pytest

from carnet.core.errors import FieldInvalid
from policy import dispatcher, gate, merging
from policy.bundle import Bundle, home
from policy.overlay import Overlay
from tests.opa_support import NOW
from tests.overlay_support import NAME, files, overlay, renamed

BUNDLE = Bundle.load()
BOTH = BUNDLE.with_overlays([overlay(), renamed("lab")])


def test_what_is_ours_is_as_it_was() -> None:
    for path, text in BUNDLE.rules.items():
        assert path == dispatcher.PATH or BOTH.rules[path] == text
    for name in BUNDLE.tables:
        if name in merging.TABLES:
            assert {key: BOTH.rows(name)[key] for key in BUNDLE.rows(name)} == BUNDLE.rows(name)
        else:
            assert BOTH.tables[name] == BUNDLE.tables[name]


def test_an_overlay_brings_its_rules_rows_and_words_and_no_tests() -> None:
    assert BOTH.overlays == ("klinikum", "lab")
    assert set(BOTH.rules) - set(BUNDLE.rules) == {
        "carnet/org/klinikum/overlay.rego",
        "carnet/org/lab/overlay.rego",
    }
    assert {rule.id for rule in BOTH.catalogue() if rule.overlay == "lab"} == {
        "LAB-APPROVAL", "LAB-GENETIC", "LAB-ISOLATION",
    }  # fmt: skip
    assert "klinikum.genetic" in BOTH.rows("messages")
    assert "C-LAB-ETHICS" in BOTH.rows("citations")


def test_the_rules_in_force_are_those_of_all_and_of_the_overlay_that_is_asked_for() -> None:
    ours = BOTH.rules_in_force(stage="job", now_ns=NOW)
    assert ours == BUNDLE.rules_in_force(stage="job", now_ns=NOW)
    with_one = BOTH.rules_in_force(stage="job", now_ns=NOW, overlay="lab")
    assert set(with_one) - set(ours) == {"LAB-APPROVAL", "LAB-GENETIC"}
    assert with_one == tuple(sorted(with_one))
    assert "LAB-ISOLATION" in BOTH.rules_in_force(stage="runner", now_ns=NOW, overlay="lab")
    assert BOTH.rules_in_force(stage="job", now_ns=NOW, overlay="unheard") == ours


def test_revisions_cover_rules_and_words_of_an_overlay() -> None:
    one = BUNDLE.with_overlays([overlay()])
    assert one.revisions.rules != BUNDLE.revisions.rules
    assert one.revisions.data != BUNDLE.revisions.data
    other = BUNDLE.with_overlays([overlay(overlay=("quorum := 1", "quorum := 2"))])
    assert other.revisions.rules != one.revisions.rules
    assert other.revisions.data == one.revisions.data
    words = BUNDLE.with_overlays([overlay(messages={"klinikum.more": {"en": "a", "fr": "b"}})])
    assert words.revisions.data != one.revisions.data
    assert words.revisions.rules == one.revisions.rules


def test_the_order_in_which_overlays_come_is_irrelevant() -> None:
    assert BUNDLE.with_overlays([renamed("lab"), overlay()]) == BOTH
    assert BUNDLE.with_overlays([renamed("lab")]).with_overlays([overlay()]) == BOTH


def test_an_overlay_takes_the_place_of_the_one_before_it_and_of_no_other() -> None:
    second = overlay(overlay=("quorum := 1", "quorum := 2"), messages={"klinikum.more": {"en": "a", "fr": "b"}})
    found = BOTH.with_overlays([second])
    assert found == BUNDLE.with_overlays([second, renamed("lab")])
    assert found.with_overlays([overlay()]) == BOTH, "nothing of the second one is left"


def test_no_overlays_are_the_bundle_itself() -> None:
    assert BUNDLE.with_overlays([]) == BUNDLE
    assert BUNDLE.overlays == ()
    assert (home / "rego" / dispatcher.PATH).read_bytes() == dispatcher.written({})


def test_the_whole_passes_the_gate_and_is_written_as_it_was_digested(tmp_path: Path) -> None:
    assert gate.refusals(BOTH.rules) == ()
    BOTH.write(tmp_path)
    assert {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.rego")} == BOTH.rules
    assert json.loads((tmp_path / ".manifest").read_bytes())["revision"] == BOTH.revision


@pytest.mark.parametrize("name", ["org", "carnet", "ear", "ofac", "constraints", "exp", "sec"])
def test_attack_a_name_under_which_rules_would_pass_for_ours_or_for_law(name: str) -> None:
    with pytest.raises(FieldInvalid, match="is a name of ours, or of a law"):
        BUNDLE.with_overlays([renamed(name)])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a := time.now_ns()", "time.now_ns is not in the profile"),
        ("a := http.send({})", "http.send is not in the profile"),
        ("a := data.carnet.main.nothing", "a reference into data is written out"),
        ("a := data.carnet.org.lab.genetic", "a reference into data is written out"),
        ("dates := {1 | some x in unheard}", "unsafe"),
        ('blocked["KLINIKUM-GENETIC"] := {x | some x in data.carnet.main.permitted}', "depends on itself"),
    ],
)
def test_what_does_not_pass_the_gate_beside_our_rules_alone_is_refused(text: str, complaint: str) -> None:
    changed = {**files(), "more.rego": f"package carnet.org.klinikum\n\n{text}\n".encode()}
    with pytest.raises(FieldInvalid, match=complaint) as caught:
        BOTH.with_overlays([Overlay.read(NAME, changed)])
    assert caught.value.metadata["field"].startswith("carnet/")


def test_a_source_that_nobody_has_is_refused() -> None:
    changed = overlay(overlay=("[C-KLINIKUM-ETHICS, C-GDPR-9]", "[C-KLINIKUM-ETHICS, C-GDPR-999]"))
    with pytest.raises(FieldInvalid, match="KLINIKUM-GENETIC cites C-GDPR-999"):
        BUNDLE.with_overlays([changed])
    # A source of another organisation is there, and is not this one's to cite.
    with pytest.raises(FieldInvalid):
        BOTH.with_overlays([overlay(overlay=("[C-KLINIKUM-ETHICS, C-GDPR-9]", "[C-LAB-ETHICS, C-GDPR-9]"))])


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"messages": {"klinikum.more": {"en": "x"}}}, "klinikum.more"),
        ({"messages": {"klinikum.more": {"en": "x", "fr": "x", "de": "x"}}}, "klinikum.more"),
        ({"citations": {"C-KLINIKUM-B": {"title": "x"}}}, "C-KLINIKUM-B"),
        ({"overlay": ("#   severity: high\n", "#   severity: dire\n")}, "KLINIKUM-GENETIC"),
        ({"overlay": ("#   status: in_force\n", "#   status: perhaps\n")}, "KLINIKUM-"),
    ],
)
def test_a_row_that_is_not_as_its_schema_says_is_refused(change: dict[str, dict[str, object]], path: str) -> None:
    with pytest.raises(FieldInvalid) as caught:
        BUNDLE.with_overlays([overlay(**change)])
    assert path in caught.value.metadata["field"]
