# METADATA
# title: What holds for every job
# description: Carnet's own floor. It is no law; it is what makes the other rules mean something.
# scope: package
package carnet.baseline

import data.carnet.catalogue
import data.carnet.places

unknown_places := {place |
	some named in [input.job.constraints.only, input.job.constraints.never, input.job.constraints.parent_never]
	some place in named
	not places.known(place)
}

# METADATA
# title: A limit that names an unknown place blocks every place
# description: The organisation forbade or demanded something that can not be understood, so nothing is permitted.
# custom:
#   id: CARNET-PLACES
#   stage: job
#   effect: deny
#   citations: [C-CARNET-BASE, C-ISO-3166]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: carnet
#   review_by: "2027-05-22"
#   status: in_force
blocked["CARNET-PLACES"] := {place | count(unknown_places) > 0; some place in places.universe}

explained["CARNET-PLACES"] := {
	"message": "carnet.places_unknown",
	"parameters": {"unknown": sort(unknown_places)},
	"fix": ["carnet.fix.iso_codes"],
}

# METADATA
# title: A party on a denied-party list gets nothing, nor does one whose screening has no result
# description: |
#   Screening is a service of its own; only its word comes here, the least favourable of requester, exporter and end
#   user. `off` means that this gateway has no results to screen by: that is a fact of its configuration (`[screening]`),
#   and CARNET-SCREENING-OFF says it in every decision.
# custom:
#   id: CARNET-SCREENING
#   stage: job
#   effect: deny
#   citations: [C-CARNET-BASE]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: carnet
#   review_by: "2027-05-22"
#   status: in_force
blocked["CARNET-SCREENING"] := {place | not input.gateway.screening in {"clear", "off"}; some place in places.universe}

explained["CARNET-SCREENING"] := {
	"message": "carnet.screening",
	"parameters": {"screening": input.gateway.screening},
	"fix": ["carnet.fix.screening"],
}

# METADATA
# title: Nobody was screened
# description: Warns where the gateway runs no denied-party screening.
# custom:
#   id: CARNET-SCREENING-OFF
#   stage: job
#   effect: warn
#   citations: [C-CARNET-BASE]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: low
#   owner: carnet
#   review_by: "2027-05-22"
#   status: in_force
warned["CARNET-SCREENING-OFF"] := {place | input.gateway.screening == "off"; some place in places.universe}

explained["CARNET-SCREENING-OFF"] := {"message": "carnet.screening_off", "parameters": {}, "fix": ["carnet.fix.screening"]}

# METADATA
# title: No network in the sandbox
# description: A job that can talk to the world can send the data anywhere, and then no rule about places holds.
# custom:
#   id: CARNET-NETWORK
#   stage: job
#   effect: oblige
#   citations: [C-CARNET-BASE, C-GDPR-32]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: carnet
#   review_by: "2027-05-22"
#   status: in_force
obliged["CARNET-NETWORK"] := {{"type": "network_none", "value": 1}}

explained["CARNET-NETWORK"] := {"message": "carnet.network_none", "parameters": {}, "fix": []}

# METADATA
# title: A runner's place must be known from more than its own word
# description: |
#   Evidence `self` is the runner's own claim and counts as an unknown place, and so does a code that the data does not
#   know. An unknown place is never permitted. A measurement or an attestation is worth no more than its age, and the
#   facts of a runner do not say it: until they do, `measured` and `attested` count as unknown too.
# custom:
#   id: CARNET-RUNNER-PLACE
#   stage: runner
#   effect: deny
#   citations: [C-CARNET-BASE, C-ISO-3166]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: carnet
#   review_by: "2027-05-22"
#   status: in_force
passed["CARNET-RUNNER-PLACE"] contains i if {
	some i, runner in input.runners
	runner.evidence in {"operator", "audited"}
	places.known(runner.jurisdiction)
	runner.country == places.country_of(runner.jurisdiction)
}

explained["CARNET-RUNNER-PLACE"] := {
	"message": "carnet.runner_place_unknown",
	"parameters": {},
	"fix": ["carnet.fix.runner_place"],
}

dates := catalogue.dates

rows := set()
