# METADATA
# title: The whole decision
# scope: package
package carnet.main_test

import data.carnet.catalogue
import data.carnet.fixtures
import data.carnet.india
import data.carnet.main
import data.carnet.runners
import data.carnet.tables

test_every_rule_that_may_decide_explains_itself_and_cites if {
	explained := main.explained with input as fixtures.hospital
	every id, row in tables.rules.rows {
		tables.messages.rows[explained[id].message]
		every citation in row.citations {
			tables.citations.rows[citation]
		}
	}
}

test_a_rule_that_was_not_evaluated_leaves_no_decision if {
	rows := json.patch(tables.rules.rows, [{
		"op": "add",
		"path": "/EU-FORGOTTEN",
		"value": tables.rules.rows["EU-GDPR-CHV"],
	}])
	main.body with input as fixtures.hospital
	not main.body with input as fixtures.hospital with data.carnet.tables.rules.rows as rows
	not runners.answer with input as fixtures.asked(fixtures.hospital, [fixtures.runner("DE")])
		with data.carnet.tables.rules.rows as rows
}

test_a_runner_rule_that_is_missing_leaves_no_verdict if {
	row := object.union(tables.rules.rows["EU-GDPR-IMPORTER"], {"effective_from_ns": 0})
	rows := json.patch(tables.rules.rows, [{"op": "add", "path": "/EU-FORGOTTEN", "value": row}])
	main.body with input as fixtures.hospital with data.carnet.tables.rules.rows as rows
	not runners.answer with input as fixtures.asked(fixtures.hospital, [fixtures.runner("DE")])
		with data.carnet.tables.rules.rows as rows
}

test_another_schema_is_no_question if {
	not main.body with input as object.union(fixtures.hospital, {"schema": "carnet.input/v2"})
	not runners.answer with input as object.union(
		fixtures.asked(fixtures.hospital, [fixtures.runner("DE")]),
		{"schema": "carnet.input/v2"},
	)
}

test_a_missing_field_is_not_an_empty_one if {
	every path in [
		"/job/constraints/only",
		"/job/constraints/never",
		"/job/constraints/parent_never",
		"/job/data/classes",
		"/job/data/subject_jurisdictions",
		"/job/transfer/importers",
		"/job/transfer/mechanisms",
		"/job/controller",
		"/job/controller/country",
		"/job/data/origin_jurisdiction",
		"/job/data/records",
		"/job/constraints/isolation_min",
		"/gateway/screening",
		"/gateway/volumes",
		"/gateway",
		"/context/now_ns",
	] {
		not main.body with input as json.patch(fixtures.hospital, [{"op": "remove", "path": path}])
	}
}

test_no_input_is_no_decision if {
	not main.body with input as {}
	not runners.answer with input as {}
}

test_the_answer_says_nothing_of_the_time if {
	now := main.body with input as fixtures.hospital
	later := main.body with input as fixtures.with_values({"/context/now_ns": fixtures.now + 86400000000000})
	now == later
}

test_runners_are_answered_in_the_order_asked if {
	places := ["US", "DE", "FR", "ZZ"]
	answer := runners.answer with input as fixtures.asked(fixtures.hospital, [fixtures.runner(place) | some place in places])
	[verdict.verdict | some verdict in answer.verdicts] == ["deny", "permit", "permit", "deny"]
}

test_every_refused_runner_has_a_reason if {
	answer := runners.answer with input as fixtures.asked(
		fixtures.with_values({"/job/constraints/only": ["FR"]}),
		[fixtures.runner(place) | some place in ["US", "DE", "FR-NC", "NC", "UA", "FR-75C"]],
	)
	[verdict.verdict | some verdict in answer.verdicts] == ["deny", "deny", "deny", "deny", "deny", "permit"]
	every verdict in array.slice(answer.verdicts, 0, 5) {
		count(verdict.reasons) > 0
	}
}

