# METADATA
# title: China, outbound data (PIPL, DSL, CAC provisions of 2024)
# description: |
#   For data that leaves mainland China: Hong Kong and Macau are abroad here. Important data always takes an assessment.
#   What counts is stated per job; the yearly sums of the law are the exporter's to keep.
# scope: package
package carnet.china

import data.carnet.catalogue
import data.carnet.gdpr
import data.carnet.links
import data.carnet.places
import data.carnet.tables

territory := {"CN"}

default exports := false

exports if links.exporter_in(territory)

important if "cn_important" in input.job.data.classes

sensitive if {
	some class in input.job.data.classes
	not class in tables.cn_amounts.rows.ordinary.classes
}

amounts := tables.cn_amounts.rows.sensitive if sensitive

else := tables.cn_amounts.rows.ordinary

records := input.job.data.records

default needs := "nothing"

needs := "assessment" if {
	exports
	heavy
}

needs := "contract" if {
	exports
	not heavy
	light
}

heavy if important

heavy if {
	gdpr.personal
	records > amounts.assessment_above
}

light if {
	gdpr.personal
	records >= amounts.contract_from
}

bases := {
	"nothing": set(),
	"assessment": links.usable({"CN_ASSESSMENT"}),
	"contract": links.usable({"CN_ASSESSMENT", "CN_CONTRACT", "CN_CERTIFICATION"}),
}

opened := {country | some mechanism in bases[needs]; some country in mechanism.countries}

# METADATA
# title: Data leaves mainland China under the mechanism that its kind and amount ask for
# custom:
#   id: CN-CAC-EXPORT
#   stage: job
#   effect: deny
#   citations: [C-CN-CAC, C-CN-PIPL-38]
#   effective_from: "2024-03-22"
#   effective_to: null
#   exemptible: true
#   severity: high
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
blocked["CN-CAC-EXPORT"] := places.with_regions({country |
	needs != "nothing"
	some country in places.countries
	not country in (territory | opened)
})

explained["CN-CAC-EXPORT"] := {"message": "china.export", "parameters": {"needs": needs, "records": records}, "fix": ["china.fix.assessment", "china.fix.contract"]}

# METADATA
# title: No hand-over to foreign authorities without approval
# custom:
#   id: CN-PIPL-41
#   stage: job
#   effect: warn
#   citations: [C-CN-PIPL-41]
#   effective_from: "2021-11-01"
#   effective_to: null
#   exemptible: false
#   severity: medium
#   owner: privacy
#   review_by: "2027-05-22"
#   status: in_force
warned["CN-PIPL-41"] := {country | exports; some country in (places.countries - territory)}

explained["CN-PIPL-41"] := {"message": "china.authorities", "parameters": {}, "fix": ["china.fix.authorities"]}

dates := {day | exports; some day in links.mechanism_dates}

rows := {row | exports; gdpr.personal; some row in catalogue.unverified("cn_amounts", tables.cn_amounts.rows)}
