# METADATA
# title: GDPR chapter V, transfers of personal data to third countries
# description: |
#   Applies to personal data with a link to the EEA: the controller, a person concerned, or the origin. A link or a class
#   that is unknown counts as one. Pseudonymised data is personal; encryption takes nothing out of scope.
# scope: package
package carnet.gdpr

import data.carnet.catalogue
import data.carnet.exemptions
import data.carnet.places
import data.carnet.tables

default personal := true

personal := false if every class in input.job.data.classes {
	tables.classes.rows[class].personal == false
}

default applies := true

applies := false if not personal

applies := false if {
	outside(input.job.controller.country)
	outside(input.job.data.origin_jurisdiction)
	count(input.job.data.subject_jurisdictions) > 0
	every subject in input.job.data.subject_jurisdictions {
		outside(subject)
	}
}

default special := true

special := false if every class in input.job.data.classes {
	tables.classes.rows[class].special == false
}

# The GDPR's territory: the EEA with the outermost regions, without the overseas countries and territories.
groups := {name: tables.groups.rows[name] | some name in ["EU", "EEA_EFTA", "EU_OUTERMOST", "EU_ALAND"]}

territory := {member |
	some group in groups
	some member in group.members
}

outside(country) if {
	places.known(country)
	not places.code_of(country) in territory
}

# Where the exporter is. An unknown one counts as every one that a row excludes.
exporters := {input.job.controller.country, input.job.data.origin_jurisdiction}

excluded(countries) if {
	some exporter in exporters
	places.code_of(exporter) in countries
}

excluded(countries) if {
	count(countries) > 0
	some exporter in exporters
	not places.known(exporter)
}

usable_rows := {country: row |
	some country, row in tables.adequacy.rows
	row.enabled == true
	catalogue.holds(row)
	not excluded(row.exporters_excluded)
}

adequate := {country | some country, row in usable_rows; row.condition == "none"}

# Places where the transfer needs no basis of its own.
free := territory | adequate

# Places whose adequacy hangs on the importer's certification. The importer itself is judged in stage 2.
certifying := {country | some country, row in usable_rows; row.condition == "certified_importer"}

certified_importers := {importer.entity |
	some importer in input.job.transfer.importers
	importer.dpf_certified == "yes"
}

by_certificate := {country | count(certified_importers) > 0; some country in certifying}

usable_mechanisms := {mechanism |
	some mechanism in input.job.transfer.mechanisms
	mechanism.type in {"SCC", "BCR"}
	mechanism.assessment_completed == true
	mechanism.expires_ns > catalogue.now
}

by_mechanism := {country | some mechanism in usable_mechanisms; some country in mechanism.countries}

default restricted := set()

restricted := places.countries - (free | (by_certificate | by_mechanism)) if applies

# METADATA
# title: No transfer out of the EEA without a basis in chapter V
# description: |
#   Free within the EEA; free to a country with an adequacy decision in force; to the US only where the facts name an
#   importer certified under the Data Privacy Framework; else only under standard clauses or binding rules with a
#   completed assessment, unexpired, for that country. Art. 49 is no ground for jobs: it takes an exemption.
# custom:
#   id: EU-GDPR-CHV
#   stage: job
#   effect: deny
#   citations: [C-GDPR-44, C-GDPR-45, C-GDPR-46, C-EU-LIST]
#   effective_from: "2018-05-25"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
blocked["EU-GDPR-CHV"] := places.with_regions(restricted)

explained["EU-GDPR-CHV"] := {
	"message": "gdpr.no_basis",
	"parameters": {"permitted_without_basis": sort(free)},
	"fix": fixes,
}

fixes := array.concat(
	[fix |
		some fix, holds in {"gdpr.fix.certified_importer": certifiable, "gdpr.fix.mechanism_unusable": unusable}
		holds
	],
	["gdpr.fix.mechanism", "gdpr.fix.free_places"],
)

default certifiable := false

certifiable if count(certifying & restricted) > 0

default unusable := false

unusable if count(input.job.transfer.mechanisms) > count(usable_mechanisms)

# METADATA
# title: An adequacy decision may cover a part of a country only
# description: Canada's covers commercial organisations under PIPEDA, Japan's operators under the APPI, Korea's the PIPA.
# custom:
#   id: EU-GDPR-SCOPE
#   stage: job
#   effect: warn
#   citations: [C-GDPR-45, C-EU-LIST]
#   effective_from: "2018-05-25"
#   effective_to: null
#   exemptible: false
#   severity: low
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
warned["EU-GDPR-SCOPE"] := {country |
	applies
	some country in adequate
	is_string(usable_rows[country].scope)
}

