# METADATA
# title: Comprehensive US embargoes (OFAC)
# description: |
#   Asked of every job, whoever the parties are: payment, parts and people of a runner network touch US persons sooner
#   than anyone can prove that they do not. Regions of Ukraine have ISO 3166-2 codes only. Never exemptible.
# scope: package
package carnet.ofac

import data.carnet.catalogue
import data.carnet.places
import data.carnet.tables

embargoed := {place | some place, row in tables.embargoes.rows; catalogue.holds(row)}

# METADATA
# title: No job to an embargoed country or region
# description: Cuba, Iran, North Korea; Crimea, Sevastopol, Donetsk, Luhansk. Syria until its programme ended.
# custom:
#   id: US-OFAC-EMB
#   stage: job
#   effect: deny
#   citations: [C-OFAC-CU, C-OFAC-IR, C-OFAC-KP, C-OFAC-UA, C-OFAC-SY]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sanctions
#   review_by: "2027-02-22"
#   status: in_force
blocked["US-OFAC-EMB"] := places.with_regions(embargoed)

explained["US-OFAC-EMB"] := {"message": "ofac.embargo", "parameters": {}, "fix": ["ofac.fix.none"]}

# METADATA
# title: No job for a controller in an embargoed country, or in no known one
# custom:
#   id: US-OFAC-PARTY
#   stage: job
#   effect: deny
#   citations: [C-OFAC-OWN]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sanctions
#   review_by: "2027-02-22"
#   status: in_force
blocked["US-OFAC-PARTY"] := {place | not clean(input.job.controller.country); some place in places.universe}

explained["US-OFAC-PARTY"] := {
	"message": "ofac.party",
	"parameters": {"country": input.job.controller.country},
	"fix": ["ofac.fix.party"],
}

clean(country) if {
	places.known(country)
	not country in embargoed
}

# METADATA
# title: A runner in a country with an embargoed region must name its region
# description: A runner that says `UA` and no more may stand in Crimea. Unknown is unfavourable.
# custom:
#   id: US-OFAC-REGION
#   stage: runner
#   effect: deny
#   citations: [C-OFAC-UA, C-ISO-3166]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sanctions
#   review_by: "2027-02-22"
#   status: in_force
passed["US-OFAC-REGION"] contains i if {
	some i, runner in input.runners
	not runner.country in partly_embargoed
}

passed["US-OFAC-REGION"] contains i if {
	some i, runner in input.runners
	runner.jurisdiction in places.regions
}

partly_embargoed := {places.country_of(place) | some place in embargoed; places.is_region(place)}

explained["US-OFAC-REGION"] := {"message": "ofac.region_unknown", "parameters": {}, "fix": ["carnet.fix.runner_region"]}

# METADATA
# title: No operator, and no parent of one, in an embargoed country or in no known one
# description: A runner without ownership facts has a parent that is unknown, and so is refused.
# custom:
#   id: US-OFAC-OPERATOR
#   stage: runner
#   effect: deny
#   citations: [C-OFAC-OWN]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sanctions
#   review_by: "2027-02-22"
#   status: in_force
passed["US-OFAC-OPERATOR"] contains i if {
	some i, runner in input.runners
	clean(runner.operator.country)
	clean(runner.operator.parent_country)
}

explained["US-OFAC-OPERATOR"] := {"message": "ofac.operator", "parameters": {}, "fix": ["ofac.fix.operator"]}

dates := catalogue.row_dates(tables.embargoes.rows)

rows := catalogue.unverified("embargoes", tables.embargoes.rows)
