package carnet.russia_test

import data.carnet.fixtures
import data.carnet.main
import data.carnet.russia

blocked(change) := found if {
	found := russia.blocked["RU-23FZ"] with input as fixtures.with_values(change)
}

test_data_from_elsewhere_is_no_business_of_russia if blocked({}) == set()

test_data_collected_in_russia_stays_there if {
	found := blocked({"/job/data/origin_jurisdiction": "RU"})
	"DE" in found
	not "RU" in found
	blocked({"/job/data/origin_jurisdiction": "RU", "/job/data/classes": ["technical"]}) == set()
}

test_an_unknown_origin_is_a_russian_one if "DE" in blocked({"/job/data/origin_jurisdiction": "ZZ"})

# 2025-07-01T00:00:00Z
begins := 1751328000000000000

test_the_law_has_a_first_day if {
	before := main.body with input as fixtures.with_values({"/job/data/origin_jurisdiction": "RU", "/context/now_ns": begins - 1})
	not "RU-23FZ" in before.rules_evaluated
	then := main.body with input as fixtures.with_values({"/job/data/origin_jurisdiction": "RU", "/context/now_ns": begins})
	"DE" in then.blocked["RU-23FZ"]
}
