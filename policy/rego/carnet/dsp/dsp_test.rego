package carnet.dsp_test

import data.carnet.dsp
import data.carnet.fixtures
import data.carnet.main
import data.carnet.runners

american := {"/job/data/subject_jurisdictions": ["US"]}

query(records, change) := fixtures.with_values(object.union_n([american, {"/job/data/records": records}, change]))

blocked(records, change) := found if {
	found := dsp.blocked["US-DSP-BULK"] with input as query(records, change)
}

test_data_of_nobody_in_the_us_is_free if {
	found := dsp.blocked["US-DSP-BULK"] with input as fixtures.with_values({"/job/data/records": 1000000000})
	found == set()
}

test_data_of_no_category_is_about_nobody if {
	not dsp.about_us with input as fixtures.machine
	dsp.about_us with input as query(1, {})
}

health := {"/job/data/classes": ["health"]}

test_health_data_has_a_bound_of_ten_thousand if {
	blocked(10000, health) == set()
	{"CN", "HK", "MO", "RU", "CU", "IR", "KP", "VE"} - blocked(10001, health) == set()
	not "DE" in blocked(10001, health)
}

test_the_sum_of_twelve_months_counts_and_not_the_job if {
	before := object.union(health, {"/gateway/volumes": {"health": 9000}})
	blocked(1000, before) == set()
	"CN" in blocked(1001, before)
	other := object.union(health, {"/gateway/volumes": {"financial": 9000}})
	blocked(1001, other) == set()
}

test_data_of_two_categories_has_the_lower_bound if {
	both := {"/job/data/classes": ["health", "geolocation"]}
	blocked(1000, both) == set()
	"CN" in blocked(1001, both)
	apart := object.union(both, {"/gateway/volumes": {"health": 900}})
	blocked(100, apart) == set()
	"CN" in blocked(101, apart)
}

test_each_category_has_its_bound if {
	every class, bound in {"genetic": 100, "omic": 1000, "biometric": 1000, "geolocation": 1000, "financial": 10000, "payment_card": 10000, "identifiers": 100000, "personal": 100000} {
		blocked(bound, {"/job/data/classes": [class]}) == set()
		"RU" in blocked(bound + 1, {"/job/data/classes": [class]})
	}
}

test_encryption_and_pseudonymisation_change_nothing if {
	"CN" in blocked(10001, object.union(health, {"/job/data/pseudonymised": true}))
	"CN" in blocked(10001, object.union(health, {"/job/data/pseudonymised": false}))
}

test_government_related_data_has_no_bound if {
	"CN" in blocked(1, {"/job/data/classes": ["us_government_related"]})
	"CN" in blocked(1, {"/job/data/classes": ["us_government_related"], "/job/data/subject_jurisdictions": ["DE"]})
}

test_unknown_subjects_may_be_us_persons_and_an_unknown_class_is_the_strictest if {
	"CN" in blocked(10001, object.union(health, {"/job/data/subject_jurisdictions": []}))
	"CN" in blocked(10001, object.union(health, {"/job/data/subject_jurisdictions": ["ZZ"]}))
	"CN" in blocked(101, {"/job/data/classes": ["from_the_future"]})
	blocked(1000000, {"/job/data/classes": ["technical"]}) == set()
}

# 2025-04-08T00:00:00Z
begins := 1744070400000000000

test_the_programme_has_a_first_day if {
	blocked(10001, object.union(health, {"/context/now_ns": begins - 1})) == set()
	"CN" in blocked(10001, object.union(health, {"/context/now_ns": begins}))
}

denied(records, operator) := {reason.rule | some reason in answer.verdicts[0].reasons; reason.effect == "deny"} if {
	runner := object.union(fixtures.runner("DE"), {"operator": object.union(fixtures.operator("DE", "DE"), operator)})
	answer := runners.answer with input as fixtures.asked(query(records, health), [runner])
}

covered(records, operator) if "US-DSP-COVERED" in denied(records, operator)

test_a_covered_person_is_refused_wherever_its_runner_stands if {
	not covered(10001, {})
	covered(10001, {"parent_country": "HK"})
	covered(10001, {"country": "RU"})
	covered(10001, {"country": "ZZ"})
	covered(10001, {"covered_person": "yes"})
	covered(10001, {"covered_person": "unknown"})
	not covered(10000, {"covered_person": "yes"})
}

test_owners_from_countries_of_concern_count_together_from_half if {
	covered(10001, {"owners": [{"country": "CN", "percent": 25}, {"country": "RU", "percent": 25}]})
	not covered(10001, {"owners": [{"country": "CN", "percent": 25}, {"country": "RU", "percent": 24}]})
	covered(10001, {"owners": [{"country": "ZZ", "percent": 50}]})
}

test_the_decision_names_the_rows_that_nobody_verified if {
	body := main.body with input as query(100001, {"/job/data/classes": ["identifiers"]})
	"bulk/identifiers" in body.unverified_rows_used
}

test_a_threshold_that_nobody_verified_is_named_where_it_let_the_job_pass if {
	"CN" in dsp.blocked["US-DSP-BULK"] with input as query(100001, {"/job/data/classes": ["personal"]})
	passing := main.body with input as query(50000, {"/job/data/classes": ["personal"]})
	not passing.blocked["US-DSP-BULK"]
	"bulk/identifiers" in passing.unverified_rows_used
	verified := main.body with input as query(50000, health)
	not "bulk/identifiers" in verified.unverified_rows_used
	elsewhere := main.body with input as fixtures.with_values({"/job/data/classes": ["personal"]})
	not "bulk/identifiers" in elsewhere.unverified_rows_used
}

test_the_territory_is_named_where_the_data_has_a_category if {
	elsewhere := main.body with input as fixtures.with_values({"/job/data/classes": ["health"]})
	"groups/DSP_US" in elsewhere.unverified_rows_used
	machine := main.body with input as fixtures.machine
	not "groups/DSP_US" in machine.unverified_rows_used
}
