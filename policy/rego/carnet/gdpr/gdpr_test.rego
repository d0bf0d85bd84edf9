# METADATA
# title: GDPR chapter V
# scope: package
package carnet.gdpr_test

import data.carnet.catalogue
import data.carnet.fixtures
import data.carnet.gdpr
import data.carnet.main
import data.carnet.runners
import data.carnet.tables

at(now) := fixtures.with_values({"/context/now_ns": now})

blocked(query) := found if {
	found := gdpr.blocked["EU-GDPR-CHV"] with input as query
}

verdict(query, runner) := answer.verdicts[0] if {
	answer := runners.answer with input as fixtures.asked(query, [runner])
}

rules(verdict) := {reason.rule | some reason in verdict.reasons; reason.effect == "deny"}

test_german_health_data_stays_in_the_eea_and_adequate_countries if {
	body := main.body with input as fixtures.hospital
	body.verdict == "permit"
	{"DE", "FR", "NO", "CH", "JP", "GB", "BR"} - {place | some place in body.permitted} == set()
	not "US" in body.permitted
	not "IN" in body.permitted
}

test_limited_to_the_us_without_a_basis_it_is_denied_with_rule_citation_and_fix if {
	body := main.body with input as fixtures.with_values({"/job/constraints/only": ["US"]})
	body.verdict == "deny"
	body.permitted == []
	body.reasons[0].rule == "EU-GDPR-CHV"
	body.reasons[0].jurisdictions == ["US"]
	"C-GDPR-44" in body.reasons[0].citations
	startswith(body.reasons[0].fix[0], "For the US")
	"FR" in body.reasons[0].parameters.permitted_without_basis
}

test_reunion_is_eu_and_new_caledonia_is_not if {
	found := blocked(fixtures.hospital)
	{"RE", "GP", "MQ", "GF", "YT", "MF", "AX"} & found == set()
	{"NC", "PF", "GL", "AW", "CW", "BQ"} - found == set()
}

test_new_caledonia_does_not_follow_france_as_a_region if {
	{"FR-NC", "FR-PF", "NL-AW", "NO-21"} - blocked(fixtures.hospital) == set()
	not "FR-974" in blocked(fixtures.hospital)
}

test_reunion_as_origin_brings_the_gdpr if {
	gdpr.applies with input as fixtures.with_values({
		"/job/controller/country": "US",
		"/job/data/subject_jurisdictions": ["US"],
		"/job/data/origin_jurisdiction": "RE",
	})
}

abroad := {
	"/job/controller/country": "US",
	"/job/data/subject_jurisdictions": ["US"],
	"/job/data/origin_jurisdiction": "NC",
}

test_without_a_link_to_the_eea_the_regime_does_not_apply if {
	query := fixtures.with_values(abroad)
	blocked(query) == set()
	not gdpr.applies with input as query
	body := main.body with input as query
	"US" in body.permitted
	"NC" in body.permitted
	not "adequacy/CH" in body.unverified_rows_used
	permitted := verdict(query, fixtures.runner("US"))
	permitted.verdict == "permit"
}

test_one_subject_in_the_eea_is_a_link if {
	gdpr.applies with input as fixtures.with_values(object.union(abroad, {"/job/data/subject_jurisdictions": ["US", "FR"]}))
}

test_an_unknown_controller_subject_or_origin_is_a_link if {
	gdpr.applies with input as fixtures.with_values(object.union(abroad, {"/job/controller/country": "ZZ"}))
	gdpr.applies with input as fixtures.with_values(object.union(abroad, {"/job/data/subject_jurisdictions": ["ZZ"]}))
	gdpr.applies with input as fixtures.with_values(object.union(abroad, {"/job/data/subject_jurisdictions": []}))
	gdpr.applies with input as fixtures.with_values(object.union(abroad, {"/job/data/origin_jurisdiction": "ZZ"}))
}

test_machine_data_is_free_and_an_unknown_class_is_personal if {
	blocked(fixtures.machine) == set()
	body := main.body with input as fixtures.machine
	body.obligations[_].type == "network_none"
	not "groups/EU" in body.unverified_rows_used
	"US" in blocked(fixtures.with_values({"/job/data/classes": ["technical", "from_the_future"]}))
	gdpr.special with input as fixtures.with_values({"/job/data/classes": ["from_the_future"]})
}

