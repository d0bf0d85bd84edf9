# METADATA
# title: US dual-use export control, EAR (15 CFR 730 to 774)
# description: |
#   Technology that comes with a job is exported to the runner's country, and released to whoever runs it. Listed items go to
#   the United States and Canada, elsewhere under a licence of BIS that names code, country and end user: licence exceptions
#   are the exporter's to claim, as a licence in the facts. An item that is not known to be free counts as listed where a US
#   party exports it, or where nobody knows.
# scope: package
package carnet.ear

import data.carnet.catalogue
import data.carnet.links
import data.carnet.places
import data.carnet.tables

home := links.members("US_SOIL")

# Where listed items go without a licence.
neighbours := links.members("EAR_NO_LICENCE")

technology := input.job.technology

listed := {code |
	some code in technology.eccns
	code != "EAR99"
	not unenforced(code)
}

# Codified, and not enforced (settings.ear_unlisted_codes): a warning, unless the organisation takes it off the list.
unenforced(code) if {
	some whole in tables.settings.ear_unlisted_codes
	links.covered(code, [whole])
}

unlisted if {
	technology.controlled == "unknown"
	count(technology.eccns) == 0
}

unlisted if {
	technology.controlled == "yes"
	count(technology.eccns) == 0
	links.exporter_in(home)
}

default applies := false

applies if count(listed) > 0

applies if unlisted

licensed := links.licensed({"BIS"}, listed)

entries := links.codes("EAR_ADVANCED")

advanced if {
	some code in technology.eccns
	links.named(code, entries)
}

advanced if unlisted

sanctuary := embargoed | links.members("EAR_D5HQ")

headquartered if of_concern(input.job.end_user.country)

headquartered if of_concern(input.job.end_user.parent_country)

of_concern(country) if country in sanctuary

of_concern(country) if not places.known(country)

# METADATA
# title: No export of a listed item without a licence
# custom:
#   id: US-EAR-LIST
#   stage: job
#   effect: deny
#   citations: [C-EAR-734, C-EAR-740]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["US-EAR-LIST"] := places.with_regions({country |
	applies
	some country in places.countries
	not country in (home | (neighbours | licensed))
})

explained["US-EAR-LIST"] := {
	"message": message,
	"parameters": {"codes": sort(listed), "controlled": technology.controlled, "groups": grouped},
	"fix": ["ear.fix.declare", "ear.fix.licence"],
}

default message := "ear.listed"

message := "ear.listed_groups" if count(grouped) > 0

# The country groups of 15 CFR 740, Supplement 1. But for D:5 they open and close nothing here: an exception that a group
# would allow is the exporter's to claim, and the reason names the groups for who looks for one.
grouped := [concat(" ", array.concat([country], names)) |
	some country in sort(asked)
	names := sort({name | some name in groups_of(country)})
	count(names) > 0
]

# Countries that the job itself asks for.
asked contains places.code_of(place) if some place in input.job.constraints.only

groups_of(country) := {name | some name, row in tables.ear_groups.rows; country in row.members} | {"D:5" | country in embargoed}

embargoed := links.members("EAR_D5")

# METADATA
# title: Advanced computing items for a party with its headquarters in country group D:5 or Macau leave the US under a licence only
# description: Wherever the runner stands; an unknown headquarters counts as one there (15 CFR 742.6(a)(6)).
# custom:
#   id: US-EAR-D5HQ
#   stage: job
#   effect: deny
#   citations: [C-EAR-D5HQ, C-EAR-D5]
#   effective_from: "2023-11-17"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["US-EAR-D5HQ"] := places.with_regions({country |
	advanced
	headquartered
	some country in places.countries
	not country in (home | licensed)
})

explained["US-EAR-D5HQ"] := {
	"message": "ear.headquarters",
	"parameters": {
		"end_user_country": input.job.end_user.country,
		"end_user_parent": input.job.end_user.parent_country,
	},
	"fix": ["ear.fix.end_user", "ear.fix.licence"],
}

# METADATA
# title: Closed model weights are codified, and not enforced
# custom:
#   id: US-EAR-WEIGHTS
#   stage: job
#   effect: warn
#   citations: [C-EAR-DIFF]
#   effective_from: "2025-05-15"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
warned["US-EAR-WEIGHTS"] := {country |
	some code in technology.eccns
	unenforced(code)
	some country in (places.countries - home)
}

explained["US-EAR-WEIGHTS"] := {"message": "ear.weights", "parameters": {}, "fix": ["ear.fix.licence"]}

