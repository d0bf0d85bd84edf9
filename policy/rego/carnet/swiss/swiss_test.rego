package carnet.swiss_test

import data.carnet.fixtures
import data.carnet.runners
import data.carnet.swiss

home := {
	"/job/controller/country": "CH",
	"/job/data/subject_jurisdictions": ["CH"],
	"/job/data/origin_jurisdiction": "CH",
}

query(change) := fixtures.with_values(object.union(home, change))

blocked(change) := found if {
	found := swiss.blocked["CH-FADP-ART16"] with input as query(change)
}

importers(word) := {"/job/transfer/importers": [{"entity": "operator.example", "dpf_certified": "yes", "uk_bridge": "no", "swiss_certified": word}]}

test_a_german_job_is_no_business_of_switzerland if {
	found := swiss.blocked["CH-FADP-ART16"] with input as fixtures.hospital
	found == set()
	warned := swiss.warned["CH-FADP-SCOPE"] with input as fixtures.hospital
	warned == set()
}

test_machine_data_is_free if blocked({"/job/data/classes": ["technical"]}) == set()

test_japan_and_korea_are_on_the_eus_list_and_not_on_the_swiss_one if {
	{"CH", "DE", "GB", "CA"} & blocked({}) == set()
	{"JP", "KR", "US", "IN"} - blocked({}) == set()
	{"CA"} == swiss.warned["CH-FADP-SCOPE"] with input as query({})
}

test_a_person_in_switzerland_is_a_link if {
	found := swiss.blocked["CH-FADP-ART16"] with input as fixtures.with_values({"/job/data/subject_jurisdictions": ["DE", "CH"]})
	"JP" in found
}

test_an_unknown_origin_is_a_swiss_one if {
	found := swiss.blocked["CH-FADP-ART16"] with input as fixtures.with_values({"/job/data/origin_jurisdiction": "ZZ"})
	"JP" in found
}

# 2024-09-15T00:00:00Z
framework := 1726358400000000000

test_the_us_is_per_certified_importer_and_from_its_day if {
	not "US" in blocked(importers("yes"))
	"US" in blocked(importers("no"))
	"US" in blocked(importers("unknown"))
	"US" in blocked(object.union(importers("yes"), {"/context/now_ns": framework - 1}))
	not "US" in blocked(object.union(importers("yes"), {"/context/now_ns": framework}))
}

clauses(change) := {"/job/transfer/mechanisms": [object.union(fixtures.clauses(["IN"], "operator.example"), change)]}

test_standard_clauses_open_the_country_that_they_name_until_they_end if {
	not "IN" in blocked(clauses({}))
	not "IN" in blocked(clauses({"type": "BCR"}))
	"SG" in blocked(clauses({}))
	"IN" in blocked(clauses({"type": "IDTA"}))
	"IN" in blocked(clauses({"expires_ns": fixtures.now}))
}

verdict(change, runner) := answer.verdicts[0] if {
	answer := runners.answer with input as fixtures.asked(query(change), [runner])
}

denied(found) := {reason.rule | some reason in found.reasons; reason.effect == "deny"}

test_the_importer_must_operate_the_runner if {
	"CH-FADP-IMPORTER" in denied(verdict(clauses({"importer": "another.example"}), fixtures.runner("IN")))
	not "CH-FADP-IMPORTER" in denied(verdict(clauses({}), fixtures.runner("IN")))
	not "CH-FADP-IMPORTER" in denied(verdict(importers("yes"), fixtures.runner("US")))
	"CH-FADP-IMPORTER" in denied(verdict(importers("no"), fixtures.runner("US")))
	not "CH-FADP-IMPORTER" in denied(verdict({}, fixtures.runner("FR")))
}

test_a_basis_for_one_country_is_none_for_another_of_the_same_operator if {
	"CH-FADP-IMPORTER" in denied(verdict(clauses({}), fixtures.runner("SG")))
	"CH-FADP-IMPORTER" in denied(verdict(importers("yes"), fixtures.runner("SG")))
}

adequacy := {
	"AA": {"enabled": true, "condition": "none", "status": "seen", "from_ns": 10, "until_ns": null},
	"BB": {"enabled": true, "condition": "none", "status": "unverified", "from_ns": 20, "until_ns": 30},
}

test_the_days_and_the_doubts_are_those_of_the_list_and_the_mechanisms_where_the_law_applies if {
	swiss.dates == {10, 20, 30, fixtures.now + 1} with input as query(clauses({})) with data.carnet.tables.swiss_adequacy.rows as adequacy
	swiss.rows == {"swiss_adequacy/BB"} with input as query(clauses({})) with data.carnet.tables.swiss_adequacy.rows as adequacy
	swiss.dates == set() with input as fixtures.with_values(clauses({}))
	swiss.rows == set() with input as fixtures.with_values(clauses({}))
}
