# METADATA
# title: Embargoes
# scope: package
package carnet.ofac_test

import data.carnet.fixtures
import data.carnet.main
import data.carnet.ofac
import data.carnet.runners
import data.carnet.tables

rules(query, runner) := {reason.rule | some reason in found.verdicts[0].reasons; reason.effect == "deny"} if {
	found := runners.answer with input as fixtures.asked(query, [runner])
}

test_cuba_iran_and_north_korea_are_embargoed_and_ukraine_is_not if {
	body := main.body with input as fixtures.machine
	{"CU", "IR", "KP"} & {place | some place in body.permitted} == set()
	"UA" in body.permitted
	"SY" in body.permitted
}

test_crimea_has_no_country_code_and_is_blocked_by_its_region if {
	body := main.body with input as fixtures.machine
	{place | some place in body.blocked["US-OFAC-EMB"]} == {"CU", "IR", "KP", "UA-09", "UA-14", "UA-40", "UA-43"}
	"US-OFAC-EMB" in rules(fixtures.machine, fixtures.runner("UA-43"))
	rules(fixtures.machine, fixtures.runner("UA-30")) == set()
}

test_a_runner_that_says_ukraine_and_no_region_is_unknown if {
	rules(fixtures.machine, fixtures.runner("UA")) == {"US-OFAC-REGION"}
}

test_a_region_that_does_not_exist_hides_nothing if {
	"US-OFAC-REGION" in rules(fixtures.machine, fixtures.runner("UA-99"))
	"CARNET-RUNNER-PLACE" in rules(fixtures.machine, fixtures.runner("UA-99"))
}

test_only_ukraine_does_not_let_crimea_in if {
	query := json.patch(fixtures.machine, [{"op": "replace", "path": "/job/constraints/only", "value": ["UA", "UA-43"]}])
	body := main.body with input as query
	body.permitted == ["UA"]
	body.reasons[0].rule == "US-OFAC-EMB"
	"UA-43" in body.reasons[0].jurisdictions
}

syria_ends := 1751328000000000000

test_syria_is_embargoed_until_its_programme_ends_and_not_after if {
	before := ofac.embargoed with input as fixtures.with_values({"/context/now_ns": syria_ends - 1})
	"SY" in before
	after := ofac.embargoed with input as fixtures.with_values({"/context/now_ns": syria_ends})
	not "SY" in after
}

test_crimea_was_free_before_the_order if {
	before := ofac.embargoed with input as fixtures.with_values({"/context/now_ns": 1418947200000000000 - 1})
	not "UA-43" in before
	"CU" in before
}

test_a_controller_in_an_embargoed_or_unknown_country_gets_nothing if {
	cuban := main.body with input as fixtures.with_values({"/job/controller/country": "CU"})
	cuban.verdict == "deny"
	cuban.reasons[_].rule == "US-OFAC-PARTY"
	unknown := main.body with input as fixtures.with_values({"/job/controller/country": "ZZ"})
	unknown.verdict == "deny"
	german := ofac.blocked["US-OFAC-PARTY"] with input as fixtures.hospital
	german == set()
}

test_an_operator_or_parent_in_an_embargoed_or_unknown_country_is_refused if {
	rules(fixtures.hospital, fixtures.operated("DE", "DE", "IR")) == {"US-OFAC-OPERATOR"}
	rules(fixtures.hospital, fixtures.operated("DE", "CU", "DE")) == {"US-OFAC-OPERATOR"}
	rules(fixtures.hospital, fixtures.operated("DE", "DE", "ZZ")) == {"US-OFAC-OPERATOR"}
	rules(fixtures.hospital, fixtures.operated("DE", "DE", "US")) == set()
}

test_no_embargo_is_exemptible if {
	every id, row in tables.rules.rows {
		not embargo_exempt(id, row)
	}
}

embargo_exempt(id, row) if {
	startswith(id, "US-OFAC")
	row.exemptible
}

test_clauses_do_not_lift_an_embargo if {
	body := main.body with input as fixtures.with_values({
		"/job/transfer/mechanisms": [fixtures.clauses(["IR"], "operator.example")],
		"/job/constraints/only": ["IR"],
	})
	body.verdict == "deny"
	body.reasons[0].rule == "US-OFAC-EMB"
}

test_a_runner_in_a_country_that_is_embargoed_whole_lacks_no_region if {
	rules(fixtures.machine, fixtures.runner("CU")) == {"US-OFAC-EMB"}
}