test_pseudonymised_data_stays_personal if {
	"US" in blocked(fixtures.with_values({"/job/data/pseudonymised": true}))
	"US" in blocked(fixtures.with_values({"/job/data/pseudonymised": false}))
}

gb_ends := 1956096000000000000

# 2027-05-13T00:00:00Z: the next day on which a rule begins.
dpdp_begins := 1810166400000000000

test_gb_adequacy_ends_at_2031_12_27_to_the_nanosecond if {
	not "GB" in blocked(at(gb_ends - 1))
	"GB" in blocked(at(gb_ends))
	"GB" in blocked(at(gb_ends + 1))
}

test_the_answer_is_valid_until_the_next_day_that_changes_it if {
	now := main.body with input as fixtures.hospital
	now.valid_until_ns == dpdp_begins
	before := main.body with input as at(dpdp_begins)
	before.valid_until_ns == gb_ends
	after := main.body with input as at(gb_ends)
	after.valid_until_ns == tables.settings.far_ns
}

br_begins := 1769558400000000000

test_brazil_from_2026_01_28_to_the_nanosecond if {
	"BR" in blocked(at(br_begins - 1))
	not "BR" in blocked(at(br_begins))
}

test_brazil_is_closed_to_exporters_of_the_eea_efta_states if {
	not "BR" in blocked(fixtures.hospital)
	"BR" in blocked(fixtures.with_values({"/job/controller/country": "NO"}))
	"BR" in blocked(fixtures.with_values({"/job/data/origin_jurisdiction": "IS"}))
	"BR" in blocked(fixtures.with_values({"/job/controller/country": "ZZ"}))
	not "CH" in blocked(fixtures.with_values({"/job/controller/country": "ZZ"}))
}

test_a_row_that_is_switched_off_gives_nothing if {
	rows := json.patch(tables.adequacy.rows, [{"op": "replace", "path": "/CH/enabled", "value": false}])
	"CH" in gdpr.blocked["EU-GDPR-CHV"] with input as fixtures.hospital with data.carnet.tables.adequacy.rows as rows
}

importer(entity, certified) := fixtures.with_values({"/job/transfer/importers": [{"entity": entity, "dpf_certified": certified, "uk_bridge": "unknown", "swiss_certified": "unknown"}]})

test_us_adequacy_without_certification_is_none if {
	"US" in blocked(importer("operator.example", "no"))
	"US" in blocked(importer("operator.example", "unknown"))
	not "US" in blocked(importer("operator.example", "yes"))
	"IN" in blocked(importer("operator.example", "yes"))
}

us_begins := 1688947200000000000

test_us_adequacy_begins_with_its_decision if {
	"US" in blocked(json.patch(importer("a", "yes"), [{"op": "replace", "path": "/context/now_ns", "value": us_begins - 1}]))
	not "US" in blocked(json.patch(importer("a", "yes"), [{"op": "replace", "path": "/context/now_ns", "value": us_begins}]))
}

test_the_certified_importer_must_operate_the_runner if {
	query := importer("operator.example", "yes")
	found := verdict(query, fixtures.runner("US"))
	found.verdict == "permit"
	other := verdict(importer("another.example", "yes"), fixtures.runner("US"))
	other.verdict == "deny"
	rules(other) == {"EU-GDPR-IMPORTER"}
	other.reasons[0].parameters.operator == "operator.example"
}

mechanism(change) := fixtures.with_values({"/job/transfer/mechanisms": [object.union(fixtures.clauses(["IN"], "operator.example"), change)]})

test_standard_clauses_open_the_country_that_they_name if {
	not "IN" in blocked(mechanism({}))
	not "IN" in blocked(mechanism({"type": "BCR"}))
	"SG" in blocked(mechanism({}))
	body := main.body with input as mechanism({})
	"EU-GDPR-ART46" in {reason.rule | some reason in body.reasons; reason.effect == "warn"}
	body.valid_until_ns == fixtures.now + 1
}

