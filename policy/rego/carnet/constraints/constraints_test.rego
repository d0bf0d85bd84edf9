# METADATA
# title: The organisation's limits
# scope: package
package carnet.constraints_test

import data.carnet.constraints
import data.carnet.fixtures
import data.carnet.main
import data.carnet.places
import data.carnet.runners

limits(only, never) := json.patch(fixtures.machine, [
	{"op": "replace", "path": "/job/constraints/only", "value": only},
	{"op": "replace", "path": "/job/constraints/never", "value": never},
])

permitted(only, never) := {place | some place in body.permitted} if {
	body := main.body with input as limits(only, never)
}

rules(query, runner) := {reason.rule | some reason in found.verdicts[0].reasons; reason.effect == "deny"} if {
	found := runners.answer with input as fixtures.asked(query, [runner])
}

test_an_empty_only_sets_no_limit if {
	count(permitted([], [])) > 240
	found := constraints.blocked["ORG-ONLY"] with input as limits([], [])
	found == set()
}

test_only_permits_what_it_names if permitted(["DE", "FR"], []) == {"DE", "FR"}

test_never_wins_over_only if permitted(["DE", "FR"], ["FR"]) == {"DE"}

test_a_forbidden_country_forbids_the_regions_that_bear_its_name if permitted(["DE", "FR-974"], ["FR"]) == {"DE"}

test_a_region_in_only_does_not_let_in_its_country if {
	permitted(["US-CA"], []) == {"US-CA"}
	rules(limits(["US-CA"], []), fixtures.runner("US-CA")) == set()
	"ORG-ONLY" in rules(limits(["US-CA"], []), fixtures.runner("US-NY"))
	"ORG-ONLY" in rules(limits(["US-CA"], []), fixtures.runner("US"))
}

test_a_country_in_only_asks_about_its_regions if {
	body := main.body with input as limits(["UA"], [])
	body.permitted == ["UA"]
	body.reasons[0].rule == "US-OFAC-EMB"
	body.reasons[0].jurisdictions == ["UA-09", "UA-14", "UA-40", "UA-43"]
}

test_a_region_stands_or_falls_with_its_country_under_law if {
	found := main.body with input as json.patch(fixtures.hospital, [{"op": "replace", "path": "/job/constraints/only", "value": ["US-CA"]}])
	found.verdict == "deny"
	"US-CA" in found.reasons[0].jurisdictions
	found.reasons[0].rule == "EU-GDPR-CHV"
}

test_a_forbidden_region_keeps_out_a_runner_that_hides_its_region if {
	query := limits([], ["US-CA"])
	rules(query, fixtures.runner("US")) == {"ORG-NEVER-REGION"}
	rules(query, fixtures.runner("US-NY")) == set()
	rules(query, fixtures.runner("US-CA")) == {"ORG-NEVER"}
}

test_a_region_and_its_country_code_stand_for_each_other if {
	permitted(["FR", "RE"], ["FR-974"]) == {"FR"}
	rules(limits([], ["FR-974"]), fixtures.runner("RE")) == {"ORG-NEVER"}
	rules(limits([], ["RE"]), fixtures.runner("FR-974")) == {"ORG-NEVER"}
	rules(limits([], ["FR-974"]), fixtures.runner("FR")) == set()
}

test_only_france_does_not_let_in_reunion_under_a_french_code if {
	body := main.body with input as limits(["FR"], [])
	"FR-974" in body.blocked["ORG-ONLY"]
	rules(limits(["FR"], []), fixtures.runner("FR-974")) == {"ORG-ONLY"}
	rules(limits(["FR-974"], []), fixtures.runner("FR-974")) == set()
}

test_a_forbidden_country_is_not_a_region_that_a_runner_hides if {
	rules(limits([], ["US"]), fixtures.runner("US")) == {"ORG-NEVER"}
	found := constraints.blocked["ORG-NEVER"] with input as limits([], ["UA-14"])
	found == {"UA-14"}
}

test_hong_kong_is_not_china_unless_named if {
	"HK" in permitted([], ["CN"])
	not "HK" in permitted([], ["CN", "HK"])
	not "HK" in permitted([], ["CN", "CN-HK"])
}

test_what_only_alone_keeps_out_is_told if {
	body := main.body with input as json.patch(fixtures.hospital, [{"op": "replace", "path": "/job/constraints/only", "value": ["US"]}])
	some reason in body.reasons
	reason.rule == "ORG-ONLY"
	"FR" in reason.jurisdictions
	not "IN" in reason.jurisdictions
}

test_isolation_is_a_duty_and_a_check if {
	query := json.patch(fixtures.machine, [{"op": "replace", "path": "/job/constraints/isolation_min", "value": "gvisor"}])
	body := main.body with input as query
	some duty in body.obligations
	duty.type == "isolation_min"
	duty.value == "gvisor"
	duty.enforcer == "runner"
	rules(query, fixtures.runner("DE")) == {"ORG-ISOLATION-RUNNER"}
	rules(query, object.union(fixtures.runner("DE"), {"isolation": "gvisor"})) == set()
	rules(query, object.union(fixtures.runner("DE"), {"isolation": "tee"})) == set()
	"ORG-ISOLATION-RUNNER" in rules(query, object.union(fixtures.runner("DE"), {"isolation": "magic"}))
}

test_the_strictest_duty_of_a_type_stands_with_its_rule if {
	body := main.body with input as fixtures.with_values({"/job/constraints/isolation_min": "process"})
	[duty.rule | some duty in body.obligations; duty.type == "isolation_min"] == ["EU-GDPR-ART32"]
	strict := main.body with input as fixtures.with_values({"/job/constraints/isolation_min": "tee"})
	[duty.rule | some duty in strict.obligations; duty.type == "isolation_min"] == ["ORG-ISOLATION"]
}

test_places_know_what_they_mean if {
	places.code_of("FR-974") == "RE"
	places.code_of("US-CA") == "US"
	places.code_of("DE") == "DE"
	places.known("US-CA")
	places.known("UA-30")
	not places.known("UA-99")
	not places.known("EU")
	not places.known("XX-1")
}
