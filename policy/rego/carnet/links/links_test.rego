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