explained["EU-GDPR-SCOPE"] := {"message": "gdpr.partial_adequacy", "parameters": {}, "fix": ["gdpr.fix.scope"]}

# METADATA
# title: Standard clauses and binding rules need measures that hold in fact
# description: |
#   The runner opens the data to compute on it. Encryption on the way is then no supplementary measure (EDPB 01/2020,
#   use case 6), so the assessment must hold without it.
# custom:
#   id: EU-GDPR-ART46
#   stage: job
#   effect: warn
#   citations: [C-GDPR-46, C-EDPB-01-2020]
#   effective_from: "2018-05-25"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
warned["EU-GDPR-ART46"] := {country | applies; some country in (by_mechanism - (free | by_certificate))}

explained["EU-GDPR-ART46"] := {"message": "gdpr.supplementary_measures", "parameters": {}, "fix": ["gdpr.fix.assessment"]}

# METADATA
# title: Special categories go to few recipients, in a container at least
# description: |
#   Health, genetic, biometric and other special categories, and criminal records. Two recipients, so that a job can
#   fail over once without its owner, and no more hosts than that could ever open it (data minimisation).
# custom:
#   id: EU-GDPR-ART32
#   stage: job
#   effect: oblige
#   citations: [C-GDPR-9, C-GDPR-32]
#   effective_from: "2018-05-25"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
obliged["EU-GDPR-ART32"] := {duty |
	applies
	special
	some duty in [
		{"type": "recipients_max", "value": tables.settings.special_recipients_max},
		{"type": "isolation_min", "value": tables.settings.special_isolation_min},
	]
}

explained["EU-GDPR-ART32"] := {
	"message": "gdpr.special_categories",
	"parameters": {"recipients_max": tables.settings.special_recipients_max},
	"fix": [],
}

# METADATA
# title: The importer that the basis names must be the operator of the runner
# description: |
#   A certificate, standard clauses or binding rules bind one company. On another company's runner, in the same country,
#   they are no basis.
# custom:
#   id: EU-GDPR-IMPORTER
#   stage: runner
#   effect: deny
#   citations: [C-GDPR-44, C-GDPR-45, C-GDPR-46, C-EU-DPF]
#   effective_from: "2018-05-25"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
passed["EU-GDPR-IMPORTER"] contains i if {
	some i, runner in input.runners
	has_basis(places.code_of(runner.jurisdiction), runner.operator.entity)
}

# Where an exemption stands in for a basis, there is no importer that one could name.
passed["EU-GDPR-IMPORTER"] contains i if {
	some i, runner in input.runners
	exemptions.frees("EU-GDPR-CHV", runner.jurisdiction, blocked["EU-GDPR-CHV"])
}

has_basis(_, _) if not applies

has_basis(country, _) if country in free

has_basis(country, operator) if {
	country in certifying
	operator in certified_importers
}

has_basis(country, operator) if {
	some mechanism in usable_mechanisms
	mechanism.importer == operator
	country in mechanism.countries
}

explained["EU-GDPR-IMPORTER"] := {
	"message": "gdpr.importer_is_not_operator",
	"parameters": {},
	"fix": ["gdpr.fix.importer", "gdpr.fix.mechanism"],
}

# METADATA
# title: Special categories on a runner that is too weak
# description: What EU-GDPR-ART32 obliges the runner to, against the level that its card states.
# custom:
#   id: EU-GDPR-ART32-RUNNER
#   stage: runner
#   effect: deny
#   citations: [C-GDPR-9, C-GDPR-32]
#   effective_from: "2018-05-25"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
passed["EU-GDPR-ART32-RUNNER"] contains i if {
	some i, runner in input.runners
	strong_enough(runner.isolation)
}

strong_enough(level) if {
	count(obliged["EU-GDPR-ART32"]) == 0
	is_number(tables.settings.isolation[level])
}

strong_enough(level) if {
	rank := tables.settings.isolation
	rank[level] >= rank[tables.settings.special_isolation_min]
}

explained["EU-GDPR-ART32-RUNNER"] := {
	"message": "constraints.isolation_runner",
	"parameters": {"isolation_min": tables.settings.special_isolation_min},
	"fix": ["constraints.fix.isolation"],
}

dates := {day | applies; some day in catalogue.row_dates(tables.adequacy.rows)} | {mechanism.expires_ns | applies; some mechanism in input.job.transfer.mechanisms}

# Groups are looked at to find out whether the regime applies to personal data; adequacy only where it does.
rows := {"classes" | tables.classes.status != "seen"} | (group_rows | adequacy_rows)

group_rows := {row | personal; some row in catalogue.unverified("groups", groups)}

adequacy_rows := {row | applies; some row in catalogue.unverified("adequacy", tables.adequacy.rows)}
