package carnet.dualuse_test

import data.carnet.dualuse
import data.carnet.fixtures

item(change) := fixtures.with_values(object.union({"/job/technology/controlled": "yes", "/job/technology/eu_codes": ["5A002"]}, change))

listed(query) := found if {
	found := dualuse.blocked["EU-DU-ART3"] with input as query
}

test_what_is_not_controlled_is_free if {
	listed(fixtures.hospital) == set()
	caught := dualuse.blocked["EU-DU-ART4"] with input as fixtures.hospital
	caught == set()
	watched := dualuse.blocked["EU-DU-ART5"] with input as fixtures.hospital
	watched == set()
}

test_a_listed_item_stays_in_the_union_or_goes_under_eu001 if {
	found := listed(item({}))
	{"DE", "FR", "RE", "US", "GB", "JP", "CH"} & found == set()
	{"IN", "CN", "SG", "NC"} - found == set()
}

test_a_code_of_annex_i_counts_whatever_else_is_said_of_the_item if {
	"IN" in listed(item({"/job/technology/controlled": "no"}))
	"IN" in listed(item({"/job/technology/eccns": ["EAR99"]}))
}

eea_only := {"NO", "IS", "LI"}

test_the_eea_beyond_the_union_is_outside_the_customs_territory if {
	eea_only & listed(item({})) == set()
	eea_only - listed(item({"/job/technology/eu_codes": ["6A001"]})) == set()
	watched := dualuse.blocked["EU-DU-ART5"] with input as fixtures.with_values({"/job/end_user/use": "surveillance"})
	eea_only - watched == set()
	every country in eea_only {
		abroad := listed(item({"/job/controller/country": country, "/job/data/origin_jurisdiction": country}))
		abroad == set()
	}
}

test_annex_iv_takes_an_authorisation_even_within_the_union if {
	found := listed(item({"/job/technology/eu_codes": ["5A004.a"]}))
	{"US", "DE"} - found == set()
}

test_what_eu001_leaves_out_and_a_code_too_coarse_to_tell_have_no_general_authorisation if {
	every codes in [["1A102"], ["5A002", "9A117"], ["5D002"], ["5D002.c"]] {
		found := listed(item({"/job/technology/eu_codes": codes}))
		"US" in found
		not "FR" in found
	}
	not "US" in listed(item({"/job/technology/eu_codes": ["5D002.a.1"]}))
	exact := listed(item({"/job/technology/eu_codes": ["5D002.c.3"]}))
	{"US", "FR"} - exact == set()
}

test_a_us_code_of_annex_iv_leaves_no_member_state_either if {
	"FR" in american(["6A001"])
	not "FR" in american(["5D002"])
}

test_rows_that_nobody_verified_are_named_where_there_may_be_something_to_control if {
	listed_rows := dualuse.rows with input as item({})
	{"codes/EU_ANNEX_IV/5A004", "codes/EU001_EXCLUDED/1A102", "memberships/EU001/US", "groups/EU"} - listed_rows == set()
	free := dualuse.rows with input as fixtures.hospital
	free == set()
	used_rows := dualuse.rows with input as fixtures.with_values({"/job/end_user/use": "surveillance"})
	used_rows == {"groups/EU", "groups/EU_ALAND"}
}

test_what_is_unknown_is_listed_and_has_no_general_authorisation if {
	unknown := listed(fixtures.with_values({"/job/technology/controlled": "unknown"}))
	{"US", "IN"} - unknown == set()
	not "FR" in unknown
	bare := listed(fixtures.with_values({"/job/technology/controlled": "yes"}))
	"US" in bare
}

american(codes) := listed(fixtures.with_values({"/job/technology/controlled": "yes", "/job/technology/eccns": codes}))

test_a_code_of_the_us_alone_does_not_say_what_annex_i_calls_the_item if {
	{"US", "IN"} - american(["5D002"]) == set()
	not "FR" in american(["5D002"])
	american(["EAR99", "5D002"]) == american(["5D002"])
	american(["EAR99"]) == set()
	abroad := listed(fixtures.with_values({
		"/job/technology/controlled": "yes",
		"/job/technology/eccns": ["5D002"],
		"/job/controller/country": "US",
		"/job/data/origin_jurisdiction": "US",
	}))
	abroad == set()
	unsure := listed(fixtures.with_values({"/job/technology/controlled": "unknown", "/job/technology/eccns": ["EAR99"]}))
	"IN" in unsure
}

