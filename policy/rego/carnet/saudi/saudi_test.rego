package carnet.saudi_test

import data.carnet.fixtures
import data.carnet.saudi

blocked(change) := found if {
	found := saudi.blocked["SA-PDPL-29"] with input as fixtures.with_values(change)
}

basis(type, change) := {
	"/job/data/subject_jurisdictions": ["SA"],
	"/job/transfer/mechanisms": [object.union_n([fixtures.clauses(["DE"], "operator.example"), {"type": type}, change])],
}

test_a_job_without_a_link_is_free if blocked({}) == set()

test_a_subject_an_origin_or_a_controller_is_a_link if {
	"DE" in blocked({"/job/data/subject_jurisdictions": ["SA"]})
	"DE" in blocked({"/job/data/origin_jurisdiction": "SA"})
	"DE" in blocked({"/job/controller/country": "SA"})
	"DE" in blocked({"/job/controller/country": "ZZ"})
	not "SA" in blocked({"/job/controller/country": "SA"})
	blocked({"/job/controller/country": "SA", "/job/data/classes": ["technical"]}) == set()
}

test_clauses_and_binding_rules_open_their_country_until_they_end if {
	not "DE" in blocked(basis("SA_CLAUSES", {}))
	not "DE" in blocked(basis("SA_BINDING", {}))
	"FR" in blocked(basis("SA_CLAUSES", {}))
	"DE" in blocked(basis("SCC", {}))
	"DE" in blocked(basis("SA_CLAUSES", {"assessment_completed": false}))
	"DE" in blocked(basis("SA_CLAUSES", {"expires_ns": fixtures.now}))
}

dates(change) := found if {
	found := saudi.dates with input as fixtures.with_values(object.union(basis("SA_CLAUSES", {}), change))
}

test_the_days_are_those_of_the_mechanisms_where_the_law_applies if {
	dates({}) == {fixtures.now + 1}
	dates({"/job/data/subject_jurisdictions": ["DE"]}) == set()
}
