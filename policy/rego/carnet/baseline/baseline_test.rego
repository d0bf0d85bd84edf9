# METADATA
# title: The floor
# scope: package
package carnet.baseline_test

import data.carnet.fixtures
import data.carnet.main
import data.carnet.runners

decided(patches) := body if {
	body := main.body with input as fixtures.with_values(patches)
}

rules(runner) := {reason.rule | some reason in found.verdicts[0].reasons; reason.effect == "deny"} if {
	found := runners.answer with input as fixtures.asked(fixtures.hospital, [runner])
}

test_a_limit_that_names_an_unknown_place_blocks_every_place if {
	every name in ["only", "never", "parent_never"] {
		body := decided({sprintf("/job/constraints/%s", [name]): ["EU"]})
		body.verdict == "deny"
		body.reasons[0].rule == "CARNET-PLACES"
		body.reasons[0].parameters.unknown == ["EU"]
		body.reasons[0].jurisdictions == []
	}
}

test_a_hit_and_an_unknown_screening_deny if {
	every word in ["hit", "unknown"] {
		body := decided({"/gateway/screening": word})
		body.verdict == "deny"
		body.reasons[0].rule == "CARNET-SCREENING"
	}
}

test_screening_that_is_off_warns_and_a_clear_one_does_not if {
	off := decided({"/gateway/screening": "off"})
	off.verdict == "permit"
	"CARNET-SCREENING-OFF" in {reason.rule | some reason in off.reasons}
	clear := decided({})
	not "CARNET-SCREENING-OFF" in {reason.rule | some reason in clear.reasons}
}

test_there_is_never_a_network if {
	every query in [fixtures.hospital, fixtures.machine] {
		body := main.body with input as query
		some duty in body.obligations
		duty.type == "network_none"
		duty.value == 1
		duty.enforcer == "runner"
	}
}

test_a_place_on_the_runners_own_word_is_unknown if {
	rules(fixtures.runner("FR")) == set()
	rules(object.union(fixtures.runner("FR"), {"evidence": "self"})) == {"CARNET-RUNNER-PLACE"}
	rules(object.union(fixtures.runner("FR"), {"evidence": "rumour"})) == {"CARNET-RUNNER-PLACE"}
}

test_an_attestation_without_a_time_may_be_older_than_any_limit if {
	rules(object.union(fixtures.runner("FR"), {"evidence": "attested"})) == {"CARNET-RUNNER-PLACE"}
	rules(object.union(fixtures.runner("FR"), {"evidence": "measured"})) == {"CARNET-RUNNER-PLACE"}
	rules(object.union(fixtures.runner("FR"), {"evidence": "audited"})) == set()
}

test_a_runner_in_no_known_place_is_refused if {
	"CARNET-RUNNER-PLACE" in rules(fixtures.runner("ZZ"))
}

test_a_runner_whose_country_and_jurisdiction_differ_is_refused if {
	"CARNET-RUNNER-PLACE" in rules(object.union(fixtures.runner("FR"), {"country": "DE"}))
}
