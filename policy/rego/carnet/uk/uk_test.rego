package carnet.uk_test

import data.carnet.fixtures
import data.carnet.runners
import data.carnet.uk

british := {
	"/job/controller/country": "GB",
	"/job/data/subject_jurisdictions": ["GB"],
	"/job/data/origin_jurisdiction": "GB",
}

query(change) := fixtures.with_values(object.union(british, change))

blocked(change) := found if {
	found := uk.blocked["UK-GDPR-CHV"] with input as query(change)
}

importers(word) := {"/job/transfer/importers": [{"entity": "operator.example", "dpf_certified": "yes", "uk_bridge": word, "swiss_certified": "no"}]}

clauses(change) := {"/job/transfer/mechanisms": [object.union(fixtures.clauses(["IN"], "operator.example"), change)]}

test_a_german_job_is_no_business_of_the_uk if {
	found := uk.blocked["UK-GDPR-CHV"] with input as fixtures.hospital
	found == set()
	warned := uk.warned["UK-GDPR-SCOPE"] with input as fixtures.hospital
	warned == set()
}

test_british_data_goes_to_the_eea_and_the_uks_own_list if {
	{"GB", "DE", "NO", "CH", "JP", "KR", "GI"} & blocked({}) == set()
	{"US", "IN", "BR", "SG"} - blocked({}) == set()
	{"CA", "JP", "KR"} == uk.warned["UK-GDPR-SCOPE"] with input as query({})
}

test_brazil_is_adequate_for_the_eu_and_not_for_the_uk if "BR" in blocked({})

test_machine_data_is_free if blocked({"/job/data/classes": ["technical"]}) == set()

test_an_unknown_link_is_a_british_one if {
	found := uk.blocked["UK-GDPR-CHV"] with input as fixtures.with_values({"/job/data/origin_jurisdiction": "ZZ"})
	"US" in found
	none := uk.blocked["UK-GDPR-CHV"] with input as fixtures.with_values({"/job/data/subject_jurisdictions": []})
	"US" in none
}

# 2023-10-12T00:00:00Z
bridge := 1697068800000000000

test_the_data_bridge_is_per_importer_and_from_its_day if {
	not "US" in blocked(importers("yes"))
	"US" in blocked(importers("no"))
	"US" in blocked(importers("unknown"))
	"US" in blocked(object.union(importers("yes"), {"/context/now_ns": bridge - 1}))
	not "US" in blocked(object.union(importers("yes"), {"/context/now_ns": bridge}))
}

test_eu_clauses_alone_are_no_british_basis if {
	"IN" in blocked(clauses({}))
	not "IN" in blocked(clauses({"type": "UK_ADDENDUM"}))
	not "IN" in blocked(clauses({"type": "IDTA"}))
	not "IN" in blocked(clauses({"type": "BCR"}))
	"IN" in blocked(clauses({"type": "IDTA", "assessment_completed": false}))
	"IN" in blocked(clauses({"type": "IDTA", "expires_ns": fixtures.now}))
}

verdict(change, runner) := answer.verdicts[0] if {
	answer := runners.answer with input as fixtures.asked(query(change), [runner])
}

denied(found) := {reason.rule | some reason in found.reasons; reason.effect == "deny"}

test_the_importer_must_operate_the_runner if {
	other := object.union(clauses({"type": "IDTA", "importer": "another.example"}), {"/job/data/classes": ["personal"]})
	"UK-GDPR-IMPORTER" in denied(verdict(other, fixtures.runner("IN")))
	same := object.union(clauses({"type": "IDTA"}), {"/job/data/classes": ["personal"]})
	not "UK-GDPR-IMPORTER" in denied(verdict(same, fixtures.runner("IN")))
	not "UK-GDPR-IMPORTER" in denied(verdict({}, fixtures.runner("DE")))
	not "UK-GDPR-IMPORTER" in denied(verdict(importers("yes"), fixtures.runner("US")))
}

test_a_basis_for_one_country_is_none_for_another_of_the_same_operator if {
	"UK-GDPR-IMPORTER" in denied(verdict(clauses({"type": "IDTA"}), fixtures.runner("SG")))
	"UK-GDPR-IMPORTER" in denied(verdict(importers("yes"), fixtures.runner("SG")))
}

test_the_data_bridge_of_one_importer_is_none_for_another_operator if {
	other := {"/job/transfer/importers": [object.union(importers("yes")["/job/transfer/importers"][0], {"entity": "another.example"})]}
	not "US" in blocked(other)
	"UK-GDPR-IMPORTER" in denied(verdict(other, fixtures.runner("US")))
}

adequacy := {
	"AA": {"enabled": true, "condition": "none", "status": "seen", "from_ns": 10, "until_ns": null},
	"BB": {"enabled": true, "condition": "none", "status": "unverified", "from_ns": 20, "until_ns": 30},
}

test_the_days_and_the_doubts_are_those_of_the_list_and_the_mechanisms_where_the_law_applies if {
	uk.dates == {10, 20, 30, fixtures.now + 1} with input as query(clauses({})) with data.carnet.tables.uk_adequacy.rows as adequacy
	uk.rows == {"uk_adequacy/BB"} with input as query(clauses({})) with data.carnet.tables.uk_adequacy.rows as adequacy
	uk.dates == set() with input as fixtures.with_values(clauses({}))
	uk.rows == set() with input as fixtures.with_values(clauses({}))
}