test_a_mechanism_that_is_expired_unassessed_or_british_is_none if {
	"IN" in blocked(mechanism({"expires_ns": fixtures.now}))
	"IN" in blocked(mechanism({"assessment_completed": false}))
	"IN" in blocked(mechanism({"type": "IDTA"}))
	"IN" in blocked(mechanism({"type": "UK_ADDENDUM"}))
	fixes := gdpr.explained["EU-GDPR-CHV"].fix with input as mechanism({"type": "IDTA"})
	"gdpr.fix.mechanism_unusable" in fixes
}

test_the_importer_of_the_clauses_must_operate_the_runner if {
	found := verdict(mechanism({}), fixtures.runner("IN"))
	found.verdict == "permit"
	other := verdict(mechanism({"importer": "another.example"}), fixtures.runner("IN"))
	rules(other) == {"EU-GDPR-IMPORTER"}
}

test_clauses_for_one_country_are_none_for_another_of_the_same_importer if {
	query := fixtures.with_values({"/job/transfer/mechanisms": [
		fixtures.clauses(["IN"], "operator.example"),
		fixtures.clauses(["SG"], "another.example"),
	]})
	found := verdict(query, fixtures.runner("SG"))
	rules(found) == {"EU-GDPR-IMPORTER"}
}

test_special_categories_go_to_two_recipients_in_a_container if {
	duties := gdpr.obliged["EU-GDPR-ART32"] with input as fixtures.hospital
	duties == {{"type": "recipients_max", "value": 2}, {"type": "isolation_min", "value": "container"}}
	none := gdpr.obliged["EU-GDPR-ART32"] with input as fixtures.with_values({"/job/data/classes": ["financial"]})
	none == set()
	criminal := gdpr.obliged["EU-GDPR-ART32"] with input as fixtures.with_values({"/job/data/classes": ["criminal"]})
	count(criminal) == 2
}

test_special_categories_never_run_in_a_bare_process if {
	query := fixtures.with_values({"/job/constraints/isolation_min": "process"})
	weak := verdict(query, object.union(fixtures.runner("DE"), {"isolation": "process"}))
	rules(weak) == {"EU-GDPR-ART32-RUNNER"}
	plain := json.patch(query, [{"op": "replace", "path": "/job/data/classes", "value": ["personal"]}])
	ordinary := verdict(plain, object.union(fixtures.runner("DE"), {"isolation": "process"}))
	ordinary.verdict == "permit"
}

test_partial_adequacy_is_a_warning if {
	found := gdpr.warned["EU-GDPR-SCOPE"] with input as fixtures.hospital
	found == {"CA", "JP", "KR"}
}

test_before_the_gdpr_applied_its_rules_do_not_decide if {
	# 2018-05-25T00:00:00Z, less one nanosecond, and then.
	before := main.body with input as at(1527206400000000000 - 1)
	"IN" in before.permitted
	then := main.body with input as at(1527206400000000000)
	not "IN" in then.permitted
	not "EU-GDPR-CHV" in before.rules_evaluated
	before.valid_until_ns <= 1527206400000000000
}

test_a_draft_never_decides if {
	rows := json.patch(tables.rules.rows, [{"op": "replace", "path": "/EU-GDPR-CHV/effective_from_ns", "value": null}])
	body := main.body with input as fixtures.hospital with data.carnet.tables.rules.rows as rows
	"IN" in body.permitted
}

ending(day) := json.patch(tables.rules.rows, [{"op": "replace", "path": "/EU-GDPR-CHV/effective_to_ns", "value": day}])

test_a_rule_ends_with_its_last_day_to_the_nanosecond if {
	ended := catalogue.in_force with input as fixtures.hospital with data.carnet.tables.rules.rows as ending(fixtures.now)
	not "EU-GDPR-CHV" in ended
	still := catalogue.in_force with input as fixtures.hospital with data.carnet.tables.rules.rows as ending(fixtures.now + 1)
	"EU-GDPR-CHV" in still
}

test_groups_of_other_laws_are_not_the_gdprs if {
	found := gdpr.rows with input as fixtures.hospital
	"groups/EU" in found
	not "groups/DSP_US" in found
}

