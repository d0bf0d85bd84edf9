package carnet.itar_test

import data.carnet.fixtures
import data.carnet.itar
import data.carnet.runners

query(change) := fixtures.with_values(object.union({"/job/technology/controlled": "yes", "/job/technology/itar": "yes"}, change))

blocked(change) := found if {
	found := itar.blocked["US-ITAR-US"] with input as query(change)
}

test_what_is_no_defence_article_is_free if {
	found := itar.blocked["US-ITAR-US"] with input as fixtures.hospital
	found == set()
}

test_a_defence_article_stays_in_the_us if {
	{"DE", "CA", "GB", "CN"} - blocked({}) == set()
	not "US" in blocked({})
	blocked({"/job/technology/itar": "unknown"}) == blocked({})
}

licence := {
	"id": "DSP-5",
	"authority": "DDTC",
	"codes": ["9A610"],
	"countries": ["CA", "CN", "KH"],
	"end_users": ["Klinikum"],
	"expires_ns": fixtures.now + 1,
}

test_a_licence_opens_its_country_and_never_one_of_section_126_1 if {
	found := blocked({"/job/technology/licences": [licence]})
	not "CA" in found
	"CN" in found
	"CA" in blocked({"/job/technology/licences": [object.union(licence, {"expires_ns": fixtures.now})]})
	"CA" in blocked({"/job/technology/licences": [object.union(licence, {"authority": "BIS"})]})
}

test_cambodia_by_licence_from_the_day_that_it_left_the_list if {
	late := {"/job/technology/licences": [object.union(licence, {"expires_ns": 1900000000000000000})]}
	"KH" in blocked(object.union(late, {"/context/now_ns": 1762473600000000000 - 1}))
	not "KH" in blocked(object.union(late, {"/context/now_ns": 1762473600000000000}))
}

# 2026-10-01T00:00:00Z
lapsed := 1790812800000000000

test_cyprus_by_licence_until_the_last_known_suspension_ends if {
	late := {"/job/technology/licences": [object.union(licence, {"countries": ["CY"], "expires_ns": 1900000000000000000})]}
	not "CY" in blocked(object.union(late, {"/context/now_ns": lapsed - 1}))
	"CY" in blocked(object.union(late, {"/context/now_ns": lapsed}))
}

test_the_territory_is_named_as_unverified_where_it_decided if {
	found := itar.rows with input as query({})
	{"memberships/US_SOIL/PR", "memberships/ITAR_126_1/CN"} - found == set()
	free := itar.rows with input as fixtures.hospital
	free == set()
}

denied(change, country, parent) := {reason.rule | some reason in answer.verdicts[0].reasons; reason.effect == "deny"} if {
	answer := runners.answer with input as fixtures.asked(query(change), [fixtures.operated("US", country, parent)])
}

test_a_foreign_operator_or_parent_in_the_us_is_refused if {
	not "US-ITAR-OPERATOR" in denied({}, "US", "US")
	"US-ITAR-OPERATOR" in denied({}, "DE", "US")
	"US-ITAR-OPERATOR" in denied({}, "US", "CN")
	"US-ITAR-OPERATOR" in denied({}, "US", "ZZ")
	not "US-ITAR-OPERATOR" in denied({"/job/technology/licences": [licence]}, "CA", "US")
	not "US-ITAR-OPERATOR" in denied({"/job/technology/itar": "no"}, "DE", "DE")
}

# One row of each list that the law names, and one of a list of another law.
lists := {
	"ITAR_126_1": {"a": {"place": "CN", "from_ns": 1, "until_ns": 2, "status": "unverified"}},
	"US_SOIL": {"b": {"place": "US", "from_ns": 3, "until_ns": null, "status": "unverified"}},
	"EAR_MEU": {"c": {"place": "RU", "from_ns": 4, "until_ns": null, "status": "unverified"}},
}

test_the_days_are_those_of_both_lists_and_of_the_licences if {
	none := itar.dates with input as query({}) with data.carnet.tables.memberships.lists as lists
	none == {1, 2, 3}
	licensed := query({"/job/technology/licences": [licence]})
	found := itar.dates with input as licensed with data.carnet.tables.memberships.lists as lists
	found == {1, 2, 3, fixtures.now + 1}
}

test_a_job_without_defence_articles_hangs_on_no_day if {
	found := itar.dates with input as query({"/job/technology/itar": "no", "/job/technology/licences": [licence]})
	found == set()
}
