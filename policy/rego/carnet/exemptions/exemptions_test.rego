# METADATA
# title: Exemptions
# scope: package
package carnet.exemptions_test

import data.carnet.exemptions
import data.carnet.fixtures
import data.carnet.main
import data.carnet.runners
import data.carnet.tables

granted(changes) := object.union(
	{
		"id": "E1",
		"rule": "EU-GDPR-CHV",
		"places": ["IN"],
		"classes": [],
		"purposes": [],
		"expires_ns": fixtures.now + 1,
	},
	changes,
)

asked(list) := fixtures.with_values({"/gateway/exemptions": list})

decided(changes) := body if {
	body := main.body with input as asked([granted(changes)])
}

plain := body if {
	body := main.body with input as fixtures.hospital
}

rules(query, runner) := {reason.rule | some reason in found.verdicts[0].reasons; reason.effect == "deny"} if {
	found := runners.answer with input as fixtures.asked(query, [runner])
}

difference(body) := {place | some place in body.permitted} - {place | some place in plain.permitted}

test_an_exemption_opens_its_own_places_and_no_other if {
	body := decided({})
	difference(body) == {"IN"}
	body.blocked == object.union(plain.blocked, {"EU-GDPR-CHV": [place | some place in plain.blocked["EU-GDPR-CHV"]; place != "IN"]})
	body.exemptions_used == [{"id": "E1", "rule": "EU-GDPR-CHV", "expires_ns": fixtures.now + 1}]
	plain.exemptions_used == []
}

test_the_answer_ends_with_the_exemption if {
	decided({}).valid_until_ns == fixtures.now + 1
	plain.valid_until_ns > fixtures.now + 1
}

test_an_exemption_that_has_ended_is_none if {
	body := decided({"expires_ns": fixtures.now})
	body == plain
}

test_an_exemption_is_from_its_own_rule_alone if {
	query := asked([granted({"rule": "EU-GDPR-CHV", "places": ["CU"]})])
	body := main.body with input as query
	body.permitted == plain.permitted
	body.exemptions_used == []
	not "CU" in body.blocked["EU-GDPR-CHV"]
	"CU" in body.blocked["US-OFAC-EMB"]
}

test_where_nobody_is_exempt_an_exemption_is_nothing if {
	never := {id | some id, row in tables.rules.rows; row.exemptible == false}
	{"US-OFAC-EMB", "US-ITAR-US", "US-DSP-BULK", "CARNET-SCREENING", "ORG-NEVER"} & never == {
		"US-OFAC-EMB",
		"US-ITAR-US",
		"US-DSP-BULK",
		"CARNET-SCREENING",
		"ORG-NEVER",
	}
	query := asked([granted({"id": id, "rule": id, "places": plain.blocked["EU-GDPR-CHV"]}) | some id in never])
	body := main.body with input as query
	body == plain
}

test_only_a_rule_that_blocks_at_stage_1_may_be_exemptible if {
	every id, row in tables.rules.rows {
		allowed(id, row)
	}
}

allowed(_, row) if row.exemptible == false

allowed(id, row) if {
	row.stage == "job"
	row.effect == "deny"
	exemptions.exemptible(id) with input as fixtures.hospital
}

test_metadata_alone_makes_no_rule_of_another_kind_exemptible if {
	every change in [{"exemptible": false}, {"stage": "runner"}, {"effect": "warn"}] {
		rows := json.patch(tables.rules.rows, [{
			"op": "replace",
			"path": "/EU-GDPR-CHV",
			"value": object.union(tables.rules.rows["EU-GDPR-CHV"], change),
		}])
		not exemptions.exemptible("EU-GDPR-CHV") with input as fixtures.hospital with data.carnet.tables.rules.rows as rows
	}
	exemptions.exemptible("EU-GDPR-CHV") with input as fixtures.hospital
	not exemptions.exemptible("EU-UNHEARD") with input as fixtures.hospital
}

test_the_job_has_no_class_but_those_of_the_exemption if {
	difference(decided({"classes": ["health", "personal"]})) == {"IN"}
	difference(decided({"classes": ["health", "personal", "genetic"]})) == {"IN"}
	difference(decided({"classes": ["health"]})) == set()
	difference(decided({"classes": ["genetic"]})) == set()
}

test_the_purpose_is_one_of_the_exemptions if {
	difference(decided({"purposes": ["training"]})) == {"IN"}
	difference(decided({"purposes": ["inference", "training"]})) == {"IN"}
	difference(decided({"purposes": ["inference"]})) == set()
}

test_a_region_and_its_country_code_stand_for_each_other if {
	query := fixtures.with_values({"/gateway/exemptions": [granted({"places": ["FR-NC"]})]})
	body := main.body with input as query
	difference(body) == {"NC"}
	not "FR-NC" in body.blocked["EU-GDPR-CHV"]
	rules(query, fixtures.runner("NC")) == set()
	rules(query, fixtures.runner("FR-NC")) == set()
	other := main.body with input as fixtures.with_values({"/gateway/exemptions": [granted({"places": ["NC"]})]})
	other.blocked == body.blocked
}

