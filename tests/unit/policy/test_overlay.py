"""An overlay is read, or refused with the file that is wrong: it can name nothing that is not its own."""

from pathlib import Path
from typing import Any

import pytest

from carnet.core.errors import FieldInvalid
from policy.overlay import Overlay, file_bytes_max, files_max
from tests.overlay_support import FOLDER, NAME, files, overlay

APPROVAL = 'obliged["KLINIKUM-APPROVAL"]'


def refused(found: dict[str, bytes], name: str = NAME) -> FieldInvalid:
    with pytest.raises(FieldInvalid) as caught:
        Overlay.read(name, found)
    return caught.value


def added(text: str, path: str = "overlay.rego") -> dict[str, bytes]:
    found = files()
    return {**found, path: found.get(path, b"") + f"\n{text}\n".encode()}


def test_the_example_is_read_with_its_rows() -> None:
    found = overlay()
    assert sorted(found.rules) == ["KLINIKUM-APPROVAL", "KLINIKUM-GENETIC", "KLINIKUM-ISOLATION"]
    assert {row["overlay"] for row in found.rules.values()} == {NAME}
    assert {row["package"] for row in found.rules.values()} == {"carnet.org.klinikum"}
    assert found.rules["KLINIKUM-GENETIC"]["effective_from_ns"] == 1_767_225_600 * 10**9
    assert list(found.policies) == ["carnet/org/klinikum/overlay.rego"]
    assert Overlay.load(FOLDER) == found


def test_the_digest_is_of_the_name_and_every_file() -> None:
    one = overlay()
    assert len(one.digest) == 32
    assert Overlay.read(NAME, dict(reversed(files().items()))).digest == one.digest
    assert Overlay.read(NAME, added("# a word", "overlay_test.rego")).digest != one.digest


@pytest.mark.parametrize("name", ["", "ab", "Klinikum", "klini-kum", "1klinikum", "k" * 32, "klinikum\n", "../etc"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert refused(files(), name).metadata["field"] == "name"


@pytest.mark.parametrize(
    "path",
    ["../overlay.rego", "/overlay.rego", "a//b.rego", "Overlay.rego", "overlay.rego\n", "data.json",
     "sub/messages.json", ".manifest", "x.txt", "a\x00.rego", "x" * 300],
)  # fmt: skip
def test_attack_a_file_that_lands_elsewhere(path: str) -> None:
    assert "has no place" in refused({**files(), path: b""}).text


def test_files_are_bounded_in_number_and_size() -> None:
    many = {f"f{i}.rego": b"package carnet.org.klinikum\n" for i in range(files_max)}
    assert refused({**files(), **many}).metadata["field"] == "files"
    assert refused({**files(), "cases.json": b" " * (file_bytes_max + 1)}).metadata["field"] == "cases.json"
    parts = {f"f{i}.rego": b"package carnet.org.klinikum\n".ljust(file_bytes_max, b"\n") for i in range(4)}
    assert refused({**files(), **parts}).metadata["field"] == "files"
    assert refused({}).metadata["field"] == "files"
    assert refused({"messages.json": b"{}"}).metadata["field"] == "overlay.rego"


@pytest.mark.parametrize(
    "package", ["carnet.main", "carnet.org.other", "carnet.org", "klinikum", "system.authz", "carnet.org.klinikum2"]
)
def test_attack_a_package_that_is_not_the_overlays_own(package: str) -> None:
    body = f"package {package}\n\nx := 1\n".encode()
    for path in ("more.rego", "more_test.rego", "below/more.rego"):
        error = refused({**files(), path: body})
        assert error.metadata["field"] == path
        assert "an overlay's is carnet.org.klinikum or below" in error.text
    Overlay.read(NAME, {**files(), "more.rego": b"package carnet.org.klinikum\n\nx := 1\n"})
    Overlay.read(NAME, {**files(), "below/more.rego": b"package carnet.org.klinikum.below\n\nx := 1\n"})


@pytest.mark.parametrize(
    "text",
    [
        "a := data.carnet.tables.rules.rows",
        'a := data.carnet.tables.messages.rows["lab.genetic"].en',
        "a contains id if some id, _ in data.carnet.tables.citations.rows",
        'a := data.carnet.tables["rules"].rows',
        "import data.carnet.tables\n\na := tables.rules.rows",
        "import data.carnet.tables as t\n\na := t.messages.rows",
    ],
)
def test_attack_the_rules_of_another_organisation_are_read(text: str) -> None:
    policy = f"package carnet.org.klinikum\n\n{text}\n"
    error = refused({**files(), "more.rego": policy.encode()})
    assert "may hold what is another organisation's" in error.text
    for table in ("rules", "messages", "citations"):
        policy = policy.replace(table, "classes")
    Overlay.read(NAME, {**files(), "more.rego": policy.encode()})


def test_what_it_exports_stands_in_its_own_package() -> None:
    assert refused(files(overlay=("package carnet.org.klinikum", "package carnet.org.klinikum.below")))
    below = files()["overlay.rego"].replace(b"package carnet.org.klinikum", b"package carnet.org.klinikum.below")
    assert "right above an exported rule" in refused({**files(), "below.rego": below}).text
    assert "a rule and a package" in refused({**files(), "g.rego": b"package carnet.org.klinikum.genetic\n"}).text


@pytest.mark.parametrize(
    "text",
    [
        'blocked["EU-GDPR-CHV"] := set()',
        'blocked["US-OFAC-EMB"] := set()',
        'passed["CARNET-RUNNER-PLACE"] contains 0',
        'explained["EU-GDPR-CHV"] := {"message": "klinikum.genetic", "parameters": {}, "fix": []}',
        'blocked["KLINIKUM-OTHER"] := {"SG"}',
        "blocked[id] := set() if some id in input.x",
        'blocked := {"EU-GDPR-CHV": set()}',
        "default blocked := {}",
        'blocked contains "SG"',
        'blocked["KLINIKUM-GENETIC"].SG := true',
        'warned["KLINIKUM-GENETIC"] := {"SG"}',
        'blocked["KLINIKUM-APPROVAL"] := {"SG"}',
        'dates["x"] := 1',
        "blocked(x) := x",
    ],
)
def test_attack_a_rule_that_is_not_the_overlays_own(text: str) -> None:
    Overlay.read(NAME, added('dates := {1}\n\nblocked["KLINIKUM-GENETIC"] := {"HK"} if genetic'))
    for path in ("overlay.rego", "more.rego"):
        head = "package carnet.org.klinikum\n\n" if path == "more.rego" else ""
        error = refused(added(head + text, path))
        assert error.metadata["field"] == path
        assert error.text.startswith(f"{path}:")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("#   id: KLINIKUM-APPROVAL\n", ""),
        ("#   id: KLINIKUM-APPROVAL\n", "#   id: EU-GDPR-CHV\n"),
        ("#   owner: ethics board\n", ""),
        ("#   stage: runner\n", "#   stage: job\n"),
        ("#   effect: oblige\n", "#   effect: deny\n"),
        ('#   effective_from: "2026-01-01"\n', '#   effective_from: "2026-02-30"\n'),
        ('#   effective_from: "2026-01-01"\n', "#   effective_from: null\n"),
        ('#   review_by: "2027-05-22"\n', '#   review_by: "2027-02-30"\n'),
        ('#   review_by: "2027-05-22"\n', "#   review_by: 2027-05-22\n"),
        ("#   status: in_force\n", "#   status: in_force\n#   surprise: x\n"),
        (f"{APPROVAL} := {{duty", f"\n{APPROVAL} := {{duty"),
        ("# METADATA\n# title: Genetic data takes", "# title: Genetic data takes"),
        ('explained["KLINIKUM-APPROVAL"]', "told"),
        ("C-KLINIKUM-ETHICS", "C-KLINIKUM-OTHER"),
        ('"klinikum.approval"', '"klinikum.other"'),
        ('{"quorum": quorum}', "{}"),
    ],
)
def test_a_rule_whose_metadata_or_words_are_not_whole_is_refused(before: str, after: str) -> None:
    assert refused(files(overlay=(before, after))).metadata["field"]


