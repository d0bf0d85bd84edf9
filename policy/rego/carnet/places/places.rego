# METADATA
# title: Places
# description: |
#   Countries (ISO 3166-1) and the regions (ISO 3166-2) that rules look at. A region follows its country, unless it has
#   an ISO 3166-1 code of its own (same_as) or a rule names it. A code that the data does not know is unknown, and
#   unknown always counts as unfavourable.
# scope: package
package carnet.places

import data.carnet.tables

countries := object.keys(tables.jurisdictions.rows)

regions := object.keys(tables.regions.rows)

# The regions that have an ISO 3166-1 code of their own, with it.
coded := {region: row.same_as | some region, row in tables.regions.rows; is_string(row.same_as)}

# Regions that the organisation's own limits name: they become places of their own.
named contains place if {
	some place in input.job.constraints.only
	is_region(place)
	known(place)
}

named contains place if {
	some place in input.job.constraints.never
	is_region(place)
	known(place)
}

# Every place that the answer may permit: all countries, and the regions that `only` names.
universe := countries | {place | some place in input.job.constraints.only; place in named}

country_of(place) := substring(place, 0, 2)

is_region(place) if contains(place, "-")

# The ISO 3166-1 code that law uses for a place: RE for FR-974, UA for UA-30.
code_of(place) := object.get(coded, place, country_of(place))

known(place) if place in countries

known(place) if place in regions

known(place) if {
	is_region(place)
	country_of(place) in countries
	not country_of(place) in {whole | some whole in tables.regions.listed_whole}
}

# A set of places, with the regions that stand or fall with them.
with_regions(found) := (found | {region | some region, code in coded; code in found}) | {region |
	some region in named
	code_of(region) in found
}
