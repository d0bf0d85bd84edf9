package carnet.sectors_test

import data.carnet.fixtures
import data.carnet.runners
import data.carnet.sectors

denied(change, words) := {reason.rule | some reason in answer.verdicts[0].reasons; reason.effect == "deny"} if {
	runner := object.union(fixtures.runner("DE"), {"operator": object.union(fixtures.operator("DE", "DE"), {"certifications": words})})
	answer := runners.answer with input as fixtures.asked(fixtures.with_values(change), [runner])
}

cautioned(change, words) := {reason.rule | some reason in answer.verdicts[0].reasons; reason.effect == "warn"} if {
	runner := object.union(fixtures.runner("DE"), {"operator": object.union(fixtures.operator("DE", "DE"), {"certifications": words})})
	answer := runners.answer with input as fixtures.asked(fixtures.with_values(change), [runner])
}

test_a_public_body_keeps_special_data_under_a_mark_of_its_country if {
	"SEC-PUBLIC" in cautioned({}, [])
	"SEC-PUBLIC" in cautioned({}, ["SECNUMCLOUD", "ISO27001"])
	not "SEC-PUBLIC" in cautioned({}, ["C5"])
	not "SEC-PUBLIC" in cautioned({"/job/controller/country": "FR"}, ["SECNUMCLOUD"])
	"SEC-PUBLIC" in cautioned({"/job/controller/country": "RE"}, ["C5"])
	not "SEC-PUBLIC" in cautioned({"/job/controller/country": "PR"}, ["FEDRAMP"])
	not "SEC-PUBLIC" in cautioned({"/job/data/classes": ["personal"]}, [])
	not "SEC-PUBLIC" in cautioned({"/job/controller/public_body": false}, [])
	"SEC-PUBLIC" in cautioned({"/job/controller/public_body": false, "/job/controller/sectors": ["health", "public"]}, [])
}

test_where_no_mark_is_asked_for_any_will_do_and_where_nobody_knows_all_are if {
	"SEC-PUBLIC" in cautioned({"/job/controller/country": "AT"}, ["ISO27001"])
	not "SEC-PUBLIC" in cautioned({"/job/controller/country": "AT"}, ["FEDRAMP"])
	"SEC-PUBLIC" in cautioned({"/job/controller/country": "ZZ"}, ["C5", "FEDRAMP"])
	not "SEC-PUBLIC" in cautioned({"/job/controller/country": "ZZ"}, ["C5", "FEDRAMP", "SECNUMCLOUD"])
	unsaid := json.patch(fixtures.hospital, [{"op": "remove", "path": "/job/controller/public_body"}])
	found := sectors.official with input as unsaid
	found
}

test_the_reason_names_the_marks_that_were_asked_for if {
	german := sectors.explained["SEC-PUBLIC"].parameters.marks with input as fixtures.hospital
	german == ["C5"]
	any_of := sectors.explained["SEC-PUBLIC"].parameters.marks with input as fixtures.with_values({"/job/controller/country": "AT"})
	any_of == ["C5", "FEDRAMP", "SECNUMCLOUD"]
}

test_rows_that_nobody_verified_are_named_where_a_sector_looked_at_them if {
	hospital := sectors.rows with input as fixtures.hospital
	{"memberships/FR_SOIL/RE", "memberships/US_SOIL/PR", "memberships/SEC_C5/DE"} - hospital == set()
	bank := sectors.rows with input as fixtures.with_values({"/job/controller": {"country": "RE", "sectors": ["bank"], "public_body": false}, "/job/data/classes": ["financial"]})
	bank == {"groups/EU", "groups/EU_ALAND"}
	police := sectors.rows with input as fixtures.with_values({"/job/controller/public_body": false, "/job/data/classes": ["criminal_justice"]})
	police == {concat("", ["memberships/US_SOIL/", place]) | some place in ["AS", "GU", "MP", "PR", "UM", "US", "VI"]}
}

test_health_data_of_france_takes_a_certified_host if {
	french := {"/job/controller/country": "FR"}
	"SEC-HDS" in denied(french, [])
	"SEC-HDS" in denied(french, ["C5"])
	not "SEC-HDS" in denied(french, ["HDS"])
	not "SEC-HDS" in denied({}, [])
	"SEC-HDS" in denied({"/job/data/origin_jurisdiction": "RE"}, [])
	"SEC-HDS" in denied({"/job/data/origin_jurisdiction": "ZZ"}, [])
	not "SEC-HDS" in denied({"/job/controller/country": "FR", "/job/data/classes": ["personal"]}, [])
}

test_payment_cards_take_a_certified_provider if {
	cards := {"/job/data/classes": ["payment_card"]}
	"SEC-PCI" in denied(cards, [])
	not "SEC-PCI" in denied(cards, ["PCI-DSS"])
	not "SEC-PCI" in denied({}, [])
}

justice := {"/job/data/classes": ["criminal_justice"], "/job/data/subject_jurisdictions": ["US"]}

test_criminal_justice_information_of_the_us_stays_there_with_certified_operators if {
	found := sectors.blocked["SEC-CJIS"] with input as fixtures.with_values(justice)
	"DE" in found
	not "US" in found
	"SEC-CJIS-OPERATOR" in denied(justice, [])
	not "SEC-CJIS-OPERATOR" in denied(justice, ["CJIS"])
	none := sectors.blocked["SEC-CJIS"] with input as fixtures.with_values({"/job/data/classes": ["criminal_justice"]})
	none == set()
	exported := sectors.blocked["SEC-CJIS"] with input as fixtures.with_values({"/job/data/classes": ["criminal_justice"], "/job/controller/country": "ZZ"})
	"DE" in exported
}

warned(rule, change) := found if {
	found := sectors.warned[rule] with input as fixtures.with_values(change)
}

test_health_data_of_the_us_takes_an_agreement if {
	"DE" in warned("SEC-HIPAA", {"/job/controller/country": "US"})
	"DE" in warned("SEC-HIPAA", {"/job/controller/country": "ZZ"})
	warned("SEC-HIPAA", {}) == set()
	warned("SEC-HIPAA", {"/job/controller/country": "US", "/job/data/classes": ["personal"]}) == set()
}

test_financial_entities_of_the_union_keep_a_register if {
	"DE" in warned("SEC-DORA", {"/job/controller/sectors": ["bank"]})
	"DE" in warned("SEC-DORA", {"/job/controller/sectors": ["insurance"]})
	"DE" in warned("SEC-DORA", {"/job/controller/sectors": ["bank"], "/job/controller/country": "RE"})
	"DE" in warned("SEC-DORA", {"/job/controller/sectors": ["payment", "other"], "/job/controller/country": "ZZ"})
	warned("SEC-DORA", {"/job/controller/sectors": ["bank"], "/job/controller/country": "US"}) == set()
	warned("SEC-DORA", {}) == set()
}
