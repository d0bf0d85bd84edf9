# METADATA
# title: UK GDPR chapter V, transfers out of the United Kingdom
# description: |
#   Its own list, its own instruments: EU standard clauses alone are none here, they need the UK Addendum. Gibraltar, the
#   Crown Dependencies and the overseas territories are not the United Kingdom.
# scope: package
package carnet.uk

import data.carnet.catalogue
import data.carnet.exemptions
import data.carnet.gdpr
import data.carnet.links
import data.carnet.places
import data.carnet.tables

territory := {"GB"}

default applies := false

applies if {
	gdpr.personal
	links.exporter_in(territory)
}

applies if {
	gdpr.personal
	links.subject_in(territory)
}

free := territory | links.adequate(tables.uk_adequacy.rows, "none")

certifying := links.adequate(tables.uk_adequacy.rows, "certified_importer")

certified := {importer.entity | some importer in input.job.transfer.importers; importer.uk_bridge == "yes"}

by_certificate := {country | count(certified) > 0; some country in certifying}

mechanisms := links.usable({"IDTA", "UK_ADDENDUM", "BCR"})

by_mechanism := {country | some mechanism in mechanisms; some country in mechanism.countries}

restricted := places.countries - (free | (by_certificate | by_mechanism)) if {
	applies
} else := set()

# METADATA
# title: No transfer out of the United Kingdom without a basis in chapter V
# custom:
#   id: UK-GDPR-CHV
#   stage: job
#   effect: deny
#   citations: [C-UK-GDPR-44, C-UK-ADQ, C-UK-IDTA]
#   effective_from: "2021-01-01"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
blocked["UK-GDPR-CHV"] := places.with_regions(restricted)

explained["UK-GDPR-CHV"] := {"message": "uk.no_basis", "parameters": {"permitted_without_basis": sort(free)}, "fix": ["uk.fix.mechanism", "uk.fix.importer", "uk.fix.free_places"]}

# METADATA
# title: The importer that the basis of UK law names must be the operator of the runner
# custom:
#   id: UK-GDPR-IMPORTER
#   stage: runner
#   effect: deny
#   citations: [C-UK-GDPR-44, C-UK-ADQ, C-UK-IDTA]
#   effective_from: "2021-01-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
passed["UK-GDPR-IMPORTER"] contains i if {
	some i, runner in input.runners
	has_basis(places.code_of(runner.jurisdiction), runner.operator.entity)
}

# Where an exemption stands in for a basis, there is no importer that one could name.
passed["UK-GDPR-IMPORTER"] contains i if {
	some i, runner in input.runners
	exemptions.frees("UK-GDPR-CHV", runner.jurisdiction, blocked["UK-GDPR-CHV"])
}

has_basis(_, _) if not applies

has_basis(country, _) if country in free

has_basis(country, operator) if {
	country in certifying
	operator in certified
}

has_basis(country, operator) if {
	some mechanism in mechanisms
	mechanism.importer == operator
	country in mechanism.countries
}

explained["UK-GDPR-IMPORTER"] := {"message": "uk.importer_is_not_operator", "parameters": {}, "fix": ["uk.fix.importer", "uk.fix.mechanism"]}

# METADATA
# title: UK adequacy regulations may cover a part of a country only
# custom:
#   id: UK-GDPR-SCOPE
#   stage: job
#   effect: warn
#   citations: [C-UK-GDPR-44, C-UK-ADQ, C-UK-IDTA]
#   effective_from: "2021-01-01"
#   effective_to: null
#   exemptible: false
#   severity: low
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
warned["UK-GDPR-SCOPE"] := {country |
	applies
	some country in links.adequate(tables.uk_adequacy.rows, "none")
	is_string(tables.uk_adequacy.rows[country].scope)
}

explained["UK-GDPR-SCOPE"] := {"message": "uk.partial_adequacy", "parameters": {}, "fix": ["uk.fix.scope"]}

dates := {day | applies; some day in (catalogue.row_dates(tables.uk_adequacy.rows) | links.mechanism_dates)}

rows := {row | applies; some row in catalogue.unverified("uk_adequacy", tables.uk_adequacy.rows)}