test_an_exemption_for_a_region_is_none_for_its_country if {
	query := fixtures.with_values({
		"/gateway/exemptions": [granted({"places": ["US-CA"]})],
		"/job/constraints/only": ["US", "US-CA"],
	})
	body := main.body with input as query
	body.permitted == ["US-CA"]
	body.exemptions_used[0].id == "E1"
	rules(query, fixtures.runner("US-CA")) == set()
	"EU-GDPR-CHV" in rules(query, fixtures.runner("US"))
}

test_an_exemption_for_a_country_is_one_for_its_regions if {
	query := fixtures.with_values({
		"/gateway/exemptions": [granted({"places": ["US"]})],
		"/job/constraints/only": ["US-CA"],
	})
	body := main.body with input as query
	body.permitted == ["US-CA"]
	count(body.exemptions_used) == 1
	rules(query, fixtures.runner("US-CA")) == set()
}

test_without_a_basis_to_name_an_importer_any_runner_there_passes if {
	"EU-GDPR-IMPORTER" in rules(fixtures.hospital, fixtures.runner("IN"))
	rules(asked([granted({})]), fixtures.runner("IN")) == set()
	"EU-GDPR-IMPORTER" in rules(asked([granted({})]), fixtures.runner("US"))
	"EU-GDPR-IMPORTER" in rules(asked([granted({"expires_ns": fixtures.now})]), fixtures.runner("IN"))
}

test_where_there_is_a_basis_its_importer_must_be_the_operator_for_all_that if {
	query := fixtures.with_values({
		"/gateway/exemptions": [granted({})],
		"/job/transfer/mechanisms": [fixtures.clauses(["IN"], "another.example")],
	})
	body := main.body with input as query
	body.exemptions_used == []
	rules(query, fixtures.runner("IN")) == {"EU-GDPR-IMPORTER"}
}

test_the_uk_and_switzerland_do_alike if {
	every case in [{"country": "GB", "rule": "UK-GDPR-CHV", "importer": "UK-GDPR-IMPORTER"}, {
		"country": "CH",
		"rule": "CH-FADP-ART16",
		"importer": "CH-FADP-IMPORTER",
	}] {
		query := fixtures.with_values({
			"/job/controller/country": case.country,
			"/job/data/origin_jurisdiction": case.country,
			"/job/data/subject_jurisdictions": [case.country],
			"/job/end_user/country": case.country,
			"/gateway/exemptions": [granted({"rule": case.rule})],
		})
		"IN" in main.permitted with input as query
		not case.importer in rules(query, fixtures.runner("IN"))
		case.importer in rules(query, fixtures.runner("BR"))
	}
}

test_several_exemptions_are_used_and_named_in_order if {
	list := [granted({"id": "E2", "places": ["SG"]}), granted({"id": "E1"}), granted({"id": "E0", "places": ["CU"]})]
	body := main.body with input as asked(list)
	difference(body) == {"IN", "SG"}
	[used.id | some used in body.exemptions_used] == ["E1", "E2"]
	turned := main.body with input as asked([list[2], list[0], list[1]])
	turned == body
}

test_an_exemption_is_used_where_a_region_is_open_for_its_country if {
	main.opened("FR-974") with input as fixtures.hospital
	main.opened("FR-75C") with input as fixtures.hospital
	main.opened("DE") with input as fixtures.hospital
	not main.opened("US") with input as fixtures.hospital
	not main.opened("US-CA") with input as fixtures.hospital
	not main.opened("FR-NC") with input as fixtures.hospital
}

test_a_job_that_is_denied_uses_no_exemption if {
	body := main.body with input as fixtures.with_values({
		"/gateway/exemptions": [granted({})],
		"/gateway/screening": "hit",
	})
	body.verdict == "deny"
	body.exemptions_used == []
}

test_an_exemption_covers_its_places_and_those_that_mean_the_same_and_no_region_besides if {
	exemptions.covered(granted({"places": ["UA-30"]})) == {"UA-30"} with input as fixtures.hospital
	exemptions.covered(granted({"places": ["FR-974"]})) == {"FR-974", "FR-RE", "RE"} with input as fixtures.hospital
	exemptions.covered(granted({"places": ["IN"]})) == {"IN"} with input as fixtures.hospital
	exemptions.covered(granted({"places": []})) == set() with input as fixtures.hospital
}

test_a_runner_in_a_region_that_no_limit_names_follows_its_country if {
	"EU-GDPR-IMPORTER" in rules(fixtures.hospital, fixtures.runner("US-NY"))
	rules(asked([granted({"places": ["US"]})]), fixtures.runner("US-NY")) == set()
}
