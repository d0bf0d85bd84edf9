# METADATA
# title: US DOJ Data Security Program, 28 CFR 202
# description: |
#   Bulk sensitive personal data of US persons does not go to countries of concern or to covered persons. It applies to data
#   that is anonymised, pseudonymised, de-identified or encrypted (202.206), so sealing a job changes nothing here. What
#   counts is the sum of twelve months (202.205): this job's records and those of the gateway's ledger.
# scope: package
package carnet.dsp

import data.carnet.catalogue
import data.carnet.links
import data.carnet.places
import data.carnet.tables

territory := {place | some place in tables.groups.rows.DSP_US.members}

concern := links.members("DSP_CONCERN")

classes := {class | some class in input.job.data.classes}

# A class that no row names counts as the one with the lowest threshold.
categories := {category |
	some category, row in tables.bulk.rows
	some class in row.classes
	class in classes
} | {"genomic" |
	some class in classes
	not class in object.keys(tables.classes.rows)
}

default about_us := false

about_us if {
	count(categories) > 0
	links.subject_in(territory)
}

# Data of more than one category together has the lowest of their thresholds, data of one its own.
lowest := min({tables.bulk.rows[category].threshold | some category in categories})

together := sum([object.get(input.gateway.volumes, category, 0) | some category in categories]) + input.job.data.records

default bulk := false

bulk if {
	about_us
	together > lowest
}

bulk if "us_government_related" in classes

# METADATA
# title: No bulk sensitive data of US persons to a country of concern
# custom:
#   id: US-DSP-BULK
#   stage: job
#   effect: deny
#   citations: [C-DSP-205, C-DSP-206, C-DSP-601]
#   effective_from: "2025-04-08"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
blocked["US-DSP-BULK"] := places.with_regions({country | bulk; some country in concern})

explained["US-DSP-BULK"] := {"message": "dsp.bulk", "parameters": {"records": input.job.data.records, "sum": together}, "fix": ["dsp.fix.elsewhere", "dsp.fix.records"]}

# METADATA
# title: No bulk sensitive data of US persons to a covered person, wherever its runner stands
# description: Owned to half or more from countries of concern, together (202.211).
# custom:
#   id: US-DSP-COVERED
#   stage: runner
#   effect: deny
#   citations: [C-DSP-211, C-DSP-206]
#   effective_from: "2025-04-08"
#   effective_to: null
#   exemptible: false
#   severity: high
#   owner: export
#   review_by: "2027-05-22"
#   status: in_force
passed["US-DSP-COVERED"] contains i if {
	not bulk
	some i, _ in input.runners
}

passed["US-DSP-COVERED"] contains i if {
	some i, runner in input.runners
	runner.operator.covered_person == "no"
	clean(runner.operator.country)
	clean(runner.operator.parent_country)
	sum([owner.percent | some owner in runner.operator.owners; not clean(owner.country)]) < 50
}

clean(country) if {
	places.known(country)
	not places.code_of(country) in concern
}

explained["US-DSP-COVERED"] := {"message": "dsp.covered_person", "parameters": {}, "fix": ["dsp.fix.operator"]}

dates := links.group_dates({"DSP_CONCERN"})

# A threshold that let a job pass decided as much as one that stopped it, and so did the territory.
rows := {row | about_us; some row in catalogue.unverified("bulk", {category: tables.bulk.rows[category] | some category in categories})} | {row |
	count(categories) > 0
	some row in catalogue.unverified("groups", {"DSP_US": tables.groups.rows.DSP_US})
}
