# METADATA
# title: Sector packs for health, payment, criminal justice, finance, public bodies
# description: |
#   What a sector asks of whoever processes its data. Certifications are the operator's word, signed by its authority: the
#   client sees them, and can ask for the certificate.
# scope: package
package carnet.sectors

import data.carnet.catalogue
import data.carnet.gdpr
import data.carnet.links
import data.carnet.places
import data.carnet.tables

classes := {class | some class in input.job.data.classes}

default french_health := false

french_health if {
	"health" in classes
	links.exporter_in(links.members("FR_SOIL"))
}

default justice := false

justice if {
	"criminal_justice" in classes
	links.exporter_in(states)
}

justice if {
	"criminal_justice" in classes
	links.subject_in(states)
}

states := links.members("US_SOIL")

union_groups := ["EU", "EU_OUTERMOST", "EU_ALAND"]

european := {member | some group in union_groups; some member in tables.groups.rows[group].members}

default public := true

public := false if {
	input.job.controller.public_body == false
	not "public" in input.job.controller.sectors
}

default official := false

official if {
	public
	gdpr.special
}

# Marks that public bodies of a place ask of whoever holds their sensitive data.
marks := {
	"C5": links.members("SEC_C5"),
	"FEDRAMP": links.members("SEC_FEDRAMP"),
	"SECNUMCLOUD": links.members("SEC_SECNUMCLOUD"),
}

# Those of the controller's country, every one where that is not known; elsewhere none is asked for by name.
wanted := {mark |
	some mark, where in marks
	links.touches(input.job.controller.country, where)
}

proper := wanted if count(wanted) > 0

proper := object.keys(marks) if count(wanted) == 0

# METADATA
# title: Health data of France is hosted by a certified host
# custom:
#   id: SEC-HDS
#   stage: runner
#   effect: deny
#   citations: [C-FR-HDS]
#   effective_from: "2018-04-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
passed["SEC-HDS"] contains i if {
	not french_health
	some i, _ in input.runners
}

passed["SEC-HDS"] contains i if {
	some i, runner in input.runners
	"HDS" in runner.operator.certifications
}

explained["SEC-HDS"] := {"message": "sectors.certification", "parameters": {"certification": "HDS"}, "fix": ["sectors.fix.certified_operator"]}

# METADATA
# title: Payment cards are processed by a service provider that conforms to PCI DSS
# custom:
#   id: SEC-PCI
#   stage: runner
#   effect: deny
#   citations: [C-PCI-DSS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
passed["SEC-PCI"] contains i if {
	not "payment_card" in classes
	some i, _ in input.runners
}

passed["SEC-PCI"] contains i if {
	some i, runner in input.runners
	"PCI-DSS" in runner.operator.certifications
}

explained["SEC-PCI"] := {"message": "sectors.certification", "parameters": {"certification": "PCI-DSS"}, "fix": ["sectors.fix.certified_operator"]}

# METADATA
# title: Criminal justice information goes to operators under the CJIS policy
# custom:
#   id: SEC-CJIS-OPERATOR
#   stage: runner
#   effect: deny
#   citations: [C-US-CJIS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
passed["SEC-CJIS-OPERATOR"] contains i if {
	not justice
	some i, _ in input.runners
}

passed["SEC-CJIS-OPERATOR"] contains i if {
	some i, runner in input.runners
	"CJIS" in runner.operator.certifications
}

explained["SEC-CJIS-OPERATOR"] := {"message": "sectors.certification", "parameters": {"certification": "CJIS"}, "fix": ["sectors.fix.certified_operator"]}

# METADATA
# title: Criminal justice information of the US stays in the US
# custom:
#   id: SEC-CJIS
#   stage: job
#   effect: deny
#   citations: [C-US-CJIS]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
blocked["SEC-CJIS"] := places.with_regions({country | justice; some country in (places.countries - states)})

explained["SEC-CJIS"] := {"message": "sectors.justice", "parameters": {}, "fix": ["sectors.fix.home"]}

# METADATA
# title: Health data of the US takes a business associate agreement with the operator
# custom:
#   id: SEC-HIPAA
#   stage: job
#   effect: warn
#   citations: [C-US-HIPAA]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
warned["SEC-HIPAA"] := {country |
	"health" in classes
	links.exporter_in(states)
	some country in places.countries
}

explained["SEC-HIPAA"] := {"message": "sectors.associate", "parameters": {}, "fix": ["sectors.fix.associate"]}

# METADATA
# title: Financial entities of the Union keep a register of their contracts, with exit and audit rights
# custom:
#   id: SEC-DORA
#   stage: job
#   effect: warn
#   citations: [C-EU-DORA-28]
#   effective_from: "2025-01-17"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
warned["SEC-DORA"] := {country |
	financial
	links.touches(input.job.controller.country, european)
	some country in places.countries
}

default financial := false

financial if {
	some sector in input.job.controller.sectors
	sector in {"bank", "insurance", "payment"}
}

explained["SEC-DORA"] := {"message": "sectors.register", "parameters": {}, "fix": ["sectors.fix.register"]}

# METADATA
# title: Public bodies keep special data with an operator that bears a mark of their country
# description: Elsewhere any of the marks will do. A warning, for the laws behind the marks each have a scope of their own.
# custom:
#   id: SEC-PUBLIC
#   stage: runner
#   effect: warn
#   citations: [C-DE-C5, C-FR-SECNUM, C-US-FEDRAMP]
#   effective_from: "1970-01-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: sector
#   review_by: "2027-05-22"
#   status: in_force
passed["SEC-PUBLIC"] contains i if {
	not official
	some i, _ in input.runners
}

passed["SEC-PUBLIC"] contains i if {
	count(wanted) > 0
	some i, runner in input.runners
	every mark in wanted {
		mark in runner.operator.certifications
	}
}

passed["SEC-PUBLIC"] contains i if {
	count(wanted) == 0
	some i, runner in input.runners
	some mark in object.keys(marks)
	mark in runner.operator.certifications
}

explained["SEC-PUBLIC"] := {"message": "sectors.public", "parameters": {"marks": sort(proper)}, "fix": ["sectors.fix.certified_operator"]}

# The lists that were looked at.
groups_used contains "FR_SOIL" if "health" in classes

groups_used contains "US_SOIL" if "health" in classes

groups_used contains "US_SOIL" if "criminal_justice" in classes

groups_used contains group if {
	official
	some group in ["SEC_C5", "SEC_FEDRAMP", "SEC_SECNUMCLOUD"]
}

dates := links.group_dates(groups_used)

rows := links.used(groups_used) | {row | financial; some row in catalogue.unverified("groups", {group: tables.groups.rows[group] | some group in union_groups})}
