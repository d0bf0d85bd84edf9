# METADATA
# title: What the decision log does not show
# scope: package
package system.log_test

import data.system.log

question := {
	"path": "carnet/main/body",
	"input": {
		"gateway": {"volumes": {"health": 7}},
		"job": {
			"data": {"records": 500},
			"end_user": {"entity": "Klinikum", "country": "DE"},
			"transfer": {
				"importers": [{"entity": "a", "dpf_certified": "yes"}],
				"mechanisms": [{"importer": "b", "type": "SCC"}],
			},
			"technology": {"licences": [{"id": "L-1", "end_users": ["x", "y"], "codes": ["3A090"]}]},
		},
	},
	"result": {"reasons": []},
}

masked(event) := found if {
	found := log.mask with input as event
}

upserts(event) := {rule.path: rule.value | some rule in masked(event); is_object(rule)}

removed(event) := {rule | some rule in masked(event); is_string(rule)}

with_reason(parameters) := object.union(question, {"result": {"reasons": [{"rule": "R", "parameters": parameters}]}})

test_counts_are_removed if {
	removed(question) == {"/input/gateway/volumes", "/input/job/data/records"}
}

test_names_are_covered_and_what_decided_stays if {
	upserts(question) == {
		"/input/job/end_user/entity": "masked",
		"/input/job/transfer/importers": [{"entity": "masked", "dpf_certified": "yes"}],
		"/input/job/transfer/mechanisms": [{"importer": "masked", "type": "SCC"}],
		"/input/job/technology/licences": [{"id": "masked", "end_users": ["masked", "masked"], "codes": ["3A090"]}],
	}
}

test_nothing_is_made_up_where_nothing_is if {
	upserts({"path": "carnet/main/body", "input": {}, "result": {}}) == {}
	upserts({"path": "carnet/main/body", "input": {"job": {
		"end_user": {},
		"transfer": {"importers": [], "mechanisms": []},
		"technology": {"licences": []},
	}}}) == {}
}

test_counts_in_reasons_are_covered if {
	upserts(with_reason({"records": 500, "codes": ["x"]}))["/result/reasons"] == [{
		"rule": "R",
		"parameters": {"records": "masked", "codes": ["x"]},
	}]
	upserts(with_reason({"sum": 9}))["/result/reasons"][0].parameters == {"sum": "masked"}
	not upserts(with_reason({"codes": ["x"]}))["/result/reasons"]
}

test_counts_in_reasons_elsewhere_are_covered_too if {
	said := {"rule": "R", "parameters": {"sum": 9, "codes": ["x"]}}
	result := {"reasons": [], "reasons_elsewhere": [said]}
	upserts({"path": "p", "input": {}, "result": result}) == {"/result/reasons_elsewhere": [{
		"rule": "R",
		"parameters": {"sum": "masked", "codes": ["x"]},
	}]}
}

test_what_is_no_reason_is_left_as_it_is if {
	upserts({"path": "p", "input": {}, "result": {"obligations": [{"type": "t", "parameters": {"sum": 9}}]}}) == {}
}

test_counts_in_verdicts_are_covered if {
	verdict := {"spiffe_id": "s", "reasons": [{"rule": "R", "parameters": {"sum": 9, "operator": "o"}}]}
	plain := {"spiffe_id": "t", "reasons": [{"rule": "Q", "parameters": {"operator": "p"}}]}
	upserts({"path": "p", "input": {}, "result": {"verdicts": [plain, verdict]}}) == {"/result/verdicts": [
		plain,
		{"spiffe_id": "s", "reasons": [{"rule": "R", "parameters": {"sum": "masked", "operator": "o"}}]},
	]}
	upserts({"path": "p", "input": {}, "result": {"verdicts": [plain]}}) == {}
}

test_the_question_for_the_mask_is_not_shown_at_all if {
	masked({"path": "system/log/mask", "input": question, "result": []}) == {
		"/input",
		"/result",
		"/input/gateway/volumes",
		"/input/job/data/records",
	}
}
