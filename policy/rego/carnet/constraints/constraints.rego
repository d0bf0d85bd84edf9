# METADATA
# title: The organisation's own limits
# description: |
#   constraints.only, never and isolation_min of the job's facts. They can only take places away. Codes mean what ISO
#   says: `FR` does not take in `RE`, and `CN` does not take in `HK`; name each.
# scope: package
package carnet.constraints

import data.carnet.places
import data.carnet.tables

only := {place | some place in input.job.constraints.only}

never := {place | some place in input.job.constraints.never}

limited if count(only) > 0

# Whether `only`, where it names any place, leaves this one out.
left_out(place) if {
	not place in only
	not places.country_of(place) in only
}

unasked := {place |
	limited
	some place in places.universe
	left_out(place)
}

# METADATA
# title: Only the places that the organisation named
# description: An empty `only` sets no limit. A region that is named lets in that region, never its whole country.
# custom:
#   id: ORG-ONLY
#   stage: job
#   effect: deny
#   citations: [C-ORG-FACTS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: organisation
#   review_by: "2027-05-22"
#   status: in_force
blocked["ORG-ONLY"] := unasked | {region |
	some region, code in places.coded
	code in unasked
	not region in only
}

explained["ORG-ONLY"] := {
	"message": "constraints.only",
	"parameters": {"only": sort(only)},
	"fix": ["constraints.fix.only"],
}

# METADATA
# title: Never the places that the organisation forbade
# description: |
#   `never` wins over `only`. A region and the country code that means the same place (FR-974, RE) stand for each other,
#   and a region that `only` names is a part of the country in its name, whatever other code it has.
# custom:
#   id: ORG-NEVER
#   stage: job
#   effect: deny
#   citations: [C-ORG-FACTS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: organisation
#   review_by: "2027-05-22"
#   status: in_force
blocked["ORG-NEVER"] := places.with_regions(never | {places.coded[place] | some place in never}) | {region | some region in places.named; places.country_of(region) in never}

explained["ORG-NEVER"] := {
	"message": "constraints.never",
	"parameters": {"never": sort(never)},
	"fix": ["constraints.fix.never"],
}

# METADATA
# title: The isolation that the organisation asked for
# description: Handed to the runner as a duty, and checked against what the runner can do by ORG-ISOLATION-RUNNER.
# custom:
#   id: ORG-ISOLATION
#   stage: job
#   effect: oblige
#   citations: [C-ORG-FACTS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: organisation
#   review_by: "2027-05-22"
#   status: in_force
obliged["ORG-ISOLATION"] := {{"type": "isolation_min", "value": input.job.constraints.isolation_min}}

explained["ORG-ISOLATION"] := {
	"message": "constraints.isolation",
	"parameters": {"isolation_min": input.job.constraints.isolation_min},
	"fix": [],
}

# METADATA
# title: A forbidden region keeps out a runner that does not name its region
# description: With `never` naming US-CA, a runner that says only `US` may stand there; unknown is unfavourable.
# custom:
#   id: ORG-NEVER-REGION
#   stage: runner
#   effect: deny
#   citations: [C-ORG-FACTS, C-ISO-3166]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: organisation
#   review_by: "2027-05-22"
#   status: in_force
passed["ORG-NEVER-REGION"] contains i if {
	some i, runner in input.runners
	not hidden(runner.jurisdiction)
}

# A bare country of which `never` forbids a part. Parts with a country code of their own are told apart by it.
hidden(place) if {
	some region in never
	places.is_region(region)
	places.country_of(region) == place
	places.code_of(region) == place
}

explained["ORG-NEVER-REGION"] := {
	"message": "constraints.region_unknown",
	"parameters": {"never": sort(never)},
	"fix": ["carnet.fix.runner_region"],
}

# METADATA
# title: A runner weaker than every duty of the job asks is refused
# description: isolation_min of the facts, against the level that the runner's card states.
# custom:
#   id: ORG-ISOLATION-RUNNER
#   stage: runner
#   effect: deny
#   citations: [C-ORG-FACTS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: organisation
#   review_by: "2027-05-22"
#   status: in_force
passed["ORG-ISOLATION-RUNNER"] contains i if {
	some i, runner in input.runners
	rank := tables.settings.isolation
	rank[runner.isolation] >= rank[input.job.constraints.isolation_min]
}

explained["ORG-ISOLATION-RUNNER"] := {
	"message": "constraints.isolation_runner",
	"parameters": {"isolation_min": input.job.constraints.isolation_min},
	"fix": ["constraints.fix.isolation"],
}

dates := set()

rows := set()
