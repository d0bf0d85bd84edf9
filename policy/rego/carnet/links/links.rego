# METADATA
# title: What links a job to a law, and which declared basis can be used
# description: |
#   A controller, an origin or a person concerned in a territory is a link; an unknown one is a link to every territory.
#   Dated memberships (`memberships`) say which country is in which list of a law on a day; `codes` the same of the entries
#   of a control list. Both are read from `lists`, where the rows of a list stand together.
# scope: package
package carnet.links

import data.carnet.catalogue
import data.carnet.places
import data.carnet.tables

# Whether there are lists at all. Without them each would look like an empty one: nobody would be under an embargo.
listed if {
	is_object(tables.memberships.lists)
	is_object(tables.codes.lists)
}

# The places of a dated list, on the day of the question.
members(group) := {row.place |
	some row in tables.memberships.lists[group]
	catalogue.holds(row)
}

# Whether a country is in a territory, or may be: what is not known counts as in it.
touches(country, territory) if places.code_of(country) in territory

touches(country, _) if not places.known(country)

exporter_in(territory) if touches(input.job.controller.country, territory)

exporter_in(territory) if touches(input.job.data.origin_jurisdiction, territory)

subject_in(territory) if {
	some subject in input.job.data.subject_jurisdictions
	touches(subject, territory)
}

subject_in(_) if count(input.job.data.subject_jurisdictions) == 0

# Mechanisms of these types that were assessed and have not expired.
usable(types) := {mechanism |
	some mechanism in input.job.transfer.mechanisms
	mechanism.type in types
	mechanism.assessment_completed == true
	mechanism.expires_ns > catalogue.now
}

mechanism_dates := {mechanism.expires_ns | some mechanism in input.job.transfer.mechanisms}

# Rows of the adequacy list of a law that hold on the day of the question and are switched on.
adequate(rows, condition) := {country |
	some country, row in rows
	row.enabled == true
	row.condition == condition
	catalogue.holds(row)
}

# Unexpired licences of these authorities for the declared end user that cover every one of these control codes.
licensed(authorities, codes) := {country |
	count(codes) > 0
	some licence in input.job.technology.licences
	licence.authority in authorities
	licence.expires_ns > catalogue.now
	input.job.end_user.entity in licence.end_users
	every code in codes {
		covered(code, licence.codes)
	}
	some country in licence.countries
}

# The entries of a control list that a law names, on the day of the question.
codes(group) := {row.code |
	some row in tables.codes.lists[group]
	catalogue.holds(row)
}

# Whether a code is one of these, or may be: one that is coarser does not say which part it means.
named(code, codes) if covered(code, codes)

named(code, codes) if {
	some part in codes
	covered(part, [code])
}

codes_used(groups) := {row | some group in groups; some row in catalogue.unverified("codes", tables.codes.lists[group])}

code_dates(groups) := {day | some group in groups; some day in catalogue.row_dates(tables.codes.lists[group])}

covered(code, codes) if code in codes

covered(code, codes) if {
	some whole in codes
	startswith(code, concat("", [whole, "."]))
}

licence_dates := {licence.expires_ns | some licence in input.job.technology.licences}

used(groups) := {row | some group in groups; some row in catalogue.unverified("memberships", tables.memberships.lists[group])}

group_dates(groups) := {day | some group in groups; some day in catalogue.row_dates(tables.memberships.lists[group])}