# METADATA
# title: Remote access to advanced accelerators by a party of country group D:5 or Macau
# description: Not an export today; the operator has a duty to know its customer. A model that the data does not know counts as advanced.
# custom:
#   id: US-EAR-REMOTE
#   stage: runner
#   effect: warn
#   citations: [C-EAR-3A090, C-EAR-CNMO]
#   effective_from: "2026-01-15"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
passed["US-EAR-REMOTE"] contains i if some i in unremarkable

# Runners that a remote party of concern would not use for advanced computing.
unremarkable contains i if {
	not headquartered
	some i, _ in input.runners
}

unremarkable contains i if {
	some i, runner in input.runners
	every model in runner.gpu_models {
		modest(model)
	}
}

# A model that the data does not know is neither.
modest(model) if {
	row := tables.accelerators.rows[model]
	not in_entry(row, {"3A090.a", "3A090.b"})
}

reviewable(model) if {
	row := tables.accelerators.rows[model]
	not in_entry(row, {"REVIEW"})
}

in_entry(row, entries) if {
	some bound in tables.accelerator_bounds.rows
	bound.entry in entries
	row.tpp >= bound.tpp
	row.density_x100 >= bound.density_x100
	row.bandwidth_gbs >= bound.bandwidth_gbs
}

explained["US-EAR-REMOTE"] := {"message": "ear.remote", "parameters": {}, "fix": ["ear.fix.end_user"]}

# METADATA
# title: Accelerators that no case-by-case review reaches
# description: |
#   Since January 2026 an export from the US to China or Macau is reviewed case by case below 21,000 TPP and 6,500 GB/s; for
#   anything else, anybody else and any model that is not known the presumption is denial.
# custom:
#   id: US-EAR-PRESUMED
#   stage: runner
#   effect: warn
#   citations: [C-EAR-CNMO, C-EAR-D5HQ]
#   effective_from: "2026-01-15"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
passed["US-EAR-PRESUMED"] contains i if some i in unremarkable

passed["US-EAR-PRESUMED"] contains i if {
	count(beyond_review) == 0
	some i, runner in input.runners
	every model in runner.gpu_models {
		reviewable(model)
	}
}

reviewed := links.members("EAR_REVIEW")

# What the headquarters rule is about, and the review is not.
beyond_review := {country |
	some country in [input.job.end_user.country, input.job.end_user.parent_country]
	of_concern(country)
	not country in reviewed
}

explained["US-EAR-PRESUMED"] := {
	"message": "ear.presumed",
	"parameters": {
		"end_user_country": input.job.end_user.country,
		"end_user_parent": input.job.end_user.parent_country,
	},
	"fix": ["ear.fix.end_user"],
}

# METADATA
# title: Draft law, remote access as an export (Remote Access Security Act)
# description: Passed by the House on 12 January 2026, pending in the Senate; it never decides until it has a first day.
# custom:
#   id: US-EAR-RASA
#   stage: runner
#   effect: deny
#   citations: [C-RASA]
#   effective_from: null
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: draft
passed["US-EAR-RASA"] contains i if some i in unremarkable

explained["US-EAR-RASA"] := {"message": "ear.remote", "parameters": {}, "fix": ["ear.fix.end_user"]}

dates := {day | advanced; some day in links.group_dates(headquarters)} | {day |
	concerned
	some day in ((links.group_dates({"EAR_NO_LICENCE", "US_SOIL"}) | links.code_dates({"EAR_ADVANCED"})) | links.licence_dates)
}

rows := ({row | advanced; some row in links.used({"EAR_D5", "EAR_D5HQ"})} | looked_up) | {row |
	concerned
	some row in (links.used({"EAR_NO_LICENCE", "US_SOIL"}) | links.codes_used({"EAR_ADVANCED"}))
}

# Country groups are looked at where a place was asked for; of D:5 the rows of these places.
looked_up contains row if {
	concerned
	count(asked) > 0
	some row in catalogue.unverified("ear_groups", tables.ear_groups.rows)
}

looked_up contains row if {
	concerned
	some country in asked
	row := concat("/", ["memberships/EAR_D5", country])
	row in links.used({"EAR_D5"})
}

# Whether there may be something to control.
concerned if technology.controlled != "no"

concerned if applies

# What the rules on headquarters look at: no more than the lists of countries where no end user is of one of them, and
# nothing where a runner has no model.
runner_rows(models) := (links.used(headquarters) | bounds) | {concat("", ["accelerators/", model]) |
	headquartered
	some model in models
	tables.accelerators.rows[model].status != "seen"
} if {
	count(models) > 0
} else := set()

runner_dates(models) := links.group_dates(headquarters) if count(models) > 0

else := set()

headquarters := {"EAR_D5", "EAR_D5HQ", "EAR_REVIEW"}

# The bounds of an advanced part, where one is measured against them.
bounds := {row | headquartered; some row in catalogue.unverified("accelerator_bounds", tables.accelerator_bounds.rows)}
