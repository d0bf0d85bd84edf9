# METADATA
# title: The whole decision
# scope: package
package carnet.main_test

import data.carnet.catalogue
import data.carnet.fixtures
import data.carnet.main
import data.carnet.runners
import data.carnet.tables

test_every_rule_that_may_decide_explains_itself_and_cites if {
	every id, row in tables.rules.rows {
		main.explained[id] with input as fixtures.hospital
		tables.messages.rows[main.explained[id].message] with input as fixtures.hospital
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
		"/job/constraints/isolation_min",
		"/gateway/screening",
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
}
