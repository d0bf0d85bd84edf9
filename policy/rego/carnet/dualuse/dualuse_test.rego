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
