package carnet.enduse_test

import data.carnet.enduse
import data.carnet.fixtures
import data.carnet.main
import data.carnet.tables

blocked(rule, change) := found if {
	found := enduse.blocked[rule] with input as fixtures.with_values(change)
}

test_a_civil_end_user_is_free if {
	blocked("END-WMD", {}) == set()
	blocked("END-MILITARY", {}) == set()
	blocked("END-MILITARY", {"/job/end_user/country": "CN"}) == set()
}

test_weapons_of_mass_destruction_run_nowhere if {
	"DE" in blocked("END-WMD", {"/job/end_user/use": "wmd"})
	body := main.body with input as fixtures.with_values({"/job/end_user/use": "wmd"})
	body.verdict == "deny"
}

test_a_military_end_user_of_a_named_country_runs_nowhere if {
	"DE" in blocked("END-MILITARY", {"/job/end_user/use": "military", "/job/end_user/parent_country": "RU"})
	"DE" in blocked("END-MILITARY", {"/job/end_user/use": "unknown", "/job/end_user/country": "CN"})
	"DE" in blocked("END-MILITARY", {"/job/end_user/use": "military", "/job/end_user/country": "HK"})
	"DE" in blocked("END-MILITARY", {"/job/end_user/use": "military", "/job/end_user/parent_country": "MO"})
	blocked("END-MILITARY", {"/job/end_user/use": "military"}) == set()
}

test_an_unknown_party_counts_where_the_job_is_controlled if {
	unknown := {"/job/end_user/use": "unknown", "/job/end_user/parent_country": "ZZ"}
	blocked("END-MILITARY", unknown) == set()
	blocked("END-MILITARY", {"/job/end_user/use": "unknown", "/job/end_user/country": "ZZ"}) == set()
	"DE" in blocked("END-MILITARY", object.union(unknown, {"/job/technology/controlled": "unknown"}))
	"DE" in blocked("END-MILITARY", {"/job/end_user/use": "unknown", "/job/end_user/country": "ZZ", "/job/technology/controlled": "yes"})
}

test_a_known_party_of_no_named_country_is_free_where_the_job_is_controlled if {
	blocked("END-MILITARY", {"/job/end_user/use": "military", "/job/technology/controlled": "yes"}) == set()
}

# The list of the countries that the law names, as the data has it.
named := tables.memberships.lists.EAR_MEU

test_the_list_is_looked_at_where_the_use_may_be_military if {
	military := fixtures.with_values({"/job/end_user/use": "military"})
	rows := enduse.rows with input as military
	rows == {concat("/", ["memberships", key]) | some key, row in named; row.status != "seen"}
	dates := enduse.dates with input as military
	dates == {row.from_ns | some row in named} | {row.until_ns | some row in named; is_number(row.until_ns)}
}

test_a_civil_end_user_hangs_on_no_list if {
	rows := enduse.rows with input as fixtures.hospital
	rows == set()
	dates := enduse.dates with input as fixtures.hospital
	dates == set()
}