test_every_date_of_a_rule_bounds_the_answer if {
	rows := json.patch(tables.rules.rows, [{
		"op": "replace",
		"path": "/US-OFAC-EMB/effective_to_ns",
		"value": fixtures.now + 7,
	}])
	body := main.body with input as fixtures.machine with data.carnet.tables.rules.rows as rows
	body.valid_until_ns == fixtures.now + 7
	(fixtures.now + 7) in catalogue.dates with input as fixtures.machine with data.carnet.tables.rules.rows as rows
}

test_duties_merge_to_the_least_and_to_the_greatest if {
	main.weight({"type": "recipients_max", "value": 2}) > main.weight({"type": "recipients_max", "value": 3})
	main.weight({"type": "network_none", "value": 1}) == 1
	not main.weight({"type": "recipients_max", "value": "gvisor"})
}

test_of_duties_that_are_equally_strict_the_first_by_rule_stands if {
	{duty.rule | some duty in main.duties; duty.type == "isolation_min"} == {"EU-GDPR-ART32", "ORG-ISOLATION"} with input as fixtures.hospital
	body := main.body with input as fixtures.hospital
	[[duty.rule, duty.value] | some duty in body.obligations; duty.type == "isolation_min"] == [["EU-GDPR-ART32", "container"]]
	three := main.obligations with input as fixtures.hospital
		with data.carnet.baseline.obliged as {"CARNET-NETWORK": {{"type": "isolation_min", "value": "container"}}}
	[duty.rule | some duty in three; duty.type == "isolation_min"] == ["CARNET-NETWORK"]
}

test_a_duty_of_no_rule_in_force_binds_nobody if {
	found := main.duties with input as fixtures.hospital with data.carnet.gdpr.obliged as {"EU-FORGOTTEN": {{"type": "recipients_max", "value": 1}}}
	found == {duty | some duty in found; duty.rule in {"CARNET-NETWORK", "ORG-ISOLATION"}}
	count(found) == 2
}

test_data_without_its_lists_gives_no_decision if {
	main.body with input as fixtures.machine
	not main.body with input as fixtures.machine with data.carnet.tables.memberships.lists as null
	not main.body with input as fixtures.machine with data.carnet.tables.codes.lists as null
}

test_a_duty_that_nobody_is_named_to_enforce_leaves_no_decision if {
	not main.body with input as fixtures.machine with data.carnet.tables.settings.obligations.network_none as {"strictest": "greatest"}
}

test_a_rule_that_blocks_and_has_no_words_leaves_no_decision if {
	not main.body with input as fixtures.hospital with data.carnet.ofac.explained as {}
	not runners.answer with input as fixtures.asked(fixtures.hospital, [fixtures.runner("DE")]) with data.carnet.exposure.explained as {}
}

test_one_place_that_is_left_is_enough_to_permit_and_to_review if {
	query := fixtures.with_values({"/job/constraints/only": ["FR"]})
	main.verdict == "permit" with input as query
	main.verdict == "review" with input as query with data.carnet.baseline.obliged as {"CARNET-NETWORK": {{"type": "approval", "value": 1}}}
}

# The answer ends with the first day of any part of the rules, and names the rows of every part.
soon := fixtures.now + 1

test_the_days_of_every_part_bound_the_answer if {
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.baseline.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.china.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.constraints.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.dsp.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.dualuse.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.ear.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.enduse.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.exemptions.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.exposure.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.gdpr.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.india.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.itar.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.ofac.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.overlays.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.russia.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.saudi.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.sectors.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.swiss.dates as {soon}
	main.valid_until_ns == soon with input as fixtures.machine with data.carnet.uk.dates as {soon}
}

test_the_rows_of_every_part_are_named if {
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.baseline.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.china.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.constraints.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.dsp.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.dualuse.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.ear.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.enduse.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.exposure.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.gdpr.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.india.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.itar.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.ofac.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.overlays.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.russia.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.saudi.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.sectors.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.swiss.rows as {"table/row"}
	"table/row" in main.unverified_rows with input as fixtures.machine with data.carnet.uk.rows as {"table/row"}
}

