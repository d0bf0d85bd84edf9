# METADATA
# title: US dual-use export control, EAR (15 CFR 730 to 774)
# description: |
#   Technology that comes with a job is exported to the runner's country, and released to whoever runs it. Listed items go to
#   the United States and Canada, elsewhere under a licence of BIS that names code, country and end user: licence exceptions
#   are the exporter's to claim, as a licence in the facts. An item that is not known to be free counts as listed where a US
#   party exports it, or where nobody knows.
# scope: package
package carnet.ear

import data.carnet.links
import data.carnet.places
import data.carnet.tables

home := {"US", "PR", "GU", "VI", "AS", "MP", "UM"}

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

advanced if {
	some code in technology.eccns
	some whole in ["3A090", "3E001", "3E002", "4A090", "4D090", "4E001", "4E091"]
	links.covered(code, [whole])
}

advanced if unlisted

sanctuary := links.members("EAR_D5") | {"MO"}

headquartered if input.job.end_user.country in sanctuary

headquartered if input.job.end_user.parent_country in sanctuary

headquartered if not places.known(input.job.end_user.country)

headquartered if not places.known(input.job.end_user.parent_country)

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
	not country in (home | ({"CA"} | licensed))
})

explained["US-EAR-LIST"] := {"message": "ear.listed", "parameters": {"codes": sort(listed), "controlled": technology.controlled}, "fix": ["ear.fix.declare", "ear.fix.licence"]}

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

modest(model) if {
	row := tables.accelerators.rows[model]
	row.tpp < tables.settings.ear_3a090.tpp
	not dense(row)
}

dense(row) if {
	row.tpp >= tables.settings.ear_3a090.tpp_dense
	row.density_x100 >= tables.settings.ear_3a090.density_x100
}

explained["US-EAR-REMOTE"] := {"message": "ear.remote", "parameters": {}, "fix": ["ear.fix.end_user"]}

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

dates := {day | applies; some day in links.licence_dates} | {day | advanced; some day in links.group_dates({"EAR_D5"})}

rows := {row | advanced; some row in links.used({"EAR_D5"})}

# What US-EAR-REMOTE looks at: no more than the headquarters where they are free, and nothing where there is no model.
runner_rows(models) := links.used({"EAR_D5"}) | {concat("", ["accelerators/", model]) |
	headquartered
	some model in models
	tables.accelerators.rows[model].status != "seen"
} if {
	count(models) > 0
} else := set()

runner_dates(models) := links.group_dates({"EAR_D5"}) if count(models) > 0

else := set()
