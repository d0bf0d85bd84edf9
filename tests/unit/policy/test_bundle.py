"""The bundle: every row of the data is cited, dated and consistent, and what is malformed stops the load."""

import datetime
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from carnet.core.decision import OBLIGATIONS
from carnet.core.errors import Bug, FieldInvalid
from carnet.core.facts import DATA_CLASSES
from carnet.core.runner import Isolation
from policy.bundle import LISTED, Bundle, home
from policy.catalogue import nanoseconds

BUNDLE = Bundle.load()
TABLES = sorted(BUNDLE.tables)
DATED = ["adequacy", "codes", "embargoes", "memberships", "swiss_adequacy", "uk_adequacy"]
NO_ISO_CODES = ("EU", "UK", "XK", "AN", "CS", "SU", "ZZ")


def rows(table: str) -> dict[str, dict[str, Any]]:
    return BUNDLE.rows(table)


def copied(tmp_path: Path) -> Path:
    for part in ("rego", "data", "schema"):
        shutil.copytree(home / part, tmp_path / part)
    return tmp_path


def test_all_249_countries_of_iso_3166_are_there_and_no_other_code() -> None:
    assert len(rows("jurisdictions")) == 249
    assert not set(NO_ISO_CODES) & set(rows("jurisdictions"))


@pytest.mark.parametrize("table", TABLES)
def test_every_citation_is_a_row_of_the_citations(table: str) -> None:
    cited = re.findall(r'"(C-[A-Z0-9-]+)"', json.dumps({k: v for k, v in BUNDLE.tables[table].items() if k != "about"}))
    assert set(cited) <= set(rows("citations"))


@pytest.mark.parametrize("table", DATED)
def test_nanoseconds_are_those_of_the_days_and_rise(table: str) -> None:
    for row in rows(table).values():
        assert row["from_ns"] == nanoseconds(row["from"])
        assert row["until_ns"] == (nanoseconds(row["until"]) if row["until"] else None)
        assert row["until_ns"] is None or row["from_ns"] < row["until_ns"]
    assert rows("rules")
    for row in rows("rules").values():
        first = row["effective_from"]
        assert row["effective_from_ns"] == (nanoseconds(first) if first else None)
        assert first or row["status"] == "draft"
    assert BUNDLE.tables["settings"]["far_ns"] == nanoseconds(str(BUNDLE.tables["settings"]["far"]))


def test_every_row_is_reviewed_after_it_was_read() -> None:
    found = [r for t in TABLES for r in (BUNDLE.tables[t], *BUNDLE.tables[t].get("rows", {}).values()) if "as_of" in r]
    assert len(found) > 50
    for row in found:
        assert datetime.date.fromisoformat(row["as_of"]) < datetime.date.fromisoformat(row["review_by"])


def test_rows_that_were_not_verified_say_so_and_why() -> None:
    for table in (
        "accelerator_bounds",
        "accelerators",
        "adequacy",
        "bulk",
        "cn_amounts",
        "codes",
        "ear_groups",
        "embargoes",
        "groups",
        "memberships",
    ):
        for key, row in rows(table).items():
            assert row["status"] == "seen" or row["note"], (table, key)


AMOUNT = re.compile(r"^[^#]*?(\b\d{3,}\b)", re.MULTILINE)
COUNTRY = re.compile(r'^[^#]*?"([A-Z]{2})"', re.MULTILINE)


def test_amounts_and_territories_of_china_and_the_dsp_stand_in_tables_and_not_in_rules() -> None:
    assert AMOUNT.findall("heavy if records > 10000"), "the control"
    assert COUNTRY.findall('territory := {"US"}'), "the control"
    rules = {name: BUNDLE.rules[f"carnet/{name}/{name}.rego"].decode() for name in ("china", "dsp")}
    assert {name: AMOUNT.findall(text) for name, text in rules.items()} == {"china": [], "dsp": []}
    assert {name: COUNTRY.findall(text) for name, text in rules.items()} == {"china": ["CN"], "dsp": []}
    assert set(rows("cn_amounts")["ordinary"]["classes"]) <= DATA_CLASSES


def test_the_data_and_the_core_know_the_same_words() -> None:
    settings: Any = BUNDLE.tables["settings"]
    assert {name: row["enforcer"] for name, row in settings["obligations"].items()} == OBLIGATIONS
    assert sorted(settings["isolation"], key=settings["isolation"].get) == list(Isolation)
    assert set(rows("classes")) == DATA_CLASSES