licence := {
	"id": "EU-1",
	"authority": "NATIONAL",
	"codes": ["5A002"],
	"countries": ["IN"],
	"end_users": ["Klinikum"],
	"expires_ns": fixtures.now + 1,
}

test_a_licence_opens_its_country_until_it_ends if {
	not "IN" in listed(item({"/job/technology/licences": [licence]}))
	"IN" in listed(item({"/job/technology/licences": [object.union(licence, {"expires_ns": fixtures.now})]}))
	"IN" in listed(item({"/job/technology/licences": [object.union(licence, {"authority": "BIS"})]}))
	not "IN" in listed(item({"/job/technology/licences": [object.union(licence, {"authority": "EU"})]}))
}

test_outside_the_union_the_regulation_does_not_apply if {
	abroad := {"/job/controller/country": "US", "/job/data/origin_jurisdiction": "NC"}
	listed(item(abroad)) == set()
	"IN" in listed(item(object.union(abroad, {"/job/controller/country": "ZZ"})))
}

used(use) := found if {
	found := dualuse.blocked["EU-DU-ART4"] with input as fixtures.with_values({"/job/end_user/use": use})
}

test_the_catch_all_looks_at_the_use if {
	used("civil") == set()
	used("surveillance") == set()
	"US" in used("wmd")
	not "FR" in used("wmd")
	"RU" in used("military")
	not "US" in used("military")
	used("unknown") == used("military")
}

test_surveillance_leaves_the_union_under_an_authorisation_only if {
	found := dualuse.blocked["EU-DU-ART5"] with input as fixtures.with_values({"/job/end_user/use": "surveillance"})
	"US" in found
	not "FR" in found
}

test_arms_embargoes_are_named_where_the_use_makes_them_matter if {
	military := dualuse.rows with input as fixtures.with_values({"/job/end_user/use": "military"})
	"memberships/EU_ARMS_EMBARGO/RU" in military
	civil := dualuse.rows with input as fixtures.with_values({"/job/end_user/use": "civil"})
	not "memberships/EU_ARMS_EMBARGO/RU" in civil
}

abroad(use) := fixtures.with_values({
	"/job/controller/country": "US",
	"/job/data/origin_jurisdiction": "US",
	"/job/end_user/use": use,
	"/job/technology/licences": [licence],
})

test_no_use_matters_where_nobody_exports_from_the_union if {
	every use in ["wmd", "military", "unknown", "surveillance"] {
		caught := dualuse.blocked["EU-DU-ART4"] with input as abroad(use)
		caught == set()
		watched := dualuse.blocked["EU-DU-ART5"] with input as abroad(use)
		watched == set()
		named := dualuse.rows with input as abroad(use)
		not "memberships/EU_ARMS_EMBARGO/RU" in named
	}
}

test_arms_embargoes_are_named_where_nobody_knows_the_use if {
	named := dualuse.rows with input as fixtures.with_values({"/job/end_user/use": "unknown"})
	"memberships/EU_ARMS_EMBARGO/RU" in named
}

# Lists of one entry each, by the day from which it is there.
memberships := {group: {group: {"group": group, "place": "US", "from_ns": day, "until_ns": null, "status": "seen"}} |
	some group, day in {"EU001": 1, "EU_ARMS_EMBARGO": 2, "US_SOIL": 3}
}

codes := {group: {group: {"group": group, "code": "5A004", "from_ns": day, "until_ns": null, "status": "seen"}} |
	some group, day in {"EU_ANNEX_IV": 4, "EU001_EXCLUDED": 5, "EAR_ADVANCED": 6}
}

test_an_export_looks_at_the_days_of_its_lists_and_licences if {
	days := dualuse.dates with input as item({"/job/technology/licences": [licence]})
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	days == {1, 2, 4, 5, licence.expires_ns}
	none := dualuse.dates with input as abroad("military")
		with data.carnet.tables.memberships.lists as memberships
		with data.carnet.tables.codes.lists as codes
	none == set()
}