# A row of adequacy in force since the first nanosecond, with some values replaced.
adequacy(change) := object.union(
	{
		"enabled": true,
		"condition": "none",
		"exporters_excluded": [],
		"scope": null,
		"from_ns": 1,
		"until_ns": null,
		"status": "unverified",
	},
	change,
)

test_a_row_that_shuts_one_exporter_out_shuts_an_unknown_one_out if {
	query := fixtures.with_values({"/job/controller/country": "ZZ"})
	rows := {"CH": adequacy({"exporters_excluded": ["NO"]}), "JP": adequacy({})}
	found := gdpr.adequate with input as query with data.carnet.tables.adequacy.rows as rows
	found == {"JP"}
}

test_a_condition_that_nobody_knows_is_not_met_by_a_certificate if {
	rows := {"IN": adequacy({"condition": "from_the_future"}), "US": adequacy({"condition": "certified_importer"})}
	query := importer("operator.example", "yes")
	found := gdpr.blocked["EU-GDPR-CHV"] with input as query with data.carnet.tables.adequacy.rows as rows
	"IN" in found
	not "US" in found
}

fixes(query) := found if {
	found := gdpr.explained["EU-GDPR-CHV"].fix with input as query
}

test_only_fixes_that_may_help_are_named if {
	always := ["gdpr.fix.mechanism", "gdpr.fix.free_places"]
	fixes(fixtures.hospital) == array.concat(["gdpr.fix.certified_importer"], always)
	fixes(mechanism({})) == array.concat(["gdpr.fix.certified_importer"], always)
	fixes(importer("operator.example", "yes")) == always
	fixes(mechanism({"type": "IDTA"})) == array.concat(["gdpr.fix.certified_importer", "gdpr.fix.mechanism_unusable"], always)
}

# A job without a link to the EEA, with clauses that would be a basis.
foreign := fixtures.with_values(object.union(
	abroad,
	{"/job/transfer/mechanisms": [fixtures.clauses(["IN"], "operator.example")]},
))

test_a_job_without_a_link_is_neither_warned_nor_obliged if {
	partial := gdpr.warned["EU-GDPR-SCOPE"] with input as foreign
	partial == set()
	measures := gdpr.warned["EU-GDPR-ART46"] with input as foreign
	measures == set()
	duties := gdpr.obliged["EU-GDPR-ART32"] with input as foreign
	duties == set()
}

test_clauses_are_warned_about_only_where_nothing_else_is_a_basis if {
	query := json.patch(importer("operator.example", "yes"), [{
		"op": "replace",
		"path": "/job/transfer/mechanisms",
		"value": [fixtures.clauses(["CH", "DE", "IN", "US"], "operator.example")],
	}])
	found := gdpr.warned["EU-GDPR-ART46"] with input as query
	found == {"IN"}
}

test_a_certificate_is_no_basis_where_no_adequacy_hangs_on_it if {
	"EU-GDPR-IMPORTER" in rules(verdict(importer("operator.example", "yes"), fixtures.runner("IN")))
}

test_an_isolation_that_nobody_knows_is_too_weak_for_any_data if {
	unknown := object.union(fixtures.runner("DE"), {"isolation": "from_the_future"})
	query := fixtures.asked(fixtures.machine, [unknown, fixtures.runner("DE")])
	found := gdpr.passed["EU-GDPR-ART32-RUNNER"] with input as query
	found == {1}
}

days(query) := found if {
	rows := {"CH": adequacy({}), "JP": adequacy({"from_ns": 2, "until_ns": 3})}
	found := gdpr.dates with input as query with data.carnet.tables.adequacy.rows as rows
}

test_the_days_are_those_of_adequacy_and_mechanisms_where_the_law_applies if {
	days(mechanism({"expires_ns": 4})) == {1, 2, 3, 4}
	days(foreign) == set()
}

test_the_classes_are_named_as_unverified_until_somebody_saw_them if {
	unverified := gdpr.rows with input as fixtures.machine with data.carnet.tables.classes.status as "unverified"
	unverified == {"classes"}
	seen := gdpr.rows with input as fixtures.machine with data.carnet.tables.classes.status as "seen"
	seen == set()
}
