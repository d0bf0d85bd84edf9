# METADATA
# title: What an organisation's overlay may add, and what it may not
# scope: package
package carnet.overlays_test

import data.carnet.catalogue
import data.carnet.fixtures
import data.carnet.main
import data.carnet.overlays
import data.carnet.runners
import data.carnet.tables

row(stage, effect) := object.union(tables.rules.rows["EU-GDPR-CHV"], {
	"overlay": "acme",
	"package": "carnet.org.acme",
	"stage": stage,
	"effect": effect,
	"citations": ["C-CARNET-BASE"],
})

rows := object.union(tables.rules.rows, {
	"ACME-NOT-FR": row("job", "deny"),
	"ACME-CARE": row("job", "warn"),
	"ACME-APPROVAL": row("job", "oblige"),
	"ACME-RUNNER": row("runner", "deny"),
})

words := {"message": "carnet.network_none", "parameters": {}, "fix": ["carnet.fix.iso_codes"]}

blocked := {"ACME-NOT-FR": {"FR"}}

warned := {"ACME-CARE": {"DE"}}

obliged := {"ACME-APPROVAL": {{"type": "approval", "value": 2}}}

passed := {"ACME-RUNNER": {0}}

explained := {id: words | some id in ["ACME-NOT-FR", "ACME-CARE", "ACME-APPROVAL", "ACME-RUNNER"]}

query(overlay, approvals) := fixtures.with_values({"/gateway/overlay": overlay, "/gateway/approvals": approvals})

decided(asked, said) := body if {
	body := main.body with input as asked
		with data.carnet.tables.rules.rows as rows
		with data.carnet.overlays.known as object.get(said, "known", true)
		with data.carnet.overlays.blocked as object.get(said, "blocked", blocked)
		with data.carnet.overlays.warned as object.get(said, "warned", warned)
		with data.carnet.overlays.obliged as object.get(said, "obliged", obliged)
		with data.carnet.overlays.passed as object.get(said, "passed", passed)
		with data.carnet.overlays.explained as object.get(said, "explained", explained)
		with data.carnet.overlays.dates as object.get(said, "dates", set())
		with data.carnet.overlays.rows as object.get(said, "rows", set())
}

judged(said) := answer if {
	asked := fixtures.asked(query("acme", 2), [fixtures.runner("DE"), fixtures.runner("IT")])
	answer := runners.answer with input as asked
		with data.carnet.tables.rules.rows as rows
		with data.carnet.overlays.known as true
		with data.carnet.overlays.blocked as blocked
		with data.carnet.overlays.warned as warned
		with data.carnet.overlays.obliged as obliged
		with data.carnet.overlays.passed as object.get(said, "passed", passed)
		with data.carnet.overlays.explained as object.get(said, "explained", explained) with data.carnet.overlays.dates as set()
		with data.carnet.overlays.rows as set()
}

plain := body if {
	body := main.body with input as fixtures.hospital
}

without(name) := object.remove(explained, [name])

test_an_overlay_adds_blocks_warnings_duties_dates_and_rows if {
	body := decided(query("acme", 2), {"dates": {fixtures.now + 5}, "rows": {"acme/row"}})
	{place | some place in plain.permitted} - {place | some place in body.permitted} == {"FR"}
	body.verdict == "permit"
	body.blocked["ACME-NOT-FR"] == ["FR"]
	{reason.rule | some reason in body.reasons} - {reason.rule | some reason in plain.reasons} == {
		"ACME-NOT-FR",
		"ACME-CARE",
		"ACME-APPROVAL",
	}
	some duty in body.obligations
	duty == {
		"type": "approval",
		"value": 2,
		"rule": "ACME-APPROVAL",
		"citations": ["C-CARNET-BASE"],
		"enforcer": "gateway",
	}
	body.valid_until_ns == fixtures.now + 5
	"acme/row" in body.unverified_rows_used
	{"ACME-NOT-FR", "ACME-CARE", "ACME-APPROVAL"} == {id | some id in body.rules_evaluated} - {id | some id in plain.rules_evaluated}
}