unverified(change) := rows if {
	body := main.body with input as fixtures.with_values(change)
	rows := {row | some row in body.unverified_rows_used}
}

test_a_citation_that_nobody_verified_is_named_where_its_rule_mattered if {
	justice := {"/job/controller/country": "US", "/job/data/classes": ["criminal_justice"], "/job/data/subject_jurisdictions": ["US"]}
	"citations/C-US-CJIS" in unverified(justice)
	bank := {"/job/controller/sectors": ["bank"], "/job/constraints/only": ["FR"]}
	warned := unverified(bank)
	{"citations/C-EU-DORA-28", "citations/C-GDPR-32"} - warned == set()
	{"citations/C-ORG-FACTS", "citations/C-US-CJIS"} & warned == set()
	not "citations/C-EU-DORA-28" in unverified({})
}

test_a_citation_that_is_in_no_table_is_none_that_anybody_verified if {
	catalogue.unverified_citations({"US-OFAC-EMB"}) == {"citations/C-GONE"} with data.carnet.tables.rules.rows["US-OFAC-EMB"].citations as ["C-GONE", "C-ORG-FACTS"]
}

test_an_exemption_rests_on_what_its_rule_cites if {
	granted := {"id": "E", "rule": "EU-GDPR-CHV", "places": ["SG"], "classes": [], "purposes": [], "expires_ns": fixtures.now + 1}
	whole := main.blocked["EU-GDPR-CHV"] with input as fixtures.hospital
	query := {"/gateway/exemptions": [object.union(granted, {"places": sort(whole)})]}
	body := main.body with input as fixtures.with_values(query)
	not body.blocked["EU-GDPR-CHV"]
	"citations/C-GDPR-44" in body.unverified_rows_used
}

verdict(change, runner) := answer.verdicts[0] if {
	answer := runners.answer with input as fixtures.asked(fixtures.with_values(change), [object.union(fixtures.runner("DE"), runner)])
}

test_a_verdict_names_the_citations_of_the_rules_that_spoke_of_its_runner if {
	french := {"/job/controller/country": "FR"}
	refused := verdict(french, {})
	"citations/C-FR-HDS" in refused.unverified_rows_used
	passed := verdict(french, {"operator": object.union(fixtures.operator("DE", "DE"), {"certifications": ["HDS", "SECNUMCLOUD"]})})
	passed.unverified_rows_used == []
	warned := verdict({}, {"operator": fixtures.operator("DE", "US")})
	warned.verdict == "permit"
	"citations/C-CLOUD-ACT" in warned.unverified_rows_used
}

only_france := {"/job/constraints/only": ["FR"]}

test_a_rule_that_blocks_only_where_only_does_not_ask_has_its_words_apart if {
	body := main.body with input as fixtures.with_values(only_france)
	body.verdict == "permit"
	[said.rule | some said in body.reasons; said.effect == "deny"] == ["ORG-ONLY"]
	apart := {said.rule: said | some said in body.reasons_elsewhere}
	object.keys(apart) == {"EU-GDPR-CHV", "US-OFAC-EMB"}
	every said in body.reasons_elsewhere {
		said.effect == "deny"
		count(said.citations) > 0
		count(said.fix) > 0
	}
	{"SG", "US"} - {place | some place in apart["EU-GDPR-CHV"].jurisdictions} == set()
	"PR" in apart["EU-GDPR-CHV"].jurisdictions
	not "US-PR" in apart["EU-GDPR-CHV"].jurisdictions
	not "ORG-ONLY" in object.keys(apart)
}

untold(only) := object.keys(body.blocked) - {said.rule | some said in array.concat(body.reasons, object.get(body, "reasons_elsewhere", []))} if {
	body := main.body with input as fixtures.with_values({"/job/constraints/only": only})
}

