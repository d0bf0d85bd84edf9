# METADATA
# title: Sector packs for health, payment, criminal justice, finance, public bodies
# description: |
#   What a sector asks of whoever processes its data. Certifications are the operator's word, signed by its authority: the
#   client sees them, and can ask for the certificate.
# scope: package
package carnet.sectors

import data.carnet.links
import data.carnet.places

classes := {class | some class in input.job.data.classes}

certified(runner, word) if word in runner.operator.certifications

default french_health := false

french_health if {
	"health" in classes
	links.exporter_in({"FR", "GP", "MQ", "GF", "RE", "YT", "MF"})
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

states := {"US", "PR", "GU", "VI", "AS", "MP", "UM"}

european := {"AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT", "RO", "SE", "SI", "SK"}

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
	some i, _ in input.runners
	not french_health
}

passed["SEC-HDS"] contains i if {
	some i, runner in input.runners
	certified(runner, "HDS")
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
	some i, _ in input.runners
	not "payment_card" in classes
}

passed["SEC-PCI"] contains i if {
	some i, runner in input.runners
	certified(runner, "PCI-DSS")
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
	some i, _ in input.runners
	not justice
}

passed["SEC-CJIS-OPERATOR"] contains i if {
	some i, runner in input.runners
	certified(runner, "CJIS")
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
	some sector in input.job.controller.sectors
	sector in {"bank", "insurance", "payment"}
	links.touches(input.job.controller.country, european)
	some country in places.countries
}

explained["SEC-DORA"] := {"message": "sectors.register", "parameters": {}, "fix": ["sectors.fix.register"]}

dates := set()

rows := set()
