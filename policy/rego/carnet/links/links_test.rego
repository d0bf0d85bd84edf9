package carnet.links_test

import data.carnet.fixtures
import data.carnet.links

test_an_unknown_country_touches_every_territory if {
	links.touches("DE", {"DE"})
	links.touches("ZZ", {"DE"})
	links.touches("FR-974", {"RE"})
	not links.touches("FR", {"DE"})
}

test_no_subject_at_all_is_an_unknown_one if {
	links.subject_in({"US"}) with input as fixtures.with_values({"/job/data/subject_jurisdictions": []})
	not links.subject_in({"US"}) with input as fixtures.hospital
	links.subject_in({"US"}) with input as fixtures.with_values({"/job/data/subject_jurisdictions": ["DE", "US"]})
}

licence := {
	"id": "L-1",
	"authority": "BIS",
	"codes": ["3A090", "5D002"],
	"countries": ["FR"],
	"end_users": ["Klinikum"],
	"expires_ns": fixtures.now + 1,
}

opened(codes, change) := found if {
	found := links.licensed({"BIS"}, codes) with input as fixtures.with_values({"/job/technology/licences": [object.union(licence, change)]})
}

test_a_licence_covers_its_codes_end_users_and_countries_until_it_ends if {
	opened({"3A090.a"}, {}) == {"FR"}
	opened({"3A090", "5D002.c.1"}, {}) == {"FR"}
	opened({"3A0901"}, {}) == set()
	opened({"3A090", "4A003"}, {}) == set()
	opened(set(), {}) == set()
	opened({"5D002"}, {"end_users": ["another"]}) == set()
	opened({"5D002"}, {"authority": "EU"}) == set()
	opened({"5D002"}, {"expires_ns": fixtures.now}) == set()
}

test_cambodia_left_the_list_of_22_cfr_126_1_on_2025_11_07 if {
	"KH" in links.members("ITAR_126_1") with input as fixtures.with_values({"/context/now_ns": 1762473600000000000 - 1})
	not "KH" in links.members("ITAR_126_1") with input as fixtures.with_values({"/context/now_ns": 1762473600000000000})
}

test_cambodia_left_country_group_d5_on_2026_02_03 if {
	"KH" in links.members("EAR_D5") with input as fixtures.with_values({"/context/now_ns": 1770076800000000000 - 1})
	not "KH" in links.members("EAR_D5") with input as fixtures.with_values({"/context/now_ns": 1770076800000000000})
}

row(group, name, value, status, from_ns) := {
	"group": group,
	name: value,
	"status": status,
	"from_ns": from_ns,
	"until_ns": null,
}

lists(name) := {
	"A": {
		"A/1": row("A", name, "1", "seen", 10),
		"A/2": row("A", name, "2", "unverified", 20),
		"A/3": row("A", name, "3", "unverified", fixtures.now + 1),
	},
	"B": {"B/4": object.union(row("B", name, "4", "unverified", 40), {"until_ns": 50})},
}

test_a_list_has_its_own_rows_that_hold_today_and_days_and_doubts_of_all_its_own if {
	links.members("A") == {"1", "2"} with input as fixtures.machine with data.carnet.tables.memberships.lists as lists("place")
	links.members("C") == set() with input as fixtures.machine
	links.used({"A"}) == {"memberships/A/2", "memberships/A/3"} with data.carnet.tables.memberships.lists as lists("place")
	links.used({"A", "B", "C"}) == {"memberships/A/2", "memberships/A/3", "memberships/B/4"} with data.carnet.tables.memberships.lists as lists("place")
	links.group_dates({"B"}) == {40, 50} with data.carnet.tables.memberships.lists as lists("place")
	links.group_dates({"A", "C"}) == {10, 20, fixtures.now + 1} with data.carnet.tables.memberships.lists as lists("place")
}

test_a_list_of_codes_has_the_same if {
	links.codes("A") == {"1", "2"} with input as fixtures.machine with data.carnet.tables.codes.lists as lists("code")
	links.codes("C") == set() with input as fixtures.machine
	links.codes_used({"A"}) == {"codes/A/2", "codes/A/3"} with data.carnet.tables.codes.lists as lists("code")
	links.codes_used({"B", "C"}) == {"codes/B/4"} with data.carnet.tables.codes.lists as lists("code")
	links.code_dates({"A", "B", "C"}) == {10, 20, fixtures.now + 1, 40, 50} with data.carnet.tables.codes.lists as lists("code")
}

test_an_adequacy_that_is_switched_off_is_none if {
	held := {"enabled": true, "condition": "none", "from_ns": 0, "until_ns": null}
	rows := {"AA": held, "BB": object.union(held, {"enabled": false}), "CC": object.union(held, {"condition": "other"})}
	links.adequate(rows, "none") == {"AA"} with input as fixtures.machine
}