test_a_runner_rule_of_an_overlay_keeps_runners_out if {
	answer := judged({})
	[verdict.verdict | some verdict in answer.verdicts] == ["permit", "deny"]
	answer.verdicts[1].reasons[0].rule == "ACME-RUNNER"
	"ACME-RUNNER" in answer.rules_evaluated
}

test_an_overlay_decides_for_its_own_organisation_alone if {
	body := decided(query("", 0), {"blocked": {}, "warned": {}, "obliged": {}})
	body.permitted == plain.permitted
	body.rules_evaluated == plain.rules_evaluated
	not "ACME-NOT-FR" in catalogue.in_force with input as query("other", 0) with data.carnet.tables.rules.rows as rows
}

test_an_overlay_that_the_bundle_does_not_have_leaves_no_decision if {
	not main.body with input as query("acme", 2)
	not runners.answer with input as fixtures.asked(query("acme", 2), [fixtures.runner("DE")])
	decided(query("acme", 2), {"known": true})
	not decided(query("acme", 2), {"known": false})
	overlays.known with input as query("", 0)
	not overlays.known with input as query("acme", 0)
	main.body with input as query("", 2)
}

test_an_overlay_can_not_speak_for_a_rule_of_all if {
	free := object.union(blocked, {"EU-GDPR-CHV": set(), "US-OFAC-EMB": set()})
	said := object.union(explained, {"EU-GDPR-CHV": object.union(words, {"message": "carnet.screening_off"})})
	body := decided(query("acme", 2), {"blocked": free, "explained": said})
	body == decided(query("acme", 2), {})
	body.blocked["EU-GDPR-CHV"] == plain.blocked["EU-GDPR-CHV"]
}

test_an_overlay_can_not_let_a_runner_pass_a_rule_of_all if {
	judged({"passed": object.union(passed, {"CARNET-RUNNER-PLACE": set()})}) == judged({})
}

test_where_there_is_no_overlay_nobody_adds_a_thing if {
	body := decided(query("", 0), {"blocked": {"EU-GDPR-CHV": set(), "EU-NEW": {"DE"}}, "warned": {}, "obliged": {}})
	body == decided(query("", 0), {"blocked": {}, "warned": {}, "obliged": {}})
}

test_a_rule_that_an_overlay_leaves_out_leaves_no_decision if {
	decided(query("acme", 2), {})
	not decided(query("acme", 2), {"blocked": {}})
	not decided(query("acme", 2), {"warned": {}})
	not decided(query("acme", 2), {"obliged": {}})
	judged({})
	not judged({"passed": {}})
}

test_what_is_no_set_is_no_answer if {
	every wrong in [["FR"], "FR", {"FR": true}, null, []] {
		not decided(query("acme", 2), {"blocked": {"ACME-NOT-FR": wrong}})
	}
	not decided(query("acme", 2), {"obliged": {"ACME-APPROVAL": [{"type": "approval", "value": 2}]}})
	not judged({"passed": {"ACME-RUNNER": [0]}})
}

test_a_rule_of_an_overlay_that_does_not_explain_itself_leaves_no_decision if {
	every name in object.keys(explained) {
		not decided(query("acme", 2), {"explained": without(name)})
	}
}

test_words_that_no_catalogue_has_are_none if {
	every change in [{"message": "acme.unheard"}, {"fix": ["acme.unheard"]}, {"parameters": []}] {
		wrong := object.union(explained, {"ACME-NOT-FR": object.union(words, change)})
		not decided(query("acme", 2), {"explained": wrong})
	}
	silent := json.remove(explained, ["ACME-NOT-FR/fix"])
	not decided(query("acme", 2), {"explained": silent})
}

