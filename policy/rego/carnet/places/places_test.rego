# METADATA
# title: Places
# scope: package
package carnet.places_test

import data.carnet.fixtures
import data.carnet.places

limits(only, never) := fixtures.with_values({"/job/constraints/only": only, "/job/constraints/never": never})

test_only_known_regions_that_limits_name_become_places_of_their_own if {
	query := limits(["FR", "FR-974", "EU", "XX-1"], ["DE", "US-CA", "ZZ-1"])
	places.named == {"FR-974", "US-CA"} with input as query
	places.universe - places.countries == {"FR-974"} with input as query
}

test_a_region_without_a_code_of_its_own_has_its_countrys if {
	places.code_of("UA-14") == "UA"
	places.code_of("US-CA") == "US"
	places.code_of("US-PR") == "PR"
}

test_what_only_begins_like_a_country_is_unknown if {
	not places.known("FRX")
	places.known("FR-75C")
}
