# METADATA
# title: Operator exposure
# scope: package
package carnet.exposure_test

import data.carnet.fixtures
import data.carnet.runners

answer(query, runner) := found.verdicts[0] if {
	found := runners.answer with input as fixtures.asked(query, [runner])
}

rules(verdict, effect) := {reason.rule | some reason in verdict.reasons; reason.effect == effect}

forbidding := fixtures.with_values({"/job/constraints/parent_never": ["US"]})

test_a_german_runner_of_an_american_parent_is_two_facts if {
	found := answer(fixtures.hospital, fixtures.operated("DE", "DE", "US"))
	found.verdict == "permit"
	rules(found, "warn") == {"EXP-PARENT-ABROAD"}
}

test_the_organisation_may_forbid_the_parent_whatever_the_place if {
	found := answer(forbidding, fixtures.operated("DE", "DE", "US"))
	found.verdict == "deny"
	rules(found, "deny") == {"EXP-PARENT-NEVER"}
}

test_the_operator_itself_counts_like_its_parent if {
	found := answer(forbidding, fixtures.operated("DE", "US", "DE"))
	rules(found, "deny") == {"EXP-PARENT-NEVER"}
}

test_a_european_parent_passes_without_a_warning if {
	found := answer(forbidding, fixtures.operated("DE", "DE", "FR"))
	found.verdict == "permit"
	found.reasons == []
}

test_an_unknown_parent_is_refused_where_a_limit_is_set if {
	found := answer(forbidding, fixtures.operated("DE", "DE", "ZZ"))
	"EXP-PARENT-NEVER" in rules(found, "deny")
}

test_data_that_is_not_special_is_not_warned_about if {
	query := fixtures.with_values({"/job/data/classes": ["personal"]})
	found := answer(query, fixtures.operated("DE", "DE", "US"))
	found.reasons == []
}

test_data_without_a_link_to_the_eea_is_not_warned_about if {
	query := fixtures.with_values({
		"/job/controller/country": "US",
		"/job/data/subject_jurisdictions": ["US"],
		"/job/data/origin_jurisdiction": "US",
	})
	found := answer(query, fixtures.operated("DE", "DE", "US"))
	not "EXP-PARENT-ABROAD" in rules(found, "warn")
}