test_a_duty_that_is_not_known_leaves_no_decision if {
	decided(query("acme", 2), {"obliged": {"ACME-APPROVAL": set()}})
	every duty in [
		{"type": "applause", "value": 1},
		{"type": 1, "value": 1},
		{"value": 1},
		{"type": "approval"},
	] {
		not decided(query("acme", 2), {"obliged": {"ACME-APPROVAL": {duty}}})
		not decided(query("acme", 2), {"obliged": {"ACME-APPROVAL": {duty, {"type": "approval", "value": 1}}}})
	}
}

test_a_job_waits_until_enough_persons_have_approved_it if {
	every few in [0, 1] {
		body := decided(query("acme", few), {})
		body.verdict == "review"
		body.permitted == decided(query("acme", 2), {}).permitted
		some reason in body.reasons
		reason.rule == "ACME-APPROVAL"
		reason.parameters.fix_ids == ["carnet.fix.iso_codes", "carnet.fix.approval"]
	}
	every enough in [2, 3] {
		body := decided(query("acme", enough), {})
		body.verdict == "permit"
		some reason in body.reasons
		reason.rule == "ACME-APPROVAL"
		reason.parameters.fix_ids == ["carnet.fix.iso_codes"]
	}
}

test_only_the_rule_that_asks_for_approval_says_how_to_get_it if {
	body := decided(query("acme", 0), {})
	{reason.rule | some reason in body.reasons; "carnet.fix.approval" in reason.parameters.fix_ids} == {"ACME-APPROVAL"}
	"EU-GDPR-ART32" in {reason.rule | some reason in body.reasons}
}

test_the_greatest_quorum_counts if {
	two := {"ACME-APPROVAL": {{"type": "approval", "value": 1}, {"type": "approval", "value": 3}}}
	decided(query("acme", 2), {"obliged": two}).verdict == "review"
	decided(query("acme", 3), {"obliged": two}).verdict == "permit"
}

test_what_is_denied_is_not_reviewed if {
	asked := json.patch(query("acme", 0), [{"op": "replace", "path": "/gateway/screening", "value": "hit"}])
	body := decided(asked, {})
	body.verdict == "deny"
	body.permitted == []
}

test_a_rule_of_an_overlay_may_be_exemptible if {
	asked := json.patch(query("acme", 2), [{"op": "replace", "path": "/gateway/exemptions", "value": [{
		"id": "E1",
		"rule": "ACME-NOT-FR",
		"places": ["FR"],
		"classes": [],
		"purposes": [],
		"expires_ns": fixtures.now + 1,
	}]}])
	body := decided(asked, {})
	body.permitted == plain.permitted
	body.exemptions_used[0].rule == "ACME-NOT-FR"
}

test_the_gateways_facts_are_asked_for_whole if {
	every path in ["/gateway/overlay", "/gateway/exemptions", "/gateway/approvals", "/job/purpose"] {
		not main.body with input as json.patch(fixtures.hospital, [{"op": "remove", "path": path}])
	}
	every value in [null, 1] {
		not main.body with input as fixtures.with_values({"/gateway/overlay": value})
	}
}

test_without_an_overlay_nothing_is_added_and_for_one_that_is_not_here_nothing_is_defined if {
	count(overlays.blocked) == 0 with input as query("", 0)
	count(overlays.warned) == 0 with input as query("", 0)
	count(overlays.obliged) == 0 with input as query("", 0)
	count(overlays.passed) == 0 with input as query("", 0)
	count(overlays.explained) == 0 with input as query("", 0)
	count(overlays.dates) == 0 with input as query("", 0)
	count(overlays.rows) == 0 with input as query("", 0)
	not overlays.blocked with input as query("acme", 0)
	not overlays.warned with input as query("acme", 0)
	not overlays.obliged with input as query("acme", 0)
	not overlays.passed with input as query("acme", 0)
	not overlays.explained with input as query("acme", 0)
	not overlays.dates with input as query("acme", 0)
	not overlays.rows with input as query("acme", 0)
}
