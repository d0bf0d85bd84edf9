# METADATA
# title: Operator exposure
# description: |
#   Where a runner stands and who commands its operator are two facts. A court can reach data through the parent wherever
#   it lies (18 USC 2713). No rule of chapter V forbids a runner in the EEA because of its operator's parent, and
#   authorities differ, so blocking is the organisation's choice (constraints.parent_never); Carnet warns.
# scope: package
package carnet.exposure

import data.carnet.gdpr
import data.carnet.places

forbidden := {country | some country in input.job.constraints.parent_never}

# METADATA
# title: No runner whose operator answers to a country that the organisation named
# description: Looks at the operator and at its ultimate parent. With a limit set, an unknown one is refused.
# custom:
#   id: EXP-PARENT-NEVER
#   stage: runner
#   effect: deny
#   citations: [C-ORG-FACTS, C-CLOUD-ACT, C-GDPR-48]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: organisation
#   review_by: "2027-05-22"
#   status: in_force
passed["EXP-PARENT-NEVER"] contains i if {
	count(forbidden) == 0
	some i, _ in input.runners
}

passed["EXP-PARENT-NEVER"] contains i if {
	some i, runner in input.runners
	every country in [runner.operator.country, runner.operator.parent_country] {
		places.known(country)
		not country in forbidden
	}
}

explained["EXP-PARENT-NEVER"] := {
	"message": "exposure.parent_never",
	"parameters": {"parent_never": sort(forbidden)},
	"fix": ["exposure.fix.parent_never"],
}

# METADATA
# title: Special categories under a parent outside the EEA and adequate countries
# description: |
#   Warns, and does not block: see the package. The US counts as outside here, since the Data Privacy Framework is a
#   promise of one importer and says nothing of its parent.
# custom:
#   id: EXP-PARENT-ABROAD
#   stage: runner
#   effect: warn
#   citations: [C-CLOUD-ACT, C-GDPR-48]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
passed["EXP-PARENT-ABROAD"] contains i if {
	not sensitive
	some i, _ in input.runners
}

passed["EXP-PARENT-ABROAD"] contains i if {
	some i, runner in input.runners
	every country in [runner.operator.country, runner.operator.parent_country] {
		country in gdpr.free
	}
}

sensitive if {
	gdpr.applies
	gdpr.special
}

explained["EXP-PARENT-ABROAD"] := {
	"message": "exposure.parent_abroad",
	"parameters": {},
	"fix": ["exposure.fix.parent_abroad"],
}

dates := set()

rows := set()
