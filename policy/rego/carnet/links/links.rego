# METADATA
# title: What links a job to a law, and which declared basis can be used
# description: |
#   A controller, an origin or a person concerned in a territory is a link; an unknown one is a link to every territory.
#   Dated memberships (`memberships`) say which country is in which list of a law on a day; `codes` the same of the entries
#   of a control list.
# scope: package
package carnet.links

import data.carnet.catalogue
import data.carnet.places
import data.carnet.tables

# The dated lists by name, each table read once: their places on the day of the question, the days on which they change,
# and their rows that nobody verified.
listed[row.group] contains row.place if {
	some row in tables.memberships.rows
	catalogue.holds(row)
}

days_of_lists[row.group] contains day if {
	some row in tables.memberships.rows
	some day in catalogue.row_dates([row])
}

doubts_of_lists[row.group] contains concat("", ["memberships/", key]) if {
	some key, row in tables.memberships.rows
	row.status != "seen"
}

# The same of the entries of control lists.
listed_codes[row.group] contains row.code if {
	some row in tables.codes.rows
	catalogue.holds(row)
}

days_of_codes[row.group] contains day if {
	some row in tables.codes.rows
	some day in catalogue.row_dates([row])
}

doubts_of_codes[row.group] contains concat("", ["codes/", key]) if {
	some key, row in tables.codes.rows
	row.status != "seen"
}

# The places of a dated list, on the day of the question.
members(group) := object.get(listed, group, set())

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
codes(group) := object.get(listed_codes, group, set())

# Whether a code is one of these, or may be: one that is coarser does not say which part it means.
named(code, codes) if covered(code, codes)

named(code, codes) if {
	some part in codes
	covered(part, [code])
}

codes_used(groups) := union({object.get(doubts_of_codes, group, set()) | some group in groups})

code_dates(groups) := union({object.get(days_of_codes, group, set()) | some group in groups})

covered(code, codes) if code in codes

covered(code, codes) if {
	some whole in codes
	startswith(code, concat("", [whole, "."]))
}

licence_dates := {licence.expires_ns | some licence in input.job.technology.licences}

used(groups) := union({object.get(doubts_of_lists, group, set()) | some group in groups})

group_dates(groups) := union({object.get(days_of_lists, group, set()) | some group in groups})
