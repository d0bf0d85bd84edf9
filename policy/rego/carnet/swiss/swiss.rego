# METADATA
# title: Swiss FADP, disclosure abroad
# description: |
#   The Federal Council's list is binding and differs from the EU's: Japan and Korea are not on it.
# scope: package
package carnet.swiss

import data.carnet.catalogue
import data.carnet.exemptions
import data.carnet.gdpr
import data.carnet.links
import data.carnet.places
import data.carnet.tables

territory := {"CH"}

default applies := false

applies if {
	gdpr.personal
	links.exporter_in(territory)
}

applies if {
	gdpr.personal
	links.subject_in(territory)
}

free := territory | links.adequate(tables.swiss_adequacy.rows, "none")

certifying := links.adequate(tables.swiss_adequacy.rows, "certified_importer")

certified := {importer.entity | some importer in input.job.transfer.importers; importer.swiss_certified == "yes"}

by_certificate := {country | count(certified) > 0; some country in certifying}

mechanisms := links.usable({"SCC", "BCR"})

by_mechanism := {country | some mechanism in mechanisms; some country in mechanism.countries}

restricted := places.countries - (free | (by_certificate | by_mechanism)) if {
	applies
} else := set()

# METADATA
# title: No disclosure out of Switzerland without a basis in Articles 16 and 17
# custom:
#   id: CH-FADP-ART16
#   stage: job
#   effect: deny
#   citations: [C-CH-FADP-16, C-CH-DPO, C-CH-DPF]
#   effective_from: "2023-09-01"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
blocked["CH-FADP-ART16"] := places.with_regions(restricted)

explained["CH-FADP-ART16"] := {"message": "swiss.no_basis", "parameters": {"permitted_without_basis": sort(free)}, "fix": ["swiss.fix.mechanism", "swiss.fix.importer", "swiss.fix.free_places"]}

# METADATA
# title: The importer that the basis of Swiss law names must be the operator of the runner
# custom:
#   id: CH-FADP-IMPORTER
#   stage: runner
#   effect: deny
#   citations: [C-CH-FADP-16, C-CH-DPO, C-CH-DPF]
#   effective_from: "2023-09-01"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
passed["CH-FADP-IMPORTER"] contains i if {
	some i, runner in input.runners
	has_basis(places.code_of(runner.jurisdiction), runner.operator.entity)
}

# Where an exemption stands in for a basis, there is no importer that one could name.
passed["CH-FADP-IMPORTER"] contains i if {
	some i, runner in input.runners
	exemptions.frees("CH-FADP-ART16", runner.jurisdiction, blocked["CH-FADP-ART16"])
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

explained["CH-FADP-IMPORTER"] := {"message": "swiss.importer_is_not_operator", "parameters": {}, "fix": ["swiss.fix.importer", "swiss.fix.mechanism"]}

# METADATA
# title: A listing in Annex 1 may cover a part of a country only
# custom:
#   id: CH-FADP-SCOPE
#   stage: job
#   effect: warn
#   citations: [C-CH-FADP-16, C-CH-DPO, C-CH-DPF]
#   effective_from: "2023-09-01"
#   effective_to: null
#   exemptible: false
#   severity: low
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
warned["CH-FADP-SCOPE"] := {country |
	applies
	some country in links.adequate(tables.swiss_adequacy.rows, "none")
	is_string(tables.swiss_adequacy.rows[country].scope)
}

explained["CH-FADP-SCOPE"] := {"message": "swiss.partial_adequacy", "parameters": {}, "fix": ["swiss.fix.scope"]}

dates := {day | applies; some day in (catalogue.row_dates(tables.swiss_adequacy.rows) | links.mechanism_dates)}

rows := {row | applies; some row in catalogue.unverified("swiss_adequacy", tables.swiss_adequacy.rows)}
