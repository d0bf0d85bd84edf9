package carnet.india_test

import data.carnet.fixtures
import data.carnet.india
import data.carnet.main
import data.carnet.places

payment := {"/job/data/classes": ["payment_card"], "/job/data/origin_jurisdiction": "IN", "/job/controller/country": "IN"}

blocked(change) := found if {
	found := india.blocked["IN-RBI-PAYMENT"] with input as fixtures.with_values(change)
}

test_only_payment_data_of_india_is_bound_to_india if {
	"DE" in blocked(payment)
	not "IN" in blocked(payment)
	blocked(object.union(payment, {"/job/data/classes": ["financial"]})) == set()
	blocked({"/job/data/classes": ["payment_card"]}) == set()
	"DE" in blocked({"/job/data/classes": ["payment_card"], "/job/data/origin_jurisdiction": "ZZ"})
}

# 2027-05-13T00:00:00Z
begins := 1810166400000000000

warned(now) := {reason.rule | some reason in body.reasons; reason.effect == "warn"} if {
	body := main.body with input as fixtures.with_values({"/job/data/classes": ["technical"], "/job/controller/country": "IN", "/job/data/origin_jurisdiction": "IN", "/context/now_ns": now})
}

test_transfers_are_looked_at_from_their_day if {
	not "IN-DPDP-16" in warned(begins - 1)
	"IN-DPDP-16" in warned(begins)
	none := india.warned["IN-DPDP-16"] with input as fixtures.hospital
	none == set()
}

test_every_place_but_india_is_looked_at if {
	found := india.warned["IN-DPDP-16"] with input as fixtures.with_values({"/job/controller/country": "IN"})
	found == places.countries - {"IN"}
}
