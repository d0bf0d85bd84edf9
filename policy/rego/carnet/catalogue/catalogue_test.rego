# METADATA
# title: Days of rules and rows
# scope: package
package carnet.catalogue_test

import data.carnet.catalogue
import data.carnet.fixtures

test_a_rule_without_a_first_or_a_last_day_adds_none if {
	every day in catalogue.dates {
		is_number(day)
	} with input as fixtures.machine
	catalogue.row_dates([{"from_ns": 1, "until_ns": null}, {"from_ns": 2, "until_ns": 3}]) == {1, 2, 3}
}