def test_a_rule_that_borrows_the_id_of_another_organisation_is_refused() -> None:
    both = files(overlay=("KLINIKUM-GENETIC", "EU-KLINIKUM-GENETIC"))
    assert "not the overlay's own" in refused(both).text
    assert "METADATA twice" in refused({**files(), "twice.rego": files()["overlay.rego"]}).text
    assert "there is no rule" in refused({"overlay.rego": b"package carnet.org.klinikum\n\nx := 1\n"}).text


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("messages", "gdpr.no_basis"),
        ("messages", "klinikumx.genetic"),
        ("messages", "klinikum."),
        ("citations", "C-GDPR-44"),
        ("citations", "C-KLINIKUM"),
        ("citations", "C-KLINIKUMX-1"),
    ],
)
def test_attack_a_sentence_or_a_source_of_ours_is_rewritten(table: str, name: str) -> None:
    row: dict[str, Any] = {"en": "x", "fr": "x"} if table == "messages" else {"title": "x"}
    error = refused(files(**{table: {name: row}}))
    assert error.metadata["field"] == f"{table}.json: {name}"


@pytest.mark.parametrize(
    "row",
    [
        {"en": "{quorum}", "fr": "x"},
        {"en": "{unheard}", "fr": "{unheard}"},
    ],
)
def test_both_languages_ask_for_the_same_parameters_that_rules_give(row: dict[str, str]) -> None:
    assert refused(files(messages={"klinikum.more": row})).metadata["field"] == "messages.json: klinikum.more"
    parameter = {"en": "{quorum}", "fr": "{quorum}"}
    overlay(messages={"klinikum.more": parameter})
    assert refused(files(messages={"klinikum.fix.more": parameter}))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"rows": []}', b'{"rows": {"klinikum.a": 1}}', b'{"rows": {}, "rows": {}}', b"\xff"]
)
def test_a_table_that_is_malformed_is_refused(data: bytes) -> None:
    assert refused({**files(), "messages.json": data}).metadata["field"] == "messages.json"


@pytest.mark.parametrize("data", [b"", b"package", b"\xff", b"package x\n\na := ((("])
def test_rego_that_does_not_parse_is_refused(data: bytes) -> None:
    for path in ("overlay.rego", "more.rego", "more_test.rego"):
        assert refused({**files(), path: data}).metadata["field"] == path


def test_a_folder_without_an_overlay_is_none(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(FieldInvalid):
            Overlay.load(folder)