def test_every_place_that_the_data_names_is_known() -> None:
    known = set(rows("jurisdictions")) | set(rows("regions"))
    named = {place for table in ("adequacy", "embargoes", "swiss_adequacy", "uk_adequacy") for place in rows(table)}
    named |= {row["place"] for row in rows("memberships").values()}
    named |= {member for table in ("ear_groups", "groups") for row in rows(table).values() for member in row["members"]}
    named |= {code for row in rows("regions").values() for code in (row["country"], row["same_as"] or row["country"])}
    named |= {code for row in rows("adequacy").values() for code in row["exporters_excluded"]}
    assert named <= known
    assert all(name[:2] == row["country"] for name, row in rows("regions").items())


def test_a_country_with_an_embargoed_region_has_all_its_regions_listed() -> None:
    partly = {place[:2] for place in rows("embargoes") if "-" in place}
    assert partly == set(BUNDLE.tables["regions"]["listed_whole"])  # type: ignore[arg-type]
    assert sum(name.startswith("UA-") for name in rows("regions")) == 27


def test_outermost_regions_and_overseas_territories_are_apart() -> None:
    groups = rows("groups")
    assert not set(groups["EU_OUTERMOST"]["members"]) & set(groups["EU_OCT"]["members"])
    assert len(groups["EU"]["members"]) == 27


def test_every_message_that_a_rule_names_is_in_the_catalogue_and_no_other() -> None:
    text = b"".join(BUNDLE.rules.values()).decode()
    ours = {name for name in rows("messages") if name.startswith(("words.", "titles."))}
    regimes = "|".join(sorted({name.partition(".")[0] for name in rows("messages").keys() - ours} - {"NLA-1"}))
    named = set(re.findall(rf'"((?:{regimes})\.[a-z0-9_.]+)"', text))
    assert named - {"carnet.input/v1"} | {"NLA-1"} == set(rows("messages")) - ours
    assert not re.search(r'"(words|titles)\.', text), "what is said around a decision is no rule's"


def test_every_citation_of_ours_has_its_title_in_french_too() -> None:
    titles = {name: row for name, row in rows("messages").items() if name.startswith("titles.")}
    cited = {f"titles.{key.lower().replace('-', '_')}": row["title"] for key, row in rows("citations").items()}
    assert {name: row["en"] for name, row in titles.items()} == cited
    assert [name for name, row in titles.items() if row["fr"] == row["en"]] == []


def test_both_languages_ask_for_the_same_parameters_and_a_fix_for_none() -> None:
    for name, row in rows("messages").items():
        english, french = (set(re.findall(r"\{(\w+)\}", row[language])) for language in ("en", "fr"))
        assert english == french, name
        assert not (".fix." in name and english), name


def test_the_tests_of_the_rules_are_not_in_the_bundle() -> None:
    assert BUNDLE.rules
    assert not [path for path in BUNDLE.rules if "_test" in path]
    assert list((home / "rego").rglob("*_test.rego"))


def test_each_package_stands_where_its_name_says_with_its_test_beside_it() -> None:
    for path, text in BUNDLE.rules.items():
        folder = Path(path).parent
        assert f"\npackage {folder.as_posix().replace('/', '.')}\n" in text.decode()
        owns_rules = any(row["package"] == folder.as_posix().replace("/", ".") for row in rows("rules").values())
        assert not owns_rules or (home / "rego" / folder / f"{folder.name}_test.rego").exists()


def test_revisions_change_with_a_rule_and_with_a_row(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    assert Bundle.load(folder).revisions == BUNDLE.revisions
    rule = folder / "rego" / "carnet" / "gdpr" / "gdpr.rego"
    rule.write_text(rule.read_text() + "\n# changed\n")
    other = Bundle.load(folder)
    assert other.revisions.rules != BUNDLE.revisions.rules
    assert other.revisions.data == BUNDLE.revisions.data
    assert other.revision != BUNDLE.revision
    table = folder / "data" / "adequacy.json"
    table.write_text(table.read_text().replace('"enabled": true', '"enabled": false', 1))
    assert Bundle.load(folder).revisions.data != BUNDLE.revisions.data


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"enabled": true', '"enabled": true, "enabled": false'),
        ('"enabled": true', '"enabled": 1'),
        ('"enabled": true', '"enabled": true, "surprise": 1'),
        ('"from_ns": ', '"from_ns": 0.5, "x": '),
        ('"status": "seen"', '"status": "believed"'),
        ('{\n "about"', '[\n "about"'),
    ],
)
def test_a_malformed_table_stops_the_load(tmp_path: Path, before: str, after: str) -> None:
    table = copied(tmp_path) / "data" / "adequacy.json"
    changed = table.read_text().replace(before, after, 1)
    assert changed != table.read_text()
    table.write_text(changed)
    with pytest.raises(FieldInvalid):
        Bundle.load(tmp_path)


