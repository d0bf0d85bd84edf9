package carnet.china_test

import data.carnet.china
import data.carnet.fixtures
import data.carnet.main
import data.carnet.tables

chinese := {"/job/controller/country": "CN", "/job/data/origin_jurisdiction": "CN", "/job/data/subject_jurisdictions": ["CN"]}

blocked(change) := found if {
	found := china.blocked["CN-CAC-EXPORT"] with input as fixtures.with_values(object.union(chinese, change))
}

basis(type, change) := {"/job/transfer/mechanisms": [object.union_n([fixtures.clauses(["DE"], "operator.example"), {"type": type}, change])]}

ordinary(records) := {"/job/data/classes": ["personal"], "/job/data/records": records}

test_a_german_job_is_no_business_of_china if {
	found := china.blocked["CN-CAC-EXPORT"] with input as fixtures.hospital
	found == set()
	none := china.warned["CN-PIPL-41"] with input as fixtures.hospital
	none == set()
	many := china.blocked["CN-CAC-EXPORT"] with input as fixtures.with_values({"/job/data/records": 10001})
	many == set()
}

test_the_days_are_those_of_the_mechanisms_where_data_leaves_china if {
	china.dates == {fixtures.now + 1} with input as fixtures.with_values(object.union(chinese, basis("CN_CONTRACT", {})))
	china.dates == set() with input as fixtures.with_values(basis("CN_CONTRACT", {}))
}

test_ordinary_data_is_exempt_below_a_hundred_thousand if {
	blocked(ordinary(99999)) == set()
	"DE" in blocked(ordinary(100000))
	not "CN" in blocked(ordinary(100000))
}

test_a_contract_serves_up_to_a_million if {
	not "DE" in blocked(object.union(ordinary(1000000), basis("CN_ASSESSMENT", {})))
	not "DE" in blocked(object.union(ordinary(1000000), basis("CN_CONTRACT", {})))
	"DE" in blocked(object.union(ordinary(1000001), basis("CN_CONTRACT", {})))
	not "DE" in blocked(object.union(ordinary(1000001), basis("CN_ASSESSMENT", {})))
}

test_sensitive_data_takes_a_basis_from_the_first_record_and_an_assessment_beyond_ten_thousand if {
	"DE" in blocked({"/job/data/records": 1})
	not "DE" in blocked(object.union({"/job/data/records": 10000}, basis("CN_CERTIFICATION", {})))
	"DE" in blocked(object.union({"/job/data/records": 10001}, basis("CN_CERTIFICATION", {})))
	"DE" in blocked(object.union({"/job/data/records": 1}, basis("CN_CONTRACT", {"expires_ns": fixtures.now})))
	"DE" in blocked(object.union({"/job/data/records": 1}, basis("SCC", {})))
}

test_important_data_always_takes_an_assessment if {
	important := {"/job/data/classes": ["technical", "cn_important"], "/job/data/records": 0}
	"DE" in blocked(object.union(important, basis("CN_CONTRACT", {})))
	not "DE" in blocked(object.union(important, basis("CN_ASSESSMENT", {})))
}

test_hong_kong_and_macau_are_abroad if {"HK", "MO"} - blocked({}) == set()

test_an_unknown_origin_is_a_chinese_one if {
	found := china.blocked["CN-CAC-EXPORT"] with input as fixtures.with_values({"/job/data/origin_jurisdiction": "ZZ"})
	"DE" in found
}

test_foreign_authorities_are_a_warning if {
	found := china.warned["CN-PIPL-41"] with input as fixtures.with_values(chinese)
	"DE" in found
	not "CN" in found
}

test_machine_data_is_free if blocked({"/job/data/classes": ["technical"], "/job/data/records": 2000000}) == set()

test_the_amounts_are_those_of_the_table if {
	rows := object.union(tables.cn_amounts.rows, {"ordinary": object.union(tables.cn_amounts.rows.ordinary, {"contract_from": 50})})
	"DE" in blocked(ordinary(50)) with data.carnet.tables.cn_amounts.rows as rows
	blocked(ordinary(49)) == set() with data.carnet.tables.cn_amounts.rows as rows
}

used(change) := {row | some row in body.unverified_rows_used} if {
	body := main.body with input as fixtures.with_values(change)
}

test_amounts_that_nobody_verified_are_named_where_they_let_the_job_pass if {
	"cn_amounts/ordinary" in used(object.union(chinese, ordinary(1)))
	not "cn_amounts/sensitive" in used(object.union(chinese, ordinary(1)))
	not "cn_amounts/ordinary" in used(ordinary(1))
	not "cn_amounts/ordinary" in used(object.union(chinese, {"/job/data/classes": ["technical"]}))
}
