# METADATA
# title: US defence articles, ITAR (22 CFR 120 to 130)
# description: |
#   Technical data goes to the United States alone, to operators of the United States, unless a licence of DDTC names country
#   and end user; never to a country of section 126.1. What is not known to be free counts as defence article. The carve-out
#   for end-to-end encryption (120.54(a)(5)) is about transport and storage; a runner opens the job.
# scope: package
package carnet.itar

import data.carnet.links
import data.carnet.places

home := links.members("US_SOIL")

default applies := false

applies if input.job.technology.itar != "no"

proscribed := links.members("ITAR_126_1")

licensed := {country |
	some licence in input.job.technology.licences
	licence.authority == "DDTC"
	some country in links.licensed({"DDTC"}, {code | some code in licence.codes})
	not country in proscribed
}

# METADATA
# title: Defence articles stay in the United States
# custom:
#   id: US-ITAR-US
#   stage: job
#   effect: deny
#   citations: [C-ITAR-120-17, C-ITAR-126-1]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["US-ITAR-US"] := places.with_regions({country |
	applies
	some country in places.countries
	not country in (home | licensed)
})

explained["US-ITAR-US"] := {"message": "itar.home", "parameters": {"itar": input.job.technology.itar}, "fix": ["itar.fix.declare", "itar.fix.licence"]}

# METADATA
# title: Defence articles go to operators of the United States
# custom:
#   id: US-ITAR-OPERATOR
#   stage: runner
#   effect: deny
#   citations: [C-ITAR-120-17, C-ITAR-126-1]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
passed["US-ITAR-OPERATOR"] contains i if {
	not applies
	some i, _ in input.runners
}

passed["US-ITAR-OPERATOR"] contains i if {
	some i, runner in input.runners
	trusted(runner.operator.country)
	trusted(runner.operator.parent_country)
}

trusted(country) if country in home

trusted(country) if country in licensed

explained["US-ITAR-OPERATOR"] := {"message": "itar.operator", "parameters": {}, "fix": ["itar.fix.operator"]}

dates := {day | applies; some day in (links.group_dates({"ITAR_126_1", "US_SOIL"}) | links.licence_dates)}

rows := {row | applies; some row in links.used({"ITAR_126_1", "US_SOIL"})}