test_every_rule_that_blocks_a_place_has_words_for_it if {
	untold([]) == set()
	untold(["FR", "SG"]) == set()
	untold(["FR-974"]) == set()
}

test_what_only_does_is_first_in_the_way_elsewhere if {
	body := main.body with input as fixtures.with_values({"/job/constraints/only": ["FR"], "/gateway/screening": "hit"})
	[said.rule | some said in body.reasons; said.effect == "deny"] == ["CARNET-SCREENING"]
	[said.rule | some said in body.reasons_elsewhere] == ["ORG-ONLY", "EU-GDPR-CHV", "US-OFAC-EMB"]
}

test_a_decision_without_only_has_no_words_apart if {
	body := main.body with input as fixtures.hospital
	not "reasons_elsewhere" in object.keys(body)
}

apart_from_india := {said.jurisdictions | some said in main.body.reasons_elsewhere; said.rule == "IN-RBI-PAYMENT"}

test_one_place_is_enough_for_words_apart_and_a_region_shown_by_its_code_is_none if {
	query := fixtures.with_values(only_france)
	one := object.union(india.blocked, {"IN-RBI-PAYMENT": {"SG"}}) with input as query
	apart_from_india == {["SG"]} with input as query with data.carnet.india.blocked as one
	shown := object.union(india.blocked, {"IN-RBI-PAYMENT": {"FR-974"}}) with input as query
	apart_from_india == set() with input as query with data.carnet.india.blocked as shown
}

test_a_region_that_only_names_is_shown_as_itself if {
	body := main.body with input as fixtures.with_values({"/job/constraints/only": ["US-PR"]})
	body.verdict == "deny"
	[said.jurisdictions | some said in body.reasons; said.rule == "EU-GDPR-CHV"] == [["US-PR"]]
}

screened := [said.jurisdictions | some said in main.warnings; said.rule == "CARNET-SCREENING-OFF"]

test_a_warning_of_every_place_names_none_and_one_of_some_names_them if {
	open := main.permitted with input as fixtures.hospital
	screened == [[]] with input as fixtures.hospital with data.carnet.baseline.warned as {"CARNET-SCREENING-OFF": open}
	most := open - {"FR"}
	screened == [sort(most)] with input as fixtures.hospital with data.carnet.baseline.warned as {"CARNET-SCREENING-OFF": most}
	screened == [["FR"]] with input as fixtures.hospital with data.carnet.baseline.warned as {"CARNET-SCREENING-OFF": {"FR"}}
	screened == [] with input as fixtures.hospital with data.carnet.baseline.warned as {"CARNET-SCREENING-OFF": {"CU"}}
}

test_a_region_is_open_with_its_country_and_its_code_alone if {
	main.opened("FR-974") with input as fixtures.machine
	not main.opened("FR-974") with input as fixtures.with_values({"/job/constraints/only": ["RE"]})
	not main.opened("FR-974") with input as fixtures.machine with data.carnet.constraints.blocked as {"ORG-NEVER": {"RE"}, "ORG-ONLY": set()}
	not main.opened("FRX") with input as fixtures.machine
}

rules(query, place) := {said.rule | some said in answer.verdicts[0].reasons; said.effect == "deny"} if {
	answer := runners.answer with input as fixtures.asked(query, [fixtures.runner(place)])
}

test_a_runner_hears_of_the_rule_that_keeps_out_its_country_or_its_code if {
	rules(json.patch(fixtures.machine, [{"op": "replace", "path": "/job/constraints/only", "value": ["RE"]}]), "FR-974") == {"ORG-ONLY"}
	found := rules(fixtures.machine, "FR-974") with data.carnet.constraints.blocked as {"ORG-NEVER": {"RE"}, "ORG-ONLY": set()}
	found == {"ORG-NEVER"}
}