def test_a_table_without_a_schema_stops_the_load(tmp_path: Path) -> None:
    (copied(tmp_path) / "data" / "extra.json").write_text('{"about": "x", "rows": {}}')
    with pytest.raises(FieldInvalid):
        Bundle.load(tmp_path)


def test_a_folder_without_policy_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(Bug):
        Bundle.load(tmp_path)


def test_what_is_written_is_what_was_digested(tmp_path: Path) -> None:
    BUNDLE.write(tmp_path)
    manifest = json.loads((tmp_path / ".manifest").read_bytes())
    assert manifest == {
        "revision": BUNDLE.revision,
        "roots": ["carnet", "system/authz", "system/log"],
        "rego_version": 1,
    }
    assert {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in tmp_path.rglob("*.rego")} == BUNDLE.rules
    data = json.loads((tmp_path / "data.json").read_bytes())["carnet"]["tables"]
    assert data.pop("revisions") == {"rules": BUNDLE.revisions.rules, "data": BUNDLE.revisions.data}
    for name in LISTED:
        listed = [(group, key, row) for group, rows in data[name].pop("lists").items() for key, row in rows.items()]
        assert {key: row for _, key, row in listed} == BUNDLE.rows(name)
        assert all(row["group"] == group for group, _, row in listed)
    assert data == BUNDLE.tables


def test_rows_past_their_review_are_named() -> None:
    assert BUNDLE.overdue(nanoseconds("2026-11-22")) == ()
    late = BUNDLE.overdue(nanoseconds("2027-02-22"))
    assert "adequacy/US" in late
    assert "rules/US-OFAC-EMB" in late
    assert "adequacy/CH" not in late


def test_rules_in_force_are_those_of_their_days() -> None:
    gdpr = nanoseconds("2018-05-25")
    assert "EU-GDPR-CHV" in BUNDLE.rules_in_force(stage="job", now_ns=gdpr)
    assert "EU-GDPR-CHV" not in BUNDLE.rules_in_force(stage="job", now_ns=gdpr - 1)
    assert "EU-GDPR-IMPORTER" in BUNDLE.rules_in_force(stage="runner", now_ns=gdpr)


def test_a_membership_is_keyed_by_its_list_and_place() -> None:
    for key, row in rows("memberships").items():
        assert key == f"{row['group']}/{row['place']}"
    text = b"".join(BUNDLE.rules.values()).decode()
    assert {row["group"] for row in rows("memberships").values()} == set(re.findall(r'members\("([A-Z0-9_]+)"\)', text))


def test_a_control_code_is_keyed_by_its_list_and_every_list_is_one_of_a_rule() -> None:
    for key, row in rows("codes").items():
        assert key == f"{row['group']}/{row['code']}"
    text = b"".join(BUNDLE.rules.values()).decode()
    assert {row["group"] for row in rows("codes").values()} == set(re.findall(r'codes\("([A-Z0-9_]+)"\)', text))


# A country of ISO 3166-1, or an entry of a control list.
WRITTEN_OUT = re.compile(r'"([A-Z]{2}|[0-9][A-E][0-9]{3}[a-z0-9.]*)"')


def test_rules_of_export_control_and_sectors_name_no_country_and_no_entry_of_a_list() -> None:
    assert WRITTEN_OUT.findall('country in {"US", "CA"}; code == "3A090.a"') == ["US", "CA", "3A090.a"], "the control"
    for name in ("dualuse", "ear", "enduse", "itar", "sectors"):
        text = BUNDLE.rules[f"carnet/{name}/{name}.rego"].decode()
        allowed = {"EU", "3A090.a", "3A090.b"}  # A group and who gives licences; entries whose bounds a table holds.
        assert set(WRITTEN_OUT.findall(text)) <= allowed


def test_every_class_but_those_of_nobody_has_a_bulk_category_or_is_named_by_the_rules() -> None:
    counted = {data_class for row in rows("bulk").values() for data_class in row["classes"]}
    personal = {name for name, row in rows("classes").items() if row["personal"]}
    assert personal - counted == {"us_government_related", "cn_important"}


def test_performance_and_density_of_accelerators_are_computed_and_not_claimed() -> None:
    for row in rows("accelerators").values():
        assert row["tpp"] == row["tops_x10"] * row["bits"] // 10
        assert row["density_x100"] == row["tpp"] * 1000 // row["die_mm2_x10"]
